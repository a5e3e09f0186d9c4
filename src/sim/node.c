/*
 * One server: a real host between virtual ports. A lifetime begins at START with what the disk
 * holds and ends in a crash, a stop or a fatal error; only the disk goes over into the next.
 *
 * A crash can come between any two port calls: it is armed with a count, and from that call on the
 * ports do nothing, as if the process had ended in the middle of carrying out its effects. What it
 * thinks afterwards is never looked at.
 */
#include "sim/internal.h"

#include "base/memory.h"
#include "script/fsm.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RESTART_LEAST_US 1000
#define WALL_BEGAN_MS    1700000000000u

static void begin_clock(struct sim_node *node);
static void turn(struct sim_node *node);
static void end_of_call(struct sim_node *node);
static void bury(struct sim_node *node);
static void restart(struct sim_node *node);
static void set_timer(struct sim_node *node);
static void make_ports(struct sim_node *node, struct host_ports *ports);
static struct sim_node *port(void *context);

void node_init(struct sim *sim, unsigned number)
{
    struct sim_node *node = &sim->nodes[number];
    char id[8];
    snprintf(id, sizeof id, "n%u", number + 1);
    *node = (struct sim_node){.sim = sim, .number = number};
    node->id = raft_id_of(id);
    snprintf(node->address, sizeof node->address, "10.0.0.%u:5001", number + 1);
    disk_init(sim, &node->disk, random_next(&sim->world.random[STREAM_NODES]) | 1);
    node->spare = node->idle = number >= sim->plan.founders;
}

void node_deinit(struct sim_node *node)
{
    node->held = true;
    if (node->host) bury(node);
    disk_deinit(&node->disk);
    lives_deinit(node);
}

void node_start_after(struct sim_node *node, uint64_t delay_us)
{
    world_push(&node->sim->world, delay_us, EVENT_START, node->number)->lifetime = node->lifetime;
}

void node_on_start(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    if (node->host || node->held || node->wrecked || node->idle) return;
    node->lifetime++;
    node->watch = (struct sim_watch){0};
    begin_clock(node);
    if (!disk_begin(node)) {
        TRACE(sim, node, "does not come up");
        restart(node);
        return;
    }
    COVER(sim, starts);
    trace_event(sim, TRACE_START, node->number, node->lifetime, node->disk.log.count);
    TRACE(sim, node, "starts for the %u. time, term %" PRIu64 ", log %zu", node->lifetime,
          node->disk.hard_state.term, node->disk.log.count);
    record_node(node, MOMENT_start, node->lifetime, node->disk.hard_state.term, node->disk.log.count, NULL);

    const char *peers[SIM_NODES_MAX], *doors[SIM_NODES_MAX];
    for (unsigned n = 0; n < sim->plan.founders; n++) peers[n] = sim->nodes[n].address;
    bool listed = !node->spare && (!node->disk.configuration ||
                                   chance(sim, STREAM_NODES, 500)); /* a member may go without --peers */
    unsigned door_count = node->spare ? operators_doors(node, doors) : 0;
    static const uint8_t empty_map[] = {0x80};
    struct host_options options = {
        .identity = {.incarnation = node->disk.incarnation, .cluster = node->disk.cluster},
        .address = node->address,
        .peers = listed ? peers : NULL,
        .peer_count = listed ? sim->plan.founders : 0,
        .join = door_count > 0 ? doors : NULL,
        .join_count = door_count,
        .bundle = buffer_slice(&sim->bundle),
        .config = slice_of(empty_map, sizeof empty_map),
        .first_configuration = node->disk.configuration
                                   ? slice_of(node->disk.configuration->data, node->disk.configuration->size)
                                   : (struct slice){0},
        .lua_release = sim->options.lua_release ? sim->options.lua_release : "5.4.4",
        .seed = random_next(&sim->world.random[STREAM_NODES]),
        .deaths = poison_deaths(node),
        .apply_slice_us = (size_t)sim->plan.apply_slice_us,
    };
    memcpy(options.identity.id, node->id.text, sizeof options.identity.id);
    struct host_ports ports;
    struct machine machine;
    make_ports(node, &ports);
    machine_begin(&node->machine, node, &machine);
    node->host = host_new(&options, &sim->plan.settings, &ports, &machine);
    struct raft_durable durable;
    disk_durable(&node->disk, &durable);
    node_enter(node);
    const struct raft_durable *found = disk_found(node);
    host_start(node->host, found ? found : &durable);
    node_leave(node);
    memory_free((void *)(uintptr_t)durable.runs);
    memory_free((void *)(uintptr_t)durable.configurations);
    memory_free((void *)(uintptr_t)durable.skips);
}

