/*
 * Orders: requests about the cluster itself, made by operators (operators.c), and whether what they are told is true.
 * They are answered as any request is: at most once, and in time. What is said to be done is done: the configuration at
 * the index that is told is committed, and says so.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"

#include <inttypes.h>
#include <string.h>

static const struct {
    const char *name;
} actions[ACTIONS + 1] = {
    [ACTION_ADD] = {"add"},           [ACTION_REMOVE] = {"remove"}, [ACTION_PROMOTE] = {"promote"},
    [ACTION_DEMOTE] = {"demote"},     [ACTION_SET] = {"set"},       [ACTION_TRANSFER] = {"transfer"},
    [ACTION_PRIORITY] = {"priority"}, [ACTION_SNAPSHOT] = {"snapshot"}, [ACTION_CONFIG] = {"config"},
    [ACTION_DEPLOY] = {"deploy"},
    [ACTION_RESTORE] = {"restore"},
};

static struct sim_order *find(struct sim *sim, uint64_t ticket);
static void settle(struct sim *sim, struct sim_order *order, enum sim_outcome outcome);
static void write_body(const struct sim *sim, const struct sim_order *order, struct buffer *out);
static void judge(struct sim_node *node, struct sim_order *order, const struct reply *reply);
static void judge_snapshot(struct sim_node *node, struct sim_order *order, const struct reply *reply);
static bool told_number(const struct reply *reply, const char *key, uint64_t *value);
static void judge_error(struct sim_node *node, const struct sim_order *order, const struct reply *reply);
static bool done(const struct sim *sim, const struct sim_order *order,
                 const struct raft_configuration *configuration);

const char *action_name(enum sim_action action)
{
    return actions[action].name;
}

/* A node may carry it out for as long as it waits, by a clock that may be slow, and once more where it was passed on
 * and came late; meanwhile either may be held up. */
void order_give(struct sim *sim, const struct sim_order *given)
{
    struct sim_operators *operators = &sim->operators;
    if (operators->count == operators->capacity) {
        operators->capacity = operators->capacity ? operators->capacity * 2 : 16;
        operators->orders = memory_resize(operators->orders, operators->capacity, sizeof *operators->orders);
    }
    struct sim_order *order = &operators->orders[operators->count++];
    *order = *given;
    order->outcome = OUTCOME_PENDING;
    order->lifetime = sim->nodes[order->node].lifetime;
    order->invoked_us = sim->world.now_us;
    order->floor = sim->ledger.applied;
    uint64_t lasts_us = (uint64_t)order->timeout_ms * 2500 + sim->plan.late_most_us + 12 * sim->plan.election_us;
    order->until_us = sim->world.now_us + lasts_us;
    bool deploys = order->action == ACTION_DEPLOY;
    bool own = order->action == ACTION_CONFIG || deploys; /* change nobody's standing; draw from streams of their own */
    if (order->until_us > operators->settled_us && !own) operators->settled_us = order->until_us;
    operators->pending++;
    uint64_t delay = draw_between(sim, deploys ? STREAM_DEPLOYS : own ? STREAM_SETTINGS : STREAM_FAULTS, 10, 500);
    struct sim_event *submit = world_push(&sim->world, delay, EVENT_SUBMIT, order->node);
    submit->number = SIM_ORDERS + operators->count;
    submit->lifetime = order->lifetime;
}

void order_on_submit(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_order *order = find(sim, event->number);
    struct buffer body = {0};
    if (order->outcome != OUTCOME_PENDING) return;
    write_body(sim, order, &body);
    struct request request = {
        .kind = REQUEST_ADMIN, .timeout_ms = order->timeout_ms, .body = buffer_slice(&body)};
    trace_event(sim, TRACE_SUBMIT, node->number, event->number, hash_bytes(body.data, body.size));
    TRACE(sim, node, "an operator asks %" PRIu64 ": %s %s", event->number - SIM_ORDERS,
          actions[order->action].name, order->subject == NOBODY ? "" : sim->nodes[order->subject].id.text);
    order->submitted = true;
    uint64_t patience = (uint64_t)order->timeout_ms * 1100 + sim->plan.election_us + 100000;
    order->due_us = node_clock_us(node) + patience;
    struct sim_event *overdue = world_push(&sim->world, patience, EVENT_OVERDUE, node->number);
    overdue->number = event->number;
    overdue->lifetime = node->lifetime;
    uint64_t ticket = event->number;
    node_enter(node);
    sim->operators.submitting = ticket;
    host_submit(node->host, ticket, &request);
    sim->operators.submitting = 0;
    node_leave(node);
    buffer_deinit(&body);
}

