/*
 * One run: the three phases, the loop that hands events to whom they concern, and the end in which
 * nothing may be left.
 */
#include "sim/sim.h"

#include "base/memory.h"
#include "sim/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

/* A cluster driven by hand is a healthy one: what is to go wrong is asked for. */
#define MANUAL_CALM (~(1u << SIM_CALM_jitter | 1u << SIM_CALM_drift))

static void sim_begin(struct sim *sim);
static void sim_end(struct sim *sim);
static void switch_mutant(enum mutant mutant);
static void dispatch(struct sim *sim, struct sim_event *event);
static void discard(const struct sim_event *event);
static void begin_majority(struct sim *sim);
static uint32_t draw_healthy(struct sim *sim);
static void begin_convergence(struct sim *sim);
static void go_on_with_majority(struct sim *sim, bool late);
static void note_leader(struct sim *sim, const struct sim_node *leader);
static void begin_calm(struct sim *sim);
static void check_calm(struct sim *sim);
static uint64_t patience_us(const struct sim *sim);
static bool goes_on(struct sim *sim);
static void poll_again(struct sim *sim);

void sim_run(const struct sim_options *options, struct sim_result *result)
{
    struct sim *sim = sim_new(options);
    sim_advance(sim, UINT64_MAX);
    sim_finish(sim, result);
}

struct sim *sim_new(const struct sim_options *options)
{
    struct sim *sim = memory_zero(1, sizeof *sim);
    sim->options = *options;
    if (options->manual) sim->options.trim.calm |= MANUAL_CALM;
    switch_mutant(options->mutant);
    sim_begin(sim);
    switch_mutant(MUTANT_NONE);
    return sim;
}

bool sim_advance(struct sim *sim, uint64_t until_us)
{
    switch_mutant(sim->options.mutant);
    record_look(sim); /* what was done by hand */
    struct sim_event event;
    while (!sim->over && world_pop(&sim->world, until_us, &event)) {
        sim->result->events++;
        dispatch(sim, &event);
        record_look(sim);
        if (sim->options.steps_max && (sim->result->events & 63) == 0 &&
            sim_steps(sim) >= sim->options.steps_max) {
            sim->result->cut = true;
            sim->over = true;
        }
    }
    assert(sim->over || until_us != UINT64_MAX);
    switch_mutant(MUTANT_NONE);
    return !sim->over;
}

void sim_finish(struct sim *sim, struct sim_result *result)
{
    switch_mutant(sim->options.mutant);
    sim_end(sim);
    switch_mutant(MUTANT_NONE);
    if (result) *result = sim->own;
    memory_free(sim);
}

const struct sim_result *sim_so_far(struct sim *sim)
{
    struct sim_result *result = sim->result;
    result->nodes = sim->plan.founders;
    result->steps = sim_steps(sim);
    result->virtual_us = sim->world.now_us;
    result->election_us = sim->plan.election_us;
    result->safety_us = sim->plan.safety_us;
    result->trace_hash = sim->world.trace_hash;
    return result;
}

uint64_t sim_steps(const struct sim *sim)
{
    uint64_t steps = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        const struct sim_node *node = &sim->nodes[n];
        steps += node->steps_of_former_lives + (node->host ? host_counters(node->host).steps : 0);
    }
    return steps;
}

/* Is the phase over, or has it taken too long? */
void sim_on_phase(struct sim *sim, struct sim_event *event)
{
    (void)event;
    trace_event(sim, TRACE_PHASE, 0, sim->phase, 0);
    bool late = sim->world.now_us >= sim->phase_deadline_us;
    switch (sim->phase) {
    case PHASE_SAFETY:
        begin_majority(sim);
        break;
    case PHASE_MAJORITY:
        go_on_with_majority(sim, late);
        break;
    case PHASE_CONVERGENCE:
        if (sim_agrees(sim, true) && !sim->was_calm) {
            begin_calm(sim);
        } else if (sim_agrees(sim, true)) {
            agreement_check_end(sim);
            sim->over = true;
        } else if (late && goes_on(sim)) {
            sim->phase_deadline_us += patience_us(sim) / 2;
            poll_again(sim);
        } else if (late) {
            violate(sim, NULL, "convergence",
                    "all is healed for %" PRIu64 " us, and the nodes do not agree yet: %s",
                    sim->world.now_us - sim->clients.phase_us, sim->waits_for);
        } else {
            poll_again(sim);
        }
        break;
    case PHASE_CALM:
        check_calm(sim);
        if (late)
            begin_convergence(sim);
        else
            poll_again(sim);
        break;
    case PHASE_OVER:
        break;
    }
}

