/*
 * Opening and closing, and what every call has in common: a store that has failed stays failed.
 *
 * A commit is durable when SQLite's COMMIT returns: it has written the transaction's frames to the
 * WAL and synced it (synchronous=FULL); then the mark is written, then the caller is told. A crash
 * in between leaves a transaction that nobody was told of: it is either whole in the WAL, and
 * counts, or torn, and never happened. The order at open:
 *
 *   1. the lock, so that nobody writes what is read next
 *   2. the mark and the WAL, before SQLite sees them (walscan.h)
 *   3. SQLite, its settings, the schema (schema.c)
 *   4. whose it is, then every row (load.c)
 *   5. the snapshots' files (snapshot.c)
 */
#include "store/internal.h"

#include "base/memory.h"
#include "base/mutant.h"
#include "store/walscan.h"

static enum error_code open_parts(struct store *store, const struct store_options *options,
                                  struct error *error);
static enum error_code take_lock(struct store *store, struct error *error);
static enum error_code look_first(struct store *store, struct error *error);
static enum error_code look_at_wal(struct store *store, struct error *error);
static enum error_code refuse_missing(const char *name, const char *what, struct error *error);
static bool has_bytes(struct store *store, const char *name, enum error_code *code,
                      struct error *error);
static void close_cleanly(struct store *store);

enum error_code store_open(const struct store_options *options, struct store **out,
                           struct error *error)
{
    *out = NULL;
    struct store *store = memory_zero(1, sizeof *store);
    store->checkpoint_pages =
        options->checkpoint_pages ? options->checkpoint_pages : STORE_CHECKPOINT_PAGES;
    struct error failure = {0};
    enum error_code code = open_parts(store, options, &failure);
    if (code == ERROR_OK) {
        *out = store;
        return ERROR_OK;
    }
    store->failure = failure; /* so that closing writes nothing */
    store_close(store);
    return error_set(error, code, "%s", failure.text);
}

void store_close(struct store *store)
{
    if (!store) return;
    if (store->db && store->failure.code == ERROR_OK) close_cleanly(store);
    for (int i = 0; i < STORE_STATEMENTS; i++) sqlite3_finalize(store->statements[i]);
    sqlite3_close(store->db);
    store_file_close(&store->mark_file);
    store_file_close(&store->lock_file);
    store_snapshots_close(store->snapshots);
    store_durable_free(store);
    blob_drop(store->snapshot_configuration);
    blob_drop(store->first_configuration);
    store_names_deinit(&store->names);
    buffer_deinit(&store->scratch);
    memory_free(store);
}

const struct raft_durable *store_durable(const struct store *store)
{
    return &store->durable;
}

struct slice store_first_configuration(const struct store *store)
{
    return slice_of(store->first_configuration->data, store->first_configuration->size);
}

const struct identity *store_identity(const struct store *store)
{
    return &store->identity;
}

struct store_counters store_counters(const struct store *store)
{
    return store->counters;
}

/* ---- failing ---- */

enum error_code store_fail(struct store *store, const struct error *failure, struct error *error)
{
    if (failure->code != ERROR_DISK_FULL && store->failure.code == ERROR_OK)
        store->failure = *failure;
    return error_set(error, failure->code, "%s", failure->text);
}

enum error_code store_fail_sql(struct store *store, const char *doing, int result,
                               struct error *error)
{
    struct error failure;
    int extended = store->db ? sqlite3_extended_errcode(store->db) : result;
    error_set(&failure, store_error_of(result), "%s: %s: %s (SQLite's code %d)",
              store->names.database, doing,
              store->db ? sqlite3_errmsg(store->db) : sqlite3_errstr(result), extended);
    return store_fail(store, &failure, error);
}

enum error_code store_check(const struct store *store, struct error *error)
{
    if (store->failure.code == ERROR_OK) return ERROR_OK;
    return error_set(error, store->failure.code, "%s", store->failure.text);
}

/* ---- opening ---- */

