/*
 * Snapshots' files on a node's disk, beside its log: what is there, what is on its way, what a crash leaves.
 *
 * Work on files has a queue of its own, as it has a thread of its own in the node. What a finished snapshot changes of
 * the log goes through the log's queue, behind what is there by then: what the node starts from (ADOPT, INSTALL), and
 * where its log begins (COMPACT, whose files go after that): disk_switch.c.
 *
 * A crash leaves what the store promises: the one that the node starts from; one that came in, as far as it came (some
 * of it, where it was not complete and synced); nothing else. With the real store beside it (disk_real_snapshot.c) that
 * one decides, and the model follows: of what comes in it then knows how much there may be at most.
 */
#include "sim/disk.h"

#include "base/memory.h"
#include "raft/snapshot_meta.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static void push_job(struct sim_node *node, struct host_snapshot_job *job);
static void kick(struct sim_node *node);
static enum error_code carry_out(struct sim_node *node, struct host_snapshot_job *job, struct disk_report *told);
static enum error_code verdict(struct sim_node *node, const struct host_snapshot_job *job);
static bool is_there(struct sim_node *node, const struct host_snapshot_job *job);
static bool over_rot(const struct sim_snapshots *snapshots, const struct host_snapshot_job *job);
static void follow(struct sim_node *node, struct host_snapshot_job *job, struct disk_report *told);
static void follow_failure(struct sim_node *node, const struct host_snapshot_job *job, enum error_code code);
static void receive(struct sim_node *node, const struct host_snapshot_job *job, struct disk_report *told);
static void begin_incoming(struct sim_node *node, const struct host_snapshot_job *job, struct disk_report *told);
static void bring_back(struct sim_node *node, struct sim_file *incoming, uint64_t there);
static void forget(struct sim_snapshots *snapshots, raft_index from);
static struct sim_file *file_take(struct sim_snapshots *snapshots, enum sim_file_use use,
                                  const struct raft_snapshot_meta *meta);
static struct sim_file *file_whole(struct sim_snapshots *snapshots, const struct raft_snapshot_meta *meta);
static void file_free(struct sim_file *file);

static const char *const job_names[HOST_SNAPSHOT_KINDS] = {
    [HOST_SNAPSHOT_BEGIN] = "begin",     [HOST_SNAPSHOT_WRITE] = "write",     [HOST_SNAPSHOT_FINISH] = "finish",
    [HOST_SNAPSHOT_ABORT] = "abort",     [HOST_SNAPSHOT_READ] = "read",       [HOST_SNAPSHOT_RECEIVE] = "receive",
    [HOST_SNAPSHOT_INSTALL] = "install", [HOST_SNAPSHOT_COMPACT] = "compact",
};

const char *snapshot_job_name(enum host_snapshot_kind kind)
{
    return job_names[kind];
}

void disk_note_snapshot(struct sim_node *node, const struct host_snapshot_job *job)
{
    struct host_snapshot_job *copy = snapshot_job_copy(job);
    if (job->kind == HOST_SNAPSHOT_COMPACT)
        disk_note_switch(node, DISK_COMPACT, copy);
    else
        push_job(node, copy);
}

void disk_on_file_done(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    struct host_snapshot_job *job = snapshots->jobs[snapshots->head++];
    if (--snapshots->count == 0) snapshots->head = 0;
    snapshots->busy = false;
    struct disk_report *told = memory_zero(1, sizeof *told);
    told->kind = DISK_FILE;
    told->job = job->kind;
    told->number = job->token;
    told->code = carry_out(node, job, told);
    trace_event(sim, TRACE_FILE_DONE, node->number, job->token, (uint64_t)job->kind << 32 | (uint64_t)told->code);
    bool switches = job->kind == HOST_SNAPSHOT_FINISH || job->kind == HOST_SNAPSHOT_INSTALL;
    if (switches && told->code == ERROR_OK) {
        disk_note_switch(node, job->kind == HOST_SNAPSHOT_FINISH ? DISK_ADOPT : DISK_INSTALL, job);
        disk_report_free(told);
    } else {
        if (!job->token && told->code != ERROR_OK) told->kind = DISK_TIDY; /* nobody asks, and it is the end */
        if (job->token || told->code != ERROR_OK)
            disk_tell(node, told, STREAM_SNAPSHOTS, &snapshots->report_us);
        else
            disk_report_free(told);
        snapshot_job_free(job);
    }
    if (node->disk.real && real_dead(node->disk.real))
        node_crash(node);
    else
        kick(node);
}

