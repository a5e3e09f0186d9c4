/*
 * A backup restored into a cluster that runs, through its log, so that all replicas switch at one index.
 * RESTORE entries, each a canonical msgpack array:
 *
 *   ["begin", nonce, cluster, meta]   meta: the backup's (raft/snapshot_meta.h); cluster: whose it was, as a
 *                                     64-bit integer with a sign. The entry's index is the restore's id. The
 *                                     same nonce again is the same restore
 *   ["chunk", id, offset, bytes]      of the data, in order; what is there already does no harm
 *   ["commit", id]                    all is there: from this entry on it is what the cluster holds
 *   ["abort", id]                     given up; id 0: whatever is under way
 *
 * What comes in grows beside the state as trees of its own (the machine has one of them), so it is looked at
 * while it comes, and the commit has little to do. Until then nothing else knows of it: it is in no hash and
 * in no snapshot. Instead snapshots wait: whoever starts again or lags has the entries from "begin" on in its
 * log, or in its leader's. So that they do not wait for ever, a restore of which nothing has come for
 * RESTORE_TIMEOUT_MS of the replicated clock is given up, alike everywhere.
 *
 * The commit replaces the user's state, the app and its config, and the idempotency keys with their replies:
 * a request under a key that was done before the backup is answered as it was, for its effect is in the
 * state. Sessions end, those of the cluster and those of the backup: what either did or did not do before is
 * no answer to what is in the state now, so a command sent again is refused (session_expired) rather than
 * done twice. The log, its index and chain, the members and the replicated settings stay the cluster's own;
 * settings are the backup's where there are none yet, because no app had come. The replicated clock is the
 * later of both.
 */
#include "host/internal.h"

#include "base/mp.h"
#include "raft/snapshot_meta.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define RESTORE_TIMEOUT_MS 120000

enum step { STEP_ABORT, STEP_BEGIN, STEP_CHUNK, STEP_COMMIT, STEPS };
static const char *const step_names[STEPS] = {"abort", "begin", "chunk", "commit"};

struct payload {
    enum step step;
    uint64_t id;        /* BEGIN: the nonce */
    uint64_t number;    /* BEGIN: the cluster; CHUNK: the offset */
    struct slice bytes; /* BEGIN: the meta; CHUNK */
};

static bool read_payload(struct slice bytes, struct payload *payload);
static bool read_number(struct mp_reader *reader, struct payload *payload);
static void write_payload(const struct payload *payload, struct buffer *out);
static enum error_code apply_begin(struct host *host, const struct raft_entry *entry,
                                   const struct payload *payload);
static enum error_code apply_chunk(struct host *host, const struct payload *payload);
static enum error_code apply_commit(struct host *host, const struct raft_entry *entry,
                                    const struct payload *payload);
static enum error_code apply_abort(struct host *host, const struct payload *payload);
static enum error_code feed(struct host *host, struct slice bytes, struct error *error);
static enum error_code end_system(struct host *host, struct error *error);
static void forget_settings(struct state *tree);
static enum error_code end_sessions(struct host *host, struct error *error);
static void take_over(struct host *host, const struct raft_entry *entry, const struct machine_entry *stamps);
static const struct settings *cluster_settings(const struct host *host);
static enum error_code give_up(struct host *host, const struct error *why);
static void answer_number(struct host *host, const char *key, uint64_t number);

bool restore_is_staged(const struct host *host)
{
    return host->staged.id != 0;
}

/* ---- asked of the leader ---- */

/* The action's arguments are what becomes the entry, once they are understood here. */
void restore_propose(struct host *host, struct waiter *waiter, struct slice arguments)
{
    struct payload payload;
    struct raft_snapshot_meta meta;
    struct buffer bytes = {0};
    struct error error;
    enum error_code code = ERROR_OK;
    if (!read_payload(arguments, &payload)) {
        code = error_set(&error, ERROR_BAD_REQUEST,
                         "a restore is asked for as [\"begin\", nonce, cluster, meta], "
                         "[\"chunk\", id, offset, bytes], [\"commit\", id] or [\"abort\", id]");
    } else if (payload.step == STEP_BEGIN) { /* so that nothing is in the log that cannot be applied */
        code = raft_snapshot_meta_decode(payload.bytes, &meta, &error);
        if (code == ERROR_CORRUPT) error.code = code = ERROR_BAD_REQUEST;
    }
    if (code == ERROR_OK) {
        write_payload(&payload, &bytes);
        propose_for(host, waiter, RAFT_RESTORE, buffer_slice(&bytes));
    } else {
        answer_error(host, waiter, code, error.text);
    }
    buffer_deinit(&bytes);
}

