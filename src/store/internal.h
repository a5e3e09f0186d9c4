/*
 * What the store's own files share. Nothing outside src/store includes this.
 *
 * The database is FOLDER/moonclave.db: `application_id` says that it is a store, `user_version` in
 * which format. Its tables:
 *
 *   log(idx INTEGER PRIMARY KEY, bytes BLOB)   an entry's bytes: raft/entry.h. Rows up to the base
 *                                              are garbage that waits to be removed (compact.c)
 *   meta(key INTEGER PRIMARY KEY, bytes BLOB)  identity, hard state, snapshot meta, base of the log,
 *                                              first configuration: meta.h; always all five
 *
 * Snapshots are files beside it: snapshot_file.h.
 */
#ifndef MOONCLAVE_STORE_INTERNAL_H
#define MOONCLAVE_STORE_INTERNAL_H

#include "store/file.h"
#include "store/mark.h"
#include "store/meta.h"
#include "store/snapshot.h"
#include "store/store.h"

#define STORE_APPLICATION_ID   0x4d434c56 /* "MCLV" */
#define STORE_FORMAT           1
#define STORE_PAGE_SIZE        4096
#define STORE_CHECKPOINT_PAGES 1000
/* store_persist checkpoints by itself at this many times checkpoint_pages. */
#define STORE_CHECKPOINT_PATIENCE 4
/* Rows that one call of store_tidy removes from the log. */
#define STORE_TRIM_ROWS 500

enum store_statement {
    STORE_BEGIN,
    STORE_COMMIT,
    STORE_ROLLBACK,
    STORE_APPEND,
    STORE_TRUNCATE,
    STORE_READ,
    STORE_SET_META,
    STORE_TRIM,
    STORE_STATEMENTS,
};

/* Where the log ends. */
struct store_tail {
    raft_index index;
    uint64_t chain;
};

struct store {
    sqlite3_vfs *vfs;
    struct store_names names;
    struct store_file lock_file;
    struct store_file mark_file;
    sqlite3 *db;
    sqlite3_stmt *statements[STORE_STATEMENTS];

    struct identity identity;
    struct raft_durable durable; /* as found at open */
    struct raft_term_run *runs;  /* owned, durable points to them */
    struct raft_entry *configurations, *skips;
    struct blob *snapshot_configuration;
    struct blob *first_configuration;

    struct store_tail tail; /* of what is durable */
    raft_index garbage;     /* rows from here to the base are to be removed; 0: none */
    struct store_snapshots *snapshots;
    struct store_mark mark; /* as last written */
    bool generation_known;  /* mark.generation is that of the WAL's frames */
    uint32_t frames;        /* in the WAL, as SQLite's hook said after the last commit */
    uint32_t checkpoint_pages;

    struct buffer scratch; /* one row's bytes on their way in */
    struct error failure;  /* code OK: none; else what every call answers from now on */
    struct store_counters counters;
};

/* ---- failing (store.c) ---- */

/* Breaks the store, except with DISK_FULL. Returns the code, with the text in *error. */
enum error_code store_fail(struct store *store, const struct error *failure, struct error *error);
/* The same from SQLite's last result; `doing` completes "FILE: ... : what SQLite says". */
enum error_code store_fail_sql(struct store *store, const char *doing, int result,
                               struct error *error);
/* OK, or the failure that broke the store earlier. */
enum error_code store_check(const struct store *store, struct error *error);

/* ---- opening (schema.c, load.c) ---- */

/* Opens the database with its settings, makes what a blank one needs, prepares the statements. */
enum error_code store_schema_open(struct store *store, const struct store_options *options,
                                  struct error *error);
/* Reads and verifies every row; FOREIGN when they are another node's. */
enum error_code store_load(struct store *store, const struct store_options *options,
                           struct error *error);
void store_durable_free(struct store *store);

/* Replaces a row of `meta`, within a transaction: its new bytes are in scratch. SQLite's result. */
int store_set_meta(struct store *store, enum store_meta_key key);

/* One row of STORE_READ, checked; the payload points into SQLite's row. */
enum error_code store_row_decode(sqlite3_stmt *row, raft_index expected, struct raft_entry *entry,
                                 size_t *size, struct error *error);

/* Steps a prepared statement that returns no row, and resets it. SQLite's result, OK when done. */
int store_run(struct store *store, enum store_statement statement);

/* ---- snapshots (snapshot.c), compaction (compact.c) ---- */

/* Finds the folder's snapshot files: the one of `meta` must be there and whole (index 0: none is
 * needed), one that was coming in is kept, all others are deleted. */
enum error_code store_snapshots_open(struct store *store, const struct store_options *options,
                                     struct error *error);
void store_snapshots_close(struct store_snapshots *snapshots); /* null is allowed */
enum error_code store_find_garbage(struct store *store, struct error *error);
enum error_code store_trim(struct store *store, struct error *error); /* one slice */

/* ---- committing (persist.c, checkpoint.c) ---- */

/* Syncs what was done since STORE_BEGIN. DISK_FULL leaves the store as before STORE_BEGIN. */
enum error_code store_commit(struct store *store, struct error *error);
/* Gives up the transaction after `result` and says what that means for the store. */
enum error_code store_abandon(struct store *store, const char *doing, int result,
                              struct error *error);
void store_checkpoint(struct store *store); /* a failure breaks the store */
/* SQLite's WAL hook: notes the length after a commit. */
int store_note_frames(void *context, sqlite3 *db, const char *schema, int frames);

#endif
