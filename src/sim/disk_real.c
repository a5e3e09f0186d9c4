/*
 * The store itself (src/store) as a node's disk, on a lossy VFS of its own: its data folder is what survives.
 *
 * The model beside it (disk.c) says what must be there. A write that the store says is done is done in the model at
 * once; one that failed, or in whose middle the process died, is in doubt: one transaction, there as a whole or not at
 * all. The next start opens the folder anew, and what the store then says is durable must be the model, without what
 * is in doubt or with all of it. Anything else breaks the contract (store.h), unless something has rotted: then the
 * store may refuse to open, and in the cases that disk_rot.c knows it may have lost the end without a word.
 *
 * Whatever can be drawn is drawn from STREAM_DISK; what SQLite draws comes from the VFS.
 */
#include "sim/disk.h"

#include "base/hash.h"
#include "base/memory.h"
#include "raft/snapshot_meta.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FOLDER "/data"

static bool judge(struct sim_node *node);
static bool came_up(struct sim_node *node, enum error_code code, const struct error *error);
static struct sim_print print_found(const struct sim_real *real);
static struct sim_print print_model(const struct sim_disk *disk);
static void print_switch(struct sim_print *print, const struct sim_disk_op *op, uint64_t *chains);
static uint64_t print_meta(const struct raft_snapshot_meta *meta);
static struct sim_print print_doubt(const struct sim_disk *disk);
static bool rest_agrees(const struct sim_node *node);
static void follow_doubt(struct sim_node *node);
static void drop_doubt(struct sim_real *real);
static void keep_doubt(struct sim_real *real, const struct sim_disk_op *ops, size_t count);
static enum error_code give(struct sim_node *node, const struct sim_disk_op *ops, size_t count);
static enum error_code read_entries(struct sim_node *node, const struct sim_disk_op *op, struct disk_report *told);
static bool carry_on(struct sim_node *node, size_t keep);
static void die_midway(struct sim_node *node, size_t from);
static size_t writes_from(const struct sim_disk *disk, size_t at, size_t limit);
static void cut_power(struct sim_node *node);
static void arm(struct sim_real *real, enum vfs_lossy_fault fault, uint64_t nth);
static void disarm(struct sim_real *real);
static bool struck(const struct sim_real *real);
static uint64_t counted(const struct sim_real *real);
static void limit(struct sim_node *node);

/* The VFS's name must be its own among all runs of this process; nothing depends on what it is. */
struct sim_real *real_new(uint64_t seed)
{
    struct sim_real *real = memory_zero(1, sizeof *real);
    snprintf(real->name, sizeof real->name, "lossy-%p", (void *)real);
    real->vfs = vfs_lossy_new(real->name, seed);
    return real;
}

void real_free(struct sim_real *real)
{
    if (!real) return;
    assert(!real->open);
    drop_doubt(real);
    vfs_lossy_free(real->vfs);
    buffer_deinit(&real->tail);
    memory_free(real);
    vfs_lossy_chance(NULL);
}

const struct raft_durable *real_durable(const struct sim_node *node)
{
    return store_durable(node->disk.real->open);
}

/* ---- a start ---- */

bool real_begin(struct sim_node *node, bool faults)
{
    struct sim *sim = node->sim;
    struct sim_real *real = node->disk.real;
    assert(!real->open);
    const struct store_options options = {
        .folder = FOLDER,
        .vfs = real->name,
        .id = node->id.text,
        .incarnation = node->disk.incarnation,
        .page_size = sim->plan.page_size,
        .checkpoint_pages = sim->plan.checkpoint_pages,
        .snapshot_block = sim->plan.snapshot_block,
    };
    limit(node);
    if (faults && chance(sim, STREAM_DISK, sim->plan.open_fails)) {
        static const enum vfs_lossy_fault kinds[] = {VFS_LOSSY_CRASH, VFS_LOSSY_CRASH, VFS_LOSSY_ERROR,
                                                     VFS_LOSSY_READ_ERROR};
        enum vfs_lossy_fault kind = kinds[draw(sim, STREAM_DISK, 4)];
        arm(real, kind, 1 + draw(sim, STREAM_DISK, chance(sim, STREAM_DISK, 500) ? 4 : 60));
    }
    struct error error;
    real->failed = real->hurt = false;
    real->vouched = rot_vouched(real);
    vfs_lossy_chance(real->vfs);
    enum error_code code = store_open(&options, &real->open, &error);
    trace_event(sim, TRACE_STORE, node->number, (uint64_t)code, vfs_lossy_calls(real->vfs));
    trace_mix(sim, vfs_lossy_reads(real->vfs));
    if (!came_up(node, code, &error)) {
        cut_power(node);
        return false;
    }
    if (!struck(real)) disarm(real);
    if (judge(node)) return true;
    cut_power(node);
    return false;
}

