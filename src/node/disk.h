/*
 * The disk thread around the synchronous store. The loop hands over work in order and never waits;
 * the thread takes its whole queue at once and makes one commit of all writes in it: group commit
 * without timers. Completions gather until the loop collects them, with one wake-up for many. When
 * nothing is asked of it, it removes slice by slice what snapshots have made needless in the log: a
 * write that comes meanwhile waits for one slice at most.
 *
 * A refused write (disk full) takes every later one with it that was handed over before the loop
 * learned of the refusal. Payload references are counted on the loop's thread only: this thread
 * reads bytes, it never takes or drops a blob that the loop can see.
 */
#ifndef MOONCLAVE_NODE_DISK_H
#define MOONCLAVE_NODE_DISK_H

#include "base/histogram.h"
#include "store/store.h"

struct disk;

/* Called by disk_collect, on the loop's thread. */
struct disk_events {
    void *context;
    void (*persisted)(void *context, uint64_t sequence, enum error_code code,
                      const struct error *error);
    void (*bootstrapped)(void *context, enum error_code code, const struct error *error);
    /* The entries are the callee's for the call only. */
    void (*log_read)(void *context, uint64_t token, const struct raft_entry *entries, size_t count,
                     enum error_code code, const struct error *error);
    void (*failed)(void *context,
                   const struct error *error); /* between writes: the node must stop */
};

/* Takes the store over until disk_stop. `wake` is called by the disk thread when there is something
 * to collect. */
struct disk *disk_start(struct store *store, const struct disk_events *events,
                        void (*wake)(void *context), void *wake_context);
/* Carries out what was handed over, ends the thread; collect afterwards. Rows that wait to be removed
 * wait for the next start. */
void disk_stop(struct disk *disk);
void disk_free(struct disk *disk); /* after disk_stop; drops what was not collected */

/* Copied, but not the entries. */
void disk_persist(struct disk *disk, const struct raft_persist *persist);
void disk_bootstrap(struct disk *disk, struct slice configuration, uint64_t cluster);
void disk_read(struct disk *disk, uint64_t token, raft_index first, raft_index last,
               size_t max_bytes);
void disk_collect(struct disk *disk);

/*
 * Other work on the store, in the order of the above but never part of a refusal: `run` is called by
 * the disk thread and says itself what came of it. The one call that any thread may make, before
 * disk_stop; the task is the caller's and stays until it is run.
 */
struct disk_task {
    void (*run)(struct disk_task *task, struct store *store);
};
void disk_run(struct disk *disk, struct disk_task *task);

struct disk_counters {
    struct store_counters store;
    uint64_t batches;     /* queues taken */
    uint64_t entries_max; /* the most entries in one commit */
    struct histogram persist; /* how long commits take */
};
struct disk_counters disk_counters(struct disk *disk);

#endif
