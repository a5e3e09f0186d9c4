/*
 * Do all agree? What a healed cluster comes to, and what must hold once it has: one state on every member, nobody else
 * there, nothing that was acknowledged missing, and a leader that nobody is preferred to.
 */
#include "sim/internal.h"

#include "base/mp.h"

#include <inttypes.h>
#include <stdio.h>

static bool missing(struct sim *sim, const struct sim_node *node, const char *what);
static bool has_all(const struct sim_node *node, raft_index last);
static bool stays_out(const struct sim_node *node, const struct raft_configuration *now);
static void check_status(struct sim_node *node, bool member);
static const struct raft_configuration *led_by(struct sim *sim);

/* There is a leader, every member that kept its disk (or, unless `all`, that is up) has applied all
 * there is, and all requests are answered. In the end nothing is left to be changed, either: the preferred one leads,
 * whoever was to vote does, and whoever was to join has; nobody else is there. */
bool sim_agrees(struct sim *sim, bool all)
{
    const struct sim_node *leader = node_leading(sim);
    if (!leader) return missing(sim, NULL, "nobody leads");
    if (sim->clients.pending > 0 || sim->operators.pending > 0)
        return missing(sim, NULL, "a request is not answered");
    if (all && deploys_wanting(sim)) return missing(sim, NULL, "the next version of the app is not deployed");
    struct raft_status status;
    raft_status(host_raft(leader->host), &status);
    const struct raft_configuration *now = status.configuration;
    raft_index last = status.last_index;
    if (last == 0 || last < sim->ledger.committed) return missing(sim, leader, "leads, and lacks entries");
    if (all && status.configuration_pending) return missing(sim, leader, "has a configuration under way");
    if (all && !agreement_preferred(sim, leader, false))
        return missing(sim, leader, "leads, and another one is preferred");
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        const struct sim_node *node = &sim->nodes[n];
        const struct raft_server *server = configuration_names(now, node);
        if (!server || node->wiped) {
            if (all && !stays_out(node, now)) return missing(sim, node, "is no member, and goes on");
            continue;
        }
        if (!all && !node_up(node)) continue;
        if (!has_all(node, last)) return missing(sim, node, "has not applied everything");
        if (all && disk_has_stalled(leader) && !host_ready(node->host)) /* leadership is being handed over for it */
            return missing(sim, node, "is not ready");
        if (all && server->role == RAFT_LEARNER && server->label_count > 0 && !policy_is_own(sim))
            return missing(sim, node, "is to be a voter, and is none");
    }
    return true;
}

static bool missing(struct sim *sim, const struct sim_node *node, const char *what)
{
    snprintf(sim->waits_for, sizeof sim->waits_for, "%s %s", node ? node->id.text : "", what);
    return false;
}

static bool has_all(const struct sim_node *node, raft_index last)
{
    struct raft_status status;
    if (!node_up(node) || !host_raft(node->host) || node_paused(node)) return false;
    raft_status(host_raft(node->host), &status);
    return host_applied(node->host).index == last && status.commit_index == last &&
           status.last_index == last;
}

/*
 * No member, for good: it is down, or wiped, or waits in vain because its former self still is a member. Who has joined
 * and has been removed before it heard of either waits for somebody to tell it; so does who was away until nobody was
 * left of all those that it knows.
 */
static bool stays_out(const struct sim_node *node, const struct raft_configuration *now)
{
    struct sim *sim = node->sim;
    struct raft_status status;
    if (node->wiped || node->idle) return true;
    if (!node->disk.configuration) return policy_is_own(sim) || raft_configuration_find(now, &node->id) != NULL;
    if (!node_up(node) || !host_raft(node->host)) return false;
    raft_status(host_raft(node->host), &status);
    if (!configuration_names(status.configuration, node)) return true;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        const struct sim_node *other = &sim->nodes[n];
        const struct raft_server *known = configuration_names(status.configuration, other);
        if (known && configuration_names(now, other)) return false;
    }
    return true;
}

/* The promises, once all is quiet: one state everywhere, everyone ready, and nothing acknowledged
 * missing. */
void agreement_check_end(struct sim *sim)
{
    struct buffer first = {0}, other = {0};
    const struct sim_node *reference = NULL;
    const struct raft_configuration *now = led_by(sim);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        bool member = !node->wiped && configuration_names(now, node);
        if (node->host) check_status(node, member);
        if (!member) continue;
        once_check_end(node);
        struct buffer *out = reference ? &other : &first;
        buffer_clear(out);
        node->machine.inner.encode(node->machine.inner.context, out);
        uint64_t hash = node->machine.inner.hash(node->machine.inner.context);
        if (!reference) {
            reference = node;
            sim->result->state_hash = hash;
        }
        bool same = reference == node || slice_equal(buffer_slice(&first), buffer_slice(&other));
        if (!same || hash != sim->result->state_hash) {
            violate(sim, node, "state_agrees", "its state differs from %s's at the end",
                    reference->id.text);
        }
        if (node->machine.applied < sim->ledger.applied) {
            violate(sim, node, "nothing_lost",
                    "its last command is %" PRIu64 "; %" PRIu64 " was applied once",
                    node->machine.applied, sim->ledger.applied);
        }
    }
    clients_check_end(sim);
    orders_check_end(sim);
    buffer_deinit(&first);
    buffer_deinit(&other);
}

/* The effective configuration of whoever leads. */
static const struct raft_configuration *led_by(struct sim *sim)
{
    struct raft_status status;
    raft_status(host_raft(node_leading(sim)->host), &status);
    return status.configuration;
}

/* What status pages show is well-formed, and says the truth about being ready. */
static void check_status(struct sim_node *node, bool member)
{
    static const struct mp_limits limits = {
        .depth = VALUE_DEPTH_MAX, .elements = 100000, .bytes = 1 << 20};
    struct sim *sim = node->sim;
    struct buffer status = {0}, members = {0};
    struct error error;
    host_status(node->host, &status);
    host_members(node->host, &members);
    if (mp_check(buffer_slice(&status), &limits, &error) != ERROR_OK ||
        mp_check(buffer_slice(&members), &limits, &error) != ERROR_OK) {
        violate(sim, node, "status_sound", "its status is malformed: %s", error.text);
    }
    if (host_ready(node->host) != member) {
        violate(sim, node, "ready", "%s, and all is well for long",
                member ? "not ready" : "no member but ready");
    }
    buffer_deinit(&status);
    buffer_deinit(&members);
}

/* Nobody else is to be offered leadership; `for_good`: nor will be once who learns now may vote, or once a change of
 * membership that is under way is done: that may name this one no more. */
bool agreement_preferred(struct sim *sim, const struct sim_node *leader, bool for_good)
{
    struct raft_status status;
    raft_status(host_raft(leader->host), &status);
    const struct raft_configuration *now = status.configuration;
    const struct raft_server *own = raft_configuration_find(now, &leader->id);
    if (for_good && status.configuration_pending) return false;
    for (size_t i = 0; own && i < now->server_count; i++) {
        const struct raft_server *server = &now->servers[i];
        const struct sim_node *node = node_find(sim, &server->id);
        bool there = configuration_names(now, node) != NULL && !node->wrecked;
        bool votes = server->role == RAFT_VOTER || (for_good && server->role == RAFT_LEARNER);
        if (there && votes && server->priority > own->priority) return false;
    }
    return own != NULL;
}
