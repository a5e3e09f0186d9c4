/*
 * Operators: what people do to a cluster that runs, as strikes beside the faults. They start spares with --join,
 * remove, demote and promote servers, replace several voters at once, hand leadership over, and prefer one leader to
 * another; a server that lost its disk is let in again as a new one.
 *
 * They do not saw off the branch they sit on: an order is given only if, whatever becomes of it and of those before it,
 * the voters that have their disks are a majority (electorate.c). Otherwise they are as careless as people are: they
 * ask any node that is up, ask for what is not possible, ask again, do not wait for answers, and do all of it in the
 * middle of the faults.
 */
#include "sim/internal.h"

#include "base/memory.h"

#include <stdio.h>
#include <string.h>

#define ORDERS_AT_ONCE 3 /* that may still be carried out */

static void say(struct sim *sim, const char *what, const struct sim_node *node);
static unsigned a_server(struct sim *sim, bool voter);
static bool has_data(struct sim *sim, uint32_t nodes);
static unsigned leader_or(struct sim *sim, unsigned otherwise);
static bool too_many(const struct sim *sim);
static void order(struct sim *sim, struct sim_order order);

/* ---- starting ---- */

/* Somebody's list of addresses, written when these nodes were up; later, when all is to be well, of members. */
unsigned operators_doors(struct sim_node *node, const char **doors)
{
    struct sim *sim = node->sim;
    const struct sim_configuration *now = configuration_now(sim);
    unsigned found[SIM_NODES_MAX], count = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        const struct sim_node *other = &sim->nodes[n];
        bool member = other->disk.configuration && !other->wiped;
        if (sim->phase >= PHASE_CONVERGENCE && now && !configuration_names(&now->parsed, other)) continue;
        if (other != node && node_up(other) && member) found[count++] = n;
    }
    if (count == 0) found[count++] = node->number == 0 ? 1 : 0;
    unsigned wanted = 1 + (unsigned)draw(sim, STREAM_NODES, 2);
    for (unsigned i = 0; i < wanted && i < count; i++) {
        unsigned at = i + (unsigned)draw(sim, STREAM_NODES, count - i), held = found[i];
        found[i] = found[at];
        found[at] = held;
        doors[i] = sim->nodes[found[i]].address;
    }
    return wanted < count ? wanted : count;
}

/* A spare is started; half of the time somebody adds it as a learner, too. */
void strike_join(struct sim *sim)
{
    unsigned idle[SIM_NODES_MAX], count = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (sim->nodes[n].idle) idle[count++] = n;
    }
    if (count == 0 || !configuration_now(sim)) return;
    struct sim_node *node = &sim->nodes[idle[draw(sim, STREAM_FAULTS, count)]];
    say(sim, "starts", node);
    COVER(sim, joins);
    node->idle = false;
    node_start_after(node, 0);
    bool added = chance(sim, STREAM_FAULTS, 500);
    if (added && !too_many(sim))
        order(sim, (struct sim_order){.action = ACTION_ADD, .subject = node->number, .learner = true});
}

/* What was wiped is started again, with --join; the cluster lets it in once its former self is removed. */
void strike_rejoin(struct sim *sim)
{
    unsigned wiped[SIM_NODES_MAX], count = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (sim->nodes[n].wiped) wiped[count++] = n;
    }
    if (count == 0) return;
    struct sim_node *node = &sim->nodes[wiped[draw(sim, STREAM_FAULTS, count)]];
    bool too = chance(sim, STREAM_FAULTS, 700) && !too_many(sim);
    say(sim, too ? "is removed and joins again:" : "joins again:", node);
    COVER(sim, rejoins);
    node->spare = true;
    if (node->host) {
        node_crash(node);
    } else if (node->wrecked) { /* an empty folder in place of the damaged one */
        node->wrecked = false;
        life_begin(node, random_next(&sim->world.random[STREAM_FAULTS]) | 1);
        node_start_after(node, 0);
    }
    if (too) order(sim, (struct sim_order){.action = ACTION_REMOVE, .subject = node->number});
}

/* It has heard that it is no member any more, and has stopped. */
void operators_retire(struct sim_node *node)
{
    COVER(node->sim, retirements);
    TRACE(node->sim, node, "is gone; its disk is emptied");
    life_begin(node, random_next(&node->sim->world.random[STREAM_NODES]) | 1);
    node->spare = node->idle = true;
}

