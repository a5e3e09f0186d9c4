/*
 * The disk of one node: what is durable, and what is on its way there.
 *
 * Writes are noted in order and carried out in order, some at a time, as the disk thread does it: a
 * batch becomes durable as a whole at one moment, and the node learns of it later. A crash keeps a
 * prefix of what was noted (each write whole or not at all) and loses the rest, so both a durable
 * write that was never reported and a noted one that was lost happen.
 *
 * With the real store beside it (disk_real.c) the same queue feeds that one, and the model keeps what must be there.
 *
 * `intended` holds term and chain of every index as the log will be once all that was
 * noted is done: it is what the core believes it has written.
 */
#include "sim/disk.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static struct sim_disk_op *note(struct sim_disk *disk, enum sim_disk_op_kind kind);
static void kick(struct sim_node *node);
static void take_batch(struct sim_node *node);
static size_t model_batch(struct sim_node *node, struct disk_report *told);
static void finish(struct sim_node *node, const struct sim_disk_op *op, struct disk_report *told);
static void tidy(struct sim_node *node);
static void carry_out(struct sim_node *node, const struct raft_persist *persist);
static void drop_writes(struct sim_disk *disk);
static void report(struct sim_node *node, struct disk_report *told);
static void read_log(struct sim_node *node, const struct sim_disk_op *op, struct disk_report *told);
static void intend_durable(struct sim_disk *disk);
static uint64_t seal_of(const struct raft_persist *persist);
static void intend_log(struct sim_disk *disk);
static bool is_switch(enum sim_disk_op_kind kind);
static void op_free(struct sim_disk_op *op);
static void forget_ops(struct sim_disk *disk);

void disk_init(struct sim *sim, struct sim_disk *disk, uint64_t incarnation)
{
    *disk = (struct sim_disk){.incarnation = incarnation};
    if (sim->options.disk == SIM_DISK_SQLITE) disk->real = real_new(hash_pair(incarnation, 0x646973));
}

void disk_deinit(struct sim_disk *disk)
{
    forget_ops(disk);
    disk_log_cut(&disk->log, 0);
    memory_free(disk->log.entries);
    memory_free(disk->ops);
    memory_free(disk->intended);
    blob_drop(disk->configuration);
    snapshots_deinit(&disk->snapshots);
    real_free(disk->real);
    *disk = (struct sim_disk){0};
}

bool disk_begin(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    assert(disk->count == 0);
    if (disk->snapshots.lost) { /* it has said so, and an operator has seen it */
        disk_wreck(node);
        return false;
    } else if (disk->real) {
        if (!real_begin(node, node->sim->phase == PHASE_SAFETY && !node->sim->options.manual)) return false;
    } else if (disk->rotten && disk->snapshots.rot_index == 0) {
        disk_wreck(node); /* the checksums say so: it is never cut off, whatever it is */
        return false;
    }
    snapshots_begin(node);
    disk->batch = 0;
    disk->refusing = false;
    disk->retries = false;
    disk->sequence = 0;
    disk->report_us = 0;
    disk->asked_us = disk->stalled_us = 0;
    disk->fail_next = false;
    intend_durable(disk);
    return true;
}

const struct raft_durable *disk_found(const struct sim_node *node)
{
    return node->disk.real ? real_durable(node) : NULL;
}

/* By its node's clock, which may be fast: what is nearly as long counts. */
static bool is_stall(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    uint64_t asked_us = node->disk.asked_us;
    return asked_us > 0 && sim->world.now_us - asked_us >= sim->plan.election_us / 10 * 8;
}

bool disk_has_stalled(const struct sim_node *node)
{
    const struct sim *sim = node->sim;
    uint64_t since_us = node->disk.stalled_us;
    return is_stall(node) || (since_us > 0 && sim->world.now_us - since_us < 4 * sim->plan.election_us);
}

void disk_heal(struct sim_node *node)
{
    node->disk.full_until_us = 0;
    node->disk.slow_until_us = node->disk.stands_until_us = 0;
    node->disk.fail_next = false;
    if (node->disk.real) real_heal(node);
}