/* The log's part of a COMPACT is done: now the files. Takes the job. */
void snapshot_files_next(struct sim_node *node, struct host_snapshot_job *job)
{
    push_job(node, job);
}

void snapshot_job_free(struct host_snapshot_job *job)
{
    if (!job) return;
    meta_free(&job->meta);
    blob_drop(job->bytes.blob);
    memory_free(job);
}

/* ---- lifetimes ---- */

void snapshots_begin(struct sim_node *node)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    assert(snapshots->count == 0);
    struct sim_file *own = NULL, *incoming = NULL;
    for (int i = 0; i < SIM_FILES; i++) {
        struct sim_file *file = &snapshots->files[i];
        if (file->use == FILE_FREE) continue;
        file->looked = false;
        bool whole = file->use == FILE_COMPLETE;
        bool later = file->came_in && file->meta.index > snapshots->meta.index;
        if (whole && !own && raft_snapshot_meta_equal(&file->meta, &snapshots->meta)) {
            own = file;
        } else if (later && !incoming && file->use != FILE_TAKING) {
            incoming = file;
            file->use = FILE_INCOMING;
        } else {
            file_free(file);
        }
    }
    assert(own || snapshots->meta.index == 0 || node->sim->over);
    snapshots->busy = snapshots->switching = snapshots->taking = snapshots->received = false;
    snapshots->installing = 0;
    snapshots->report_us = 0;
}

/* Some of what was to be done to files is done; of one that was coming in, some may not have been synced. */
void snapshots_crash(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    bool failed = node->disk.real && (!node->disk.real->open || real_dead(node->disk.real));
    size_t keep = snapshots->count > 0 && !failed ? draw(sim, STREAM_SNAPSHOTS, snapshots->count + 1) : 0;
    for (size_t i = 0; i < keep && !(node->disk.real && node->disk.real->failed); i++) {
        struct disk_report told = {.kind = DISK_FILE};
        carry_out(node, snapshots->jobs[snapshots->head + i], &told);
        blob_drop(told.bytes.blob);
    }
    for (size_t i = 0; i < snapshots->count; i++) snapshot_job_free(snapshots->jobs[snapshots->head + i]);
    snapshots->head = snapshots->count = 0;
    struct sim_file *incoming = snapshot_file(snapshots, FILE_INCOMING);
    if (!incoming || node->disk.real || chance(sim, STREAM_SNAPSHOTS, 500)) return;
    incoming->bytes.size = draw(sim, STREAM_SNAPSHOTS, incoming->bytes.size + 1);
}

void snapshots_deinit(struct sim_snapshots *snapshots)
{
    assert(snapshots->count == 0);
    for (int i = 0; i < SIM_FILES; i++) file_free(&snapshots->files[i]);
    memory_free(snapshots->jobs);
    meta_free(&snapshots->meta);
}

/* false: there is no file of its own to be damaged. */
bool snapshots_rot(struct sim_node *node)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    const struct sim_file *file = file_whole(snapshots, &snapshots->meta);
    if (!file || file->bytes.size == 0) return false;
    snapshots->rot_index = file->meta.index;
    snapshots->rot_at = draw(node->sim, STREAM_SNAPSHOTS, file->bytes.size);
    TRACE(node->sim, node, "its disk rots: byte %" PRIu64 " of the snapshot at %" PRIu64, snapshots->rot_at,
          snapshots->rot_index);
    return true;
}

/* ---- work on files ---- */

struct host_snapshot_job *snapshot_job_copy(const struct host_snapshot_job *job)
{
    struct host_snapshot_job *copy = memory_zero(1, sizeof *copy);
    *copy = *job;
    copy->meta = meta_copy(&job->meta);
    if (job->bytes.blob)
        blob_take(job->bytes.blob);
    else if (job->bytes.bytes.size > 0) {
        copy->bytes.blob = blob_new(job->bytes.bytes.data, job->bytes.bytes.size);
        copy->bytes.bytes = slice_of(copy->bytes.blob->data, job->bytes.bytes.size);
    }
    return copy;
}

