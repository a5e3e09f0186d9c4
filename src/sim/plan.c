/*
 * What a seed draws before anything happens: cluster size, limits, latencies, and which faults
 * strike how often. Swarm testing: every seed leaves most faults out and overdoes some, so that no
 * fault hides another. Limits are shrunk, so that windows fill, tails overflow and queues refuse
 * all the time.
 */
#include "sim/internal.h"

#include <assert.h>

#define APP_ELECTION_FACTOR 5
#define NEVER               (UINT64_C(1) << 40) /* bytes of log, before a snapshot is taken */

static void draw_settings(struct sim *sim);
static void draw_snapshots(struct sim *sim);
static void draw_network(struct sim *sim);
static void draw_disk_and_nodes(struct sim *sim);
static void draw_leases(struct sim *sim);
static void draw_clients(struct sim *sim);
static void draw_faults(struct sim *sim, bool operated);
static void draw_once(struct sim *sim);
static void draw_deploys(struct sim *sim);
static void (*const calms[SIM_CALMS])(struct sim_plan *plan);
static uint64_t one_of(struct sim *sim, enum sim_stream stream, const uint64_t *choices, size_t count);
#define ONE_OF_STREAM(sim, stream, ...)                      \
    one_of((sim), (stream), (const uint64_t[]){__VA_ARGS__}, \
           sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
#define ONE_OF(sim, ...) ONE_OF_STREAM(sim, STREAM_PLAN, __VA_ARGS__)

#define OPERATED 600 /* permille of the seeds: operators are at work */
#define REGULARS 300 /* permille of the seeds: some clients have sessions or use keys */
#define CHANGING 250 /* permille of the seeds: somebody changes settings */
#define DEPLOYING 250 /* permille of the seeds: somebody deploys other versions of the app */

/* How often a fault is part of a seed (permille), and its weight at most when it is. */
static const struct {
    const char *name;
    unsigned in_seed;
    unsigned weight_most;
} faults[FAULTS] = {
    [FAULT_crash] = {"crash", 500, 8},
    [FAULT_crash_midway] = {"crash_midway", 600, 10},
    [FAULT_crash_all] = {"crash_all", 300, 3},
    [FAULT_crash_leader] = {"crash_leader", 500, 8},
    [FAULT_stop] = {"stop", 200, 3},
    [FAULT_pause] = {"pause", 400, 6},
    [FAULT_partition] = {"partition", 400, 6},
    [FAULT_one_way] = {"one_way", 400, 6},
    [FAULT_bridge] = {"bridge", 250, 4},
    [FAULT_isolate_leader] = {"isolate_leader", 500, 8},
    [FAULT_strand_leader] = {"strand_leader", 400, 8},
    [FAULT_reset] = {"reset", 300, 6},
    [FAULT_disk_full] = {"disk_full", 250, 4},
    [FAULT_disk_slow] = {"disk_slow", 350, 5},
    [FAULT_disk_error] = {"disk_error", 150, 2},
    [FAULT_clock_jump] = {"clock_jump", 200, 3},
    [FAULT_wipe] = {"wipe", 80, 1},
    [FAULT_bit_rot] = {"bit_rot", 200, 3},
    [FAULT_lost_tail] = {"lost_tail", 100, 2},
    [FAULT_clock_rate] = {"clock_rate", 250, 4},
    [FAULT_no_memory] = {"no_memory", 200, 3},
    [FAULT_join] = {"join", 800, 5},
    [FAULT_rejoin] = {"rejoin", 700, 3},
    [FAULT_remove] = {"remove", 600, 4},
    [FAULT_promote] = {"promote", 500, 5},
    [FAULT_demote] = {"demote", 500, 5},
    [FAULT_replace] = {"replace", 500, 5},
    [FAULT_transfer] = {"transfer", 800, 10},
    [FAULT_priority] = {"priority", 200, 3},
    [FAULT_forget] = {"forget", 400, 4},
    [FAULT_snapshot] = {"snapshot", 400, 6},
};

const char *sim_fault_name(unsigned fault)
{
    return fault < FAULTS ? faults[fault].name : NULL;
}

const char *sim_calm_name(unsigned calm)
{
    static const char *const names[] = {
#define X(name) #name,
        SIM_CALM_TABLE(X)
#undef X
    };
    return calm < SIM_CALMS ? names[calm] : NULL;
}

void plan_draw(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->founders = (unsigned)ONE_OF(sim, 3, 3, 3, 5, 5);
    if (sim->options.nodes) plan->founders = sim->options.nodes; /* the rest is drawn alike */
    assert(plan->founders <= SIM_NODES_MAX);
    unsigned spares = (unsigned)ONE_OF(sim, 1, 2, 3);
    bool operated = chance(sim, STREAM_PLAN, OPERATED) && !sim->options.manual;
    plan->nodes = plan->founders + (operated ? spares : 0);
    if (plan->nodes > SIM_NODES_MAX) plan->nodes = SIM_NODES_MAX;
    draw_settings(sim);
    draw_snapshots(sim);
    draw_network(sim);
    draw_disk_and_nodes(sim);
    draw_clients(sim);
    if (sim->options.clients) plan->clients = sim->options.clients;
    assert(plan->clients <= SIM_CLIENTS_MAX);
    draw_faults(sim, operated);
    plan->safety_us =
        plan->election_us * draw_between(sim, STREAM_PLAN, 20, ONE_OF(sim, 60, 150, 500));
    if (sim->options.safety_us) plan->safety_us = sim->options.safety_us;
    draw_once(sim);
    bool changing = chance(sim, STREAM_SETTINGS, CHANGING) && !sim->options.manual;
    uint64_t pause_us = plan->election_us * ONE_OF_STREAM(sim, STREAM_SETTINGS, 2, 10, 40);
    if (changing) plan->settings_us = pause_us;
    policy_draw(sim, operated);
    draw_deploys(sim);
    for (unsigned calm = 0; calm < SIM_CALMS; calm++) {
        if (sim->options.trim.calm >> calm & 1) calms[calm](plan);
    }
}

bool trim_leaves_out(const uint32_t *numbers, size_t count, bool only, uint64_t number)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (numbers[middle] < number)
            low = middle + 1;
        else
            high = middle;
    }
    bool listed = low < count && numbers[low] == number;
    return listed != only;
}

