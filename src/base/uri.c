/* Decoding what a URL carries. See uri.h. Names and values are decoded into one scratch buffer,
 * then put in order. */
#include "base/uri.h"

#include "base/mp.h"

#include <stdlib.h>
#include <string.h>

/* One name=value of a query. `order` keeps equal names in the order they came. */
struct pair {
    struct slice name, value;
    size_t order;
};

static int hex_digit(uint8_t byte);
static enum error_code read_pairs(struct slice query, struct pair *pairs, size_t *count,
                                  struct buffer *decoded);
static size_t keep_last(struct pair *pairs, size_t count);

enum error_code uri_percent_decode(struct slice text, bool plus, struct buffer *out)
{
    buffer_reserve(out, text.size);
    size_t size = out->size;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == '%') {
            bool whole = text.size - i > 2;
            int high = whole ? hex_digit(text.data[i + 1]) : -1;
            int low = whole ? hex_digit(text.data[i + 2]) : -1;
            if (high < 0 || low < 0) return ERROR_BAD_REQUEST;
            byte = (uint8_t)(high * 16 + low);
            i += 2;
        } else if (byte == '+' && plus) {
            byte = ' ';
        }
        out->data[size++] = byte;
    }
    out->size = size;
    return ERROR_OK;
}

enum error_code uri_query_to_value(struct slice query, struct buffer *out)
{
    struct pair pairs[URI_QUERY_MAX];
    struct buffer decoded = {0};
    size_t count = 0;
    enum error_code code = read_pairs(query, pairs, &count, &decoded);
    if (code == ERROR_OK) {
        count = keep_last(pairs, count);
        mp_write_map(out, (uint32_t)count);
        for (size_t i = 0; i < count; i++) {
            mp_write_string(out, pairs[i].name);
            mp_write_string(out, pairs[i].value);
        }
    }
    buffer_deinit(&decoded);
    return code;
}

static int hex_digit(uint8_t byte)
{
    if (byte >= '0' && byte <= '9') return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static enum error_code decode_piece(struct slice text, struct buffer *decoded, struct slice *piece)
{
    size_t at = decoded->size;
    enum error_code code = uri_percent_decode(text, true, decoded);
    *piece = slice_of(decoded->data + at, decoded->size - at);
    return code;
}

/* Decoding never makes text longer: room for all of it at once, so that slices of it stay valid. */
static enum error_code read_pairs(struct slice query, struct pair *pairs, size_t *count,
                                  struct buffer *decoded)
{
    if (query.size == 0) return ERROR_OK;
    const uint8_t *at = query.data, *end = at + query.size;
    buffer_reserve(decoded, query.size + 1);
    while (at < end) {
        const uint8_t *stop = memchr(at, '&', (size_t)(end - at));
        if (!stop) stop = end;
        if (stop > at) {
            if (*count == URI_QUERY_MAX) return ERROR_BAD_REQUEST;
            const uint8_t *equals = memchr(at, '=', (size_t)(stop - at));
            const uint8_t *name_end = equals ? equals : stop, *value = equals ? equals + 1 : stop;
            struct pair *pair = &pairs[*count];
            pair->order = (*count)++;
            if (decode_piece(slice_of(at, (size_t)(name_end - at)), decoded, &pair->name) ||
                decode_piece(slice_of(value, (size_t)(stop - value)), decoded, &pair->value)) {
                return ERROR_BAD_REQUEST;
            }
        }
        at = stop < end ? stop + 1 : end;
    }
    return ERROR_OK;
}

static int compare_pairs(const void *a, const void *b)
{
    const struct pair *left = a, *right = b;
    int order = slice_compare(left->name, right->name);
    return order ? order : (left->order > right->order) - (left->order < right->order);
}

/* Sorts by name; of equal names the last stays. */
static size_t keep_last(struct pair *pairs, size_t count)
{
    if (count > 1) qsort(pairs, count, sizeof *pairs, compare_pairs);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (i + 1 < count && slice_equal(pairs[i].name, pairs[i + 1].name)) continue;
        pairs[kept++] = pairs[i];
    }
    return kept;
}
