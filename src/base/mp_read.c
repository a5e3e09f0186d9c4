/*
 * Reading msgpack: a cursor over borrowed bytes. Nothing here allocates, recurses, or believes a
 * length before it has seen that the bytes are there. One function, head_at, knows the format's
 * first bytes; everything else goes through it.
 */
#include "base/mp.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum head_state { HEAD_WHOLE, HEAD_SHORT, HEAD_BAD };

/* One value's beginning: the item, the bytes of its head, and of the string that follows it. */
struct head {
    struct mp_item item;
    size_t size;
    size_t string_size;
};

static enum head_state head_at(const uint8_t *at, size_t available, struct head *head);
static uint64_t values_within(const struct mp_item *item);

/* ---- the cursor ---- */

struct mp_reader mp_reader_of(struct slice bytes)
{
    if (!bytes.data) return (struct mp_reader){0};
    return (struct mp_reader){bytes.data, bytes.data + bytes.size};
}

bool mp_at_end(const struct mp_reader *reader)
{
    return reader->at == reader->end;
}

bool mp_read(struct mp_reader *reader, struct mp_item *item)
{
    struct head head;
    size_t available = (size_t)(reader->end - reader->at);
    if (head_at(reader->at, available, &head) != HEAD_WHOLE) return false;
    if (head.string_size > available - head.size) return false;
    if (head.item.type == MP_STRING) {
        head.item.string = slice_of(reader->at + head.size, head.string_size);
    }
    reader->at += head.size + head.string_size;
    *item = head.item;
    return true;
}

bool mp_read_some(struct mp_reader *reader, struct mp_item *item, bool *malformed)
{
    struct head head;
    size_t available = (size_t)(reader->end - reader->at);
    *malformed = available > 0 && head_at(reader->at, available, &head) == HEAD_BAD;
    return available > 0 && !*malformed && mp_read(reader, item);
}

/* Counts the values still to come instead of keeping a stack: any depth, constant memory. A count
 * is 32 bits and costs a byte of input at least, so the sum cannot overflow. */
bool mp_skip(struct mp_reader *reader, struct slice *skipped)
{
    const uint8_t *start = reader->at;
    uint64_t pending = 1;
    while (pending > 0) {
        struct mp_item item;
        if (!mp_read(reader, &item)) return false;
        pending += values_within(&item);
        pending--;
    }
    if (skipped) *skipped = slice_of(start, (size_t)(reader->at - start));
    return true;
}

bool mp_read_integer(struct mp_reader *reader, int64_t *value)
{
    struct mp_item item;
    if (!mp_read(reader, &item) || item.type != MP_INTEGER) return false;
    *value = item.integer;
    return true;
}

bool mp_read_u64(struct mp_reader *reader, uint64_t *value)
{
    struct mp_item item;
    if (!mp_read(reader, &item)) return false;
    if (item.type == MP_UNSIGNED) {
        *value = item.unsigned_integer;
        return true;
    }
    if (item.type != MP_INTEGER || item.integer < 0) return false;
    *value = (uint64_t)item.integer;
    return true;
}

bool mp_read_boolean(struct mp_reader *reader, bool *value)
{
    struct mp_item item;
    if (!mp_read(reader, &item) || item.type != MP_BOOLEAN) return false;
    *value = item.boolean;
    return true;
}

bool mp_read_string(struct mp_reader *reader, struct slice *value)
{
    struct mp_item item;
    if (!mp_read(reader, &item) || item.type != MP_STRING) return false;
    *value = item.string;
    return true;
}

bool mp_read_array(struct mp_reader *reader, uint32_t *count)
{
    struct mp_item item;
    if (!mp_read(reader, &item) || item.type != MP_ARRAY) return false;
    *count = item.count;
    return true;
}

bool mp_read_map(struct mp_reader *reader, uint32_t *count)
{
    struct mp_item item;
    if (!mp_read(reader, &item) || item.type != MP_MAP) return false;
    *count = item.count;
    return true;
}

bool mp_map_get(struct slice map, const char *key, struct slice *value)
{
    struct mp_reader reader = mp_reader_of(map);
    struct slice wanted = slice_text(key);
    uint32_t count;
    if (!mp_read_map(&reader, &count)) return false;
    for (; count > 0; count--) {
        struct mp_reader at_key = reader;
        struct mp_item item;
        if (!mp_skip(&reader, NULL) || !mp_read(&at_key, &item)) return false;
        struct slice found;
        if (!mp_skip(&reader, &found)) return false;
        if (item.type == MP_STRING && slice_equal(item.string, wanted)) {
            *value = found;
            return true;
        }
    }
    return false;
}