/* Limits below what settings_check allows are wanted here: they reach the same code sooner. */
static void draw_settings(struct sim *sim)
{
    struct settings *settings = &sim->plan.settings;
    settings_init(settings);
    uint64_t election_ms = ONE_OF(sim, 20, 50, 100, 300);
    /* Apps know time (leases, expiry): theirs passes as in the field. Nearly all else is drawn in election timeouts. */
    if (sim->options.workload) election_ms *= APP_ELECTION_FACTOR;
    sim->plan.election_us = election_ms * 1000;
    settings->election_timeout_ms = election_ms;
    settings->heartbeat_ms = election_ms / ONE_OF(sim, 3, 4, 5, 10);
    settings->append_bytes_max = ONE_OF(sim, 1, 300, 1024, 1048576);
    settings->append_window = ONE_OF(sim, 1, 2, 4, 128);
    settings->uncommitted_bytes_max = ONE_OF(sim, 4096, 8192, 67108864);
    settings->tail_bytes_max = ONE_OF(sim, 0, 400, 67108864);
    settings->disk_retry_ms = 1 + draw(sim, STREAM_PLAN, election_ms);
    settings->request_timeout_ms = election_ms * 5;
    settings->stop_timeout_ms = election_ms * 5;
    settings->waiting_max = ONE_OF(sim, 2, 100000, 100000);
}

/* From a snapshot every few entries to none at all. An app's state is larger than the C machine's, and so are the
 * pieces it is sent in, or a transfer would outlast the run. */
