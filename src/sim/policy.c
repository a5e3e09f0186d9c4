/*
 * Membership policies: whom a leader's host asks what should become of its servers. A seed has none, the script itself
 * (the app's policy.lua, or the default one), or one that throws dice: it wants any change of anybody, refuses whom it
 * likes, raises, and talks nonsense. It answers late, or not at all.
 *
 * Whatever it says, what the host makes of it is judged here: one server at a time, never the leader, no vote past a
 * majority that is heard, and nothing at all when it has failed. While a healed majority has to make progress it only
 * lets learners in, whom clients may be asking: with whom it would go on is drawn from the configurations that there
 * were. Where policies are at work no disk is lost: who must keep one depends on what a policy may want. In the end the
 * default one and the dice let everybody in and vote; an app's own may refuse them, and says nothing of members any
 * more, so that they come to rest.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"
#include "script/bundle.h"
#include "script/policy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WITH_POLICY 250 /* permille of the seeds with operators */
#define BY_SCRIPT   500 /* ... of these: the script, not dice */

/* A view on its way to an answer. */
struct sim_view {
    uint64_t ticket;
    size_t size;
    uint8_t bytes[];
};

/* What the host knew when it was told. */
struct before {
    struct raft_configuration configuration;
    raft_index index;
    uint64_t heard; /* bits by node: the leader itself, and who has answered within an election timeout */
    struct host_counters counters;
    struct raft_id target;
};

static bool decide(struct sim_node *node, const struct sim_view *view, bool admission, struct buffer *actions,
                   struct error *problem);
static bool throw_dice(struct sim *sim, bool admission, struct buffer *actions, struct error *problem);
static void be_sensible(struct slice view, bool admission, struct buffer *actions);
static void write_action(struct buffer *out, const char *verb, const char *text);
static void look_before(struct sim_node *node, struct before *before);
static void judge(struct sim_node *node, const struct before *before, bool failed);
static void judge_change(struct sim_node *node, const struct before *before, const struct raft_configuration *now);

#define DRAW_ONE(sim, ...)                                          \
    ((const uint64_t[]){__VA_ARGS__}[draw((sim), STREAM_POLICY,     \
        sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))])

void policy_draw(struct sim *sim, bool operated)
{
    struct sim_plan *plan = &sim->plan;
    struct settings *settings = &plan->settings;
    uint64_t election_ms = plan->election_us / 1000;
    bool some = chance(sim, STREAM_POLICY, WITH_POLICY) && operated;
    bool script = chance(sim, STREAM_POLICY, BY_SCRIPT);
    plan->policy = !some ? SIM_POLICY_NONE : script ? SIM_POLICY_SCRIPT : SIM_POLICY_DICE;
    if (sim->options.policy != SIM_POLICY_DRAWN && operated) plan->policy = sim->options.policy;
    uint64_t interval_ms = election_ms * DRAW_ONE(sim, 1, 2, 6) / 2;
    uint64_t dead = DRAW_ONE(sim, 3, 10, 40), stable = DRAW_ONE(sim, 0, 2, 6), least = DRAW_ONE(sim, 1, 2, 3);
    if (plan->policy == SIM_POLICY_NONE) return;
    settings->policy_interval_ms = interval_ms > 0 ? interval_ms : 1;
    settings->policy_dead_ms = election_ms * dead;
    settings->policy_stable_ms = election_ms * stable;
    settings->policy_voters_min = least;
    for (size_t i = 0; i < 3; i++) {
        static const enum sim_fault loses_disks[] = {FAULT_wipe, FAULT_bit_rot, FAULT_lost_tail};
        plan->weights -= plan->weight[loses_disks[i]];
        plan->weight[loses_disks[i]] = 0;
    }
}

bool policy_is_own(const struct sim *sim)
{
    struct slice text;
    bool has = bundle_file(buffer_slice(&sim->bundle), "policy.lua", &text) ||
               (sim->options.next.size > 0 && bundle_file(sim->options.next, "policy.lua", &text));
    return sim->plan.policy == SIM_POLICY_SCRIPT && has;
}

void policy_end(struct sim *sim)
{
    policy_vm_free(sim->policy);
    sim->policy = NULL;
}

/* ---- asked, and answered later ---- */

void policy_note(struct sim_node *node, uint64_t ticket, struct slice view)
{
    struct sim *sim = node->sim;
    struct sim_view *kept = memory_alloc(sizeof *kept + view.size);
    *kept = (struct sim_view){.ticket = ticket, .size = view.size};
    memcpy(kept->bytes, view.data, view.size);
    trace_event(sim, TRACE_POLICY, node->number, ticket, hash_bytes(view.data, view.size));
    COVER(sim, policy_asked);
    uint64_t most = chance(sim, STREAM_POLICY, 100) ? 8 * sim->plan.election_us : sim->plan.election_us / 8;
    struct sim_event *event = world_push(&sim->world, draw(sim, STREAM_POLICY, most + 1), EVENT_POLICY, node->number);
    event->lifetime = node->lifetime;
    event->data = kept;
}

