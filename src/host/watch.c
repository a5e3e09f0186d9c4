/*
 * What a node watches of itself and of those it leads: its disk, how long applying takes, who is silent. What
 * it sees it says as events (base/event.h), and in one case it acts: a leader whose disk does not answer hands
 * leadership over.
 *
 * The disk is watched from here, not from its thread: a write is given out, and until something comes back the
 * clock runs. So whatever holds the disk up counts, and a write that never ends is seen while it does not. The
 * measure is the time in which the disk, having been asked, has completed nothing: a disk with a long queue
 * that moves is not stalled.
 *
 * A slow disk and slow applying are told in episodes, so that a thousand slow writes are two events.
 */
#include "host/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "base/mutant.h"

#include <inttypes.h>

#define QUICK_AGAIN_US   UINT64_C(10000000) /* without anything slow: the episode is over */
#define SILENT_TIMEOUTS  2                  /* election timeouts: a server is lost */
#define HANDOVER_FAILED_TIMEOUTS 4          /* election timeouts until a stalled leader tries again */

static void watch_disk(struct host *host);
static void hand_over(struct host *host);
static void slow(struct host *host, struct episode *episode, enum event_type type, uint64_t took_us,
                 raft_index index);
static void end_episode(struct host *host, struct episode *episode, enum event_type type);
static void tell_episode(struct host *host, const struct episode *episode, enum event_type type);
static void watch_peers(struct host *host);
static struct silence *silence_of(const struct watch *watch, const struct raft_id *id);
static void tell_silence(struct host *host, enum event_type type, const struct raft_id *id,
                         uint64_t silent_us);
static void tell_role(struct host *host, enum event_type type);
static struct buffer *begin(struct host *host, uint32_t pairs);
static void pair(struct buffer *out, const char *key, uint64_t value);

/* ---- at the end of a turn ---- */

void watch_turn(struct host *host)
{
    struct watch *watch = &host->watch;
    if (host->dead) return;
    watch_disk(host);
    hand_over(host);
    end_episode(host, &watch->disk, EVENT_SLOW_DISK);
    end_episode(host, &watch->apply, EVENT_SLOW_APPLY);
    watch_peers(host);
    if (host_ready(host) == watch->ready) return;
    watch->ready = host_ready(host);
    struct buffer *data = begin(host, 1);
    mp_write_text(data, "ready");
    mp_write_boolean(data, watch->ready);
    watch_tell(host, EVENT_READY);
}

/* What it looks at between events from outside. */
uint64_t watch_wakes_us(const struct host *host)
{
    const struct watch *watch = &host->watch;
    uint64_t at_us = 0;
    if (watch->disk_since_us != 0 && !watch->disk_counted)
        at_us = watch->disk_since_us + host->settings.slow_disk_ms * 1000;
    const struct episode *episodes[] = {&watch->disk, &watch->apply};
    for (size_t i = 0; i < sizeof episodes / sizeof *episodes; i++) {
        uint64_t over_us = episodes[i]->on ? episodes[i]->last_us + QUICK_AGAIN_US : 0;
        if (over_us > host->now_us && (at_us == 0 || over_us < at_us)) at_us = over_us;
    }
    return at_us;
}

void watch_deinit(struct host *host)
{
    memory_free(host->watch.silences);
    buffer_deinit(&host->watch.data);
}

/* ---- the disk ---- */

void watch_given(struct host *host)
{
    if (host->watch.disk_since_us == 0) host->watch.disk_since_us = host->now_us;
}

/* Reported or refused: the disk is alive. */
void watch_completed(struct host *host)
{
    struct watch *watch = &host->watch;
    uint64_t now_us = host_now(host), took_us = now_us - watch->disk_since_us;
    bool outstanding = host->persist_done < host->persist_given;
    if (!watch->disk_counted) {
        slow(host, &watch->disk, EVENT_SLOW_DISK, took_us, 0);
    } else if (took_us > watch->disk.longest_us) {
        watch->disk.longest_us = took_us;
    }
    if (watch->disk_counted) watch->disk.last_us = now_us;
    watch->disk_counted = false;
    watch->disk_since_us = outstanding ? now_us : 0;
}

uint64_t watch_disk_waits_us(const struct host *host)
{
    uint64_t since_us = host->watch.disk_since_us;
    return since_us != 0 ? host->now_us - since_us : 0;
}

