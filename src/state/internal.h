/*
 * What the files of this folder share: how a table is made.
 *
 * A table keeps its run 1..n in an array and every other key as an item, one allocation each, in
 * one of two B+trees: integers and strings (many strings are also found by hash). The array holds
 * exactly the run that is there, never more or less, so that the length is known and nothing
 * depends on history: the item n+1 moves into the array when n is put, the rest moves out when one
 * in the middle is deleted.
 */
#ifndef MOONCLAVE_STATE_INTERNAL_H
#define MOONCLAVE_STATE_INTERNAL_H

#include "state/state.h"

/* ---- values at rest (slot.c) ---- */
struct state_text {
    uint32_t size;
    uint8_t bytes[];
};

struct state_slot {
    uint8_t type; /* enum state_type */
    union {
        bool boolean;
        int64_t integer;
        double number;
        struct state_text *text;   /* owned */
        struct state_table *table; /* owned */
    };
};

struct state_slot slot_of(struct state_value value);          /* copies a string, takes a table */
struct state_value slot_value(const struct state_slot *slot); /* borrows */
void slot_deinit(struct state_slot *slot);                    /* frees what it owns, tables too */
size_t slot_bytes(const struct state_slot *slot);             /* of the value alone */

/* ---- items and their order (order.c) ---- */
struct state_item {
    struct state_slot slot;
    uint32_t size; /* of the key */
    bool is_string;
    uint8_t
        key[]; /* a string's bytes; an integer's 8, so made that they compare as the integers do */
};

struct state_item *item_new(struct state_key key, struct state_slot slot);
void item_free(struct state_item *item); /* and what its slot owns */
struct state_key item_key(const struct state_item *item);
void integer_key_write(uint8_t bytes[8], int64_t integer);

/* A node of a B+tree. Behind the header: heads[capacity], items[capacity], and children[capacity]
 * where height > 0. In an inner node items[i] is the least item under children[i]. A head is the 8
 * bytes of a key behind the prefix that all keys of the node share, so that most comparisons never
 * leave the node. */
struct state_node {
    uint16_t count, capacity;
    uint16_t height;                    /* 0: a leaf */
    uint32_t prefix;                    /* bytes */
    struct state_node *next, *previous; /* leaves */
    uint64_t heads[];
};

/* A tree is its root node, null when it is empty. All keys of one tree are of one kind. */
struct state_item *order_find(const struct state_node *root, struct state_key key);
void order_insert(struct state_node **root,
                  struct state_item *item); /* its key must not be there */
struct state_item *order_remove(struct state_node **root,
                                struct state_key key); /* it must be there */
void order_append(struct state_node **root, struct state_item *item); /* its key is above all others */
void order_free(struct state_node *root,
                void (*each)(struct state_item *item)); /* each may be null */

struct order_place {
    const struct state_node *leaf; /* null: past either end */
    uint32_t at;
};
/* The first key at or above `key` (null: the first of all), or above it. Backward: the last at or
 * below, or below. */
struct order_place order_seek(const struct state_node *root, const struct state_key *key,
                              bool beyond, bool reverse);
struct order_place order_step(struct order_place place, bool reverse);
struct state_item *order_item(struct order_place place); /* null: past the end */

/* ---- items by hash (points.c) ---- */
struct state_points;
/* Of all items of a small tree, which is to have about as many as announced. */
struct state_points *points_new(const struct state_node *root, uint32_t announced);
void points_free(struct state_points *points); /* null is allowed; the items are not its own */
struct state_item *points_find(const struct state_points *points, struct slice key);
void points_insert(struct state_points *points, struct state_item *item);
void points_remove(struct state_points *points, const struct state_item *item);

/* ---- tables (table.c) ---- */
enum table_place {
    TABLE_LOOSE,    /* being built, nobody holds it */
    TABLE_HELD,     /* being built, in another that is being built */
    TABLE_ATTACHED, /* in the tree */
    TABLE_DELETED,  /* was in the tree, and is kept until the transaction ends */
    TABLE_GONE,     /* its content is freed; its memory stays while there are references */
};