void node_on_turn(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    node->turn_scheduled = false;
    trace_event(sim, TRACE_TURN, node->number, 0, 0);
    turn(node);
}

void node_on_timer(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    if (event->number != node->timer_generation) return; /* another one was set since */
    trace_event(sim, TRACE_TIMER, node->number, node_clock_us(node), 0);
    node->timer_at_us = 0;
    node_enter(node);
    host_timer(node->host);
    node_leave(node);
}

void node_on_kill(struct sim *sim, struct sim_event *event)
{
    node_crash(&sim->nodes[event->node]);
}

bool node_up(const struct sim_node *node)
{
    return node->host && !node->dying;
}

bool node_paused(const struct sim_node *node)
{
    return node->paused_until_us > node->sim->world.now_us;
}

void node_enter(struct sim_node *node)
{
    assert(node->host && !node->inside && !node->dying);
    node->inside = true;
}

/* Turns come at once or a little later, so that several events may share one: both happen on real
 * loops. */
void node_leave(struct sim_node *node)
{
    struct sim *sim = node->sim;
    end_of_call(node);
    if (!node->host || node->turn_scheduled || sim->over) return;
    if (sim->plan.turn_most_us == 0) {
        turn(node);
        return;
    }
    node->turn_scheduled = true;
    uint64_t delay = draw(sim, STREAM_NODES, sim->plan.turn_most_us + 1);
    world_push(&sim->world, delay, EVENT_TURN, node->number)->lifetime = node->lifetime;
}

void node_crash(struct sim_node *node)
{
    if (!node->host) return;
    COVER(node->sim, crashes);
    bury(node);
}

uint64_t node_clock_us(const struct sim_node *node)
{
    uint64_t lived = node->sim->world.now_us - node->clock_born_us;
    return node->clock_base_us + lived * node->clock_rate_ppm / 1000000 + node->clock_spent_us;
}

/* What the clock says now it goes on saying; what was to come at a time on it comes sooner or later than it would. */
void node_clock_rate(struct sim_node *node, uint64_t rate_ppm)
{
    node->rate_change++;
    if (node->clock_rate_ppm == 0) return; /* it has never been up */
    uint64_t now = node_clock_us(node);
    node->clock_base_us = now - node->clock_spent_us;
    node->clock_born_us = node->sim->world.now_us;
    node->clock_rate_ppm = rate_ppm ? rate_ppm : node->usual_rate_ppm;
    if (node->host && node->timer_at_us) set_timer(node);
}

struct sim_node *node_find(struct sim *sim, const struct raft_id *id)
{
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (raft_id_equal(&sim->nodes[n].id, id)) return &sim->nodes[n];
    }
    return NULL;
}

struct sim_node *node_leading(struct sim *sim)
{
    struct sim_node *leader = NULL;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        if (!node_up(node) || node->watch.role != RAFT_LEADER) continue;
        if (!leader || node->watch.term > leader->watch.term) leader = node;
    }
    return leader;
}

/* ---- helpers ---- */

/* A process that begins anew may do so after a reboot: its monotonic clock has another origin. The
 * rate is the machine's. */