/* One that is still under way is said to be slow while it is. */
static void watch_disk(struct host *host)
{
    struct watch *watch = &host->watch;
    uint64_t waits_us = watch_disk_waits_us(host);
    if (waits_us < host->settings.slow_disk_ms * 1000 || watch->disk_counted) return;
    slow(host, &watch->disk, EVENT_SLOW_DISK, waits_us, 0);
    watch->disk_counted = watch->disk_since_us != 0;
}

/*
 * A leader that cannot write acknowledges only what the others hold without it, and answers nobody, for it applies what
 * is durable here. Its heartbeats would keep the others from doing better. So it gives leadership to one that has
 * everything; where nobody can take it, it leads on and tries again.
 */
static void hand_over(struct host *host)
{
    struct watch *watch = &host->watch;
    uint64_t timeout_us = host->settings.election_timeout_ms * 1000;
    if (host->role != RAFT_LEADER || host->stop.stage != STOP_NONE) return;
    if (watch_disk_waits_us(host) < timeout_us || host->now_us < watch->hand_over_us) return;
    if (FAULT(STALLED_DISK_LEADS)) return;
    watch->hand_over_us = retry_at(host);
    enum error_code code = host_step(host, &(struct raft_event){.type = RAFT_EVENT_TRANSFER});
    if (code != ERROR_OK) return; /* nobody is fit, or it is under way */
    watch->hand_over_us = host->now_us + HANDOVER_FAILED_TIMEOUTS * timeout_us;
    host->counters.handovers++;
    host_log(host, LOG_LEVEL_WARN, "its disk has not answered for %" PRIu64 " ms: hands leadership over",
             watch_disk_waits_us(host) / 1000);
    struct buffer *data = begin(host, 1);
    mp_write_text(data, "reason");
    mp_write_text(data, "slow_disk");
    watch_tell(host, EVENT_HANDOVER);
}

void watch_room(struct host *host, bool full)
{
    begin(host, 0);
    watch_tell(host, full ? EVENT_DISK_FULL : EVENT_DISK_ROOM);
}

/* ---- applying ---- */

void watch_applied(struct host *host, raft_index index, uint64_t took_us)
{
    histogram_observe(&host->watch.timings.apply, took_us);
    slow(host, &host->watch.apply, EVENT_SLOW_APPLY, took_us, index);
}

/* ---- episodes ---- */

static uint64_t limit_us(const struct host *host, enum event_type type)
{
    return 1000 * (type == EVENT_SLOW_DISK ? host->settings.slow_disk_ms : host->settings.slow_apply_ms);
}

static void slow(struct host *host, struct episode *episode, enum event_type type, uint64_t took_us,
                 raft_index index)
{
    if (took_us < limit_us(host, type)) return;
    bool begins = !episode->on;
    if (begins) *episode = (struct episode){.on = true};
    episode->count++;
    episode->last_us = host->now_us;
    if (took_us >= episode->longest_us) {
        episode->longest_us = took_us;
        episode->index = index;
    }
    if (type == EVENT_SLOW_DISK)
        host->counters.slow_writes++;
    else
        host->counters.slow_applies++;
    if (!begins) return;
    host_log(host, LOG_LEVEL_WARN, "%s: %" PRIu64 " ms (the limit is %s)",
             type == EVENT_SLOW_DISK ? "the disk is slow" : "applying is slow", took_us / 1000,
             type == EVENT_SLOW_DISK ? "slow_disk_ms" : "slow_apply_ms");
    tell_episode(host, episode, type);
}

static void end_episode(struct host *host, struct episode *episode, enum event_type type)
{
    bool waits = type == EVENT_SLOW_DISK && host->watch.disk_counted;
    if (!episode->on || waits || host->now_us < episode->last_us + QUICK_AGAIN_US) return;
    episode->on = false;
    host_log(host, LOG_LEVEL_INFO, "%s: it was slow %" PRIu64 " times, %" PRIu64 " ms at most",
             type == EVENT_SLOW_DISK ? "the disk is quick again" : "applying is quick again",
             episode->count, episode->longest_us / 1000);
    tell_episode(host, episode, type);
}

