/*
 * The clients: each asks one thing at a time of some node. What they ask comes from the workload, an app's or the
 * simulator's own (workload.c); what they are told is judged at once (judge.c).
 *
 * A request travels in an envelope with the operation's number, which the watched machine takes off: so every command
 * applied and every query run is known to belong to one operation, whatever the app, even where bodies are equal.
 *
 * Some clients have several requests under way and ask again (regulars.c). Then an operation is several attempts, each
 * a request with a ticket of its own; what is known of the operation stands with the first one.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static struct sim_op *op_new(struct sim *sim, const struct sim_ask *ask, unsigned client,
                             unsigned node, const struct sim_call *call);
static void leave_out(struct sim *sim, uint64_t number);
static void plain_turn(struct sim *sim, unsigned client, unsigned node);
static struct slice proper(const struct sim_op *op);
static struct sim_op *root_of(struct sim *sim, const struct sim_op *op);
static void push_turn(struct sim *sim, unsigned client, uint64_t delay_us);
static void submit_later(struct sim *sim, uint64_t number, uint64_t delay_us);
static void lose(struct sim_node *node, uint64_t number);
static bool serves(const struct sim_node *node);
static void choose_node(struct sim *sim, unsigned client);
static void next_later(struct sim *sim, unsigned client);
static void settle(struct sim *sim, uint64_t number, enum sim_outcome outcome,
                   const struct reply *reply, raft_index shown);
static void tell_workload(struct sim *sim, const struct sim_op *op, const struct reply *reply,
                          raft_index shown);
static void count_outcome(struct sim *sim, const struct sim_op *op);
static const char *kind_text(const struct sim_op *op);
static void look_at_state(struct sim_node *node, raft_index index);
static void record_op(struct sim *sim, enum sim_moment_kind kind, uint64_t number);

void clients_begin(struct sim *sim)
{
    regulars_begin(sim);
    for (unsigned client = 0; client < sim->plan.clients; client++) {
        sim->clients.target[client] = (unsigned)draw(sim, STREAM_CLIENTS, sim->plan.founders);
        next_later(sim, client);
    }
}

/* Goes on after having been quiet: by then nobody waits for anything. */
void clients_resume(struct sim *sim)
{
    sim->clients.quiet = false;
    for (unsigned client = 0; client < sim->plan.clients; client++) next_later(sim, client);
}

/* Those who pause (regulars.c) go on: progress is asked for, and there may be nobody else. */
void clients_wake(struct sim *sim)
{
    for (unsigned client = 0; client < sim->plan.clients && sim->plan.once.pauses > 0; client++) {
        if (!regulars_has(sim, client)) continue;
        uint64_t delay_us = draw(sim, STREAM_ONCE, sim->plan.think_most_us + 1);
        world_push(&sim->world, delay_us, EVENT_CLIENT, 0)->number = client;
    }
}

/* Half of them ask this node next. */
void clients_prefer(struct sim *sim, unsigned node)
{
    for (unsigned client = 0; client < sim->plan.clients; client++) {
        if (chance(sim, STREAM_CLIENTS, 500)) sim->clients.target[client] = node;
    }
}

void clients_end(struct sim *sim)
{
    sim->clients.quiet = true;
    for (uint64_t number = 1; number <= sim->clients.count; number++) {
        if (sim->clients.ops[number - 1].outcome == OUTCOME_PENDING)
            settle(sim, number, OUTCOME_UNKNOWN, NULL, 0);
    }
    assert(sim->clients.pending == 0);
}

void clients_deinit(struct sim *sim)
{
    for (unsigned key = 0; key < SIM_KEYS; key++) memory_free(sim->clients.history[key].items);
    for (size_t i = 0; i < sim->clients.era_count * SIM_KEYS; i++)
        memory_free(sim->clients.eras[i / SIM_KEYS].history[i % SIM_KEYS].items);
    memory_free(sim->clients.eras);
    regulars_deinit(sim);
    once_deinit(sim);
    memory_free(sim->clients.ops);
    buffer_deinit(&sim->clients.body);
    buffer_deinit(&sim->clients.state);
}

