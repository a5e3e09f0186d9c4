/*
 * The disk: a Raft log, the hard state, the identity and the snapshot meta in one SQLite file,
 * synchronous. One thread uses a store at a time; the node gives it a thread of its own. One
 * connection per file, always. Snapshots are files beside it: snapshot.h.
 *
 * What is durable when: store_persist returns OK only after the transaction that holds everything
 * given is synced (WAL, synchronous=FULL, EXTRA where the first use creates the file). After
 * DISK_FULL nothing of it was done and the store can go on. After any other error the store refuses
 * every further call with the same error, and the process must stop: a failed write or sync is
 * never tried again.
 */
#ifndef MOONCLAVE_STORE_STORE_H
#define MOONCLAVE_STORE_STORE_H

#include "base/error.h"
#include "base/identity.h"
#include "raft/types.h"

struct store;

struct store_options {
    const char *folder;        /* the data folder; made when it is missing (its parent too) */
    const char *vfs;           /* SQLite VFS name; null: the default one */
    const char *id;            /* FOREIGN when the folder belongs to another; null: any */
    uint64_t incarnation;      /* drawn by the caller; used only when the folder is blank */
    uint32_t page_size;        /* of a new file; 0: 4096. The specs shrink this and the next */
    uint32_t checkpoint_pages; /* the WAL's length at which store_tidy checkpoints; 0: 1000 */
    uint32_t snapshot_block;   /* bytes under one checksum in a new snapshot's file; 0: 65536 */
};

/*
 * Opens or creates. Before SQLite sees the file, its WAL is scanned: frames of a later commit
 * behind a bad frame are corruption, not a torn tail. Locks the folder against a second process.
 * Verifies every entry's checksum and the chain. Errors name the file and what to do: FOREIGN,
 * VERSION, CORRUPT, IO, DISK_FULL, UNAVAILABLE (in use), NOT_FOUND (no id given, and nothing
 * there).
 */
enum error_code store_open(const struct store_options *options, struct store **store,
                           struct error *error);
/* Null is allowed. On the thread that holds references to what store_durable gave: blobs are
 * counted by one thread. */
void store_close(struct store *store);

/* What was found at open; the store's memory. True until the first store_persist. */
const struct raft_durable *store_durable(const struct store *store);
const struct identity *store_identity(const struct store *store); /* kept current */
/* What store_bootstrap was given, as found at open: a cluster is named after it. Empty in a blank node. */
struct slice store_first_configuration(const struct store *store);

/* Makes a blank node a member: the first configuration at index 0 and the cluster's id, in one
 * transaction. */
enum error_code store_bootstrap(struct store *store, struct slice configuration, uint64_t cluster,
                                struct error *error);

/* Carries out the writes given, in order, in one transaction. */
enum error_code store_persist(struct store *store, const struct raft_persist *const *writes,
                              size_t count, struct error *error);

/*
 * Does what can wait until completions are reported: removes a few hundred rows that store_compact
 * or store_install has left behind, and copies the WAL into the database file when it has grown
 * long enough (milliseconds, and two syncs, once in about a thousand pages). Call it after each
 * store_persist, and when idle until store_is_tidy; a store that is never tidied checkpoints within
 * store_persist, later. OK, or what has broken the store since: a failed checkpoint takes nothing
 * back that store_persist has said, but the process must stop. A full disk is not an error here: the
 * WAL and the rows wait.
 */
enum error_code store_tidy(struct store *store, struct error *error);

bool store_is_tidy(const struct store *store); /* no rows wait to be removed */

/*
 * A snapshot becomes what this node starts from: its file is complete and synced (snapshot.h). Both
 * are one transaction, and durable when they return OK.
 *
 * store_adopt: one of this node's own, at an index within the log; the log stays as it is.
 * store_install: one that came in; the log is then the empty one behind it.
 */
enum error_code store_adopt(struct store *store, const struct raft_snapshot_meta *meta,
                            struct error *error);
enum error_code store_install(struct store *store, const struct raft_snapshot_meta *meta,
                              struct error *error);
/* Forgets the log up to `index`, which the snapshot covers: at once for every reader, row by row in
 * store_tidy. Harmless where it is not news. */
enum error_code store_compact(struct store *store, raft_index index, struct error *error);

/* Reads entries from `first` on, at most to `last`, at most max_bytes of encoded size but at least
 * one, with checksums verified. *entries is the caller's, to be freed by store_entries_free. Fewer
 * or none when the log does not hold them. */
struct store_entries {
    struct raft_entry *entries;
    size_t count;
};
enum error_code store_read(struct store *store, raft_index first, raft_index last, size_t max_bytes,
                           struct store_entries *entries, struct error *error);
void store_entries_free(struct store_entries *entries); /* drops each payload and frees the array */

/* Counters since open, for specs and metrics. */
struct store_counters {
    uint64_t commits;  /* transactions that were synced */
    uint64_t writes;   /* raft_persist carried out */
    uint64_t entries;  /* entries appended */
    uint64_t bytes;    /* entry bytes appended */
    uint64_t refusals; /* transactions that a full disk refused */
    uint64_t checkpoints;
    uint64_t trimmed;  /* rows removed behind a snapshot */
};
struct store_counters store_counters(const struct store *store);

#endif
