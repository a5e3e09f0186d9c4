/*
 * The clients: each asks one thing at a time of some node, and what it is told is judged at once.
 *
 * The commands applied, in the order of their indexes, are the one history that a linearizable
 * service may show. So no search is needed: an acknowledged command must stand in it at the index
 * told, a query's answer must be the state at the version told, and either must lie at or behind
 * everything that any request finished earlier has shown (its `floor`). What is said to be
 * certainly not done must never stand in it.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"

#include <assert.h>
#include <inttypes.h>

static struct sim_op *op_new(struct sim *sim, unsigned client, unsigned node);
static void choose_node(struct sim *sim, unsigned client);
static void next_later(struct sim *sim, unsigned client);
static void settle(struct sim *sim, uint64_t ticket, enum sim_outcome outcome);
static void judge_command(struct sim_node *node, struct sim_op *op, uint64_t value,
                          struct slice body);
static void judge_query(struct sim_node *node, struct sim_op *op, struct slice body);
static void judge_error(struct sim_node *node, struct sim_op *op, const struct reply *reply);
static bool field(struct slice map, const char *key, uint64_t *value);

void clients_begin(struct sim *sim)
{
    for (unsigned client = 0; client < sim->plan.clients; client++) {
        sim->clients.target[client] = (unsigned)draw(sim, STREAM_CLIENTS, sim->plan.nodes);
        next_later(sim, client);
    }
}

/* Goes on after having been quiet: by then nobody waits for anything. */
void clients_resume(struct sim *sim)
{
    sim->clients.quiet = false;
    for (unsigned client = 0; client < sim->plan.clients; client++) next_later(sim, client);
}

/* Half of them ask this node next. */
void clients_prefer(struct sim *sim, unsigned node)
{
    for (unsigned client = 0; client < sim->plan.clients; client++) {
        if (chance(sim, STREAM_CLIENTS, 500)) sim->clients.target[client] = node;
    }
}

void clients_deinit(struct sim *sim)
{
    for (unsigned key = 0; key < SIM_KEYS; key++) memory_free(sim->clients.history[key].items);
    memory_free(sim->clients.ops);
    buffer_deinit(&sim->clients.scratch);
}

/* Its next request, or a cancel of the one under way. */
void clients_on_client(struct sim *sim, struct sim_event *event)
{
    struct sim_clients *clients = &sim->clients;
    unsigned client = (unsigned)event->number;
    clients->scheduled[client] = false;
    if (clients->quiet || clients->waits_for[client]) return;
    if (sim->phase != PHASE_SAFETY && client >= 2)
        return; /* progress is asked for, not throughput */
    bool elsewhere = chance(sim, STREAM_CLIENTS, 300) ||
                     (sim->phase == PHASE_MAJORITY && !sim->healthy[clients->target[client]]);
    if (elsewhere || !node_up(&sim->nodes[clients->target[client]])) choose_node(sim, client);
    struct sim_node *node = &sim->nodes[clients->target[client]];
    if (!node_up(node)) { /* the connection is refused */
        next_later(sim, client);
        return;
    }
    op_new(sim, client, node->number);
    struct sim_event *submit = world_push(&sim->world, draw_between(sim, STREAM_CLIENTS, 10, 500),
                                          EVENT_SUBMIT, node->number);
    submit->number = clients->count;
    submit->lifetime = node->lifetime;
}

void clients_on_submit(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_op *op = &sim->clients.ops[event->number - 1];
    if (op->outcome != OUTCOME_PENDING) return;
    struct buffer *body = &sim->clients.scratch;
    buffer_clear(body);
    if (op->kind == REQUEST_COMMAND)
        machine_write_append(body, event->number, op->key, op->padding);
    else
        machine_write_get(body, op->key);
    struct request request = {
        .kind = op->kind,
        .consistency = op->consistency,
        .timeout_ms = op->timeout_ms,
        .body = buffer_slice(body),
    };
    trace_event(sim, TRACE_SUBMIT, node->number, event->number, hash_bytes(body->data, body->size));
    TRACE(sim, node, "client %u asks %" PRIu64 ": %s key %" PRIu64 ", floor %" PRIu64, op->client,
          event->number,
          op->kind == REQUEST_COMMAND            ? "append"
          : op->consistency == CONSISTENCY_STALE ? "get, stale"
                                                 : "get",
          op->key, op->floor);
    op->submitted = true;
    uint64_t patience = (uint64_t)op->timeout_ms * 1100 + sim->plan.election_us + 100000;
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
        settle(sim, event->number, OUTCOME_UNKNOWN);
    }
    node_leave(node);
}