void disk_wreck(struct sim_node *node)
{
    COVER(node->sim, wrecks);
    TRACE(node->sim, node, "its data is damaged: it stays down");
    trace_event(node->sim, TRACE_ROT, node->number, 1, node->disk.rot_index);
    node->disk.rotten = node->disk.snapshots.lost = false;
    node->disk.snapshots.rot_index = 0;
    node->wrecked = node->wiped = true;
}

/* The draws are weighed towards the ends: nothing of it, or all of it. */
void disk_crash(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    size_t keep = 0;
    uint64_t kind = draw(sim, STREAM_DISK, 4);
    if (kind == 2) keep = disk->count;
    if (kind == 3) keep = draw(sim, STREAM_DISK, disk->count + 1);
    if (disk->refusing) keep = 0;
    if (disk->real) {
        snapshots_crash(node);
        real_crash(node, keep);
    }
    for (size_t i = 0; i < disk->count; i++) {
        const struct sim_disk_op *op = &disk->ops[disk->head + i];
        if (op->kind == DISK_READ || disk->real) continue;
        if (i >= keep) {
            COVER(sim, lost_writes);
            continue;
        }
        COVER(sim, kept_writes);
        disk_carry_out(node, op);
    }
    if (!disk->real) snapshots_crash(node); /* else before what is open was let go */
    record_node(node, MOMENT_kept, 0, keep, disk->count - keep, NULL);
    trace_event(sim, TRACE_DISK_CRASH, node->number, keep, disk->log.count);
    forget_ops(disk);
    disk->batch = 0;
    disk->refusing = false;
}

/* ---- notes ---- */

void disk_note_persist(struct sim_node *node, const struct raft_persist *persist)
{
    struct sim_disk *disk = &node->disk;
    COVER(node->sim, persists);
    node->sim->result->coverage.persisted_entries += persist->entry_count;
    if (persist->truncate_from > 0 && persist->truncate_from <= disk->intended_count)
        COVER(node->sim, truncations);
    disk->sequence = persist->sequence;
    if (disk->asked_us == 0) disk->asked_us = node->sim->world.now_us;
    if (disk->refusing) return; /* rolled back with the one before it */
    disk->retries = false;
    if (persist->has_hard_state) disk->intended_hard_state = persist->hard_state;
    if (persist->truncate_from > 0 && persist->truncate_from <= disk->intended_count) {
        disk->intended_count = persist->truncate_from - 1;
    }
    for (size_t i = 0; i < persist->entry_count; i++) {
        const struct raft_entry *entry = &persist->entries[i];
        if (disk->intended_count == disk->intended_capacity) {
            disk->intended_capacity = disk->intended_capacity ? disk->intended_capacity * 2 : 256;
            disk->intended =
                memory_resize(disk->intended, disk->intended_capacity, sizeof *disk->intended);
        }
        disk->intended[disk->intended_count++] =
            (struct sim_mark){entry->term, entry->chain, entry->time_ms};
    }
    struct sim_disk_op *op = note(disk, DISK_PERSIST);
    op->persist = *persist;
    op->seal = seal_of(persist);
    kick(node);
}

void disk_note_bootstrap(struct sim_node *node, struct slice configuration, uint64_t cluster)
{
    struct sim_disk_op *op = note(&node->disk, DISK_BOOTSTRAP);
    op->configuration = blob_new(configuration.data, configuration.size);
    op->cluster = cluster;
    kick(node);
}

void disk_note_read(struct sim_node *node, uint64_t token, raft_index first, raft_index last,
                    size_t bytes_max)
{
    COVER(node->sim, log_reads);
    struct sim_disk_op *op = note(&node->disk, DISK_READ);
    op->token = token;
    op->first = first;
    op->last = last;
    op->bytes_max = bytes_max;
    kick(node);
}

void disk_note_switch(struct sim_node *node, enum sim_disk_op_kind kind, struct host_snapshot_job *job)
{
    note(&node->disk, kind)->job = job;
    kick(node);
}

/* ---- carrying out ---- */