void order_on_overdue(struct sim *sim, struct sim_event *event)
{
    const struct sim_order *order = find(sim, event->number);
    const struct sim_node *node = &sim->nodes[event->node];
    if (order->outcome != OUTCOME_PENDING) return;
    if (overdue_waits(sim, event, order->due_us)) return;
    violate(sim, node, "answered", "%s has no answer %" PRIu64 " us after it was asked for, with a timeout of %u ms",
            actions[order->action].name, sim->world.now_us - order->invoked_us, order->timeout_ms);
}

/* Who is gone answers nobody. */
void orders_node_died(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (size_t i = 0; sim->operators.pending > 0 && i < sim->operators.count; i++) {
        struct sim_order *order = &sim->operators.orders[i];
        if (order->outcome == OUTCOME_PENDING && order->node == node->number) settle(sim, order, OUTCOME_UNKNOWN);
    }
}

void orders_end(struct sim *sim)
{
    memory_free(sim->operators.orders);
    sim->operators = (struct sim_operators){0};
}

void order_reply(struct sim_node *node, uint64_t ticket, const struct reply *reply)
{
    struct sim *sim = node->sim;
    struct sim_order *order = find(sim, ticket);
    if (!order || order->outcome != OUTCOME_PENDING || order->node != node->number ||
        order->lifetime != node->lifetime || !order->submitted || ticket == sim->operators.submitting) {
        violate(sim, node, "answered_once",
                "an answer to an operator's request: not asked here, not waiting, or from within");
        return;
    }
    order->code = reply->code;
    order->replied = true;
    judge(node, order, reply);
    settle(sim, order,
           reply->code == ERROR_OK          ? OUTCOME_ANSWERED
           : error_is_definite(reply->code) ? OUTCOME_DEFINITE
                                            : OUTCOME_UNKNOWN);
}

static void settle(struct sim *sim, struct sim_order *order, enum sim_outcome outcome)
{
    order->outcome = outcome;
    sim->operators.pending--;
    if (order->action == ACTION_RESTORE)
        restores_settled(sim, order, outcome);
    else
        cover_order(sim, order);
    if (order->action == ACTION_DEPLOY) deploys_settled(sim, order);
}

static struct sim_order *find(struct sim *sim, uint64_t ticket)
{
    uint64_t number = ticket - SIM_ORDERS;
    return number > 0 && number <= sim->operators.count ? &sim->operators.orders[number - 1] : NULL;
}

/* ---- what is said ---- */

static void write_flag(struct buffer *out, const char *key)
{
    mp_write_text(out, key);
    mp_write_boolean(out, true);
}

/* [action, arguments]: the arguments that are given, their keys in order. */
static void write_body(const struct sim *sim, const struct sim_order *order, struct buffer *out)
{
    const struct sim_node *subject = order->subject == NOBODY ? NULL : &sim->nodes[order->subject];
    if (order->action == ACTION_RESTORE) {
        restores_write(sim, order, out);
        return;
    }
    bool adds = order->action == ACTION_ADD, sets = order->action == ACTION_SET;
    bool prefers = order->action == ACTION_PRIORITY;
    bool expects = order->expects && order->action != ACTION_SNAPSHOT;
    mp_write_array(out, 2);
    mp_write_text(out, actions[order->action].name);
    if (order->action == ACTION_CONFIG) {
        settings_write_wish(&order->wish, out);
        return;
    }
    if (order->action == ACTION_DEPLOY) {
        deploys_write(sim, order, out);
        return;
    }
    mp_write_map(out, (uint32_t)adds + expects + order->forced + (subject != NULL) +
                          (adds && order->learner) + prefers + sets);
    if (adds) {
        mp_write_text(out, "address");
        mp_write_text(out, subject->address);
    }
    if (expects) {
        mp_write_text(out, "expected");
        mp_write_u64(out, order->expected);
    }
    if (order->forced) write_flag(out, "force");
    if (subject) {
        mp_write_text(out, "id");
        mp_write_text(out, subject->id.text);
    }
    if (adds && order->learner) write_flag(out, "learner");
    if (prefers) {
        mp_write_text(out, "priority");
        mp_write_u64(out, order->priority);
    }
    if (!sets) return;
    mp_write_text(out, "voters");
    mp_write_array(out, (uint32_t)__builtin_popcount(order->set));
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (order->set >> n & 1) mp_write_text(out, sim->nodes[n].id.text);
    }
}

/* ---- is it true? ---- */