static void tell_episode(struct host *host, const struct episode *episode, enum event_type type)
{
    bool applies = type == EVENT_SLOW_APPLY;
    struct buffer *data = begin(host, applies ? 4 : 3);
    pair(data, "count", episode->count);
    if (applies) pair(data, "index", episode->index);
    pair(data, "longest_ms", episode->longest_us / 1000);
    mp_write_text(data, "slow");
    mp_write_boolean(data, episode->on);
    watch_tell(host, type);
}

/* ---- those it leads ---- */

/* Looked at a few times in an election timeout: a leader's turns come with its heartbeats. */
static void watch_peers(struct host *host)
{
    struct watch *watch = &host->watch;
    uint64_t timeout_us = host->settings.election_timeout_ms * 1000;
    if (host->role != RAFT_LEADER || !host_runs(host)) {
        watch->silence_count = 0;
        return;
    }
    if (host->now_us < watch->look_us) return;
    watch->look_us = host->now_us + timeout_us / 4;
    raft_status(host->raft, &host->status);
    size_t count = host->status.peer_count, kept = 0;
    struct silence *silences = memory_zero(count + 1, sizeof *silences);
    for (size_t i = 0; i < count; i++) {
        const struct raft_peer_status *peer = &host->status.peers[i];
        if (peer->standing == RAFT_STANDING_DEPARTED) continue;
        const struct silence *before = silence_of(watch, &peer->id);
        struct silence *now = &silences[kept++];
        *now = before != NULL ? *before : (struct silence){.id = peer->id, .heard_us = host->now_us};
        uint64_t silent_us = host->now_us - now->heard_us;
        bool heard = peer->contact_us > now->heard_us;
        if (heard && now->lost) tell_silence(host, EVENT_PEER_HEARD, &peer->id, peer->contact_us - now->heard_us);
        if (heard) *now = (struct silence){.id = peer->id, .heard_us = peer->contact_us};
        if (heard || now->lost || silent_us < SILENT_TIMEOUTS * timeout_us) continue;
        now->lost = true;
        tell_silence(host, EVENT_PEER_SILENT, &peer->id, silent_us);
    }
    memory_free(watch->silences);
    watch->silences = silences;
    watch->silence_count = kept;
}

static struct silence *silence_of(const struct watch *watch, const struct raft_id *id)
{
    for (size_t i = 0; i < watch->silence_count; i++) {
        if (raft_id_equal(&watch->silences[i].id, id)) return &watch->silences[i];
    }
    return NULL;
}

static void tell_silence(struct host *host, enum event_type type, const struct raft_id *id,
                         uint64_t silent_us)
{
    bool lost = type == EVENT_PEER_SILENT;
    host_log(host, lost ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "%s %s after %" PRIu64 " ms of silence",
             lost ? "has lost" : "hears again from", id->text, silent_us / 1000);
    struct buffer *data = begin(host, 2);
    mp_write_text(data, "id");
    mp_write_text(data, id->text);
    pair(data, "silent_ms", silent_us / 1000);
    watch_tell(host, type);
}

/* ---- what the core tells ---- */

/* Within effects: the host has the new values already. */
void watch_role(struct host *host, enum raft_role before, raft_term term_before,
                const struct raft_id *leader_before)
{
    struct watch *watch = &host->watch;
    if (before != host->role) { /* all of it is a leader's, and of one reign */
        watch->look_us = watch->hand_over_us = 0;
        watch->mark_count = 0;
    }
    bool none = raft_id_none(&host->leader);
    if (!none) watch->leaderless_us = 0;
    if (none && watch->leaderless_us == 0) watch->leaderless_us = host->now_us;
    if (before != host->role) tell_role(host, EVENT_ROLE);
    if (term_before != host->term) tell_role(host, EVENT_TERM);
    if (!raft_id_equal(leader_before, &host->leader)) tell_role(host, EVENT_LEADER);
}

static void tell_role(struct host *host, enum event_type type)
{
    struct buffer *data = begin(host, 3);
    mp_write_text(data, "leader");
    mp_write_text(data, host->leader.text);
    mp_write_text(data, "role");
    mp_write_text(data, raft_role_name(host->role));
    pair(data, "term", host->term);
    watch_tell(host, type);
}