void disk_on_done(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    if (node->disk.batch > 0) take_batch(node); /* else a refusal came in between */
    kick(node);
}

void disk_on_report(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct disk_report *told = event->data;
    struct error error = {.code = told->code};
    if (told->code != ERROR_OK)
        error_set(&error, told->code, "simulated: %s", error_help(told->code));
    trace_event(sim, TRACE_DISK_REPORT, node->number, told->number,
                (uint64_t)told->kind << 32 | (uint64_t)told->code);
    TRACE(sim, node, "disk: %s %" PRIu64 " %s, log %zu",
          told->kind == DISK_READ   ? "read"
          : told->kind >= DISK_ADOPT ? snapshot_job_name(told->job)
                                     : "persisted",
          told->number, error_name(told->code),
          node->disk.log.count);
    bool of_log = told->kind < DISK_TIDY; /* what becomes of snapshots is told otherwise */
    if (of_log)
        record_node(node, MOMENT_reported, told->number, told->kind, node->disk.log.count, error_name(told->code));
    if (told->kind == DISK_INSTALL) node->disk.snapshots.switching = false;
    if (told->kind == DISK_PERSIST) {
        bool more = told->code == ERROR_OK && told->number < node->disk.sequence;
        if (is_stall(node)) node->disk.stalled_us = sim->world.now_us;
        node->disk.asked_us = more ? sim->world.now_us : 0;
    }
    node_enter(node);
    bool of_job = told->kind == DISK_FILE || told->kind == DISK_ADOPT || told->kind == DISK_INSTALL;
    if (of_job && told->code != ERROR_OK && told->job <= HOST_SNAPSHOT_FINISH) node->disk.snapshots.taking = false;
    if (told->kind == DISK_TIDY || told->kind == DISK_COMPACT) {
        node->dying = true; /* as src/node does it: the end of the process, whatever the host thinks */
    } else if (told->code == ERROR_DISK_FULL && (told->kind == DISK_PERSIST || told->kind == DISK_BOOTSTRAP)) {
        node->disk.refusing = false;
        node->disk.retries = true;
        intend_durable(&node->disk);
    }
    if (told->kind == DISK_PERSIST) {
        host_persisted(node->host, told->number, told->code, &error);
    } else if (told->kind == DISK_BOOTSTRAP) {
        host_bootstrapped(node->host, told->code, &error);
    } else if (told->kind == DISK_READ) {
        host_log_read(node->host, told->number, told->entries.entries, told->entries.count,
                      told->code, &error);
    } else if (of_job) {
        const struct host_snapshot_report done = {told->job,    told->number, told->code,
                                                  &error,       told->offset, told->bytes};
        bool refused = done.kind == HOST_SNAPSHOT_INSTALL && done.code != ERROR_OK;
        if (refused) node->disk.snapshots.installing = 0; /* it may take one of its own again */
        host_snapshot_done(node->host, &done);
    }
    node_leave(node);
    disk_report_free(told);
}

void disk_report_free(void *memory)
{
    struct disk_report *told = memory;
    disk_log_cut(&told->entries, 0);
    memory_free(told->entries.entries);
    blob_drop(told->bytes.blob);
    memory_free(told);
}

/* ---- what a start finds ---- */