/* ---- asking ---- */

/* By hand: it arrives at once. */
uint64_t clients_ask(struct sim *sim, unsigned node, const struct sim_ask *ask)
{
    op_new(sim, ask, 0, node, NULL);
    submit_later(sim, sim->clients.count, 0);
    return sim->clients.count;
}

void clients_on_client(struct sim *sim, struct sim_event *event)
{
    struct sim_clients *clients = &sim->clients;
    unsigned client = (unsigned)event->number;
    clients->scheduled[client] = false;
    bool regular = regulars_has(sim, client);
    if (clients->quiet || (clients->waits_for[client] && !regular)) return;
    if (sim->phase != PHASE_SAFETY && client >= 2)
        return; /* progress is asked for, not throughput */
    bool elsewhere = chance(sim, STREAM_CLIENTS, 300) ||
                     !serves(&sim->nodes[clients->target[client]]);
    if (elsewhere || !node_up(&sim->nodes[clients->target[client]])) choose_node(sim, client);
    struct sim_node *node = &sim->nodes[clients->target[client]];
    uint64_t pause_us = 0;
    bool up = node_up(node); /* else the connection is refused */
    if (!regular && up) {
        plain_turn(sim, client, node->number);
        return;
    }
    /* A regular asks plainly, too, and so there is always progress; it goes on while it waits. */
    bool plainly = regular && chance(sim, STREAM_ONCE, sim->phase == PHASE_SAFETY ? 200 : 700);
    if (up && plainly && !clients->waits_for[client])
        plain_turn(sim, client, node->number);
    else if (up && !plainly)
        pause_us = regulars_turn(sim, client, node->number);
    if (pause_us > 0)
        push_turn(sim, client, pause_us);
    else
        next_later(sim, client);
}

static void plain_turn(struct sim *sim, unsigned client, unsigned node)
{
    struct sim_ask ask = {0};
    if (!workload_next(sim, client, &ask)) {
        next_later(sim, client);
        return;
    }
    sim->clients.waits_for[client] = clients_send(sim, &ask, client, node, NULL);
    clients_dispatch(sim, sim->clients.waits_for[client]);
}

uint64_t clients_send(struct sim *sim, const struct sim_ask *ask, unsigned client, unsigned node,
                      const struct sim_call *call)
{
    op_new(sim, ask, client, node, call);
    return sim->clients.count;
}

/* Unless it is left out of the run. */
void clients_dispatch(struct sim *sim, uint64_t number)
{
    const struct sim_trim *trim = &sim->options.trim;
    if (sim->phase == PHASE_SAFETY && trim_leaves_out(trim->asks, trim->ask_count, trim->only_asks, number))
        leave_out(sim, number);
    else
        submit_later(sim, number, draw_between(sim, STREAM_CLIENTS, 10, 500));
}

static void leave_out(struct sim *sim, uint64_t number)
{
    struct sim_op *op = &sim->clients.ops[number - 1];
    op->outcome = OUTCOME_DEFINITE;
    root_of(sim, op)->hopeful--;
    memory_free(op->body);
    op->body = NULL;
    sim->clients.pending--;
    if (op->regular) {
        regulars_settled(sim, number, OUTCOME_DEFINITE, NULL);
        return;
    }
    sim->clients.waits_for[op->client] = 0;
    next_later(sim, op->client);
}