static void draw_snapshots(struct sim *sim)
{
    struct settings *settings = &sim->plan.settings;
    bool app = sim->options.bundle.size > 0;
    settings->snapshot_log_bytes = ONE_OF_STREAM(sim, STREAM_SNAPSHOTS, 1, 500, 2000, 2000, 10000, 50000, NEVER, NEVER);
    settings->trailing_entries = ONE_OF_STREAM(sim, STREAM_SNAPSHOTS, 0, 0, 1, 5, 20, 1000);
    settings->trailing_bytes = ONE_OF_STREAM(sim, STREAM_SNAPSHOTS, 0, 300, 2000, 67108864, 67108864);
    settings->snapshot_chunk_bytes = ONE_OF_STREAM(sim, STREAM_SNAPSHOTS, 16, 100, 400, 262144) * (app ? 20 : 1);
    sim->plan.snapshot_block = (uint32_t)ONE_OF_STREAM(sim, STREAM_SNAPSHOTS, 50, 300, 65536);
    sim->plan.snapshot_step = (size_t)ONE_OF_STREAM(sim, STREAM_SNAPSHOTS, 8, 64, 64, 64, 1000);
    settings->snapshot_window = ONE_OF_STREAM(sim, STREAM_SNAPSHOTS, 1, 2, 8);
}

static void draw_network(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->latency_least_us = draw_between(sim, STREAM_PLAN, 20, 200);
    plan->latency_most_us = plan->latency_least_us + draw(sim, STREAM_PLAN, plan->election_us / 8);
    plan->drop = (unsigned)ONE_OF(sim, 0, 0, 10, 50, 200);
    plan->duplicate = (unsigned)ONE_OF(sim, 0, 0, 20, 200);
    plan->late = (unsigned)ONE_OF(sim, 0, 10, 50, 150);
    plan->late_most_us = plan->election_us * ONE_OF(sim, 1, 3, 8);
    plan->reset_in_hello = (unsigned)ONE_OF(sim, 0, 0, 50);
    plan->cut_in_flight = chance(sim, STREAM_PLAN, 500);
}

static void draw_disk_and_nodes(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->write_least_us = draw_between(sim, STREAM_PLAN, 20, 200);
    plan->write_most_us =
        plan->write_least_us + draw(sim, STREAM_PLAN, plan->election_us / ONE_OF(sim, 3, 8, 8, 50));
    plan->report_most_us = ONE_OF(sim, 0, 20, plan->election_us / 20);
    plan->slow_write = (unsigned)ONE_OF(sim, 0, 0, 10, 100);
    plan->store_dies = (unsigned)ONE_OF(sim, 0, 1, 5);
    plan->open_fails = (unsigned)ONE_OF(sim, 0, 0, 50, 200);
    plan->page_size = (uint32_t)ONE_OF(sim, 512, 1024, 4096);
    plan->checkpoint_pages = (uint32_t)ONE_OF(sim, 4, 16, 60);
    plan->turn_most_us = ONE_OF(sim, 0, 0, 50, plan->election_us / 40);
    plan->reading_clock_us = ONE_OF(sim, 0, 0, 3);
    plan->apply_slice_us = ONE_OF(sim, 0, 1, 500);
    plan->clock_drift_ppm = (unsigned)ONE_OF(sim, 0, 200, 30000);
    plan->restart_most_us = plan->election_us * draw_between(sim, STREAM_PLAN, 1, 5) + 1000;
    if (chance(sim, STREAM_PLAN, 300)) plan->restart_most_us = plan->election_us / 8 + 1000;
    draw_leases(sim);
}

/* A lease is as good as the bound on the clocks' rates: so where there are leases, reading a clock takes no time, and
 * none goes faster or slower than the bound, which is what they drift by, or twice that. */
static void draw_leases(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->settings.leases = ONE_OF(sim, 0, 1, 1);
    plan->settings.follower_reads = ONE_OF(sim, 0, 0, 1);
    plan->settings.clock_drift_ppm = plan->clock_drift_ppm * ONE_OF(sim, 1, 2);
    if (sim->options.manual) plan->settings.leases = plan->settings.follower_reads = 0;
    if (plan->settings.leases) plan->reading_clock_us = 0;
}

