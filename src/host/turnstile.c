/*
 * The turnstile: one event into the core, its effects carried out through one table, then the next
 * event. Effects live in the core's arena until the next step, so all of them are dealt with before
 * it.
 */
#include "host/internal.h"

#include "base/mutant.h"
#include <assert.h>
#include <inttypes.h>
#include <string.h>

static void carry_out(struct host *host, const struct raft_effects *effects);
static void on_persist(struct host *host, const struct raft_effect *effect);
static void on_send(struct host *host, const struct raft_effect *effect);
static void on_apply(struct host *host, const struct raft_effect *effect);
static void on_read_log(struct host *host, const struct raft_effect *effect);
static void on_read_ready(struct host *host, const struct raft_effect *effect);
static void on_read_failed(struct host *host, const struct raft_effect *effect);
static void on_role(struct host *host, const struct raft_effect *effect);
static void on_configuration(struct host *host, const struct raft_effect *effect);
static void on_deadline(struct host *host, const struct raft_effect *effect);
static void on_transfer_failed(struct host *host, const struct raft_effect *effect);
static void on_forgot(struct host *host, const struct raft_effect *effect);

static void (*const effect_rows[])(struct host *host, const struct raft_effect *effect) = {
    [RAFT_EFFECT_PERSIST] = on_persist,
    [RAFT_EFFECT_SEND] = on_send,
    [RAFT_EFFECT_APPLY] = on_apply,
    [RAFT_EFFECT_READ_LOG] = on_read_log,
    [RAFT_EFFECT_READ_READY] = on_read_ready,
    [RAFT_EFFECT_READ_FAILED] = on_read_failed,
    [RAFT_EFFECT_ROLE] = on_role,
    [RAFT_EFFECT_CONFIGURATION] = on_configuration,
    [RAFT_EFFECT_DEADLINE] = on_deadline,
    [RAFT_EFFECT_TRANSFER_FAILED] = on_transfer_failed,
    [RAFT_EFFECT_FORGOT] = on_forgot,
    [RAFT_EFFECT_CHUNK_READ] = snapshot_read_chunk,
    [RAFT_EFFECT_CHUNK_WRITE] = snapshot_write_chunk,
    [RAFT_EFFECT_SNAPSHOT_INSTALL] = snapshot_install,
    [RAFT_EFFECT_COMPACT] = snapshot_compact,
};

static struct raft_settings core_settings(const struct host *host)
{
    return (struct raft_settings){
        .election_timeout_us = host->settings.election_timeout_ms * 1000,
        .heartbeat_us = host->settings.heartbeat_ms * 1000,
        .disk_retry_us = host->settings.disk_retry_ms * 1000,
        .append_bytes_max = host->settings.append_bytes_max,
        .append_window = host->settings.append_window,
        .uncommitted_bytes_max = host->settings.uncommitted_bytes_max,
        .tail_bytes_max = host->settings.tail_bytes_max,
        .leases = host->settings.leases != 0,
        .clock_drift_ppm = (uint32_t)host->settings.clock_drift_ppm,
        .snapshot_chunk_bytes = host->settings.snapshot_chunk_bytes,
        .snapshot_window = host->settings.snapshot_window,
        .trailing_entries = host->settings.trailing_entries,
    };
}

void turnstile_adjust(struct host *host)
{
    const struct raft_settings settings = core_settings(host);
    if (host->raft != NULL) raft_adjust(host->raft, &settings);
}

void turnstile_start(struct host *host, const struct raft_durable *durable)
{
    const struct raft_settings settings = core_settings(host);
    host->raft = raft_new(host->identity.id, &settings);
    struct raft_event event = {.type = RAFT_EVENT_START};
    event.start.durable = durable;
    event.start.seed = random_next(&host->random);
    event.start.incarnation = host->identity.incarnation;
    members_remember(host, durable);
    skips_remember(host, durable);
    if (durable->snapshot.index > 0 && !FAULT(RESTORE_SKIPPED)) restore_begin(host, &durable->snapshot);
    host_step(host, &event);
    assert(host->dead || host->member_count > 0); /* the core has told the configuration */
}

enum error_code host_step(struct host *host, struct raft_event *event)
{
    struct raft_effects effects = {0};
    struct error error = {.text = ""};
    assert(host->inside && !host->stepping && host_runs(host));
    host->stepping = true;
    host->counters.steps++;
    event->now_us = host_now(host);
    enum error_code code = raft_step(host->raft, event, &effects, &error);
    if (code == ERROR_CORRUPT || code == ERROR_VERSION) {
        host_fatal(host, &error);
    } else {
        carry_out(host, &effects);
    }
    host->stepping = false;
    return code;
}

