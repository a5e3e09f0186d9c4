/* Taking elements out of a body's array: body.h. */
#include "wire/body.h"

#include <string.h>

static bool next(struct body_reader *body);

void body_begin(struct body_reader *body, struct slice bytes)
{
    *body = (struct body_reader){.mp = mp_reader_of(bytes)};
    if (!mp_read_array(&body->mp, &body->left)) body->failed = true;
}

uint64_t body_u64(struct body_reader *body)
{
    uint64_t value = 0;
    if (!next(body)) return 0;
    body_require(body, mp_read_u64(&body->mp, &value));
    return value;
}

uint64_t body_up_to(struct body_reader *body, uint64_t most)
{
    uint64_t value = body_u64(body);
    body_require(body, value <= most);
    return body->failed ? 0 : value;
}

bool body_boolean(struct body_reader *body)
{
    bool value = false;
    if (!next(body)) return false;
    body_require(body, mp_read_boolean(&body->mp, &value));
    return value;
}

struct slice body_string(struct body_reader *body)
{
    struct slice value = {0};
    if (!next(body)) return value;
    body_require(body, mp_read_string(&body->mp, &value));
    return value;
}

void body_text(struct body_reader *body, char *out, size_t capacity)
{
    struct slice text = body_string(body);
    body_require(body,
                 text.size < capacity && (text.size == 0 || !memchr(text.data, 0, text.size)));
    memset(out, 0, capacity);
    if (!body->failed && text.size) memcpy(out, text.data, text.size);
}

void body_id(struct body_reader *body, char out[ID_MAX + 1])
{
    body_text(body, out, ID_MAX + 1);
    body_require(body, id_valid(out));
}

void body_require(struct body_reader *body, bool holds)
{
    if (!holds) body->failed = true;
}

struct slice body_end(struct body_reader *body)
{
    while (!body->failed && body->left > 0) {
        if (next(body)) body_require(body, mp_skip(&body->mp, NULL));
    }
    if (body->failed) return (struct slice){0};
    return slice_of(body->mp.at, (size_t)(body->mp.end - body->mp.at));
}

static bool next(struct body_reader *body)
{
    if (body->failed) return false;
    body->taken++;
    body_require(body, body->left > 0);
    if (!body->failed) body->left--;
    return !body->failed;
}