void policy_view_free(void *view)
{
    memory_free(view);
}

void policy_on_decided(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_view *view = event->data;
    struct buffer actions = {0};
    struct error problem = {.code = ERROR_OK};
    struct before before = {0};
    struct slice server;
    bool admission = mp_map_get(slice_of(view->bytes, view->size), "server", &server);
    bool sleeps = !admission && (sim->phase == PHASE_MAJORITY || (policy_is_own(sim) && sim->phase != PHASE_SAFETY));
    if (sleeps || !host_raft(node->host)) {
        memory_free(view);
        return;
    }
    bool sound = decide(node, view, admission, &actions, &problem);
    trace_event(sim, TRACE_POLICY, node->number, view->ticket, hash_bytes(actions.data, actions.size));
    look_before(node, &before);
    node_enter(node);
    host_policy_decided(node->host, view->ticket, buffer_slice(&actions), problem.code != ERROR_OK ? &problem : NULL);
    judge(node, &before, !sound);
    node_leave(node);
    raft_configuration_deinit(&before.configuration);
    buffer_deinit(&actions);
    memory_free(view);
}

/* false: what it says is nonsense, or it has failed. */
static bool decide(struct sim_node *node, const struct sim_view *view, bool admission, struct buffer *actions,
                   struct error *problem)
{
    struct sim *sim = node->sim;
    struct slice bytes = slice_of(view->bytes, view->size);
    if (sim->plan.policy == SIM_POLICY_DICE && sim->phase == PHASE_SAFETY)
        return throw_dice(sim, admission, actions, problem);
    if (sim->plan.policy == SIM_POLICY_DICE) {
        be_sensible(bytes, admission, actions);
        return true;
    }
    unsigned app = node->app != 0 ? node->app : 1;
    if (!sim->policy || sim->policy_of != app) {
        policy_end(sim);
        sim->policy = policy_vm_new(NULL, NULL);
        sim->policy_of = app;
        policy_vm_load(sim->policy, buffer_slice(&versions_at(sim, app)->bytes), NULL);
    }
    if (policy_vm_decide(sim->policy, bytes, actions, problem) == ERROR_OK) return true;
    violate(sim, node, "policy_runs", "the policy fails: %s", problem->text);
    return false;
}

/* Anything about anybody, and some who are not there. */
static bool throw_dice(struct sim *sim, bool admission, struct buffer *actions, struct error *problem)
{
    static const char *const verbs[] = {"promote", "promote", "evict", "demote", "leader"};
    static const uint8_t nonsense[] = {0x93, 0x01, 0xc1};
    uint64_t mood = draw(sim, STREAM_POLICY, 10);
    if (mood == 0) {
        error_set(problem, ERROR_SCRIPT, "policy.lua:%" PRIu64 ": the dice have fallen off the table",
                  draw(sim, STREAM_POLICY, 100));
        return false;
    }
    if (mood == 1) {
        buffer_append_slice(actions, slice_of(nonsense, sizeof nonsense));
        return false;
    }
    if (admission) {
        uint64_t verdict = draw(sim, STREAM_POLICY, 5);
        mp_write_array(actions, 1);
        write_action(actions, verdict == 0 ? "refuse" : "admit", verdict <= 1 ? "voter" : "learner");
        return true;
    }
    uint64_t count = draw(sim, STREAM_POLICY, 4);
    mp_write_array(actions, (uint32_t)count);
    for (uint64_t i = 0; i < count; i++) {
        char id[8];
        snprintf(id, sizeof id, "n%u", 1 + (unsigned)draw(sim, STREAM_POLICY, sim->plan.nodes + 1));
        write_action(actions, verbs[draw(sim, STREAM_POLICY, sizeof verbs / sizeof *verbs)], id);
    }
    return true;
}

