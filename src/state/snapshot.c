/*
 * A snapshot of the tree, written while the tree changes.
 *
 * A walk goes through the tree in key order, depth first, a stack of open tables with it, and writes
 * what state_encode would. Whatever is about to change ahead of it is copied first, once for each key
 * (snapshot_before): into an overlay beside the table, which says what the key held when the snapshot
 * began, or that it held nothing. The walk through a table merges what is there with its overlay. So
 * the bytes are those of the beginning, and a write costs at most one copy of what it replaces.
 *
 * Tables are never copied. One that the walk has not passed is kept when a transaction lets go of it
 * (snapshot_keeps), and an overlay names it. `passed` tells a table that still matters from one that
 * does not: it joined the tree later, or is written.
 *
 * A long string is checked and copied in pieces, for it may be longer than a step.
 */
#include "state/internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>
#include <string.h>

#define ITEM_WORK   32u
#define LONG_STRING 65536u
#define CHAINS_FIRST 16

/* What of a table has changed since the beginning, ahead of the walk. */
struct overlay {
    const struct state_table *table;
    uint64_t count; /* the table's at the beginning */
    bool object;
    struct state_node *integers, *strings; /* what a key held; NIL: nothing. Tables are not its own */
    struct overlay *next;                  /* in the chain of its hash */
};

/* A table that is being written. Everything up to `last` is settled. */
struct open_table {
    struct state_table *table;
    struct overlay *overlay;    /* null: unchanged ahead */
    struct state_cursor cursor; /* over what is there */
    uint64_t left;              /* keys still to be written */
    bool object;
    bool begun;
    struct state_key last;
    struct buffer last_bytes; /* of a string, where nothing else keeps them */
};

/* A string on its way out. */
struct long_string {
    struct state_text *text; /* null: none */
    bool owned;
    bool checked, valid; /* as UTF-8 */
    uint32_t at;
};

struct state_snapshot {
    struct state *state;
    uint32_t number;
    uint64_t hash;
    struct open_table stack[VALUE_DEPTH_MAX];
    unsigned depth;
    struct long_string string;
    struct overlay **chains;
    size_t chain_count, overlay_count;
    size_t saved;
    struct state_table **kept; /* let go by the tree */
    size_t kept_count, kept_capacity;
};

static void open_table(struct state_snapshot *snapshot, struct state_table *table,
                       struct buffer *out);
static void close_table(struct state_snapshot *snapshot);
static size_t write_next(struct state_snapshot *snapshot, struct buffer *out);
static bool next_key(struct state_snapshot *snapshot, struct open_table *open,
                     struct state_key *key, struct state_slot *slot, struct state_item **item);
static bool there(struct open_table *open, struct state_key key, struct state_value value,
                  struct state_slot *slot);
static void write_value(struct state_snapshot *snapshot, struct state_slot *slot,
                        struct state_item *item, struct buffer *out);
static size_t write_string(struct state_snapshot *snapshot, struct buffer *out);
static void keep_last_keys(struct state_snapshot *snapshot);
static void settle(struct open_table *open, struct state_key key);
static struct overlay *find_overlay(const struct state_snapshot *snapshot,
                                    const struct state_table *table);
static struct overlay *make_overlay(struct state_snapshot *snapshot,
                                    const struct state_table *table);
static void drop_overlay(struct state_snapshot *snapshot, struct overlay *overlay);
static struct state_node **tree_of(struct overlay *overlay, struct state_key key);
static struct state_item *first_saved(const struct overlay *overlay);
static void free_saved(struct state_item *item);
static bool free_one_kept(struct state_snapshot *snapshot);

struct state_snapshot *state_snapshot_begin(struct state *state)
{
    assert(!state->open && !state->snapshot);
    struct state_snapshot *snapshot = memory_zero(1, sizeof *snapshot);
    snapshot->state = state;
    snapshot->number = ++state->snapshots;
    snapshot->hash = state->hash;
    snapshot->chain_count = CHAINS_FIRST;
    snapshot->chains = memory_zero(CHAINS_FIRST, sizeof *snapshot->chains);
    snapshot->stack[0].table = state->root;
    state->snapshot = snapshot;
    return snapshot;
}

uint64_t state_snapshot_hash(const struct state_snapshot *snapshot)
{
    return snapshot->hash;
}

size_t state_snapshot_saved(const struct state_snapshot *snapshot)
{
    return snapshot->saved;
}