void disk_durable(const struct sim_disk *disk, struct raft_durable *durable)
{
    const struct sim_log *log = &disk->log;
    struct raft_term_run *runs = NULL;
    struct raft_entry *configurations = NULL, *skips = NULL;
    size_t run_count = 0, configuration_count = 0, skip_count = 0;
    const struct sim_snapshots *snapshots = &disk->snapshots;
    raft_index base = snapshots->base;
    for (size_t i = base; i < log->count; i++) {
        const struct raft_entry *entry = &log->entries[i];
        if (run_count == 0 || runs[run_count - 1].term != entry->term) {
            runs = memory_resize(runs, run_count + 1, sizeof *runs);
            runs[run_count++] = (struct raft_term_run){entry->index, entry->term};
        }
        if (entry->type == RAFT_CONFIGURATION) {
            configurations =
                memory_resize(configurations, configuration_count + 1, sizeof *configurations);
            configurations[configuration_count++] = *entry;
        }
        if (entry->type == RAFT_SKIP) {
            skips = memory_resize(skips, skip_count + 1, sizeof *skips);
            skips[skip_count++] = *entry;
        }
    }
    const struct raft_entry *last = log->count ? &log->entries[log->count - 1] : NULL;
    *durable = (struct raft_durable){
        .hard_state = disk->hard_state,
        .snapshot = {.format_level = FORMAT_LEVEL},
        .last_index = log->count,
        .last_chain = last ? last->chain : 0,
        .last_time_ms = log->count > base ? last->time_ms : 0,
        .runs = runs,
        .run_count = run_count,
        .configurations = configurations,
        .configuration_count = configuration_count,
        .skips = skips,
        .skip_count = skip_count,
    };
    if (base > 0)
        durable->base = (struct raft_log_base){base, log->entries[base - 1].term, log->entries[base - 1].chain};
    if (snapshots->meta.index > 0) {
        durable->snapshot = snapshots->meta;
    } else if (disk->configuration) {
        durable->snapshot.configuration =
            slice_of(disk->configuration->data, disk->configuration->size);
    }
}

raft_term disk_term(const struct sim_disk *disk, raft_index index)
{
    return index == 0 || index > disk->log.count ? 0 : disk->log.entries[index - 1].term;
}

/* ---- helpers ---- */

static struct sim_disk_op *note(struct sim_disk *disk, enum sim_disk_op_kind kind)
{
    if (disk->head > 0 && disk->head + disk->count == disk->capacity) {
        memmove(disk->ops, disk->ops + disk->head, disk->count * sizeof *disk->ops);
        disk->head = 0;
    }
    if (disk->head + disk->count == disk->capacity) {
        disk->capacity = disk->capacity ? disk->capacity * 2 : 16;
        disk->ops = memory_resize(disk->ops, disk->capacity, sizeof *disk->ops);
    }
    struct sim_disk_op *op = &disk->ops[disk->head + disk->count++];
    *op = (struct sim_disk_op){.kind = kind};
    return op;
}

/* An idle disk takes up some of what waits: writes together, anything else alone. */
static void kick(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    if (disk->batch > 0 || disk->count == 0) return;
    size_t together = 0;
    while (together < disk->count && disk->ops[disk->head + together].kind == DISK_PERSIST)
        together++;
    disk->batch = together > 1 ? 1 + (size_t)draw(sim, STREAM_DISK, together) : 1;
    uint64_t delay =
        draw_between(sim, STREAM_DISK, sim->plan.write_least_us, sim->plan.write_most_us);
    if (chance(sim, STREAM_DISK, sim->plan.slow_write))
        delay += draw(sim, STREAM_DISK, sim->plan.election_us);
    if (sim->world.now_us < disk->slow_until_us)
        delay += draw(sim, STREAM_DISK, sim->plan.election_us / 2);
    if (sim->world.now_us < disk->stands_until_us) delay += disk->stands_until_us - sim->world.now_us;
    world_push(&sim->world, delay, EVENT_DISK_DONE, node->number)->lifetime = node->lifetime;
}

static void take_batch(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    struct sim_disk_op *first = &disk->ops[disk->head];
    struct disk_report *told = memory_zero(1, sizeof *told);
    bool writes = first->kind == DISK_PERSIST || first->kind == DISK_BOOTSTRAP;
    told->kind = first->kind;
    told->number = first->kind == DISK_READ ? first->token : first->persist.sequence;
    if (first->job) told->job = first->job->kind;
    if (first->job) told->number = first->job->token;
    size_t done = disk->real ? real_batch(node, told) : model_batch(node, told);
    for (size_t i = 0; i < done; i++) finish(node, &disk->ops[disk->head + i], told);
    struct host_snapshot_job *files = NULL;
    if (first->kind == DISK_COMPACT) {
        files = first->job;
        first->job = NULL;
    }
    for (size_t i = 0; i < disk->batch; i++) op_free(&disk->ops[disk->head + i]);
    disk->head += disk->batch;
    disk->count -= disk->batch;
    if (disk->count == 0) disk->head = 0;
    disk->batch = 0;
    if (writes && told->code != ERROR_OK) drop_writes(disk);
    if (disk->real && told->kind != DISK_READ && told->code == ERROR_OK) real_said(node);
    bool full = told->code == ERROR_DISK_FULL;
    if (files && (told->code == ERROR_OK || full)) { /* of a full disk the log keeps its beginning, for now */
        disk_report_free(told);
        snapshot_files_next(node, files);
    } else {
        snapshot_job_free(files);
        report(node, told);
    }
    if (disk->real) tidy(node);
    if (disk->real && real_dead(disk->real)) node_crash(node);
}

