/*
 * Work on snapshots' files, done by the store itself (store/snapshot.h). It decides; disk_snapshot.c follows, and says
 * where the two can not both be right.
 */
#include "sim/disk.h"

#include <inttypes.h>

static enum error_code do_job(struct sim_real *real, const struct host_snapshot_job *job, struct disk_report *told,
                              struct error *error);
static enum error_code read_some(struct sim_real *real, const struct host_snapshot_job *job, struct disk_report *told,
                                 struct error *error);

enum error_code real_file_job(struct sim_node *node, const struct host_snapshot_job *job, struct disk_report *told)
{
    struct sim_real *real = node->disk.real;
    struct error error = {0};
    if (!real->open) return ERROR_IO;
    real_prepare(node, job->kind == HOST_SNAPSHOT_READ);
    vfs_lossy_chance(real->vfs);
    enum error_code code = do_job(real, job, told, &error);
    if (code == ERROR_NOT_FOUND || code == ERROR_UNAVAILABLE) {
        violate(node->sim, node, "store_contract", "what is there of snapshots is not there: %s", error.text);
        return ERROR_UNAVAILABLE;
    }
    if (code == ERROR_CORRUPT) node->disk.snapshots.lost = true;
    return real_failing(node, code, &error);
}

static enum error_code do_job(struct sim_real *real, const struct host_snapshot_job *job, struct disk_report *told,
                              struct error *error)
{
    struct store_snapshots *files = store_snapshots(real->open);
    struct raft_snapshot_meta meta = job->meta;
    struct slice bytes = job->bytes.bytes;
    switch (job->kind) {
    case HOST_SNAPSHOT_BEGIN:
        return store_snapshot_begin(files, &meta, error);
    case HOST_SNAPSHOT_WRITE:
        return store_snapshot_write(files, bytes, error);
    case HOST_SNAPSHOT_FINISH:
        return store_snapshot_finish(files, &meta, error);
    case HOST_SNAPSHOT_ABORT:
        store_snapshot_abort(files);
        return ERROR_OK;
    case HOST_SNAPSHOT_READ:
        return read_some(real, job, told, error);
    case HOST_SNAPSHOT_RECEIVE:
        if (bytes.size == 0) return store_incoming_begin(files, &meta, &told->offset, error);
        return store_incoming_write(files, job->offset, bytes, &told->offset, error);
    case HOST_SNAPSHOT_INSTALL:
        return store_incoming_finish(files, error);
    case HOST_SNAPSHOT_COMPACT:
        return store_snapshots_forget(files, meta.index, error);
    }
    return ERROR_OK;
}

static enum error_code read_some(struct sim_real *real, const struct host_snapshot_job *job, struct disk_report *told,
                                 struct error *error)
{
    struct buffer out = {0};
    enum error_code code = store_snapshot_read(store_snapshots(real->open), job->meta.index, job->offset,
                                               job->max_bytes, &out, error);
    if (code == ERROR_OK) {
        told->bytes.blob = blob_new(out.data, out.size);
        told->bytes.bytes = slice_of(told->bytes.blob->data, out.size);
    }
    buffer_deinit(&out);
    return code;
}

/*
 * After an open: the bytes of the snapshot that the node starts from are those that were taken. A damaged file may say
 * so, and does again when its node reads it; then it is lost. false: it says so without a cause.
 */
bool real_own_snapshot(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    struct buffer out = {0};
    struct error error;
    raft_index index = store_durable(disk->real->open)->snapshot.index;
    if (index == 0) return true;
    enum error_code code =
        store_snapshot_read(store_snapshots(disk->real->open), index, 0, SIZE_MAX, &out, &error);
    const struct sim_taken *taken = ledger_taken(&node->sim->ledger, index);
    bool same = code == ERROR_OK && taken && slice_equal(buffer_slice(&out), buffer_slice(&taken->bytes));
    buffer_deinit(&out);
    if (code == ERROR_CORRUPT && disk->rotten) disk->snapshots.lost = true;
    return same || disk->snapshots.lost;
}