static bool read_payload(struct slice bytes, struct payload *payload)
{
    static const uint32_t counts[STEPS] = {2, 4, 4, 2};
    struct mp_reader reader = mp_reader_of(bytes);
    struct slice name = {0};
    uint32_t count = 0;
    *payload = (struct payload){.step = STEPS};
    if (!mp_read_array(&reader, &count) || !mp_read_string(&reader, &name)) return false;
    for (unsigned i = 0; i < STEPS; i++) {
        if (slice_equal(name, slice_text(step_names[i]))) payload->step = (enum step)i;
    }
    if (payload->step == STEPS || count != counts[payload->step] || !mp_read_u64(&reader, &payload->id))
        return false;
    if (count == 4 && (!read_number(&reader, payload) || !mp_read_string(&reader, &payload->bytes))) return false;
    return mp_at_end(&reader);
}

/* A hash is a 64-bit integer with a sign, or an unsigned one from who has those. */
static bool read_number(struct mp_reader *reader, struct payload *payload)
{
    struct mp_item item = {.type = MP_NIL};
    mp_read(reader, &item);
    payload->number = item.unsigned_integer; /* the same bits, with a sign or without */
    if (item.type == MP_UNSIGNED) return payload->step == STEP_BEGIN;
    return item.type == MP_INTEGER && (payload->step == STEP_BEGIN || item.integer >= 0);
}

static void write_payload(const struct payload *payload, struct buffer *out)
{
    bool more = payload->step == STEP_BEGIN || payload->step == STEP_CHUNK;
    mp_write_array(out, more ? 4 : 2);
    mp_write_text(out, step_names[payload->step]);
    mp_write_u64(out, payload->id);
    if (!more) return;
    mp_write_integer(out, (int64_t)payload->number);
    mp_write_string(out, payload->bytes);
}

/* ---- applied, alike on every node ---- */

enum error_code restore_apply(struct host *host, const struct raft_entry *entry)
{
    struct payload payload;
    if (!read_payload(entry->payload.bytes, &payload)) {
        struct error error;
        error_set(&error, ERROR_VERSION,
                  "entry %" PRIu64
                  " restores a backup in a way that this program (moonclave %s) does not know: a newer "
                  "one does",
                  entry->index, MOONCLAVE_VERSION);
        host_fatal(host, &error);
        return ERROR_VERSION;
    }
    switch (payload.step) {
    case STEP_BEGIN:
        return apply_begin(host, entry, &payload);
    case STEP_CHUNK:
        return apply_chunk(host, &payload);
    case STEP_COMMIT:
        return apply_commit(host, entry, &payload);
    case STEP_ABORT:
        return apply_abort(host, &payload);
    case STEPS:
        break;
    }
    return ERROR_INTERNAL;
}

/* Before an entry is applied: the clock has gone on. */
void restore_expire(struct host *host)
{
    struct staged *staged = &host->staged;
    uint64_t now_ms = host->system.clock_ms;
    if (staged->id == 0 || now_ms - staged->active_ms < RESTORE_TIMEOUT_MS) return;
    host_log(host, LOG_LEVEL_WARN,
             "gives up the restore that began at index %" PRIu64 ": nothing has come of it for %d s",
             staged->id, RESTORE_TIMEOUT_MS / 1000);
    restore_drop(host);
}

static enum error_code apply_begin(struct host *host, const struct raft_entry *entry,
                                   const struct payload *payload)
{
    struct staged *staged = &host->staged;
    struct raft_snapshot_meta meta;
    struct error error;
    if (staged->id != 0 && staged->nonce == payload->id) {
        answer_number(host, "id", staged->id);
        return ERROR_OK;
    }
    if (staged->id != 0) {
        return apply_refuse(host, ERROR_CONFLICT,
                            "another restore is under way, begun at index %" PRIu64 ", with %" PRIu64 " of %" PRIu64
                            " bytes: wait until it is done, or give it up with `moonclave restore --abort`",
                            staged->id, staged->offset, staged->size);
    }
    enum error_code code = raft_snapshot_meta_decode(payload->bytes, &meta, &error);
    if (code == ERROR_VERSION) { /* its proposer knew it */
        host_fatal(host, &error);
        return code;
    }
    if (code != ERROR_OK)
        return apply_refuse(host, ERROR_BAD_REQUEST, "the backup's head is damaged: %s", error.text);
    *staged = (struct staged){
        .id = entry->index,
        .nonce = payload->id,
        .active_ms = host->system.clock_ms,
        .cluster = payload->number,
        .index = meta.index,
        .size = meta.size,
        .system_hash = meta.system_hash,
        .state_hash = meta.state_hash,
        .part = STAGED_SYSTEM,
        .tree = state_restore_begin(),
    };
    system_init(&staged->system);
    host_log(host, LOG_LEVEL_INFO,
             "a backup of %" PRIu64 " bytes, of index %" PRIu64 ", is being restored: no snapshots "
             "until that is done",
             meta.size, meta.index);
    answer_number(host, "id", staged->id);
    return ERROR_OK;
}

