/* One HTTP exchange as routes.c sees it. */
#ifndef MOONCLAVE_NODE_WEB_H
#define MOONCLAVE_NODE_WEB_H

#include "node/call.h"
#include "node/events.h"
#include "node/internal.h"

struct web_connection;

/* ---- download.c ---- */
/* A backup as the answer to this request. */
void download_begin(struct node *node, struct web_connection *connection, const struct call *call);

/* Begins to answer one request: exactly one of the calls below follows, now or later. */
void route_request(struct node *node, struct web_connection *connection,
                   const struct http_request *request);

void web_answer(struct web_connection *connection, int status, struct slice value);
void web_fail(struct web_connection *connection, enum error_code code, int status,
              const char *message);
/* An answer of known length whose bytes come later: `headers` are whole lines. Then web_give, as often as it takes
 * to give all of them, the last time with `last`. `wanted` is called whenever what was given has gone to the system,
 * `gone` when the connection has, or was not served to the end: the last call. */
struct web_download_events {
    void (*wanted)(void *context);
    void (*gone)(void *context);
};
void web_hold(struct web_connection *connection, const struct web_download_events *events, void *context);
void web_begin_download(struct web_connection *connection, const char *headers, uint64_t size);
void web_give(struct web_connection *connection, struct slice bytes, bool last);
void web_break(struct web_connection *connection); /* what was announced does not come */
/* Bytes of a type of their own, as they are. */
void web_answer_bytes(struct web_connection *connection, const char *content_type, struct slice bytes);
/* The answer is a stream of events from now on: the connection carries nothing else any more. Says OVERLOADED where too
 * many listen. */
void web_stream(struct web_connection *connection, const struct events_ask *ask);
/* Where to append what goes out next; null: the client is behind with what was written (events_ready follows), or has
 * gone. */
struct buffer *web_stream_output(struct web_connection *connection);
void web_not_allowed(struct web_connection *connection, const char *allowed);
/* The number its answer will carry. */
uint64_t web_wait(struct web_connection *connection, enum ticket_kind kind);
void web_stop_waiting(struct web_connection *connection, uint64_t ticket); /* it was not needed */

#endif
