/*
 * The moments of a run, as moment.h lists them: told by those who make them happen, or found by looking.
 */
#include "sim/record.h"

#include "sim/internal.h"

#include <stdio.h>
#include <string.h>

static void tell(struct sim *sim, struct sim_moment *moment);
static bool recording(const struct sim *sim);
static void look_at_phase(struct sim *sim);
static void look_at_cuts(struct sim *sim);
static void look_at_ailments(struct sim_node *node);
static void look_at_stop(struct sim_node *node);
static void read_state(const struct sim_node *node, struct sim_node_state *state);
static unsigned number_of(struct sim *sim, const struct raft_id *id);
static uint64_t heal_due(const struct sim *sim);

const char *sim_moment_name(enum sim_moment_kind kind)
{
    static const char *const names[MOMENT_KINDS] = {
#define X(name) #name,
        SIM_MOMENT_TABLE(X)
#undef X
    };
    return names[kind];
}

/* ---- what can be seen ---- */

void record_look(struct sim *sim)
{
    if (!recording(sim)) return;
    look_at_phase(sim);
    look_at_cuts(sim);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        look_at_ailments(&sim->nodes[n]);
        record_state(&sim->nodes[n]);
    }
    sim->recorder.begun = true;
}

void record_state(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (!recording(sim)) return;
    struct sim_node_state *before = &sim->recorder.nodes[node->number], state;
    read_state(node, &state);
    if (memcmp(before, &state, sizeof state) == 0) return;
    tell(sim, &(struct sim_moment){.kind = MOMENT_state,
                                   .node = node->number,
                                   .peer = SIM_NOBODY,
                                   .state = &state,
                                   .before = before});
    *before = state;
}

static void look_at_phase(struct sim *sim)
{
    static const char *const names[] = {
        [PHASE_SAFETY] = "safety",           [PHASE_MAJORITY] = "healed majority",
        [PHASE_CONVERGENCE] = "convergence", [PHASE_CALM] = "calm",
        [PHASE_OVER] = "over",
    };
    struct sim_recorder *recorder = &sim->recorder;
    if (recorder->begun && recorder->phase == sim->phase) return;
    recorder->phase = sim->phase;
    uint64_t healthy = 0;
    for (unsigned n = 0; n < sim->plan.nodes; n++) healthy |= (uint64_t)sim->network.calm[n] << n;
    tell(sim, &(struct sim_moment){.kind = MOMENT_phase,
                                   .node = SIM_NOBODY,
                                   .peer = SIM_NOBODY,
                                   .values = {healthy},
                                   .text = names[sim->phase]});
}

static void look_at_cuts(struct sim *sim)
{
    struct sim_recorder *recorder = &sim->recorder;
    if (memcmp(recorder->cut, sim->network.blocked, sizeof recorder->cut) == 0) return;
    memcpy(recorder->cut, sim->network.blocked, sizeof recorder->cut);
    tell(sim, &(struct sim_moment){.kind = MOMENT_cut,
                                   .node = SIM_NOBODY,
                                   .peer = SIM_NOBODY,
                                   .until_us = heal_due(sim),
                                   .cut = (const bool(*)[SIM_NODES_MAX])recorder->cut});
}

static void look_at_ailments(struct sim_node *node)
{
    static const struct {
        const char *text;
        bool ends, lasts; /* its number is a time; it does not just happen */
    } rows[AILMENTS] = {
        [AILS_PAUSED] = {"paused", true, true},
        [AILS_FULL] = {"disk full", true, true},
        [AILS_SLOW] = {"disk slow", true, true},
        [AILS_BROKEN] = {"disk fails next", false, true},
        [AILS_DOOMED] = {"crash due", false, true},
        [AILS_WIPED] = {"disk wiped", false, true},
        [AILS_CLOCK] = {"wall clock jumped", false, false},
    };
    struct sim *sim = node->sim;
    uint64_t now = sim->world.now_us, *seen = sim->recorder.ailments[node->number];
    const uint64_t is[AILMENTS] = {
        [AILS_PAUSED] = node->paused_until_us,    [AILS_FULL] = node->disk.full_until_us,
        [AILS_SLOW] = node->disk.slow_until_us,   [AILS_BROKEN] = node->disk.fail_next,
        [AILS_DOOMED] = node->crash_after > 0,    [AILS_WIPED] = node->wiped,
        [AILS_CLOCK] = (uint64_t)node->wall_offset_ms,
    };
    for (unsigned i = 0; i < AILMENTS; i++) {
        uint64_t value = rows[i].ends && is[i] <= now ? 0 : is[i]; /* over by itself */
        if (value == seen[i]) continue;
        seen[i] = value;
        if (value == 0 && !rows[i].lasts) continue;
        tell(sim, &(struct sim_moment){.kind = value ? MOMENT_ail : MOMENT_well,
                                       .node = node->number,
                                       .peer = SIM_NOBODY,
                                       .until_us = rows[i].ends ? value : 0,
                                       .values = {!rows[i].lasts},
                                       .text = rows[i].text});
    }
    look_at_stop(node);
}

/* Also looked for when it ends: a stop may take no longer than the call that asks for it. */
static void look_at_stop(struct sim_node *node)
{
    bool *seen = &node->sim->recorder.stopping[node->number];
    if (node->stopping && !*seen) {
        tell(node->sim, &(struct sim_moment){
                            .kind = MOMENT_stop, .node = node->number, .peer = SIM_NOBODY, .number = node->lifetime});
    }
    *seen = node->stopping;
}

