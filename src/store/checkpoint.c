/*
 * Checkpoints: the WAL's pages are copied into the database file, and the next commit fills the WAL
 * from its start again.
 *
 * SQLite's own automatic checkpoint hides its failures and runs before the commit is reported. Here
 * it is called by itself, so that a failure is seen, and after the report where the caller wishes
 * (store_tidy).
 */
#include "store/internal.h"

enum error_code store_tidy(struct store *store, struct error *error)
{
    enum error_code code = store_check(store, error);
    if (!code) code = store_trim(store, error);
    if (code || store->frames < store->checkpoint_pages) return code;
    store_checkpoint(store);
    return store_check(store, error);
}

/* A full disk leaves the WAL as it is, complete, and the store whole: it is tried again. Everything
 * else, a failed sync above all, is final: the commits are in the WAL and stay said, but this
 * process may not go on. */
void store_checkpoint(struct store *store)
{
    int in_wal = 0, copied = 0;
    int result =
        sqlite3_wal_checkpoint_v2(store->db, "main", SQLITE_CHECKPOINT_PASSIVE, &in_wal, &copied);
    if (result != SQLITE_OK) {
        store_fail_sql(store, "checkpoint failed", result, NULL);
        return;
    }
    if (in_wal != copied) return;
    store->frames = 0;
    store->generation_known = false;
    store->counters.checkpoints++;
}

int store_note_frames(void *context, sqlite3 *db, const char *schema, int frames)
{
    (void)db;
    (void)schema;
    ((struct store *)context)->frames = (uint32_t)frames;
    return SQLITE_OK;
}
