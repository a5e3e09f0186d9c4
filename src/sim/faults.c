/*
 * The faults of the safety phase: one strikes, then after a drawn while the next, until the phase
 * is over. What a fault breaks mends by itself after a while (nodes restart, partitions heal, disks
 * have room again); the last two phases mend all at once.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "script/fsm.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void (*const strikes[FAULTS])(struct sim *sim);
static void begin_strike(struct sim *sim);
static struct sim_node *any_node(struct sim *sim);
static struct sim_node *leader_or_any(struct sim *sim);
static uint64_t elections(struct sim *sim,
                          uint64_t most); /* a while, up to so many election timeouts */
static void says(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say_cuts(struct sim *sim);
static bool cuts(unsigned fault);
static void cut(struct sim *sim, unsigned from, unsigned to);
static void begin_partition(struct sim *sim);
static bool may_lose(struct sim *sim, const struct sim_node *node);
static void settle(struct sim *sim);
static void schedule(struct sim *sim);

#define SETTLE      1             /* the number of the FAULT that comes last */
#define CLOCK_HEALS (1ULL << 32) /* a HEAL's number from there on: the clock of a node, not a partition */

/* The last comes before the phase looks who is sound. */
void faults_begin(struct sim *sim)
{
    world_push(&sim->world, sim->plan.safety_us, EVENT_FAULT, 0)->number = SETTLE;
    if (sim->plan.weights > 0) schedule(sim);
}

void faults_on_fault(struct sim *sim, struct sim_event *event)
{
    if (sim->phase != PHASE_SAFETY) return;
    if (event->number == SETTLE) {
        settle(sim);
        return;
    }
    begin_strike(sim);
    uint64_t at = draw(sim, STREAM_FAULTS, sim->plan.weights);
    unsigned fault = 0;
    while (at >= sim->plan.weight[fault]) at -= sim->plan.weight[fault++];
    const struct sim_trim *trim = &sim->options.trim;
    bool left_out = (trim->kinds >> fault & 1) != 0 ||
                    trim_leaves_out(trim->faults, trim->fault_count, trim->only_faults, sim->strikes);
    trace_event(sim, TRACE_FAULT, 0, fault, left_out);
    if (!left_out) {
        TRACE(sim, NULL, "--- fault %" PRIu64 ": %s", sim->strikes, sim_fault_name(fault));
        cover_fault(sim, fault);
        record_fault(sim, sim_fault_name(fault));
        sim->struck[0] = '\0';
        strikes[fault](sim);
        if (sim->options.struck && cuts(fault)) say_cuts(sim);
        if (sim->options.struck) {
            sim->options.struck(sim->options.struck_context, sim->strikes, sim_fault_name(fault),
                                sim->world.now_us, sim->struck);
        }
    }
    schedule(sim);
}

/* Each strike draws from a stream of its own: leaving one out changes nothing of the next. */
static void begin_strike(struct sim *sim)
{
    sim->strikes++;
    random_init(&sim->world.random[STREAM_FAULTS],
                hash_pair(hash_pair(sim->options.seed, STREAM_FAULTS), sim->strikes));
}

/* The partition of that number is over, a later one stays; likewise a clock's rate. */
void faults_on_heal(struct sim *sim, struct sim_event *event)
{
    if (event->number >= CLOCK_HEALS) {
        struct sim_node *node = &sim->nodes[event->node];
        if (event->number - CLOCK_HEALS == node->rate_change) node_clock_rate(node, 0);
        return;
    }
    if (sim->phase != PHASE_SAFETY || event->number != sim->network.partition) return;
    trace_event(sim, TRACE_HEAL, 0, event->number, 0);
    TRACE(sim, NULL, "--- the partition heals");
    sim->network.stranded = NOBODY;
    memset(sim->network.blocked, 0, sizeof sim->network.blocked);
}

/* Killed when it takes too long. */
void faults_stop(struct sim_node *node)
{
    struct sim *sim = node->sim;
    node->stopping = true;
    node->stop_began_us = node_clock_us(node);
    world_push(&sim->world, sim->plan.election_us * 12, EVENT_KILL, node->number)->lifetime =
        node->lifetime;
    node_enter(node);
    host_stop(node->host);
    node_leave(node);
}

/* A pause ends by itself: what waits for the node has been put behind it. */
void faults_heal_node(struct sim_node *node)
{
    disk_heal(node);
    node_clock_rate(node, 0);
    if (node->machine.fsm) fsm_fail_allocation(node->machine.fsm, 0);
    node->crash_after = 0;
    node->held = false;
    if (!node->host) node_start_after(node, draw_between(node->sim, STREAM_FAULTS, 100, 5000));
}

/* ---- nodes ---- */

static void strike_crash(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    says(sim, "%s", node->id.text);
    node_crash(node);
}

static void strike_crash_midway(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    uint64_t calls = 1 + draw(sim, STREAM_FAULTS, 40);
    says(sim, "%s, %" PRIu64 " effects from now", node->id.text, calls);
    if (node->host) node->crash_after = calls;
}

static void strike_crash_leader(struct sim *sim)
{
    struct sim_node *node = leader_or_any(sim);
    uint64_t calls = 1 + draw(sim, STREAM_FAULTS, 8);
    says(sim, "%s, %" PRIu64 " effects from now", node->id.text, calls);
    if (node->host) node->crash_after = calls;
}

static void strike_crash_all(struct sim *sim)
{
    COVER(sim, crashes_all);
    bool midway = chance(sim, STREAM_FAULTS, 500);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        uint64_t calls = 1 + draw(sim, STREAM_FAULTS, 12);
        if (midway && node->host) node->crash_after = calls;
        if (!midway) node_crash(node);
    }
}