static void push_job(struct sim_node *node, struct host_snapshot_job *job)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    if (snapshots->head > 0 && snapshots->head + snapshots->count == snapshots->capacity) {
        memmove(snapshots->jobs, snapshots->jobs + snapshots->head, snapshots->count * sizeof *snapshots->jobs);
        snapshots->head = 0;
    }
    if (snapshots->head + snapshots->count == snapshots->capacity) {
        snapshots->capacity = snapshots->capacity ? 2 * snapshots->capacity : 8;
        snapshots->jobs = memory_resize(snapshots->jobs, snapshots->capacity, sizeof *snapshots->jobs);
    }
    snapshots->jobs[snapshots->head + snapshots->count++] = job;
    kick(node);
}

static void kick(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    if (snapshots->busy || snapshots->count == 0) return;
    snapshots->busy = true;
    uint64_t delay = draw_between(sim, STREAM_SNAPSHOTS, sim->plan.write_least_us, sim->plan.write_most_us);
    if (chance(sim, STREAM_SNAPSHOTS, sim->plan.slow_write))
        delay += draw(sim, STREAM_SNAPSHOTS, sim->plan.election_us);
    if (sim->world.now_us < node->disk.slow_until_us) delay += draw(sim, STREAM_SNAPSHOTS, sim->plan.election_us / 2);
    world_push(&sim->world, delay, EVENT_FILE_DONE, node->number)->lifetime = node->lifetime;
}

static enum error_code carry_out(struct sim_node *node, struct host_snapshot_job *job, struct disk_report *told)
{
    bool own = job->kind == HOST_SNAPSHOT_WRITE || job->kind == HOST_SNAPSHOT_FINISH;
    if (!is_there(node, job)) return own ? ERROR_DISK_FULL : ERROR_UNAVAILABLE; /* it has been given up */
    enum error_code code = node->disk.real ? real_file_job(node, job, told) : verdict(node, job);
    TRACE(node->sim, node, "snapshot %" PRIu64 ": %s %s", job->meta.index, job_names[job->kind], error_name(code));
    if (code == ERROR_OK)
        follow(node, job, told);
    else
        follow_failure(node, job, code);
    return code;
}

/* What the job is about. What is not there because a full disk took it is no mistake of the host's. */
static bool is_there(struct sim_node *node, const struct host_snapshot_job *job)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    const struct sim_file *incoming = snapshot_file(snapshots, FILE_INCOMING), *file;
    switch (job->kind) {
    case HOST_SNAPSHOT_BEGIN:
        if (snapshot_file(snapshots, FILE_TAKING)) {
            violate(node->sim, node, "snapshot_single", "begins a snapshot at %" PRIu64 " while it takes another",
                    job->meta.index);
            return false;
        }
        return snapshot_file(snapshots, FILE_FREE) != NULL;
    case HOST_SNAPSHOT_WRITE:
    case HOST_SNAPSHOT_FINISH:
        return snapshot_file(snapshots, FILE_TAKING) != NULL;
    case HOST_SNAPSHOT_READ:
        file = snapshot_file_at(snapshots, job->meta.index);
        return file && job->offset < file->bytes.size;
    case HOST_SNAPSHOT_INSTALL:
        return incoming && incoming->looked && raft_snapshot_meta_equal(&incoming->meta, &job->meta) &&
               incoming->bytes.size == job->meta.size;
    case HOST_SNAPSHOT_RECEIVE:
        return incoming || job->bytes.bytes.size > 0 || file_whole(snapshots, &job->meta) ||
               snapshot_file(snapshots, FILE_FREE);
    case HOST_SNAPSHOT_ABORT:
    case HOST_SNAPSHOT_COMPACT:
        break;
    }
    return true;
}

/* What the model's disk makes of it. */
static enum error_code verdict(struct sim_node *node, const struct host_snapshot_job *job)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    bool frees = job->kind == HOST_SNAPSHOT_ABORT || job->kind == HOST_SNAPSHOT_COMPACT;
    bool reads = job->kind == HOST_SNAPSHOT_READ;
    if (frees) return ERROR_OK;
    if (!reads && sim->world.now_us < disk->full_until_us) {
        COVER(sim, refusals);
        return ERROR_DISK_FULL;
    }
    if (disk->fail_next || (reads && over_rot(&disk->snapshots, job))) {
        node->expects_fatal = true;
        if (disk->fail_next) {
            COVER(sim, disk_errors);
            return ERROR_IO;
        }
        COVER(sim, rots_read);
        disk->snapshots.lost = true;
        return ERROR_CORRUPT;
    }
    return ERROR_OK;
}