void watch_configuration(struct host *host, const struct raft_configuration *configuration)
{
    static const struct { const char *key; bool votes; } rows[] = {{"learners", false}, {"voters", true}};
    struct buffer *data = begin(host, 3);
    pair(data, "index", host->configuration_index);
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        uint32_t count = 0;
        for (size_t i = 0; i < configuration->server_count; i++)
            count += (configuration->servers[i].role == RAFT_VOTER) == rows[row].votes;
        mp_write_text(data, rows[row].key);
        mp_write_array(data, count);
        for (size_t i = 0; i < configuration->server_count; i++) {
            const struct raft_server *server = &configuration->servers[i];
            if ((server->role == RAFT_VOTER) == rows[row].votes) mp_write_text(data, server->id.text);
        }
    }
    watch_tell(host, EVENT_CONFIGURATION);
}

void watch_snapshot(struct host *host, enum event_type type, raft_index index, uint64_t size)
{
    struct buffer *data = begin(host, size > 0 ? 2 : 1);
    pair(data, "index", index);
    if (size > 0) pair(data, "size", size);
    watch_tell(host, type);
}

void watch_stopping(struct host *host)
{
    begin(host, 0);
    watch_tell(host, EVENT_STOPPING);
}

/* ---- how long it takes ---- */

const struct host_timings *host_timings(const struct host *host)
{
    return &host->watch.timings;
}

/* For people and `status`: of the last seconds; null where nothing was committed that was proposed here. */
void watch_write_commits(const struct host *host, struct buffer *out)
{
    struct histogram recent = histogram_recent_read(&host->watch.commits, host->ports.now_us(host->ports.context));
    uint64_t count = histogram_count(&recent);
    if (count == 0) {
        mp_write_nil(out);
        return;
    }
    mp_write_map(out, 3);
    pair(out, "count", count);
    pair(out, "p50_us", histogram_guess_us(&recent, 500));
    pair(out, "p99_us", histogram_guess_us(&recent, 990));
}

struct host_load host_load(const struct host *host)
{
    const struct watch *watch = &host->watch;
    const struct sessions *sessions = &host->system.sessions;
    uint64_t now_us = host->ports.now_us(host->ports.context);
    uint64_t disk_us = watch->disk_since_us, none_us = watch->leaderless_us;
    return (struct host_load){
        .waiting = host->waiters.count,
        .waiting_bytes = host->waiters.bytes,
        .apply_pending = host->apply.committed - host->apply.applied,
        .sessions = sessions->count,
        .session_bytes = sessions->bytes,
        .keys = sessions->ring_count,
        .key_bytes = sessions->key_bytes,
        .snapshot_bytes = host->snapshots.size,
        .log_bytes = host->snapshots.log_bytes,
        .snapshot_taking = host->snapshots.stage != SNAPSHOT_NONE,
        .restoring = restoring(host),
        .disk_waits_us = disk_us != 0 && now_us > disk_us ? now_us - disk_us : 0,
        .leaderless_us = none_us != 0 && now_us > none_us ? now_us - none_us : 0,
        .clock_ms = host->system.clock_ms,
        .disk_slow = watch->disk.on,
        .apply_slow = watch->apply.on,
    };
}

/* One mark for a batch, as many as there is room for. */
void watch_proposed(struct host *host, raft_index last)
{
    struct watch *watch = &host->watch;
    if (watch->mark_count == COMMIT_MARKS) return;
    size_t at = (watch->mark_first + watch->mark_count++) % COMMIT_MARKS;
    watch->marks[at] = (struct commit_mark){last, host->now_us};
}

void watch_committed(struct host *host, raft_index last)
{
    struct watch *watch = &host->watch;
    while (watch->mark_count > 0 && watch->marks[watch->mark_first].index <= last) {
        uint64_t took_us = host->now_us - watch->marks[watch->mark_first].proposed_us;
        histogram_observe(&watch->timings.commit, took_us);
        histogram_recent_observe(&watch->commits, host->now_us, took_us);
        watch->mark_first = (watch->mark_first + 1) % COMMIT_MARKS;
        watch->mark_count--;
    }
}

/* ---- saying it ---- */

/* The data that `begin` has begun. An event may come within effects: the port only notes it. */
void watch_tell(struct host *host, enum event_type type)
{
    if (host->ports.event == NULL) return;
    host->ports.event(host->ports.context, type, buffer_slice(&host->watch.data));
}

static struct buffer *begin(struct host *host, uint32_t pairs)
{
    struct buffer *data = &host->watch.data;
    buffer_clear(data);
    mp_write_map(data, pairs);
    return data;
}

static void pair(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}
