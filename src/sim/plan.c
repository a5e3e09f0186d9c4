/*
 * What a seed draws before anything happens: cluster size, limits, latencies, and which faults
 * strike how often. Swarm testing: every seed leaves most faults out and overdoes some, so that no
 * fault hides another. Limits are shrunk, so that windows fill, tails overflow and queues refuse
 * all the time.
 */
#include "sim/internal.h"

#include <assert.h>

static void draw_settings(struct sim *sim);
static void draw_network(struct sim *sim);
static void draw_disk_and_nodes(struct sim *sim);
static void draw_clients(struct sim *sim);
static void draw_faults(struct sim *sim);
static uint64_t one_of(struct sim *sim, const uint64_t *choices, size_t count);
#define ONE_OF(sim, ...)                           \
    one_of((sim), (const uint64_t[]){__VA_ARGS__}, \
           sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

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
};

const char *fault_name(enum sim_fault fault)
{
    return faults[fault].name;
}

void plan_draw(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->nodes = sim->options.nodes ? sim->options.nodes : (unsigned)ONE_OF(sim, 3, 3, 3, 5, 5);
    assert(plan->nodes <= SIM_NODES_MAX);
    draw_settings(sim);
    draw_network(sim);
    draw_disk_and_nodes(sim);
    draw_clients(sim);
    draw_faults(sim);
    plan->safety_us =
        plan->election_us * draw_between(sim, STREAM_PLAN, 20, ONE_OF(sim, 60, 150, 500));
    if (sim->options.safety_us) plan->safety_us = sim->options.safety_us;
}

/* Limits below what settings_check allows are wanted here: they reach the same code sooner. */
static void draw_settings(struct sim *sim)
{
    struct settings *settings = &sim->plan.settings;
    settings_init(settings);
    uint64_t election_ms = ONE_OF(sim, 20, 50, 100, 300);
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
    plan->turn_most_us = ONE_OF(sim, 0, 0, 50, plan->election_us / 40);
    plan->reading_clock_us = ONE_OF(sim, 0, 0, 3);
    plan->apply_slice_us = ONE_OF(sim, 0, 1, 500);
    plan->clock_drift_ppm = (unsigned)ONE_OF(sim, 0, 200, 30000);
    plan->restart_most_us = plan->election_us * draw_between(sim, STREAM_PLAN, 1, 5) + 1000;
}

static void draw_clients(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->clients = (unsigned)ONE_OF(sim, 1, 3, 6, 8, 20);
    plan->think_most_us = plan->election_us / ONE_OF(sim, 1, 2, 4, 16);
    plan->queries = (unsigned)ONE_OF(sim, 200, 400, 700);
    plan->stale = 50;
    plan->cancels = (unsigned)ONE_OF(sim, 0, 0, 20);
    plan->padding_most = (size_t)ONE_OF(sim, 0, 40, 200);
    plan->large = (unsigned)ONE_OF(sim, 0, 0, 30);
}

static void draw_faults(struct sim *sim)
{
    struct sim_plan *plan = &sim->plan;
    plan->fault_least_us = plan->election_us / 8;
    plan->fault_most_us = plan->election_us * draw_between(sim, STREAM_PLAN, 1, 5);
    for (unsigned i = 0; i < FAULTS; i++) {
        bool in = chance(sim, STREAM_PLAN, faults[i].in_seed);
        uint64_t weight = draw_between(sim, STREAM_PLAN, 1, faults[i].weight_most);
        plan->weight[i] = in ? (unsigned)weight : 0;
        plan->weights += plan->weight[i];
    }
}

static uint64_t one_of(struct sim *sim, const uint64_t *choices, size_t count)
{
    return choices[draw(sim, STREAM_PLAN, count)];
}
