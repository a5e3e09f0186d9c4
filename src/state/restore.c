/*
 * A tree out of bytes that come in pieces, each looked at once.
 *
 * Canonical bytes have their keys in order: so each is put behind the last one, without a search, and
 * what is not in order is refused. The tree's hash grows with it. What is announced by a count gets no
 * memory before it is there (points.c alone believes it to a degree, and touches none of it). An element
 * that a piece ends within waits for the next piece.
 */
#include "state/internal.h"

#include "base/memory.h"

#include <assert.h>

/* A table that is being read. */
struct reading {
    struct state_table *table;
    uint32_t count, left; /* as announced, and to come */
    bool map;
    bool has_key; /* a map's key has come, its value has not */
    bool begun;   /* `key` is the last one */
    struct state_key key;
    struct buffer key_bytes;
};

struct state_restore {
    struct state *state; /* what has been read */
    struct reading stack[VALUE_DEPTH_MAX];
    unsigned depth;
    bool whole;
    struct buffer rest; /* of an element that is not all there */
    struct error failure;
};

static enum error_code take(struct state_restore *restore, const struct mp_item *item);
static enum error_code take_key(struct state_restore *restore, struct reading *reading,
                                const struct mp_item *item);
static enum error_code take_scalar(struct state_restore *restore, struct state_value value);
static enum error_code open_table(struct state_restore *restore, const struct mp_item *item);
static void close_tables(struct state_restore *restore);
static enum error_code fail(struct state_restore *restore, const char *what);

struct state_restore *state_restore_begin(void)
{
    struct state_restore *restore = memory_zero(1, sizeof *restore);
    restore->state = state_new();
    restore->state->hash = 0; /* of the tables that are complete */
    return restore;
}

void state_restore_free(struct state_restore *restore)
{
    if (!restore) return;
    for (unsigned i = 0; i < VALUE_DEPTH_MAX; i++) buffer_deinit(&restore->stack[i].key_bytes);
    buffer_deinit(&restore->rest);
    state_free(restore->state);
    memory_free(restore);
}

bool state_restore_whole(const struct state_restore *restore)
{
    return restore->whole;
}

enum error_code state_restore_feed(struct state_restore *restore, struct slice bytes, size_t *used,
                                   struct error *error)
{
    size_t given = bytes.size;
    bool waiting = restore->rest.size > 0;
    if (waiting) {
        buffer_append_slice(&restore->rest, bytes);
        bytes = buffer_slice(&restore->rest);
    }
    struct mp_reader reader = mp_reader_of(bytes);
    struct mp_item item;
    bool malformed = false;
    enum error_code code = restore->failure.code;
    while (!code && !restore->whole && mp_read_some(&reader, &item, &malformed))
        code = take(restore, &item);
    if (!code && malformed) code = fail(restore, "malformed msgpack");
    if (code) return error_set(error, code, "%s", restore->failure.text);
    size_t left = (size_t)(reader.end - reader.at);
    *used = restore->whole ? given - left : given;
    if (restore->whole) {
        buffer_clear(&restore->rest);
    } else if (waiting) {
        buffer_consume(&restore->rest, bytes.size - left);
    } else {
        buffer_append(&restore->rest, reader.at, left);
    }
    return ERROR_OK;
}

enum error_code state_restore_finish(struct state_restore *restore, uint64_t hash,
                                     struct state *state, struct error *error)
{
    assert(!state->open && !state->snapshot);
    enum error_code code = restore->failure.code;
    if (!code && !restore->whole) code = fail(restore, "it ends in the middle");
    if (!code && restore->state->hash != hash) code = fail(restore, "its hash is another");
    if (code) return error_set(error, code, "%s", restore->failure.text);
    struct state old = *state;
    state->root = restore->state->root;
    state->hash = restore->state->hash;
    restore->state->root = old.root;
    restore->state->hash = old.hash;
    uint64_t sum = old.hash;
    terms_detach(old.root, TABLE_DELETED, &sum); /* pointers into it are dead */
    return ERROR_OK;
}

/* ---- one element ---- */