/* How many of the batch are done. */
static size_t model_batch(struct sim_node *node, struct disk_report *told)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    const struct sim_disk_op *first = &disk->ops[disk->head];
    bool writes = told->kind != DISK_READ;
    bool over_rot = disk->rotten && disk->rot_index >= first->first && disk->rot_index <= first->last;
    if (writes && sim->world.now_us < disk->full_until_us) {
        told->code = ERROR_DISK_FULL;
        COVER(sim, refusals);
        return 0;
    }
    if (disk->fail_next) {
        told->code = ERROR_IO; /* a failed transaction is there or not: nobody can say */
        node->expects_fatal = true;
        COVER(sim, disk_errors);
        return !writes || chance(sim, STREAM_DISK, 500) ? 0 : disk->batch;
    }
    if (!writes && over_rot) {
        told->code = ERROR_CORRUPT;
        node->expects_fatal = true;
        COVER(sim, rots_read);
        return 0;
    }
    return disk->batch;
}

/* What can wait until the reports are on their way; its failure is a report of its own. */
static void tidy(struct sim_node *node)
{
    enum error_code code = real_tidy(node);
    if (code == ERROR_OK) return;
    struct disk_report *told = memory_zero(1, sizeof *told);
    told->kind = DISK_TIDY;
    told->code = code;
    report(node, told);
}

static void finish(struct sim_node *node, const struct sim_disk_op *op, struct disk_report *told)
{
    if (op->kind == DISK_READ) {
        read_log(node, op, told);
        return;
    }
    disk_carry_out(node, op);
    if (op->kind == DISK_ADOPT || op->kind == DISK_INSTALL) told->offset = op->job->meta.size;
    if (op->kind == DISK_INSTALL) intend_log(&node->disk);
    if (op->kind != DISK_PERSIST) return;
    if (told->code == ERROR_OK) told->number = op->persist.sequence;
    if (op->seal == seal_of(&op->persist)) return;
    violate(node->sim, node, "persist_memory",
            "what persist %" PRIu64 " gave was changed before it was reported",
            op->persist.sequence);
}

void disk_carry_out(struct sim_node *node, const struct sim_disk_op *op)
{
    if (op->kind == DISK_PERSIST) {
        carry_out(node, &op->persist);
    } else if (op->kind == DISK_BOOTSTRAP) {
        node->disk.configuration = blob_take(op->configuration);
        node->disk.cluster = op->cluster;
    } else if (is_switch(op->kind)) {
        snapshot_switch(node, op);
    }
}

static void carry_out(struct sim_node *node, const struct raft_persist *persist)
{
    struct sim_disk *disk = &node->disk;
    check_before_durable(node, persist);
    if (persist->has_hard_state) disk->hard_state = persist->hard_state;
    if (persist->truncate_from > 0 && persist->truncate_from <= disk->log.count) {
        disk_log_cut(&disk->log, persist->truncate_from - 1);
    }
    if (!disk->real && disk->rotten && disk->snapshots.rot_index == 0) { /* what is written anew is sound again */
        bool anew = disk->rot_index == 0 ? persist->has_hard_state : disk->rot_index > disk->log.count;
        disk->rotten = !anew;
    }
    for (size_t i = 0; i < persist->entry_count; i++) disk_log_push(&disk->log, &persist->entries[i]);
    check_after_durable(node, persist);
}

