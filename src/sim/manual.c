/*
 * A cluster driven by hand: what the test kit calls between two sim_advance. Nothing strikes by itself and nobody asks
 * by himself, but every invariant is checked all the same.
 */
#include "sim/internal.h"

#include <assert.h>
#include <string.h>

#define SNAPSHOT_TIMEOUT_MS 30000
#define DEPLOY_TIMEOUT_MS 30000

static struct sim_node *node_at(struct sim *sim, unsigned node);

uint64_t sim_now_us(const struct sim *sim)
{
    return sim->world.now_us;
}

unsigned sim_nodes(const struct sim *sim)
{
    return sim->plan.nodes;
}

uint64_t sim_ask(struct sim *sim, unsigned node, const struct sim_ask *ask)
{
    return node_up(node_at(sim, node)) ? clients_ask(sim, node, ask) : 0;
}

uint64_t sim_snapshot(struct sim *sim, unsigned node)
{
    if (!node_up(node_at(sim, node))) return 0;
    order_give(sim, &(struct sim_order){
                        .action = ACTION_SNAPSHOT, .subject = NOBODY, .node = node, .timeout_ms = SNAPSHOT_TIMEOUT_MS});
    return sim->operators.count;
}

bool sim_snapshot_done(const struct sim *sim, uint64_t number, enum error_code *code, uint64_t *index, uint64_t *size)
{
    assert(number > 0 && number <= sim->operators.count);
    const struct sim_order *order = &sim->operators.orders[number - 1];
    *code = order->outcome == OUTCOME_ANSWERED ? ERROR_OK : order->code ? order->code : ERROR_UNAVAILABLE;
    *index = order->taken_index;
    *size = order->taken_size;
    return order->outcome != OUTCOME_PENDING;
}

uint64_t sim_deploy(struct sim *sim, unsigned node, struct slice bundle, const uint64_t *replaces)
{
    if (!node_up(node_at(sim, node))) return 0;
    struct sim_deploy what = {.version = versions_add(sim, bundle), .any = replaces == NULL};
    if (replaces) what.replaces = *replaces;
    order_give(sim, &(struct sim_order){.action = ACTION_DEPLOY,
                                        .subject = NOBODY,
                                        .node = node,
                                        .timeout_ms = DEPLOY_TIMEOUT_MS,
                                        .deploy = what});
    return sim->operators.count;
}

bool sim_deploy_done(const struct sim *sim, uint64_t number, enum error_code *code, struct slice *body)
{
    uint64_t index, size;
    bool done = sim_snapshot_done(sim, number, code, &index, &size);
    bool answered = sim->operators.orders[number - 1].replied;
    *body = answered ? buffer_slice(&sim->deploys.reply) : slice_of(NULL, 0);
    return done;
}

/* ---- nodes ---- */

void sim_crash(struct sim *sim, unsigned node)
{
    node_crash(node_at(sim, node));
    sim->nodes[node].held = true;
}

void sim_stop(struct sim *sim, unsigned number)
{
    struct sim_node *node = node_at(sim, number);
    if (!node->host) node->held = true;
    if (node_up(node) && !node->stopping) faults_stop(node);
}

void sim_start(struct sim *sim, unsigned number)
{
    struct sim_node *node = node_at(sim, number);
    if (node->host) return;
    node->held = false;
    node_start_after(node, 0);
}

void sim_pause(struct sim *sim, unsigned node, uint64_t length_us)
{
    node_at(sim, node)->paused_until_us = sim->world.now_us + length_us;
}

void sim_clock_jump(struct sim *sim, unsigned node, int64_t wall_ms)
{
    node_at(sim, node)->wall_offset_ms += wall_ms;
}

/* ---- network ---- */

void sim_cut(struct sim *sim, unsigned from, unsigned to)
{
    if (node_at(sim, from) != node_at(sim, to)) sim->network.blocked[from][to] = true;
}

void sim_mend(struct sim *sim, unsigned from, unsigned to)
{
    assert(node_at(sim, from) && node_at(sim, to));
    sim->network.blocked[from][to] = false;
}

void sim_mend_all(struct sim *sim)
{
    memset(sim->network.blocked, 0, sizeof sim->network.blocked);
    sim->plan.drop = 0;
}

void sim_loss(struct sim *sim, unsigned permille)
{
    sim->plan.drop = permille;
}

/* ---- disks ---- */

void sim_disk_full(struct sim *sim, unsigned node, uint64_t length_us)
{
    node_at(sim, node)->disk.full_until_us = sim->world.now_us + length_us;
}

void sim_disk_slow(struct sim *sim, unsigned node, uint64_t length_us)
{
    node_at(sim, node)->disk.slow_until_us = sim->world.now_us + length_us;
}

void sim_disk_stall(struct sim *sim, unsigned node, uint64_t length_us)
{
    node_at(sim, node)->disk.stands_until_us = sim->world.now_us + length_us;
}

void sim_disk_fail(struct sim *sim, unsigned node)
{
    node_at(sim, node)->disk.fail_next = true;
}

/* ---- looking ---- */

bool sim_up(const struct sim *sim, unsigned node)
{
    assert(node < sim->plan.nodes);
    return node_up(&sim->nodes[node]);
}

int sim_leader(struct sim *sim)
{
    const struct sim_node *leader = node_leading(sim);
    return leader ? (int)leader->number : -1;
}

bool sim_settled(struct sim *sim)
{
    return sim_agrees(sim, false);
}

bool sim_status(struct sim *sim, unsigned number, struct buffer *out)
{
    const struct sim_node *node = node_at(sim, number);
    if (!node_up(node)) return false;
    host_status(node->host, out);
    return true;
}

bool sim_state(struct sim *sim, unsigned number, struct buffer *out)
{
    const struct sim_node *node = node_at(sim, number);
    if (!node_up(node) || !node->machine.loaded) return false;
    node->machine.inner.encode(node->machine.inner.context, out);
    return true;
}

static struct sim_node *node_at(struct sim *sim, unsigned node)
{
    assert(node < sim->plan.nodes);
    return &sim->nodes[node];
}
