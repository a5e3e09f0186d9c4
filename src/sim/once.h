/*
 * What exactly-once adds to the simulator: clients that have a session or use keys and ask again until they are told
 * (regulars.c), and the rules that answers are judged by (once.c). Shared by the files of this folder, like internal.h,
 * which includes it.
 */
#ifndef MOONCLAVE_SIM_ONCE_H
#define MOONCLAVE_SIM_ONCE_H

#include "base/request.h"
#include "raft/types.h"
#include "sim/sim.h"

struct settings;
struct sim;
struct sim_node;
struct sim_op;

/* ---- once.c: what must become of every entry that is in a session or under a key ---- */

#define ONCE_TABLE(X) \
    X(run, "is run") \
    X(again, "is answered again") \
    X(expired, "finds its session gone") \
    X(forgotten, "is too old") \
    X(reused, "is another under the same number") \
    X(overloaded, "finds no room")

enum once_verdict {
#define X(name, text) ONCE_##name,
    ONCE_TABLE(X)
#undef X
        ONCE_VERDICTS
};

struct once_claim { /* what such an entry says */
    uint8_t type, flags;
    enum session_action action; /* of a SESSION entry */
    uint64_t acknowledged;
    uint64_t session, sequence;
    uint64_t number; /* of the operation */
    uint64_t body_hash;
};

struct once_kept { /* a reply */
    raft_index index; /* where it was given; 0: none is kept */
    uint64_t body_hash;
    size_t cost;
};

struct once_session {
    uint64_t id;
    bool open;
    uint64_t active_ms, floor, highest;
    size_t bytes;
    struct once_kept *kept; /* by sequence */
    size_t kept_capacity;
    uint64_t holder; /* the request that was told its id; 0: none yet */
};

struct once_key {
    uint64_t hash[2];
    struct once_kept kept;
    uint64_t age_ms;
};

struct sim_once {
    struct once_claim *claims; /* a version's `claim` is its place + 1 */
    size_t claim_count, claim_capacity;
    raft_index index; /* up to here the rules have been followed */
    uint64_t clock_ms, age_ms;
    struct once_session *sessions; /* in the order of their ids */
    size_t session_count, session_capacity, open_count, bytes;
    size_t first_open; /* all before are closed */
    struct once_key *keys; /* in the order of being made by clients */
    size_t key_count, key_capacity;
    unsigned *kept_keys; /* places of those kept, oldest first, from `forgotten_keys` on */
    size_t kept_key_count, kept_key_capacity, forgotten_keys, key_bytes;
};

/* The claim of an entry seen for the first time; 0: it makes none. */
uint32_t once_claim(struct sim *sim, const struct raft_entry *entry);
/* Follows the rules up to what this node has applied. */
void once_look(struct sim_node *node);
/* The machine has run the command at this index for the first time; its reply has this size. true: by the rules. */
bool once_run(struct sim_node *node, raft_index index, size_t reply_size);
/* What a session's request, or a refusal that only sessions and keys know, says is true. */
void once_judge_session(struct sim_node *node, struct sim_op *op, uint64_t number, const struct reply *reply);
void once_judge_refusal(struct sim_node *node, const struct sim_op *op, const struct reply *reply);
/* A key that nobody has used before: its place. */
unsigned once_new_key(struct sim *sim);
void once_check_end(struct sim_node *node); /* what a member holds of sessions is whole as bytes */
void once_deinit(struct sim *sim);

/* ---- regulars.c: the clients ---- */

#define SIM_CALLS 8 /* of a client, under way at once */

struct sim_once_plan {
    unsigned regulars, by_key, swallows, pauses, hoards; /* permille */
    unsigned calls_most;                                 /* that one has under way */
};

struct sim_regular_op { /* what a regular's attempt is, beside struct sim_op */
    uint64_t session, sequence;
    unsigned place;             /* of its key */
    enum session_action action; /* of a session's request */
    uint32_t verdicts; /* of an operation: bits of what its entries were by the rules */
};

enum sim_way { WAY_PLAIN, WAY_SESSION, WAY_KEYS };

struct sim_call { /* one operation, asked again until it is answered */
    uint64_t first;  /* its number, which is its first attempt's; 0: the place is free */
    uint64_t ticket; /* of the attempt under way; 0: none */
    unsigned attempts;
    uint64_t session, sequence; /* or the hash of its key */
    unsigned place;             /* of its key */
    uint64_t until_us;          /* it is not asked again after that */
    uint8_t *body;              /* without the envelope */
    size_t body_size;
    bool answered; /* it is asked once more all the same */
    unsigned leader; /* who led when it was asked first; NOBODY: nobody did */
    uint32_t leader_lifetime;
};

struct sim_regular {
    enum sim_way way;
    uint64_t session;  /* 0: none, or not known */
    uint64_t sequence; /* the last one used in it */
    unsigned place;    /* of the last key used */
    uint64_t errand;   /* ticket of a request to open, renew or close; 0: none is under way */
    enum session_action action;
    struct sim_call calls[SIM_CALLS];
};

void regulars_begin(struct sim *sim);
void regulars_deinit(struct sim *sim);
bool regulars_has(const struct sim *sim, unsigned client);
/* A client does its next thing, at a node that is up. Returns how much longer than usual it pauses then. */
uint64_t regulars_turn(struct sim *sim, unsigned client, unsigned node);
/* What became of one of its attempts; `reply` null: there is none. */
void regulars_settled(struct sim *sim, uint64_t number, enum sim_outcome outcome, const struct reply *reply);
#define SIM_TICKETS (SIM_CALLS + 1)
/* Its attempts under way, by places from 0 to SIM_TICKETS - 1; 0: none there. */
uint64_t regulars_ticket(const struct sim *sim, unsigned client, unsigned place);

/* ---- of other files, for these ---- */

/* A request is made; its number. `call`: of a regular client's, whose further attempts have the first one's number in
 * their envelope; null: of any other. */
uint64_t clients_send(struct sim *sim, const struct sim_ask *ask, unsigned client, unsigned node,
                      const struct sim_call *call);
void clients_dispatch(struct sim *sim, uint64_t number); /* sends it on its way */
void workload_command(struct sim *sim, struct sim_ask *ask); /* of the own workload */
void cover_once(struct sim *sim, bool keyed, enum once_verdict verdict);

#endif