/* May it lose its disk? Only once the first members have joined; and those that are left must do. */
bool operators_spare(struct sim *sim, const struct sim_node *node)
{
    struct sim_electorates electorates;
    for (unsigned n = 0; n < sim->plan.founders; n++) {
        const struct sim_node *other = &sim->nodes[n];
        if (!other->disk.configuration && !other->wiped && !other->spare) return false;
    }
    if (node->wiped || node->idle || !node->disk.configuration) return false;
    electorates_draw_up(sim, NULL, &electorates);
    return electorates_have(&electorates, ~(1u << node->number));
}

/* ---- orders ---- */

void strike_remove(struct sim *sim)
{
    unsigned subject = leader_or(sim, a_server(sim, false));
    order(sim, (struct sim_order){.action = ACTION_REMOVE, .subject = subject});
}

/* Mostly one that can be. */
void strike_promote(struct sim *sim)
{
    const struct sim_configuration *now = configuration_now(sim);
    unsigned subject = a_server(sim, false);
    for (size_t i = 0; now && i < now->parsed.server_count; i++) {
        const struct raft_server *server = &now->parsed.servers[i];
        if (server->role != RAFT_LEARNER || !chance(sim, STREAM_FAULTS, 700)) continue;
        subject = node_find(sim, &server->id)->number;
        break;
    }
    bool forced = chance(sim, STREAM_FAULTS, 300) && has_data(sim, 1u << subject);
    order(sim, (struct sim_order){.action = ACTION_PROMOTE, .subject = subject, .forced = forced});
}

void strike_demote(struct sim *sim)
{
    unsigned subject = leader_or(sim, a_server(sim, true));
    order(sim, (struct sim_order){.action = ACTION_DEMOTE, .subject = subject});
}

/* Several voters go and come at once, out of the servers there are. */
void strike_replace(struct sim *sim)
{
    const struct sim_configuration *now = configuration_now(sim);
    uint32_t set = 0;
    for (size_t i = 0; now && i < now->parsed.server_count; i++) {
        const struct sim_node *node = node_find(sim, &now->parsed.servers[i].id);
        bool there = configuration_names(&now->parsed, node) != NULL;
        if (there && chance(sim, STREAM_FAULTS, 600)) set |= 1u << node->number;
    }
    bool forced = chance(sim, STREAM_FAULTS, 500) && has_data(sim, set);
    if (set == 0) return;
    order(sim, (struct sim_order){.action = ACTION_SET, .subject = NOBODY, .set = set, .forced = forced});
}

/* Sometimes all conspires against a leader that trusts its lease (operators_handover). */
void strike_transfer(struct sim *sim)
{
    unsigned target = a_server(sim, false);
    if (chance(sim, STREAM_FAULTS, 300)) target = NOBODY;
    bool holds_up = chance(sim, STREAM_FAULTS, 300);
    uint64_t held_us = 1 + draw(sim, STREAM_FAULTS, 2 * sim->plan.election_us);
    bool deafens = chance(sim, STREAM_FAULTS, 700);
    order(sim, (struct sim_order){.action = ACTION_TRANSFER, .subject = target});
    sim->operators.holds_up_us = holds_up ? held_us : 0;
    sim->operators.deafens = deafens;
}

void strike_priority(struct sim *sim)
{
    unsigned subject = a_server(sim, false);
    uint32_t priority = (uint32_t)draw(sim, STREAM_FAULTS, 3);
    order(sim, (struct sim_order){.action = ACTION_PRIORITY, .subject = subject, .priority = priority});
}

/* Of any node, by hand. */
void strike_snapshot(struct sim *sim)
{
    order(sim, (struct sim_order){.action = ACTION_SNAPSHOT, .subject = NOBODY});
}

/* Who is told to campaign is held up, perhaps until the leader that told it has given up and trusts its lease again. */
void operators_handover(struct sim_node *to)
{
    struct sim *sim = to->sim;
    uint64_t held_us = sim->operators.holds_up_us;
    sim->operators.holds_up_us = 0;
    if (held_us == 0 || sim->phase != PHASE_SAFETY || !to->host || node_paused(to)) return;
    COVER(sim, pauses);
    to->paused_until_us = sim->world.now_us + held_us;
}

/* And when it does campaign, that leader hears nobody from then on; clients still ask it. */
void operators_takeover(struct sim_node *candidate)
{
    struct sim *sim = candidate->sim;
    struct sim_node *leader = node_leading(sim);
    if (!sim->operators.deafens || sim->phase != PHASE_SAFETY || !leader || leader == candidate) return;
    sim->operators.deafens = false;
    faults_deafen(leader);
    clients_prefer(sim, leader->number);
}

/* ---- against leases ---- */

/*
 * What a lease rests on is what voters promise by hearing a leader. One that does not hear it is to ask the others for
 * their votes just when they have been restarted and the leader is cut off; for that its log must be as good as theirs,
 * so clients order nothing meanwhile.
 */