/* An open that fails needs a reason: a fault that has struck, a disk without room, or damage. */
static bool came_up(struct sim_node *node, enum error_code code, const struct error *error)
{
    struct sim *sim = node->sim;
    struct sim_real *real = node->disk.real;
    if (code == ERROR_OK) return true;
    TRACE(sim, node, "its store: %s", error->text);
    if (struck(real)) {
        COVER(sim, store_failed_opens);
    } else if (code == ERROR_DISK_FULL && real->limited) {
        COVER(sim, refusals);
    } else if (node->disk.rotten) {
        COVER(sim, store_rots_refused);
        disk_wreck(node);
    } else {
        violate(sim, node, "store_contract", "its store does not open: %s", error->text);
    }
    return false;
}

/* false: what is gone is gone; the node must not go on. */
static bool judge(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    struct sim_real *real = disk->real;
    struct sim_print found = print_found(real), model = print_model(disk), doubt = print_doubt(disk);
    trace_mix(sim, found.chain ^ found.last);
    trace_mix(sim, found.hard_state.term);
    bool with = real->doubt_count > 0 && print_equal(&found, &doubt);
    if (with && !print_equal(&found, &model)) {
        COVER(sim, store_kept_doubts);
        follow_doubt(node);
    } else if (!print_equal(&found, &model)) {
        if (disk->rotten && rot_untold(node, &found)) {
            COVER(sim, store_rots_untold);
            disk_wreck(node);
        } else {
            violate(sim, node, "store_contract",
                    "its store opens with term %" PRIu64 " '%s' log %" PRIu64 " cluster %" PRIx64 "; said was term "
                    "%" PRIu64 " '%s' log %" PRIu64 " cluster %" PRIx64 " (%zu writes in doubt)",
                    found.hard_state.term, found.hard_state.vote.text, found.last, found.cluster,
                    model.hard_state.term, model.hard_state.vote.text, model.last, model.cluster, real->doubt_count);
        }
        return false;
    }
    if (!rest_agrees(node)) {
        violate(sim, node, "store_contract", "its store opens with another identity or first configuration");
    }
    if (!real_own_snapshot(node)) {
        violate(sim, node, "store_contract", "the snapshot that it starts from is not the one that was taken");
    }
    if (!disk->snapshots.lost) {
        if (disk->rotten) COVER(sim, store_rots_harmless);
        disk->rotten = false; /* every row has been read: what is damaged means nothing */
        real->damage.kind = DAMAGE_NONE;
    }
    drop_doubt(real);
    real_said(node);
    return true;
}

static struct sim_print print_found(const struct sim_real *real)
{
    const struct raft_durable *durable = store_durable(real->open);
    return (struct sim_print){
        .hard_state = durable->hard_state,
        .cluster = store_identity(real->open)->cluster,
        .last = durable->last_index,
        .chain = durable->last_chain,
        .snapshot = durable->snapshot.index,
        .base = durable->base.index,
        .meta = print_meta(&durable->snapshot),
    };
}

static struct sim_print print_model(const struct sim_disk *disk)
{
    size_t count = disk->log.count;
    return (struct sim_print){
        .hard_state = disk->hard_state,
        .cluster = disk->cluster,
        .last = count,
        .chain = count ? disk->log.entries[count - 1].chain : 0,
        .snapshot = disk->snapshots.meta.index,
        .base = disk->snapshots.base,
        .meta = print_meta(&disk->snapshots.meta),
    };
}

