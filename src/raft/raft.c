/*
 * The core's front door: one event in, one handler, then whatever follows from the new state goes
 * out.
 *
 * Where to read on: role.c (who may become what), election.c and vote.c, append.c (followers),
 * send.c and result.c (leaders), commit.c, reads.c, membership.c, handover.c, snapshot.c, transfer.c
 * and install.c, gate.h (what waits for the disk), log.h, timer.c.
 */
#include "raft/core.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>

#define DEPARTED_TIMEOUTS 4 /* election timeouts that a removed server is still spoken to */

typedef enum error_code handler(struct raft *raft, const struct raft_event *event,
                                struct error *error);
static handler on_start, on_persisted, on_persist_refused, on_applied;

static void finish(struct raft *raft);
static void follow_configuration(struct raft *raft);
static void tell_role(struct raft *raft);
static void tell_applied(struct raft *raft);
static void check(const struct raft *raft);

struct raft *raft_new(const char *id, const struct raft_settings *settings)
{
    assert(id_valid(id));
    assert(settings->election_timeout_us > 0 && settings->heartbeat_us > 0);
    assert(settings->append_window > 0);
    struct raft *raft = memory_zero(1, sizeof *raft);
    raft->id = raft_id_of(id);
    raft->settings = *settings;
    raft_log_init(&raft->log);
    raft_gate_init(&raft->gate);
    return raft;
}

void raft_adjust(struct raft *raft, const struct raft_settings *settings)
{
    const struct raft_settings *now = &raft->settings;
    assert(settings->election_timeout_us == now->election_timeout_us);
    assert(settings->heartbeat_us == now->heartbeat_us && settings->append_bytes_max == now->append_bytes_max);
    assert(settings->leases == now->leases && settings->clock_drift_ppm == now->clock_drift_ppm);
    assert(settings->append_window > 0);
    assert(settings->snapshot_chunk_bytes > 0 && settings->snapshot_window > 0);
    raft->settings = *settings;
}

void raft_free(struct raft *raft)
{
    raft_arena_deinit(&raft->arena);
    raft_asking_deinit(&raft->asking);
    raft_reads_deinit(&raft->reads);
    raft_peers_deinit(&raft->peers);
    raft_gate_deinit(&raft->gate);
    raft_snapshots_deinit(&raft->snapshots);
    raft_incoming_deinit(&raft->incoming);
    raft_log_deinit(&raft->log);
    memory_free(raft);
}

enum error_code raft_step(struct raft *raft, const struct raft_event *event,
                          struct raft_effects *effects, struct error *error)
{
    static handler *const handlers[] = {
        [RAFT_EVENT_START] = on_start,
        [RAFT_EVENT_TIMER] = raft_timer,
        [RAFT_EVENT_RECEIVE] = raft_receive,
        [RAFT_EVENT_PROPOSE] = raft_propose,
        [RAFT_EVENT_READ] = raft_read,
        [RAFT_EVENT_PERSISTED] = on_persisted,
        [RAFT_EVENT_PERSIST_REFUSED] = on_persist_refused,
        [RAFT_EVENT_LOG_READ] = raft_log_was_read,
        [RAFT_EVENT_APPLIED] = on_applied,
        [RAFT_EVENT_UNREACHABLE] = raft_unreachable,
        [RAFT_EVENT_CONFIGURE] = raft_configure,
        [RAFT_EVENT_TRANSFER] = raft_hand_over,
        [RAFT_EVENT_SNAPSHOT_TAKEN] = raft_snapshot_taken,
        [RAFT_EVENT_CHUNK_READ] = raft_chunk_was_read,
        [RAFT_EVENT_CHUNK_WRITTEN] = raft_chunk_was_written,
        [RAFT_EVENT_SNAPSHOT_INSTALLED] = raft_snapshot_was_installed,
        [RAFT_EVENT_SNAPSHOT_FAILED] = raft_snapshot_failed,
    };
    assert((size_t)event->type < sizeof handlers / sizeof *handlers);
    assert(raft->started == (event->type != RAFT_EVENT_START));
    assert(event->now_us >= raft->now_us);
    raft->now_us = event->now_us;
    raft_arena_reset(&raft->arena);
    raft_snapshots_sweep(raft);
    enum error_code code = handlers[event->type](raft, event, error);
    if (code != ERROR_CORRUPT && code != ERROR_VERSION) {
        finish(raft); /* else the node stops: nothing more goes out */
    }
    *effects = (struct raft_effects){raft->arena.effects, raft->arena.count};
    return code;
}

/* ---- events of no one topic ---- */

/* A lone voter need not wait: there is nobody whose word it could miss. */
static enum error_code on_start(struct raft *raft, const struct raft_event *event,
                                struct error *error)
{
    const struct raft_durable *durable = event->start.durable;
    enum error_code code = raft_log_load(&raft->log, durable, error);
    if (code) return code;
    raft->started = true;
    raft->incarnation = event->start.incarnation;
    random_init(&raft->random, event->start.seed);
    raft->hard_state = durable->hard_state;
    if (FAULT(DOUBLE_VOTE)) raft->hard_state.vote = (struct raft_id){{0}};
    raft->gate.durable =
        (struct raft_stand){raft->hard_state, raft->log.last_index, raft->log.last_index};
    raft->commit_index = raft->applied_index = raft->told.applied = durable->snapshot.index;
    raft_snapshots_load(raft, &durable->snapshot);
    raft->settled_index = raft->commit_index;
    if (raft->settings.leases) {
        raft->silent_until_us = raft->now_us + raft->settings.election_timeout_us;
    }
    raft_restart_election_timeout(raft);
    follow_configuration(raft);
    if (raft_may_campaign(raft) && raft->peers.count == 0) raft_campaign(raft);
    return ERROR_OK;
}

