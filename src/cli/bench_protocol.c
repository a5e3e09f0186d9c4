/* The two protocols of the load generator: see bench.h. The app's side of both is examples/kv's. */
#include "cli/bench.h"

#include "wire/rpc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_PATTERN "k00000000"
#define ANSWER_BYTES_MAX (64u << 20)
#define HEAD_BYTES_MAX 65536

static void rpc_build(struct bench_template *templates, size_t value_size);
static void rpc_template(struct bench_template *request, const char *method, struct slice params);
static ptrdiff_t rpc_scan(struct mp_scan *scan, struct slice bytes, struct bench_answer *answer);
static void rpc_code(struct slice error, struct bench_answer *answer);
static void http_build(struct bench_template *templates, size_t value_size);
static ptrdiff_t http_scan(struct mp_scan *scan, struct slice bytes, struct bench_answer *answer);
static size_t http_length(const char *head, const char *end, bool *known);
static void http_code(const char *head, struct slice body, struct bench_answer *answer);
static void append_value(struct buffer *out, size_t size);
static size_t find_key(const struct buffer *bytes);

const struct bench_protocol bench_rpc = {.in_order = false, .build = rpc_build, .scan = rpc_scan};
const struct bench_protocol bench_http = {.in_order = true, .build = http_build, .scan = http_scan};

void bench_request(const struct bench_template *request, uint32_t id, uint32_t key, struct buffer *out)
{
    static const char digits[] = "0123456789abcdef";
    size_t size = request->bytes.size;
    buffer_reserve(out, size);
    uint8_t *at = out->data + out->size;
    memcpy(at, request->bytes.data, size);
    for (int i = 0; i < 8; i++) at[request->key_at + (size_t)i] = (uint8_t)digits[key >> (28 - 4 * i) & 15];
    if (request->id_at != 0) {
        for (int i = 0; i < 4; i++) at[request->id_at + (size_t)i] = (uint8_t)(id >> (24 - 8 * i));
    }
    out->size += size;
}

/* ---- msgpack-RPC ---- */

static void rpc_build(struct bench_template *templates, size_t value_size)
{
    struct buffer params = {0}, value = {0};
    append_value(&value, value_size);
    mp_write_array(&params, 1);
    mp_write_map(&params, 2);
    mp_write_text(&params, "key");
    mp_write_text(&params, KEY_PATTERN);
    mp_write_text(&params, "value");
    mp_write_string(&params, buffer_slice(&value));
    rpc_template(&templates[BENCH_PUT], "put", buffer_slice(&params));
    buffer_clear(&params);
    mp_write_array(&params, 1);
    mp_write_map(&params, 1);
    mp_write_text(&params, "key");
    mp_write_text(&params, KEY_PATTERN);
    rpc_template(&templates[BENCH_GET], "get", buffer_slice(&params));
    buffer_deinit(&params);
    buffer_deinit(&value);
}

/* [0, id, method, params] with the id in its longest form, so that it can be patched. */
static void rpc_template(struct bench_template *request, const char *method, struct slice params)
{
    rpc_write_request(&request->bytes, UINT32_MAX, method, params);
    request->id_at = 3; /* behind 0x94, 0x00, 0xce */
    request->key_at = find_key(&request->bytes);
}

/* Only the ends of the message and its first bytes are looked at: [1, id, nil, result] is 0x94 0x01 id 0xc0 ... */
static ptrdiff_t rpc_scan(struct mp_scan *scan, struct slice bytes, struct bench_answer *answer)
{
    static const struct mp_limits limits = {MP_SCAN_DEPTH_MAX, UINT64_MAX, ANSWER_BYTES_MAX};
    size_t size;
    if (bytes.size == 0) return 0;
    if (mp_scan(scan, bytes, &limits, &size, NULL) != ERROR_OK) return -1;
    if (size == 0) return 0;
    *scan = (struct mp_scan){0};
    struct mp_reader reader = {bytes.data + 2, bytes.data + size};
    uint64_t id;
    if (size < 5 || bytes.data[0] != 0x94 || bytes.data[1] != RPC_RESPONSE) return -1;
    if (!mp_read_u64(&reader, &id) || id > UINT32_MAX || reader.at >= reader.end) return -1;
    answer->id = (uint32_t)id;
    answer->failed = reader.at[0] != 0xc0;
    answer->empty = reader.end - reader.at == 2 && reader.at[1] == 0xc0;
    if (answer->failed) rpc_code(slice_of(reader.at, (size_t)(reader.end - reader.at)), answer);
    return (ptrdiff_t)size;
}

