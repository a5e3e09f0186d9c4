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
#include "base/request.h"
#include "sim/moment.h"

#include <stdbool.h>
#include <stdint.h>

#define SIM_CLIENTS_MAX 28

/* ---- the workload: what clients ask ---- */

/* One request. `body` is [name, arguments], borrowed until the workload is called again. */
struct sim_ask {
    enum request_kind kind;
    enum consistency consistency; /* of a query */
    uint32_t timeout_ms;          /* 0: drawn */
    struct slice body;
};

enum sim_outcome {
    OUTCOME_PENDING,
    OUTCOME_ANSWERED, /* by the state machine: a result, or an error of its own */
    OUTCOME_DEFINITE, /* certainly not done */
    OUTCOME_UNKNOWN,
};

/* A request and what became of it. Slices are borrowed for the call that hands it over. */
struct sim_operation {
    uint64_t number; /* counts from 1, in the order of being asked */
    unsigned client, node;
    enum request_kind kind;
    enum consistency consistency;
    struct slice body; /* [name, arguments] */
    enum sim_outcome outcome;
    enum error_code code; /* of the reply, where there is one */
    struct slice reply;   /* its body */
    uint64_t invoked_us, returned_us;
    uint64_t index; /* where a command took effect, or whose state a query saw; 0: not known */
};

/*
 * Asks in place of the simulator's own clients. Whatever the app, a run checks of every answer that it is the one that
 * the state machine gave, at one index, once, and in real time; what the answers *mean* is the workload's to judge.
 * Must be a pure function of the calls made so far: the same seed asks the same.
 */
struct sim_workload {
    void *context;
    /* What `client` asks next, from `random`; false: nothing just now. */
    bool (*next)(void *context, unsigned client, uint64_t random, struct sim_ask *ask);
    /* Once for each request: its outcome is known, or the run is over (UNKNOWN). */
    void (*ended)(void *context, const struct sim_operation *operation);
    /* A command takes effect, on the first node to get there; its own `ended` may come before or after. May be null. */
    void (*applied)(void *context, uint64_t number, uint64_t index);
    /* The state after `index`, in canonical bytes: every `state_every` commands, on the first node to get there, and
     * at the end. false: an invariant of the app does not hold; `why` ("name: text") says which. May be null. */
    bool (*state)(void *context, uint64_t index, struct slice state, char *why, size_t why_size);
    uint64_t state_every; /* 0: at the end only */
};

/* ---- leaving things out of a seed: --faults, and the shrinker ---- */

/* What is left out is still drawn, so that the rest stays as it was. */
struct sim_trim {
    uint32_t kinds;         /* bit f: faults of kind f do not strike (sim_fault_name) */
    uint32_t calm;          /* bit of enum sim_calm: that part of the plan is as in a calm world */
    const uint32_t *faults; /* strikes that do not happen, by their number from 1, ascending */
    size_t fault_count;
    const uint32_t *asks; /* requests of the safety phase that are not made, by their number from 1, ascending */
    size_t ask_count;
    bool only_faults, only_asks; /* the lists are what is not left out: the short way to write down a few */
};

/* clang-format off */
#define SIM_CALM_TABLE(X) \
    X(drops) X(duplicates) X(late) X(resets) X(jitter) /* network: lost, doubled, late, cut in the hello, uneven */ \
    X(slow_writes) X(slow_reports) X(slow_turns)       /* disk and loop */ \
    X(drift)                                           /* clocks */ \
    X(cancels) X(regulars)                             /* clients: those that give up, those that do not */ \
    X(settings)                                        /* nobody changes any */ \
    X(deploys)                                         /* nobody deploys another version */ \
    X(limits)                                          /* shrunken settings: the defaults instead */
/* clang-format on */

enum sim_calm {
#define X(name) SIM_CALM_##name,
    SIM_CALM_TABLE(X)
#undef X
        SIM_CALMS
};

const char *sim_fault_name(unsigned fault); /* null past the last */
const char *sim_calm_name(unsigned calm);   /* null past the last */

enum sim_disk_kind {
    SIM_DISK_MODEL,  /* a model of the store, fast */
    SIM_DISK_SQLITE, /* src/store itself on the lossy VFS */
};

/* Who is asked about members; only where operators are at work. */
enum sim_policy {
    SIM_POLICY_DRAWN,
    SIM_POLICY_NONE,
    SIM_POLICY_SCRIPT, /* the app's policy.lua, or the default one */
    SIM_POLICY_DICE,   /* one that wants anything */
};

/* Operators who deploy other versions of the app: of the simulator's own workload only. */
enum sim_deploying {
    SIM_DEPLOYS_DRAWN,
    SIM_DEPLOYS_NONE,
    SIM_DEPLOYS_ALWAYS,
};

