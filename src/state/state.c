/*
 * The tree and its transactions. Every change to an attached table goes through change(): hash
 * terms out, the table changed, hash terms in, a record in the journal. A rollback takes the
 * records back in reverse order through the same steps. What a change replaced belongs to its
 * record until the transaction ends.
 *
 * A record names a string key by the bytes in its item, an integer key by its number: items of
 * integers come and go as the run grows and shrinks, an item of a string lives until its key is
 * deleted, and then in the journal.
 */
#include "state/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

#define JOURNAL_KEPT 1024 /* records; a larger journal is given back when its transaction ends */

struct journal_record {
    enum { RECORD_PUT, RECORD_REMOVE, RECORD_PERMUTE, RECORD_ROOT } kind;
    bool object;               /* what the table was when it was empty */
    struct state_table *table; /* ROOT: the root before */
    struct state_key key;
    struct state_slot old;   /* PUT: what was there; REMOVE of an integer: what it was */
    struct state_item *item; /* REMOVE of a string */
    uint32_t *from, count;   /* PERMUTE: the way back */
};

static struct journal_record *journal_add(struct state *state);
static void let_go(struct state *state, struct state_slot *slot);
static void end(struct state *state);
static void undo(struct state *state, const struct journal_record *record);
static void change(struct state *state, struct state_table *table, struct state_key key,
                   struct state_value value);
static void change_loose(struct state_table *table, struct state_key key, struct state_value value);
static void permute_attached(struct state *state, struct state_table *table, const uint32_t *from,
                             uint32_t count);

struct state *state_new(void)
{
    struct state *state = memory_zero(1, sizeof *state);
    state->root = table_new(false);
    terms_attach(state->root, ROOT_PATH, 1, &state->hash);
    return state;
}

void state_free(struct state *state)
{
    if (!state) return;
    if (state->open) state_rollback(state);
    if (state->snapshot) state_snapshot_end(state->snapshot);
    table_free(state->root);
    memory_free(state->journal);
    memory_free(state);
}

struct state_table *state_root(const struct state *state)
{
    return state->root;
}

uint64_t state_hash(const struct state *state)
{
    return state->hash;
}

bool state_is_open(const struct state *state)
{
    return state->open;
}

uint64_t state_written(const struct state *state)
{
    return state->written;
}

/* ---- transactions ---- */

void state_begin(struct state *state)
{
    assert(!state->open && state->journal_count == 0);
    state->open = true;
    state->written = 0;
}

void state_commit(struct state *state)
{
    assert(state->open);
    for (size_t i = 0; i < state->journal_count; i++) {
        struct journal_record *record = &state->journal[i];
        let_go(state, &record->old);
        if (record->item) {
            let_go(state, &record->item->slot);
            item_free(record->item);
        }
        memory_free(record->from);
        if (record->kind == RECORD_ROOT) {
            let_go(state, &(struct state_slot){.type = STATE_TABLE, .table = record->table});
        }
    }
    end(state);
}

static void let_go(struct state *state, struct state_slot *slot)
{
    if (state->snapshot && snapshot_keeps(state->snapshot, slot)) slot->type = STATE_NIL;
    slot_deinit(slot);
}

void state_rollback(struct state *state)
{
    assert(state->open);
    for (size_t i = state->journal_count; i > 0; i--) undo(state, &state->journal[i - 1]);
    end(state);
}

static struct journal_record *journal_add(struct state *state)
{
    if (state->journal_count == state->journal_capacity) {
        state->journal_capacity = state->journal_capacity ? state->journal_capacity * 2 : 16;
        state->journal =
            memory_resize(state->journal, state->journal_capacity, sizeof *state->journal);
    }
    struct journal_record *record = &state->journal[state->journal_count++];
    memset(record, 0, sizeof *record);
    return record;
}

static void end(struct state *state)
{
    state->open = false;
    state->journal_count = 0;
    if (state->journal_capacity > JOURNAL_KEPT) {
        memory_free(state->journal);
        state->journal = NULL;
        state->journal_capacity = 0;
    }
}

/* ---- changes ---- */