void clients_on_submit(struct sim *sim, struct sim_event *event)
{
    if (event->number >= SIM_ORDERS) {
        order_on_submit(sim, event);
        return;
    }
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_op *op = &sim->clients.ops[event->number - 1];
    if (op->outcome != OUTCOME_PENDING) return;
    struct request request = {
        .kind = op->kind,
        .consistency = op->consistency,
        .session = op->regular ? op->once.session : 0,
        .sequence = op->regular ? op->once.sequence : 0,
        .timeout_ms = op->timeout_ms,
        .body = slice_of(op->body, op->body_size),
    };
    trace_event(sim, TRACE_SUBMIT, node->number, event->number, op->body_hash);
    TRACE(sim, node, "client %u asks %" PRIu64 ": %s%s, floor %" PRIu64, op->client, event->number, kind_text(op),
          op->consistency == CONSISTENCY_STALE   ? ", stale"
          : op->consistency == CONSISTENCY_LEASE ? ", lease"
                                                 : "",
          op->floor);
    if (op->regular && op->once.session) {
        TRACE(sim, node, "... operation %" PRIu32 " in session %" PRIx64 ", number %" PRIx64, op->first,
              op->once.session, op->once.sequence);
    }
    op->submitted = root_of(sim, op)->submitted = true;
    record_op(sim, MOMENT_ask, event->number);
    uint64_t patience = (uint64_t)op->timeout_ms * 1100 + sim->plan.election_us + 100000;
    op->due_us = node_clock_us(node) + patience;
    struct sim_event *overdue = world_push(&sim->world, patience, EVENT_OVERDUE, node->number);
    overdue->number = event->number;
    overdue->lifetime = node->lifetime;
    node_enter(node);
    sim->clients.submitting = event->number;
    host_submit(node->host, event->number, &request);
    sim->clients.submitting = 0;
    bool cancel = chance(sim, STREAM_CLIENTS, sim->plan.cancels);
    if (cancel && !node->dying) {
        COVER(sim, cancelled);
        host_cancel(node->host, event->number);
        settle(sim, event->number, OUTCOME_UNKNOWN, NULL, 0);
    }
    node_leave(node);
}

/* Every request is answered, at the latest when its time is up; a node that has just woken up gets
 * a moment for it. */
void clients_on_overdue(struct sim *sim, struct sim_event *event)
{
    if (event->number >= SIM_ORDERS) {
        order_on_overdue(sim, event);
        return;
    }
    const struct sim_op *op = &sim->clients.ops[event->number - 1];
    const struct sim_node *node = &sim->nodes[event->node];
    if (op->outcome != OUTCOME_PENDING) return;
    if (overdue_waits(sim, event, op->due_us)) return;
    violate(sim, node, "answered",
            "request %" PRIu64 " has no answer %" PRIu64
            " us after it was made, with a timeout of %u ms",
            event->number, sim->world.now_us - op->invoked_us, op->timeout_ms);
}

/* Its time is up by its node's own clock, which may have gone slowly; one that has just woken up gets a moment. true:
 * looked at again later. */
bool overdue_waits(struct sim *sim, const struct sim_event *event, uint64_t due_us)
{
    const struct sim_node *node = &sim->nodes[event->node];
    uint64_t grace = sim->plan.election_us, clock_us = node_clock_us(node), delay = 0;
    if (clock_us < due_us)
        delay = due_us - clock_us;
    else if (node->paused_until_us > 0 && node->paused_until_us + grace > sim->world.now_us)
        delay = grace;
    if (delay == 0) return false;
    struct sim_event *again = world_push(&sim->world, delay, EVENT_OVERDUE, event->node);
    again->number = event->number;
    again->lifetime = event->lifetime;
    return true;
}

/* ---- what becomes of it ---- */

void clients_reply(struct sim_node *node, uint64_t ticket, const struct reply *reply)
{
    struct sim *sim = node->sim;
    struct sim_op *op = clients_find(sim, ticket);
    trace_event(sim, TRACE_REPLY, node->number, ticket, (uint64_t)reply->code);
    trace_mix(sim, hash_bytes(reply->body.data, reply->body.size));
    TRACE(sim, node, "answers %" PRIu64 ": %s", ticket, error_name(reply->code));
    record_reply(node, ticket, reply);
    if (!op || op->outcome != OUTCOME_PENDING || op->node != node->number ||
        op->lifetime != node->lifetime || !op->submitted || ticket == sim->clients.submitting) {
        violate(sim, node, "answered_once",
                "an answer to %" PRIu64 ": not asked here, not waiting, or from within", ticket);
        return;
    }
    raft_index shown = 0;
    enum sim_outcome outcome = judge_reply(node, op, ticket, reply, &shown);
    if (shown > sim->clients.floor) sim->clients.floor = shown;
    settle(sim, ticket, outcome, reply, shown);
}