/* Nothing that waits is done, and nothing that comes, until the node knows. */
static void drop_writes(struct sim_disk *disk)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->count; i++) {
        struct sim_disk_op op = disk->ops[disk->head + i];
        if (op.kind != DISK_PERSIST) disk->ops[disk->head + kept++] = op;
    }
    disk->count = kept;
    disk->batch = 0;
    disk->refusing = true;
}

static void report(struct sim_node *node, struct disk_report *told)
{
    disk_tell(node, told, STREAM_DISK, &node->disk.report_us);
}

void disk_tell(struct sim_node *node, struct disk_report *told, enum sim_stream stream, uint64_t *last_us)
{
    struct sim *sim = node->sim;
    bool of_log = told->kind < DISK_TIDY;
    if (of_log)
        record_node(node, MOMENT_written, told->number, told->kind, node->disk.log.count, error_name(told->code));
    uint64_t at = sim->world.now_us + draw(sim, stream, sim->plan.report_most_us + 1);
    if (at < *last_us) at = *last_us;
    *last_us = at;
    struct sim_event *event =
        world_push(&sim->world, at - sim->world.now_us, EVENT_DISK_REPORT, node->number);
    event->lifetime = node->lifetime;
    event->data = told;
}

static void read_log(struct sim_node *node, const struct sim_disk_op *op, struct disk_report *told)
{
    const struct sim_log *log = &node->disk.log;
    size_t bytes = 0;
    if (op->first <= node->disk.snapshots.base) return; /* compacted away */
    for (raft_index i = op->first; i <= op->last && i <= log->count; i++) {
        const struct raft_entry *entry = &log->entries[i - 1];
        bytes += 72 + entry->payload.bytes.size; /* entry.h: header and payload */
        if (told->entries.count > 0 && bytes > op->bytes_max) break;
        disk_log_push(&told->entries, entry);
    }
}

static void intend_durable(struct sim_disk *disk)
{
    disk->intended_hard_state = disk->hard_state;
    intend_log(disk);
}

static void intend_log(struct sim_disk *disk)
{
    disk->intended_count = disk->log.count;
    if (disk->intended_capacity < disk->log.count) {
        disk->intended_capacity = disk->log.count;
        disk->intended =
            memory_resize(disk->intended, disk->intended_capacity, sizeof *disk->intended);
    }
    for (size_t i = 0; i < disk->log.count; i++) {
        const struct raft_entry *entry = &disk->log.entries[i];
        disk->intended[i] = (struct sim_mark){entry->term, entry->chain, entry->time_ms};
    }
}

static uint64_t seal_of(const struct raft_persist *persist)
{
    uint64_t seal = persist->entry_count;
    for (size_t i = 0; i < persist->entry_count; i++) {
        const struct raft_entry *entry = &persist->entries[i];
        seal =
            (seal ^ entry->chain) * 0x9e3779b97f4a7c15 + entry->index + entry->payload.bytes.size;
    }
    return seal;
}

void disk_log_push(struct sim_log *log, const struct raft_entry *entry)
{
    if (log->count == log->capacity) {
        log->capacity = log->capacity ? log->capacity * 2 : 64;
        log->entries = memory_resize(log->entries, log->capacity, sizeof *log->entries);
    }
    assert(entry->payload.blob || entry->payload.bytes.size == 0);
    raft_entry_take(entry);
    log->entries[log->count++] = *entry;
}

void disk_log_cut(struct sim_log *log, size_t count)
{
    while (log->count > count) raft_entry_drop(&log->entries[--log->count]);
}

static void forget_ops(struct sim_disk *disk)
{
    for (size_t i = 0; i < disk->count; i++) op_free(&disk->ops[disk->head + i]);
    disk->count = 0;
    disk->head = 0;
}

static void op_free(struct sim_disk_op *op)
{
    blob_drop(op->configuration);
    snapshot_job_free(op->job);
}

static bool is_switch(enum sim_disk_op_kind kind)
{
    return kind == DISK_ADOPT || kind == DISK_INSTALL || kind == DISK_COMPACT;
}
