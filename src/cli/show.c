/* Values as Lua: show.h. */
#include "cli/show.h"

#include "base/mp.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct view {
    size_t text_max, items_max;
    struct buffer *out;
};

static bool show_one(const struct view *view, struct mp_reader *reader);
static bool show_many(const struct view *view, struct mp_reader *reader, uint32_t count, bool keyed);
static bool show_key(const struct view *view, struct mp_reader *reader);
static void show_string(const struct view *view, struct slice text);

void show_value(struct slice value, size_t text_max, size_t items_max, struct buffer *out)
{
    const struct mp_limits limits = {.depth = VALUE_DEPTH_MAX + 2, .elements = UINT32_MAX, .bytes = SIZE_MAX};
    const struct view view = {text_max, items_max, out};
    struct mp_reader reader = mp_reader_of(value);
    if (mp_check(value, &limits, NULL) != ERROR_OK || !show_one(&view, &reader))
        buffer_append_format(out, "(%zu bytes that are no value)", value.size);
}

const char *show_time(uint64_t time_ms, char *out)
{
    struct tm parts;
    time_t seconds = (time_t)(time_ms / 1000);
    if (gmtime_r(&seconds, &parts) == NULL || parts.tm_year > 8099) {
        snprintf(out, 24, "%" PRIu64 " ms", time_ms);
        return out;
    }
    size_t size = strftime(out, 24, "%Y-%m-%d %H:%M:%S", &parts);
    snprintf(out + size, 24 - size, ".%03u", (unsigned)(time_ms % 1000));
    return out;
}

static bool show_one(const struct view *view, struct mp_reader *reader)
{
    struct mp_item item;
    char number[40];
    if (!mp_read(reader, &item)) return false;
    switch (item.type) {
    case MP_NIL:
        buffer_append_text(view->out, "nil");
        return true;
    case MP_BOOLEAN:
        buffer_append_text(view->out, item.boolean ? "true" : "false");
        return true;
    case MP_INTEGER:
        buffer_append_format(view->out, "%" PRId64, item.integer);
        return true;
    case MP_UNSIGNED:
        buffer_append_format(view->out, "0x%016" PRIx64, item.unsigned_integer);
        return true;
    case MP_FLOAT: /* a float stays one: 1.0, not 1 */
        snprintf(number, sizeof number, "%.17g", item.number);
        if (isnan(item.number)) snprintf(number, sizeof number, "0/0");
        if (isinf(item.number)) snprintf(number, sizeof number, item.number > 0 ? "math.huge" : "-math.huge");
        buffer_append_text(view->out, number);
        if (strspn(number, "-0123456789") == strlen(number)) buffer_append_text(view->out, ".0");
        return true;
    case MP_STRING:
        show_string(view, item.string);
        return true;
    case MP_ARRAY:
    case MP_MAP:
        return show_many(view, reader, item.count, item.type == MP_MAP);
    }
    return false;
}

static bool show_many(const struct view *view, struct mp_reader *reader, uint32_t count, bool keyed)
{
    struct slice skipped;
    if (count == 0) {
        buffer_append_text(view->out, "{}");
        return true;
    }
    buffer_append_text(view->out, "{ ");
    for (uint32_t i = 0; i < count; i++) {
        bool shown = view->items_max == 0 || i < view->items_max;
        if (!shown) {
            if (i == view->items_max) buffer_append_format(view->out, ", ... %u more", count - i);
            if ((keyed && !mp_skip(reader, &skipped)) || !mp_skip(reader, &skipped)) return false;
            continue;
        }
        if (i > 0) buffer_append_text(view->out, ", ");
        if ((keyed && !show_key(view, reader)) || !show_one(view, reader)) return false;
    }
    buffer_append_text(view->out, " }");
    return true;
}

static bool show_key(const struct view *view, struct mp_reader *reader)
{
    struct mp_reader ahead = *reader;
    struct mp_item item;
    if (!mp_read(&ahead, &item)) return false;
    if (item.type == MP_STRING && show_is_name(item.string)) {
        *reader = ahead;
        buffer_append_slice(view->out, item.string);
    } else {
        buffer_append_byte(view->out, '[');
        if (!show_one(view, reader)) return false;
        buffer_append_byte(view->out, ']');
    }
    buffer_append_text(view->out, " = ");
    return true;
}

/* UTF-8 as it is, control characters and other bytes as escapes; cut between characters. */
static void show_string(const struct view *view, struct slice text)
{
    bool readable = utf8_valid(text);
    size_t size = view->text_max > 0 && text.size > view->text_max ? view->text_max : text.size;
    if (readable) size = utf8_cut(text, size);
    buffer_append_byte(view->out, '"');
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = text.data[i];
        if (byte == '"' || byte == '\\')
            buffer_append_format(view->out, "\\%c", byte);
        else if (byte == '\n')
            buffer_append_text(view->out, "\\n");
        else if (byte < 0x20 || byte == 0x7f || (byte >= 0x80 && !readable))
            buffer_append_format(view->out, "\\x%02x", byte);
        else
            buffer_append_byte(view->out, byte);
    }
    buffer_append_byte(view->out, '"');
    if (size < text.size) buffer_append_format(view->out, "... (%zu bytes)", text.size);
}

bool show_is_name(struct slice text)
{
    static const char *const words[] = {"and",   "break", "do",  "else", "elseif", "end",    "false", "for",
                                        "function", "goto", "if", "in",   "local",  "nil",    "not",   "or",
                                        "repeat", "return", "then", "true", "until", "while"};
    if (text.size == 0 || (text.data[0] >= '0' && text.data[0] <= '9')) return false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_';
        if (!letter && !(byte >= '0' && byte <= '9')) return false;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (slice_equal(text, slice_text(words[i]))) return false;
    }
    return true;
}