struct sim_options {
    uint64_t seed;
    unsigned nodes;      /* the first members; 0: drawn, 3 or 5. Spares come on top, up to SIM_NODES_MAX */
    unsigned clients;    /* 0: drawn, 1 to 20 */
    uint64_t safety_us;  /* virtual length of the safety phase; 0: drawn */
    enum sim_disk_kind disk;
    enum sim_policy policy;
    const struct sim_workload *workload; /* null: the simulator's own, with the contract of machine.c */
    struct sim_trim trim;                /* its arrays are borrowed until sim_finish */
    /* A fault strikes, in words ("n2 for 0.250 s"); null: nobody wants to know. */
    void (*struck)(void *context, uint64_t number, const char *kind, uint64_t at_us, const char *what);
    void *struck_context;
    enum sim_deploying deploys;
    struct slice next; /* a bundle that is deployed at some moment of the run, whatever the workload; empty: none */
    /* It runs: "n2, at index 57"; null: nobody wants to know. */
    void (*deployed)(void *context, uint64_t at_us, const char *what);
    void *deployed_context;
    bool restores; /* operators restore backups, too; only with the simulator's own workload, and without keys */
    bool manual; /* no faults, clients and phases of its own: everything comes from the calls below */
    uint64_t steps_max;  /* the run is cut, without a verdict on progress, after so many core steps;
                            0: never */
    enum mutant mutant;  /* the guard that is off; only in a build with mutants */
    bool outcome_only;   /* check only what clients and disks could notice, none of the rules that
                            imply it: shows that a mutant does harm, not just that it breaks a rule */
    bool poison;         /* a command kills whoever applies it, until it is skipped (poison.h); of the C machine only */
    struct slice bundle; /* an app that keeps to the contract of machine.c, run by the fsm VM;
                            empty: the C machine */
    const char *lua_release;
    void (*trace)(void *context, const char *line); /* a readable line per event; null: none */
    void *trace_context;
    void (*moment)(void *context, const struct sim_moment *moment); /* moment.h; null: none, and it costs nothing */
    void *moment_context;
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
    X(partitions) X(one_way_partitions) X(bridges) X(stranded) X(slow_disks) X(full_disks) \
    X(joins) X(rejoins) X(retirements) X(lease_reads) \
    X(snapshots_taken) X(snapshots_abandoned) /* its own, begun and given up */ X(snapshots_installed) \
    X(snapshots_restored) /* into a machine, at a start or after an install */ X(starts_restored) \
    X(snapshot_offers) X(chunks) X(chunks_lost) X(snapshots_resumed) /* some of it was there */ X(compactions) \
    X(lost_tails) X(rots) X(rots_read) /* noticed by a running node */ X(wrecks) /* nodes that stay down for it */ \
    X(clock_rates) \
    X(poison_strikes) X(poison_deaths) X(poison_skips) X(poison_deploys) /* with the option `poison` only */ \
    X(retries) X(retries_answered) X(retries_past_leader) /* who led at the first attempt has died */ \
    X(kept_replies)     /* answered without being done again */ \
    X(swallowed) X(told_expired) X(told_forgotten) X(told_reused) \
    X(session_requests_ok) X(sessions_opened) X(sessions_expired) X(sessions_closed) X(keys) X(keys_forgotten) \
    X(settings_changed) X(settings_refused) /* by the entry itself */ X(settings_of_nodes) \
    X(policy_asked) X(policy_done) X(policy_refused) X(policy_failed) /* views, what was done or refused */ \
    X(policy_promotions) X(policy_losses) /* voters more and less */ X(policy_handovers) \
    X(deploys_asked) X(deploys_again) /* the same once more */ X(deploys_done) X(deploys_same) /* it runs already */ \
    X(deploys_stale) /* meant to follow another */ X(deploys_failed) /* by its code */ \
    X(deploys_restored) /* a snapshot brings the code of one */ X(deploys_in_snapshot) /* while one is taken */ \
    X(deploys_sliced) /* it took more than one turn */ \
    /* of the real store only */ \
    X(store_crashes)       /* in the middle of a write or a checkpoint */ \
    X(store_failed_opens)  /* by a crash or an I/O error within */ \
    X(store_kept_doubts)   /* there after all, though nobody was told */ \
    X(store_checkpoints) X(store_power_cuts) \
    X(store_rots_refused) X(store_rots_harmless) X(store_rots_untold) \
    /* of the fsm VM only */ \
    X(fsm_exhausted) \
    /* of runs with restores only */ \
    X(restores_begun) X(restores_done) X(restores_aborted) X(restores_left) X(restores_refused) /* damaged ones */ \
    X(restores_retried) /* a step that was asked for again */ X(restores_lost) /* given up meanwhile, or another's */ \
    X(restores_versions) /* bring another version of the app */
/* clang-format on */

/* The states met, as cells of a few small tables (coverage.c): who received what in which role, peers'
 * progress, role by configuration by log, faults by whether there was a leader, operators' orders by what
 * they were told, commands in sessions and under keys by what their entries came to. */
#define SIM_CELLS 340

struct sim_coverage {
#define X(name) uint64_t name;
    SIM_COVERAGE_TABLE(X)
#undef X
    uint64_t cells[SIM_CELLS];
};

/* A cell's name, "leader receives vote granted"; false past the last. `expected`: today's code can reach it. */
bool sim_cell_name(unsigned cell, char *name, size_t size, bool *expected);

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
    uint64_t safety_us;   /* the length of its safety phase */
    uint64_t recovery_us; /* from the healing of a majority to its first new commit */
    uint64_t trace_hash;
    uint64_t state_hash; /* in which all nodes agreed at the end */
    struct sim_coverage coverage;
};

