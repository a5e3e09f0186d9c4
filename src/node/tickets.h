/*
 * Numbers for what waits on this node: which connection, or which script, an answer belongs to. A
 * number is never given out twice: an answer that comes too late finds nothing, instead of somebody
 * else.
 */
#ifndef MOONCLAVE_NODE_TICKETS_H
#define MOONCLAVE_NODE_TICKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ticket_kind {
    TICKET_RPC,      /* owner: a client; id: its message id */
    TICKET_HTTP,     /* owner: a web connection, waiting for a command or query */
    TICKET_EXCHANGE, /* owner: a web connection, waiting for a handler of api.lua */
    TICKET_CONTROL,  /* owner: none; id: the control VM's own number */
    TICKET_BACKUP,   /* owner: a backup that waits for its snapshot */
    TICKET_EVENTS,   /* owner: a client; id: its message id: it waits for events */
    TICKET_KINDS,
};

/* Everything one owner waits for. */
struct ticket_list {
    uint32_t first; /* slot + 1; 0: none */
    uint32_t count;
};

struct ticket {
    enum ticket_kind kind;
    void *owner;
    uint64_t id;
    uint64_t began_us; /* 0: it is not timed (tickets_time) */
    unsigned route;    /* as given there */
};

struct tickets;

struct tickets *tickets_new(void);
void tickets_free(struct tickets *tickets);
/* One that was just given out is timed: the time and what it is about come back with it. */
void tickets_time(struct tickets *tickets, uint64_t number, unsigned route, uint64_t began_us);
size_t tickets_count(const struct tickets *tickets);

/* `list` may be null: a ticket of nobody in particular. */
uint64_t tickets_add(struct tickets *tickets, enum ticket_kind kind, void *owner, uint64_t id,
                     struct ticket_list *list);
/* Takes it out again; false: there is no such ticket (any more). */
bool tickets_take(struct tickets *tickets, uint64_t number, struct ticket *ticket);
/* Takes any one of a list; false: it is empty. */
bool tickets_take_any(struct tickets *tickets, struct ticket_list *list, uint64_t *number,
                      struct ticket *ticket);

#endif
