/*
 * A blocking msgpack-RPC client for commands that ask a node something: one connection, one call at a time, every wait
 * with a limit. Plain POSIX sockets, because there is nothing to do meanwhile.
 */
#ifndef MOONCLAVE_CLI_CLIENT_H
#define MOONCLAVE_CLI_CLIENT_H

#include "base/buffer.h"
#include "base/error.h"

struct rpc_client;

/* Connects to "host:port". UNAVAILABLE: nobody answers there; USAGE: no address. The text says what to do. On success
 * the client is the caller's, to be closed. */
enum error_code rpc_client_open(struct rpc_client **client, const char *address, unsigned timeout_ms,
                                struct error *error);
void rpc_client_close(struct rpc_client *client); /* null is allowed */

/* Calls `method`; params: one msgpack array (empty slice: none). OK: *result is one msgpack value, borrowed until the
 * next call. Else the error's code and text are the node's own (REJECTED where the code is the app's), or UNAVAILABLE
 * where the connection broke, TIMEOUT, BAD_REQUEST where the other side does not speak msgpack-RPC: after these three
 * the client is good for nothing but closing. */
enum error_code rpc_client_call(struct rpc_client *client, const char *method, struct slice params,
                                unsigned timeout_ms, struct slice *result, struct error *error);

#endif
