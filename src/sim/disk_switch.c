/*
 * What a snapshot changes of a node's log, in the log's own order: what the node starts from, and where the log begins.
 *
 * The model's log array keeps the entries that are compacted away, and after an install has those that the snapshot
 * covers, from the ledger: whatever asks what is durable finds them there. disk_durable tells the node of none.
 */
#include "sim/disk.h"

#include <inttypes.h>

static void lay_ghosts(struct sim_node *node, const struct raft_snapshot_meta *meta);

/* What the store takes for granted of its caller, or it would not go on. */
bool snapshot_switch_sound(struct sim_node *node, const struct sim_disk_op *op)
{
    const struct sim_disk *disk = &node->disk;
    raft_index own = disk->snapshots.meta.index, index = op->job->meta.index;
    bool sound = op->kind == DISK_ADOPT     ? index > own && index <= disk->log.count
                 : op->kind == DISK_INSTALL ? index > own
                                            : op->job->up_to <= own;
    if (sound) return true;
    violate(node->sim, node, "snapshot_order",
            "%s of %" PRIu64 " (log up to %" PRIu64 ") where the snapshot is at %" PRIu64 " and the log ends at %zu",
            snapshot_job_name(op->job->kind), index, op->job->up_to, own, disk->log.count);
    return false;
}

void snapshot_switch(struct sim_node *node, const struct sim_disk_op *op)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    struct sim_snapshots *snapshots = &disk->snapshots;
    const struct raft_snapshot_meta *meta = &op->job->meta;
    if (!snapshot_switch_sound(node, op)) return;
    if (op->kind == DISK_COMPACT) {
        if (op->job->up_to > snapshots->base) {
            COVER(sim, compactions);
            snapshots->base = op->job->up_to;
            record_node(node, MOMENT_compacted, snapshots->base, 0, 0, NULL);
        }
    } else {
        meta_free(&snapshots->meta);
        snapshots->meta = meta_copy(meta);
        record_node(node, MOMENT_snapshot, meta->index, 0, 0, op->kind == DISK_ADOPT ? "taken" : "installed");
        TRACE(sim, node, "starts from the snapshot at %" PRIu64 " from now on", meta->index);
    }
    if (op->kind == DISK_ADOPT) COVER(sim, snapshots_taken);
    if (op->kind == DISK_INSTALL) {
        COVER(sim, snapshots_installed);
        snapshots->switching = true;
        lay_ghosts(node, meta);
        snapshots->base = meta->index;
    }
    bool gone = disk->rot_index > 0 && disk->rot_index <= snapshots->base && snapshots->rot_index == 0;
    if (!disk->real && disk->rotten && gone) disk->rotten = false;
}

/* Everything the snapshot covers is committed, so the ledger knows it; whatever the log has behind it goes. */
static void lay_ghosts(struct sim_node *node, const struct raft_snapshot_meta *meta)
{
    struct sim_ledger *ledger = &node->sim->ledger;
    struct sim_log *log = &node->disk.log;
    for (raft_index index = 1; index <= meta->index; index++) {
        const struct sim_record *record = ledger_record(ledger, index);
        const struct sim_version *version = ledger_version(ledger, index, record->committed_term);
        if (record->committed_term == 0 || !version) {
            violate(node->sim, node, "snapshot_committed",
                    "installs a snapshot of %" PRIu64 "; index %" PRIu64 " is not committed", meta->index, index);
            return;
        }
        if (index <= log->count && log->entries[index - 1].chain == version->chain) continue;
        if (index <= log->count) disk_log_cut(log, index - 1);
        disk_log_push(log, &(struct raft_entry){.type = version->type,
                                                .term = version->term,
                                                .index = index,
                                                .time_ms = version->time_ms,
                                                .chain = version->chain});
    }
    disk_log_cut(log, meta->index);
}
