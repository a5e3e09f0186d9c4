/*
 * The database file: its settings, its making, and whether it is one of ours.
 *
 * A blank file gets everything (tables, first rows, magic) in one transaction of a rollback
 * journal, synced with the folder (synchronous=EXTRA), before it is ever in WAL mode: it is either
 * blank or complete. From then on it is WAL, synchronous=FULL.
 */
#include "store/internal.h"

#include "base/mutant.h"
#include "store/meta.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static enum error_code connect(struct store *store, struct error *error);
static enum error_code create(struct store *store, const struct store_options *options,
                              struct error *error);
static enum error_code insert_meta(struct store *store, enum store_meta_key key, struct slice bytes,
                                   struct error *error);
static enum error_code check_magic(struct store *store, struct error *error);
static enum error_code check_schema(struct store *store, struct error *error);
static enum error_code enter_wal_mode(struct store *store, const struct store_options *options,
                                      struct error *error);
static enum error_code prepare_all(struct store *store, struct error *error);
static enum error_code execute(struct store *store, const char *sql, const char *doing,
                               struct error *error);
static enum error_code ask_number(struct store *store, const char *sql, int64_t *number,
                                  struct error *error);

static const char *const tables[] = {
    "CREATE TABLE log(idx INTEGER PRIMARY KEY, bytes BLOB NOT NULL)",
    "CREATE TABLE meta(key INTEGER PRIMARY KEY, bytes BLOB NOT NULL)",
};
#define TABLE_COUNT (sizeof tables / sizeof tables[0])

static const char *const statement_texts[STORE_STATEMENTS] = {
    [STORE_BEGIN] = "BEGIN IMMEDIATE",
    [STORE_COMMIT] = "COMMIT",
    [STORE_ROLLBACK] = "ROLLBACK",
    [STORE_APPEND] = "INSERT INTO log(idx, bytes) VALUES(?1, ?2)",
    [STORE_TRUNCATE] = "DELETE FROM log WHERE idx >= ?1",
    [STORE_READ] = "SELECT idx, bytes FROM log WHERE idx >= ?1 AND idx <= ?2 ORDER BY idx",
    [STORE_TRIM] = "DELETE FROM log WHERE idx < ?1",
    [STORE_SET_META] = "UPDATE meta SET bytes = ?2 WHERE key = ?1",
};

enum error_code store_schema_open(struct store *store, const struct store_options *options,
                                  struct error *error)
{
    int64_t pages;
    enum error_code code = connect(store, error);
    if (!code) code = ask_number(store, "PRAGMA page_count", &pages, error);
    if (code) return code;
    code = pages == 0 ? create(store, options, error) : check_magic(store, error);
    if (!code) code = check_schema(store, error);
    if (!code) code = enter_wal_mode(store, options, error);
    return code ? code : prepare_all(store, error);
}

/* Steps a prepared statement that returns no row. */
int store_run(struct store *store, enum store_statement statement)
{
    int result = sqlite3_step(store->statements[statement]);
    int reset = sqlite3_reset(store->statements[statement]);
    return result == SQLITE_DONE ? reset : result;
}

/* ---- making and checking ---- */

/* Exclusive: the WAL's index stays in memory, no other connection can come. No spilling: frames are
 * written at commit only, so a transaction that fails earlier has touched nothing. Never a
 * checkpoint but our own (checkpoint.c). */
static enum error_code connect(struct store *store, struct error *error)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_PRIVATECACHE;
    int result = sqlite3_open_v2(store->names.database, &store->db, flags, store->vfs->zName);
    if (result != SQLITE_OK) return store_fail_sql(store, "cannot be opened", result, error);
    sqlite3_extended_result_codes(store->db, 1);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    sqlite3_db_config(store->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_wal_hook(store->db, store_note_frames, store);
    return execute(store,
                   "PRAGMA locking_mode = EXCLUSIVE;"
                   "PRAGMA synchronous = EXTRA;"
                   "PRAGMA fullfsync = ON;"
                   "PRAGMA checkpoint_fullfsync = ON;"
                   "PRAGMA cache_spill = OFF;"
                   "PRAGMA secure_delete = OFF;"
                   "PRAGMA cell_size_check = ON;"
                   "PRAGMA trusted_schema = OFF;"
                   "PRAGMA temp_store = MEMORY;"
                   "PRAGMA mmap_size = 0",
                   "cannot be set up", error);
}

static enum error_code create(struct store *store, const struct store_options *options,
                              struct error *error)
{
    if (!options->id) {
        return error_set(error, ERROR_NOT_FOUND, "%s: there is no node's data here",
                         store->names.folder);
    }
    char sql[160];
    snprintf(sql, sizeof sql,
             "PRAGMA page_size = %" PRIu32 "; PRAGMA auto_vacuum = NONE; BEGIN IMMEDIATE",
             options->page_size ? options->page_size : STORE_PAGE_SIZE);
    enum error_code code = execute(store, sql, "cannot be made", error);
    for (size_t i = 0; i < TABLE_COUNT && !code; i++)
        code = execute(store, tables[i], "cannot be made", error);
    struct identity identity = {.incarnation = options->incarnation};
    struct raft_hard_state hard_state = {0};
    struct raft_snapshot_meta snapshot = {.format_level = FORMAT_LEVEL};
    struct raft_log_base base = {0};
    snprintf(identity.id, sizeof identity.id, "%s", options->id);