static void strike_stop(struct sim *sim)
{
    struct sim_node *node = leader_or_any(sim);
    if (!node_up(node) || node->stopping || node_paused(node)) return;
    COVER(sim, stops);
    says(sim, "%s", node->id.text);
    faults_stop(node);
}

static void strike_pause(struct sim *sim)
{
    struct sim_node *node = leader_or_any(sim);
    uint64_t length = elections(sim, 4);
    if (!node->host || node_paused(node)) return;
    COVER(sim, pauses);
    says(sim, "%s for %.3f s", node->id.text, (double)length / 1e6);
    node->paused_until_us = sim->world.now_us + length;
}

/* What people and their time servers do to a wall clock: forward, and backward too. */
static void strike_clock_jump(struct sim *sim)
{
    COVER(sim, clock_jumps);
    struct sim_node *node = any_node(sim); /* drawn first: C leaves the order of both sides open */
    node->wall_offset_ms = (int64_t)draw(sim, STREAM_FAULTS, 7200000) - 3600000;
    says(sim, "%s by %.3f s", node->id.text, (double)node->wall_offset_ms / 1e3);
}

/* A monotonic clock never goes back, but how fast it goes is another matter: a quarter to four times, or, where there
 * are leases, anywhere within the bound that they are computed by. */
static void strike_clock_rate(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    uint64_t rate = draw_between(sim, STREAM_FAULTS, 250000, 1000000);
    if (chance(sim, STREAM_FAULTS, 500)) rate = 1000000000000 / rate;
    if (sim->plan.settings.leases) {
        uint64_t drift = sim->plan.settings.clock_drift_ppm;
        rate = 1000000 - drift + draw(sim, STREAM_FAULTS, 2 * drift + 1);
    }
    uint64_t length = elections(sim, 10);
    COVER(sim, clock_rates);
    says(sim, "%s goes %.2f times as fast for %.3f s", node->id.text, (double)rate / 1e6, (double)length / 1e6);
    node_clock_rate(node, rate);
    world_push(&sim->world, length, EVENT_HEAL, node->number)->number = CLOCK_HEALS + node->rate_change;
}

/*
 * The state machine's VM gets no more memory, at some allocation from here on. The rest of the program aborts when
 * there is none (base/memory.c), which from outside is a crash between two effects: strike_crash_midway is that.
 */
static void strike_no_memory(struct sim *sim)
{
    struct sim_node *node = leader_or_any(sim);
    uint64_t allocations = 1 + draw(sim, STREAM_FAULTS, 300);
    if (!node->host || !node->machine.fsm) return;
    says(sim, "%s, %" PRIu64 " allocations from now", node->id.text, allocations);
    fsm_fail_allocation(node->machine.fsm, allocations);
}

/* A node loses its disk and comes back under its old id. */
/* Blank nodes that are all started with the same --peers begin another cluster: that is what it is for. Once no first
 * member has its data any more, whoever starts one again must say --join. */
static bool founder_left(const struct sim *sim)
{
    for (unsigned n = 0; n < sim->plan.founders; n++) {
        const struct sim_node *node = &sim->nodes[n];
        if (node->spare || node->disk.configuration) return true;
    }
    return false;
}

