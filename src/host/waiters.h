/*
 * Those who wait for an answer: clients of this node, and other nodes that forwarded a request.
 * Memory comes from a pool, so that a request costs no allocation once the pool has grown.
 *
 * A waiter is in exactly one list, which its state names; in the heap of deadlines; by its client's
 * ticket in one table, and by a number (a forward ticket, or the log index of its entry) in another
 * while it has one.
 */
#ifndef MOONCLAVE_HOST_WAITERS_H
#define MOONCLAVE_HOST_WAITERS_H

#include "base/request.h"
#include "raft/types.h"

enum waiter_state {
    WAITER_FREE,
    WAITER_ARRIVED,   /* new, or to be looked at again in this turn */
    WAITER_PARKED,    /* nobody to ask: no leader, or no app yet. Certainly never proposed */
    WAITER_COMMAND,   /* goes into this turn's proposal */
    WAITER_QUERY,     /* goes into this turn's read */
    WAITER_STALE,     /* a query to be run on the state as it is */
    WAITER_ADMIN,     /* about the cluster itself: to be looked at in this turn */
    WAITER_TRANSFER,  /* waits for another server to lead */
    WAITER_SNAPSHOT,  /* waits for the snapshot at `number`; 0: for the next one */
    WAITER_PROPOSED,  /* in the log at (number, term): committed, superseded or still open */
    WAITER_FORWARDED, /* with the leader `peer`, under the forward ticket `number` */
    WAITER_READING,   /* in a read round */
    WAITER_ANSWERED,  /* refused with `code`: told at the end of the turn */
    WAITER_STATES
};

enum waiter_table { WAITERS_BY_TICKET, WAITERS_BY_NUMBER, WAITER_TABLES };

struct waiter;

struct waiter_list {
    struct waiter *first, *last;
    size_t count;
};

struct waiter_link {
    uint64_t key;
    struct waiter *next;
};

struct waiter {
    struct waiter *previous, *next;
    struct waiter_list *list;
    struct waiter_link links[WAITER_TABLES];
    enum waiter_state state;
    bool in_table[WAITER_TABLES];
    bool remote;         /* from another node: `peer`, whose forward ticket `ticket` is */
    struct raft_id peer; /* where it came from, or whom it was forwarded to (never both) */
    uint64_t ticket;
    uint64_t number;
    raft_term
        term; /* PROPOSED: its entry's; PARKED: the term in which the leader refused it, 0: none */
    uint64_t order; /* of arrival: breaks ties */
    uint64_t arrived_us;
    uint64_t deadline_us;
    uint64_t wake_us; /* the heap's key: the deadline, or earlier to try again */
    size_t heap_place;
    enum request_kind kind;
    enum consistency consistency;
    uint64_t session, sequence;
    uint64_t again_until_us;  /* until then a command may be sent again; 0: never */
    uint8_t attempts;         /* how often it was forwarded */
    bool uncertain;           /* an attempt that got no answer may have been proposed, or may yet be */
    struct raft_payload body; /* a reference; none once it is in the log and is not sent again */
    size_t size;              /* what it counts against waiting_bytes_max */
    enum error_code code;     /* ANSWERED */
    const char *message;      /* ANSWERED: a literal; null: the table's help */
};

struct waiter_slab;

struct waiter_index {
    struct waiter **slots;
    size_t slot_count; /* a power of two */
    size_t count;
};

struct waiters {
    struct waiter_list
        lists[WAITER_STATES]; /* by state; READING ones are in their rounds instead */
    struct waiter_index tables[WAITER_TABLES];
    struct waiter **heap;
    size_t heap_count, heap_capacity;
    struct waiter_slab *slabs;
    uint64_t order;
    size_t count; /* all but the free */
    size_t bytes;
};

void waiters_init(struct waiters *waiters);
void waiters_deinit(struct waiters *waiters); /* drops everyone without an answer */

/* ARRIVED, with its deadline; everything else is zero. */
struct waiter *waiter_new(struct waiters *waiters, uint64_t deadline_us);
void waiter_free(struct waiters *waiters, struct waiter *waiter);

/* To the end of the state's list, or of `list` for READING. It leaves what it was in. */
void waiter_move(struct waiters *waiters, struct waiter *waiter, enum waiter_state state);
void waiter_move_to(struct waiters *waiters, struct waiter *waiter, enum waiter_state state,
                    struct waiter_list *list);
void waiter_wake_at(struct waiters *waiters, struct waiter *waiter, uint64_t wake_us);
void waiter_drop_body(struct waiter *waiter);
/* A command that is done once however often it is proposed: in a session, or under a key. */
bool waiter_is_deduplicated(const struct waiter *waiter);

void waiter_index_add(struct waiters *waiters, enum waiter_table table, uint64_t key,
                      struct waiter *waiter);
void waiter_index_remove(struct waiters *waiters, enum waiter_table table, struct waiter *waiter);
/* The first of this key that is in `state` (WAITER_STATES: in any); null: none. */
struct waiter *waiter_index_find(const struct waiters *waiters, enum waiter_table table,
                                 uint64_t key, enum waiter_state state);

/* The one to wake first; null: none. */
struct waiter *waiters_first_due(const struct waiters *waiters);

#endif