static enum error_code open_parts(struct store *store, const struct store_options *options,
                                  struct error *error)
{
    store->vfs = sqlite3_vfs_find(options->vfs);
    if (!store->vfs)
        return error_set(error, ERROR_INTERNAL, "SQLite has no VFS '%s'", options->vfs);
    enum error_code code = store_names_init(&store->names, store->vfs, options->folder, error);
    if (code) return code;
    if (!options->id) {
        bool exists;
        if ((code = store_file_exists(store->vfs, store->names.database, &exists, error)))
            return code;
        if (!exists)
            return error_set(error, ERROR_NOT_FOUND, "%s: there is no node's data here",
                             store->names.folder);
    } else if (!options->vfs && (code = store_folder_make(store->names.folder, error))) {
        return code;
    }
    if (!options->vfs && (code = store_names_check(&store->names, error))) return code;
    if ((code = take_lock(store, error))) return code;
    if ((code = look_first(store, error))) return code;
    if ((code = store_schema_open(store, options, error))) return code;
    if ((code = store_load(store, options, error))) return code;
    return store_snapshots_open(store, options, error);
}

/* Opened as a database, because that is the type of file which a VFS locks. */
static enum error_code take_lock(struct store *store, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB;
    enum error_code code =
        store_file_open(&store->lock_file, store->vfs, store->names.lock, flags, error);
    return code ? code : store_file_lock(&store->lock_file, store->names.folder, error);
}

/* Once something was acknowledged, database and WAL are there: SQLite would begin anew where one is
 * missing. */
static enum error_code look_first(struct store *store, struct error *error)
{
    enum error_code code =
        store_mark_open(&store->mark_file, store->vfs, store->names.mark, &store->mark, error);
    if (code) return code;
    bool database = has_bytes(store, store->names.database, &code, error);
    bool wal = !code && has_bytes(store, store->names.wal, &code, error);
    if (code) return code;
    if (!database && (wal || store->mark.frames)) {
        return refuse_missing(store->names.database, "the database is missing or empty", error);
    }
    if (!wal && store->mark.frames)
        return refuse_missing(store->names.wal, "the WAL is missing or empty", error);
    return GUARD(STORE_UNSCANNED, !wal) ? ERROR_OK : look_at_wal(store, error);
}

static enum error_code look_at_wal(struct store *store, struct error *error)
{
    struct store_file wal;
    struct store_walscan scan;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_WAL;
    enum error_code code = store_file_open(&wal, store->vfs, store->names.wal, flags, error);
    if (code) return code;
    code = store_walscan(&wal, &store->mark, &scan, error);
    if (!code && scan.valid && scan.frames) {
        code = store_wal_adopt(&wal, &scan, &store->mark, error);
        store->mark = (struct store_mark){scan.generation, scan.frames};
        store->generation_known = true;
        store->frames = scan.frames;
        if (!code) code = store_mark_write(&store->mark_file, &store->mark, error);
    }
    store_file_close(&wal);
    return code;
}

static enum error_code refuse_missing(const char *name, const char *what, struct error *error)
{
    return error_set(error, ERROR_CORRUPT,
                     "%s: %s, and acknowledged data was in it: put it back, or " STORE_REBUILD,
                     name, what);
}

static bool has_bytes(struct store *store, const char *name, enum error_code *code,
                      struct error *error)
{
    bool exists;
    *code = store_file_exists(store->vfs, name, &exists, error);
    if (*code || !exists) return false;
    struct store_file file;
    int type = name == store->names.wal ? SQLITE_OPEN_WAL : SQLITE_OPEN_SUPER_JOURNAL;
    uint64_t size = 0;
    *code = store_file_open(&file, store->vfs, name, SQLITE_OPEN_READWRITE | type, error);
    if (!*code) *code = store_file_size(&file, &size, error);
    store_file_close(&file);
    return size > 0;
}

/* ---- closing ---- */

/* Leaves everything in the database file, so that the folder can be read without its WAL; the mark
 * says so. What fails here loses nothing: the next open finds the WAL as it was. */
static void close_cleanly(struct store *store)
{
    if (store->frames == 0) return;
    store_checkpoint(store);
    if (store->failure.code != ERROR_OK || store->frames != 0) return;
    store->mark.frames = 0;
    store_mark_write(&store->mark_file, &store->mark, NULL);
}