static uint64_t print_meta(const struct raft_snapshot_meta *meta)
{
    if (meta->index == 0) return 0;
    struct buffer bytes = {0};
    raft_snapshot_meta_encode(meta, &bytes);
    uint64_t hash = hash_bytes(bytes.data, bytes.size);
    buffer_deinit(&bytes);
    return hash;
}

/* The model with what is in doubt. */
static struct sim_print print_doubt(const struct sim_disk *disk)
{
    const struct sim_real *real = disk->real;
    struct sim_print print = print_model(disk);
    size_t most = disk->log.count;
    for (size_t i = 0; i < real->doubt_count; i++) {
        const struct sim_disk_op *op = &real->doubt[i];
        most += op->persist.entry_count;
        if (op->kind == DISK_INSTALL && op->job->meta.index > most) most = op->job->meta.index;
    }
    uint64_t *chains = memory_zero(most + 1, sizeof *chains);
    for (size_t i = 0; i < disk->log.count; i++) chains[i + 1] = disk->log.entries[i].chain;
    for (size_t i = 0; i < real->doubt_count; i++) {
        const struct sim_disk_op *op = &real->doubt[i];
        const struct raft_persist *persist = &op->persist;
        if (op->kind == DISK_BOOTSTRAP) print.cluster = op->cluster;
        if (op->job) print_switch(&print, op, chains);
        if (persist->has_hard_state) print.hard_state = persist->hard_state;
        if (persist->truncate_from && persist->truncate_from <= print.last) print.last = persist->truncate_from - 1;
        for (size_t j = 0; j < persist->entry_count; j++) chains[++print.last] = persist->entries[j].chain;
    }
    print.chain = chains[print.last];
    memory_free(chains);
    return print;
}

static void print_switch(struct sim_print *print, const struct sim_disk_op *op, uint64_t *chains)
{
    const struct raft_snapshot_meta *meta = &op->job->meta;
    if (op->kind == DISK_COMPACT) {
        if (op->job->up_to > print->base) print->base = op->job->up_to;
        return;
    }
    print->snapshot = meta->index;
    print->meta = print_meta(meta);
    if (op->kind == DISK_ADOPT) return;
    print->last = print->base = meta->index;
    chains[meta->index] = meta->chain;
}

bool print_equal(const struct sim_print *a, const struct sim_print *b)
{
    return a->hard_state.term == b->hard_state.term && raft_id_equal(&a->hard_state.vote, &b->hard_state.vote) &&
           a->cluster == b->cluster && a->last == b->last && a->chain == b->chain && a->snapshot == b->snapshot &&
           a->base == b->base && a->meta == b->meta;
}

static bool rest_agrees(const struct sim_node *node)
{
    const struct sim_disk *disk = &node->disk;
    const struct raft_durable *durable = store_durable(disk->real->open);
    const struct identity *identity = store_identity(disk->real->open);
    struct slice configuration = {0};
    if (disk->configuration) configuration = slice_of(disk->configuration->data, disk->configuration->size);
    bool empty = disk->log.count == disk->snapshots.base;
    uint64_t time_ms = empty ? 0 : disk->log.entries[disk->log.count - 1].time_ms;
    return identity->incarnation == disk->incarnation && strcmp(identity->id, node->id.text) == 0 &&
           slice_equal(store_first_configuration(disk->real->open), configuration) && durable->last_time_ms == time_ms;
}

/* ---- what is in doubt ---- */

static void follow_doubt(struct sim_node *node)
{
    struct sim_real *real = node->disk.real;
    for (size_t i = 0; i < real->doubt_count; i++) disk_carry_out(node, &real->doubt[i]);
}

static void drop_doubt(struct sim_real *real)
{
    for (size_t i = 0; i < real->doubt_count; i++) {
        struct sim_disk_op *op = &real->doubt[i];
        for (size_t j = 0; j < op->persist.entry_count; j++) raft_entry_drop(&op->persist.entries[j]);
        memory_free((void *)(uintptr_t)op->persist.entries);
        blob_drop(op->configuration);
        snapshot_job_free(op->job);
    }
    memory_free(real->doubt);
    real->doubt = NULL;
    real->doubt_count = 0;
}

