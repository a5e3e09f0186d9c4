/*
 * Everything that is wrong with a folder, one finding each: inspect.h. The order is that of store_open: the mark and
 * the WAL before SQLite is believed, the rows, the shape of the file, the snapshot.
 */
#include "store/inspect_internal.h"

#include "base/memory.h"
#include "raft/entry.h"
#include "store/snapshot_file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct check {
    struct store_inspection *inspection;
    const struct store_inspector *inspector;
    size_t found;
    uint64_t done;     /* bytes looked at, about */
    uint64_t row_bytes; /* of rows: a database is hardly larger than them */

    /* the log */
    raft_index expected; /* 0: any */
    bool chained;        /* `chain` and `term` are of the entry before */
    uint64_t chain;
    raft_term term;
    size_t alike;
};

static void check_mark(struct check *check);
static void check_wal(struct check *check);
static void check_meta(struct check *check);
static void check_log(struct check *check);
static bool check_row(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage);
static void check_end(struct check *check);
static void check_shape(struct check *check);
static void check_snapshot(struct check *check);
static void find(struct check *check, enum store_part part, enum error_code code, const char *file, raft_index index,
                 uint64_t offset, const char *format, ...) __attribute__((format(printf, 7, 8)));
static void find_row(struct check *check, enum error_code code, raft_index index, const char *text);
static void find_rest(struct check *check, enum store_part part, const char *file, const char *things);
static void advance(struct check *check, uint64_t bytes);

size_t store_inspect_check(struct store_inspection *inspection, const struct store_inspector *inspector)
{
    struct check check = {.inspection = inspection, .inspector = inspector};
    check_mark(&check);
    check_wal(&check);
    if (inspection->readable) {
        check_meta(&check);
        check_log(&check);
        check_shape(&check);
    } else {
        find(&check, STORE_PART_DATABASE, inspection->database.code, inspection->store->names.database, 0, 0, "%s",
             inspection->database.text);
    }
    check_snapshot(&check);
    return check.found;
}

/* A mark of zeros is one that was made and not written yet. */
static void check_mark(struct check *check)
{
    struct store *store = check->inspection->store;
    struct error error;
    bool sound;
    if (!check->inspection->has_mark) return;
    enum error_code code = store_mark_check(&store->mark_file, &sound, &error);
    if (code)
        find(check, STORE_PART_MARK, code, store->names.mark, 0, 0, "%s", error.text);
    else if (!sound)
        find(check, STORE_PART_MARK, ERROR_CORRUPT, store->names.mark, 0, 0, "its checksum does not match");
}

static void check_wal(struct check *check)
{
    const struct store_inspection *inspection = check->inspection;
    if (inspection->wal.code)
        find(check, STORE_PART_WAL, inspection->wal.code, inspection->store->names.wal, 0, inspection->wal_damaged_at,
             "%s", inspection->wal.text);
}

static void check_meta(struct check *check)
{
    static const enum store_part parts[] = {
        [STORE_META_IDENTITY] = STORE_PART_IDENTITY,
        [STORE_META_HARD_STATE] = STORE_PART_HARD_STATE,
        [STORE_META_SNAPSHOT] = STORE_PART_SNAPSHOT_META,
        [STORE_META_BASE] = STORE_PART_BASE,
        [STORE_META_FIRST] = STORE_PART_FIRST,
    };
    const struct store_inspection *inspection = check->inspection;
    const struct store_overview *overview = &inspection->overview;
    const char *file = inspection->store->names.database;
    for (int key = STORE_META_IDENTITY; key <= STORE_META_FIRST; key++) {
        const struct error *error = &inspection->meta[key];
        if (error->code) find(check, parts[key], error->code, file, 0, 0, "%s", error->text);
    }
    bool named = overview->identity.cluster != 0;
    if (overview->has_identity && overview->has_first && named != (overview->first_configuration.size > 0))
        find(check, STORE_PART_FIRST, ERROR_CORRUPT, file, 0, 0, "a cluster without its first configuration");
    if (overview->has_base && overview->has_snapshot && overview->base.index > overview->snapshot.index)
        find(check, STORE_PART_BASE, ERROR_CORRUPT, file, 0, 0, "the log begins behind its snapshot");
}

/* ---- the log ---- */

static void check_log(struct check *check)
{
    struct store_inspection *inspection = check->inspection;
    const struct store_overview *overview = &inspection->overview;
    struct error error = {0};
    if (overview->has_base) {
        check->expected = overview->base.index + 1;
        check->chained = true;
        check->chain = overview->base.chain;
        check->term = overview->base.term;
    }
    enum error_code code = store_inspect_rows(inspection, overview->has_base ? overview->base.index + 1 : 1,
                                              INT64_MAX, false, check_row, check, &error);
    if (code)
        find(check, STORE_PART_LOG, code, inspection->store->names.database, check->expected, 0,
             "from here on the log cannot be read: %s", error.text);
    find_rest(check, STORE_PART_LOG, inspection->store->names.database, "entries");
    check_end(check);
}

