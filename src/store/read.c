/* Reading entries back, for followers and for applying after a restart. Every row is checked before
 * it is believed. */
#include "store/internal.h"

#include "base/memory.h"
#include "raft/entry.h"

#include <string.h>

static void keep(struct store_entries *entries, size_t *capacity, const struct raft_entry *entry);
static enum error_code decode_row(struct store *store, sqlite3_stmt *row, raft_index expected,
                                  struct raft_entry *entry, size_t *size, struct error *error);

enum error_code store_read(struct store *store, raft_index first, raft_index last, size_t max_bytes,
                           struct store_entries *entries, struct error *error)
{
    *entries = (struct store_entries){0};
    enum error_code code = store_check(store, error);
    if (code || first > last || first > INT64_MAX) return code;
    if (first <= store->durable.base.index) return ERROR_OK; /* garbage, or gone */
    sqlite3_stmt *row = store->statements[STORE_READ];
    sqlite3_bind_int64(row, 1, (sqlite3_int64)first);
    sqlite3_bind_int64(row, 2, last > INT64_MAX ? INT64_MAX : (sqlite3_int64)last);
    size_t capacity = 0, bytes = 0, size;
    struct raft_entry entry;
    int result;
    while ((result = sqlite3_step(row)) == SQLITE_ROW) {
        if (entries->count == 0 && sqlite3_column_int64(row, 0) != (sqlite3_int64)first)
            break; /* it begins later */
        if ((code = decode_row(store, row, first + entries->count, &entry, &size, error))) break;
        bytes += size;
        if (entries->count > 0 && bytes > max_bytes) break;
        keep(entries, &capacity, &entry);
        if (bytes >= max_bytes) break;
    }
    if (result != SQLITE_ROW && result != SQLITE_DONE)
        code = store_fail_sql(store, "cannot be read", result, error);
    sqlite3_reset(row);
    if (code) store_entries_free(entries);
    return code;
}

void store_entries_free(struct store_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) raft_entry_drop(&entries->entries[i]);
    memory_free(entries->entries);
    *entries = (struct store_entries){0};
}

static void keep(struct store_entries *entries, size_t *capacity, const struct raft_entry *entry)
{
    if (entries->count == *capacity) {
        *capacity = *capacity ? *capacity * 2 : 16;
        entries->entries = memory_resize(entries->entries, *capacity, sizeof *entries->entries);
    }
    struct raft_entry *kept = &entries->entries[entries->count++];
    *kept = *entry;
    struct slice bytes = entry->payload.bytes;
    kept->payload = (struct raft_payload){0};
    if (bytes.size == 0) return;
    struct blob *blob = blob_new(bytes.data, bytes.size);
    kept->payload = (struct raft_payload){blob, slice_of(blob->data, blob->size)};
}

/* The payload points into SQLite's row. */
static enum error_code decode_row(struct store *store, sqlite3_stmt *row, raft_index expected,
                                  struct raft_entry *entry, size_t *size, struct error *error)
{
    struct error failure;
    enum error_code code = store_row_decode(row, expected, entry, size, &failure);
    if (!code) return ERROR_OK;
    struct error broken;
    error_set(&broken, code, "%s: entry %llu: %.250s: " STORE_REBUILD, store->names.database,
              (unsigned long long)expected, failure.text);
    return store_fail(store, &broken, error);
}

enum error_code store_row_decode(sqlite3_stmt *row, raft_index expected, struct raft_entry *entry,
                                 size_t *size, struct error *error)
{
    struct slice bytes = {sqlite3_column_blob(row, 1), 0};
    bytes.size = (size_t)sqlite3_column_bytes(row, 1);
    raft_index index = (raft_index)sqlite3_column_int64(row, 0);
    if (index != expected) {
        return error_set(error, ERROR_CORRUPT, "missing: the next is %llu",
                         (unsigned long long)index);
    }
    enum error_code code = raft_entry_decode(bytes, entry, size, error);
    if (code) return code;
    if (*size == bytes.size && entry->index == index) return ERROR_OK;
    return error_set(error, ERROR_CORRUPT, "its row holds something else");
}