/* Every request is answered, at the latest when its time is up; a node that has just woken up gets
 * a moment for it. */
void clients_on_overdue(struct sim *sim, struct sim_event *event)
{
    const struct sim_op *op = &sim->clients.ops[event->number - 1];
    const struct sim_node *node = &sim->nodes[event->node];
    if (op->outcome != OUTCOME_PENDING) return;
    uint64_t grace = sim->plan.election_us;
    if (node->paused_until_us > 0 && node->paused_until_us + grace > sim->world.now_us) {
        struct sim_event *again = world_push(&sim->world, grace, EVENT_OVERDUE, event->node);
        again->number = event->number;
        again->lifetime = event->lifetime;
        return;
    }
    violate(sim, node, "answered",
            "request %" PRIu64 " has no answer %" PRIu64
            " us after it was made, with a timeout of %u ms",
            event->number, sim->world.now_us - op->invoked_us, op->timeout_ms);
}

void clients_reply(struct sim_node *node, uint64_t ticket, const struct reply *reply)
{
    struct sim *sim = node->sim;
    struct sim_op *op =
        ticket > 0 && ticket <= sim->clients.count ? &sim->clients.ops[ticket - 1] : NULL;
    trace_event(sim, TRACE_REPLY, node->number, ticket, (uint64_t)reply->code);
    trace_mix(sim, hash_bytes(reply->body.data, reply->body.size));
    TRACE(sim, node, "answers %" PRIu64 ": %s", ticket, error_name(reply->code));
    if (!op || op->outcome != OUTCOME_PENDING || op->node != node->number ||
        op->lifetime != node->lifetime || !op->submitted || ticket == sim->clients.submitting) {
        violate(sim, node, "answered_once",
                "an answer to %" PRIu64 ": not asked here, not waiting, or from within", ticket);
        return;
    }
    enum sim_outcome outcome = OUTCOME_ANSWERED;
    if (reply->code != ERROR_OK) {
        outcome = error_is_definite(reply->code) ? OUTCOME_DEFINITE : OUTCOME_UNKNOWN;
        judge_error(node, op, reply);
    } else if (op->kind == REQUEST_COMMAND) {
        judge_command(node, op, ticket, reply->body);
    } else {
        judge_query(node, op, reply->body);
    }
    settle(sim, ticket, outcome);
}

/* Whoever waits for an answer of that process never gets one. */
void clients_node_died(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (unsigned client = 0; client < sim->plan.clients; client++) {
        uint64_t ticket = sim->clients.waits_for[client];
        if (ticket == 0 || sim->clients.ops[ticket - 1].node != node->number) continue;
        settle(sim, ticket, OUTCOME_UNKNOWN);
    }
}

void clients_applied(struct sim *sim, raft_index index, uint64_t value, uint64_t key)
{
    struct sim_op *op =
        value > 0 && value <= sim->clients.count ? &sim->clients.ops[value - 1] : NULL;
    if (!op || op->kind != REQUEST_COMMAND || op->key != key || !op->submitted) {
        violate(sim, NULL, "command_asked", "index %" PRIu64 " applies a command nobody asked for",
                index);
        return;
    }
    if (op->applied) {
        violate(sim, NULL, "command_once",
                "command %" PRIu64 " is applied at %" PRIu64 " and at %" PRIu64, value, op->applied,
                index);
    }
    if (op->outcome == OUTCOME_DEFINITE) {
        violate(sim, NULL, "definite_means_never",
                "command %" PRIu64 " is applied at %" PRIu64
                "; its client was told it was not done",
                value, index);
    }
    op->applied = index;
    struct sim_history *history = &sim->clients.history[key];
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? history->capacity * 2 : 64;
        history->items = memory_resize(history->items, history->capacity, sizeof *history->items);
    }
    history->items[history->count++] = (struct sim_applied_value){index, value};
}