/* The host's memory ends with it: a copy. */
static void keep_doubt(struct sim_real *real, const struct sim_disk_op *ops, size_t count)
{
    assert(real->doubt_count == 0);
    real->doubt = memory_zero(count, sizeof *real->doubt);
    for (size_t i = 0; i < count; i++) {
        struct sim_disk_op *op = &real->doubt[i];
        *op = ops[i];
        op->configuration = blob_take(op->configuration);
        if (op->job) op->job = snapshot_job_copy(op->job);
        op->persist.entries = NULL;
        if (op->persist.entry_count == 0) continue;
        struct raft_entry *entries = memory_zero(op->persist.entry_count, sizeof *entries);
        memcpy(entries, ops[i].persist.entries, op->persist.entry_count * sizeof *entries);
        for (size_t j = 0; j < op->persist.entry_count; j++) raft_entry_take(&entries[j]);
        op->persist.entries = entries;
    }
    real->doubt_count = count;
}

/* ---- carrying out ---- */

size_t real_batch(struct sim_node *node, struct disk_report *told)
{
    struct sim_disk *disk = &node->disk;
    const struct sim_disk_op *ops = &disk->ops[disk->head];
    real_prepare(node, told->kind == DISK_READ);
    if (told->kind == DISK_READ) {
        told->code = read_entries(node, ops, told);
        return 0;
    }
    told->code = give(node, ops, disk->batch);
    return told->code == ERROR_OK ? disk->batch : 0;
}

void real_prepare(struct sim_node *node, bool reading)
{
    struct sim *sim = node->sim;
    struct sim_real *real = node->disk.real;
    limit(node);
    if (node->disk.fail_next) {
        node->disk.fail_next = false;
        reading = reading || chance(sim, STREAM_DISK, 200);
        arm(real, reading ? VFS_LOSSY_READ_ERROR : VFS_LOSSY_ERROR, 1 + draw(sim, STREAM_DISK, 12));
    }
    bool may_die = sim->phase == PHASE_SAFETY && !sim->options.manual && !real->armed;
    if (may_die && chance(sim, STREAM_DISK, sim->plan.store_dies)) {
        arm(real, VFS_LOSSY_CRASH, 1 + draw(sim, STREAM_DISK, 12));
    }
}

/* Remembers what is durable, where that is news. */
void real_said(struct sim_node *node)
{
    struct sim_real *real = node->disk.real;
    struct sim_print print = print_model(&node->disk);
    if (real->print_count > 0 && print_equal(&print, &real->prints[real->print_count - 1])) return;
    if (real->print_count == SIM_PRINTS) {
        memmove(real->prints, real->prints + 1, (SIM_PRINTS - 1) * sizeof *real->prints);
        real->print_count--;
    }
    real->prints[real->print_count++] = print;
}

/* One transaction: writes together, or one bootstrap, or one switch to a snapshot or away from what it covers. */
static enum error_code give(struct sim_node *node, const struct sim_disk_op *ops, size_t count)
{
    struct sim_real *real = node->disk.real;
    struct error error;
    enum error_code code;
    bool had_failed = real->failed;
    vfs_lossy_chance(real->vfs);
    if (ops->kind == DISK_BOOTSTRAP) {
        struct slice configuration = slice_of(ops->configuration->data, ops->configuration->size);
        code = store_bootstrap(real->open, configuration, ops->cluster, &error);
    } else if (ops->job) {
        const struct raft_snapshot_meta *meta = &ops->job->meta;
        if (!snapshot_switch_sound(node, ops)) return ERROR_OK; /* the store would not go on */
        code = ops->kind == DISK_ADOPT     ? store_adopt(real->open, meta, &error)
               : ops->kind == DISK_INSTALL ? store_install(real->open, meta, &error)
                                           : store_compact(real->open, ops->job->up_to, &error);
    } else {
        const struct raft_persist **writes = memory_zero(count, sizeof *writes);
        for (size_t i = 0; i < count; i++) writes[i] = &ops[i].persist;
        code = store_persist(real->open, writes, count, &error);
        memory_free(writes);
    }
    code = real_failing(node, code, &error);
    if (code != ERROR_OK && code != ERROR_DISK_FULL && !had_failed) keep_doubt(real, ops, count);
    return code;
}