/* Whoever waits for an answer of that process never gets one. */
void clients_node_died(struct sim_node *node)
{
    struct sim *sim = node->sim;
    size_t waiting = sim->options.manual ? sim->clients.count : sim->plan.clients;
    once_look(node); /* what it applied in its last call others may be told of yet */
    for (size_t i = 0; i < waiting; i++) {
        lose(node, sim->options.manual ? i + 1 : sim->clients.waits_for[i]);
        if (sim->options.manual || !regulars_has(sim, (unsigned)i)) continue;
        for (unsigned place = 0; place < SIM_TICKETS; place++) lose(node, regulars_ticket(sim, (unsigned)i, place));
    }
}

static void lose(struct sim_node *node, uint64_t number)
{
    const struct sim_op *op = clients_find(node->sim, number);
    if (op && op->node == node->number && op->outcome == OUTCOME_PENDING)
        settle(node->sim, number, OUTCOME_UNKNOWN, NULL, 0);
}

void clients_applied(struct sim_node *node, raft_index index, uint64_t number, struct slice body, bool lawful)
{
    struct sim *sim = node->sim;
    struct sim_op *op = clients_find(sim, number);
    bool command = op && (op->kind == REQUEST_COMMAND || op->kind == REQUEST_KEYED) && op->first == number;
    if (!command || !op->submitted ||
        op->body_hash != hash_bytes(body.data, body.size)) {
        violate(sim, NULL, "command_asked", "index %" PRIu64 " applies a command nobody asked for",
                index);
        return;
    }
    if (op->applied && !(op->kind == REQUEST_KEYED && lawful)) { /* it may be once its key is forgotten */
        violate(sim, NULL, "command_once",
                "command %" PRIu64 " is applied at %" PRIu64 " and at %" PRIu64, number,
                op->applied, index);
    }
    if (op->hopeful == 0) {
        violate(sim, NULL, "definite_means_never",
                "command %" PRIu64 " is applied at %" PRIu64
                "; its client was told it was not done",
                number, index);
    }
    op->applied = index;
    sim->clients.applied++;
    if (!sim->options.workload) workload_applied(sim, index, number, op->key);
    const struct sim_workload *workload = sim->options.workload;
    if (workload && workload->applied) workload->applied(workload->context, number, index);
    if (workload && workload->state && workload->state_every > 0 &&
        sim->clients.applied % workload->state_every == 0) {
        look_at_state(node, index);
    }
}

void clients_look(struct sim_node *node, raft_index index)
{
    const struct sim_workload *workload = node->sim->options.workload;
    if (workload && workload->state) look_at_state(node, index);
}

void clients_queried(struct sim_node *node, uint64_t number, uint64_t reply_hash)
{
    struct sim_op *op = clients_find(node->sim, number);
    if (!op || op->kind != REQUEST_QUERY || !op->submitted) {
        violate(node->sim, node, "query_asked", "runs a query that nobody asked for");
        return;
    }
    op->showings[op->showing++ % SIM_SHOWINGS] =
        (struct sim_showing){node->machine.applied, reply_hash};
}

/* Nothing acknowledged is missing from the one history. */
void clients_check_end(struct sim *sim)
{
    for (size_t i = 0; i < sim->clients.count; i++) {
        const struct sim_op *op = &sim->clients.ops[i];
        if ((op->kind != REQUEST_COMMAND && op->kind != REQUEST_KEYED) || op->outcome != OUTCOME_ANSWERED) continue;
        raft_index applied = root_of(sim, op)->applied;
        if (applied == 0 || sim->ledger.records[applied].number != op->first) {
            violate(sim, NULL, "nothing_lost",
                    "command %zu was acknowledged and is not in the state", i + 1);
        }
    }
    struct sim_node *newest = NULL;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        if (node->host && (!newest || node->machine.applied > newest->machine.applied))
            newest = node;
    }
    if (newest && newest->machine.loaded && sim->options.workload && sim->options.workload->state)
        look_at_state(newest, newest->machine.applied);
}

struct sim_op *clients_find(struct sim *sim, uint64_t number)
{
    return number > 0 && number <= sim->clients.count ? &sim->clients.ops[number - 1] : NULL;
}

