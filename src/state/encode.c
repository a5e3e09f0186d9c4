/* The tree as canonical msgpack and back. Recursion is bounded by VALUE_DEPTH_MAX both ways. See
 * state.h. */
#include "state/internal.h"

#include <assert.h>

static void encode_head(const struct state_table *table, struct buffer *out);

void state_encode(const struct state_table *table, struct buffer *out)
{
    state_encode_within(table, out, SIZE_MAX);
}

bool state_encode_within(const struct state_table *table, struct buffer *out, size_t bytes_max)
{
    bool object = state_is_object(table);
    encode_head(table, out);
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    state_scan(&cursor, table, NULL);
    while (state_scan_next(&cursor, &key, &value)) {
        if (object && key.is_string) mp_write_string(out, key.string);
        if (object && !key.is_string) mp_write_integer(out, key.integer);
        if (value.type != STATE_TABLE) {
            state_encode_value(value, out);
        } else if (!state_encode_within(value.table, out, bytes_max)) {
            return false;
        }
        if (out->size > bytes_max) return false;
    }
    return true;
}

static void encode_head(const struct state_table *table, struct buffer *out)
{
    assert(table->count <= UINT32_MAX);
    if (state_is_object(table)) {
        mp_write_map(out, (uint32_t)table->count);
    } else {
        mp_write_array(out, table->length);
    }
}

void state_encode_value(struct state_value value, struct buffer *out)
{
    switch (value.type) {
    case STATE_NIL:
        mp_write_nil(out);
        break;
    case STATE_BOOLEAN:
        mp_write_boolean(out, value.boolean);
        break;
    case STATE_INTEGER:
        mp_write_integer(out, value.integer);
        break;
    case STATE_FLOAT:
        mp_write_float(out, value.number);
        break;
    case STATE_STRING:
        mp_write_string(out, value.string);
        break;
    case STATE_TABLE:
        state_encode(value.table, out);
        break;
    }
}

/* ---- and back ---- */

static enum error_code decode_container(struct mp_reader *reader, const struct mp_item *head,
                                        unsigned depth, struct state_table **built,
                                        struct error *error);
static enum error_code decode_value(struct mp_reader *reader, unsigned depth,
                                    struct state_value *value, struct error *error);
static enum error_code decode_key(struct mp_reader *reader, struct state_key *key,
                                  struct error *error);

enum error_code state_decode(struct slice bytes, struct state_table **built, struct error *error)
{
    struct mp_reader reader = mp_reader_of(bytes);
    struct mp_item head;
    *built = NULL;
    if (!mp_read(&reader, &head) || (head.type != MP_ARRAY && head.type != MP_MAP)) {
        return error_set(error, ERROR_BAD_REQUEST, "not a msgpack array or map");
    }
    enum error_code code = decode_container(&reader, &head, 1, built, error);
    if (code) return code;
    if (mp_at_end(&reader)) return ERROR_OK;
    state_discard(*built);
    *built = NULL;
    return error_set(error, ERROR_BAD_REQUEST, "bytes behind the value");
}

static enum error_code decode_container(struct mp_reader *reader, const struct mp_item *head,
                                        unsigned depth, struct state_table **built,
                                        struct error *error)
{
    if (depth > VALUE_DEPTH_MAX) {
        return error_set(error, ERROR_TOO_LARGE, "tables within tables deeper than %d",
                         VALUE_DEPTH_MAX);
    }
    bool map = head->type == MP_MAP;
    struct state_table *table = state_build(map);
    for (uint32_t i = 0; i < head->count; i++) {
        struct state_key key = state_key_integer((int64_t)i + 1);
        struct state_value value;
        enum error_code code = map ? decode_key(reader, &key, error) : ERROR_OK;
        if (!code) code = decode_value(reader, depth, &value, error);
        if (code) {
            state_discard(table);
            return code;
        }
        state_put(NULL, table, key, value);
    }
    *built = table;
    return ERROR_OK;
}

static enum error_code decode_key(struct mp_reader *reader, struct state_key *key,
                                  struct error *error)
{
    struct mp_item item;
    if (!mp_read(reader, &item)) return error_set(error, ERROR_BAD_REQUEST, "malformed msgpack");
    if (item.type == MP_STRING) {
        *key = state_key_string(item.string);
    } else if (item.type == MP_INTEGER) {
        *key = state_key_integer(item.integer);
    } else {
        return error_set(error, ERROR_BAD_REQUEST, "a key is neither a string nor an integer");
    }
    return ERROR_OK;
}

static enum error_code decode_value(struct mp_reader *reader, unsigned depth,
                                    struct state_value *value, struct error *error)
{
    struct mp_item item;
    if (!mp_read(reader, &item)) return error_set(error, ERROR_BAD_REQUEST, "malformed msgpack");
    switch (item.type) {
    case MP_NIL:
        *value = state_nil();
        break;
    case MP_BOOLEAN:
        *value = state_boolean(item.boolean);
        break;
    case MP_INTEGER:
        *value = state_integer(item.integer);
        break;
    case MP_UNSIGNED:
        return error_set(error, ERROR_BAD_REQUEST, "an integer above 2^63 - 1");
    case MP_FLOAT:
        *value = state_float(item.number);
        break;
    case MP_STRING:
        *value = state_string(item.string);
        break;
    case MP_ARRAY:
    case MP_MAP:
        value->type = STATE_TABLE;
        return decode_container(reader, &item, depth + 1, &value->table, error);
    }
    return ERROR_OK;
}
