/*
 * A snapshot's bytes and the way back. They are three canonical trees behind one another, each as
 * state_encode writes it:
 *
 *   the system tree   system.h, complete by system_seal; its hash is the meta's system_hash
 *   the sessions      sessions_bytes.c; the system tree has the hash
 *   the app's state   its hash is the meta's state_hash; none where the app did not load
 *
 * They are read a piece at a time, the next one while one is being taken in, beside everything else:
 * the core goes on, the log grows, and what is committed waits. Whatever is not what was written ends
 * the node.
 */
#include "host/internal.h"

#include <assert.h>
#include <inttypes.h>

#define PIECE_BYTES 131072

static void ask(struct host *host);
static void feed(struct host *host, struct slice bytes);
static enum error_code feed_tree(struct host *host, struct slice bytes, size_t *used,
                                 struct error *error);
static enum error_code end_system(struct host *host, struct error *error);
static enum error_code end_sessions(struct host *host, struct error *error);
static enum error_code begin_state(struct host *host, struct error *error);
static enum error_code end_state(struct host *host, struct error *error);
static void restored(struct host *host);
static void settle_waiters(struct host *host, raft_index index);
static void failed(struct host *host, const struct error *error);

bool restoring(const struct host *host)
{
    return host->restore.stage != RESTORE_NONE;
}

/* What there was is given up: state, sessions, entries waiting to be applied. The core has the entries behind the
 * snapshot applied from here on, once all of it is there. */
void restore_begin(struct host *host, const struct raft_snapshot_meta *meta)
{
    struct restore *restore = &host->restore;
    struct apply *apply = &host->apply;
    assert(meta->index > 0 && meta->index >= apply->committed);
    restore_deinit(host);
    deploy_abandon(host);
    restore_drop(host); /* the log that follows has it, from its beginning */
    *restore = (struct restore){
        .stage = RESTORE_SYSTEM,
        .token = APPLY_TOKEN | ++apply->tokens,
        .index = meta->index,
        .term = meta->term,
        .chain = meta->chain,
        .system_hash = meta->system_hash,
        .state_hash = meta->state_hash,
        .size = meta->size,
        .tree = state_restore_begin(),
    };
    host->snapshots.index = meta->index;
    host->snapshots.size = meta->size;
    host->snapshots.log_bytes = 0;
    backup_noted(host, meta);
    apply->app_loaded = false;
    apply->app_error.code = ERROR_OK;
    apply->term = 0;
    apply->token = 0; /* what is being read of the log is of the one before */
    apply->committed = meta->index;
    apply_forget(host);
    system_deinit(&host->system);
    system_init(&host->system);
    ask(host);
}

void restore_deinit(struct host *host)
{
    state_restore_free(host->restore.tree);
    host->restore.tree = NULL;
}

static void ask(struct host *host)
{
    struct restore *restore = &host->restore;
    struct host_snapshot_job job = {
        .kind = HOST_SNAPSHOT_READ,
        .token = restore->token,
        .meta = {.index = restore->index},
        .offset = restore->offset,
        .max_bytes = PIECE_BYTES,
    };
    host->ports.snapshot(host->ports.context, &job);
}

void restore_read(struct host *host, const struct host_snapshot_report *report)
{
    struct restore *restore = &host->restore;
    struct error error;
    if (restore->stage == RESTORE_NONE || report->token != restore->token) return;
    struct slice bytes = report->bytes.bytes;
    if (report->code != ERROR_OK || bytes.size == 0 || bytes.size > restore->size - restore->offset) {
        error_set(&error, ERROR_CORRUPT, "it is not all there");
        failed(host, &error);
        return;
    }
    restore->offset += bytes.size;
    if (restore->offset < restore->size) ask(host);
    feed(host, bytes);
}

static void feed(struct host *host, struct slice bytes)
{
    struct restore *restore = &host->restore;
    struct error error = {0};
    enum error_code code = ERROR_OK;
    while (code == ERROR_OK && bytes.size > 0) {
        size_t used = 0;
        code = feed_tree(host, bytes, &used, &error);
        if (code == ERROR_OK && used == 0) /* the last tree is whole */
            code = error_set(&error, ERROR_CORRUPT, "there are bytes behind it");
        bytes = slice_of(bytes.data + used, bytes.size - used);
    }
    bool over = code == ERROR_OK && restore->offset == restore->size;
    if (over) code = end_state(host, &error);
    if (code != ERROR_OK)
        failed(host, &error);
    else if (over)
        restored(host);
}

