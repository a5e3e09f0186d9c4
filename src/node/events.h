/*
 * What has happened to this node (base/event.h): numbered from 1 in its lifetime, the newest kept in a ring,
 * and handed to those who listen. Nothing is queued for a listener: each has a place in the ring, is given what
 * lies behind it when it can take it, and is told how many it has missed when the ring has moved past. So a
 * slow one costs no memory.
 *
 * A lifetime has a number of its own (the time of its start), so that a listener who comes back after a restart
 * can tell, and is told.
 */
#ifndef MOONCLAVE_NODE_EVENTS_H
#define MOONCLAVE_NODE_EVENTS_H

#include "base/error.h"
#include "base/event.h"

struct client;
struct node;
struct web_connection;
struct events_reader;

/* What a listener asks for. */
struct events_ask {
    uint64_t after;   /* the number of the last one it has; UINT64_MAX: what comes from now on */
    uint64_t life;    /* the lifetime that number is of; 0: not said */
    uint64_t types;   /* bits, 1 << type */
    uint64_t wait_ms; /* RPC: how long to wait for the first one */
    uint64_t most;    /* RPC: in one answer */
};

void events_open(struct node *node);
void events_close(struct node *node);
/* Within effects too: listeners are served later. Copies. */
void events_note(struct node *node, enum event_type type, struct slice data);
uint64_t events_count(const struct node *node, enum event_type type);

/* RPC: params are [] or [{"after", "life", "types", "wait_ms", "max"}]. BAD_REQUEST with a text. */
enum error_code events_read_params(struct slice params, struct events_ask *ask, struct error *error);
/* ... answered once through client_reply, never from within. OVERLOADED: too many listen. */
enum error_code events_poll(struct node *node, const struct client *client, uint64_t ticket,
                            const struct events_ask *ask, struct error *error);
void events_hurry(struct node *node, const struct client *client); /* it sends no more: its waits end now */
void events_forget(struct node *node, uint64_t ticket); /* its client has gone */

/* HTTP: the query string and the value of Last-Event-ID. BAD_REQUEST with a text. */
enum error_code events_read_query(struct slice query, struct slice last_id, struct events_ask *ask,
                                  struct error *error);
/* A stream of server-sent events on the connection, for as long as it lasts. Null: too many listen. */
struct events_reader *events_stream(struct node *node, struct web_connection *connection,
                                    const struct events_ask *ask);
void events_ready(struct node *node);                              /* someone may take more */
void events_leave(struct node *node, struct events_reader *reader); /* null is allowed */

#endif