static void begin_clock(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (node->clock_rate_ppm == 0) {
        uint64_t drift = sim->plan.clock_drift_ppm;
        node->clock_rate_ppm = 1000000 - drift + draw(sim, STREAM_NODES, 2 * drift + 1);
        node->usual_rate_ppm = node->clock_rate_ppm;
    }
    node->clock_base_us = draw(sim, STREAM_NODES, 1000000000);
    node->clock_born_us = sim->world.now_us;
    node->clock_spent_us = 0;
}

static void turn(struct sim_node *node)
{
    node->inside = true;
    bool more = host_turn(node->host);
    end_of_call(node);
    if (!more || !node->host || node->turn_scheduled || node->sim->over) return;
    node->turn_scheduled = true;
    world_push(&node->sim->world, 20, EVENT_TURN, node->number)->lifetime = node->lifetime;
}

static void end_of_call(struct sim_node *node)
{
    node->inside = false;
    if (node->dying || node->stopped) {
        bury(node);
        return;
    }
    check_node(node);
    record_state(node);
}

/* The disk first: what it was given still lies in the host's memory. */
static void bury(struct sim_node *node)
{
    struct sim *sim = node->sim;
    trace_event(sim, TRACE_CRASH, node->number, node->lifetime, node->stopped);
    TRACE(sim, node, "%s", node->stopped ? "has stopped" : "is dead");
    record_node(node, node->stopped ? MOMENT_stopped : MOMENT_crash, node->lifetime, 0, 0,
                node->dying && !node->expects_fatal ? "in the middle of its effects" : NULL);
    disk_crash(node);
    clients_node_died(node);
    orders_node_died(node);
    network_node_died(node);
    node->steps_of_former_lives += host_counters(node->host).steps;
    host_free(node->host);
    machine_end(&node->machine);
    node->host = NULL;
    node->app = 0;
    node->watch = (struct sim_watch){0};
    poison_buried(node);
    bool removed = node->stopped && !node->stopping;
    if (removed) operators_retire(node);
    node->dying = node->stopping = node->stopped = node->turn_scheduled = node->expects_fatal =
        node->poisoned = false;
    node->crash_after = 0;
    node->paused_until_us = 0;
    node->timer_generation++;
    node->timer_at_us = 0;
    if (sim->options.manual) node->held = true;
    restart(node);
}

/* Whoever watches over the process starts it again, after a while; never one whose data is damaged. */
static void restart(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (node->held || node->wrecked || sim->phase == PHASE_OVER) return;
    uint64_t most = node->hurries ? RESTART_LEAST_US : sim->plan.restart_most_us;
    node->hurries = false;
    node_start_after(node, draw_between(sim, STREAM_NODES, RESTART_LEAST_US, most));
}

/* ---- the ports ---- */

/* Null once the process has crashed, which may be due at this very call. */
static struct sim_node *port(void *context)
{
    struct sim_node *node = context;
    if (node->dying) return NULL;
    if (node->crash_after > 0 && --node->crash_after == 0) {
        COVER(node->sim, crashes);
        COVER(node->sim, crashes_midway);
        TRACE(node->sim, node, "crashes in the middle of its effects");
        node->dying = true;
        return NULL;
    }
    return node;
}

static uint64_t port_now_us(void *context)
{
    struct sim_node *node = context;
    struct sim *sim = node->sim;
    if (sim->plan.reading_clock_us > 0)
        node->clock_spent_us += draw(sim, STREAM_NODES, sim->plan.reading_clock_us + 1);
    return node_clock_us(node);
}

static uint64_t port_wall_ms(void *context)
{
    const struct sim_node *node = context;
    return WALL_BEGAN_MS + node->sim->world.now_us / 1000 + (uint64_t)node->wall_offset_ms;
}