static bool over_rot(const struct sim_snapshots *snapshots, const struct host_snapshot_job *job)
{
    return snapshots->rot_index > 0 && snapshots->rot_index == job->meta.index &&
           snapshots->rot_at >= job->offset && snapshots->rot_at < job->offset + job->max_bytes;
}

static void follow(struct sim_node *node, struct host_snapshot_job *job, struct disk_report *told)
{
    struct sim *sim = node->sim;
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    struct sim_file *taking = snapshot_file(snapshots, FILE_TAKING), *file;
    switch (job->kind) {
    case HOST_SNAPSHOT_BEGIN:
        file_take(snapshots, FILE_TAKING, &job->meta);
        break;
    case HOST_SNAPSHOT_WRITE:
        buffer_append_slice(&taking->bytes, job->bytes.bytes);
        break;
    case HOST_SNAPSHOT_FINISH:
        job->meta.size = taking->bytes.size;
        told->offset = job->meta.size;
        meta_free(&taking->meta);
        taking->meta = meta_copy(&job->meta);
        taking->use = FILE_COMPLETE;
        check_finished(node, &taking->meta, buffer_slice(&taking->bytes));
        break;
    case HOST_SNAPSHOT_ABORT:
        if (taking) COVER(sim, snapshots_abandoned);
        if (taking) file_free(taking);
        break;
    case HOST_SNAPSHOT_READ:
        file = snapshot_file_at(snapshots, job->meta.index);
        if (!node->disk.real) {
            size_t left = file->bytes.size - job->offset, size = left < job->max_bytes ? left : job->max_bytes;
            told->bytes.blob = blob_new(file->bytes.data + job->offset, size);
            told->bytes.bytes = slice_of(told->bytes.blob->data, size);
        }
        check_snapshot_bytes(node, job->meta.index, job->offset, told->bytes.bytes);
        break;
    case HOST_SNAPSHOT_RECEIVE:
        receive(node, job, told);
        break;
    case HOST_SNAPSHOT_INSTALL:
        file = snapshot_file(snapshots, FILE_INCOMING);
        file->use = FILE_COMPLETE;
        check_installed(node, &file->meta, buffer_slice(&file->bytes));
        break;
    case HOST_SNAPSHOT_COMPACT:
        forget(snapshots, job->meta.index);
        bool gone = snapshots->rot_index > 0 && !snapshot_file_at(snapshots, snapshots->rot_index);
        if (gone && !node->disk.real) {
            snapshots->rot_index = 0;
            node->disk.rotten = false;
        }
        break;
    }
}

/* What is there of one that comes in is asked again; with the real store more may be there than it said. */
static void follow_failure(struct sim_node *node, const struct host_snapshot_job *job, enum error_code code)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    struct sim_file *taking = snapshot_file(snapshots, FILE_TAKING);
    struct sim_file *incoming = snapshot_file(snapshots, FILE_INCOMING);
    bool takes = job->kind == HOST_SNAPSHOT_WRITE || job->kind == HOST_SNAPSHOT_FINISH;
    if (takes && code == ERROR_DISK_FULL) {
        COVER(node->sim, snapshots_abandoned);
        file_free(taking);
    }
    if (job->kind == HOST_SNAPSHOT_RECEIVE && node->disk.real) {
        struct disk_report told = {.offset = UINT64_MAX};
        receive(node, job, &told);
        incoming = snapshot_file(snapshots, FILE_INCOMING);
    }
    if (incoming && code != ERROR_UNAVAILABLE) incoming->looked = false;
}

/* With the real store told->offset is what it says is there; UINT64_MAX: it has failed. */
static void receive(struct sim_node *node, const struct host_snapshot_job *job, struct disk_report *told)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    if (job->bytes.bytes.size == 0) {
        begin_incoming(node, job, told);
        return;
    }
    struct sim_file *incoming = snapshot_file(snapshots, FILE_INCOMING);
    bool begun = incoming && incoming->looked;
    uint64_t there = begun ? incoming->bytes.size : 0;
    bool next = begun && job->offset == there && job->bytes.bytes.size <= incoming->meta.size - there;
    if (begun && !raft_snapshot_meta_equal(&incoming->meta, &job->meta)) {
        violate(node->sim, node, "chunk_of_another", "writes a chunk of the snapshot at %" PRIu64 " to the one at %"
                PRIu64, job->meta.index, incoming->meta.index);
    }
    if (next) buffer_append_slice(&incoming->bytes, job->bytes.bytes);
    if (next) there += job->bytes.bytes.size;
    if (node->disk.real && told->offset != UINT64_MAX && told->offset != there) {
        violate(node->sim, node, "store_contract", "it says %" PRIu64 " bytes are there of what comes in; written are %"
                PRIu64, told->offset, there);
    }
    told->offset = there;
}