enum error_code real_failing(struct sim_node *node, enum error_code code, const struct error *error)
{
    struct sim *sim = node->sim;
    struct sim_real *real = node->disk.real;
    if (code == ERROR_OK) return code;
    TRACE(sim, node, "its store: %s", error->text);
    if (code == ERROR_DISK_FULL) COVER(sim, refusals);
    bool explained = struck(real) || real->hurt || node->disk.rotten || (code == ERROR_DISK_FULL && real->limited);
    if (!explained) violate(sim, node, "store_contract", "its store fails without a cause: %s", error->text);
    if (code == ERROR_DISK_FULL) return code;
    if (!real->failed) COVER(sim, disk_errors);
    if (!real->failed && node->disk.rotten) COVER(sim, rots_read);
    real->failed = true;
    node->expects_fatal = true;
    return code;
}

static enum error_code read_entries(struct sim_node *node, const struct sim_disk_op *op, struct disk_report *told)
{
    struct sim_real *real = node->disk.real;
    const struct sim_log *log = &node->disk.log;
    struct store_entries found;
    struct error error;
    vfs_lossy_chance(real->vfs);
    enum error_code code = store_read(real->open, op->first, op->last, op->bytes_max, &found, &error);
    code = real_failing(node, code, &error);
    if (code != ERROR_OK) return code;
    bool same = found.count > 0 || op->first > log->count || op->first > op->last;
    for (size_t i = 0; i < found.count; i++) {
        raft_index index = op->first + i;
        same = same && index <= log->count && found.entries[i].index == index &&
               found.entries[i].chain == log->entries[index - 1].chain;
        disk_log_push(&told->entries, &found.entries[i]);
    }
    store_entries_free(&found);
    if (!same && !node->disk.rotten)
        violate(node->sim, node, "store_contract", "entries read from %" PRIu64 " are not those written", op->first);
    if (!same) node->expects_fatal = true; /* the host is to notice */
    return code;
}

enum error_code real_tidy(struct sim_node *node)
{
    struct sim_real *real = node->disk.real;
    struct error error;
    if (real->failed) return ERROR_OK; /* that has been reported */
    uint64_t before = store_counters(real->open).checkpoints;
    vfs_lossy_chance(real->vfs);
    enum error_code code = real_failing(node, store_tidy(real->open, &error), &error);
    node->sim->result->coverage.store_checkpoints += store_counters(real->open).checkpoints - before;
    return code;
}

/* ---- deaths ---- */

void real_crash(struct sim_node *node, size_t keep)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    struct sim_real *real = disk->real;
    if (!real->open) return;
    limit(node);
    bool alive = carry_on(node, keep);
    for (size_t i = keep; i < disk->count; i++) {
        if (disk->ops[disk->head + i].kind != DISK_READ) COVER(sim, lost_writes); /* but for what is in doubt */
    }
    if (alive && !node->stopped && chance(sim, STREAM_DISK, 600)) die_midway(node, disk->refusing ? disk->count : keep);
    if (alive && node->stopped) {
        if (chance(sim, STREAM_DISK, 300)) arm(real, VFS_LOSSY_CRASH, 1 + draw(sim, STREAM_DISK, 40));
        vfs_lossy_chance(real->vfs);
        store_close(real->open);
        real->open = NULL;
    }
    cut_power(node);
}

/* false: the store has failed, or refuses. */
static bool carry_on(struct sim_node *node, size_t keep)
{
    struct sim_disk *disk = &node->disk;
    for (size_t at = 0; at < keep;) {
        const struct sim_disk_op *ops = &disk->ops[disk->head + at];
        size_t count = writes_from(disk, at, keep);
        if (count == 0) {
            at++; /* a read: nobody waits for it any more */
            continue;
        }
        if (disk->real->failed || give(node, ops, count) != ERROR_OK) return false;
        for (size_t i = 0; i < count; i++) {
            COVER(node->sim, kept_writes);
            disk_carry_out(node, &ops[i]);
        }
        real_said(node);
        at += count;
    }
    return !disk->real->failed;
}