    buffer_clear(&store->scratch);
    store_meta_encode_identity(&identity, &store->scratch);
    if (!code) code = insert_meta(store, STORE_META_IDENTITY, buffer_slice(&store->scratch), error);
    buffer_clear(&store->scratch);
    store_meta_encode_hard_state(&hard_state, &store->scratch);
    if (!code)
        code = insert_meta(store, STORE_META_HARD_STATE, buffer_slice(&store->scratch), error);
    buffer_clear(&store->scratch);
    store_meta_encode_snapshot(&snapshot, &store->scratch);
    if (!code) code = insert_meta(store, STORE_META_SNAPSHOT, buffer_slice(&store->scratch), error);
    buffer_clear(&store->scratch);
    store_meta_encode_base(&base, &store->scratch);
    if (!code) code = insert_meta(store, STORE_META_BASE, buffer_slice(&store->scratch), error);
    buffer_clear(&store->scratch);
    store_meta_encode_first((struct slice){0}, &store->scratch);
    if (!code) code = insert_meta(store, STORE_META_FIRST, buffer_slice(&store->scratch), error);
    if (code) return code;
    snprintf(sql, sizeof sql, "PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT",
             STORE_APPLICATION_ID, STORE_FORMAT);
    return execute(store, sql, "cannot be made", error);
}

static enum error_code insert_meta(struct store *store, enum store_meta_key key, struct slice bytes,
                                   struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, "INSERT INTO meta(key, bytes) VALUES(?1, ?2)", -1,
                                    &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_bind_int64(statement, 1, key);
    if (result == SQLITE_OK)
        result = sqlite3_bind_blob64(statement, 2, bytes.data, bytes.size, SQLITE_STATIC);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    sqlite3_finalize(statement);
    return result == SQLITE_DONE ? ERROR_OK
                                 : store_fail_sql(store, "cannot be made", result, error);
}

static enum error_code check_magic(struct store *store, struct error *error)
{
    int64_t id, format;
    enum error_code code = ask_number(store, "PRAGMA application_id", &id, error);
    if (!code) code = ask_number(store, "PRAGMA user_version", &format, error);
    if (code) return code;
    if (id != STORE_APPLICATION_ID) {
        return error_set(error, ERROR_VERSION,
                         "%s: this is not a Moonclave store (application id 0x%08" PRIx32
                         ", not 0x%08x): another program wrote it, or its header is damaged",
                         store->names.database, (uint32_t)id, STORE_APPLICATION_ID);
    }
    if (format != STORE_FORMAT) {
        return error_set(error, ERROR_VERSION,
                         "%s: written in store format %" PRId64
                         ", but this program (moonclave %s) knows format %d: use the release "
                         "that wrote it, or a later one",
                         store->names.database, format, MOONCLAVE_VERSION, STORE_FORMAT);
    }
    return ERROR_OK;
}

/* To the letter: a damaged schema could mean anything and still parse. */
static enum error_code check_schema(struct store *store, struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, "SELECT sql FROM sqlite_schema ORDER BY name", -1,
                                    &statement, NULL);
    if (result != SQLITE_OK)
        return store_fail_sql(store, "its schema cannot be read", result, error);
    size_t count = 0;
    bool same = true;
    while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
        const char *sql = (const char *)sqlite3_column_text(statement, 0);
        same = same && count < TABLE_COUNT && sql && strcmp(sql, tables[count]) == 0;
        count++;
    }
    sqlite3_finalize(statement);
    if (result != SQLITE_DONE)
        return store_fail_sql(store, "its schema cannot be read", result, error);
    if (same && count == TABLE_COUNT && !sqlite3_db_readonly(store->db, "main")) return ERROR_OK;
    return error_set(error, ERROR_CORRUPT, "%s: its schema is damaged", store->names.database);
}

/* A WAL that one great commit has stretched is cut back when it is filled anew. */
static enum error_code enter_wal_mode(struct store *store, const struct store_options *options,
                                      struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, "PRAGMA journal_mode = WAL", -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    bool wal =
        result == SQLITE_ROW && strcmp((const char *)sqlite3_column_text(statement, 0), "wal") == 0;
    int finished = sqlite3_finalize(statement);
    if (result != SQLITE_ROW || finished != SQLITE_OK) {
        return store_fail_sql(store, "WAL mode", result == SQLITE_ROW ? finished : result, error);
    }
    if (!wal)
        return error_set(error, ERROR_INTERNAL, "%s: SQLite refuses WAL mode",
                         store->names.database);
    uint64_t page_size = options->page_size ? options->page_size : STORE_PAGE_SIZE;
    char sql[128];
    const char *level = FAULT(STORE_UNSYNCED) ? "OFF" : "FULL";
    snprintf(sql, sizeof sql, "PRAGMA synchronous = %s; PRAGMA journal_size_limit = %" PRIu64, level,
             page_size * store->checkpoint_pages * STORE_CHECKPOINT_PATIENCE);
    return execute(store, sql, "cannot be set up", error);
}

static enum error_code prepare_all(struct store *store, struct error *error)
{
    for (int i = 0; i < STORE_STATEMENTS; i++) {
        int result = sqlite3_prepare_v3(store->db, statement_texts[i], -1,
                                        SQLITE_PREPARE_PERSISTENT, &store->statements[i], NULL);
        if (result != SQLITE_OK) return store_fail_sql(store, "cannot be used", result, error);
    }
    return ERROR_OK;
}

/* ---- plain SQL ---- */

static enum error_code execute(struct store *store, const char *sql, const char *doing,
                               struct error *error)
{
    int result = sqlite3_exec(store->db, sql, NULL, NULL, NULL);
    return result == SQLITE_OK ? ERROR_OK : store_fail_sql(store, doing, result, error);
}

static enum error_code ask_number(struct store *store, const char *sql, int64_t *number,
                                  struct error *error)
{
    sqlite3_stmt *statement = NULL;
    int result = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    if (result == SQLITE_OK) result = sqlite3_step(statement);
    if (result == SQLITE_ROW) *number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    return result == SQLITE_ROW ? ERROR_OK : store_fail_sql(store, "cannot be read", result, error);
}