static void strike_wipe(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    if (!may_lose(sim, node)) return;
    COVER(sim, wipes);
    says(sim, "%s", node->id.text);
    if (node->host) node_crash(node);
    life_begin(node, random_next(&sim->world.random[STREAM_FAULTS]) | 1);
    node->wiped = true;
    if (!founder_left(sim)) node->spare = true;
}

/* ---- network ---- */

static void strike_partition(struct sim *sim)
{
    if (sim->plan.nodes < 2) return;
    COVER(sim, partitions);
    begin_partition(sim);
    uint64_t side = draw_between(sim, STREAM_FAULTS, 1, (1u << sim->plan.nodes) - 2);
    for (unsigned a = 0; a < sim->plan.nodes; a++) {
        for (unsigned b = 0; b < sim->plan.nodes; b++) {
            if (a != b && (side >> a & 1) != (side >> b & 1)) cut(sim, a, b);
        }
    }
}

/* One node does not hear some of the others, or is not heard by them. */
static void strike_one_way(struct sim *sim)
{
    COVER(sim, one_way_partitions);
    begin_partition(sim);
    unsigned node = leader_or_any(sim)->number;
    bool deaf = chance(sim, STREAM_FAULTS, 500);
    bool all = chance(sim, STREAM_FAULTS, 500);
    for (unsigned other = 0; other < sim->plan.nodes; other++) {
        bool hit = all || chance(sim, STREAM_FAULTS, 500);
        if (other == node || !hit) continue;
        if (deaf)
            cut(sim, other, node);
        else
            cut(sim, node, other);
    }
}

/* Two groups that only one node sees both of. */
static void strike_bridge(struct sim *sim)
{
    COVER(sim, bridges);
    begin_partition(sim);
    unsigned bridge = any_node(sim)->number;
    uint64_t side = draw(sim, STREAM_FAULTS, 1u << sim->plan.nodes);
    for (unsigned a = 0; a < sim->plan.nodes; a++) {
        for (unsigned b = 0; b < sim->plan.nodes; b++) {
            if (a != b && a != bridge && b != bridge && (side >> a & 1) != (side >> b & 1))
                cut(sim, a, b);
        }
    }
}

static void strike_isolate_leader(struct sim *sim)
{
    COVER(sim, partitions);
    begin_partition(sim);
    unsigned leader = leader_or_any(sim)->number;
    unsigned friend = any_node(sim)->number; /* may be the leader itself: then it is alone */
    for (unsigned other = 0; other < sim->plan.nodes; other++) {
        if (other == leader || (other == friend && sim->plan.nodes > 3)) continue;
        cut(sim, leader, other);
        cut(sim, other, leader);
    }
}

/* Cut off, but what was under way to it trickles in: old acknowledgements, while others elect
 * another leader and clients still ask this one. */
static void strike_strand_leader(struct sim *sim)
{
    COVER(sim, stranded);
    begin_partition(sim);
    unsigned leader = leader_or_any(sim)->number;
    for (unsigned other = 0; other < sim->plan.nodes; other++) {
        if (other == leader) continue;
        sim->network.blocked[leader][other] = true;
        sim->network.blocked[other][leader] = true;
    }
    sim->network.stranded = leader;
    clients_prefer(sim, leader);
}

void faults_deafen(struct sim_node *node)
{
    struct sim *sim = node->sim;
    COVER(sim, one_way_partitions);
    begin_partition(sim);
    for (unsigned other = 0; other < sim->plan.nodes; other++) {
        if (other != node->number) sim->network.blocked[other][node->number] = true;
    }
}

/* Two that do not hear each other, besides whoever does not already. */
void faults_part(struct sim *sim, unsigned a, unsigned b)
{
    if (a == b) return;
    sim->network.blocked[a][b] = sim->network.blocked[b][a] = true;
    world_push(&sim->world, elections(sim, 6), EVENT_HEAL, 0)->number = ++sim->network.partition;
}

static void strike_reset(struct sim *sim)
{
    unsigned a = any_node(sim)->number;
    unsigned b = any_node(sim)->number;
    if (a == b) return;
    says(sim, "between %s and %s", sim->nodes[a].id.text, sim->nodes[b].id.text);
    network_break(sim, a, b);
}

/* ---- disks ---- */

static void strike_disk_full(struct sim *sim)
{
    COVER(sim, full_disks);
    struct sim_node *node = leader_or_any(sim);
    uint64_t length = elections(sim, 3);
    says(sim, "%s for %.3f s", node->id.text, (double)length / 1e6);
    node->disk.full_until_us = sim->world.now_us + length;
}

