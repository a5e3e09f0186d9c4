/*
 * The msgpack door: the only place where msgpack bytes are made or read.
 *
 * Values between folders are msgpack bytes in canonical form: shortest integers, floats always 8 bytes with one NaN,
 * strings as `str` where they are valid UTF-8 and as `bin` otherwise, map keys in order (integers ascending, then
 * strings bytewise). Equal values give equal bytes.
 *
 * Writing goes through msgpack-c. Reading is a cursor over the bytes that never allocates; foreign bytes pass
 * mp_check first, which walks them once against limits, so that five hostile bytes cannot reserve gigabytes.
 */
#ifndef MOONCLAVE_BASE_MP_H
#define MOONCLAVE_BASE_MP_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define VALUE_DEPTH_MAX 24 /* containers within containers; msgpack-c cannot decode deeper than 32 */

enum mp_type {
    MP_NIL,
    MP_BOOLEAN,
    MP_INTEGER,  /* fits int64_t */
    MP_UNSIGNED, /* above INT64_MAX: outside our values, read only to be refused or carried as an id */
    MP_FLOAT,
    MP_STRING,   /* str or bin: one string type for Lua */
    MP_ARRAY,
    MP_MAP,
};

/* One element's head. For arrays and maps the elements (for maps: key, value, key, value ...) follow in the reader. */
struct mp_item {
    enum mp_type type;
    union {
        bool boolean;
        int64_t integer;
        uint64_t unsigned_integer;
        double number;
        struct slice string; /* borrowed from the bytes read */
        uint32_t count;      /* elements of an array, pairs of a map */
    };
};

struct mp_reader {
    const uint8_t *at;
    const uint8_t *end;
};

struct mp_reader mp_reader_of(struct slice bytes);
bool mp_read(struct mp_reader *reader, struct mp_item *item); /* false: malformed, ended, or an ext type */
/* For streams. false: not all of it is there yet or, with *malformed, it never will be; nothing was read. */
bool mp_read_some(struct mp_reader *reader, struct mp_item *item, bool *malformed);
bool mp_skip(struct mp_reader *reader, struct slice *skipped); /* one whole value; its bytes in *skipped if not null */
bool mp_at_end(const struct mp_reader *reader);

/* Typed reads: false when malformed or of another type; the reader is then not to be used further. */
bool mp_read_integer(struct mp_reader *reader, int64_t *value);
bool mp_read_u64(struct mp_reader *reader, uint64_t *value); /* 0 ... 2^64-1 */
bool mp_read_boolean(struct mp_reader *reader, bool *value);
bool mp_read_string(struct mp_reader *reader, struct slice *value);
bool mp_read_array(struct mp_reader *reader, uint32_t *count);
bool mp_read_map(struct mp_reader *reader, uint32_t *count);

struct mp_limits {
    uint32_t depth;    /* containers within containers; 0: none allowed */
    uint64_t elements; /* in all: the value itself, every element, every key */
    size_t bytes;
};

/* Is this exactly one well-formed value within the limits? OK, BAD_REQUEST or TOO_LARGE with a text. */
enum error_code mp_check(struct slice bytes, const struct mp_limits *limits, struct error *error);

/* How long is the value at the start of these bytes? For streams. OK with *size; OK with *size 0: more bytes are
 * needed; else as mp_check. */
enum error_code mp_measure(struct slice bytes, const struct mp_limits *limits, size_t *size, struct error *error);

/* The same for a value that arrives in pieces: begin with {0}, call with all bytes so far (only ever more of them), and
 * nothing is walked twice. When it is done (*size not 0) or has failed, begin again with {0}. */
#define MP_SCAN_DEPTH_MAX 32 /* limits.depth may not be more: the scan keeps its own small stack */
struct mp_scan {
    size_t offset;                       /* walked so far */
    uint64_t elements;                   /* announced so far */
    uint32_t depth;                      /* containers open */
    uint64_t left[MP_SCAN_DEPTH_MAX];    /* values each open container still waits for */
};
enum error_code mp_scan(struct mp_scan *scan, struct slice bytes, const struct mp_limits *limits, size_t *size,
                        struct error *error);

void mp_write_nil(struct buffer *out);
void mp_write_boolean(struct buffer *out, bool value);
void mp_write_integer(struct buffer *out, int64_t value);
void mp_write_u64(struct buffer *out, uint64_t value);
void mp_write_float(struct buffer *out, double value);
void mp_write_string(struct buffer *out, struct slice value); /* str where valid UTF-8, else bin */
void mp_write_text(struct buffer *out, const char *value);
/* What comes before a string's bytes, for one that is written in pieces; `text`: all of it is valid UTF-8. */
void mp_write_string_head(struct buffer *out, uint32_t size, bool text);
void mp_write_array(struct buffer *out, uint32_t count);
void mp_write_map(struct buffer *out, uint32_t count);
void mp_write_raw(struct buffer *out, struct slice value); /* bytes that already are one value */

/* Looks a string key up in the map at the start of `map`. false: not a map, or no such key. */
bool mp_map_get(struct slice map, const char *key, struct slice *value);

bool utf8_valid(struct slice bytes);
size_t utf8_cut(struct slice text, size_t most); /* as much of it, at most, that no character is cut in two */

#endif
