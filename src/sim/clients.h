/*
 * Those who ask: what is known of each request, and of what its answer may be.
 */
#ifndef MOONCLAVE_SIM_CLIENTS_H
#define MOONCLAVE_SIM_CLIENTS_H

#include "base/request.h"
#include "sim/once.h"
#include "sim/sim.h"

#define SIM_KEYS 8

struct sim;
struct sim_event;
struct sim_node;

/* ---- clients.c ---- */

/* A query run for an operation, on any node: what its answer may be. */
struct sim_showing {
    raft_index version;  /* index of the last command in the state it saw */
    uint64_t reply_hash; /* 0: none */
};
#define SIM_SHOWINGS 4 /* the newest ones: a query is asked again when its leader is lost */

struct sim_op { /* an attempt: ticket and number are its place in the array + 1 */
    uint32_t first;   /* the number of its operation, which is that of the first attempt */
    uint32_t hopeful; /* of an operation: attempts that are not said to be certainly not done */
    enum request_kind kind;
    enum consistency consistency;
    enum sim_outcome outcome;
    unsigned node, client;
    uint32_t lifetime;
    uint64_t key; /* of the own workload */
    uint32_t timeout_ms;
    uint64_t invoked_us;
    uint64_t due_us; /* by the node's own clock, whatever its rate: then it is overdue */
    uint8_t *body; /* what is submitted, with the envelope; null once the outcome is known */
    size_t body_size;
    uint64_t body_hash; /* of the body proper */
    raft_index floor;   /* everything acknowledged up to here happened before it */
    raft_index applied; /* a command: the index where it took effect; 0: nowhere yet */
    union {
        struct sim_showing showings[SIM_SHOWINGS]; /* a query: a ring */
        struct sim_regular_op once;                /* a regular's, which is none */
    };
    unsigned showing;
    bool submitted; /* it has reached its node; of an operation: one of its attempts has */
    bool regular;   /* regulars.c is told what becomes of it */
};

struct sim_clients {
    struct sim_op *ops;
    size_t count, capacity;
    raft_index floor;                   /* newest index that any finished request has shown */
    unsigned target[SIM_CLIENTS_MAX]; /* each client's node */
    bool scheduled[SIM_CLIENTS_MAX];  /* a CLIENT event is on its way */
    bool quiet;                         /* no new requests */
    uint64_t ok_since_phase;            /* commands invoked and acknowledged in this phase */
    uint64_t phase_us;
    uint64_t waits_for[SIM_CLIENTS_MAX]; /* each client's ticket; 0: none */
    uint64_t pending;    /* operations whose outcome is not known */
    uint64_t submitting; /* the ticket being submitted: no answer may come from within */
    uint64_t applied;    /* commands that took effect */
    uint64_t drawn_key;  /* of the own workload: of the operation being made */
    struct sim_history { /* each key's commands in the order applied, of the own workload */
        struct sim_applied_value {
            raft_index index;
            uint64_t value;
        } * items;
        size_t count, capacity;
    } history[SIM_KEYS];
    struct sim_era { /* what they were before a restore */
        raft_index until;
        struct sim_history history[SIM_KEYS];
    } * eras;
    size_t era_count;
    raft_index shown_at; /* of the query being judged: what the node that answered had applied */
    struct buffer body, state;
};

void clients_begin(struct sim *sim);
void clients_resume(struct sim *sim);
void clients_wake(struct sim *sim);
void clients_prefer(struct sim *sim, unsigned node);
void clients_end(struct sim *sim); /* every outcome becomes known: of what still waits, unknown */
void clients_deinit(struct sim *sim);
uint64_t clients_ask(struct sim *sim, unsigned node, const struct sim_ask *ask); /* by hand */
void clients_on_client(struct sim *sim, struct sim_event *event);
void clients_on_submit(struct sim *sim, struct sim_event *event);
void clients_on_overdue(struct sim *sim, struct sim_event *event);
bool overdue_waits(struct sim *sim, const struct sim_event *event, uint64_t due_us);
void clients_reply(struct sim_node *node, uint64_t ticket, const struct reply *reply);
void clients_node_died(struct sim_node *node);
void clients_check_end(struct sim *sim);
/* A command takes effect at an index for the first time, on a node whose state is that after it. */
void clients_applied(struct sim_node *node, raft_index index, uint64_t number, struct slice body,
                     bool lawful); /* by the rules of sessions and keys */
/* The state is another, by no command: an app's workload looks at it. */
void clients_look(struct sim_node *node, raft_index index);
/* A query is run for an operation. */
void clients_queried(struct sim_node *node, uint64_t number, uint64_t reply_hash);
struct sim_op *clients_find(struct sim *sim, uint64_t number); /* null: none */

/* The body as it is submitted: an envelope of 8 bytes with the operation's number, which the watched machine takes off
 * again, and the body proper. */
#define SIM_ENVELOPE 8

/* ---- workload.c ---- */

bool workload_next(struct sim *sim, unsigned client, struct sim_ask *ask);
/* Of the own workload: its history, and what its answers mean. */
void workload_applied(struct sim *sim, raft_index index, uint64_t number, uint64_t key);
void workload_judge(struct sim_node *node, const struct sim_op *op, uint64_t number,
                    const struct reply *reply, raft_index shown);

/* ---- judge.c: is what a client was told true? ---- */

/* The code is one that the machine gives, not the host. */
bool judge_by_machine(enum error_code code);
/* Of the moment, or of a node: it says nothing about what was asked. */
bool judge_is_passing(enum error_code code);
/* Returns what the reply says of the operation, and the index it shows. */
enum sim_outcome judge_reply(struct sim_node *node, struct sim_op *op, uint64_t number,
                             const struct reply *reply, raft_index *shown);

#endif