bool state_snapshot_step(struct state_snapshot *snapshot, size_t work_max, struct buffer *out)
{
    assert(!snapshot->state->open);
    if (snapshot->depth == 0) {
        if (!snapshot->stack[0].table) return free_one_kept(snapshot);
        open_table(snapshot, snapshot->stack[0].table, out);
    }
    for (size_t work = 0; work < work_max && snapshot->depth > 0;) {
        work += snapshot->string.text ? write_string(snapshot, out) : write_next(snapshot, out);
    }
    if (snapshot->depth == 0) {
        snapshot->stack[0].table = NULL;
    } else {
        keep_last_keys(snapshot);
    }
    return snapshot->depth > 0 || snapshot->kept_count > 0;
}

void state_snapshot_end(struct state_snapshot *snapshot)
{
    snapshot->state->snapshot = NULL;
    while (snapshot->depth > 0) {
        struct open_table *open = &snapshot->stack[--snapshot->depth];
        buffer_deinit(&open->last_bytes);
    }
    if (snapshot->string.owned) memory_free(snapshot->string.text);
    for (size_t i = 0; i < snapshot->chain_count; i++) {
        while (snapshot->chains[i]) drop_overlay(snapshot, snapshot->chains[i]);
    }
    while (free_one_kept(snapshot)) {}
    memory_free(snapshot->chains);
    memory_free(snapshot->kept);
    memory_free(snapshot);
}

/* ---- what the tree tells ---- */

void snapshot_before(struct state_snapshot *snapshot, const struct state_table *table,
                     struct state_key key)
{
    if (table->passed == snapshot->number) return;
    for (unsigned i = 0; i < snapshot->depth; i++) {
        const struct open_table *open = &snapshot->stack[i];
        if (open->table != table) continue;
        if (open->begun && state_key_compare(key, open->last) <= 0) return;
    }
    struct overlay *overlay = find_overlay(snapshot, table);
    if (!overlay) overlay = make_overlay(snapshot, table);
    struct state_node **tree = tree_of(overlay, key);
    if (order_find(*tree, key)) return;
    const struct state_slot *there = table_find(table, key);
    struct state_slot copy = {.type = STATE_NIL};
    if (there) copy = slot_of(slot_value(there));
    order_insert(tree, item_new(key, copy));
    snapshot->saved++;
}

static void visit_joins(struct state_key key, struct state_slot *slot, void *context)
{
    (void)key;
    if (slot->type == STATE_TABLE) snapshot_joins(context, slot->table);
}

void snapshot_joins(struct state_snapshot *snapshot, struct state_table *table)
{
    table->passed = snapshot->number;
    if (table->nested > 0) table_each(table, visit_joins, snapshot);
}

/* What a table that is kept holds is kept with it. */
bool snapshot_keeps(struct state_snapshot *snapshot, const struct state_slot *slot)
{
    if (slot->type == STATE_STRING && slot->text == snapshot->string.text) {
        snapshot->string.owned = true;
        return true;
    }
    if (slot->type != STATE_TABLE || slot->table->passed == snapshot->number) return false;
    if (snapshot->kept_count == snapshot->kept_capacity) {
        snapshot->kept_capacity = snapshot->kept_capacity ? 2 * snapshot->kept_capacity : 8;
        snapshot->kept =
            memory_resize(snapshot->kept, snapshot->kept_capacity, sizeof(struct state_table *));
    }
    snapshot->kept[snapshot->kept_count++] = slot->table;
    return true;
}

/* ---- the walk ---- */

static void open_table(struct state_snapshot *snapshot, struct state_table *table,
                       struct buffer *out)
{
    assert(snapshot->depth < VALUE_DEPTH_MAX && table->passed != snapshot->number);
    struct open_table *open = &snapshot->stack[snapshot->depth++];
    struct overlay *overlay = find_overlay(snapshot, table);
    *open = (struct open_table){.table = table, .overlay = overlay};
    open->left = overlay ? overlay->count : table->count;
    open->object = overlay ? overlay->object : state_is_object(table);
    state_scan(&open->cursor, table, NULL);
    assert(open->left <= UINT32_MAX);
    if (open->object) {
        mp_write_map(out, (uint32_t)open->left);
    } else {
        mp_write_array(out, (uint32_t)open->left);
    }
}

static void close_table(struct state_snapshot *snapshot)
{
    struct open_table *open = &snapshot->stack[--snapshot->depth];
    open->table->passed = snapshot->number;
    if (open->overlay) drop_overlay(snapshot, open->overlay);
    buffer_deinit(&open->last_bytes);
}

