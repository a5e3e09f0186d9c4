/*
 * The log meets a snapshot: its meta becomes what the node starts from, and the log before it goes.
 *
 * Going is quick: the base moves in one small transaction, and from then on the rows up to it are not
 * there for any reader. Removing them takes long, for they may be millions: store_tidy does it a few
 * hundred at a time, each slice a transaction of its own, so that no vote waits for more than one of
 * them. A crash in between leaves rows before the base: the next open finds them and goes on.
 */
#include "store/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <stdio.h>

static enum error_code switch_to(struct store *store, const struct raft_snapshot_meta *meta,
                                 const struct raft_log_base *base, bool replace_log,
                                 struct error *error);
static enum error_code base_at(struct store *store, raft_index index, struct raft_log_base *base,
                               struct error *error);

enum error_code store_adopt(struct store *store, const struct raft_snapshot_meta *meta,
                            struct error *error)
{
    enum error_code code = store_check(store, error);
    if (code) return code;
    assert(meta->index > store->durable.snapshot.index && meta->index <= store->tail.index);
    return switch_to(store, meta, NULL, false, error);
}

enum error_code store_install(struct store *store, const struct raft_snapshot_meta *meta,
                              struct error *error)
{
    enum error_code code = store_check(store, error);
    if (code) return code;
    assert(meta->index > store->durable.snapshot.index);
    struct raft_log_base base = {meta->index, meta->term, meta->chain};
    raft_index first = store->durable.base.index + 1;
    if ((code = switch_to(store, meta, &base, true, error))) return code;
    bool rows = first <= store->tail.index && first <= meta->index;
    if (store->garbage == 0 && rows) store->garbage = first;
    store->tail = (struct store_tail){meta->index, meta->chain};
    return ERROR_OK;
}

enum error_code store_compact(struct store *store, raft_index index, struct error *error)
{
    struct raft_log_base base;
    enum error_code code = store_check(store, error);
    if (code || index <= store->durable.base.index) return code;
    assert(index <= store->durable.snapshot.index);
    raft_index first = store->durable.base.index + 1;
    if ((code = base_at(store, index, &base, error))) return code;
    if ((code = switch_to(store, NULL, &base, false, error))) return code;
    if (store->garbage == 0) store->garbage = first;
    return ERROR_OK;
}

bool store_is_tidy(const struct store *store)
{
    return store->garbage == 0;
}

/* One transaction: the new meta and the new base, where given; with replace_log no row behind the
 * base stays. */
static enum error_code switch_to(struct store *store, const struct raft_snapshot_meta *meta,
                                 const struct raft_log_base *base, bool replace_log,
                                 struct error *error)
{
    int result = store_run(store, STORE_BEGIN);
    if (result == SQLITE_OK && meta) {
        buffer_clear(&store->scratch);
        store_meta_encode_snapshot(meta, &store->scratch);
        result = store_set_meta(store, STORE_META_SNAPSHOT);
    }
    if (result == SQLITE_OK && base) {
        buffer_clear(&store->scratch);
        store_meta_encode_base(base, &store->scratch);
        result = store_set_meta(store, STORE_META_BASE);
    }
    if (result == SQLITE_OK && replace_log) {
        sqlite3_bind_int64(store->statements[STORE_TRUNCATE], 1, (sqlite3_int64)base->index + 1);
        result = store_run(store, STORE_TRUNCATE);
    }
    if (result != SQLITE_OK) return store_abandon(store, "cannot be written", result, error);
    enum error_code code = store_commit(store, error);
    if (code) return code;
    if (base) store->durable.base = *base;
    if (meta) {
        struct blob *kept = blob_new(meta->configuration.data, meta->configuration.size);
        blob_drop(store->snapshot_configuration);
        store->snapshot_configuration = kept;
        store->durable.snapshot = *meta;
        store->durable.snapshot.configuration = slice_of(kept->data, kept->size);
    }
    return ERROR_OK;
}

static enum error_code base_at(struct store *store, raft_index index, struct raft_log_base *base,
                               struct error *error)
{
    const struct raft_snapshot_meta *snapshot = &store->durable.snapshot;
    *base = (struct raft_log_base){snapshot->index, snapshot->term, snapshot->chain};
    if (index == snapshot->index) return ERROR_OK;
    struct store_entries found;
    enum error_code code = store_read(store, index, index, 0, &found, error);
    if (code) return code;
    assert(found.count == 1); /* the log has no gap up to its snapshot */
    *base = (struct raft_log_base){index, found.entries[0].term, found.entries[0].chain};
    store_entries_free(&found);
    return ERROR_OK;
}

/* ---- rows before the base ---- */

enum error_code store_find_garbage(struct store *store, struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int result =
        sqlite3_prepare_v2(store->db, "SELECT min(idx) FROM log", -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    bool empty = result == SQLITE_ROW && sqlite3_column_type(statement, 0) == SQLITE_NULL;
    sqlite3_int64 first = result == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    if (result != SQLITE_ROW) return store_fail_sql(store, "cannot be read", result, error);
    if (empty || first > (sqlite3_int64)store->durable.base.index) return ERROR_OK;
    if (first > 0) {
        store->garbage = (raft_index)first;
        return ERROR_OK;
    }
    return error_set(error, ERROR_CORRUPT, "%s: it is damaged: the log has a row %lld: " STORE_REBUILD,
                     store->names.database, (long long)first);
}

/* A full disk is for the next call. */
enum error_code store_trim(struct store *store, struct error *error)
{
    if (store->garbage == 0) return ERROR_OK;
    raft_index end = store->garbage + STORE_TRIM_ROWS;
    if (end > store->durable.base.index + 1) end = store->durable.base.index + 1;
    int result = store_run(store, STORE_BEGIN);
    sqlite3_bind_int64(store->statements[STORE_TRIM], 1, (sqlite3_int64)end);
    if (result == SQLITE_OK) result = store_run(store, STORE_TRIM);
    int removed = result == SQLITE_OK ? sqlite3_changes(store->db) : 0;
    enum error_code code = result == SQLITE_OK
                               ? store_commit(store, error)
                               : store_abandon(store, "cannot be written", result, error);
    if (code == ERROR_DISK_FULL) return ERROR_OK;
    if (code) return code;
    store->counters.trimmed += (uint64_t)removed;
    store->garbage = end > store->durable.base.index ? 0 : end;
    return ERROR_OK;
}