static void read_state(const struct sim_node *node, struct sim_node_state *state)
{
    memset(state, 0, sizeof *state); /* padding too: states are compared as bytes */
    state->disk_term = node->disk.hard_state.term;
    state->disk_last = node->disk.log.count;
    state->disk_queue = node->disk.count;
    state->up = node_up(node);
    const struct raft *raft = state->up ? host_raft(node->host) : NULL;
    if (!raft) return;
    struct raft_status status;
    raft_status(raft, &status);
    state->role = status.role;
    state->term = status.term;
    state->vote = number_of(node->sim, &status.vote);
    state->leader = number_of(node->sim, &status.leader);
    state->commit = status.commit_index;
    state->last = status.last_index;
    state->durable = status.durable_index;
    state->applied = host_applied(node->host).index;
}

/* ---- what is told ---- */

uint64_t record_message_number(struct sim *sim)
{
    return ++sim->recorder.messages;
}

void record_packet(struct sim *sim, enum sim_moment_kind kind, unsigned from, unsigned to, uint64_t number,
                   const struct raft_message *message, const char *text)
{
    if (!recording(sim)) return;
    tell(sim, &(struct sim_moment){
                  .kind = kind, .node = from, .peer = to, .number = number, .message = message, .text = text});
}

void record_node(struct sim_node *node, enum sim_moment_kind kind, uint64_t number, uint64_t a, uint64_t b,
                 const char *text)
{
    if (!recording(node->sim)) return;
    look_at_stop(node);
    tell(node->sim, &(struct sim_moment){.kind = kind,
                                         .node = node->number,
                                         .peer = SIM_NOBODY,
                                         .number = number,
                                         .values = {a, b},
                                         .text = text});
}

void record_pair(struct sim_node *node, enum sim_moment_kind kind, unsigned peer, const char *text)
{
    if (!recording(node->sim)) return;
    tell(node->sim, &(struct sim_moment){.kind = kind, .node = node->number, .peer = peer, .text = text});
}

void record_persist(struct sim_node *node, const struct raft_persist *persist)
{
    if (!recording(node->sim)) return;
    tell(node->sim, &(struct sim_moment){
                        .kind = MOMENT_persist,
                        .node = node->number,
                        .peer = SIM_NOBODY,
                        .number = persist->sequence,
                        .values = {persist->truncate_from, persist->entry_count, persist->has_hard_state}});
}

void record_role(struct sim_node *node, enum raft_role role, raft_term term, const struct raft_id *leader)
{
    if (!recording(node->sim)) return;
    tell(node->sim, &(struct sim_moment){.kind = MOMENT_role,
                                         .node = node->number,
                                         .peer = number_of(node->sim, leader) - 1, /* 0 - 1 is SIM_NOBODY */
                                         .number = term,
                                         .values = {role}});
}

void record_apply(struct sim_node *node, raft_index index, uint64_t state_hash, struct slice body)
{
    if (!recording(node->sim)) return;
    tell(node->sim, &(struct sim_moment){.kind = MOMENT_apply,
                                         .node = node->number,
                                         .peer = SIM_NOBODY,
                                         .number = index,
                                         .values = {state_hash},
                                         .body = body});
}

void record_request(struct sim_node *node, enum sim_moment_kind kind, uint64_t number, struct slice body,
                    const struct sim_moment_request *request)
{
    if (!recording(node->sim)) return;
    tell(node->sim, &(struct sim_moment){.kind = kind,
                                         .node = node->number,
                                         .peer = SIM_NOBODY,
                                         .number = number,
                                         .body = body,
                                         .request = request});
}

void record_reply(struct sim_node *node, uint64_t number, const struct reply *reply)
{
    if (!recording(node->sim)) return;
    tell(node->sim, &(struct sim_moment){.kind = MOMENT_reply,
                                         .node = node->number,
                                         .peer = SIM_NOBODY,
                                         .number = number,
                                         .text = error_name(reply->code),
                                         .body = reply->body});
}

void record_fault(struct sim *sim, const char *name)
{
    if (!recording(sim)) return;
    tell(sim, &(struct sim_moment){.kind = MOMENT_fault, .node = SIM_NOBODY, .peer = SIM_NOBODY, .text = name});
}

/* Told even when the run is over: what is left at its end can be wrong too. */
void record_violation(struct sim *sim, const struct sim_node *node, const char *invariant, const char *detail)
{
    if (!sim->options.moment) return;
    char text[600];
    snprintf(text, sizeof text, "%s: %s", invariant, detail);
    tell(sim, &(struct sim_moment){.kind = MOMENT_violation,
                                   .node = node ? node->number : SIM_NOBODY,
                                   .peer = SIM_NOBODY,
                                   .text = text});
}

/* ---- helpers ---- */

/* What is torn down at the end is no part of the run. */
static bool recording(const struct sim *sim)
{
    return sim->options.moment && sim->phase != PHASE_OVER;
}

static void tell(struct sim *sim, struct sim_moment *moment)
{
    moment->at_us = sim->world.now_us;
    moment->step = sim->phase == PHASE_OVER ? sim->result->steps : sim_steps(sim);
    sim->options.moment(sim->options.moment_context, moment);
}

static unsigned number_of(struct sim *sim, const struct raft_id *id)
{
    const struct sim_node *node = raft_id_none(id) ? NULL : node_find(sim, id);
    return node ? node->number + 1 : 0;
}

/* When the partition that stands now ends by itself; 0: not known. */
static uint64_t heal_due(const struct sim *sim)
{
    const struct sim_world *world = &sim->world;
    for (size_t i = 0; i < world->count; i++) {
        const struct sim_event *event = &world->heap[i];
        if (event->kind == EVENT_HEAL && event->number == sim->network.partition && sim->phase == PHASE_SAFETY)
            return event->at_us;
    }
    return 0;
}