/* ---- helpers ---- */

static bool serves(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    if (sim->phase != PHASE_MAJORITY) return !node->idle;
    return sim->healthy[node->number] && (node->disk.configuration || !node->spare);
}

/* Any node that was started; of a healed majority while that is asked for progress: what it cannot
 * reach is not its fault, nor what one can do that is no member yet. */
static void choose_node(struct sim *sim, unsigned client)
{
    unsigned node = (unsigned)draw(sim, STREAM_CLIENTS, sim->plan.nodes);
    for (unsigned tries = 0; tries < sim->plan.nodes; tries++) {
        if (serves(&sim->nodes[node])) break;
        node = (node + 1) % sim->plan.nodes;
    }
    sim->clients.target[client] = node;
}

static struct sim_op *op_new(struct sim *sim, const struct sim_ask *ask, unsigned client,
                             unsigned node, const struct sim_call *call)
{
    struct sim_clients *clients = &sim->clients;
    if (clients->count == clients->capacity) {
        clients->capacity = clients->capacity ? clients->capacity * 2 : 256;
        clients->ops = memory_resize(clients->ops, clients->capacity, sizeof *clients->ops);
    }
    uint64_t election_ms = sim->plan.election_us / 1000;
    uint64_t timeout_ms = draw_between(sim, STREAM_CLIENTS, election_ms, election_ms * 8);
    struct sim_op *op = &clients->ops[clients->count++];
    size_t envelope = ask->kind == REQUEST_SESSION ? 0 : SIM_ENVELOPE; /* the host reads those itself */
    uint64_t first = call && call->first ? call->first : clients->count;
    *op = (struct sim_op){
        .first = (uint32_t)first,
        .regular = call != NULL,
        .kind = ask->kind,
        .consistency = ask->kind == REQUEST_QUERY ? ask->consistency : CONSISTENCY_LINEARIZABLE,
        .node = node,
        .client = client,
        .lifetime = sim->nodes[node].lifetime,
        .key = first < clients->count ? clients->ops[first - 1].key : clients->drawn_key,
        .timeout_ms = ask->timeout_ms ? ask->timeout_ms : (uint32_t)timeout_ms,
        .invoked_us = sim->world.now_us,
        .body = memory_alloc(envelope + ask->body.size),
        .body_size = envelope + ask->body.size,
        .body_hash = hash_bytes(ask->body.data, ask->body.size),
        .floor = clients->floor,
    };
    uint64_t acknowledged;
    if (call) {
        op->once.session = call->session;
        op->once.sequence = call->sequence;
        op->once.place = call->place;
    }
    if (envelope > 0)
        put_u64(op->body, first);
    else
        session_body_read(ask->body, &op->once.action, &acknowledged);
    memcpy(op->body + envelope, ask->body.data, ask->body.size);
    clients->ops[first - 1].hopeful++;
    clients->pending++;
    return op;
}

/* The body proper. */
static struct slice proper(const struct sim_op *op)
{
    size_t envelope = op->kind == REQUEST_SESSION ? 0 : SIM_ENVELOPE;
    return slice_of(op->body + envelope, op->body_size - envelope);
}

/* Where what is known of its operation stands. */
static struct sim_op *root_of(struct sim *sim, const struct sim_op *op)
{
    return &sim->clients.ops[op->first - 1];
}

static void submit_later(struct sim *sim, uint64_t number, uint64_t delay_us)
{
    const struct sim_op *op = &sim->clients.ops[number - 1];
    struct sim_event *submit = world_push(&sim->world, delay_us, EVENT_SUBMIT, op->node);
    submit->number = number;
    submit->lifetime = op->lifetime;
}

static void next_later(struct sim *sim, unsigned client)
{
    if (sim->options.manual || sim->clients.scheduled[client]) return;
    push_turn(sim, client, draw(sim, STREAM_CLIENTS, sim->plan.think_most_us + 1));
}

static void push_turn(struct sim *sim, unsigned client, uint64_t delay_us)
{
    sim->clients.scheduled[client] = true;
    world_push(&sim->world, delay_us, EVENT_CLIENT, 0)->number = client;
}