static void draw_clients(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->clients = (unsigned)ONE_OF(sim, 1, 3, 6, 8, 20);
    plan->think_most_us = plan->election_us / ONE_OF(sim, 1, 2, 4, 16);
    plan->queries = (unsigned)ONE_OF(sim, 200, 400, 700);
    plan->stale = 50;
    plan->lease = (unsigned)ONE_OF(sim, 300, 700);
    plan->cancels = (unsigned)ONE_OF(sim, 0, 0, 20);
    plan->padding_most = (size_t)ONE_OF(sim, 0, 40, 200);
    plan->large = (unsigned)ONE_OF(sim, 0, 0, 30);
}

/* The limits of sessions and keys are shrunken to the least that INIT may say. A key has to live for much longer than a
 * request may be late: what is asked again after it is forgotten is done again. An app's workload asks as it likes. */
#define DRAW(sim, ...) ONE_OF_STREAM(sim, STREAM_ONCE, __VA_ARGS__)

static void draw_once(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    struct settings limits = plan->settings;
    uint64_t election_ms = plan->election_us / 1000;
    bool some = chance(sim, STREAM_ONCE, REGULARS) && !sim->options.workload && !sim->options.manual;
    plan->once.regulars = (unsigned)DRAW(sim, 400, 800, 1000);
    plan->once.by_key = (unsigned)DRAW(sim, 0, 300, 300, 1000);
    plan->once.swallows = (unsigned)DRAW(sim, 0, 30, 150);
    plan->once.pauses = (unsigned)DRAW(sim, 0, 10);
    plan->once.calls_most = (unsigned)DRAW(sim, 1, 3, SIM_CALLS);
    uint64_t lives_ms = election_ms * DRAW(sim, 10, 20, 60);
    bool short_lived = DRAW(sim, 0, 1, 1);
    if (short_lived) limits.session_timeout_ms = lives_ms > 1000 ? lives_ms : 1000;
    limits.session_window = DRAW(sim, 1, 3, 8, limits.session_window);
    limits.sessions_max = DRAW(sim, 2, limits.sessions_max, limits.sessions_max);
    limits.session_bytes_max = DRAW(sim, 65536, limits.session_bytes_max);
    uint64_t kept_ms = election_ms * DRAW(sim, 80, 160);
    limits.idempotency_timeout_ms = DRAW(sim, limits.idempotency_timeout_ms, kept_ms > 1000 ? kept_ms : 1000);
    limits.idempotency_keys_max = DRAW(sim, 10, 60, limits.idempotency_keys_max, limits.idempotency_keys_max);
    limits.idempotency_bytes_max = DRAW(sim, 65536, limits.idempotency_bytes_max);
    if (chance(sim, STREAM_ONCE, 40)) { /* some fill what there is room for with sessions */
        plan->once.hoards = 600;
        limits.session_bytes_max = 65536;
        limits.sessions_max = plan->settings.sessions_max;
    }
    if (some)
        plan->settings = limits;
    else
        plan->once.regulars = 0;
    if (!short_lived) plan->once.pauses = 0;
    if (sim->options.restores) plan->once.by_key = 0; /* once.c does not know which keys a backup has */
}

/* The moment of an app's next version moves with the length of the run. */
static void draw_deploys(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    const struct sim_options *options = &sim->options;
    bool some = chance(sim, STREAM_DEPLOYS, DEPLOYING);
    uint64_t pause_us = plan->election_us * ONE_OF_STREAM(sim, STREAM_DEPLOYS, 2, 10, 40);
    uint64_t part = draw(sim, STREAM_DEPLOYS, 900);
    if (options->deploys != SIM_DEPLOYS_DRAWN) some = options->deploys == SIM_DEPLOYS_ALWAYS;
    if (options->manual) return;
    if (options->next.size > 0)
        plan->deploys_us = plan->safety_us * part / 1000 + 1;
    else if (some && !options->workload)
        plan->deploys_us = pause_us;
}