static void rpc_code(struct slice error, struct bench_answer *answer)
{
    struct slice code, name = slice_text("?");
    if (mp_map_get(error, "code", &code)) {
        struct mp_reader reader = mp_reader_of(code);
        if (!mp_read_string(&reader, &name)) name = slice_text("?");
    }
    snprintf(answer->code, sizeof answer->code, "%.*s", (int)(name.size < BENCH_CODE_MAX ? name.size : BENCH_CODE_MAX),
             (const char *)name.data);
}

/* ---- HTTP ---- */

static void http_build(struct bench_template *templates, size_t value_size)
{
    struct buffer *put = &templates[BENCH_PUT].bytes, *get = &templates[BENCH_GET].bytes;
    buffer_append_format(put, "PUT /kv/" KEY_PATTERN " HTTP/1.1\r\nhost: bench\r\ncontent-length: %zu\r\n\r\n",
                         value_size);
    append_value(put, value_size);
    buffer_append_text(get, "GET /kv/" KEY_PATTERN " HTTP/1.1\r\nhost: bench\r\n\r\n");
    templates[BENCH_PUT].key_at = find_key(put);
    templates[BENCH_GET].key_at = find_key(get);
}

static ptrdiff_t http_scan(struct mp_scan *scan, struct slice bytes, struct bench_answer *answer)
{
    (void)scan;
    const char *head = (const char *)bytes.data;
    if (head == NULL || bytes.size < 13) return 0;
    if (memcmp(head, "HTTP/1.1 ", 9) != 0) return -1;
    const char *end = memmem(head, bytes.size, "\r\n\r\n", 4);
    if (end == NULL) return bytes.size > HEAD_BYTES_MAX ? -1 : 0;
    bool known = false;
    size_t length = http_length(head, end + 2, &known);
    size_t head_size = (size_t)(end + 4 - head);
    if (!known) return -1;
    if (bytes.size < head_size + length) return 0;
    answer->failed = head[9] != '2';
    answer->empty = false;
    if (answer->failed) http_code(head, slice_of(bytes.data + head_size, length), answer);
    return (ptrdiff_t)(head_size + length);
}

/* `end` is behind the last line's end, so that every number ends within. */
static size_t http_length(const char *head, const char *end, bool *known)
{
    static const char name[] = "\ncontent-length:";
    for (const char *line = head; line != NULL && line + sizeof name < end;
         line = memchr(line + 1, '\n', (size_t)(end - line) - 1)) {
        if (*line != '\n' || (line[1] | 0x20) != 'c') continue;
        if (strncasecmp(line, name, sizeof name - 1) != 0) continue;
        unsigned long long length = strtoull(line + sizeof name - 1, NULL, 10);
        *known = length <= ANSWER_BYTES_MAX;
        return (size_t)length;
    }
    return 0;
}

/* The status, and the code that our error bodies carry: {"error": {"code": "timeout", ...}}. */
static void http_code(const char *head, struct slice body, struct bench_answer *answer)
{
    static const char key[] = "\"code\":\"";
    const char *text = body.size > 0 ? memmem(body.data, body.size, key, sizeof key - 1) : NULL;
    int size = 0;
    if (text != NULL) {
        text += sizeof key - 1;
        const char *end = memchr(text, '"', (size_t)((const char *)body.data + body.size - text));
        if (end != NULL && end - text < BENCH_CODE_MAX) size = (int)(end - text);
    }
    snprintf(answer->code, sizeof answer->code, "%.3s%s%.*s", head + 9, size > 0 ? " " : "", size,
             text != NULL ? text : "");
}

/* ---- what both need ---- */

/* Letters that do not repeat in a short period: nothing on the way should find it easy. */
static void append_value(struct buffer *out, size_t size)
{
    struct random random;
    random_init(&random, 1);
    buffer_reserve(out, size);
    for (size_t i = 0; i < size; i++) buffer_append_byte(out, (uint8_t)('a' + random_below(&random, 26)));
}

static size_t find_key(const struct buffer *bytes)
{
    const uint8_t *at = memmem(bytes->data, bytes->size, KEY_PATTERN, sizeof KEY_PATTERN - 1);
    return (size_t)(at - bytes->data) + 1;
}
