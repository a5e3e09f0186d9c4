/*
 * Writing: any number of raft_persist in one transaction, one sync.
 *
 * Which commit makes a vote durable: the one COMMIT of the store_persist that carries it, together
 * with every entry of that call. What a full disk refuses was never written: frames go to the WAL
 * at COMMIT only, and SQLite takes the transaction back before its commit frame is whole. Whatever
 * else fails ends the store, and nothing is tried again.
 */
#include "store/internal.h"

#include "raft/entry.h"
#include "store/meta.h"
#include "store/recover.h"
#include "store/walscan.h"

#include <assert.h>

static int carry_out(struct store *store, const struct raft_persist *write, struct store_tail *tail,
                     struct error *error);
static int truncate_from(struct store *store, raft_index from, struct store_tail *tail,
                         struct error *error);
static int append(struct store *store, const struct raft_entry *entry, struct store_tail *tail,
                  struct error *error);
static void count(struct store *store, const struct raft_persist *const *writes, size_t count);
static void write_mark(struct store *store);
static enum error_code read_generation(struct store *store, struct error *error);

enum error_code store_persist(struct store *store, const struct raft_persist *const *writes,
                              size_t write_count, struct error *error)
{
    enum error_code code = store_check(store, error);
    if (code || write_count == 0) return code;
    struct store_tail tail = store->tail;
    struct error broken = {0};
    int result = store_run(store, STORE_BEGIN);
    for (size_t i = 0; i < write_count && result == SQLITE_OK && !broken.code; i++) {
        result = carry_out(store, writes[i], &tail, &broken);
    }
    if (broken.code) return store_fail(store, &broken, error);
    if (result != SQLITE_OK) return store_abandon(store, "cannot be written", result, error);
    if ((code = store_commit(store, error))) return code;
    store->tail = tail;
    count(store, writes, write_count);
    if (store->frames >= (uint64_t)store->checkpoint_pages * STORE_CHECKPOINT_PATIENCE)
        store_checkpoint(store);
    return ERROR_OK;
}

enum error_code store_bootstrap(struct store *store, struct slice configuration, uint64_t cluster,
                                struct error *error)
{
    enum error_code code = store_check(store, error);
    if (code) return code;
    assert(store->identity.cluster == 0 && store->tail.index == 0);
    struct identity identity = store->identity;
    struct raft_snapshot_meta snapshot = store->durable.snapshot;
    struct blob *kept = blob_new(configuration.data, configuration.size);
    identity.cluster = cluster;
    snapshot.configuration = slice_of(kept->data, kept->size);

    int result = store_run(store, STORE_BEGIN);
    buffer_clear(&store->scratch);
    store_meta_encode_identity(&identity, &store->scratch);
    if (result == SQLITE_OK) result = store_set_meta(store, STORE_META_IDENTITY);
    buffer_clear(&store->scratch);
    store_meta_encode_snapshot(&snapshot, &store->scratch);
    if (result == SQLITE_OK) result = store_set_meta(store, STORE_META_SNAPSHOT);
    buffer_clear(&store->scratch);
    store_meta_encode_first(configuration, &store->scratch);
    if (result == SQLITE_OK) result = store_set_meta(store, STORE_META_FIRST);
    code = result == SQLITE_OK ? store_commit(store, error)
                               : store_abandon(store, "cannot be written", result, error);
    if (code) {
        blob_drop(kept);
        return code;
    }
    blob_drop(store->snapshot_configuration);
    store->snapshot_configuration = kept;
    store->identity = identity;
    store->durable.snapshot = snapshot;
    return ERROR_OK;
}

/* What is in memory of the cluster that was is of no use afterwards: the caller closes. */
enum error_code store_recover(struct store *store, const struct store_recovery *recovery, struct error *error)
{
    enum error_code code = store_check(store, error);
    if (code) return code;
    assert(store->identity.cluster != 0 && recovery->entry->index == store->tail.index + 1);
    struct store_tail tail = store->tail;
    struct error broken = {0};
    struct raft_persist write = {.has_hard_state = true, .hard_state = recovery->hard_state,
                                 .entries = recovery->entry, .entry_count = 1};
    store->identity.cluster = recovery->cluster;
    int result = store_run(store, STORE_BEGIN);
    buffer_clear(&store->scratch);
    store_meta_encode_identity(&store->identity, &store->scratch);
    if (result == SQLITE_OK) result = store_set_meta(store, STORE_META_IDENTITY);
    buffer_clear(&store->scratch);
    store_meta_encode_first(recovery->first_configuration, &store->scratch);
    if (result == SQLITE_OK) result = store_set_meta(store, STORE_META_FIRST);
    if (result == SQLITE_OK) result = carry_out(store, &write, &tail, &broken);
    if (broken.code) return store_fail(store, &broken, error);
    if (result != SQLITE_OK) return store_abandon(store, "cannot be written", result, error);
    if ((code = store_commit(store, error))) return code;
    store->tail = tail;
    return ERROR_OK;
}

/* The mark is written between the sync and the report. Its failure takes nothing back: the commit
 * is durable. */
enum error_code store_commit(struct store *store, struct error *error)
{
    int result = store_run(store, STORE_COMMIT);
    if (result != SQLITE_OK) return store_abandon(store, "cannot be committed", result, error);
    store->counters.commits++;
    write_mark(store);
    return ERROR_OK;
}

