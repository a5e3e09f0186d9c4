/*
 * The state tree: what is replicated, kept off the Lua heap. Plain values only: nil, boolean,
 * 64-bit integer, double, string (any bytes), table. Keys are strings or integers, in one order
 * everywhere: integers ascending, then strings bytewise.
 *
 * Changes happen between state_begin and state_commit or state_rollback; a rollback leaves nothing
 * behind. Everything a caller can see (values, order, length, hash, encoding, the bytes counted by
 * state_written) is a function of the content alone, never of how it came about.
 *
 * A table is reached by pointer. It lives as long as the tree holds it or someone holds a reference
 * (state_table_take); state_table_alive tells whether it is still part of the tree. Within one
 * transaction a deleted table's memory stays (a rollback may bring it back), so a pointer without a
 * reference is safe until the transaction ends.
 *
 * An empty table has a kind: array or object; that is all that is lost when it is written as
 * msgpack without one. A table that loses its last key keeps the kind it had: {1: x} was an array,
 * {"a": x} an object. So a tree read back from its encoding goes on exactly as the one that wrote
 * it.
 *
 * Single-threaded. Memory comes from base/memory.h.
 */
#ifndef MOONCLAVE_STATE_STATE_H
#define MOONCLAVE_STATE_STATE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/mp.h" /* VALUE_DEPTH_MAX */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct state;
struct state_table;

enum state_type { STATE_NIL, STATE_BOOLEAN, STATE_INTEGER, STATE_FLOAT, STATE_STRING, STATE_TABLE };

/* A value passed in or out. Strings are borrowed: what state_get returns is valid until that key
 * changes, or until the transaction ends when it does. */
struct state_value {
    enum state_type type;
    union {
        bool boolean;
        int64_t integer;
        double number; /* every NaN becomes the one NaN when it is stored */
        struct slice string;
        struct state_table *table;
    };
};

struct state_key {
    bool is_string;
    union {
        int64_t integer;
        struct slice string;
    };
};

static inline struct state_key state_key_integer(int64_t integer)
{
    return (struct state_key){.is_string = false, .integer = integer};
}
static inline struct state_key state_key_string(struct slice string)
{
    return (struct state_key){.is_string = true, .string = string};
}
static inline struct state_key state_key_text(const char *text)
{
    return state_key_string(slice_text(text));
}
static inline struct state_value state_nil(void)
{
    return (struct state_value){.type = STATE_NIL};
}
static inline struct state_value state_boolean(bool boolean)
{
    return (struct state_value){.type = STATE_BOOLEAN, .boolean = boolean};
}
static inline struct state_value state_integer(int64_t integer)
{
    return (struct state_value){.type = STATE_INTEGER, .integer = integer};
}
static inline struct state_value state_float(double number)
{
    return (struct state_value){.type = STATE_FLOAT, .number = number};
}
static inline struct state_value state_string(struct slice string)
{
    return (struct state_value){.type = STATE_STRING, .string = string};
}
static inline struct state_value state_of_table(struct state_table *table)
{
    return (struct state_value){.type = STATE_TABLE, .table = table};
}
int state_key_compare(struct state_key a, struct state_key b); /* below, at or above 0 */

/* ---- the tree and its transactions ---- */
struct state *state_new(void); /* with an empty root */
void state_free(struct state *state);
struct state_table *state_root(const struct state *state); /* another after state_put_root */
uint64_t state_hash(const struct state *state);            /* of everything; kept as it changes */

void state_begin(struct state *state);
void state_commit(struct state *state);
void state_rollback(struct state *state);
bool state_is_open(const struct state *state); /* between begin and commit or rollback */
/* The work since begin, as bytes: keys, values, 32 for each item, 64 for each element that had to
 * move. */
uint64_t state_written(const struct state *state);

/* ---- reading ---- */
/* NIL, or null, where there is none. */
struct state_value state_get(const struct state_table *table, struct state_key key);
struct state_table *state_get_table(const struct state_table *table, struct state_key key);
uint64_t state_count(const struct state_table *table);  /* all keys; O(1) */
int64_t state_length(const struct state_table *table);  /* the n of 1..n without a gap; O(1) */
bool state_is_object(const struct state_table *table);  /* encodes as a map */
unsigned state_depth(const struct state_table *table);  /* the root's is 1; 0: not in the tree */
unsigned state_height(const struct state_table *table); /* levels of tables, itself included */

/* ---- writing: in a transaction, or to a table that is being built ---- */
/* NIL deletes. A table given must come from state_build, state_copy or state_decode: the tree takes
 * it. false: it would be nested deeper than VALUE_DEPTH_MAX; nothing was changed and the table is
 * still the caller's. */