/* ---- the run ---- */

static void sim_begin(struct sim *sim)
{
    const struct sim_options *options = &sim->options;
    sim->result = &sim->own;
    sim->own = (struct sim_result){.ok = true};
    sim->blobs_before = blob_count();
    world_init(&sim->world, options->seed);
    plan_draw(sim);
    if (options->bundle.size > 0)
        buffer_append_slice(&sim->bundle, options->bundle);
    else
        machine_bundle(&sim->bundle);
    versions_begin(sim);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        node_init(sim, n);
        if (n < sim->plan.founders) node_start_after(&sim->nodes[n], draw(sim, STREAM_NODES, sim->plan.election_us));
    }
    sim->network.stranded = NOBODY;
    if (options->manual) return;
    clients_begin(sim);
    faults_begin(sim);
    settings_begin_orders(sim);
    poison_begin(sim);
    restores_begin(sim);
    deploys_begin(sim);
    world_push(&sim->world, sim->plan.safety_us, EVENT_PHASE, 0);
}

static void sim_end(struct sim *sim)
{
    sim->over = true;
    record_look(sim);
    clients_end(sim);
    sim_so_far(sim);
    sim->phase = PHASE_OVER;
    for (unsigned n = 0; n < sim->plan.nodes; n++) node_deinit(&sim->nodes[n]);
    struct sim_event event;
    while (world_pop(&sim->world, UINT64_MAX, &event)) discard(&event);
    sim->result->trace_hash = sim->world.trace_hash;
    world_deinit(&sim->world);
    clients_deinit(sim);
    orders_end(sim);
    settings_deinit(sim);
    policy_end(sim);
    restores_end(sim);
    deploys_end(sim);
    ledger_deinit(&sim->ledger);
    buffer_deinit(&sim->bundle);
    /* Another cluster may be alive beside this one, and hold some of its own. */
    if (!sim->options.manual && blob_count() != sim->blobs_before) {
        violate(sim, NULL, "payload_left", "%zu payloads are left at shutdown",
                blob_count() - sim->blobs_before);
    }
}

static void switch_mutant(enum mutant mutant)
{
#ifdef MOONCLAVE_MUTANTS
    mutant_active = mutant;
#else
    (void)mutant;
#endif
}

static void dispatch(struct sim *sim, struct sim_event *event)
{
    static const struct {
        void (*handle)(struct sim *sim, struct sim_event *event);
        bool waits;
    } rows[] = {
        [EVENT_START] = {node_on_start, false},
        [EVENT_TURN] = {node_on_turn, true},
        [EVENT_TIMER] = {node_on_timer, true},
        [EVENT_DELIVER] = {network_on_deliver, true},
        [EVENT_CONNECT] = {network_on_connect, false},
        [EVENT_HELLO] = {network_on_hello, false},
        [EVENT_PEER_LOST] = {network_on_peer_lost, true},
        [EVENT_DISK_DONE] = {disk_on_done, false},
        [EVENT_DISK_REPORT] = {disk_on_report, true},
        [EVENT_FILE_DONE] = {disk_on_file_done, false},
        [EVENT_CLIENT] = {clients_on_client, false},
        [EVENT_SUBMIT] = {clients_on_submit, true},
        [EVENT_OVERDUE] = {clients_on_overdue, true},
        [EVENT_FAULT] = {faults_on_fault, false},
        [EVENT_HEAL] = {faults_on_heal, false},
        [EVENT_KILL] = {node_on_kill, false},
        [EVENT_RESTORE] = {restores_on_event, false},
        [EVENT_PHASE] = {sim_on_phase, false},
        [EVENT_SETTINGS] = {settings_on_order, false},
        [EVENT_POLICY] = {policy_on_decided, true},
        [EVENT_POISON] = {poison_on_event, false},
        [EVENT_DEPLOY] = {deploys_on_event, false},
    };
    const struct sim_node *node = &sim->nodes[event->node];
    bool dead = !node->host && event->kind != EVENT_START;
    if (event->lifetime != 0 && (event->lifetime != node->lifetime || dead)) {
        discard(event);
        return;
    }
    if (rows[event->kind].waits && node->host && node_paused(node)) {
        world_defer(&sim->world, event, node->paused_until_us);
        return;
    }
    rows[event->kind].handle(sim, event);
}