/* One key, or the end of a table; returns the work. */
static size_t write_next(struct state_snapshot *snapshot, struct buffer *out)
{
    struct open_table *open = &snapshot->stack[snapshot->depth - 1];
    size_t before = out->size;
    struct state_key key;
    struct state_slot slot;
    struct state_item *item = NULL;
    if (!next_key(snapshot, open, &key, &slot, &item)) {
        assert(open->left == 0);
        close_table(snapshot);
        return ITEM_WORK;
    }
    if (slot.type != STATE_NIL) {
        assert(open->left > 0);
        open->left--;
        if (open->object && key.is_string) mp_write_string(out, key.string);
        if (open->object && !key.is_string) mp_write_integer(out, key.integer);
        write_value(snapshot, &slot, item, out);
    }
    if (item) free_saved(item);
    return out->size - before + ITEM_WORK;
}

/* The nearer of what is there and what was saved; what was saved speaks for its key, and is taken out
 * of the overlay: *item, for the caller to free. NIL: the key was not there at the beginning. */
static bool next_key(struct state_snapshot *snapshot, struct open_table *open,
                     struct state_key *key, struct state_slot *slot, struct state_item **item)
{
    struct state_item *saved = open->overlay ? first_saved(open->overlay) : NULL;
    struct state_value value;
    if (!saved) {
        if (open->left == 0 || !state_scan_next(&open->cursor, key, &value)) return false;
        return there(open, *key, value, slot);
    }
    struct state_cursor ahead = open->cursor;
    bool more = state_scan_next(&ahead, key, &value);
    int order = more ? state_key_compare(item_key(saved), *key) : -1;
    if (order > 0) {
        open->cursor = ahead;
        return there(open, *key, value, slot);
    }
    *key = item_key(saved);
    settle(open, *key);
    if (order == 0) {
        open->cursor = ahead;
        open->cursor.last = open->last;
    }
    *item = order_remove(tree_of(open->overlay, *key), *key);
    snapshot->saved--;
    *key = open->last;
    *slot = (*item)->slot;
    return true;
}

/* The slot that a value read from the table stands for; it stays the table's. */
static bool there(struct open_table *open, struct state_key key, struct state_value value,
                  struct state_slot *slot)
{
    open->begun = true;
    open->last = key;
    slot->type = (uint8_t)value.type;
    switch (value.type) {
    case STATE_NIL:
        break;
    case STATE_BOOLEAN:
        slot->boolean = value.boolean;
        break;
    case STATE_INTEGER:
        slot->integer = value.integer;
        break;
    case STATE_FLOAT:
        slot->number = value.number;
        break;
    case STATE_STRING:
        slot->text = (struct state_text *)(void *)((uint8_t *)(uintptr_t)value.string.data -
                                                   offsetof(struct state_text, bytes));
        break;
    case STATE_TABLE:
        slot->table = value.table;
        break;
    }
    return true;
}

static void write_value(struct state_snapshot *snapshot, struct state_slot *slot,
                        struct state_item *item, struct buffer *out)
{
    if (slot->type == STATE_TABLE) {
        open_table(snapshot, slot->table, out);
    } else if (slot->type == STATE_STRING && slot->text->size > LONG_STRING) {
        snapshot->string = (struct long_string){.text = slot->text, .valid = true};
        if (item) { /* the overlay's own copy goes with it */
            snapshot->string.owned = true;
            item->slot.type = STATE_NIL;
        }
    } else {
        state_encode_value(slot_value(slot), out);
    }
}

/* A piece: first through the check, which decides between str and bin, then out. A piece to be checked
 * ends where a code point does. */
static size_t write_string(struct state_snapshot *snapshot, struct buffer *out)
{
    struct long_string *string = &snapshot->string;
    const uint8_t *bytes = string->text->bytes;
    uint32_t size = string->text->size;
    uint32_t end = size - string->at > LONG_STRING ? string->at + LONG_STRING : size;
    uint32_t work = end - string->at;
    if (!string->checked) {
        for (int back = 0; back < 3 && end < size && (bytes[end] & 0xc0) == 0x80; back++) end--;
        string->valid = utf8_valid(slice_of(bytes + string->at, end - string->at));
        string->at = end;
        if (string->valid && end < size) return work;
        string->checked = true;
        string->at = 0;
        mp_write_string_head(out, size, string->valid);
        return work;
    }
    buffer_append(out, bytes + string->at, end - string->at);
    string->at = end;
    if (end < size) return work;
    if (string->owned) memory_free(string->text);
    *string = (struct long_string){0};
    return work;
}

