/*
 * Looking at a stopped node's folder: what it holds, and everything that is damaged in it.
 *
 * Where store_open stops at the first thing that is wrong, this goes on and tells of each: which file, which entry,
 * which offset. Nothing is written (vfs_overlay.h), and the folder's lock is held meanwhile: a running node's folder is
 * refused, and no node can start on it. One inspection of a folder at a time.
 */
#ifndef MOONCLAVE_STORE_INSPECT_H
#define MOONCLAVE_STORE_INSPECT_H

#include "base/error.h"
#include "base/identity.h"
#include "raft/types.h"

struct store_inspection;

/* What may be damaged. One row per part: its name, and what it is called. */
#define STORE_PART_TABLE(X) \
    X(DATABASE, "database") \
    X(WAL, "wal") \
    X(MARK, "mark") \
    X(IDENTITY, "identity") \
    X(HARD_STATE, "hard_state") \
    X(SNAPSHOT_META, "snapshot_meta") \
    X(BASE, "base") \
    X(FIRST, "first_configuration") \
    X(LOG, "log") \
    X(SNAPSHOT, "snapshot")

enum store_part {
#define X(name, text) STORE_PART_##name,
    STORE_PART_TABLE(X)
#undef X
};
const char *store_part_name(enum store_part part);

/* One thing that is wrong. `index` and `offset`: 0 where they say nothing. */
struct store_finding {
    enum store_part part;
    enum error_code code; /* CORRUPT; VERSION: a newer program may know better; IO: it cannot be read */
    const char *file;     /* its path; borrowed from the inspection */
    raft_index index;
    uint64_t offset;
    char text[ERROR_TEXT_MAX]; /* what is wrong, without file and place */
};

/* What the folder says of itself, as far as it is sound: the `has_` of what is not is false. */
struct store_overview {
    const char *folder; /* as resolved */
    bool has_identity, has_hard_state, has_snapshot, has_base, has_first;
    struct identity identity;
    struct raft_hard_state hard_state;
    struct raft_snapshot_meta snapshot; /* its configuration is the inspection's */
    struct raft_log_base base;
    struct slice first_configuration;
    raft_index first_index, last_index; /* rows of the log; 0: there are none */
    raft_term last_term;                /* of the last one that can be read, or of the snapshot */
    uint64_t bytes;                     /* of database, WAL and the snapshot */
};

/* Opens. OK also where all of it is damaged: that is found below. UNAVAILABLE: a process uses the folder; NOT_FOUND:
 * there is no node's data; IO: it cannot be looked at. */
enum error_code store_inspect_open(const char *folder, struct store_inspection **inspection, struct error *error);
void store_inspect_close(struct store_inspection *inspection); /* null is allowed */

/* True after the opening, and complete after store_inspect_check. */
const struct store_overview *store_inspect_overview(const struct store_inspection *inspection);

/* Where findings and progress go. Either may be null. */
struct store_inspector {
    void *context;
    void (*found)(void *context, const struct store_finding *finding);
    void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes, about */
};

/* Looks at everything. The count of findings; of those alike (entries, blocks of a snapshot) the first
 * STORE_FINDINGS_ALIKE are told, then one that says how many more there are. */
#define STORE_FINDINGS_ALIKE 8
size_t store_inspect_check(struct store_inspection *inspection, const struct store_inspector *inspector);

/* The rows of the log from `first` to `last`, ascending or descending, until `row` answers false. `entry` is null for
 * one that is damaged, with `damage` saying how; else its payload is borrowed for the call. Rows alone are checked
 * here, not how they are chained. An error: no (more) rows can be read. */
typedef bool store_inspect_row(void *context, raft_index index, const struct raft_entry *entry,
                               const struct error *damage);
enum error_code store_inspect_rows(struct store_inspection *inspection, raft_index first, raft_index last,
                                   bool descending, store_inspect_row *row, void *context, struct error *error);

/* The bytes of the snapshot that the node starts from, in pieces, each checked, until `take` answers false. NOT_FOUND:
 * it has none; CORRUPT. */
enum error_code store_inspect_snapshot(struct store_inspection *inspection,
                                       bool (*take)(void *context, struct slice bytes), void *context,
                                       struct error *error);

#endif