static void discard(const struct sim_event *event)
{
    if (event->kind == EVENT_DELIVER) network_packet_drop(event->data);
    if (event->kind == EVENT_DISK_REPORT) disk_report_free(event->data);
    if (event->kind == EVENT_POLICY) policy_view_free(event->data);
}

/* ---- phases ---- */

/* Some majority of those who still have their disks can talk again; the others stay cut off, half
 * cut off, or away.
 */
static void begin_majority(struct sim *sim)
{
    unsigned nodes = sim->plan.nodes;
    uint32_t healthy = draw_healthy(sim);
    for (unsigned n = 0; n < nodes; n++) sim->healthy[n] = sim->network.calm[n] = healthy >> n & 1;

    sim->phase = PHASE_MAJORITY;
    sim->network.stranded = NOBODY;
    for (unsigned n = 0; n < nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        uint64_t fate = draw(sim, STREAM_FAULTS, 5);
        if (!sim->healthy[n] && fate == 0) {
            node->held = true;
            node_crash(node);
        } else {
            faults_heal_node(node);
        }
        for (unsigned other = 0; other < nodes; other++) {
            if (sim->healthy[n] && sim->healthy[other]) network_heal(sim, n, other);
            if (sim->healthy[n] || !sim->healthy[other]) continue;
            sim->network.blocked[n][other] = fate == 1 || fate == 2;
            sim->network.blocked[other][n] = fate == 1 || fate == 3;
        }
        TRACE(sim, node, "--- majority phase: %s %u", sim->healthy[n] ? "healthy" : "fate",
              (unsigned)fate);
    }
    sim->clients.phase_us = sim->world.now_us;
    sim->clients.ok_since_phase = 0;
    clients_wake(sim);
    sim->phase_deadline_us = sim->world.now_us + patience_us(sim);
    poll_again(sim);
}

/* Progress first; then, once what is late has arrived, a leader among the healed has to stay one,
 * whatever those do who can still disturb it. */
static void go_on_with_majority(struct sim *sim, bool late)
{
    uint64_t now_us = sim->world.now_us;
    if (sim->clients.ok_since_phase == 0 || poison_pending(sim)) {
        if (late) {
            violate(sim, NULL, "progress",
                    "a healed majority has committed nothing new in %" PRIu64 " us",
                    now_us - sim->clients.phase_us);
        }
    } else if (sim->settled_us == 0) {
        sim->result->recovery_us = now_us - sim->clients.phase_us;
        sim->settled_us = now_us + 4 * sim->plan.election_us + sim->plan.late_most_us;
    } else if (now_us < sim->operators.settled_us && sim->calm_term == 0) {
        sim->settled_us = now_us; /* what operators have asked for may yet be done */
    } else if (now_us >= sim->settled_us && sim->calm_term == 0) {
        const struct sim_node *leader = node_leading(sim);
        if (leader && sim->healthy[leader->number] && agreement_preferred(sim, leader, true))
            note_leader(sim, leader);
        else
            begin_convergence(sim);
        sim->settled_us = now_us + 8 * sim->plan.election_us;
    } else if (now_us >= sim->settled_us) {
        begin_convergence(sim);
    } else if (sim->calm_term > 0) {
        check_calm(sim);
    }
    if (sim->phase == PHASE_MAJORITY) poll_again(sim);
}

/* A majority by every configuration that may decide something from now on, and perhaps some more. */
static uint32_t draw_healthy(struct sim *sim)
{
    unsigned order[SIM_NODES_MAX], count = 0, least = 0;
    struct sim_electorates electorates;
    uint32_t healthy = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (!sim->nodes[n].wiped && !sim->nodes[n].idle) order[count++] = n;
    }
    for (unsigned i = count - 1; i > 0; i--) {
        unsigned j = (unsigned)draw(sim, STREAM_FAULTS, i + 1), held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
    electorates_draw_up(sim, NULL, &electorates);
    while (least < count && !electorates_have(&electorates, healthy)) healthy |= 1u << order[least++];
    unsigned size = (unsigned)draw_between(sim, STREAM_FAULTS, least, count);
    for (unsigned i = least; i < size; i++) healthy |= 1u << order[i];
    return healthy;
}

static void note_leader(struct sim *sim, const struct sim_node *leader)
{
    sim->calm_leader = leader->number;
    sim->calm_term = leader->watch.term;
    TRACE(sim, leader, "--- leads, and is to stay so");
}

