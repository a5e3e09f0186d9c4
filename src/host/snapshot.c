/*
 * Snapshots: when one is taken, how it is written beside everything else, and the work on files that
 * the core asks for. What they hold and the way back: restore.c.
 *
 * A snapshot is due when the log behind the last one is long, against a floor and against that
 * snapshot's own size: so what is written for snapshots stays in proportion to what is written for
 * the log, however large the state. Its bytes are those of one moment, made a slice a turn, while
 * entries go on being applied; no more of them is under way to the disk than it can take.
 */
#include "host/internal.h"

#include "base/mp.h"
#include "raft/entry.h"

#include <assert.h>
#include <inttypes.h>

#define SLICE_WORK  32768 /* of one turn: about 0.2 ms */
#define PIECE_BYTES 65536 /* of one write */
#define AHEAD       4     /* writes under way */

static bool may_take(const struct host *host);
static void answer_all(struct host *host);
static void answer_snapshot(struct host *host, struct waiter *waiter);
static bool is_due(const struct host *host);
static raft_index keep_from(const struct host *host);
static void begin(struct host *host);
static void write_system(struct host *host);
static bool write_slice(struct host *host);
static bool step_part(struct host *host);
static void give_piece(struct host *host);
static void finish(struct host *host);
static void end_parts(struct host *host);
static void own_reported(struct host *host, const struct host_snapshot_report *report);
static void taken(struct host *host, uint64_t size);
static void refused(struct host *host, enum error_code code);
static void chunk_reported(struct host *host, const struct host_snapshot_report *report,
                           enum raft_event_type type);
static void install_reported(struct host *host, const struct host_snapshot_report *report);
static void tell_asked(struct host *host, enum error_code code);
static void job(struct host *host, struct host_snapshot_job *job);

/* ---- one of one's own ---- */

/* A slice a turn. true: there is more to write at once. */
bool snapshot_turn(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    if (!host_runs(host) || host->stop.stage != STOP_NONE) {
        snapshot_abandon(host);
        return false;
    }
    if (deploying(host)) return false; /* it goes on when the state is whole again */
    if (snapshots->stage == SNAPSHOT_NONE && may_take(host)) {
        if (host->apply.applied <= snapshots->index)
            answer_all(host);
        else if (is_due(host))
            begin(host);
    }
    return snapshots->stage == SNAPSHOT_WRITING && snapshots->given < AHEAD && write_slice(host);
}

static bool may_take(const struct host *host)
{
    return host->snapshots.installing == 0 && !restoring(host) && host->system.initialised &&
           !restore_is_staged(host);
}

/* There is nothing newer to keep. */
static void answer_all(struct host *host)
{
    struct waiter_list *asked = &host->waiters.lists[WAITER_SNAPSHOT];
    while (asked->first != NULL) answer_snapshot(host, asked->first);
}

static bool is_due(const struct host *host)
{
    const struct snapshots *snapshots = &host->snapshots;
    if (host->waiters.lists[WAITER_SNAPSHOT].count > 0) return true;
    if (host->now_us < snapshots->again_us) return false;
    if (snapshots->long_deploy > snapshots->index) return true;
    uint64_t least = host->settings.snapshot_log_bytes;
    if (least < snapshots->size) least = snapshots->size;
    return snapshots->log_bytes >= least;
}

/* A mark about every 32nd of what may be kept: enough to know where that begins. */
void snapshot_note(struct host *host, const struct raft_entry *entry)
{
    struct snapshots *snapshots = &host->snapshots;
    size_t size = raft_entry_size(entry);
    const struct trail_mark *newest =
        &snapshots->trail[(snapshots->trail_at + TRAIL_MARKS - 1) % TRAIL_MARKS];
    snapshots->log_bytes += size;
    snapshots->bytes += size;
    if (snapshots->bytes - newest->bytes <= host->settings.trailing_bytes / TRAIL_MARKS) return;
    snapshots->trail[snapshots->trail_at] = (struct trail_mark){entry->index, snapshots->bytes};
    snapshots->trail_at = (snapshots->trail_at + 1) % TRAIL_MARKS;
}