static enum error_code take(struct state_restore *restore, const struct mp_item *item)
{
    if (restore->depth == 0 && item->type != MP_ARRAY && item->type != MP_MAP) {
        return fail(restore, "not a tree");
    }
    if (restore->depth > 0) {
        struct reading *reading = &restore->stack[restore->depth - 1];
        if (reading->map && !reading->has_key) return take_key(restore, reading, item);
    }
    switch (item->type) {
    case MP_BOOLEAN:
        return take_scalar(restore, state_boolean(item->boolean));
    case MP_INTEGER:
        return take_scalar(restore, state_integer(item->integer));
    case MP_FLOAT:
        return take_scalar(restore, state_float(item->number));
    case MP_STRING:
        return take_scalar(restore, state_string(item->string));
    case MP_ARRAY:
    case MP_MAP:
        return open_table(restore, item);
    case MP_NIL:
    case MP_UNSIGNED:
        break;
    }
    return fail(restore, "nil, or an integer above 2^63 - 1");
}

static enum error_code take_key(struct state_restore *restore, struct reading *reading,
                                const struct mp_item *item)
{
    struct state_key key;
    if (item->type == MP_STRING) {
        key = state_key_string(item->string);
    } else if (item->type == MP_INTEGER) {
        key = state_key_integer(item->integer);
    } else {
        return fail(restore, "a key is neither a string nor an integer");
    }
    if (reading->begun && state_key_compare(key, reading->key) <= 0) {
        return fail(restore, "its keys are out of order");
    }
    if (key.is_string) {
        buffer_clear(&reading->key_bytes);
        buffer_append_slice(&reading->key_bytes, key.string);
        key.string = buffer_slice(&reading->key_bytes);
    }
    reading->key = key;
    reading->begun = reading->has_key = true;
    return ERROR_OK;
}

/* Of the open table: an array's is the next one. */
static struct state_key key_of(struct reading *reading)
{
    if (!reading->map) reading->key = state_key_integer((int64_t)reading->table->length + 1);
    reading->has_key = false;
    reading->left--;
    return reading->key;
}

static enum error_code take_scalar(struct state_restore *restore, struct state_value value)
{
    struct reading *reading = &restore->stack[restore->depth - 1];
    struct state_key key = key_of(reading);
    struct state_slot slot = slot_of(value);
    struct state_table *table = reading->table;
    table->sum += term_of(table, key, &slot);
    table_append(table, key, slot, reading->count);
    close_tables(restore);
    return ERROR_OK;
}

static enum error_code open_table(struct state_restore *restore, const struct mp_item *item)
{
    if (restore->depth == VALUE_DEPTH_MAX) return fail(restore, "tables within tables too deep");
    struct state_table *table;
    if (restore->depth == 0) {
        table = restore->state->root; /* attached, and empty */
        table->object = item->type == MP_MAP;
    } else {
        struct reading *outer = &restore->stack[restore->depth - 1];
        struct state_key key = key_of(outer);
        table = table_new(item->type == MP_MAP);
        table->place = TABLE_ATTACHED;
        table->path = path_of(outer->table, key);
        table->depth = (uint8_t)(outer->table->depth + 1u);
        table_append(outer->table, key, slot_of(state_of_table(table)), outer->count);
    }
    struct reading *reading = &restore->stack[restore->depth++];
    struct buffer key_bytes = reading->key_bytes;
    *reading = (struct reading){.table = table, .count = item->count, .left = item->count, .map = item->type == MP_MAP,
                                .key_bytes = key_bytes};
    close_tables(restore);
    return ERROR_OK;
}

/* Those that are complete. */
static void close_tables(struct state_restore *restore)
{
    while (restore->depth > 0 && restore->stack[restore->depth - 1].left == 0) {
        struct state_table *table = restore->stack[--restore->depth].table;
        restore->state->hash += table->sum + term_of_table(table);
        restore->whole = restore->depth == 0;
    }
}

static enum error_code fail(struct state_restore *restore, const char *what)
{
    return error_set(&restore->failure, ERROR_CORRUPT, "the state's bytes: %s", what);
}