bool state_put(struct state *state, struct state_table *table, struct state_key key,
               struct state_value value)
{
    assert(table->place < TABLE_DELETED);
    if (value.type == STATE_TABLE) {
        assert(value.table->place == TABLE_LOOSE && value.table != table);
    }
    if (table->place != TABLE_ATTACHED) {
        change_loose(table, key, value);
        return true;
    }
    assert(state->open);
    if (value.type == STATE_TABLE && table->depth + table_height(value.table) > VALUE_DEPTH_MAX) {
        return false;
    }
    change(state, table, key, value);
    return true;
}

struct state_table *state_make_table(struct state *state, struct state_table *table,
                                     struct state_key key)
{
    struct state_table *there = state_get_table(table, key);
    if (there) return there;
    struct state_table *built = table_new(false);
    if (state_put(state, table, key, state_of_table(built))) return built;
    state_discard(built);
    return NULL;
}

bool state_put_root(struct state *state, struct state_table *built)
{
    assert(state->open && built->place == TABLE_LOOSE);
    if (table_height(built) > VALUE_DEPTH_MAX) return false;
    if (state->snapshot) snapshot_joins(state->snapshot, built);
    struct journal_record *record = journal_add(state);
    record->kind = RECORD_ROOT;
    record->table = state->root;
    terms_detach(state->root, TABLE_DELETED, &state->hash);
    state->root = built;
    terms_attach(built, ROOT_PATH, 1, &state->hash);
    state->written += table_bytes(built);
    return true;
}

void state_permute(struct state *state, struct state_table *table, const uint32_t *from,
                   uint32_t count)
{
    assert(table->place < TABLE_DELETED && count <= table->length);
    if (table->place != TABLE_ATTACHED) {
        table_permute(table, from, count);
        return;
    }
    assert(state->open);
    for (uint32_t i = 0; i < count && state->snapshot; i++) {
        if (from[i] == i) continue;
        snapshot_before(state->snapshot, table, state_key_integer((int64_t)i + 1));
    }
    struct journal_record *record = journal_add(state);
    record->kind = RECORD_PERMUTE;
    record->table = table;
    record->count = count;
    record->from = memory_alloc(count * sizeof *record->from);
    for (uint32_t i = 0; i < count; i++) record->from[from[i]] = i;
    state->written += (uint64_t)count * MOVED_BYTES / 4;
    permute_attached(state, table, from, count);
}

/* Puts or, with an old slot in hand, puts back; *gone is what was there. */
static void put_attached(struct state *state, struct state_table *table, struct state_key key,
                         struct state_slot slot, struct state_slot *gone, struct state_item **item);
static struct state_item *remove_attached(struct state *state, struct state_table *table,
                                          struct state_key key, struct state_slot *gone);

static void change(struct state *state, struct state_table *table, struct state_key key,
                   struct state_value value)
{
    bool object = table->object;
    struct state_slot old;
    struct state_item *item;
    if (state->snapshot) {
        snapshot_before(state->snapshot, table, key);
        if (value.type == STATE_TABLE) snapshot_joins(state->snapshot, value.table);
    }
    if (value.type == STATE_NIL) {
        if (!table_find(table, key)) return;
        item = remove_attached(state, table, key, &old);
        struct journal_record *record = journal_add(state);
        *record = (struct journal_record){
            .kind = RECORD_REMOVE, .table = table, .key = key, .item = item};
        if (item) {
            record->key = item_key(item);
        } else {
            record->old = old;
        }
        return;
    }
    struct state_slot slot = slot_of(value);
    state->written += ITEM_BYTES + (key.is_string ? key.string.size : 0) + slot_bytes(&slot);
    if (slot.type == STATE_TABLE) state->written += table_bytes(slot.table);
    put_attached(state, table, key, slot, &old, &item);
    struct journal_record *record = journal_add(state);
    *record = (struct journal_record){
        .kind = RECORD_PUT, .object = object, .table = table, .key = key, .old = old};
    if (item) record->key = item_key(item);
}

static void change_loose(struct state_table *table, struct state_key key, struct state_value value)
{
    struct state_slot old = {.type = STATE_NIL};
    uint64_t moved = 0;
    if (value.type == STATE_NIL) {
        if (!table_find(table, key)) return;
        memory_free(table_remove(table, key, &old, &moved));
    } else {
        if (value.type == STATE_TABLE) value.table->place = TABLE_HELD;
        table_put(table, key, slot_of(value), &old, &moved);
    }
    slot_deinit(&old);
}

static void terms_out(struct state *state, struct state_table *table, struct state_key key,
                      const struct state_slot *slot, enum table_place place);
