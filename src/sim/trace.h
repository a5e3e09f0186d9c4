/*
 * The trace (trace.c): what goes into its hash, and its lines. Shared by the files of this folder, like internal.h,
 * which includes it.
 */
#ifndef MOONCLAVE_SIM_TRACE_H
#define MOONCLAVE_SIM_TRACE_H

#include "raft/types.h"

struct sim;
struct sim_node;

enum sim_trace {
    TRACE_START,
    TRACE_TURN,
    TRACE_TIMER,
    TRACE_ROLE,
    TRACE_CRASH,
    TRACE_STOP,
    TRACE_FATAL,
    TRACE_PAUSE,
    TRACE_MESSAGE,
    TRACE_FORWARD,
    TRACE_FORWARD_REPLY,
    TRACE_HELLO,
    TRACE_PEER_LOST,
    TRACE_PERSIST,
    TRACE_DISK_REPORT,
    TRACE_DISK_CRASH,
    TRACE_BOOTSTRAP,
    TRACE_SUBMIT,
    TRACE_REPLY,
    TRACE_APPLY,
    TRACE_FAULT,
    TRACE_HEAL,
    TRACE_PHASE,
    TRACE_STORE,
    TRACE_ROT,
    TRACE_SNAPSHOT,
    TRACE_FILE_DONE,
    TRACE_RESTORED,
    TRACE_POLICY,
    TRACE_DEPLOY,
};

void trace_mix(struct sim *sim, uint64_t value);
void trace_event(struct sim *sim, enum sim_trace what, unsigned node, uint64_t a, uint64_t b);
void trace_message(struct sim *sim, const struct sim_node *from, const struct sim_node *to,
                   const struct raft_message *message, bool sent);
void trace_line(struct sim *sim, const struct sim_node *node, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define TRACE(sim, ...) ((sim)->options.trace ? trace_line((sim), __VA_ARGS__) : (void)0)

#endif
