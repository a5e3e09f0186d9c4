/* Opening a folder to look at it, and handing out what it holds: inspect.h. What is wrong is gathered by
 * inspect_check.c. */
#include "store/inspect_internal.h"

#include "base/memory.h"
#include "store/snapshot_file.h"
#include "store/vfs_overlay.h"
#include "store/walscan.h"

#include <stdio.h>
#include <string.h>

static enum error_code open_parts(struct store_inspection *inspection, const char *folder, struct error *error);
static enum error_code take_lock(struct store *store, struct error *error);
static enum error_code measure(struct store_inspection *inspection, const char *name, int type, bool *has,
                               struct error *error);
static void look_at_wal(struct store_inspection *inspection);
static void open_best(struct store_inspection *inspection);
static void open_database(struct store_inspection *inspection, bool hide_wal);
static void close_database(struct store_inspection *inspection);
static bool meta_is_sound(const struct store_inspection *inspection);
static void read_meta(struct store_inspection *inspection);
static enum error_code decode_meta(struct store_inspection *inspection, int key, struct slice bytes,
                                   struct error *error);
static void read_ends(struct store_inspection *inspection);
static bool note_last(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage);

const char *store_part_name(enum store_part part)
{
    static const char *const names[] = {
#define X(name, text) [STORE_PART_##name] = text,
        STORE_PART_TABLE(X)
#undef X
    };
    return names[part];
}

enum error_code store_inspect_open(const char *folder, struct store_inspection **out, struct error *error)
{
    struct store_inspection *inspection = memory_zero(1, sizeof *inspection);
    inspection->store = memory_zero(1, sizeof *inspection->store);
    enum error_code code = open_parts(inspection, folder, error);
    if (code) {
        store_inspect_close(inspection);
        inspection = NULL;
    }
    *out = inspection;
    return code;
}

/* The store has "failed": it closes without a last checkpoint. */
void store_inspect_close(struct store_inspection *inspection)
{
    if (!inspection) return;
    error_set(&inspection->store->failure, ERROR_UNAVAILABLE, "only looked at");
    store_close(inspection->store);
    store_overlay_hide_wal(false);
    blob_drop(inspection->kept[0]);
    blob_drop(inspection->kept[1]);
    memory_free(inspection);
}

const struct store_overview *store_inspect_overview(const struct store_inspection *inspection)
{
    return &inspection->overview;
}

/* ---- opening ---- */

static enum error_code open_parts(struct store_inspection *inspection, const char *folder, struct error *error)
{
    struct store *store = inspection->store;
    bool snapshot = false;
    store->vfs = store_overlay();
    store->checkpoint_pages = STORE_CHECKPOINT_PAGES;
    enum error_code code = store_names_init(&store->names, store->vfs, folder, error);
    if (code) return code;
    inspection->overview.folder = store->names.folder;
    if ((code = store_names_check(&store->names, error))) return code;
    code = measure(inspection, store->names.database, SQLITE_OPEN_SUPER_JOURNAL, &inspection->has_database, error);
    if (!code) code = measure(inspection, store->names.wal, SQLITE_OPEN_WAL, &inspection->has_wal, error);
    if (!code) code = measure(inspection, store->names.mark, SQLITE_OPEN_SUPER_JOURNAL, &inspection->has_mark, error);
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS && !code && !snapshot; i++)
        code = store_file_exists(store->vfs, store->names.snapshots[i], &snapshot, error);
    if (code) return code;
    if ((code = take_lock(store, error))) return code;
    code = store_mark_open(&store->mark_file, store->vfs, store->names.mark, &store->mark, error);
    if (code) return code;
    if (!inspection->has_database && !inspection->has_wal && !snapshot && store->mark.frames == 0)
        return error_set(error, ERROR_NOT_FOUND, "%s: there is no node's data here", store->names.folder);
    look_at_wal(inspection);
    open_best(inspection);
    if (inspection->readable) read_ends(inspection);
    return ERROR_OK;
}

/* Of a damaged WAL SQLite takes what is before the damage: right, where the database file is as old as the WAL's
 * beginning. Where pages behind it have been copied there already (after a clean stop: all), the file alone is what was
 * at the last checkpoint. */
