/*
 * What a disk holds, read in full at open. We answer for what is in the rows: every checksum, the
 * entries without gap from the snapshot on, each bound to the one before by its chain, terms that
 * never fall. SQLite answers for the shape of its file (quick_check: pages, free list, the order of
 * keys), where damage would strike later. In this order, because quick_check calls a page that
 * cannot be read damaged, and a read says what it is.
 */
#include "store/internal.h"

#include "base/memory.h"
#include "raft/entry.h"
#include "store/meta.h"

#include <stdio.h>
#include <string.h>

struct loader {
    struct store *store;
    size_t run_capacity;
    size_t configuration_capacity, skip_capacity;
};

static enum error_code check_shape(struct store *store, struct error *error);
static enum error_code load_meta(struct store *store, struct error *error);
static enum error_code decode_meta(struct store *store, int64_t key, struct slice bytes,
                                   struct error *error);
static enum error_code check_owner(const struct store *store, const struct store_options *options,
                                   struct error *error);
static enum error_code load_log(struct store *store, struct error *error);
static enum error_code load_entry(struct loader *loader, sqlite3_stmt *row, struct error *error);
static void note_run(struct loader *loader, const struct raft_entry *entry);
static void note_entry(struct raft_entry **list, size_t *count, size_t *capacity, const struct raft_entry *entry);
static enum error_code refuse(const struct store *store, enum error_code code, const char *what,
                              struct error *error);

enum error_code store_load(struct store *store, const struct store_options *options,
                           struct error *error)
{
    enum error_code code = load_meta(store, error);
    if (!code) code = check_owner(store, options, error);
    if (!code) code = load_log(store, error);
    if (!code) code = store_find_garbage(store, error);
    return code ? code : check_shape(store, error);
}

void store_durable_free(struct store *store)
{
    for (size_t i = 0; i < store->durable.configuration_count; i++)
        raft_entry_drop(&store->configurations[i]);
    for (size_t i = 0; i < store->durable.skip_count; i++) raft_entry_drop(&store->skips[i]);
    memory_free(store->configurations);
    memory_free(store->skips);
    memory_free(store->runs);
    store->configurations = store->skips = NULL;
    store->durable.skips = NULL;
    store->durable.skip_count = 0;
    store->runs = NULL;
    store->durable.configurations = NULL;
    store->durable.configuration_count = 0;
    store->durable.runs = NULL;
    store->durable.run_count = 0;
}

static enum error_code check_shape(struct store *store, struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, "PRAGMA quick_check(1)", -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    enum error_code code = ERROR_OK;
    if (result != SQLITE_ROW) {
        code = store_fail_sql(store, "cannot be checked", result, error);
    } else if (strcmp((const char *)sqlite3_column_text(statement, 0), "ok") != 0) {
        char what[256]; /* in one line: SQLite writes several */
        snprintf(what, sizeof what, "%s", (const char *)sqlite3_column_text(statement, 0));
        for (char *at = what; *at; at++) *at = *at == '\n' ? ' ' : *at;
        code = refuse(store, ERROR_CORRUPT, what, error);
    }
    sqlite3_finalize(statement);
    return code;
}

/* ---- meta ---- */

static enum error_code load_meta(struct store *store, struct error *error)
{
    sqlite3_stmt *row = NULL;
    int result =
        sqlite3_prepare_v2(store->db, "SELECT key, bytes FROM meta ORDER BY key", -1, &row, NULL);
    enum error_code code = ERROR_OK;
    int64_t expected = STORE_META_IDENTITY;
    while (result == SQLITE_OK && !code && (result = sqlite3_step(row)) == SQLITE_ROW) {
        int64_t key = sqlite3_column_int64(row, 0);
        struct slice bytes = {sqlite3_column_blob(row, 1), 0};
        bytes.size = (size_t)sqlite3_column_bytes(row, 1);
        if (key != expected) break;
        code = decode_meta(store, key, bytes, error);
        expected++;
        result = SQLITE_OK;
    }
    bool complete = result == SQLITE_DONE && expected == STORE_META_FIRST + 1;
    if (!code && result != SQLITE_DONE && result != SQLITE_ROW) {
        code = store_fail_sql(store, "cannot be read", result, error);
    } else if (!code && !complete) {
        code = refuse(store, ERROR_CORRUPT,
                      "identity, hard state, snapshot meta, base and first configuration are not all there", error);
    }
    sqlite3_finalize(row);
    if (!code && (store->identity.cluster == 0) != (store->first_configuration->size == 0))
        code = refuse(store, ERROR_CORRUPT, "a cluster without its first configuration", error);
    return code;
}

static enum error_code decode_meta(struct store *store, int64_t key, struct slice bytes,
                                   struct error *error)
{
    struct error failure = {0};
    enum error_code code = ERROR_OK;
    if (key == STORE_META_IDENTITY) {
        code = store_meta_decode_identity(bytes, &store->identity, &failure);
    } else if (key == STORE_META_HARD_STATE) {
        code = store_meta_decode_hard_state(bytes, &store->durable.hard_state, &failure);
    } else if (key == STORE_META_BASE) {
        code = store_meta_decode_base(bytes, &store->durable.base, &failure);
    } else if (key == STORE_META_FIRST) {
        struct slice first;
        code = store_meta_decode_first(bytes, &first, &failure);
        if (!code) store->first_configuration = blob_new(first.data, first.size);
    } else {
        store->snapshot_configuration = blob_new(bytes.data, bytes.size);
        bytes.data = store->snapshot_configuration->data;
        code = store_meta_decode_snapshot(bytes, &store->durable.snapshot, &failure);
    }
    return code ? refuse(store, code, failure.text, error) : ERROR_OK;
}