static void begin_convergence(struct sim *sim)
{
    sim->phase = PHASE_CONVERGENCE;
    sim->clients.quiet = true;
    memset(sim->network.blocked, 0, sizeof sim->network.blocked);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        bool joins = node->spare && !node->disk.configuration && !node->wiped;
        sim->network.calm[n] = true;
        if (joins) node_crash(node); /* started again, it is told who is a member now */
        faults_heal_node(node);
    }
    TRACE(sim, NULL, "--- convergence phase");
    sim->clients.phase_us = sim->world.now_us;
    sim->phase_deadline_us = sim->world.now_us + patience_us(sim);
    poll_again(sim);
}

/* Nothing is wrong any more: who leads goes on leading, under load, whatever a wiped node may do.
 */
static void begin_calm(struct sim *sim)
{
    const struct sim_node *leader = node_leading(sim);
    sim->phase = PHASE_CALM;
    sim->was_calm = true;
    TRACE(sim, leader, "--- calm phase");
    note_leader(sim, leader);
    clients_resume(sim);
    sim->phase_deadline_us = sim->world.now_us + 8 * sim->plan.election_us;
    poll_again(sim);
}

static void check_calm(struct sim *sim)
{
    const struct sim_node *leader = node_leading(sim);
    if (leader && leader->number == sim->calm_leader && leader->watch.term == sim->calm_term)
        return;
    /* Slow writes are part of some calms. Whoever is preferred takes over again before that is settled. */
    if (disk_has_stalled(&sim->nodes[sim->calm_leader])) sim->calm_moving = true;
    if (sim->calm_moving) {
        if (!leader || !agreement_preferred(sim, leader, sim->phase == PHASE_MAJORITY)) return;
        note_leader(sim, leader);
        sim->calm_moving = false;
        return;
    }
    violate(sim, leader, "leader_stays",
            "among healthy nodes, %s no longer leads as in term %" PRIu64,
            sim->nodes[sim->calm_leader].id.text, sim->calm_term);
}

/* What an election takes, some times over; and the way of every entry, one at a time where windows
 * are that small. */
/* More is applied than when patience was last at its end, as of a server that could join late only; twice at most. */
static bool goes_on(struct sim *sim)
{
    raft_index applied = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (sim->nodes[n].host) applied += host_applied(sim->nodes[n].host).index;
    }
    bool more = applied > sim->late_applied && sim->late_times < 2;
    sim->late_applied = applied;
    sim->late_times++;
    return more;
}

static uint64_t patience_us(const struct sim *sim)
{
    const struct sim_plan *plan = &sim->plan;
    uint64_t trip = 2 * plan->latency_most_us + plan->write_most_us + plan->report_most_us +
                    4 * plan->turn_most_us + 100;
    raft_index longest = sim->ledger.committed;
    for (unsigned n = 0; n < plan->nodes; n++) {
        if (sim->nodes[n].disk.intended_count > longest)
            longest = sim->nodes[n].disk.intended_count;
    }
    uint64_t state = 0; /* a snapshot may have to travel, piece by piece */
    for (size_t i = 0; i < sim->ledger.taken_count; i++) {
        if (sim->ledger.taken[i].bytes.size > state) state = sim->ledger.taken[i].bytes.size;
    }
    uint64_t pieces = state / plan->settings.snapshot_chunk_bytes + (state > 0 ? 10 : 0);
    return 60 * plan->election_us + 2 * plan->late_most_us + 2 * trip * (longest + 20 + 2 * pieces);
}

static void poll_again(struct sim *sim)
{
    world_push(&sim->world, sim->plan.election_us / 2, EVENT_PHASE, 0);
}

/* ---- mutants ---- */

#ifdef MOONCLAVE_MUTANTS
static const struct {
    enum mutant mutant;
    const char *name, *bug;
} mutants[] = {
#define X(name, text, bug) {MUTANT_##name, text, bug},
    MUTANT_TABLE(X)
#undef X
};
#define MUTANTS (sizeof mutants / sizeof *mutants)
#endif

const char *sim_mutant_name(unsigned i, const char **bug)
{
#ifdef MOONCLAVE_MUTANTS
    if (i < MUTANTS) {
        *bug = mutants[i].bug;
        return mutants[i].name;
    }
#else
    (void)i;
    (void)bug;
#endif
    return NULL;
}

bool sim_mutant_find(const char *name, enum mutant *mutant)
{
#ifdef MOONCLAVE_MUTANTS
    for (unsigned i = 0; i < MUTANTS; i++) {
        if (strcmp(mutants[i].name, name) != 0) continue;
        *mutant = mutants[i].mutant;
        return true;
    }
#else
    (void)name;
    (void)mutant;
#endif
    return false;
}