/* One tree's share of the bytes, at most. */
static enum error_code feed_tree(struct host *host, struct slice bytes, size_t *used,
                                 struct error *error)
{
    struct restore *restore = &host->restore;
    if (restore->stage == RESTORE_STATE) {
        if (restore->no_app) return ERROR_OK;
        return host->machine.restore_feed(host->machine.context, bytes, used, error);
    }
    enum error_code code = state_restore_feed(restore->tree, bytes, used, error);
    if (code != ERROR_OK || !state_restore_whole(restore->tree)) return code;
    return restore->stage == RESTORE_SYSTEM ? end_system(host, error) : end_sessions(host, error);
}

static enum error_code end_system(struct host *host, struct error *error)
{
    struct restore *restore = &host->restore;
    enum error_code code =
        state_restore_finish(restore->tree, restore->system_hash, host->system.tree, error);
    if (code == ERROR_OK)
        code = system_restored(&host->system, &host->settings, &restore->system, error);
    if (code != ERROR_OK) return code;
    restore_deinit(host);
    restore->tree = state_restore_begin();
    restore->stage = RESTORE_SESSIONS;
    return ERROR_OK;
}

static enum error_code end_sessions(struct host *host, struct error *error)
{
    struct restore *restore = &host->restore;
    struct sessions *sessions = &host->system.sessions;
    enum error_code code =
        state_restore_finish(restore->tree, restore->system.sessions, sessions->tree, error);
    if (code == ERROR_OK) code = sessions_restored(sessions, error);
    if (code != ERROR_OK) return code;
    restore_deinit(host);
    restore->stage = RESTORE_STATE;
    return begin_state(host, error);
}

/* The settings are the cluster's from here on. An app that did not load did so everywhere. */
static enum error_code begin_state(struct host *host, struct error *error)
{
    struct restore *restore = &host->restore;
    struct apply *apply = &host->apply;
    settings_adopt(host, &restore->system.settings);
    restore->no_app = restore->system.app_error.size > 0;
    if (restore->no_app) {
        error_set(&apply->app_error, ERROR_SCRIPT, "%.*s", (int)restore->system.app_error.size,
                  (const char *)restore->system.app_error.data);
        return ERROR_OK;
    }
    return host->machine.restore_begin(host->machine.context, &restore->system.init,
                                       system_bundle(&host->system), error);
}

static enum error_code end_state(struct host *host, struct error *error)
{
    struct restore *restore = &host->restore;
    if (restore->stage != RESTORE_STATE)
        return error_set(error, ERROR_CORRUPT, "it ends in the middle");
    if (restore->no_app) return ERROR_OK;
    return host->machine.restore_finish(host->machine.context, &host->system.entry,
                                        restore->state_hash, error);
}

static void restored(struct host *host)
{
    struct restore *restore = &host->restore;
    struct apply *apply = &host->apply;
    restore->stage = RESTORE_NONE;
    apply->applied = apply->reported = restore->index;
    apply->term = restore->term;
    apply->log_chain = restore->chain;
    apply->app_loaded = !restore->no_app;
    host->snapshots.newest_app = host->system.app_hash;
    host->snapshots.newest_ms = host->system.clock_ms;
    host->route_again = true;
    host_log(host, LOG_LEVEL_INFO, "starts from the snapshot at index %" PRIu64, restore->index);
    skip_passed(host, restore->index); /* where this node had halted: others have applied it, or skipped it */
    settle_waiters(host, restore->index);
    if (apply->app_loaded)
        host->ports.loaded(host->ports.context, system_bundle(&host->system),
                           system_config(&host->system));
}

/* What was proposed here and is covered by it was done or not: the snapshot does not tell. */
static void settle_waiters(struct host *host, raft_index index)
{
    struct waiter *next;
    for (struct waiter *waiter = host->waiters.lists[WAITER_PROPOSED].first; waiter != NULL;
         waiter = next) {
        next = waiter->next;
        if (waiter->number > index) continue;
        if (waiter_is_deduplicated(waiter)) {
            waiter->uncertain = true;
            arrive_again(host, waiter);
        } else {
            answer_error(host, waiter, ERROR_TIMEOUT, NULL);
        }
    }
}

/* A machine that has no memory is one thing, bytes that are not a snapshot's another. */
static void failed(struct host *host, const struct error *error)
{
    struct error why;
    enum error_code code = error->code == ERROR_SCRIPT ? ERROR_CORRUPT : error->code;
    error_set(&why, code, "the snapshot at index %" PRIu64 " cannot be restored: %s",
              host->restore.index, error->text);
    host_fatal(host, &why);
}