static enum error_code on_persisted(struct raft *raft, const struct raft_event *event,
                                    struct error *error)
{
    (void)error;
    assert(event->persisted <= raft->gate.sequence);
    bool was_refused = raft->gate.refused;
    if (raft_gate_stalled(raft)) raft->gate.stalled_us = raft->now_us;
    if (!raft_gate_persisted(&raft->gate, event->persisted, raft->now_us)) return ERROR_OK;
    if (was_refused && !raft->gate.refused) raft_restart_election_timeout(raft);
    if (raft->role == RAFT_CANDIDATE && !raft->own_vote && raft_gate_hard_state_durable(raft)) {
        raft->own_vote = true;
        raft_count_votes(raft);
    }
    if (raft->role == RAFT_LEADER) {
        raft_advance_commit(raft);
    } else {
        raft_ack_durable(raft);
    }
    return ERROR_OK;
}

/* A server that cannot write must not lead: it could commit nothing by itself and would hold up
 * those who can. The best of them is told to campaign, so that nobody has to miss it first. */
static enum error_code on_persist_refused(struct raft *raft, const struct raft_event *event,
                                          struct error *error)
{
    (void)error;
    uint64_t retry_us = raft->now_us + raft->settings.disk_retry_us;
    if (!raft_gate_refused(&raft->gate, event->persisted, retry_us)) return ERROR_OK;
    bool leads_on = raft->role == RAFT_LEADER && FAULT(FULL_DISK_LEADS);
    if (raft->role == RAFT_LEADER && !leads_on) raft_abdicate(raft, raft->commit_index);
    if (raft->role != RAFT_FOLLOWER && !leads_on) {
        raft_become_follower(raft, raft->hard_state.term, NULL);
    }
    return ERROR_OK;
}

static enum error_code on_applied(struct raft *raft, const struct raft_event *event,
                                  struct error *error)
{
    (void)error;
    assert(event->applied <= raft->told.applied);
    raft->applied_index = raft_most(raft->applied_index, event->applied);
    return ERROR_OK;
}

/* ---- what follows from the state ---- */

static void finish(struct raft *raft)
{
    /* First, for messages point into the tail. What is applied is durable. */
    raft_log_trim(&raft->log, raft->applied_index, raft->settings.tail_bytes_max);
    raft_follow_membership(raft);
    raft_compact(raft);
    follow_configuration(raft);
    raft_advance_handover(raft);
    tell_role(raft);
    raft_gate_flush(raft);
    raft_replicate(raft);
    tell_applied(raft);
    raft_install(raft);
    raft_arm(raft);
    check(raft);
}

/* A leader tells those who are no longer in the configuration so for a while: by the entry itself,
 * and that it is committed. Then they are quiet. */
static void follow_configuration(struct raft *raft)
{
    bool leads = raft->role == RAFT_LEADER;
    uint64_t now_us = raft->now_us;
    uint64_t changes = raft->log.configuration_changes;
    raft_peers_drop_departed(&raft->peers, leads ? now_us : UINT64_MAX);
    if (raft->peers.configuration_changes == changes) return;
    uint64_t departed_until_us =
        leads ? now_us + DEPARTED_TIMEOUTS * raft->settings.election_timeout_us : 0;
    raft_peers_follow(&raft->peers, raft_effective(raft), &raft->id, raft->log.last_index + 1,
                      departed_until_us);
    raft->peers.configuration_changes = changes;
}

static void tell_role(struct raft *raft)
{
    struct raft_told *told = &raft->told;
    if (told->configuration_changes != raft->log.configuration_changes) {
        told->configuration_changes = raft->log.configuration_changes;
        struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_CONFIGURATION);
        effect->configuration.configuration =
            raft_log_configuration(&raft->log, &effect->configuration.index);
    }
    if (told->role_told && told->role == raft->role && told->term == raft->hard_state.term &&
        raft_id_equal(&told->leader, &raft->leader)) {
        return;
    }
    told->role_told = true;
    told->role = raft->role;
    told->term = raft->hard_state.term;
    told->leader = raft->leader;
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_ROLE);
    effect->role.role = raft->role;
    effect->role.term = raft->hard_state.term;
    effect->role.leader = raft->leader;
}

static void tell_applied(struct raft *raft)
{
    raft_index last = FAULT(APPLY_NOT_DURABLE)
                          ? raft->commit_index
                          : raft_least(raft->commit_index, raft->gate.durable.index);
    if (last <= raft->told.applied) return;
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_APPLY);
    effect->apply.first = raft->told.applied + 1;
    effect->apply.last = last;
    raft->told.applied = last;
}

static void check(const struct raft *raft)
{
    assert(raft->commit_index >= raft->log.base.index);
    assert(raft->commit_index <= raft->log.last_index);
    assert(raft->gate.durable.index <= raft->log.last_index);
    assert(raft->told.applied <= raft->commit_index);
    assert(GUARD(APPLY_NOT_DURABLE, raft->told.applied <= raft->gate.durable.index));
    assert(raft->applied_index <= raft->told.applied);
    assert((raft->role == RAFT_LEADER) == raft_is_self(raft, &raft->leader));
    if (raft->role != RAFT_LEADER) return;
    assert(raft->asking.identity == 0);
    assert(GUARD(UNGATED_VOTE_REQUEST, raft_gate_hard_state_durable(raft)));
    assert(GUARD(FULL_DISK_LEADS, !raft->gate.refused));
    for (size_t i = 0; i < raft->peers.count; i++) {
        assert(raft->peers.peers[i].match < raft->peers.peers[i].next);
        assert(raft->peers.peers[i].match <= raft->log.last_index);
    }
}