void strike_forget(struct sim *sim)
{
    const struct sim_node *leader = node_leading(sim);
    unsigned asker = (unsigned)draw(sim, STREAM_FAULTS, sim->plan.nodes);
    if (!sim->plan.settings.leases || !leader || leader->number == asker) return;
    say(sim, "does not hear its leader:", &sim->nodes[asker]);
    faults_part(sim, leader->number, asker);
    sim->operators.asker = asker + 1;
    sim->operators.hush_until_us = sim->world.now_us + 3 * sim->plan.election_us;
}

bool operators_hush(const struct sim *sim)
{
    return sim->world.now_us < sim->operators.hush_until_us;
}

void operators_asks(struct sim_node *candidate)
{
    struct sim *sim = candidate->sim;
    const struct sim_node *leader = node_leading(sim);
    if (sim->operators.asker != candidate->number + 1 || sim->phase != PHASE_SAFETY) return;
    sim->operators.asker = 0;
    sim->operators.hush_until_us = 0;
    if (!leader || leader == candidate) return;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        faults_part(sim, leader->number, n);
        if (node == candidate || node == leader || !node_up(node)) continue;
        node->hurries = true;
        world_push(&sim->world, 0, EVENT_KILL, n)->lifetime = node->lifetime;
    }
    clients_prefer(sim, leader->number);
}

/* ---- helpers ---- */

/* Of the newest configuration that is committed: mostly a voter where one is wanted. Now and then somebody who is not
 * in it at all. */
static unsigned a_server(struct sim *sim, bool voter)
{
    const struct sim_configuration *now = configuration_now(sim);
    unsigned any = (unsigned)draw(sim, STREAM_FAULTS, sim->plan.nodes);
    if (!now || now->parsed.server_count == 0 || chance(sim, STREAM_FAULTS, 100)) return any;
    size_t at = (size_t)draw(sim, STREAM_FAULTS, now->parsed.server_count);
    for (size_t i = 0; voter && i < now->parsed.server_count; i++) {
        if (now->parsed.servers[at].role == RAFT_VOTER) break;
        at = (at + 1) % now->parsed.server_count;
    }
    return node_find(sim, &now->parsed.servers[at].id)->number;
}

/* By force only those who are there: one that is still blank cannot vote, and to be let in it needs a leader, which may
 * need its vote. */
static bool has_data(struct sim *sim, uint32_t nodes)
{
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if ((nodes >> n & 1) && !sim->nodes[n].disk.configuration) return false;
    }
    return true;
}

static unsigned leader_or(struct sim *sim, unsigned otherwise)
{
    const struct sim_node *leader = node_leading(sim);
    return leader && chance(sim, STREAM_FAULTS, 250) ? leader->number : otherwise;
}

static bool too_many(const struct sim *sim)
{
    unsigned open = 0;
    for (size_t i = 0; i < sim->operators.count; i++) {
        const struct sim_order *order = &sim->operators.orders[i];
        bool of_members = order->action != ACTION_CONFIG && order->action != ACTION_DEPLOY;
        if (of_members && order->until_us > sim->world.now_us) open++;
    }
    return open >= ORDERS_AT_ONCE;
}

/* Asked of any node that is up, if it cannot do harm. Half of them have looked at the cluster before, and want it as
 * it was then. */
static void order(struct sim *sim, struct sim_order order)
{
    struct sim_electorates electorates;
    unsigned up[SIM_NODES_MAX], count = 0;
    const struct sim_configuration *now = configuration_now(sim);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (node_up(&sim->nodes[n])) up[count++] = n;
    }
    if (count == 0 || !now || too_many(sim)) return;
    order.node = up[draw(sim, STREAM_FAULTS, count)];
    order.expects = chance(sim, STREAM_FAULTS, 300);
    order.expected = now->index;
    uint64_t election_ms = sim->plan.election_us / 1000;
    order.timeout_ms = (uint32_t)draw_between(sim, STREAM_FAULTS, election_ms, election_ms * 8);
    electorates_draw_up(sim, &order, &electorates);
    if (!electorates_have(&electorates, UINT32_MAX)) return;
    say(sim, action_name(order.action), order.subject == NOBODY ? NULL : &sim->nodes[order.subject]);
    order_give(sim, &order);
}

static void say(struct sim *sim, const char *what, const struct sim_node *node)
{
    size_t size = strlen(sim->struck);
    snprintf(sim->struck + size, sizeof sim->struck - size, "%s%s %s", size > 0 ? "; " : "", what,
             node ? node->id.text : "");
}