/* ---- checking foreign bytes ---- */

enum error_code mp_check(struct slice bytes, const struct mp_limits *limits, struct error *error)
{
    size_t size;
    enum error_code code = mp_measure(bytes, limits, &size, error);
    if (code) return code;
    if (size == 0) {
        return error_set(error, ERROR_BAD_REQUEST, "msgpack: ends in the middle of a value");
    }
    if (size < bytes.size) {
        return error_set(error, ERROR_BAD_REQUEST, "msgpack: %zu bytes behind the value",
                         bytes.size - size);
    }
    return ERROR_OK;
}

enum error_code mp_measure(struct slice bytes, const struct mp_limits *limits, size_t *size,
                           struct error *error)
{
    struct mp_scan scan = {0};
    return mp_scan(&scan, bytes, limits, size, error);
}

static enum error_code check_head(const struct mp_scan *scan, const struct head *head,
                                  const struct mp_limits *limits, struct error *error);
static void scan_past(struct mp_scan *scan, const struct head *head);

enum error_code mp_scan(struct mp_scan *scan, struct slice bytes, const struct mp_limits *limits,
                        size_t *size, struct error *error)
{
    assert(limits->depth <= MP_SCAN_DEPTH_MAX);
    assert(scan->offset <= bytes.size);
    *size = 0;
    do {
        struct head head;
        size_t available = bytes.size - scan->offset;
        enum head_state state =
            available ? head_at(bytes.data + scan->offset, available, &head) : HEAD_SHORT;
        if (state == HEAD_SHORT) return ERROR_OK;
        if (state == HEAD_BAD) {
            return error_set(error, ERROR_BAD_REQUEST,
                             "msgpack: no value begins with 0x%02x (at byte %zu)",
                             bytes.data[scan->offset], scan->offset);
        }
        enum error_code code = check_head(scan, &head, limits, error);
        if (code) return code;
        if (head.string_size > available - head.size) return ERROR_OK;
        scan_past(scan, &head);
    } while (scan->depth > 0);
    *size = scan->offset;
    return ERROR_OK;
}

/* What a head announces is held against the limits before any of it is waited for. */
static enum error_code check_head(const struct mp_scan *scan, const struct head *head,
                                  const struct mp_limits *limits, struct error *error)
{
    uint64_t announced = scan->offset ? scan->elements : 1;
    if (announced + values_within(&head->item) > limits->elements) {
        return error_set(error, ERROR_TOO_LARGE,
                         "msgpack: more than %" PRIu64 " elements (at byte %zu)", limits->elements,
                         scan->offset);
    }
    size_t room = limits->bytes > scan->offset ? limits->bytes - scan->offset : 0;
    if (head->size > room || head->string_size > room - head->size) {
        return error_set(error, ERROR_TOO_LARGE, "msgpack: more than %zu bytes", limits->bytes);
    }
    bool container = head->item.type == MP_ARRAY || head->item.type == MP_MAP;
    if (container && scan->depth >= limits->depth) {
        return error_set(error, ERROR_TOO_LARGE,
                         "msgpack: nested deeper than %" PRIu32 " (at byte %zu)", limits->depth,
                         scan->offset);
    }
    return ERROR_OK;
}

/* Over a string's bytes, into a container, out of every container that this completes. */
static void scan_past(struct mp_scan *scan, const struct head *head)
{
    uint64_t within = values_within(&head->item);
    scan->elements = (scan->offset ? scan->elements : 1) + within;
    scan->offset += head->size + head->string_size;
    if (scan->depth > 0) scan->left[scan->depth - 1]--;
    if (within > 0) scan->left[scan->depth++] = within;
    while (scan->depth > 0 && scan->left[scan->depth - 1] == 0) scan->depth--;
}

/* ---- heads ---- */

enum family { NEVER, NIL, FALSE, TRUE, BYTES, FLOAT, UNSIGNED, SIGNED, ARRAY, MAP };

/* What the bytes 0xc0 ... 0xdf begin, and how many bytes of number or length follow. Ext types are
 * not ours. */
