/*
 * The simulator's door: one call runs one seed. A whole cluster of real hosts on a virtual clock,
 * network and disk, under faults drawn from the seed, with every invariant of the design checked as
 * it goes. The same options give the same run to the byte: same trace hash, same result, on every
 * machine and compiler.
 *
 * A run has phases. Safety: every fault the seed has drawn. Majority: a random majority is
 * healed and must commit something new in bounded virtual time. Convergence: all is healed and
 * every node must reach the same state.
 */
#ifndef MOONCLAVE_SIM_SIM_H
#define MOONCLAVE_SIM_SIM_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/mutant.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_NODES_MAX 7

struct sim_options {
    uint64_t seed;
    unsigned nodes;      /* 0: drawn, 3 or 5 */
    uint64_t safety_us;  /* virtual length of the safety phase; 0: drawn */
    uint64_t steps_max;  /* the run is cut, without a verdict on progress, after so many core steps;
                            0: never */
    enum mutant mutant;  /* the guard that is off; only in a build with mutants */
    bool outcome_only;   /* check only what clients and disks could notice, none of the rules that
                            imply it: shows that a mutant does harm, not just that it breaks a rule */
    struct slice bundle; /* an app that keeps to the contract of machine.c, run by the fsm VM;
                            empty: the C machine */
    const char *lua_release;
    void (*trace)(void *context, const char *line); /* a readable line per event; null: none */
    void *trace_context;
};

/* What a run has met: one row per thing counted. */
/* clang-format off */
#define SIM_COVERAGE_TABLE(X) \
    X(elections)        /* leaders */ \
    X(commits)          /* indexes committed */ \
    X(commands_ok) X(commands_failed) X(commands_unknown) X(queries_ok) X(queries_failed) X(cancelled) \
    X(messages) X(message_entries) X(dropped) X(duplicated) X(late) /* delayed beyond an election timeout */ \
    X(across_restarts)  /* messages that outlived their sender's or receiver's process */ \
    X(forwards) X(forward_replies) \
    X(request_votes) X(pre_votes) X(votes_granted) X(votes_refused) X(appends) X(heartbeats) \
    X(append_ok) X(append_conflicts) \
    X(persists) X(persisted_entries) X(truncations) X(log_reads) X(refusals) X(disk_errors) \
    X(lost_writes)      /* noted, not durable when the node crashed */ \
    X(kept_writes)      /* durable when the node crashed, not reported */ \
    X(hellos) X(hellos_refused) X(resets) \
    X(starts) X(crashes) X(crashes_midway) X(crashes_all) X(stops) X(pauses) X(wipes) X(clock_jumps) \
    X(partitions) X(one_way_partitions) X(bridges) X(stranded) X(slow_disks) X(full_disks)
/* clang-format on */

struct sim_coverage {
#define X(name) uint64_t name;
    SIM_COVERAGE_TABLE(X)
#undef X
};

struct sim_result {
    bool ok;
    bool cut;           /* ended by steps_max */
    char invariant[48]; /* the first that failed; "" when ok */
    char detail[512];
    uint64_t violation_us; /* virtual time */
    uint64_t violation_step;
    unsigned nodes;
    uint64_t steps;  /* raft_step calls */
    uint64_t events; /* of the world */
    uint64_t virtual_us;
    uint64_t election_us; /* its election timeout, drawn */
    uint64_t recovery_us; /* from the healing of a majority to its first new commit */
    uint64_t trace_hash;
    uint64_t state_hash; /* in which all nodes agreed at the end */
    struct sim_coverage coverage;
};

void sim_run(const struct sim_options *options, struct sim_result *result);

/* The mutants this build can switch on: names, texts; null past the end. None in a normal build. */
const char *sim_mutant_name(unsigned i, const char **bug);
bool sim_mutant_find(const char *name, enum mutant *mutant);

#endif