static enum error_code unknown_restore(struct host *host)
{
    return apply_refuse(host, ERROR_NOT_FOUND,
                        "no such restore is under way: it was given up, or too long nothing has come of "
                        "it. Nothing has changed: begin again");
}

/* One that comes twice, or overlaps, counts for what is new in it. */
static enum error_code apply_chunk(struct host *host, const struct payload *payload)
{
    struct staged *staged = &host->staged;
    struct error error = {0};
    struct slice bytes = payload->bytes;
    if (staged->id == 0 || staged->id != payload->id) return unknown_restore(host);
    staged->active_ms = host->system.clock_ms;
    if (payload->number > staged->offset) {
        return apply_refuse(host, ERROR_CONFLICT, "bytes from %" PRIu64 " on are next, not those from %" PRIu64,
                            staged->offset, payload->number);
    }
    uint64_t had = staged->offset - payload->number;
    bytes = had < bytes.size ? slice_of(bytes.data + had, bytes.size - (size_t)had) : slice_of(NULL, 0);
    enum error_code code = ERROR_OK;
    if (bytes.size > staged->size - staged->offset)
        code = error_set(&error, ERROR_CORRUPT, "there are bytes behind its end");
    if (code == ERROR_OK) code = feed(host, bytes, &error);
    if (code == ERROR_INTERNAL) machine_failed(host, host->apply.applied + 1);
    if (code == ERROR_VERSION) host_fatal(host, &error); /* others may know it */
    if (host->dead) return code;
    if (code != ERROR_OK) return give_up(host, &error);
    staged->offset += bytes.size;
    answer_number(host, "bytes", staged->offset);
    return ERROR_OK;
}

static enum error_code apply_abort(struct host *host, const struct payload *payload)
{
    uint64_t id = host->staged.id;
    if (id == 0 || (payload->id != 0 && payload->id != id)) return unknown_restore(host);
    host_log(host, LOG_LEVEL_INFO, "the restore that began at index %" PRIu64 " is given up", id);
    restore_drop(host);
    answer_number(host, "id", id);
    return ERROR_OK;
}

/* ---- what comes in ---- */

static enum error_code feed(struct host *host, struct slice bytes, struct error *error)
{
    struct staged *staged = &host->staged;
    enum error_code code = ERROR_OK;
    while (code == ERROR_OK && bytes.size > 0) {
        size_t used = 0;
        if (staged->part == STAGED_STATE) {
            code = host->machine.stage_feed(host->machine.context, bytes, &used, error);
            if (code == ERROR_OK && used == 0)
                code = error_set(error, ERROR_CORRUPT, "there are bytes behind its last tree");
        } else {
            code = state_restore_feed(staged->tree, bytes, &used, error);
            if (code == ERROR_OK && state_restore_whole(staged->tree))
                code = staged->part == STAGED_SYSTEM ? end_system(host, error) : end_sessions(host, error);
        }
        bytes = slice_of(bytes.data + used, bytes.size - used);
    }
    return code;
}

static enum error_code end_system(struct host *host, struct error *error)
{
    struct staged *staged = &host->staged;
    enum error_code code =
        state_restore_finish(staged->tree, staged->system_hash, staged->system.tree, error);
    if (code != ERROR_OK) return code;
    if (host->system.initialised) forget_settings(staged->system.tree);
    code = system_restored(&staged->system, &host->settings, &staged->restored, error);
    if (code != ERROR_OK) return code;
    if (staged->restored.app_error.size > 0) {
        return error_set(error, ERROR_SCRIPT, "its app did not load there either: %.*s",
                         (int)staged->restored.app_error.size, (const char *)staged->restored.app_error.data);
    }
    state_restore_free(staged->tree);
    staged->tree = state_restore_begin();
    staged->part = STAGED_SESSIONS;
    return ERROR_OK;
}

/* They are not taken, so they need not be known here. */
static void forget_settings(struct state *tree)
{
    state_begin(tree);
    struct state_key key = state_key_text("settings");
    bool fits = state_put(tree, state_root(tree), key, state_of_table(state_build(true)));
    assert(fits);
    (void)fits;
    state_commit(tree);
}