static void terms_in(struct state *state, struct state_table *table, struct state_key key,
                     const struct state_slot *slot);

/* A table's own term depends on whether it is empty: out before the change, in after it. */
static void put_attached(struct state *state, struct state_table *table, struct state_key key,
                         struct state_slot slot, struct state_slot *gone, struct state_item **item)
{
    uint64_t moved = 0;
    bool was_empty = table->count == 0;
    if (was_empty) state->hash -= term_of_table(table);
    *item = table_put(table, key, slot, gone, &moved);
    if (was_empty) state->hash += term_of_table(table);
    terms_out(state, table, key, gone, TABLE_DELETED);
    terms_in(state, table, key, &slot);
    state->written += moved * MOVED_BYTES;
}

static struct state_item *remove_attached(struct state *state, struct state_table *table,
                                          struct state_key key, struct state_slot *gone)
{
    uint64_t moved = 0;
    uint64_t own_term = term_of_table(table);
    struct state_item *item = table_remove(table, key, gone, &moved);
    if (table->count == 0) state->hash += term_of_table(table) - own_term;
    terms_out(state, table, item ? item_key(item) : key, gone, TABLE_DELETED);
    state->written += moved * MOVED_BYTES;
    return item;
}

static void permute_attached(struct state *state, struct state_table *table, const uint32_t *from,
                             uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (from[i] == i) continue;
        terms_out(state, table, state_key_integer((int64_t)i + 1), &table->array[i],
                  TABLE_ATTACHED);
    }
    table_permute(table, from, count);
    for (uint32_t i = 0; i < count; i++) {
        if (from[i] == i) continue;
        terms_in(state, table, state_key_integer((int64_t)i + 1), &table->array[i]);
    }
}

static void terms_out(struct state *state, struct state_table *table, struct state_key key,
                      const struct state_slot *slot, enum table_place place)
{
    if (slot->type == STATE_NIL) return;
    if (slot->type == STATE_TABLE) {
        terms_detach(slot->table, place, &state->hash);
        return;
    }
    uint64_t term = term_of(table, key, slot);
    table->sum -= term;
    state->hash -= term;
}

static void terms_in(struct state *state, struct state_table *table, struct state_key key,
                     const struct state_slot *slot)
{
    if (slot->type == STATE_TABLE) {
        terms_attach(slot->table, path_of(table, key), table->depth + 1u, &state->hash);
        return;
    }
    uint64_t term = term_of(table, key, slot);
    table->sum += term;
    state->hash += term;
}

/* ---- the way back ---- */

static void undo_put(struct state *state, const struct journal_record *record);
static void undo_remove(struct state *state, const struct journal_record *record);

static void undo(struct state *state, const struct journal_record *record)
{
    switch (record->kind) {
    case RECORD_PUT:
        undo_put(state, record);
        break;
    case RECORD_REMOVE:
        undo_remove(state, record);
        break;
    case RECORD_PERMUTE:
        permute_attached(state, record->table, record->from, record->count);
        memory_free(record->from);
        break;
    case RECORD_ROOT:
        terms_detach(state->root, TABLE_DELETED, &state->hash);
        table_free(state->root);
        state->root = record->table;
        terms_attach(state->root, ROOT_PATH, 1, &state->hash);
        break;
    }
}

static void undo_put(struct state *state, const struct journal_record *record)
{
    struct state_slot put;
    struct state_item *item;
    struct state_table *table = record->table;
    if (record->old.type != STATE_NIL) {
        put_attached(state, table, record->key, record->old, &put, &item);
        slot_deinit(&put);
        return;
    }
    item = remove_attached(state, table, record->key, &put);
    slot_deinit(&put);
    memory_free(item);
    if (table->count > 0) return;
    state->hash -= term_of_table(table);
    table->object = record->object;
    state->hash += term_of_table(table);
}

static void undo_remove(struct state *state, const struct journal_record *record)
{
    struct state_table *table = record->table;
    struct state_slot nothing;
    struct state_item *item = record->item;
    if (!item) {
        put_attached(state, table, record->key, record->old, &nothing, &item);
        return;
    }
    bool was_empty = table->count == 0;
    if (was_empty) state->hash -= term_of_table(table);
    table_restore_item(table, item);
    if (was_empty) state->hash += term_of_table(table);
    terms_in(state, table, record->key, &item->slot);
}
