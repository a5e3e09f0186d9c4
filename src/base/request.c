/* What all protocols share: the one shape of an error's body, so that every client in every language finds the same
 * two keys; and how a request says that it is to be done once. */
#include "base/request.h"

#include "base/hash.h"
#include "base/mp.h"

#include <string.h>

void reply_write_error(struct buffer *out, enum error_code code, const char *message)
{
    mp_write_map(out, 2);
    mp_write_text(out, "code");
    mp_write_text(out, error_name(code));
    mp_write_text(out, "message");
    mp_write_text(out, message ? message : error_help(code));
}

/* ---- exactly once ---- */

enum error_code request_key(struct request *request, struct slice key, uint64_t nth, struct error *error)
{
    if (key.size == 0 || key.size > REQUEST_KEY_MAX) {
        return error_set(error, ERROR_BAD_REQUEST, "an idempotency key has 1 to %d bytes", REQUEST_KEY_MAX);
    }
    uint8_t bytes[REQUEST_KEY_MAX + 8];
    uint64_t hash[2];
    put_u64(bytes, nth);
    memcpy(bytes + 8, key.data, key.size);
    hash_wide(bytes, key.size + 8, hash);
    request->kind = REQUEST_KEYED;
    request->session = hash[0];
    request->sequence = hash[1];
    return ERROR_OK;
}

static const char *const actions[] = {
    [SESSION_OPEN] = "open",
    [SESSION_RENEW] = "renew",
    [SESSION_CLOSE] = "close",
};

void session_body_write(struct buffer *out, enum session_action action, uint64_t acknowledged)
{
    mp_write_array(out, action == SESSION_RENEW ? 2 : 1);
    mp_write_text(out, actions[action]);
    if (action == SESSION_RENEW) mp_write_u64(out, acknowledged);
}

bool session_body_read(struct slice body, enum session_action *action, uint64_t *acknowledged)
{
    struct mp_reader reader = mp_reader_of(body);
    struct slice name;
    uint32_t count;
    *acknowledged = 0;
    if (!mp_read_array(&reader, &count) || count == 0 || !mp_read_string(&reader, &name)) return false;
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (!slice_equal(name, slice_text(actions[i]))) continue;
        *action = (enum session_action)i;
        if (i != SESSION_RENEW) return count == 1 && mp_at_end(&reader);
        return count == 2 && mp_read_u64(&reader, acknowledged) && mp_at_end(&reader);
    }
    return false;
}

/* ---- headers ---- */

enum error_code http_single_header(const struct http_request *request, const char *name, struct slice *value,
                                   struct error *error)
{
    bool found = false;
    *value = slice_of(NULL, 0);
    for (size_t i = 0; i < request->header_count; i++) {
        if (!slice_equal(request->headers[i].name, slice_text(name))) continue;
        if (found) return error_set(error, ERROR_BAD_REQUEST, "the header %s is there twice", name);
        found = true;
        *value = request->headers[i].value;
    }
    while (value->size > 0 && memchr(" \t", value->data[0], 2) != NULL) {
        value->data++;
        value->size--;
    }
    while (value->size > 0 && memchr(" \t", value->data[value->size - 1], 2) != NULL) value->size--;
    if (found && value->size == 0) return error_set(error, ERROR_BAD_REQUEST, "the header %s is empty", name);
    return ERROR_OK;
}

enum error_code http_idempotency_key(const struct http_request *request, struct slice *key, struct error *error)
{
    enum error_code code = http_single_header(request, "idempotency-key", key, error);
    if (code != ERROR_OK || key->size == 0) return code;
    if (key->size >= 2 && key->data[0] == '"' && key->data[key->size - 1] == '"')
        *key = slice_of(key->data + 1, key->size - 2);
    if (key->size > 0 && key->size <= REQUEST_KEY_MAX) return ERROR_OK;
    return error_set(error, ERROR_BAD_REQUEST, "idempotency-key has 1 to %d bytes", REQUEST_KEY_MAX);
}