/* Nothing acknowledged is missing from the one history. */
void clients_check_end(struct sim *sim)
{
    for (size_t i = 0; i < sim->clients.count; i++) {
        const struct sim_op *op = &sim->clients.ops[i];
        if (op->kind != REQUEST_COMMAND || op->outcome != OUTCOME_ANSWERED) continue;
        if (op->applied == 0 || sim->ledger.records[op->applied].value != i + 1) {
            violate(sim, NULL, "nothing_lost",
                    "command %zu was acknowledged and is not in the state", i + 1);
        }
    }
}

/* ---- judging ---- */

static void judge_command(struct sim_node *node, struct sim_op *op, uint64_t value,
                          struct slice body)
{
    struct sim *sim = node->sim;
    uint64_t index = 0, count = 0;
    bool told = field(body, "index", &index) && field(body, "count", &count);
    if (!told || op->applied == 0 || op->applied != index) {
        violate(sim, node, "acknowledged_applied",
                "command %" PRIu64 " is acknowledged at index %" PRIu64
                "; it was applied at %" PRIu64,
                value, index, op->applied);
        return;
    }
    const struct sim_history *history = &sim->clients.history[op->key];
    if (count == 0 || count > history->count || history->items[count - 1].value != value) {
        violate(sim, node, "reply_true",
                "command %" PRIu64 " is told to be number %" PRIu64 " of its key", value, count);
    }
    if (index <= op->floor) {
        violate(sim, node, "real_time",
                "command %" PRIu64 " takes effect at %" PRIu64 "; %" PRIu64
                " was shown before it was asked",
                value, index, op->floor);
    }
    if (index > sim->clients.floor) sim->clients.floor = index;
}

static void judge_query(struct sim_node *node, struct sim_op *op, struct slice body)
{
    struct sim *sim = node->sim;
    uint64_t version = 0, count = 0, last = 0;
    if (!field(body, "version", &version) || !field(body, "count", &count) ||
        !field(body, "last", &last)) {
        violate(sim, node, "reply_true", "an answer to a query is malformed");
        return;
    }
    const struct sim_history *history = &sim->clients.history[op->key];
    bool begins =
        count <= history->count && (count == 0 || (history->items[count - 1].index <= version &&
                                                   history->items[count - 1].value == last));
    bool ends = count == history->count ||
                (count < history->count && history->items[count].index > version);
    if (version > sim->ledger.applied || !begins || !ends) {
        violate(sim, node, "reply_true",
                "a query shows %" PRIu64 " commands up to version %" PRIu64
                "; that is not the state there",
                count, version);
    }
    if (op->consistency == CONSISTENCY_STALE) return;
    check_read(node, op->invoked_us);
    if (version < op->floor) {
        violate(sim, node, "stale_read",
                "a query shows version %" PRIu64 "; %" PRIu64 " was shown before it was asked",
                version, op->floor);
    }
    if (version > sim->clients.floor) sim->clients.floor = version;
}

/* The codes a sound cluster may give for sound requests; the rest says that something is broken. */
static void judge_error(struct sim_node *node, struct sim_op *op, const struct reply *reply)
{
    struct sim *sim = node->sim;
    struct slice code;
    if (!mp_map_get(reply->body, "code", &code)) {
        violate(sim, node, "reply_true", "the body of error %s has no code",
                error_name(reply->code));
    }
    switch (reply->code) {
    case ERROR_NOT_LEADER:
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_OVERLOADED:
    case ERROR_SHUTTING_DOWN:
    case ERROR_DISK_FULL:
    case ERROR_WIPED:
    case ERROR_IO:
        break;
    default:
        violate(sim, node, "reply_sound", "a sound request is answered %s",
                error_name(reply->code));
    }
    if (error_is_definite(reply->code) && op->applied) {
        violate(sim, node, "definite_means_never",
                "a command applied at %" PRIu64 " is answered %s", op->applied,
                error_name(reply->code));
    }
}