/* In the middle of the next transaction, or of what waits behind it. */
static void die_midway(struct sim_node *node, size_t from)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    struct sim_real *real = disk->real;
    while (from < disk->count && disk->ops[disk->head + from].kind == DISK_READ) from++;
    arm(real, VFS_LOSSY_CRASH, 1 + draw(sim, STREAM_DISK, 12));
    size_t count = writes_from(disk, from, disk->count);
    const struct sim_disk_op *ops = &disk->ops[disk->head + from];
    if (count > 0 && give(node, ops, count) == ERROR_OK) {
        for (size_t i = 0; i < count; i++) disk_carry_out(node, &ops[i]);
        real_said(node);
    }
    real_tidy(node);
}

/* How many operations from `at` on, below `limit`, are one transaction. */
static size_t writes_from(const struct sim_disk *disk, size_t at, size_t most)
{
    size_t count = 0;
    while (at + count < most && disk->ops[disk->head + at + count].kind == DISK_PERSIST) count++;
    return count == 0 && at < most && disk->ops[disk->head + at].kind != DISK_READ ? 1 : count;
}

/* The process has died, or all of the machine; then what it had open is let go, which writes nothing any more. */
static void cut_power(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_real *real = node->disk.real;
    uint64_t fate = draw(sim, STREAM_DISK, 3);
    if (real_dead(real)) COVER(sim, store_crashes);
    if (fate == 0) {
        vfs_lossy_kill(real->vfs);
    } else {
        COVER(sim, store_power_cuts);
        vfs_lossy_power_cut(real->vfs, fate == 1 ? VFS_LOSSY_LOSE_ALL : VFS_LOSSY_LOSE_SOME);
    }
    trace_event(sim, TRACE_STORE, node->number, fate, vfs_lossy_calls(real->vfs));
    TRACE(sim, node, "its disk: %s, after %" PRIu64 " calls", fate == 0 ? "killed" : "power cut",
          vfs_lossy_calls(real->vfs));
    store_close(real->open);
    real->open = NULL;
    real->armed = false;
}

/* ---- faults ---- */

void real_heal(struct sim_node *node)
{
    struct sim_real *real = node->disk.real;
    if (!struck(real)) disarm(real);
    limit(node);
}

static void arm(struct sim_real *real, enum vfs_lossy_fault fault, uint64_t nth)
{
    real->hurt = real->hurt || struck(real);
    vfs_lossy_fail(real->vfs, fault, nth);
    real->armed = true;
    real->fault = fault;
    real->strikes_at = nth + counted(real);
}

static void disarm(struct sim_real *real)
{
    vfs_lossy_fail(real->vfs, VFS_LOSSY_ERROR, 0);
    real->armed = false;
}

static bool struck(const struct sim_real *real)
{
    return real->armed && counted(real) >= real->strikes_at;
}

static uint64_t counted(const struct sim_real *real)
{
    return real->fault == VFS_LOSSY_READ_ERROR ? vfs_lossy_reads(real->vfs) : vfs_lossy_calls(real->vfs);
}

bool real_dead(const struct sim_real *real)
{
    return struck(real) && real->fault == VFS_LOSSY_CRASH;
}

/* A disk is full as long as the fault lasts: at the size that it has when the store next wants something, and a bit. */
static void limit(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_real *real = node->disk.real;
    bool full = sim->world.now_us < node->disk.full_until_us;
    if (full && !real->limited) {
        uint64_t size = 0;
        for (size_t i = 0; i < vfs_lossy_file_count(real->vfs); i++) {
            struct slice content;
            if (vfs_lossy_file_read(real->vfs, vfs_lossy_file_name(real->vfs, i), &content)) size += content.size;
        }
        vfs_lossy_quota(real->vfs, size + 1 + draw(sim, STREAM_DISK, 4096));
    }
    if (!full) vfs_lossy_quota(real->vfs, 0);
    real->limited = full;
}