/* The entries from here on have about trailing_bytes; 0: all there are have no more. */
static raft_index keep_from(const struct host *host)
{
    const struct snapshots *snapshots = &host->snapshots;
    raft_index from = 0;
    for (size_t i = 0; i < TRAIL_MARKS; i++) {
        const struct trail_mark *mark = &snapshots->trail[i];
        bool past = mark->index > 0 && snapshots->bytes - mark->bytes >= host->settings.trailing_bytes;
        if (past && mark->index + 1 > from) from = mark->index + 1;
    }
    return from;
}

static void begin(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    struct apply *apply = &host->apply;
    raft_snapshot_prepare(host->raft, apply->applied, &snapshots->meta, &snapshots->configuration);
    assert(snapshots->meta.chain == 0 || snapshots->meta.chain == apply->log_chain);
    snapshots->meta.chain = apply->log_chain;
    snapshots->meta.format_level = FORMAT_LEVEL;
    snapshots->stage = SNAPSHOT_WRITING;
    snapshots->token = ++host->apply.tokens | APPLY_TOKEN;
    snapshots->given = 0;
    snapshots->begun_bytes = snapshots->log_bytes;
    snapshots->begun_app = host->system.app_hash;
    snapshots->begun_ms = host->system.clock_ms;
    for (struct waiter *waiter = host->waiters.lists[WAITER_SNAPSHOT].first; waiter != NULL;
         waiter = waiter->next)
        waiter->number = snapshots->meta.index;
    buffer_clear(&snapshots->piece);
    write_system(host);
    snapshots->meta.state_hash =
        apply->app_loaded ? host->machine.snapshot_begin(host->machine.context) : 0;
    snapshots->machine_open = apply->app_loaded;
    job(host, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_BEGIN,
                                          .token = snapshots->token,
                                          .meta = snapshots->meta});
}

/* The system tree at once: it is the app's files and little else. It has the hash of the sessions. */
static void write_system(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    snapshots->sessions = sessions_snapshot(&host->system.sessions);
    snapshots->meta.system_hash =
        system_seal(&host->system, state_snapshot_hash(snapshots->sessions));
    state_encode(state_root(host->system.tree), &snapshots->piece);
}

/* true: more at once. */
static bool write_slice(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    bool more = step_part(host);
    if (snapshots->piece.size >= PIECE_BYTES || !more) give_piece(host);
    if (!more) finish(host);
    return more && snapshots->given < AHEAD;
}

/* The sessions, then the machine's state. */
static bool step_part(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    if (snapshots->sessions != NULL) {
        bool more = state_snapshot_step(snapshots->sessions, SLICE_WORK, &snapshots->piece);
        if (more) return true;
        state_snapshot_end(snapshots->sessions);
        snapshots->sessions = NULL;
        return snapshots->machine_open;
    }
    return host->machine.snapshot_step(host->machine.context, SLICE_WORK, &snapshots->piece);
}

static void give_piece(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    if (snapshots->piece.size == 0) return;
    struct blob *blob = blob_new(snapshots->piece.data, snapshots->piece.size);
    buffer_clear(&snapshots->piece);
    snapshots->given++;
    struct host_snapshot_job write = {.kind = HOST_SNAPSHOT_WRITE, .token = snapshots->token};
    write.bytes = (struct raft_payload){blob, slice_of(blob->data, blob->size)};
    job(host, &write);
    blob_drop(blob);
}

static void finish(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    end_parts(host);
    snapshots->stage = SNAPSHOT_FINISHING;
    job(host, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_FINISH,
                                          .token = snapshots->token,
                                          .meta = snapshots->meta});
}

static void end_parts(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    if (snapshots->sessions != NULL) state_snapshot_end(snapshots->sessions);
    snapshots->sessions = NULL;
    if (snapshots->machine_open) host->machine.snapshot_end(host->machine.context);
    snapshots->machine_open = false;
}

/* One that is complete but for its last sync is finished by the disk: it does no harm. */
void snapshot_abandon(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    if (snapshots->stage == SNAPSHOT_NONE) return;
    end_parts(host);
    if (snapshots->stage == SNAPSHOT_WRITING)
        job(host, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_ABORT});
    snapshots->stage = SNAPSHOT_NONE;
    snapshots->token = 0;
}