void sim_run(const struct sim_options *options, struct sim_result *result); /* new, advance, finish */

/* ---- a run in steps ---- */

struct sim;

struct sim *sim_new(const struct sim_options *options); /* the options are copied, what they point to is borrowed */
/* Goes on to this virtual time, or to the run's end: false once it is over. */
bool sim_advance(struct sim *sim, uint64_t until_us);
void sim_finish(struct sim *sim, struct sim_result *result); /* ends and frees it; `result` may be null */

/* ---- by hand: for a manual run, between two sim_advance; nodes count from 0 ---- */

uint64_t sim_now_us(const struct sim *sim);
unsigned sim_nodes(const struct sim *sim);
const struct sim_result *sim_so_far(struct sim *sim); /* a violation shows here at once */

/* Asks a node; the operation's number, 0: the node is down. Its outcome comes through workload->ended. */
uint64_t sim_ask(struct sim *sim, unsigned node, const struct sim_ask *ask);

/* Asks a node to take a snapshot; for sim_snapshot_done, 0: the node is down. */
uint64_t sim_snapshot(struct sim *sim, unsigned node);
/* Deploys a bundle, through a node; for sim_deploy_done, 0: the node is down. `replaces`: the hash of the one that it
 * is to follow; null: whichever runs. */
uint64_t sim_deploy(struct sim *sim, unsigned node, struct slice bundle, const uint64_t *replaces);
/* false: it is not answered yet. The reply's body is that of the newest one answered, borrowed until the next. */
bool sim_deploy_done(const struct sim *sim, uint64_t number, enum error_code *code, struct slice *body);
/* false: it is not answered yet. Code OK: up to which index, and how large it is; UNAVAILABLE: the node has died. */
bool sim_snapshot_done(const struct sim *sim, uint64_t number, enum error_code *code, uint64_t *index, uint64_t *size);

void sim_crash(struct sim *sim, unsigned node); /* unsynced writes may be lost; it stays down */
void sim_stop(struct sim *sim, unsigned node);  /* gracefully; it stays down */
void sim_start(struct sim *sim, unsigned node); /* what is down; else nothing */
void sim_pause(struct sim *sim, unsigned node, uint64_t length_us);
void sim_cut(struct sim *sim, unsigned from, unsigned to); /* one way */
void sim_mend(struct sim *sim, unsigned from, unsigned to);
void sim_mend_all(struct sim *sim);
void sim_disk_full(struct sim *sim, unsigned node, uint64_t length_us);
void sim_disk_slow(struct sim *sim, unsigned node, uint64_t length_us);
void sim_disk_stall(struct sim *sim, unsigned node, uint64_t length_us); /* what begins meanwhile ends after it */
void sim_disk_fail(struct sim *sim, unsigned node); /* its next write or read */
void sim_clock_jump(struct sim *sim, unsigned node, int64_t wall_ms);
void sim_loss(struct sim *sim, unsigned permille); /* messages lost, between any two nodes */

bool sim_up(const struct sim *sim, unsigned node);
int sim_leader(struct sim *sim); /* of the highest term, among those up; -1: none */
bool sim_settled(struct sim *sim); /* a leader, all nodes up have applied all there is, nobody waits */
bool sim_status(struct sim *sim, unsigned node, struct buffer *out); /* host_status's map; false: down */
bool sim_state(struct sim *sim, unsigned node, struct buffer *out);  /* the machine's canonical bytes */

/* The mutants this build can switch on: names, texts; null past the end. None in a normal build. */
const char *sim_mutant_name(unsigned i, const char **bug);
bool sim_mutant_find(const char *name, enum mutant *mutant);

#endif