static void port_persist(void *context, const struct raft_persist *persist)
{
    struct sim_node *node = port(context);
    if (!node) return;
    trace_event(node->sim, TRACE_PERSIST, node->number, persist->sequence, persist->truncate_from);
    trace_mix(node->sim, persist->entry_count);
    TRACE(node->sim, node, "persist %" PRIu64 ": %s%s truncate %" PRIu64 " +%zu", persist->sequence,
          persist->has_hard_state ? "term and vote " : "",
          persist->has_hard_state ? persist->hard_state.vote.text : "", persist->truncate_from,
          persist->entry_count);
    record_persist(node, persist);
    check_persist(node, persist);
    disk_note_persist(node, persist);
}

static void port_bootstrap(void *context, struct slice configuration, uint64_t cluster)
{
    struct sim_node *node = port(context);
    if (!node) return;
    trace_event(node->sim, TRACE_BOOTSTRAP, node->number, cluster, configuration.size);
    TRACE(node->sim, node, "bootstraps cluster %" PRIx64, cluster);
    record_node(node, MOMENT_bootstrap, 0, 0, 0, NULL);
    check_bootstrap(node, configuration);
    disk_note_bootstrap(node, configuration, cluster);
}

static void port_log_read(void *context, uint64_t token, raft_index first, raft_index last,
                          size_t max_bytes)
{
    struct sim_node *node = port(context);
    if (node) disk_note_read(node, token, first, last, max_bytes);
}

static void port_snapshot(void *context, const struct host_snapshot_job *job)
{
    struct sim_node *node = port(context);
    if (!node) return;
    trace_event(node->sim, TRACE_SNAPSHOT, node->number, (uint64_t)job->kind << 32 | job->token, job->meta.index);
    trace_mix(node->sim, job->offset ^ job->up_to << 20);
    check_snapshot_job(node, job);
    disk_note_snapshot(node, job);
}

static void port_send(void *context, const struct raft_message *message)
{
    struct sim_node *node = port(context);
    if (!node) return;
    check_send(node, message);
    network_send(node, message);
}

static void port_forward(void *context, const struct raft_id *to, uint64_t ticket,
                         const struct request *request)
{
    struct sim_node *node = port(context);
    if (node) network_forward(node, to, ticket, request);
}

static void port_forward_reply(void *context, const struct raft_id *to, uint64_t ticket,
                               const struct reply *reply)
{
    struct sim_node *node = port(context);
    if (node) network_forward_reply(node, to, ticket, reply);
}

static void port_peers(void *context, const struct host_peer *peers, size_t count)
{
    struct sim_node *node = port(context);
    if (node) network_peers(node, peers, count);
}

static void port_applying(void *context, raft_index index)
{
    struct sim_node *node = context;
    if (!node->dying) poison_applying(node, index);
}

/* One microsecond more than the clock's rate asks for: rounding never makes it early. */
static void port_timer(void *context, uint64_t at_us)
{
    struct sim_node *node = context;
    if (node->dying) return;
    node->timer_at_us = at_us;
    node->timer_generation++;
    if (at_us != 0) set_timer(node);
}

static void set_timer(struct sim_node *node)
{
    node->timer_generation++;
    uint64_t now = node_clock_us(node), at_us = node->timer_at_us;
    uint64_t delay = at_us <= now ? 0 : (at_us - now) * 1000000 / node->clock_rate_ppm + 1;
    struct sim_event *event = world_push(&node->sim->world, delay, EVENT_TIMER, node->number);
    event->lifetime = node->lifetime;
    event->number = node->timer_generation;
}

static void port_reply(void *context, uint64_t ticket, const struct reply *reply)
{
    struct sim_node *node = port(context);
    if (!node) return;
    if (ticket >= SIM_SKIPS)
        poison_reply(node, ticket, reply);
    else if (ticket >= SIM_ORDERS)
        order_reply(node, ticket, reply);
    else
        clients_reply(node, ticket, reply);
}

