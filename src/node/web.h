/* One HTTP exchange as routes.c sees it. */
#ifndef MOONCLAVE_NODE_WEB_H
#define MOONCLAVE_NODE_WEB_H

#include "node/events.h"
#include "node/internal.h"

struct web_connection;

/* Begins to answer one request: exactly one of the calls below follows, now or later. */
void route_request(struct node *node, struct web_connection *connection,
                   const struct http_request *request);

void web_answer(struct web_connection *connection, int status, struct slice value);
void web_fail(struct web_connection *connection, enum error_code code, int status,
              const char *message);
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
