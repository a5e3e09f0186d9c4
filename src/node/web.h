/* One HTTP exchange as routes.c sees it. */
#ifndef MOONCLAVE_NODE_WEB_H
#define MOONCLAVE_NODE_WEB_H

#include "node/internal.h"

struct web_connection;

/* Begins to answer one request: exactly one of the calls below follows, now or later. */
void route_request(struct node *node, struct web_connection *connection,
                   const struct http_request *request);

void web_answer(struct web_connection *connection, int status, struct slice value);
void web_fail(struct web_connection *connection, enum error_code code, int status,
              const char *message);
void web_not_allowed(struct web_connection *connection, const char *allowed);
/* The number its answer will carry. */
uint64_t web_wait(struct web_connection *connection, enum ticket_kind kind);
void web_stop_waiting(struct web_connection *connection, uint64_t ticket); /* it was not needed */

#endif
