/*
 * msgpack-RPC as its specification has it, so that stock clients of any language connect:
 *
 *   request       [0, msgid, method, params]
 *   response      [1, msgid, error, result]
 *   notification  [2, method, params]
 *
 * Messages follow each other in a stream without frames; the parser finds their ends. Nothing is
 * copied or allocated.
 */
#ifndef MOONCLAVE_WIRE_RPC_H
#define MOONCLAVE_WIRE_RPC_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/mp.h"

enum rpc_type { RPC_REQUEST = 0, RPC_RESPONSE = 1, RPC_NOTIFICATION = 2 };

/* Slices point into the bytes parsed; params, error and result are each one well-formed msgpack
 * value. */
struct rpc_message {
    enum rpc_type type;
    uint32_t id;         /* request, response */
    struct slice method; /* request, notification: its text */
    struct slice params; /* request, notification: an array */
    struct slice error;  /* response: nil where it succeeded */
    struct slice result; /* response: nil where it failed */
};

/* Zero-initialise. Remembers how far an unfinished message was walked, so that bytes arriving one
 * at a time cost no more than bytes arriving at once. */
struct rpc_parser {
    struct mp_scan scan;
};

/* The limits for foreign messages of at most this many bytes. */
struct mp_limits rpc_limits(size_t bytes_max);

/* The next message at the start of `bytes`, which must be all that is unconsumed of the stream. OK
 * with *size: a message, and how many bytes to consume; OK with *size 0: more bytes are needed.
 * BAD_REQUEST, TOO_LARGE: not msgpack-RPC or beyond the limits; close the connection, the text is
 * fit for its log. */
enum error_code rpc_next(struct rpc_parser *parser, struct slice bytes,
                         const struct mp_limits *limits, struct rpc_message *message, size_t *size,
                         struct error *error);

/* Each appends one message. params, result and error are one msgpack value; params an array. */
void rpc_write_request(struct buffer *out, uint32_t id, const char *method, struct slice params);
void rpc_write_notification(struct buffer *out, const char *method, struct slice params);
void rpc_write_result(struct buffer *out, uint32_t id, struct slice result);
void rpc_write_error(struct buffer *out, uint32_t id, struct slice error);
/* The same with the error body that replies carry: {"code": ..., "message": ...}; a null message:
 * the table's help. */
void rpc_write_error_code(struct buffer *out, uint32_t id, enum error_code code,
                          const char *message);

#endif