static void draw_faults(struct sim *sim, bool operated)
{
    struct sim_plan *plan = &sim->plan;
    plan->fault_least_us = plan->election_us / 8;
    plan->fault_most_us = plan->election_us * draw_between(sim, STREAM_PLAN, 1, 5);
    for (unsigned i = 0; i < FAULTS; i++) {
        enum sim_stream stream = i == FAULT_snapshot ? STREAM_SNAPSHOTS : STREAM_PLAN;
        bool in = chance(sim, stream, faults[i].in_seed);
        uint64_t weight = draw_between(sim, stream, 1, faults[i].weight_most);
        bool by_operators = i >= FAULT_join && i <= FAULT_priority;
        plan->weight[i] = in && (operated || !by_operators) ? (unsigned)weight : 0;
        plan->weights += plan->weight[i];
    }
}

/* ---- parts of the plan as in a calm world ---- */

static void calm_drops(struct sim_plan *plan)
{
    plan->drop = 0;
}

static void calm_duplicates(struct sim_plan *plan)
{
    plan->duplicate = 0;
}

static void calm_late(struct sim_plan *plan)
{
    plan->late = 0;
}

static void calm_resets(struct sim_plan *plan)
{
    plan->reset_in_hello = 0;
}

static void calm_jitter(struct sim_plan *plan)
{
    plan->latency_most_us = plan->latency_least_us;
}

static void calm_slow_writes(struct sim_plan *plan)
{
    plan->write_most_us = plan->write_least_us;
    plan->slow_write = 0;
}

static void calm_slow_reports(struct sim_plan *plan)
{
    plan->report_most_us = 0;
}

static void calm_slow_turns(struct sim_plan *plan)
{
    plan->turn_most_us = 0;
    plan->reading_clock_us = 0;
}

static void calm_drift(struct sim_plan *plan)
{
    plan->clock_drift_ppm = 0;
}

static void calm_cancels(struct sim_plan *plan)
{
    plan->cancels = 0;
}

static void calm_regulars(struct sim_plan *plan)
{
    plan->once.regulars = 0;
}

static void calm_settings(struct sim_plan *plan)
{
    plan->settings_us = 0;
}

static void calm_deploys(struct sim_plan *plan)
{
    plan->deploys_us = 0;
}

/* The timeouts stay: they set the pace of the run. */
static void calm_limits(struct sim_plan *plan)
{
    struct settings shrunken = plan->settings;
    settings_init(&plan->settings);
    plan->settings.election_timeout_ms = shrunken.election_timeout_ms;
    plan->settings.heartbeat_ms = shrunken.heartbeat_ms;
    plan->settings.disk_retry_ms = shrunken.disk_retry_ms;
    plan->settings.request_timeout_ms = shrunken.request_timeout_ms;
    plan->settings.stop_timeout_ms = shrunken.stop_timeout_ms;
    plan->settings.leases = shrunken.leases;
    plan->settings.follower_reads = shrunken.follower_reads;
    plan->settings.clock_drift_ppm = shrunken.clock_drift_ppm;
    plan->settings.policy_interval_ms = shrunken.policy_interval_ms;
    plan->settings.policy_stable_ms = shrunken.policy_stable_ms;
    plan->settings.policy_dead_ms = shrunken.policy_dead_ms;
    plan->settings.policy_voters_min = shrunken.policy_voters_min;
    plan->apply_slice_us = 0;
}

static void (*const calms[SIM_CALMS])(struct sim_plan *plan) = {
#define X(name) [SIM_CALM_##name] = calm_##name,
    SIM_CALM_TABLE(X)
#undef X
};

static uint64_t one_of(struct sim *sim, enum sim_stream stream, const uint64_t *choices, size_t count)
{
    return choices[draw(sim, stream, count)];
}
