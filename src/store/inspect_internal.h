/* What inspect.c and inspect_check.c share. */
#ifndef MOONCLAVE_STORE_INSPECT_INTERNAL_H
#define MOONCLAVE_STORE_INSPECT_INTERNAL_H

#include "store/inspect.h"
#include "store/internal.h"

struct store_inspection {
    struct store *store; /* names, lock, mark and connection: opened over the overlay, never in order to write */
    struct store_overview overview;
    bool has_database, has_wal, has_mark; /* there is something in the file */
    struct error wal;                     /* what is wrong with the WAL; code OK: nothing */
    uint64_t wal_damaged_at;
    bool readable;                        /* the database is open and its schema is right */
    struct error database;                /* why not */
    struct error meta[STORE_META_FIRST + 1]; /* by key; code OK: it is sound */
    struct blob *kept[2]; /* what the overview's configurations point into: the snapshot's, the first */
    bool looked_for_snapshots;
    struct error snapshots; /* why the one that is needed was not found */
};

/* The file of the snapshot that the node starts from, opened; null, with *error saying why, where it is not there. */
struct snapshot_slot *inspect_snapshot_slot(struct store_inspection *inspection, struct error *error);

#endif