static const struct {
    uint8_t family;
    uint8_t width;
} families[32] = {
    {NIL, 0},      {NEVER, 0},    {FALSE, 0},    {TRUE, 0},     /* c0 */
    {BYTES, 1},    {BYTES, 2},    {BYTES, 4},    {NEVER, 0},    /* c4: bin */
    {NEVER, 0},    {NEVER, 0},    {FLOAT, 4},    {FLOAT, 8},    /* c8 */
    {UNSIGNED, 1}, {UNSIGNED, 2}, {UNSIGNED, 4}, {UNSIGNED, 8}, /* cc */
    {SIGNED, 1},   {SIGNED, 2},   {SIGNED, 4},   {SIGNED, 8},   /* d0 */
    {NEVER, 0},    {NEVER, 0},    {NEVER, 0},    {NEVER, 0},    /* d4 */
    {NEVER, 0},    {BYTES, 1},    {BYTES, 2},    {BYTES, 4},    /* d8: str */
    {ARRAY, 2},    {ARRAY, 4},    {MAP, 2},      {MAP, 4},      /* dc */
};

static void head_of_fixed(uint8_t byte, struct head *head);
static void item_of_unsigned(uint64_t number, struct mp_item *item);
static int64_t sign_extend(uint64_t number, unsigned width);
static double float_of(uint64_t number, unsigned width);

static enum head_state head_at(const uint8_t *at, size_t available, struct head *head)
{
    if (available == 0) return HEAD_SHORT;
    uint8_t byte = at[0];
    head->string_size = 0;
    if (byte < 0xc0 || byte >= 0xe0) {
        head_of_fixed(byte, head);
        return HEAD_WHOLE;
    }
    unsigned width = families[byte - 0xc0].width;
    if (families[byte - 0xc0].family == NEVER) return HEAD_BAD;
    if (available - 1 < width) return HEAD_SHORT;
    uint64_t number = 0;
    for (unsigned i = 1; i <= width; i++) number = number << 8 | at[i];
    head->size = 1 + width;
    struct mp_item *item = &head->item;
    switch ((enum family)families[byte - 0xc0].family) {
    case NEVER:
        break;
    case NIL:
        item->type = MP_NIL;
        break;
    case FALSE:
    case TRUE:
        item->type = MP_BOOLEAN;
        item->boolean = byte == 0xc3;
        break;
    case BYTES:
        item->type = MP_STRING;
        head->string_size = (size_t)number;
        break;
    case FLOAT:
        item->type = MP_FLOAT;
        item->number = float_of(number, width);
        break;
    case UNSIGNED:
        item_of_unsigned(number, item);
        break;
    case SIGNED:
        item->type = MP_INTEGER;
        item->integer = sign_extend(number, width);
        break;
    case ARRAY:
    case MAP:
        item->type = byte < 0xde ? MP_ARRAY : MP_MAP;
        item->count = (uint32_t)number;
        break;
    }
    return HEAD_WHOLE;
}

/* The values that are, or begin, in their first byte. */
static void head_of_fixed(uint8_t byte, struct head *head)
{
    struct mp_item *item = &head->item;
    head->size = 1;
    if (byte < 0x80 || byte >= 0xe0) {
        item->type = MP_INTEGER;
        item->integer = (int8_t)byte;
    } else if (byte < 0xa0) {
        item->type = byte < 0x90 ? MP_MAP : MP_ARRAY;
        item->count = byte & 0x0f;
    } else {
        item->type = MP_STRING;
        head->string_size = byte & 0x1f;
    }
}

static void item_of_unsigned(uint64_t number, struct mp_item *item)
{
    if (number <= INT64_MAX) {
        item->type = MP_INTEGER;
        item->integer = (int64_t)number;
    } else {
        item->type = MP_UNSIGNED;
        item->unsigned_integer = number;
    }
}

static int64_t sign_extend(uint64_t number, unsigned width)
{
    uint64_t sign = (uint64_t)1 << (8 * width - 1);
    return (int64_t)((number ^ sign) - sign);
}

static double float_of(uint64_t number, unsigned width)
{
    if (width == 8) {
        double wide;
        memcpy(&wide, &number, sizeof wide);
        return wide;
    }
    uint32_t bits = (uint32_t)number;
    float narrow;
    memcpy(&narrow, &bits, sizeof narrow);
    return (double)narrow;
}

static uint64_t values_within(const struct mp_item *item)
{
    if (item->type == MP_ARRAY) return item->count;
    if (item->type == MP_MAP) return (uint64_t)item->count * 2;
    return 0;
}