/* Behind one that is damaged the chain is taken up again. */
static bool check_row(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage)
{
    struct check *check = context;
    const struct raft_snapshot_meta *snapshot = &check->inspection->overview.snapshot;
    if (check->expected && index != check->expected) {
        char text[96];
        snprintf(text, sizeof text, "missing: the next is %" PRIu64, index);
        find_row(check, ERROR_CORRUPT, check->expected, text);
        check->chained = false;
    }
    check->expected = index + 1;
    if (!entry) {
        find_row(check, damage->code, index, damage->text);
        check->chained = false;
        return true;
    }
    bool last_of_snapshot = check->inspection->overview.has_snapshot && index == snapshot->index;
    if (check->chained && entry->chain != raft_entry_chain(entry, check->chain))
        find_row(check, ERROR_CORRUPT, index, "it does not continue the one before");
    else if (check->chained && entry->term < check->term)
        find_row(check, ERROR_CORRUPT, index, "its term is lower than the one before");
    else if (last_of_snapshot && (entry->term != snapshot->term || entry->chain != snapshot->chain))
        find_row(check, ERROR_CORRUPT, index, "it is not the one that the snapshot ends with");
    check->chained = true;
    check->chain = entry->chain;
    check->term = entry->term;
    check->row_bytes += raft_entry_size(entry);
    if (check->row_bytes >= 1u << 20) {
        advance(check, check->row_bytes);
        check->row_bytes = 0;
    }
    return true;
}

static void check_end(struct check *check)
{
    const struct store_overview *overview = &check->inspection->overview;
    raft_index end = overview->last_index > 0 ? overview->last_index : overview->base.index;
    if (overview->has_base && overview->has_snapshot && end < overview->snapshot.index)
        find(check, STORE_PART_LOG, ERROR_CORRUPT, check->inspection->store->names.database, end + 1, 0,
             "the log ends before its snapshot, which is at %" PRIu64, overview->snapshot.index);
}

/* ---- the file, the snapshot ---- */

static void check_shape(struct check *check)
{
    struct store *store = check->inspection->store;
    sqlite3_stmt *statement = NULL;
    char sql[64];
    snprintf(sql, sizeof sql, "PRAGMA quick_check(%d)", STORE_FINDINGS_ALIKE);
    int result = sqlite3_prepare_v2(store->db, sql, -1, &statement, NULL);
    while (result == SQLITE_OK && (result = sqlite3_step(statement)) == SQLITE_ROW) {
        char what[256];
        snprintf(what, sizeof what, "%s", (const char *)sqlite3_column_text(statement, 0));
        for (char *at = what; *at; at++) *at = *at == '\n' ? ' ' : *at;
        if (strcmp(what, "ok") != 0)
            find(check, STORE_PART_DATABASE, ERROR_CORRUPT, store->names.database, 0, 0, "%s", what);
        result = SQLITE_OK;
    }
    if (result != SQLITE_DONE)
        find(check, STORE_PART_DATABASE, store_error_of(result), store->names.database, 0, 0,
             "it cannot be checked: %s", sqlite3_errmsg(store->db));
    sqlite3_finalize(statement);
}

static void check_snapshot(struct check *check)
{
    struct store_inspection *inspection = check->inspection;
    const struct raft_snapshot_meta *meta = &inspection->overview.snapshot;
    struct error error = {0};
    if (!inspection->overview.has_snapshot || meta->index == 0) return;
    struct snapshot_slot *slot = inspect_snapshot_slot(inspection, &error);
    if (!slot) {
        const char *text = error.code == ERROR_CORRUPT ? "the snapshot's file is missing or cut short, or its head is "
                                                         "damaged, and the log alone is not enough"
                                                       : error.text;
        find(check, STORE_PART_SNAPSHOT, error.code, inspection->store->names.folder, meta->index, 0, "%s", text);
        return;
    }
    uint8_t *bytes = memory_alloc(slot->block);
    check->alike = 0;
    for (uint64_t at = 0, number = 0; at < meta->size; at += slot->block, number++) {
        uint64_t left = meta->size - at;
        size_t size = left < slot->block ? (size_t)left : slot->block;
        enum error_code code = snapshot_read_block(slot, number, size, bytes, &error);
        advance(check, size);
        if (!code || check->alike++ >= STORE_FINDINGS_ALIKE) continue;
        find(check, STORE_PART_SNAPSHOT, code, slot->name, meta->index, snapshot_block_at(slot, number), "%s",
             code == ERROR_CORRUPT ? "a block's checksum does not match" : error.text);
    }
    find_rest(check, STORE_PART_SNAPSHOT, slot->name, "blocks");
    memory_free(bytes);
}

/* ---- telling ---- */

static void find(struct check *check, enum store_part part, enum error_code code, const char *file, raft_index index,
                 uint64_t offset, const char *format, ...)
{
    struct store_finding finding = {part, code, file, index, offset, ""};
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(finding.text, sizeof finding.text, format, arguments);
    va_end(arguments);
    check->found++;
    if (check->inspector->found) check->inspector->found(check->inspector->context, &finding);
}

/* Texts that begin with the entry's own name do without it. */
static void find_row(struct check *check, enum error_code code, raft_index index, const char *text)
{
    char name[40];
    int size = snprintf(name, sizeof name, "entry %" PRIu64 ": ", index);
    if (strncmp(text, name, (size_t)size) == 0) text += size;
    if (check->alike++ < STORE_FINDINGS_ALIKE)
        find(check, STORE_PART_LOG, code, check->inspection->store->names.database, index, 0, "%s", text);
}

static void find_rest(struct check *check, enum store_part part, const char *file, const char *things)
{
    if (check->alike > STORE_FINDINGS_ALIKE)
        find(check, part, ERROR_CORRUPT, file, 0, 0, "%zu more %s are damaged", check->alike - STORE_FINDINGS_ALIKE,
             things);
    check->alike = 0;
}

static void advance(struct check *check, uint64_t bytes)
{
    uint64_t total = check->inspection->overview.bytes;
    check->done = check->done + bytes < total ? check->done + bytes : total;
    if (check->inspector->progress) check->inspector->progress(check->inspector->context, check->done, total);
}
