/*
 * What clients ask and what they get: the request and reply types that every layer passes on, and the HTTP exchange
 * that scripts and the HTTP layer share.
 */
#ifndef MOONCLAVE_BASE_REQUEST_H
#define MOONCLAVE_BASE_REQUEST_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdint.h>

/* Frozen numbers: they travel on the wire. SESSION opens, renews or closes one: its body is session_body_write's.
 * KEYED is a command whose (session, sequence) is the hash of an idempotency key (request_key). ADMIN is about the
 * cluster itself, [action, arguments]: host/README.md lists the actions. */
enum request_kind {
    REQUEST_COMMAND = 0,
    REQUEST_QUERY = 1,
    REQUEST_SESSION = 2,
    REQUEST_KEYED = 3,
    REQUEST_ADMIN = 4,
};

/* A query's consistency. LEASE is served as LINEARIZABLE where leases are off. */
enum consistency { CONSISTENCY_LINEARIZABLE = 0, CONSISTENCY_LEASE = 1, CONSISTENCY_STALE = 2 };

/* `body` is the canonical msgpack array [name, arguments]: for a command, exactly the payload of its log entry,
 * encoded once by whoever made it. Borrowed for the call. */
struct request {
    enum request_kind kind;
    enum consistency consistency;
    uint64_t session;    /* 0: none. SESSION: which one to renew or close */
    uint64_t sequence;   /* from 1 to INT64_MAX in a session: the same one again gets the first reply */
    uint32_t timeout_ms; /* 0: the setting request_timeout_ms */
    struct slice body;
};

/* `code` OK: body is the result, one msgpack value. Else body is a msgpack map with at least "code" and "message";
 * REJECTED carries the app's own code there. Borrowed for the call. */
struct reply {
    enum error_code code;
    struct slice body;
};

/* Writes the body of an error reply: {"code": ..., "message": ...}. A null message means the table's help. */
void reply_write_error(struct buffer *out, enum error_code code, const char *message);

/* ---- exactly once ---- */

#define REQUEST_KEY_MAX 255 /* bytes of an idempotency key */

/* Makes a command a KEYED one. `nth` tells apart several commands under one key: 0 is the first. BAD_REQUEST: an empty
 * key, or one longer than REQUEST_KEY_MAX. */
enum error_code request_key(struct request *request, struct slice key, uint64_t nth, struct error *error);

enum session_action { SESSION_OPEN, SESSION_RENEW, SESSION_CLOSE };

/* The body of a SESSION request, which is its entry's payload: ["open"], ["renew", acknowledged] or ["close"]. The
 * client has, and will not ask for again, the replies to the sequences up to `acknowledged`. */
void session_body_write(struct buffer *out, enum session_action action, uint64_t acknowledged);
/* false: none of these. */
bool session_body_read(struct slice body, enum session_action *action, uint64_t *acknowledged);

/* HTTP as scripts see it. All borrowed for the call. */
struct http_header {
    struct slice name; /* lower case */
    struct slice value;
};

struct http_request {
    struct slice method;                 /* "GET" */
    struct slice path;                   /* as sent, not decoded, without the query: "/kv/a%20b" */
    struct slice query;                  /* as sent, not decoded, without the question mark */
    const struct http_header *headers;
    size_t header_count;
    struct slice body;
};

/* The value of the only header of this name (lower case), without blanks around it. OK with size 0: there is none.
 * BAD_REQUEST: there are several. */
enum error_code http_single_header(const struct http_request *request, const char *name, struct slice *value,
                                   struct error *error);
/* What Idempotency-Key says, with or without quotes around it. Size 0: nothing. BAD_REQUEST: several, or not 1 to
 * REQUEST_KEY_MAX bytes. */
enum error_code http_idempotency_key(const struct http_request *request, struct slice *key, struct error *error);

enum http_body { HTTP_BODY_NONE, HTTP_BODY_BYTES, HTTP_BODY_VALUE /* one msgpack value, sent as JSON */ };

struct http_response {
    int status;
    const struct http_header *headers;
    size_t header_count;
    enum http_body kind;
    struct slice body;
};

#endif