enum error_code store_abandon(struct store *store, const char *doing, int result,
                              struct error *error)
{
    if (store_error_of(result) != ERROR_DISK_FULL)
        return store_fail_sql(store, doing, result, error);
    if (!sqlite3_get_autocommit(store->db)) {
        int undone = store_run(store, STORE_ROLLBACK);
        if (undone != SQLITE_OK)
            return store_fail_sql(store, "cannot be rolled back", undone, error);
    }
    store->counters.refusals++;
    return error_set(error, ERROR_DISK_FULL, "%s: the disk is full: nothing of this was written",
                     store->names.database);
}

/* ---- one write ---- */

/* SQLite's result; or, with *error set, what is wrong with the write itself. */
static int carry_out(struct store *store, const struct raft_persist *write, struct store_tail *tail,
                     struct error *error)
{
    int result = SQLITE_OK;
    if (write->has_hard_state) {
        buffer_clear(&store->scratch);
        store_meta_encode_hard_state(&write->hard_state, &store->scratch);
        result = store_set_meta(store, STORE_META_HARD_STATE);
    }
    if (write->truncate_from && write->truncate_from <= tail->index && result == SQLITE_OK) {
        result = truncate_from(store, write->truncate_from, tail, error);
    }
    for (size_t i = 0; i < write->entry_count && result == SQLITE_OK && !error->code; i++) {
        result = append(store, &write->entries[i], tail, error);
    }
    return result;
}

static int truncate_from(struct store *store, raft_index from, struct store_tail *tail,
                         struct error *error)
{
    const struct raft_snapshot_meta *snapshot = &store->durable.snapshot;
    const struct raft_log_base *base = &store->durable.base;
    if (from <= snapshot->index) {
        error_set(error, ERROR_INTERNAL, "asked to truncate from %llu, but a snapshot covers %llu",
                  (unsigned long long)from, (unsigned long long)snapshot->index);
        return SQLITE_OK;
    }
    struct store_tail left = {from - 1, base->chain};
    if (left.index > base->index) {
        struct store_entries found;
        if (store_read(store, left.index, left.index, 0, &found, error)) return SQLITE_OK;
        if (found.count != 1) return SQLITE_CORRUPT;
        left.chain = found.entries[0].chain;
        store_entries_free(&found);
    }
    sqlite3_bind_int64(store->statements[STORE_TRUNCATE], 1, (sqlite3_int64)from);
    int result = store_run(store, STORE_TRUNCATE);
    if (result == SQLITE_OK) *tail = left;
    return result;
}

/* What does not continue the log could only be refused at the next start, so it is refused now. */
static int append(struct store *store, const struct raft_entry *entry, struct store_tail *tail,
                  struct error *error)
{
    if (entry->index != tail->index + 1 || entry->chain != raft_entry_chain(entry, tail->chain)) {
        error_set(error, ERROR_INTERNAL,
                  "asked to append entry %llu, which does not continue the log that ends at %llu",
                  (unsigned long long)entry->index, (unsigned long long)tail->index);
        return SQLITE_OK;
    }
    buffer_clear(&store->scratch);
    raft_entry_encode(entry, &store->scratch);
    sqlite3_stmt *statement = store->statements[STORE_APPEND];
    sqlite3_bind_int64(statement, 1, (sqlite3_int64)entry->index);
    sqlite3_bind_blob64(statement, 2, store->scratch.data, store->scratch.size, SQLITE_STATIC);
    int result = store_run(store, STORE_APPEND);
    if (result == SQLITE_OK) *tail = (struct store_tail){entry->index, entry->chain};
    return result;
}

/* The row's new bytes are in scratch. */
int store_set_meta(struct store *store, enum store_meta_key key)
{
    sqlite3_stmt *statement = store->statements[STORE_SET_META];
    sqlite3_bind_int64(statement, 1, key);
    sqlite3_bind_blob64(statement, 2, store->scratch.data, store->scratch.size, SQLITE_STATIC);
    int result = store_run(store, STORE_SET_META);
    return result == SQLITE_OK && sqlite3_changes(store->db) != 1 ? SQLITE_CORRUPT : result;
}

static void count(struct store *store, const struct raft_persist *const *writes, size_t write_count)
{
    store->counters.writes += write_count;
    for (size_t i = 0; i < write_count; i++) {
        store->counters.entries += writes[i]->entry_count;
        for (size_t j = 0; j < writes[i]->entry_count; j++) {
            store->counters.bytes += raft_entry_size(&writes[i]->entries[j]);
        }
    }
}

/* ---- the mark ---- */

/* Full: the mark lags, as after a power loss. Anything else: the commit stays said, the store goes
 * no further. */
static void write_mark(struct store *store)
{
    if (store->frames == 0) return; /* the commit changed nothing, and the WAL holds nothing */
    struct error failure = {0};
    enum error_code code = store->generation_known ? ERROR_OK : read_generation(store, &failure);
    store->mark.frames = store->frames;
    if (!code) code = store_mark_write(&store->mark_file, &store->mark, &failure);
    if (code) store_fail(store, &failure, NULL);
}

/* After a checkpoint the next commit begins a new filling: its salts are in the WAL's header. */
static enum error_code read_generation(struct store *store, struct error *error)
{
    struct store_file wal = {NULL, store->names.wal};
    uint8_t header[STORE_WAL_HEADER_SIZE];
    uint32_t page_size;
    sqlite3_file_control(store->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal.handle);
    enum error_code code = store_file_read(&wal, 0, header, sizeof header, error);
    if (code) return code;
    store->generation_known = store_wal_header(header, &store->mark.generation, &page_size);
    if (store->generation_known) return ERROR_OK;
    return error_set(error, ERROR_CORRUPT, "%s: offset 0: its header is damaged", store->names.wal);
}