/* ---- helpers ---- */

/* Any node; of a healed majority while that is asked for progress: what it cannot reach is not its
 * fault. */
static void choose_node(struct sim *sim, unsigned client)
{
    unsigned node = (unsigned)draw(sim, STREAM_CLIENTS, sim->plan.nodes);
    while (sim->phase == PHASE_MAJORITY && !sim->healthy[node]) node = (node + 1) % sim->plan.nodes;
    sim->clients.target[client] = node;
}

static struct sim_op *op_new(struct sim *sim, unsigned client, unsigned node)
{
    struct sim_clients *clients = &sim->clients;
    if (clients->count == clients->capacity) {
        clients->capacity = clients->capacity ? clients->capacity * 2 : 256;
        clients->ops = memory_resize(clients->ops, clients->capacity, sizeof *clients->ops);
    }
    struct sim_op *op = &clients->ops[clients->count++];
    bool query = chance(sim, STREAM_CLIENTS, sim->plan.queries);
    bool stale = chance(sim, STREAM_CLIENTS, sim->plan.stale);
    bool large = chance(sim, STREAM_CLIENTS, sim->plan.large);
    uint64_t key = draw(sim, STREAM_CLIENTS, SIM_KEYS);
    uint64_t election_ms = sim->plan.election_us / 1000;
    uint64_t timeout_ms = draw_between(sim, STREAM_CLIENTS, election_ms, election_ms * 8);
    size_t padding = (size_t)draw(sim, STREAM_CLIENTS, (large ? 2000 : sim->plan.padding_most) + 1);
    *op = (struct sim_op){
        .kind = query ? REQUEST_QUERY : REQUEST_COMMAND,
        .consistency = query && stale ? CONSISTENCY_STALE : CONSISTENCY_LINEARIZABLE,
        .node = node,
        .client = client,
        .lifetime = sim->nodes[node].lifetime,
        .key = key,
        .timeout_ms = (uint32_t)timeout_ms,
        .padding = padding,
        .invoked_us = sim->world.now_us,
        .floor = clients->floor,
    };
    clients->waits_for[client] = clients->count;
    return op;
}

static void next_later(struct sim *sim, unsigned client)
{
    if (sim->clients.scheduled[client]) return;
    sim->clients.scheduled[client] = true;
    uint64_t think = draw(sim, STREAM_CLIENTS, sim->plan.think_most_us + 1);
    world_push(&sim->world, think, EVENT_CLIENT, 0)->number = client;
}

static void settle(struct sim *sim, uint64_t ticket, enum sim_outcome outcome)
{
    struct sim_clients *clients = &sim->clients;
    struct sim_op *op = &clients->ops[ticket - 1];
    op->outcome = outcome;
    clients->waits_for[op->client] = 0;
    next_later(sim, op->client);
    struct sim_coverage *coverage = &sim->result->coverage;
    if (op->kind == REQUEST_QUERY) {
        (*(outcome == OUTCOME_ANSWERED ? &coverage->queries_ok : &coverage->queries_failed))++;
        return;
    }
    switch (outcome) {
    case OUTCOME_ANSWERED:
        coverage->commands_ok++;
        break;
    case OUTCOME_DEFINITE:
        coverage->commands_failed++;
        break;
    default:
        coverage->commands_unknown++;
        break;
    }
    if (outcome == OUTCOME_ANSWERED && op->invoked_us >= clients->phase_us) clients->ok_since_phase++;
}

static bool field(struct slice map, const char *key, uint64_t *value)
{
    struct slice found;
    if (!mp_map_get(map, key, &found)) return false;
    struct mp_reader reader = mp_reader_of(found);
    return mp_read_u64(&reader, value);
}