static void judge(struct sim_node *node, struct sim_order *order, const struct reply *reply)
{
    struct sim *sim = node->sim;
    struct slice found;
    if (order->action == ACTION_RESTORE) {
        restores_judge(node, order, reply);
        return;
    }
    if (order->action == ACTION_DEPLOY) {
        deploys_judge(node, order, reply);
        return;
    }
    if (reply->code != ERROR_OK) {
        judge_error(node, order, reply);
        return;
    }
    if (order->action == ACTION_SNAPSHOT) {
        judge_snapshot(node, order, reply);
        return;
    }
    if (order->action == ACTION_CONFIG) {
        settings_judge(node, order, reply);
        return;
    }
    if (order->action == ACTION_TRANSFER) {
        struct slice text = {0};
        bool led = false;
        if (mp_map_get(reply->body, "leader", &found))
            mp_read_string(&(struct mp_reader){found.data, found.data + found.size}, &text);
        for (size_t t = 0; t < sim->ledger.reign_count; t++) {
            uint32_t leader = sim->ledger.reigns[t].leader;
            led = led || (leader != NOBODY && slice_equal(text, slice_text(sim->nodes[leader].id.text)));
        }
        if (!led) violate(sim, node, "order_true", "leadership is said to be handed to one who never led");
        return;
    }
    uint64_t index = 0;
    bool told = told_number(reply, "index", &index);
    bool there = false;
    for (size_t i = 0; told && i < sim->ledger.configuration_count; i++) {
        const struct sim_configuration *it = &sim->ledger.configurations[i];
        if (it->index != index || !done(sim, order, &it->parsed)) continue;
        there = true;
        order->told = i + 1;
        if (it->committed) break;
    }
    if (there) return;
    violate(sim, node, "order_true", "%s is said to be done at %" PRIu64 "; no configuration there says so",
            actions[order->action].name, index);
}

/* It is there, durable on that very node, unless a newer one is. */
static void judge_snapshot(struct sim_node *node, struct sim_order *order, const struct reply *reply)
{
    uint64_t index = 0, size = 0;
    bool told = told_number(reply, "index", &index) && told_number(reply, "size", &size);
    order->taken_index = index;
    order->taken_size = size;
    const struct sim_taken *taken = told ? ledger_taken(&node->sim->ledger, index) : NULL;
    if (taken && taken->bytes.size == size && node->disk.snapshots.meta.index >= index) return;
    violate(node->sim, node, "order_true", "a snapshot is said to be taken at %" PRIu64 ", of %" PRIu64
            " bytes; its disk has one at %" PRIu64, index, size, node->disk.snapshots.meta.index);
}

static bool told_number(const struct reply *reply, const char *key, uint64_t *value)
{
    struct slice found;
    return mp_map_get(reply->body, key, &found) &&
           mp_read_u64(&(struct mp_reader){found.data, found.data + found.size}, value);
}

/* What was told, often in the very call in which it was committed, by one who may have died in it, was decided. */
void orders_check_end(struct sim *sim)
{
    for (size_t i = 0; i < sim->operators.count; i++) {
        const struct sim_order *order = &sim->operators.orders[i];
        if (order->action == ACTION_CONFIG) settings_judge_end(sim, order);
        if (order->told == 0 || sim->ledger.configurations[order->told - 1].committed) continue;
        violate(sim, NULL, "order_true", "%s was said to be done at %" PRIu64 ", and never was",
                actions[order->action].name, sim->ledger.configurations[order->told - 1].index);
    }
    deploys_judge_end(sim);
}

/* A learner that is to become a voter when it has caught up is said to be one later. */
static bool done(const struct sim *sim, const struct sim_order *order,
                 const struct raft_configuration *configuration)
{
    const struct raft_id *id = order->subject == NOBODY ? NULL : &sim->nodes[order->subject].id;
    const struct raft_server *server = id ? raft_configuration_find(configuration, id) : NULL;
    uint32_t voters = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (raft_configuration_stays_voter(configuration, &sim->nodes[n].id)) voters |= 1u << n;
    }
    switch (order->action) {
    case ACTION_ADD:
        return server && server->role != RAFT_LEAVING;
    case ACTION_REMOVE:
        return !server || server->role == RAFT_LEAVING;
    case ACTION_PROMOTE:
        return server && (server->role == RAFT_VOTER || (server->role == RAFT_LEARNER && server->label_count > 0));
    case ACTION_DEMOTE:
        return server && server->role == RAFT_LEARNER;
    case ACTION_SET:
        return voters == order->set;
    case ACTION_PRIORITY:
        return server && server->priority == order->priority;
    case ACTION_TRANSFER:
    case ACTION_SNAPSHOT:
    case ACTION_CONFIG:
    case ACTION_DEPLOY:
    case ACTION_RESTORE:
        break;
    }
    return false;
}

/* What may be said of sound requests, and of some that ask for what cannot be. */
static void judge_error(struct sim_node *node, const struct sim_order *order, const struct reply *reply)
{
    if (judge_is_passing(reply->code)) return;
    switch (reply->code) {
    case ERROR_CONFLICT:
    case ERROR_NOT_FOUND:
    case ERROR_BAD_REQUEST:
        return;
    case ERROR_REFUSED:
        if (node->sim->plan.policy != SIM_POLICY_NONE) return;
        /* fall through */
    default:
        violate(node->sim, node, "reply_sound", "an operator's %s is answered %s", actions[order->action].name,
                error_name(reply->code));
    }
}
