/*
 * JSON <-> msgpack. Reading goes through jansson's tree, which is walked once and freed; writing
 * goes straight from the msgpack bytes to text. A look over the text comes before jansson: it holds
 * the depth and the number of containers against limits while they still cost nothing.
 */
#include "http/json.h"

#include "base/memory.h"
#include "base/mp.h"
#include "http/base64.h"

#include <jansson.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW_KEYS 32
static const char bytes_name[] = "$bytes";

static enum error_code check_shape(struct slice json, struct error *error);
static enum error_code parse_error(const json_error_t *failure, struct error *error);
static enum error_code write_json(const json_t *json, struct buffer *out, struct error *error);

enum error_code json_to_value(struct slice json, struct buffer *out, struct error *error)
{
    enum error_code code = check_shape(json, error);
    if (code) return code;
    json_set_alloc_funcs(memory_alloc, memory_free);
    json_error_t failure;
    const char *text = json.size ? (const char *)json.data : "";
    json_t *tree = json_loadb(text, json.size,
                              JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, &failure);
    if (!tree) return parse_error(&failure, error);
    size_t size_before = out->size;
    code = write_json(tree, out, error);
    if (code) out->size = size_before;
    json_decref(tree);
    return code;
}

/* Counts brackets outside of strings. What is no JSON at all is jansson's to explain. */
static enum error_code check_shape(struct slice json, struct error *error)
{
    unsigned line = 1, containers = 0;
    size_t line_at = 0;
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < json.size; i++) {
        uint8_t byte = json.data[i];
        if (in_string) {
            if (byte == '\\') i++;
            if (byte == '"') in_string = false;
        } else if (byte == '"') {
            in_string = true;
        } else if (byte == '\n') {
            line++;
            line_at = i + 1;
        } else if (byte == '[' || byte == '{') {
            if (++depth > VALUE_DEPTH_MAX || ++containers > JSON_CONTAINERS_MAX) {
                return error_set(
                    error, ERROR_BAD_REQUEST, "line %u column %zu: %s", line, i + 1 - line_at,
                    depth > VALUE_DEPTH_MAX ? "nested too deep" : "too many arrays and objects");
            }
        } else if (byte == ']' || byte == '}') {
            depth--;
        }
    }
    return ERROR_OK;
}

/* jansson quotes what it stumbled over (" near 'abc'"); it may be any bytes, and line and column
 * say enough. */
static enum error_code parse_error(const json_error_t *failure, struct error *error)
{
    const char *quote = strstr(failure->text, " near ");
    int size = quote ? (int)(quote - failure->text) : (int)strlen(failure->text);
    return error_set(error, ERROR_BAD_REQUEST, "line %d column %d: %.*s", failure->line,
                     failure->column, size, failure->text);
}

/* ---- jansson's tree to msgpack ---- */

struct member {
    struct slice key;
    const json_t *value;
};

static enum error_code write_object(const json_t *json, struct buffer *out, struct error *error);
static enum error_code write_array(const json_t *json, struct buffer *out, struct error *error);
static bool is_bytes(const json_t *json);
static enum error_code write_bytes(const json_t *json, struct buffer *out, struct error *error);

static enum error_code write_json(const json_t *json, struct buffer *out, struct error *error)
{
    switch (json_typeof(json)) {
    case JSON_OBJECT:
        return is_bytes(json) ? write_bytes(json, out, error) : write_object(json, out, error);
    case JSON_ARRAY:
        return write_array(json, out, error);
    case JSON_STRING:
        mp_write_string(out, slice_of(json_string_value(json), json_string_length(json)));
        break;
    case JSON_INTEGER:
        mp_write_integer(out, json_integer_value(json));
        break;
    case JSON_REAL:
        mp_write_float(out, json_real_value(json));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        mp_write_boolean(out, json_is_true(json));
        break;
    case JSON_NULL:
        mp_write_nil(out);
        break;
    }
    return ERROR_OK;
}

static enum error_code write_array(const json_t *json, struct buffer *out, struct error *error)
{
    size_t count = json_array_size(json);
    mp_write_array(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        enum error_code code = write_json(json_array_get(json, i), out, error);
        if (code) return code;
    }
    return ERROR_OK;
}

static size_t gather_members(json_t *json, struct member *members);
static int compare_members(const void *a, const void *b);

static enum error_code write_object(const json_t *json, struct buffer *out, struct error *error)
{
    struct member few[FEW_KEYS], *members = few;
    size_t size = json_object_size(json);
    if (size > FEW_KEYS) members = memory_zero(size, sizeof *members);
    size_t count = gather_members((json_t *)(uintptr_t)json, members);
    if (count > 1) qsort(members, count, sizeof *members, compare_members);
    mp_write_map(out, (uint32_t)count);
    enum error_code code = ERROR_OK;
    for (size_t i = 0; i < count && code == ERROR_OK; i++) {
        mp_write_string(out, members[i].key);
        code = write_json(members[i].value, out, error);
    }
    if (members != few) memory_free(members);
    return code;
}

/* All but the nulls. The iterator asks for a pointer that is not const, and changes nothing. */
static size_t gather_members(json_t *json, struct member *members)
{
    size_t count = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        if (!json_is_null(value)) members[count++] = (struct member){slice_text(key), value};
    }
    return count;
}

static int compare_members(const void *a, const void *b)
{
    return slice_compare(((const struct member *)a)->key, ((const struct member *)b)->key);
}