struct state_table {
    uint64_t path;            /* hash of the way here; the terms of its keys begin with it */
    uint64_t sum;             /* of its own terms, while attached; nested tables keep theirs */
    struct state_slot *array; /* 1..length */
    uint32_t length, capacity;
    struct state_node *integers; /* other integers */
    struct state_node *strings;
    struct state_points *points; /* the strings by hash; null while one leaf holds them all */
    uint64_t count;
    uint32_t nested; /* how many of the values are tables */
    uint32_t references;
    uint32_t tag;
    uint32_t revision; /* changes with the set of keys */
    uint32_t passed;   /* number of the snapshot that needs nothing more of it: it came later, or is written */
    uint8_t place;     /* enum table_place */
    uint8_t depth;     /* while attached */
    bool object;       /* what it is when empty */
};

struct state_table *table_new(bool object);
/* And all in it; the memory of a table stays while there are references. */
void table_free(struct state_table *table);
/* Null: not there. */
struct state_slot *table_find(const struct state_table *table, struct state_key key);
/* Puts without journal or hash; *old gets what was there (NIL: nothing), now the caller's. *moved
 * grows by the elements that had to go from tree to array or back. Returns a string key's item,
 * null for an integer. */
struct state_item *table_put(struct state_table *table, struct state_key key,
                             struct state_slot slot, struct state_slot *old, uint64_t *moved);
/* Deletes a key that is there. Returns a string key's item, with its slot; null for an integer,
 * whose slot is in *old. */
struct state_item *table_remove(struct state_table *table, struct state_key key,
                                struct state_slot *old, uint64_t *moved);
void table_restore_item(struct state_table *table,
                        struct state_item *item); /* undoes the removal of a string key */
/* Puts a key behind all others. `announced`: as many are to come in all, perhaps. */
void table_append(struct state_table *table, struct state_key key, struct state_slot slot, uint32_t announced);
void table_permute(struct state_table *table, const uint32_t *from, uint32_t count);
uint64_t table_bytes(const struct state_table *table); /* what state_written counts for it */
#define ITEM_BYTES  32 /* counted for each item, beside key and value */
#define MOVED_BYTES 64 /* counted for each element that had to move */
unsigned table_height(const struct state_table *table); /* levels of tables, itself included */
typedef void table_visit(struct state_key key, struct state_slot *slot, void *context);
void table_each(const struct state_table *table, table_visit *visit,
                void *context); /* in no promised order */

/* ---- hashes (terms.c) ---- */
#define ROOT_PATH 0x6d6f6f6e636c6176u
/* Of a value that is no table. */
uint64_t term_of(const struct state_table *table, struct state_key key,
                 const struct state_slot *slot);
/* That it is here, and its kind when it is empty. */
uint64_t term_of_table(const struct state_table *table);
uint64_t path_of(const struct state_table *table, struct state_key key);
/* Attached: counts itself and all in it into *sum. Deleted: takes all of it out again. */
void terms_attach(struct state_table *table, uint64_t path, unsigned depth, uint64_t *sum);
void terms_detach(struct state_table *table, enum table_place place, uint64_t *sum);

/* ---- a snapshot, told of what the tree does (snapshot.c) ---- */
/* Before a key of an attached table is changed. */
void snapshot_before(struct state_snapshot *snapshot, const struct state_table *table,
                     struct state_key key);
void snapshot_joins(struct state_snapshot *snapshot, struct state_table *table); /* with all in it */
/* Is to be freed: true: not yet, it is the snapshot's now. */
bool snapshot_keeps(struct state_snapshot *snapshot, const struct state_slot *slot);

/* ---- the tree (state.c) ---- */
struct journal_record;

struct state_snapshot;

struct state {
    struct state_table *root;
    struct state_snapshot *snapshot; /* that is being written; null: none */
    uint32_t snapshots;              /* begun so far */
    uint64_t hash;
    uint64_t written;
    bool open;
    struct journal_record *journal;
    size_t journal_count, journal_capacity;
};

#endif