static enum error_code check_owner(const struct store *store, const struct store_options *options,
                                   struct error *error)
{
    if (!options->id || strcmp(options->id, store->identity.id) == 0) return ERROR_OK;
    return error_set(error, ERROR_FOREIGN,
                     "%s: this data folder belongs to node '%s', but this node was started as "
                     "'%s': use its own folder or its own id",
                     store->names.folder, store->identity.id, options->id);
}

/* ---- the log ---- */

static enum error_code load_log(struct store *store, struct error *error)
{
    struct raft_durable *durable = &store->durable;
    struct loader loader = {.store = store};
    if (durable->base.index > durable->snapshot.index) {
        return refuse(store, ERROR_CORRUPT, "the log begins behind its snapshot", error);
    }
    store->tail = (struct store_tail){durable->base.index, durable->base.chain};
    sqlite3_stmt *row = store->statements[STORE_READ];
    sqlite3_bind_int64(row, 1, (sqlite3_int64)durable->base.index + 1);
    sqlite3_bind_int64(row, 2, INT64_MAX);
    enum error_code code = ERROR_OK;
    int result = SQLITE_DONE;
    while (!code && (result = sqlite3_step(row)) == SQLITE_ROW)
        code = load_entry(&loader, row, error);
    if (!code && result != SQLITE_DONE)
        code = store_fail_sql(store, "cannot be read", result, error);
    sqlite3_reset(row);
    if (!code && store->tail.index < durable->snapshot.index) {
        code = refuse(store, ERROR_CORRUPT, "the log ends before its snapshot", error);
    }
    durable->last_index = store->tail.index;
    durable->last_chain = store->tail.chain;
    durable->runs = store->runs;
    durable->configurations = store->configurations;
    durable->skips = store->skips;
    return code;
}

static enum error_code load_entry(struct loader *loader, sqlite3_stmt *row, struct error *error)
{
    struct store *store = loader->store;
    struct raft_durable *durable = &store->durable;
    struct raft_entry entry;
    struct error failure;
    size_t size;
    raft_index index = store->tail.index + 1;
    raft_term before =
        durable->run_count ? store->runs[durable->run_count - 1].term : durable->base.term;
    enum error_code code = store_row_decode(row, index, &entry, &size, &failure);
    if (!code && entry.chain != raft_entry_chain(&entry, store->tail.chain)) {
        code = error_set(&failure, ERROR_CORRUPT, "it does not continue the one before");
    }
    if (!code && entry.term < before)
        code = error_set(&failure, ERROR_CORRUPT, "its term is lower than the one before");
    if (!code && index == durable->snapshot.index &&
        (entry.term != durable->snapshot.term || entry.chain != durable->snapshot.chain))
        code = error_set(&failure, ERROR_CORRUPT, "it is not the one that the snapshot ends with");
    if (code) {
        char what[400];
        snprintf(what, sizeof what, "entry %llu: %.300s", (unsigned long long)index, failure.text);
        return refuse(store, code, what, error);
    }
    if (entry.term != before || durable->run_count == 0) note_run(loader, &entry);
    if (entry.type == RAFT_CONFIGURATION)
        note_entry(&store->configurations, &durable->configuration_count, &loader->configuration_capacity, &entry);
    if (entry.type == RAFT_SKIP) note_entry(&store->skips, &durable->skip_count, &loader->skip_capacity, &entry);
    durable->last_time_ms = entry.time_ms;
    store->tail = (struct store_tail){index, entry.chain};
    return ERROR_OK;
}

static void note_run(struct loader *loader, const struct raft_entry *entry)
{
    struct store *store = loader->store;
    if (store->durable.run_count == loader->run_capacity) {
        loader->run_capacity = loader->run_capacity ? loader->run_capacity * 2 : 16;
        store->runs = memory_resize(store->runs, loader->run_capacity, sizeof *store->runs);
    }
    store->runs[store->durable.run_count++] = (struct raft_term_run){entry->index, entry->term};
}

/* Kept whole: the payload is SQLite's. */
static void note_entry(struct raft_entry **list, size_t *count, size_t *capacity, const struct raft_entry *entry)
{
    if (*count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 4;
        *list = memory_resize(*list, *capacity, sizeof **list);
    }
    struct raft_entry *kept = &(*list)[(*count)++];
    *kept = *entry;
    struct blob *blob = blob_new(entry->payload.bytes.data, entry->payload.bytes.size);
    kept->payload = (struct raft_payload){blob, slice_of(blob->data, blob->size)};
}

static enum error_code refuse(const struct store *store, enum error_code code, const char *what,
                              struct error *error)
{
    if (code == ERROR_VERSION) return error_set(error, code, "%s: %s", store->names.database, what);
    return error_set(error, code, "%s: it is damaged: %.250s: " STORE_REBUILD,
                     store->names.database, what);
}
