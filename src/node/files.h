/*
 * The thread for snapshots' files, beside the disk thread: a snapshot of gigabytes is written, read
 * and synced while the log goes on. Work is carried out in the order given. What makes a snapshot
 * this node's own is the log's business: that part is handed on to the disk thread, behind the writes
 * given to it before, and comes back from there.
 *
 * Reports gather until the loop collects them. Payload references are taken and dropped on the loop's
 * thread only; bytes that were read are a blob that this thread made and hands over whole.
 */
#ifndef MOONCLAVE_NODE_FILES_H
#define MOONCLAVE_NODE_FILES_H

#include "host/host.h"
#include "node/disk.h"

struct files;

/* Called by files_report, on the loop's thread. */
struct files_events {
    void *context;
    void (*done)(void *context, const struct host_snapshot_report *report);
    void (*failed)(void *context, const struct error *error); /* the node must stop */
};

/* Takes the store's snapshots over until files_stop. `wake` is called by the thread when there is
 * something to gather. */
struct files *files_start(struct store *store, struct disk *disk, const struct files_events *events,
                          void (*wake)(void *context), void *wake_context);
/* Carries out what was handed over and ends the thread. Before disk_stop, which carries out what was
 * handed on to the disk; what would follow here after that (a deletion) is the next start's. */
void files_stop(struct files *files);
void files_free(struct files *files); /* after disk_stop; drops what was not reported */

/* Copied; takes a reference to the bytes. */
void files_give(struct files *files, const struct host_snapshot_job *job);

/* The snapshot at this index stays readable, however many newer ones are taken, until it is let go as often: then the
 * next one's coming deletes it. At most FILES_PINS_MAX at once. On the loop's thread, for one that is there: since
 * work is carried out in the order given, what deletes older ones was given before. */
#define FILES_PINS_MAX 4
void files_pin(struct files *files, raft_index index);
void files_unpin(struct files *files, raft_index index);

/* Two calls: between gathering and reporting the owner collects from the disk. So it learns of a
 * write before it learns of an install that was given out after it. */
void files_gather(struct files *files);
void files_report(struct files *files);

struct files_counters { /* since the start */
    uint64_t taken;     /* snapshots of this node's own that it would start from */
    uint64_t installed; /* ... that came in */
    uint64_t refusals;  /* reports of a full disk */
    uint64_t written_bytes, read_bytes;
    uint64_t waiting; /* jobs, right now */
};
struct files_counters files_counters(struct files *files);

#endif