/* ---- between steps ---- */

/* A cursor's last key lies in the table's item, which may be deleted before the next step. */
static void keep_last_keys(struct state_snapshot *snapshot)
{
    for (unsigned i = 0; i < snapshot->depth; i++) {
        struct open_table *open = &snapshot->stack[i];
        if (!open->begun || !open->last.is_string) continue;
        if (open->last.string.data != open->last_bytes.data || open->last.string.size == 0) {
            buffer_clear(&open->last_bytes);
            buffer_append_slice(&open->last_bytes, open->last.string);
            open->last.string = buffer_slice(&open->last_bytes);
        }
        if (open->cursor.begun && open->cursor.last.is_string) open->cursor.last = open->last;
    }
}

/* Everything up to `key` is done, though the cursor has not come by it: it goes on behind it. */
static void settle(struct open_table *open, struct state_key key)
{
    if (key.is_string) {
        struct buffer bytes = {0}; /* the key may be the last one's */
        buffer_append_slice(&bytes, key.string);
        buffer_deinit(&open->last_bytes);
        open->last_bytes = bytes;
        key.string = buffer_slice(&bytes);
    }
    open->begun = true;
    open->last = key;
    open->cursor = (struct state_cursor){.table = open->table, .begun = true, .last = key};
}

/* ---- overlays ---- */

static size_t chain_of(const struct state_snapshot *snapshot, const struct state_table *table)
{
    return (size_t)hash_pair((uintptr_t)table, 0) & (snapshot->chain_count - 1);
}

static struct overlay *find_overlay(const struct state_snapshot *snapshot,
                                    const struct state_table *table)
{
    struct overlay *overlay = snapshot->chains[chain_of(snapshot, table)];
    while (overlay && overlay->table != table) overlay = overlay->next;
    return overlay;
}

/* Before the first change: the table is as it was. */
static struct overlay *make_overlay(struct state_snapshot *snapshot,
                                    const struct state_table *table)
{
    if (snapshot->overlay_count == snapshot->chain_count) {
        struct overlay **before = snapshot->chains;
        size_t count = snapshot->chain_count;
        snapshot->chain_count *= 2;
        snapshot->chains = memory_zero(snapshot->chain_count, sizeof *snapshot->chains);
        for (size_t i = 0; i < count; i++) {
            while (before[i]) {
                struct overlay *moved = before[i];
                before[i] = moved->next;
                size_t chain = chain_of(snapshot, moved->table);
                moved->next = snapshot->chains[chain];
                snapshot->chains[chain] = moved;
            }
        }
        memory_free(before);
    }
    struct overlay *overlay = memory_zero(1, sizeof *overlay);
    size_t chain = chain_of(snapshot, table);
    overlay->table = table;
    overlay->count = table->count;
    overlay->object = state_is_object(table);
    overlay->next = snapshot->chains[chain];
    snapshot->chains[chain] = overlay;
    snapshot->overlay_count++;
    for (unsigned i = 0; i < snapshot->depth; i++) {
        if (snapshot->stack[i].table == table) snapshot->stack[i].overlay = overlay;
    }
    return overlay;
}

static void drop_overlay(struct state_snapshot *snapshot, struct overlay *overlay)
{
    struct overlay **at = &snapshot->chains[chain_of(snapshot, overlay->table)];
    while (*at != overlay) at = &(*at)->next;
    *at = overlay->next;
    order_free(overlay->integers, free_saved);
    order_free(overlay->strings, free_saved);
    memory_free(overlay);
    snapshot->overlay_count--;
}

static struct state_node **tree_of(struct overlay *overlay, struct state_key key)
{
    return key.is_string ? &overlay->strings : &overlay->integers;
}

static struct state_item *first_saved(const struct overlay *overlay)
{
    const struct state_node *tree = overlay->integers ? overlay->integers : overlay->strings;
    return order_item(order_seek(tree, NULL, false, false));
}

static void free_saved(struct state_item *item)
{
    if (item->slot.type == STATE_TABLE) item->slot.type = STATE_NIL;
    item_free(item);
}

/* ---- tables that the tree has let go of ---- */

static bool free_one_kept(struct state_snapshot *snapshot)
{
    if (snapshot->kept_count == 0) return false;
    table_free(snapshot->kept[--snapshot->kept_count]);
    return snapshot->kept_count > 0;
}