static enum error_code end_sessions(struct host *host, struct error *error)
{
    struct staged *staged = &host->staged;
    struct sessions *sessions = &staged->system.sessions;
    enum error_code code =
        state_restore_finish(staged->tree, staged->restored.sessions, sessions->tree, error);
    if (code == ERROR_OK) code = sessions_restored(sessions, error);
    if (code != ERROR_OK) return code;
    state_restore_free(staged->tree);
    staged->tree = NULL;
    staged->part = STAGED_STATE;
    return host->machine.stage_begin(host->machine.context, cluster_settings(host), &staged->restored.init,
                                     system_bundle(&staged->system), error);
}

/* Those that the app will run under: the cluster's own, or the backup's where no app has brought any. */
static const struct settings *cluster_settings(const struct host *host)
{
    return host->system.initialised ? &host->settings : &host->staged.restored.settings;
}

/* ---- the switch ---- */

static enum error_code apply_commit(struct host *host, const struct raft_entry *entry,
                                    const struct payload *payload)
{
    struct staged *staged = &host->staged;
    struct system *system = &host->system;
    struct error error = {0};
    if (payload->id != 0 && payload->id == system->restored_id) { /* sent again: it is done */
        answer_number(host, "index", system->restored_index);
        return ERROR_OK;
    }
    if (staged->id == 0 || staged->id != payload->id) return unknown_restore(host);
    if (staged->offset != staged->size) {
        return apply_refuse(host, ERROR_CONFLICT, "only %" PRIu64 " of its %" PRIu64 " bytes are there",
                            staged->offset, staged->size);
    }
    if (staged->part != STAGED_STATE) {
        error_set(&error, ERROR_CORRUPT, "it ends in the middle");
        return give_up(host, &error);
    }
    snapshot_abandon(host); /* of what is no more */
    if (staged->system.clock_ms > system->clock_ms) system->clock_ms = staged->system.clock_ms;
    struct machine_entry stamps = {
        .index = entry->index, .term = entry->term, .time_ms = system->clock_ms, .seed = entry->seed};
    enum error_code code =
        host->machine.stage_take(host->machine.context, cluster_settings(host), &staged->restored.init,
                                 system_bundle(&staged->system), &stamps, staged->state_hash, &error);
    if (code == ERROR_INTERNAL) {
        machine_failed(host, entry->index);
        return code;
    }
    if (code != ERROR_OK) return give_up(host, &error);
    take_over(host, entry, &stamps);
    answer_number(host, "index", entry->index);
    return ERROR_OK;
}

static void take_over(struct host *host, const struct raft_entry *entry, const struct machine_entry *stamps)
{
    struct staged *staged = &host->staged;
    struct apply *apply = &host->apply;
    if (!host->system.initialised) settings_adopt(host, &staged->restored.settings);
    system_replace(&host->system, &staged->system, stamps, staged->id);
    host_log(host, LOG_LEVEL_WARN,
             "the state of index %" PRIu64 " of cluster %016" PRIx64 " is restored at index %" PRIu64,
             staged->index, staged->cluster, entry->index);
    restore_drop(host);
    host->sweeps = host->machine.stage_sweep != NULL;
    apply->app_error.code = ERROR_OK;
    apply->app_loaded = true;
    host->route_again = true;
    host->ports.loaded(host->ports.context, system_bundle(&host->system), system_config(&host->system));
}

/* ---- the end of one ---- */

/* A piece of it a turn: freeing millions of items takes longer than a leader may be silent. */
bool restore_sweep(struct host *host)
{
    if (host->sweeps) host->sweeps = host->machine.stage_sweep(host->machine.context);
    return host->sweeps;
}

void restore_drop(struct host *host)
{
    struct staged *staged = &host->staged;
    if (staged->id == 0) return;
    host->machine.stage_end(host->machine.context);
    state_restore_free(staged->tree);
    system_deinit(&staged->system);
    *staged = (struct staged){0};
}

/* What has come is not what was written: nothing of it is kept. */
static enum error_code give_up(struct host *host, const struct error *why)
{
    enum error_code code = why->code == ERROR_SCRIPT ? ERROR_SCRIPT : ERROR_BAD_REQUEST;
    host_log(host, LOG_LEVEL_WARN, "the restore that began at index %" PRIu64 " is given up: %s",
             host->staged.id, why->text);
    restore_drop(host);
    return apply_refuse(host, code, "the backup cannot be restored, nothing has changed: %.400s", why->text);
}

static void answer_number(struct host *host, const char *key, uint64_t number)
{
    struct buffer *reply = &host->apply.reply;
    mp_write_map(reply, 1);
    mp_write_text(reply, key);
    mp_write_u64(reply, number);
}
