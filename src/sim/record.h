/*
 * Makes the moments of moment.h out of what happens, for sim_options.moment; where that is null, one test of a pointer
 * each. Draws nothing, changes nothing, and is no part of the trace hash.
 *
 * What can be seen from outside (states, cuts, ailing nodes, phases) is not told by those who change it: record_look
 * compares the world with what it looked like last.
 */
#ifndef MOONCLAVE_SIM_RECORD_H
#define MOONCLAVE_SIM_RECORD_H

#include "raft/raft.h"
#include "sim/moment.h"

struct sim;
struct sim_node;

enum sim_ailment { AILS_PAUSED, AILS_FULL, AILS_SLOW, AILS_BROKEN, AILS_DOOMED, AILS_WIPED, AILS_CLOCK, AILMENTS };

struct sim_recorder { /* what the world looked like last */
    struct sim_node_state nodes[SIM_NODES_MAX];
    uint64_t ailments[SIM_NODES_MAX][AILMENTS]; /* what stands for each: until when, a count, a flag; 0: well */
    bool stopping[SIM_NODES_MAX];
    bool cut[SIM_NODES_MAX][SIM_NODES_MAX];
    unsigned phase;
    uint64_t messages; /* counts what is sent */
    bool begun;
};

void record_look(struct sim *sim);        /* after every event */
void record_state(struct sim_node *node); /* after every call of its host */

/* A packet's ways. `message` is null for what is forwarded; `text` says what that is, or why it is lost. */
uint64_t record_message_number(struct sim *sim);
void record_packet(struct sim *sim, enum sim_moment_kind kind, unsigned from, unsigned to, uint64_t number,
                   const struct raft_message *message, const char *text);

/* What is a node, a number, two values and some words; or two nodes and some words. */
void record_node(struct sim_node *node, enum sim_moment_kind kind, uint64_t number, uint64_t a, uint64_t b,
                 const char *text);
void record_pair(struct sim_node *node, enum sim_moment_kind kind, unsigned peer, const char *text);

void record_persist(struct sim_node *node, const struct raft_persist *persist);
void record_role(struct sim_node *node, enum raft_role role, raft_term term, const struct raft_id *leader);
void record_apply(struct sim_node *node, raft_index index, uint64_t state_hash, struct slice body);
void record_request(struct sim_node *node, enum sim_moment_kind kind, uint64_t number, struct slice body,
                    const struct sim_moment_request *request); /* ask, settle */
void record_reply(struct sim_node *node, uint64_t number, const struct reply *reply);
void record_fault(struct sim *sim, const char *name);
void record_violation(struct sim *sim, const struct sim_node *node, const char *invariant, const char *detail);

#endif
