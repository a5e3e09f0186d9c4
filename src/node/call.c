/* See call.h. */
#include "node/call.h"

#include "base/mp.h"

#define SECONDS_MAX 86400.0

bool call_consistency(struct slice name, enum consistency *consistency)
{
    static const char *const names[] = {
        [CONSISTENCY_LINEARIZABLE] = "linearizable",
        [CONSISTENCY_LEASE] = "lease",
        [CONSISTENCY_STALE] = "stale",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!slice_equal(name, slice_text(names[i]))) continue;
        *consistency = (enum consistency)i;
        return true;
    }
    return false;
}

bool call_timeout(double seconds, uint32_t *timeout_ms)
{
    if (!(seconds > 0 && seconds <= SECONDS_MAX)) return false;
    double ms = seconds * 1000;
    *timeout_ms = ms < 1 ? 1 : (uint32_t)ms;
    return true;
}

bool call_number(struct slice digits, uint64_t *number)
{
    *number = 0;
    if (digits.size == 0 || digits.size > 19) return false;
    for (size_t i = 0; i < digits.size; i++) {
        if (digits.data[i] < '0' || digits.data[i] > '9') return false;
        *number = *number * 10 + (uint64_t)(digits.data[i] - '0');
    }
    return *number > 0 && *number <= INT64_MAX;
}

/* ---- how often ---- */

static enum error_code read_header(const struct http_request *http, const char *name,
                                   uint64_t *number, struct error *error)
{
    struct slice value;
    enum error_code code = http_single_header(http, name, &value, error);
    *number = 0;
    if (code != ERROR_OK || value.size == 0 || call_number(value, number)) return code;
    return error_set(error, ERROR_BAD_REQUEST, "%s is a whole number from 1 to 2^63 - 1", name);
}

static enum error_code both_or_none(bool session, bool sequence, bool key, struct error *error)
{
    if (session != sequence)
        return error_set(error, ERROR_BAD_REQUEST, "session and sequence belong together");
    if (session && key) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "a command is in a session or under a key, not both");
    }
    return ERROR_OK;
}

enum error_code call_once_from_headers(const struct http_request *http, struct request *request,
                                       struct error *error)
{
    struct slice key = {0};
    enum error_code code = read_header(http, "moonclave-session", &request->session, error);
    if (code == ERROR_OK)
        code = read_header(http, "moonclave-sequence", &request->sequence, error);
    if (code == ERROR_OK) code = http_idempotency_key(http, &key, error);
    if (code == ERROR_OK)
        code = both_or_none(request->session != 0, request->sequence != 0, key.size > 0, error);
    if (code != ERROR_OK || key.size == 0) return code;
    return request_key(request, key, 0, error);
}

/* false: it is there, and is no such number. */
static bool read_option(struct slice options, const char *name, uint64_t *number)
{
    struct slice value;
    *number = 0;
    if (!mp_map_get(options, name, &value)) return true;
    struct mp_reader reader = mp_reader_of(value);
    return mp_read_u64(&reader, number) && *number > 0 && *number <= INT64_MAX;
}

enum error_code call_once_from_options(struct slice options, struct request *request,
                                       struct error *error)
{
    struct slice value, key = {0};
    if (!read_option(options, "session", &request->session) ||
        !read_option(options, "sequence", &request->sequence)) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "session and sequence are whole numbers from 1 to 2^63 - 1");
    }
    bool keyed = mp_map_get(options, "key", &value);
    enum error_code code =
        both_or_none(request->session != 0, request->sequence != 0, keyed, error);
    if (code != ERROR_OK || !keyed) return code;
    struct mp_reader reader = mp_reader_of(value);
    if (!mp_read_string(&reader, &key))
        return error_set(error, ERROR_BAD_REQUEST, "key is a string");
    return request_key(request, key, 0, error);
}