static void open_best(struct store_inspection *inspection)
{
    bool damaged = inspection->wal.code != ERROR_OK, stopped = inspection->store->mark.frames == 0;
    open_database(inspection, damaged && stopped);
    if (inspection->readable) read_meta(inspection);
    bool good = inspection->readable && meta_is_sound(inspection) && inspection->overview.identity.cluster != 0;
    if (good || !damaged || stopped) return;
    close_database(inspection);
    open_database(inspection, true);
    if (inspection->readable) read_meta(inspection);
}

static enum error_code take_lock(struct store *store, struct error *error)
{
    struct error why = {0};
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_MAIN_DB;
    enum error_code code = store_file_open(&store->lock_file, store->vfs, store->names.lock, flags, &why);
    if (!code) code = store_file_lock(&store->lock_file, store->names.folder, &why);
    if (code == ERROR_UNAVAILABLE) {
        return error_set(error, code,
                         "%s: a node is running on this folder (or another tool looks at it): stop it first",
                         store->names.folder);
    }
    return code ? error_set(error, code, "%s", why.text) : ERROR_OK;
}

/* Adds its size to what there is to look at. */
static enum error_code measure(struct store_inspection *inspection, const char *name, int type, bool *has,
                               struct error *error)
{
    struct store *store = inspection->store;
    struct store_file file;
    bool exists;
    uint64_t size = 0;
    *has = false;
    enum error_code code = store_file_exists(store->vfs, name, &exists, error);
    if (code || !exists) return code;
    code = store_file_open(&file, store->vfs, name, SQLITE_OPEN_READWRITE | type, error);
    if (!code) code = store_file_size(&file, &size, error);
    if (!code) store_file_close(&file);
    *has = size > 0;
    if (name != store->names.mark) inspection->overview.bytes += size;
    return code;
}

/* Before SQLite sees it, as at every start (walscan.h). One that is damaged is kept from it: then the database is seen
 * as of its last checkpoint. */