static void settle(struct sim *sim, uint64_t number, enum sim_outcome outcome,
                   const struct reply *reply, raft_index shown)
{
    struct sim_clients *clients = &sim->clients;
    struct sim_op *op = &clients->ops[number - 1];
    assert(op->outcome == OUTCOME_PENDING && outcome != OUTCOME_PENDING);
    op->outcome = outcome;
    if (outcome == OUTCOME_DEFINITE) root_of(sim, op)->hopeful--;
    clients->pending--;
    record_op(sim, MOMENT_settle, number);
    if (!sim->options.manual && clients->waits_for[op->client] == number) {
        clients->waits_for[op->client] = 0;
        if (!clients->quiet) next_later(sim, op->client);
    }
    count_outcome(sim, op);
    if (sim->options.workload) tell_workload(sim, op, reply, shown);
    memory_free(op->body);
    op->body = NULL;
    if (op->regular) regulars_settled(sim, number, outcome, reply);
}

static void tell_workload(struct sim *sim, const struct sim_op *op, const struct reply *reply,
                          raft_index shown)
{
    const struct sim_operation operation = {
        .number = get_u64(op->body),
        .client = op->client,
        .node = op->node,
        .kind = op->kind,
        .consistency = op->consistency,
        .body = proper(op),
        .outcome = op->outcome,
        .code = reply ? reply->code : ERROR_OK,
        .reply = reply ? reply->body : slice_of(NULL, 0),
        .invoked_us = op->invoked_us,
        .returned_us = sim->world.now_us,
        .index = shown,
    };
    sim->options.workload->ended(sim->options.workload->context, &operation);
}

static void record_op(struct sim *sim, enum sim_moment_kind kind, uint64_t number)
{
    const struct sim_op *op = &sim->clients.ops[number - 1];
    record_request(&sim->nodes[op->node], kind, number, kind == MOMENT_ask ? proper(op) : (struct slice){0},
                   &(struct sim_moment_request){.client = op->client,
                                                .kind = op->kind,
                                                .consistency = op->consistency,
                                                .outcome = op->outcome,
                                                .invoked_us = op->invoked_us});
}

static void count_outcome(struct sim *sim, const struct sim_op *op)
{
    struct sim_coverage *coverage = &sim->result->coverage;
    bool answered = op->outcome == OUTCOME_ANSWERED;
    if (op->kind == REQUEST_QUERY) {
        (*(answered ? &coverage->queries_ok : &coverage->queries_failed))++;
        if (answered && op->consistency == CONSISTENCY_LEASE) coverage->lease_reads++;
    } else if (op->kind == REQUEST_SESSION) {
        coverage->session_requests_ok += answered;
    } else {
        (*(answered                          ? &coverage->commands_ok
           : op->outcome == OUTCOME_DEFINITE ? &coverage->commands_failed
                                             : &coverage->commands_unknown))++;
    }
    /* What shows progress: a command; of an app that may have none, a linearizable query too. */
    bool counts = op->kind == REQUEST_COMMAND ||
                  (sim->options.workload && op->consistency != CONSISTENCY_STALE);
    if (answered && counts && op->invoked_us >= sim->clients.phase_us)
        sim->clients.ok_since_phase++;
}

static const char *kind_text(const struct sim_op *op)
{
    return op->kind == REQUEST_QUERY     ? "query"
           : op->kind == REQUEST_SESSION ? "a session"
           : op->kind == REQUEST_KEYED   ? "command under a key"
                                         : "command";
}

static void look_at_state(struct sim_node *node, raft_index index)
{
    struct sim *sim = node->sim;
    const struct sim_workload *workload = sim->options.workload;
    struct buffer *state = &sim->clients.state;
    char why[384] = "";
    buffer_clear(state);
    node->machine.inner.encode(node->machine.inner.context, state);
    if (workload->state(workload->context, index, buffer_slice(state), why, sizeof why)) return;
    violate(sim, node, "app_invariant", "after index %" PRIu64 ": %s", index, why);
}
