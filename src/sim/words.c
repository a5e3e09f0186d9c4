/*
 * Requests and replies in a few words, for records: msgpack in, one line of valid UTF-8 out, cut where it gets long.
 */
#include "sim/sim.h"

#include "base/mp.h"

#include <inttypes.h>
#include <stdio.h>

#define WORDS_MAX  240 /* bytes of a line */
#define STRING_MAX 80  /* bytes of one string in it */
#define DEPTH_MAX  4

static void write_value(struct mp_reader *reader, struct buffer *out, unsigned depth, bool bare);
static void write_items(struct mp_reader *reader, struct buffer *out, const struct mp_item *item, unsigned depth,
                        bool bare);
static void write_string(struct slice string, struct buffer *out);
static bool plain(struct slice string);

/* [name, arguments] reads as a call: the name, then the arguments without their braces. Of a session's requests some
 * are a name alone. */
void sim_body_text(struct slice body, struct buffer *out)
{
    struct mp_reader reader = mp_reader_of(body), call = reader;
    uint32_t count;
    struct slice name;
    bool is_call = mp_read_array(&call, &count) && (count == 1 || count == 2) && mp_read_string(&call, &name);
    struct buffer text = {0};
    if (is_call) {
        write_string(name, &text);
        buffer_append_byte(&text, ' ');
        if (count == 2) write_value(&call, &text, 0, true);
        if (text.data[text.size - 1] == ' ') text.size--;
    } else if (body.size > 0) {
        write_value(&reader, &text, 0, true);
    }
    buffer_append_slice(out, buffer_slice(&text));
    buffer_deinit(&text);
}

static void write_value(struct mp_reader *reader, struct buffer *out, unsigned depth, bool bare)
{
    struct mp_item item;
    if (!mp_read(reader, &item)) {
        buffer_append_text(out, "?");
        return;
    }
    switch (item.type) {
    case MP_NIL:
        buffer_append_text(out, "nil");
        break;
    case MP_BOOLEAN:
        buffer_append_text(out, item.boolean ? "true" : "false");
        break;
    case MP_INTEGER:
        buffer_append_format(out, "%" PRId64, item.integer);
        break;
    case MP_UNSIGNED:
        buffer_append_format(out, "%" PRIu64, item.unsigned_integer);
        break;
    case MP_FLOAT:
        buffer_append_format(out, "%.14g", item.number);
        break;
    case MP_STRING:
        write_string(item.string, out);
        break;
    case MP_ARRAY:
    case MP_MAP:
        write_items(reader, out, &item, depth, bare);
        break;
    }
}

static void write_items(struct mp_reader *reader, struct buffer *out, const struct mp_item *item, unsigned depth,
                        bool bare)
{
    bool map = item->type == MP_MAP, cut = depth >= DEPTH_MAX;
    if (!bare || !map) buffer_append_byte(out, map ? '{' : '[');
    for (uint32_t i = 0; i < item->count; i++) {
        if (cut || out->size >= WORDS_MAX) {
            buffer_append_text(out, "\xe2\x80\xa6");
            break;
        }
        if (i > 0) buffer_append_byte(out, ' ');
        if (map) {
            write_value(reader, out, depth + 1, false);
            buffer_append_byte(out, '=');
        }
        write_value(reader, out, depth + 1, false);
    }
    if (!bare || !map) buffer_append_byte(out, map ? '}' : ']');
}

/* As it is where that can be mistaken for nothing else, else in quotes, with \xNN for what cannot be shown. */
static void write_string(struct slice string, struct buffer *out)
{
    bool whole = utf8_valid(string), quoted = !whole || !plain(string);
    size_t size = string.size < STRING_MAX ? string.size : STRING_MAX;
    if (whole) size = utf8_cut(string, size);
    if (quoted) buffer_append_byte(out, '"');
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = string.data[i];
        if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !whole))
            buffer_append_format(out, "\\x%02x", byte);
        else
            buffer_append_byte(out, byte);
    }
    if (quoted) buffer_append_byte(out, '"');
    if (size < string.size) buffer_append_format(out, "\xe2\x80\xa6(%zu)", string.size);
}

static bool plain(struct slice string)
{
    for (size_t i = 0; i < string.size; i++) {
        uint8_t byte = string.data[i];
        if (byte <= ' ' || byte == '"' || byte == '=' || byte == 0x7f) return false;
    }
    return string.size > 0;
}
