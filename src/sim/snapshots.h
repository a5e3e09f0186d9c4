/*
 * What snapshots add to the simulator: their files on a node's disk, what the ledger knows of them, what must hold.
 * Shared by the files of this folder, like internal.h, which includes it.
 */
#ifndef MOONCLAVE_SIM_SNAPSHOTS_H
#define MOONCLAVE_SIM_SNAPSHOTS_H

#include "host/host.h"

struct sim_ledger;
struct sim_node;

/* ---- disk_snapshot.c: snapshots' files, and what the log leaves to them ---- */

enum sim_file_use { FILE_FREE, FILE_TAKING, FILE_INCOMING, FILE_COMPLETE };

struct sim_file { /* of one snapshot */
    enum sim_file_use use;
    bool came_in;
    bool looked; /* incoming: how much of it is there has been asked in this lifetime */
    struct raft_snapshot_meta meta; /* its configuration is owned */
    struct buffer bytes;
};
#define SIM_FILES 8 /* as many as the store has */

struct sim_snapshots {
    /* durable */
    struct raft_snapshot_meta meta; /* what the node starts from; index 0: none. Its configuration is owned */
    raft_index base; /* the log begins behind it; what the log array has up to there only tells what was there */
    struct sim_file files[SIM_FILES];
    /* of this lifetime: a queue beside the log's */
    struct host_snapshot_job **jobs; /* owned, with what they point to: head ... head + count */
    size_t head, count, capacity;
    bool busy;
    bool switching; /* an install is done, and its node does not know it yet */
    uint64_t report_us;
    raft_index installing; /* the newest it has said is to be installed */
    bool received;         /* one that comes in has been asked for */
    bool taking;           /* one of its own has been begun, and neither finished nor given up */
    /* faults */
    raft_index rot_index; /* of the model: the snapshot that has a damaged byte; 0: none */
    uint64_t rot_at;
    bool lost; /* the damage has been met: at the next start it is known to be beyond repair */
};

struct sim_taken { /* a snapshot as somebody took it: everybody's of that index is the same */
    struct raft_snapshot_meta meta; /* its configuration is owned */
    struct buffer bytes;
};

/* ---- snapshots.c: what must hold of snapshots ---- */

void check_snapshot_job(struct sim_node *node, const struct host_snapshot_job *job); /* before it is noted */
void check_finished(struct sim_node *node, const struct raft_snapshot_meta *meta, struct slice bytes);
/* What was read of the snapshot at `index`. */
void check_snapshot_bytes(struct sim_node *node, raft_index index, uint64_t offset, struct slice bytes);
void check_installed(struct sim_node *node, const struct raft_snapshot_meta *meta, struct slice bytes);
void check_chunk(struct sim_node *node, const struct raft_message *message);
void check_chunk_result(struct sim_node *node, const struct raft_message *message);
/* Answers the index of the last command that the state has seen; 0: none. */
raft_index check_restored(struct sim_node *node, const struct machine_entry *entry, uint64_t hash);
const struct sim_taken *ledger_taken(const struct sim_ledger *ledger, raft_index index); /* null: none was */
void snapshots_forget_taken(struct sim_ledger *ledger); /* frees them */
struct raft_snapshot_meta meta_copy(const struct raft_snapshot_meta *meta);
void meta_free(struct raft_snapshot_meta *meta);

#endif