static void strike_disk_slow(struct sim *sim)
{
    COVER(sim, slow_disks);
    struct sim_node *node = leader_or_any(sim);
    uint64_t length = elections(sim, 4);
    says(sim, "%s for %.3f s", node->id.text, (double)length / 1e6);
    node->disk.slow_until_us = sim->world.now_us + length;
}

static void strike_disk_error(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    says(sim, "%s", node->id.text);
    if (node->host) node->disk.fail_next = true;
}

/* The same promise as for a wipe: a node whose disk has rotted counts as one without until it is known better. */
static void strike_bit_rot(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    if (!may_lose(sim, node)) return;
    if (node->host && chance(sim, STREAM_FAULTS, 500)) node_crash(node); /* often one comes with the other */
    if (!disk_rot(node)) return;
    COVER(sim, rots);
    says(sim, "%s", node->id.text);
}

/* A disk that lied: what it had synced is not there after a crash. */
static void strike_lost_tail(struct sim *sim)
{
    struct sim_node *node = any_node(sim);
    if (!may_lose(sim, node)) return;
    if (node->host) node_crash(node);
    if (!disk_lose_tail(node)) return;
    COVER(sim, lost_tails);
    says(sim, "%s", node->id.text);
}

static void (*const strikes[FAULTS])(struct sim *sim) = {
#define X(name) [FAULT_##name] = strike_##name,
    SIM_FAULT_TABLE(X)
#undef X
};

/* ---- helpers ---- */

/* Only while what is left would do: nothing is promised beyond that. */
static bool may_lose(struct sim *sim, const struct sim_node *node)
{
    return !node->disk.rotten && operators_spare(sim, node);
}

/* Whoever chooses a majority next must know which disks are lost. */
static void settle(struct sim *sim)
{
    for (unsigned n = 0; n < sim->plan.nodes; n++) disk_settle(&sim->nodes[n]);
}

/* But spares that nobody has started. */
static struct sim_node *any_node(struct sim *sim)
{
    unsigned started[SIM_NODES_MAX], count = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (!sim->nodes[n].idle) started[count++] = n;
    }
    return &sim->nodes[count > 0 ? started[draw(sim, STREAM_FAULTS, count)] : 0];
}

static struct sim_node *leader_or_any(struct sim *sim)
{
    struct sim_node *any = any_node(sim), *leader = node_leading(sim);
    return leader && chance(sim, STREAM_FAULTS, 600) ? leader : any;
}

static uint64_t elections(struct sim *sim, uint64_t most)
{
    return 1 + draw(sim, STREAM_FAULTS, sim->plan.election_us * most);
}

/* What a strike does, for people. */
static void says(struct sim *sim, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->struck, sizeof sim->struck, format, arguments);
    va_end(arguments);
}

/* Who cannot be heard by whom: "n1 by n2 n3; n2 by n1". */
static void say_cuts(struct sim *sim)
{
    size_t size = 0, most = sizeof sim->struck;
    for (unsigned from = 0; from < sim->plan.nodes && size < most; from++) {
        bool any = false;
        for (unsigned to = 0; to < sim->plan.nodes && size < most; to++) {
            if (!sim->network.blocked[from][to]) continue;
            const char *before = any ? "" : size > 0 ? "; " : "";
            size += (size_t)snprintf(sim->struck + size, most - size, "%s%s%s %s", before,
                                     any ? "" : sim->nodes[from].id.text,
                                     any ? "" : " not heard by", sim->nodes[to].id.text);
            any = true;
        }
    }
}

/* The connection may live through it, as TCP does when the cut is short. */
static void cut(struct sim *sim, unsigned from, unsigned to)
{
    sim->network.blocked[from][to] = true;
    if (chance(sim, STREAM_FAULTS, 300)) network_break(sim, from, to);
}

static bool cuts(unsigned fault)
{
    return fault == FAULT_partition || fault == FAULT_one_way || fault == FAULT_bridge ||
           fault == FAULT_isolate_leader || fault == FAULT_strand_leader;
}

static void begin_partition(struct sim *sim)
{
    memset(sim->network.blocked, 0, sizeof sim->network.blocked);
    sim->network.stranded = NOBODY;
    world_push(&sim->world, elections(sim, 6), EVENT_HEAL, 0)->number = ++sim->network.partition;
}

static void schedule(struct sim *sim)
{
    uint64_t delay =
        draw_between(sim, STREAM_FAULTS, sim->plan.fault_least_us, sim->plan.fault_most_us);
    world_push(&sim->world, delay, EVENT_FAULT, 0);
}