void snapshot_deinit(struct host *host)
{
    struct snapshots *snapshots = &host->snapshots;
    if (snapshots->sessions != NULL) state_snapshot_end(snapshots->sessions);
    buffer_deinit(&snapshots->piece);
    buffer_deinit(&snapshots->configuration);
    buffer_deinit(&snapshots->newest);
    buffer_deinit(&snapshots->incoming_configuration);
    restore_deinit(host);
}

/* ---- what the disk reports ---- */

void host_snapshot_reported(struct host *host, const struct host_snapshot_report *report)
{
    bool refusal = report->code == ERROR_DISK_FULL || report->code == ERROR_UNAVAILABLE;
    if (report->code != ERROR_OK && !refusal) {
        host_fatal(host, report->error);
        return;
    }
    switch (report->kind) {
    case HOST_SNAPSHOT_BEGIN:
    case HOST_SNAPSHOT_WRITE:
    case HOST_SNAPSHOT_FINISH:
        own_reported(host, report);
        break;
    case HOST_SNAPSHOT_READ:
        if (report->token & APPLY_TOKEN)
            restore_read(host, report);
        else
            chunk_reported(host, report, RAFT_EVENT_CHUNK_READ);
        break;
    case HOST_SNAPSHOT_RECEIVE:
        chunk_reported(host, report,
                       refusal ? RAFT_EVENT_SNAPSHOT_FAILED : RAFT_EVENT_CHUNK_WRITTEN);
        break;
    case HOST_SNAPSHOT_INSTALL:
        install_reported(host, report);
        break;
    case HOST_SNAPSHOT_ABORT:
    case HOST_SNAPSHOT_COMPACT:
        break; /* not reported */
    }
}

/* Of one that was given up meanwhile: no news. */
static void own_reported(struct host *host, const struct host_snapshot_report *report)
{
    struct snapshots *snapshots = &host->snapshots;
    if (snapshots->stage == SNAPSHOT_NONE || report->token != snapshots->token) return;
    if (report->code != ERROR_OK) {
        refused(host, report->code);
    } else if (report->kind == HOST_SNAPSHOT_WRITE) {
        snapshots->given--;
    } else if (report->kind == HOST_SNAPSHOT_FINISH) {
        taken(host, report->offset);
    }
}

static void taken(struct host *host, uint64_t size)
{
    struct snapshots *snapshots = &host->snapshots;
    snapshots->stage = SNAPSHOT_NONE;
    snapshots->meta.size = size;
    snapshots->index = snapshots->meta.index;
    snapshots->size = size;
    snapshots->log_bytes -= snapshots->begun_bytes;
    snapshots->taken++;
    snapshots->newest_app = snapshots->begun_app;
    snapshots->newest_ms = snapshots->begun_ms;
    backup_noted(host, &snapshots->meta);
    host_log(host, LOG_LEVEL_INFO, "has a snapshot at index %" PRIu64 ", %" PRIu64 " bytes",
             snapshots->index, size);
    watch_snapshot(host, EVENT_SNAPSHOT_TAKEN, snapshots->index, size);
    tell_asked(host, ERROR_OK);
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_TAKEN,
                               .keep_from = keep_from(host),
                               .snapshot = &snapshots->meta};
    host_step(host, &event);
}

static void refused(struct host *host, enum error_code code)
{
    struct snapshots *snapshots = &host->snapshots;
    if (code == ERROR_DISK_FULL)
        host_log(host, LOG_LEVEL_WARN, "no room for a snapshot at index %" PRIu64 ": trying on",
                 snapshots->meta.index);
    snapshot_abandon(host);
    snapshots->again_us = host_now(host) + host->settings.disk_retry_ms * 1000;
    tell_asked(host, code);
}

/* Those for whom this one was taken. */
static void tell_asked(struct host *host, enum error_code code)
{
    static const char busy[] = "too many snapshots are on their way to others: try again later";
    struct snapshots *snapshots = &host->snapshots;
    struct waiter *next;
    for (struct waiter *waiter = host->waiters.lists[WAITER_SNAPSHOT].first; waiter != NULL;
         waiter = next) {
        next = waiter->next;
        if (waiter->number != snapshots->meta.index) continue;
        if (code == ERROR_OK)
            answer_snapshot(host, waiter);
        else
            answer_error(host, waiter, code, code == ERROR_DISK_FULL ? NULL : busy);
    }
}