bool state_put(struct state *state, struct state_table *table, struct state_key key,
               struct state_value value);
/* The table there; when there is none, an empty one is put there. Null: too deep. */
struct state_table *state_make_table(struct state *state, struct state_table *table,
                                     struct state_key key);
bool state_put_root(struct state *state, struct state_table *built);
/* Reorders 1..count, count at most the length: what was at from[i] (counted from 0) comes to i.
 * Nested tables move, they are not copied. */
void state_permute(struct state *state, struct state_table *table, const uint32_t *from,
                   uint32_t count);

/* Tables that are not in the tree yet. Only state_put takes them in; else state_discard. */
struct state_table *state_build(bool object);
struct state_table *state_copy(const struct state_table *table); /* of all that is in it */
void state_discard(struct state_table *built);

/* ---- pointers that outlive a call ---- */
struct state_table *state_table_take(struct state_table *table);
void state_table_drop(struct state_table *table);
bool state_table_alive(const struct state_table *table);
/* A number for the holder of references, 0 at first. */
uint32_t state_table_tag(const struct state_table *table);
void state_table_set_tag(struct state_table *table, uint32_t tag);

/* ---- in order ---- */
/* from and to are included; null: open. prefix: only string keys that begin with it; empty: all
 * keys. */
struct state_range {
    const struct state_key *from, *to;
    struct slice prefix;
    bool reverse;
};

struct state_node;

/* Walks a range. The table may change meanwhile, by keys before, at or after the cursor: what is
 * ahead is seen as it then is. Ends with the transaction. The range's keys are borrowed until then.
 * Nothing to release. */
struct state_cursor {
    const struct state_table *table;
    struct state_range range;
    struct state_key last; /* the key given last */
    bool begun, ended;
    uint32_t revision; /* of the table when the place below was found */
    const struct state_node *leaf;
    uint32_t at;
};
void state_scan(struct state_cursor *cursor, const struct state_table *table,
                const struct state_range *range);
bool state_scan_next(struct state_cursor *cursor, struct state_key *key, struct state_value *value);

/* ---- snapshots: the tree as it is at one moment, as bytes, while it goes on changing ---- */
/*
 * The bytes are those of state_encode(root) at the beginning. They are made in steps between
 * transactions. A change ahead of what is written saves what it replaces, once for each key; what is
 * deleted meanwhile is freed when it has been written. One at a time for a tree.
 */
struct state_snapshot;
struct state_snapshot *state_snapshot_begin(struct state *state);   /* not in a transaction */
uint64_t state_snapshot_hash(const struct state_snapshot *snapshot); /* the tree's at the beginning */
/* Appends to *out until about work_max bytes of work are done (keys, values, 32 for each item, what was
 * saved and is let go). false: all is written. At 32768 a step takes about 0.2 ms. */
bool state_snapshot_step(struct state_snapshot *snapshot, size_t work_max, struct buffer *out);
size_t state_snapshot_saved(const struct state_snapshot *snapshot); /* keys saved and not yet written */
void state_snapshot_end(struct state_snapshot *snapshot);            /* written or not */

/* The way back: bytes in pieces of any size become a tree of their own, without a second look at any
 * of them. */
struct state_restore;
struct state_restore *state_restore_begin(void);
/* CORRUPT: no canonical encoding of a tree; every further call answers the same. *used: how many of the
 * bytes belong to the tree: fewer than given once it is whole. */
enum error_code state_restore_feed(struct state_restore *restore, struct slice bytes, size_t *used,
                                   struct error *error);
bool state_restore_whole(const struct state_restore *restore); /* all of the tree is there */
/* OK: all was there and its hash is `hash`; the tree's content is then what was read (as after
 * state_put_root: every pointer into the old one is dead), the old one belongs to `restore`. CORRUPT:
 * the tree is untouched. Not in a transaction or a snapshot. */
enum error_code state_restore_finish(struct state_restore *restore, uint64_t hash,
                                     struct state *state, struct error *error);
void state_restore_free(struct state_restore *restore); /* and what belongs to it; null is allowed */

/* ---- as bytes: canonical msgpack, base/mp.h ---- */
void state_encode(const struct state_table *table, struct buffer *out);
void state_encode_value(struct state_value value, struct buffer *out);
/* Until `out` has more than bytes_max in all: false then, and what is in `out` is of no use. */
bool state_encode_within(const struct state_table *table, struct buffer *out, size_t bytes_max);
/* One msgpack array or map to a table of its own. BAD_REQUEST: not that, or a key or value outside
 * plain data; TOO_LARGE: deeper than VALUE_DEPTH_MAX. */
enum error_code state_decode(struct slice bytes, struct state_table **built, struct error *error);

#endif