static void begin_incoming(struct sim_node *node, const struct host_snapshot_job *job, struct disk_report *told)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    struct sim_file *incoming = snapshot_file(snapshots, FILE_INCOMING);
    if (incoming && !raft_snapshot_meta_equal(&incoming->meta, &job->meta)) {
        file_free(incoming);
        incoming = NULL;
    }
    if (!incoming && (incoming = file_whole(snapshots, &job->meta))) incoming->use = FILE_INCOMING;
    if (!incoming) {
        incoming = file_take(snapshots, FILE_INCOMING, &job->meta);
        incoming->looked = true;
    }
    incoming->came_in = true;
    if (!node->disk.real) {
        told->offset = incoming->bytes.size;
    } else if (told->offset != UINT64_MAX) {
        if (!snapshots->received) bring_back(node, incoming, told->offset);
        bool same = incoming->looked ? told->offset == incoming->bytes.size : told->offset <= incoming->bytes.size;
        if (!same) {
            violate(node->sim, node, "store_contract",
                    "it says %" PRIu64 " bytes are there of the snapshot at %" PRIu64 "; written were %zu",
                    told->offset, job->meta.index, incoming->bytes.size);
        } else {
            incoming->bytes.size = told->offset;
        }
    }
    if (told->offset > 0) COVER(node->sim, snapshots_resumed);
    incoming->looked = snapshots->received = true;
}

/* A file that was deleted may be there again after a power cut: what it holds is of the same snapshot. */
static void bring_back(struct sim_node *node, struct sim_file *incoming, uint64_t there)
{
    const struct sim_taken *taken = ledger_taken(&node->sim->ledger, incoming->meta.index);
    if (!taken || there > taken->bytes.size || there <= incoming->bytes.size) return;
    buffer_clear(&incoming->bytes);
    buffer_append(&incoming->bytes, taken->bytes.data, there);
}

static void forget(struct sim_snapshots *snapshots, raft_index from)
{
    for (int i = 0; i < SIM_FILES; i++) {
        struct sim_file *file = &snapshots->files[i];
        if (file->use == FILE_COMPLETE && file->meta.index < from) file_free(file);
    }
}

/* ---- files ---- */

struct sim_file *snapshot_file(struct sim_snapshots *snapshots, enum sim_file_use use)
{
    for (int i = 0; i < SIM_FILES; i++) {
        if (snapshots->files[i].use == use) return &snapshots->files[i];
    }
    return NULL;
}

struct sim_file *snapshot_file_at(struct sim_snapshots *snapshots, raft_index index)
{
    for (int i = 0; i < SIM_FILES; i++) {
        struct sim_file *file = &snapshots->files[i];
        if (file->use == FILE_COMPLETE && file->meta.index == index) return file;
    }
    return NULL;
}

static struct sim_file *file_whole(struct sim_snapshots *snapshots, const struct raft_snapshot_meta *meta)
{
    struct sim_file *file = meta->index > 0 ? snapshot_file_at(snapshots, meta->index) : NULL;
    return file && raft_snapshot_meta_equal(&file->meta, meta) ? file : NULL;
}

static struct sim_file *file_take(struct sim_snapshots *snapshots, enum sim_file_use use,
                                  const struct raft_snapshot_meta *meta)
{
    struct sim_file *file = snapshot_file(snapshots, FILE_FREE);
    assert(file);
    file->use = use;
    file->meta = meta_copy(meta);
    return file;
}

static void file_free(struct sim_file *file)
{
    meta_free(&file->meta);
    buffer_deinit(&file->bytes);
    *file = (struct sim_file){0};
}

struct raft_snapshot_meta meta_copy(const struct raft_snapshot_meta *meta)
{
    struct raft_snapshot_meta copy = *meta;
    uint8_t *bytes = memory_alloc(meta->configuration.size + 1);
    if (meta->configuration.size > 0) memcpy(bytes, meta->configuration.data, meta->configuration.size);
    copy.configuration.data = bytes;
    return copy;
}

void meta_free(struct raft_snapshot_meta *meta)
{
    memory_free((void *)(uintptr_t)meta->configuration.data);
    *meta = (struct raft_snapshot_meta){0};
}