static void look_at_wal(struct store_inspection *inspection)
{
    struct store *store = inspection->store;
    struct store_file wal;
    struct store_walscan scan = {0};
    struct error *error = &inspection->wal;
    if (!inspection->has_wal) {
        if (store->mark.frames > 0)
            error_set(error, ERROR_CORRUPT,
                      "the WAL is missing or empty, and acknowledged data was in it: put it back");
        return;
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_WAL;
    if (store_file_open(&wal, store->vfs, store->names.wal, flags, error) != ERROR_OK) return;
    enum error_code code = store_walscan(&wal, &store->mark, &scan, error);
    inspection->wal_damaged_at = scan.damaged_at;
    if (code == ERROR_CORRUPT)
        error_set(error, code, "it is damaged there, and acknowledged commits are behind it");
    store_file_close(&wal);
}

static void open_database(struct store_inspection *inspection, bool hide_wal)
{
    struct store *store = inspection->store;
    const struct store_options options = {.folder = store->names.folder};
    if (!inspection->has_database) {
        error_set(&inspection->database, ERROR_CORRUPT, "the database is missing or empty");
        return;
    }
    struct error error = {0};
    store_overlay_hide_wal(hide_wal);
    enum error_code code = store_schema_open(store, &options, &error);
    store->failure.code = ERROR_OK;
    inspection->readable = code == ERROR_OK;
    size_t name = strlen(store->names.database); /* which the finding says anyway */
    bool named = strncmp(error.text, store->names.database, name) == 0 && error.text[name] == ':';
    if (code) error_set(&inspection->database, code, "%s", error.text + (named ? name + 2 : 0));
}

static void close_database(struct store_inspection *inspection)
{
    struct store *store = inspection->store;
    struct store_overview *overview = &inspection->overview;
    for (int i = 0; i < STORE_STATEMENTS; i++) {
        sqlite3_finalize(store->statements[i]);
        store->statements[i] = NULL;
    }
    sqlite3_close(store->db);
    store->db = NULL;
    for (size_t i = 0; i < sizeof inspection->kept / sizeof *inspection->kept; i++) {
        blob_drop(inspection->kept[i]);
        inspection->kept[i] = NULL;
    }
    if (overview->has_snapshot) overview->bytes -= overview->snapshot.size;
    *overview = (struct store_overview){.folder = overview->folder, .bytes = overview->bytes};
    memset(inspection->meta, 0, sizeof inspection->meta);
    inspection->database.code = ERROR_OK;
}

static bool meta_is_sound(const struct store_inspection *inspection)
{
    for (int key = STORE_META_IDENTITY; key <= STORE_META_FIRST; key++) {
        if (inspection->meta[key].code) return false;
    }
    return true;
}

static void read_meta(struct store_inspection *inspection)
{
    static const char *const names[] = {"", "identity", "hard state", "snapshot meta", "base", "first configuration"};
    struct store *store = inspection->store;
    for (int key = STORE_META_IDENTITY; key <= STORE_META_FIRST; key++) {
        struct error *error = &inspection->meta[key];
        sqlite3_stmt *row = NULL;
        int result = sqlite3_prepare_v2(store->db, "SELECT bytes FROM meta WHERE key = ?1", -1, &row, NULL);
        if (result == SQLITE_OK) result = sqlite3_bind_int64(row, 1, key);
        if (result == SQLITE_OK) result = sqlite3_step(row);
        if (result == SQLITE_ROW) {
            struct slice bytes = {sqlite3_column_blob(row, 0), 0};
            bytes.size = (size_t)sqlite3_column_bytes(row, 0);
            decode_meta(inspection, key, bytes, error);
        } else if (result == SQLITE_DONE) {
            error_set(error, ERROR_CORRUPT, "%s: its row is missing", names[key]);
        } else {
            error_set(error, store_error_of(result), "%s: its row cannot be read: %s", names[key],
                      sqlite3_errmsg(store->db));
        }
        sqlite3_finalize(row);
    }
}

static enum error_code decode_meta(struct store_inspection *inspection, int key, struct slice bytes,
                                   struct error *error)
{
    struct store_overview *overview = &inspection->overview;
    struct blob *kept = blob_new(bytes.data, bytes.size);
    enum error_code code = ERROR_OK;
    bytes = slice_of(kept->data, kept->size);
    if (key == STORE_META_IDENTITY) {
        code = store_meta_decode_identity(bytes, &overview->identity, error);
        overview->has_identity = code == ERROR_OK;
    } else if (key == STORE_META_HARD_STATE) {
        code = store_meta_decode_hard_state(bytes, &overview->hard_state, error);
        overview->has_hard_state = code == ERROR_OK;
    } else if (key == STORE_META_BASE) {
        code = store_meta_decode_base(bytes, &overview->base, error);
        overview->has_base = code == ERROR_OK;
    } else if (key == STORE_META_FIRST) {
        code = store_meta_decode_first(bytes, &overview->first_configuration, error);
        overview->has_first = code == ERROR_OK;
        inspection->kept[1] = blob_take(kept);
    } else {
        code = store_meta_decode_snapshot(bytes, &overview->snapshot, error);
        overview->has_snapshot = code == ERROR_OK;
        inspection->kept[0] = blob_take(kept);
        if (!code) inspection->store->durable.snapshot = overview->snapshot;
        if (!code) overview->bytes += overview->snapshot.size;
    }
    blob_drop(kept);
    return code;
}

/* Where the rows begin and end, and what the last one says. */
static void read_ends(struct store_inspection *inspection)
{
    struct store_overview *overview = &inspection->overview;
    raft_index base = overview->has_base ? overview->base.index : 0;
    overview->last_term = overview->has_snapshot ? overview->snapshot.term : 0;
    store_inspect_rows(inspection, base + 1, INT64_MAX, true, note_last, overview, NULL);
    if (overview->last_index == 0) return;
    overview->first_index = base + 1;
    if (overview->has_base) return;
    sqlite3_stmt *row = NULL;
    int result = sqlite3_prepare_v2(inspection->store->db, "SELECT min(idx) FROM log", -1, &row, NULL);
    if (result == SQLITE_OK && sqlite3_step(row) == SQLITE_ROW)
        overview->first_index = (raft_index)sqlite3_column_int64(row, 0);
    sqlite3_finalize(row);
}

static bool note_last(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage)
{
    struct store_overview *overview = context;
    (void)damage;
    if (overview->last_index == 0) overview->last_index = index;
    if (entry) overview->last_term = entry->term;
    return entry == NULL; /* the last one that can be read */
}

/* ---- what it holds ---- */

enum error_code store_inspect_rows(struct store_inspection *inspection, raft_index first, raft_index last,
                                   bool descending, store_inspect_row *row, void *context, struct error *error)
{
    struct store *store = inspection->store;
    if (!inspection->readable) {
        return error_set(error, inspection->database.code, "%s: %.400s", store->names.database,
                         inspection->database.text);
    }
    const char *sql = descending
                          ? "SELECT idx, bytes FROM log WHERE idx >= ?1 AND idx <= ?2 ORDER BY idx DESC"
                          : "SELECT idx, bytes FROM log WHERE idx >= ?1 AND idx <= ?2 ORDER BY idx";
    sqlite3_stmt *rows = NULL;
    int result = sqlite3_prepare_v2(store->db, sql, -1, &rows, NULL);
    if (result == SQLITE_OK) result = sqlite3_bind_int64(rows, 1, first > INT64_MAX ? INT64_MAX : (int64_t)first);
    if (result == SQLITE_OK) result = sqlite3_bind_int64(rows, 2, last > INT64_MAX ? INT64_MAX : (int64_t)last);
    bool goes_on = result == SQLITE_OK;
    while (goes_on && (result = sqlite3_step(rows)) == SQLITE_ROW) {
        struct raft_entry entry;
        struct error damage = {0};
        size_t size;
        raft_index index = (raft_index)sqlite3_column_int64(rows, 0);
        enum error_code code = store_row_decode(rows, index, &entry, &size, &damage);
        goes_on = row(context, index, code ? NULL : &entry, &damage);
    }
    enum error_code code = ERROR_OK;
    if (result != SQLITE_DONE && result != SQLITE_ROW && result != SQLITE_OK) {
        code = error_set(error, store_error_of(result), "%s: its log cannot be read: %s (SQLite's code %d)",
                         store->names.database, sqlite3_errmsg(store->db), sqlite3_extended_errcode(store->db));
    }
    sqlite3_finalize(rows);
    return code;
}

struct snapshot_slot *inspect_snapshot_slot(struct store_inspection *inspection, struct error *error)
{
    struct store *store = inspection->store;
    const struct store_options options = {.folder = store->names.folder};
    if (!inspection->looked_for_snapshots) {
        inspection->looked_for_snapshots = true;
        store_snapshots_open(store, &options, &inspection->snapshots);
    }
    struct snapshot_slot *slot = snapshots_slot(store->snapshots, SLOT_COMPLETE);
    if (slot) return slot;
    if (inspection->snapshots.code)
        error_set(error, inspection->snapshots.code, "%s", inspection->snapshots.text);
    else
        error_set(error, ERROR_NOT_FOUND, "%s: it has no snapshot", store->names.folder);
    return NULL;
}

enum error_code store_inspect_snapshot(struct store_inspection *inspection,
                                       bool (*take)(void *context, struct slice bytes), void *context,
                                       struct error *error)
{
    struct snapshot_slot *slot = inspect_snapshot_slot(inspection, error);
    if (!slot) return error ? error->code : ERROR_NOT_FOUND;
    uint8_t *bytes = memory_alloc(slot->block);
    enum error_code code = ERROR_OK;
    bool goes_on = true;
    for (uint64_t at = 0, number = 0; at < slot->meta.size && !code && goes_on; at += slot->block, number++) {
        uint64_t left = slot->meta.size - at;
        size_t size = left < slot->block ? (size_t)left : slot->block;
        code = snapshot_read_block(slot, number, size, bytes, error);
        if (!code) goes_on = take(context, slice_of(bytes, size));
    }
    memory_free(bytes);
    return code;
}