/* In the end everybody is to be let in, and to vote. */
static void be_sensible(struct slice view, bool admission, struct buffer *actions)
{
    struct slice servers = {0}, server, text, id;
    struct buffer list = {0};
    uint32_t count = 0, wanted = 0;
    if (admission) {
        mp_write_array(actions, 1);
        write_action(actions, "admit", "learner");
        return;
    }
    mp_map_get(view, "servers", &servers);
    struct mp_reader reader = mp_reader_of(servers);
    mp_read_array(&reader, &count);
    for (uint32_t i = 0; i < count && mp_skip(&reader, &server); i++) {
        bool promotable = false;
        if (!mp_map_get(server, "promotable", &text) || !mp_map_get(server, "id", &id)) continue;
        mp_read_boolean(&(struct mp_reader){text.data, text.data + text.size}, &promotable);
        if (!promotable) continue;
        mp_write_array(&list, 2);
        mp_write_text(&list, "promote");
        mp_write_raw(&list, id);
        wanted++;
    }
    mp_write_array(actions, wanted);
    buffer_append_slice(actions, buffer_slice(&list));
    buffer_deinit(&list);
}

static void write_action(struct buffer *out, const char *verb, const char *text)
{
    mp_write_array(out, 2);
    mp_write_text(out, verb);
    mp_write_text(out, text);
}

/* ---- what the host makes of it ---- */

static void look_before(struct sim_node *node, struct before *before)
{
    struct raft_status status;
    uint64_t now_us = node_clock_us(node);
    raft_status(host_raft(node->host), &status);
    raft_configuration_copy(&before->configuration, status.configuration);
    before->index = status.configuration_index;
    before->target = status.transfer_target;
    before->counters = host_counters(node->host);
    before->heard = 1u << node->number;
    for (size_t i = 0; i < status.peer_count; i++) {
        const struct raft_peer_status *peer = &status.peers[i];
        const struct sim_node *other = node_find(node->sim, &peer->id);
        bool heard = peer->contact_us != 0 && !peer->forgot && now_us < peer->contact_us + node->sim->plan.election_us;
        if (heard) before->heard |= 1u << other->number;
    }
}

static void judge(struct sim_node *node, const struct before *before, bool failed)
{
    struct sim *sim = node->sim;
    struct raft_status status;
    if (node->dying || !node->host) return;
    raft_status(host_raft(node->host), &status);
    struct host_counters now = host_counters(node->host);
    sim->result->coverage.policy_done += now.policy_done - before->counters.policy_done;
    sim->result->coverage.policy_refused += now.policy_refused - before->counters.policy_refused;
    sim->result->coverage.policy_failed += now.policy_failed - before->counters.policy_failed;
    bool changed = status.configuration_index != before->index;
    bool moves = !raft_id_equal(&status.transfer_target, &before->target) && !raft_id_none(&status.transfer_target);
    if (failed && (changed || moves)) breach(sim, node, "policy_failed", "a policy that failed has changed something");
    if (moves && !raft_configuration_stays_voter(status.configuration, &status.transfer_target))
        breach(sim, node, "policy_safe", "hands leadership to %s, which does not vote", status.transfer_target.text);
    if (moves) COVER(sim, policy_handovers);
    if (changed) judge_change(node, before, status.configuration);
}

/*
 * Of one server alone; and those that vote from now on are heard by majority, unless all that is done is that a learner
 * goes. That takes no vote and gives none, so src/host/README.md asks for no majority there. It happens at a leader
 * whose process slept: it has heard nobody meanwhile, leads as far as it knows, and then hears what its policy says of
 * a learner that was dead before. What it appends is committed by a majority of the same voters, or never.
 */
static void judge_change(struct sim_node *node, const struct before *before, const struct raft_configuration *now)
{
    struct sim *sim = node->sim;
    unsigned voters = 0, heard = 0, voters_before = 0, changed = 0, learners_gone = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        const struct raft_server *was = raft_configuration_find(&before->configuration, &sim->nodes[n].id);
        const struct raft_server *is = raft_configuration_find(now, &sim->nodes[n].id);
        if (was && was->role == RAFT_VOTER) voters_before++;
        if (is && is->role == RAFT_VOTER) voters++;
        if (is && is->role == RAFT_VOTER && (before->heard >> n & 1)) heard++;
        if ((was != NULL) != (is != NULL) || (was && is && was->role != is->role)) changed++;
        if (was && was->role == RAFT_LEARNER && !is) learners_gone++;
    }
    if (voters > voters_before) COVER(sim, policy_promotions);
    if (voters < voters_before) COVER(sim, policy_losses);
    if (changed != 1)
        breach(sim, node, "policy_safe", "changes %u servers at a policy's word", changed);
    bool votes_stay = changed == 1 && learners_gone == 1;
    if (!votes_stay && heard * 2 <= voters)
        breach(sim, node, "policy_safe", "of %u voters that a policy leaves %u are heard", voters, heard);
    if (voters < voters_before && voters < sim->plan.settings.policy_voters_min)
        breach(sim, node, "policy_safe", "a policy leaves %u voters", voters);
    if (!check_stays_voter(now, node)) breach(sim, node, "policy_safe", "a policy takes its leader's vote");
}