static void carry_out(struct host *host, const struct raft_effects *effects)
{
    for (size_t i = 0; i < effects->count && !host->dead; i++) {
        const struct raft_effect *effect = &effects->effects[i];
        assert(effect->type < sizeof effect_rows / sizeof *effect_rows);
        effect_rows[effect->type](host, effect);
    }
}

void turnstile_persisted(struct host *host)
{
    if (host->persist_noted == 0 || !host_runs(host)) return;
    struct raft_event event = {.type = RAFT_EVENT_PERSISTED, .persisted = host->persist_noted};
    host->persist_noted = 0;
    host_step(host, &event);
}

/* ---- one effect each ---- */

static void on_persist(struct host *host, const struct raft_effect *effect)
{
    assert(effect->persist.sequence > host->persist_given);
    host->persist_given = effect->persist.sequence;
    skips_persisted(host, &effect->persist);
    watch_given(host);
    host->ports.persist(host->ports.context, &effect->persist);
}

static void on_send(struct host *host, const struct raft_effect *effect)
{
    if (effect->message.type == RAFT_APPEND) {
        host->counters.append_messages++;
        host->counters.append_entries += effect->message.append.entry_count;
    }
    host->ports.send(host->ports.context, &effect->message);
}

/* Committed and durable here: applied in slices, at the end of turns. */
static void on_apply(struct host *host, const struct raft_effect *effect)
{
    assert(effect->apply.first == host->apply.committed + 1 &&
           effect->apply.last >= effect->apply.first);
    host->apply.committed = effect->apply.last;
    watch_committed(host, effect->apply.last);
}

static void on_read_log(struct host *host, const struct raft_effect *effect)
{
    assert((effect->read_log.token & APPLY_TOKEN) == 0);
    host->ports.log_read(host->ports.context, effect->read_log.token, effect->read_log.first,
                         effect->read_log.last, effect->read_log.max_bytes);
}

static void on_read_ready(struct host *host, const struct raft_effect *effect)
{
    reads_ready(host, effect->read.context, effect->read.index);
}

static void on_read_failed(struct host *host, const struct raft_effect *effect)
{
    reads_failed(host, effect->read.context);
}

static void on_role(struct host *host, const struct raft_effect *effect)
{
    bool was_leader = host->role == RAFT_LEADER;
    bool new_leader =
        !raft_id_equal(&host->leader, &effect->role.leader) || host->term != effect->role.term;
    enum raft_role role_before = host->role;
    raft_term term_before = host->term;
    struct raft_id leader_before = host->leader;
    host->role = effect->role.role;
    host->term = effect->role.term;
    host->leader = effect->role.leader;
    host->route_again = true;
    if (host->role == RAFT_LEADER && !was_leader) {
        host_log(host, LOG_LEVEL_INFO, "leads in term %" PRIu64, host->term);
    } else if (was_leader && host->role != RAFT_LEADER) {
        host_log(host, LOG_LEVEL_INFO, "no longer leads; term %" PRIu64, host->term);
    } else if (host->role == RAFT_FOLLOWER && new_leader && !raft_id_none(&host->leader)) {
        host_log(host, LOG_LEVEL_INFO, "follows %s in term %" PRIu64, host->leader.text,
                 host->term);
    }
    host->ports.role(host->ports.context, host->role, host->term, &host->leader);
    watch_role(host, role_before, term_before, &leader_before);
}

static void on_configuration(struct host *host, const struct raft_effect *effect)
{
    members_set(host, effect->configuration.configuration);
    host->configuration_index = effect->configuration.index;
    members_look_for_self(host);
    watch_configuration(host, effect->configuration.configuration);
}

static void on_deadline(struct host *host, const struct raft_effect *effect)
{
    host->raft_deadline_us = effect->deadline_us;
}

static void on_transfer_failed(struct host *host, const struct raft_effect *effect)
{
    host_log(host, LOG_LEVEL_INFO, "leads on: %s did not take over", effect->target.text);
    host->transfer_failed = true;
    host->route_again = true;
}

static void on_forgot(struct host *host, const struct raft_effect *effect)
{
    host_log(host, LOG_LEVEL_ERROR,
             "%s has lost what it had acknowledged: its log ends at %" PRIu64 ", and it had said %" PRIu64
             ". It counts for nothing in term %" PRIu64 "; remove it, and let it join again with an empty folder",
             effect->forgot.peer.text, effect->forgot.last, effect->forgot.acknowledged, host->term);
}