static bool is_bytes(const json_t *json)
{
    return json_object_size(json) == 1 && json_is_string(json_object_get(json, bytes_name));
}

static enum error_code write_bytes(const json_t *json, struct buffer *out, struct error *error)
{
    const json_t *text = json_object_get(json, bytes_name);
    struct buffer bytes = {0};
    enum error_code code = ERROR_OK;
    if (base64_decode(json_string_value(text), json_string_length(text), &bytes)) {
        mp_write_string(out, buffer_slice(&bytes));
    } else {
        code =
            error_set(error, ERROR_BAD_REQUEST, "the string of \"%s\" is not base64", bytes_name);
    }
    buffer_deinit(&bytes);
    return code;
}

/* ---- msgpack to text ---- */

static bool read_value(struct mp_reader *reader, struct buffer *out, int depth);

enum error_code json_from_value(struct slice value, struct buffer *out, struct error *error)
{
    struct mp_reader reader = mp_reader_of(value);
    size_t size_before = out->size;
    if (read_value(&reader, out, 0) && mp_at_end(&reader)) return ERROR_OK;
    out->size = size_before;
    return error_set(error, ERROR_BAD_REQUEST, "these bytes are not one msgpack value");
}

static bool read_array(struct mp_reader *reader, uint32_t count, struct buffer *out, int depth);
static bool read_map(struct mp_reader *reader, uint32_t count, struct buffer *out, int depth);
static void append_number(struct buffer *out, double number);
static void append_string(struct buffer *out, struct slice text);
static void append_bytes(struct buffer *out, const char *before, struct slice bytes,
                         const char *after);

static bool read_value(struct mp_reader *reader, struct buffer *out, int depth)
{
    struct mp_item item;
    if (!mp_read(reader, &item)) return false;
    switch (item.type) {
    case MP_NIL:
        buffer_append_text(out, "null");
        return true;
    case MP_BOOLEAN:
        buffer_append_text(out, item.boolean ? "true" : "false");
        return true;
    case MP_INTEGER:
        buffer_append_format(out, "%" PRId64, item.integer);
        return true;
    case MP_UNSIGNED:
        buffer_append_format(out, "%" PRIu64, item.unsigned_integer);
        return true;
    case MP_FLOAT:
        append_number(out, item.number);
        return true;
    case MP_STRING:
        if (utf8_valid(item.string)) {
            append_string(out, item.string);
        } else {
            append_bytes(out, "{\"$bytes\":\"", item.string, "\"}");
        }
        return true;
    case MP_ARRAY:
        return depth < VALUE_DEPTH_MAX && read_array(reader, item.count, out, depth + 1);
    case MP_MAP:
        return depth < VALUE_DEPTH_MAX && read_map(reader, item.count, out, depth + 1);
    }
    return false;
}

static bool read_array(struct mp_reader *reader, uint32_t count, struct buffer *out, int depth)
{
    buffer_append_byte(out, '[');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) buffer_append_byte(out, ',');
        if (!read_value(reader, out, depth)) return false;
    }
    buffer_append_byte(out, ']');
    return true;
}

static bool read_key(struct mp_reader *reader, struct buffer *out);

static bool read_map(struct mp_reader *reader, uint32_t count, struct buffer *out, int depth)
{
    buffer_append_byte(out, '{');
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) buffer_append_byte(out, ',');
        if (!read_key(reader, out)) return false;
        buffer_append_byte(out, ':');
        if (!read_value(reader, out, depth)) return false;
    }
    buffer_append_byte(out, '}');
    return true;
}

static bool read_key(struct mp_reader *reader, struct buffer *out)
{
    struct mp_item item;
    if (!mp_read(reader, &item)) return false;
    if (item.type == MP_INTEGER) {
        buffer_append_format(out, "\"%" PRId64 "\"", item.integer);
    } else if (item.type != MP_STRING) {
        return false;
    } else if (utf8_valid(item.string)) {
        append_string(out, item.string);
    } else {
        append_bytes(out, "\"$bytes:", item.string, "\"");
    }
    return true;
}

/* The shortest digits that read back as the same number, and always a sign that it is a float: 1.0,
 * not 1. */
static void append_number(struct buffer *out, double number)
{
    char text[32];
    if (!isfinite(number)) {
        buffer_append_text(out, "null");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (digits == 17 || strtod(text, NULL) == number) break;
    }
    buffer_append_text(out, text);
    if (!strpbrk(text, ".e")) buffer_append_text(out, ".0");
}

/* Runs of plain characters go in one piece. */
static void append_string(struct buffer *out, struct slice text)
{
    static const char short_escapes[] = "btn\0fr"; /* for 8 ... 13; 11 has none */
    size_t plain = 0;
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
        buffer_append(out, text.data + plain, i - plain);
        plain = i + 1;
        char letter = byte >= 8 && byte <= 13 ? short_escapes[byte - 8]
                      : byte >= 0x20          ? (char)byte
                                              : '\0';
        if (letter) {
            buffer_append_byte(out, '\\');
            buffer_append_byte(out, (uint8_t)letter);
        } else {
            buffer_append_format(out, "\\u%04x", byte);
        }
    }
    buffer_append(out, text.data + plain, text.size - plain);
    buffer_append_byte(out, '"');
}

static void append_bytes(struct buffer *out, const char *before, struct slice bytes,
                         const char *after)
{
    buffer_append_text(out, before);
    base64_encode(bytes, out);
    buffer_append_text(out, after);
}
