/*
 * A run as a row of moments, for whoever wants to show it: sim_options.moment is called for each, in the order in which
 * they happen. It only looks: the run is the same, to its hash, with and without it.
 *
 * Nodes count from 0; node + 1 where 0 stands for nobody. Everything behind a pointer is borrowed for the call.
 */
#ifndef MOONCLAVE_SIM_MOMENT_H
#define MOONCLAVE_SIM_MOMENT_H

#include "base/buffer.h"
#include "base/request.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_NODES_MAX 7
#define SIM_NOBODY    UINT32_MAX

/* One row per kind: its name, and what its fields mean. `node` is where it happens unless said otherwise. */
/* clang-format off */
#define SIM_MOMENT_TABLE(X) \
    X(start)      /* a process begins; number: its lifetime; values: term and last index on its disk */ \
    X(stop)       /* it is told to stop */ \
    X(stopped)    /* it has ended as told; number: its lifetime */ \
    X(crash)      /* it is dead; number: its lifetime; text: how */ \
    X(fatal)      /* it gives up; text: why */ \
    X(kept)       /* what a crash leaves of the writes under way; values: how many are kept, how many lost */ \
    X(role)       /* number: the term; values: enum raft_role; peer: the leader it knows */ \
    X(state)      /* something of its state has changed: state, before */ \
    X(send)       /* node to peer; number pairs what follows with it; message, or text for a forwarded request */ \
    X(receive)    /* peer takes in what node sent under that number */ \
    X(double)     /* it will arrive twice */ \
    X(lost)       /* it will not arrive (once less, if it was doubled); text: why */ \
    X(hello)      /* node hears peer's hello; text: accepted, or why not */ \
    X(parted)     /* node notices that its connection with peer is gone */ \
    X(persist)    /* a write is given to the disk; number; values: truncate_from, entries, 1 for a term and vote */ \
    X(bootstrap)  /* the first write of a cluster */ \
    X(written)    /* the disk has done it or not; number; values: 0 write, 1 bootstrap, 2 read; text: ok, or why not */ \
    X(reported)   /* the node learns of that; the same fields */ \
    X(snapshot)   /* what it would start from is another one; number: its index; text: taken, or installed */ \
    X(compacted)  /* its log begins later; number: the last index that is gone */ \
    X(restored)   /* its machine has a snapshot's state; number: the index; values: hash of the state */ \
    X(apply)      /* a command; number: its index; values: hash of the state after it; body */ \
    X(ask)        /* a request arrives: request, body */ \
    X(reply)      /* and is answered; number: the request's; text: the code; body: the reply's */ \
    X(settle)     /* what the client makes of it: request; number */ \
    X(fault)      /* one strikes; text: its name. What it does follows */ \
    X(cut)        /* who hears whom is no more what it was: cut, until_us */ \
    X(ail)        /* the node suffers; text: from what; until_us: 0 where that is not known */ \
    X(well)       /* and no more */ \
    X(phase)      /* the run's; text: its name; values: the nodes it calls healthy, bit by bit */ \
    X(log)        /* a line of the host's log; text: its level and the line */ \
    X(violation)  /* the first invariant that failed; text: its name and what happened */
/* clang-format on */

enum sim_moment_kind {
#define X(name) MOMENT_##name,
    SIM_MOMENT_TABLE(X)
#undef X
        MOMENT_KINDS
};

/* Of one node; all 0 but its disk while it is down, all but that and `up` while it is blank. */
struct sim_node_state {
    bool up;
    unsigned role; /* enum raft_role */
    uint64_t term;
    unsigned vote, leader; /* node + 1 */
    uint64_t commit, applied, last, durable;
    uint64_t disk_term, disk_last; /* what it would find if it started now */
    uint64_t disk_queue;           /* writes and reads given to the disk and not done */
};

struct sim_moment_request {
    unsigned client;
    enum request_kind kind;
    enum consistency consistency;
    unsigned outcome;    /* enum sim_outcome */
    uint64_t invoked_us; /* when the client set out; it arrives later */
};

struct raft_message;

struct sim_moment {
    enum sim_moment_kind kind;
    uint64_t at_us, step;
    unsigned node, peer; /* SIM_NOBODY: none */
    uint64_t number;
    uint64_t values[3];
    uint64_t until_us;
    const char *text;
    struct slice body; /* msgpack: sim_body_text makes words of it */
    const struct raft_message *message;
    const struct sim_node_state *state, *before;
    const struct sim_moment_request *request;
    const bool (*cut)[SIM_NODES_MAX]; /* [from][to]: nothing gets through */
};

const char *sim_moment_name(enum sim_moment_kind kind);

/* A request or reply in a few words, valid UTF-8 without control characters: put key=a value=1. */
void sim_body_text(struct slice body, struct buffer *out);

#endif