static void port_role(void *context, enum raft_role role, raft_term term,
                      const struct raft_id *leader)
{
    struct sim_node *node = port(context);
    if (!node) return;
    trace_event(node->sim, TRACE_ROLE, node->number, (uint64_t)role, term);
    TRACE(node->sim, node, "is %s of term %" PRIu64 ", leader %s", raft_role_name(role), term,
          leader->text);
    record_role(node, role, term, leader);
    check_role(node, role, term);
}

static void port_loaded(void *context, struct slice bundle, struct slice config)
{
    struct sim_node *node = port(context);
    (void)config;
    if (node) node->app = versions_find(node->sim, bundle);
}

static void port_policy(void *context, uint64_t ticket, struct slice view)
{
    struct sim_node *node = port(context);
    if (node) policy_note(node, ticket, view);
}

/* The disk is drained, unless that would take longer than a stop may. Nobody has asked for it: it was removed. */
static void port_stopped(void *context)
{
    struct sim_node *node = port(context);
    if (!node) return;
    size_t writes = 0;
    for (size_t i = 0; i < node->disk.count; i++) {
        enum sim_disk_op_kind kind = node->disk.ops[node->disk.head + i].kind;
        if (kind == DISK_PERSIST || kind == DISK_BOOTSTRAP) writes++;
    }
    trace_event(node->sim, TRACE_STOP, node->number, writes, 0);
    if (!node->stopping) check_removed(node);
    uint64_t took_us = node_clock_us(node) - node->stop_began_us;
    if (node->stopping && writes > 0 && took_us < node->sim->plan.settings.stop_timeout_ms * 1000) {
        violate(node->sim, node, "stop_drains", "stopped with %zu writes under way", writes);
    }
    node->stopped = true;
}

/* Expected after a failed write, or of one that asks to join: under an id whose former self is still a member, or where
 * a policy does not want it; anything else that a host gives up over is a bug, in it or before it. */
static void port_fatal(void *context, const struct error *error)
{
    struct sim_node *node = context;
    if (node->dying) return;
    trace_event(node->sim, TRACE_FATAL, node->number, error->code, 0);
    TRACE(node->sim, node, "gives up: %s", error->text);
    record_node(node, MOMENT_fatal, (uint64_t)error->code, 0, 0, error->text);
    bool exhausted = node->machine.fsm && fsm_exhausted(node->machine.fsm);
    if (exhausted) COVER(node->sim, fsm_exhausted);
    bool turned_away = error->code == ERROR_WIPED && node->spare && node->former_count > 0 &&
                       !node->disk.configuration;
    bool refused = error->code == ERROR_REFUSED && node->spare && !node->disk.configuration &&
                   node->sim->plan.policy != SIM_POLICY_NONE;
    if (!node->expects_fatal && !exhausted && !turned_away && !refused && !node->poisoned)
        violate(node->sim, node, "fatal", "%s: %s", error_name(error->code), error->text);
    node->dying = true;
}

static void port_log(void *context, enum log_level level, const char *text)
{
    struct sim_node *node = context;
    TRACE(node->sim, node, "log %s: %s", log_level_name(level), text);
    record_node(node, MOMENT_log, 0, (uint64_t)level, 0, text);
}

static void make_ports(struct sim_node *node, struct host_ports *ports)
{
    *ports = (struct host_ports){
        .context = node,
        .now_us = port_now_us,
        .wall_ms = port_wall_ms,
        .persist = port_persist,
        .bootstrap = port_bootstrap,
        .log_read = port_log_read,
        .snapshot = port_snapshot,
        .send = port_send,
        .forward = port_forward,
        .forward_reply = port_forward_reply,
        .peers = port_peers,
        .applying = port_applying,
        .timer = port_timer,
        .reply = port_reply,
        .role = port_role,
        .loaded = port_loaded,
        .policy = node->sim->plan.policy != SIM_POLICY_NONE ? port_policy : NULL,
        .stopped = port_stopped,
        .fatal = port_fatal,
        .log = port_log,
    };
}
