/* What a client may say beside a command's or query's arguments, in any protocol. */
#ifndef MOONCLAVE_NODE_CALL_H
#define MOONCLAVE_NODE_CALL_H

#include "base/error.h"
#include "base/request.h"

struct call {
    enum consistency consistency;
    uint32_t timeout_ms; /* 0: the setting */
};

bool call_consistency(struct slice name, enum consistency *consistency); /* false: no such word */
bool call_timeout(double seconds, uint32_t *timeout_ms);                 /* false: out of range */
bool call_number(struct slice digits, uint64_t *number); /* of a session: 1 to INT64_MAX */

/* How often a command may be done, from the headers Moonclave-Session and Moonclave-Sequence, or
 * Idempotency-Key: sets kind, session and sequence. BAD_REQUEST with a text. */
enum error_code call_once_from_headers(const struct http_request *http, struct request *request,
                                       struct error *error);
/* The same from the options of an RPC call, a msgpack map: session and sequence, or key. */
enum error_code call_once_from_options(struct slice options, struct request *request,
                                       struct error *error);

#endif