/* ---- what the core asks for ---- */

void snapshot_read_chunk(struct host *host, const struct raft_effect *effect)
{
    job(host, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_READ,
                                          .token = effect->chunk.token,
                                          .meta = {.index = effect->chunk.snapshot.index},
                                          .offset = effect->chunk.offset,
                                          .max_bytes = effect->chunk.max_bytes});
}

void snapshot_write_chunk(struct host *host, const struct raft_effect *effect)
{
    job(host, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_RECEIVE,
                                          .token = effect->chunk.token,
                                          .meta = effect->chunk.snapshot,
                                          .offset = effect->chunk.offset,
                                          .bytes = effect->chunk.bytes});
}

/* One's own is of no use any more: what it would be is older than what is being installed. */
void snapshot_install(struct host *host, const struct raft_effect *effect)
{
    struct snapshots *snapshots = &host->snapshots;
    snapshot_abandon(host);
    snapshots->installing = effect->chunk.token;
    snapshots->incoming = effect->chunk.snapshot;
    buffer_clear(&snapshots->incoming_configuration);
    buffer_append_slice(&snapshots->incoming_configuration, snapshots->incoming.configuration);
    snapshots->incoming.configuration = buffer_slice(&snapshots->incoming_configuration);
    watch_snapshot(host, EVENT_SNAPSHOT_INSTALLING, snapshots->incoming.index, snapshots->incoming.size);
    job(host, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_INSTALL,
                                          .token = effect->chunk.token,
                                          .meta = snapshots->incoming});
}

void snapshot_compact(struct host *host, const struct raft_effect *effect)
{
    job(host, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_COMPACT,
                                          .meta = {.index = effect->compact.snapshot_from},
                                          .up_to = effect->compact.up_to});
}

static void chunk_reported(struct host *host, const struct host_snapshot_report *report,
                           enum raft_event_type type)
{
    if (!host_runs(host)) return;
    struct raft_event event = {.type = type};
    event.chunk.token = report->token;
    event.chunk.bytes = report->code == ERROR_OK ? report->bytes : (struct raft_payload){0};
    event.chunk.offset = report->offset;
    host_step(host, &event);
}

/* The log is behind it already: what the core gives out from this step on follows the snapshot. */
static void install_reported(struct host *host, const struct host_snapshot_report *report)
{
    struct snapshots *snapshots = &host->snapshots;
    assert(report->token == snapshots->installing);
    snapshots->installing = 0;
    struct raft_event event = {.type = RAFT_EVENT_SNAPSHOT_FAILED};
    if (report->code == ERROR_OK) {
        event.type = RAFT_EVENT_SNAPSHOT_INSTALLED;
        skips_forget(host);
        restore_begin(host, &snapshots->incoming);
        watch_snapshot(host, EVENT_SNAPSHOT_INSTALLED, snapshots->incoming.index, 0);
    }
    event.chunk.token = report->token;
    if (host_runs(host)) host_step(host, &event);
}

/* ---- asked by hand ---- */

/* Of this node, whoever leads. */
void snapshot_ask(struct host *host, struct waiter *waiter)
{
    if (!host->system.initialised && !restoring(host)) {
        answer_error(host, waiter, ERROR_UNAVAILABLE, "this node has nothing to keep yet");
    } else if (restore_is_staged(host)) {
        answer_error(host, waiter, ERROR_UNAVAILABLE,
                     "a backup is being restored: no snapshots and no backups until that is done, or given up with "
                     "`moonclave restore --abort`");
    } else {
        waiter->number = 0;
        waiter_move(&host->waiters, waiter, WAITER_SNAPSHOT);
    }
}

static void answer_snapshot(struct host *host, struct waiter *waiter)
{
    struct buffer *body = &host->scratch;
    if (backup_is_asked(waiter)) {
        backup_answer(host, waiter);
        return;
    }
    buffer_clear(body);
    mp_write_map(body, 2);
    mp_write_text(body, "index");
    mp_write_u64(body, host->snapshots.index);
    mp_write_text(body, "size");
    mp_write_u64(body, host->snapshots.size);
    answer(host, waiter, ERROR_OK, buffer_slice(body));
}

static void job(struct host *host, struct host_snapshot_job *job)
{
    host->ports.snapshot(host->ports.context, job);
}
