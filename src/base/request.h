/*
 * What clients ask and what they get: the request and reply types that every layer passes on, and the HTTP exchange
 * that scripts and the HTTP layer share.
 */
#ifndef MOONCLAVE_BASE_REQUEST_H
#define MOONCLAVE_BASE_REQUEST_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdint.h>

/* ADMIN: about the cluster itself, [action, arguments]; host/README.md lists the actions. */
enum request_kind { REQUEST_COMMAND = 0, REQUEST_QUERY = 1, REQUEST_ADMIN = 2 };

/* A query's consistency. LEASE is served as LINEARIZABLE where leases are off. */
enum consistency { CONSISTENCY_LINEARIZABLE = 0, CONSISTENCY_LEASE = 1, CONSISTENCY_STALE = 2 };

/* `body` is the canonical msgpack array [name, arguments]: for a command, exactly the payload of its log entry,
 * encoded once by whoever made it. Borrowed for the call. */
struct request {
    enum request_kind kind;
    enum consistency consistency;
    uint64_t session;    /* 0: none */
    uint64_t sequence;
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

enum http_body { HTTP_BODY_NONE, HTTP_BODY_BYTES, HTTP_BODY_VALUE /* one msgpack value, sent as JSON */ };

struct http_response {
    int status;
    const struct http_header *headers;
    size_t header_count;
    enum http_body kind;
    struct slice body;
};

#endif
