/* The disk thread: see disk.h. Everything in `struct disk` below `mutex` is shared under it. */
#include "node/disk.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>
#include <uv.h>

/* How long the thread waits when tidying gets nowhere: the disk is full. */
#define TIDY_RETRY_NS 500000000u

enum job_kind { JOB_PERSIST, JOB_BOOTSTRAP, JOB_READ, JOB_TASK, JOB_TIDY /* of the thread itself */ };

struct job {
    enum job_kind kind;
    uint64_t epoch; /* refusals collected before it was handed over */
    union {
        struct raft_persist persist;
        struct {
            struct buffer configuration;
            uint64_t cluster;
        } bootstrap;
        struct {
            uint64_t token;
            raft_index first, last;
            size_t max_bytes;
        } read;
        struct disk_task *task;
    };
};

struct completion {
    enum job_kind kind;
    uint64_t number; /* persist: its sequence; read: its token */
    enum error_code code;
    struct error error;
    struct store_entries entries;
};

struct jobs {
    struct job *items;
    size_t count, capacity;
};

struct completions {
    struct completion *items;
    size_t count, capacity;
};

struct disk {
    struct store *store;
    struct disk_events events;
    void (*wake)(void *context);
    void *wake_context;
    uv_thread_t thread;
    bool stopped;
    const struct raft_persist **group; /* the thread's: the writes of one commit */
    size_t group_capacity;
    struct jobs taken;            /* the thread's */
    uint64_t commit_us;           /* the thread's: how long the last commit took */
    bool stuck;                   /* the thread's: the last slice of tidying removed nothing */
    struct completions collected; /* the loop's */

    uv_mutex_t mutex;
    uv_cond_t work;
    struct jobs queue;
    struct completions done;
    struct disk_counters counters;
    bool refused; /* a refusal is not yet collected: writes handed over meanwhile are void */
    uint64_t
        epoch; /* refusals collected: a write of an earlier epoch is void, also one already taken */
    bool stopping;
};

static void thread_main(void *argument);
static void tidy(struct disk *disk);
static bool take_queue(struct disk *disk);
static void wait_for_work(struct disk *disk);
static void carry_out(struct disk *disk);
static size_t persist_group(struct disk *disk, size_t at);
static void commit_group(struct disk *disk, size_t count, size_t entries);
static void do_bootstrap(struct disk *disk, struct job *job);
static void do_read(struct disk *disk, const struct job *job);
static void complete(struct disk *disk, struct completion *completion, size_t entries);
static struct job *add_job(struct disk *disk, enum job_kind kind);
static void job_added(struct disk *disk);
static void deliver(struct disk *disk, struct completion *completion);
static void accept_writes_again(struct disk *disk);

struct disk *disk_start(struct store *store, const struct disk_events *events,
                        void (*wake)(void *context), void *wake_context)
{
    struct disk *disk = memory_zero(1, sizeof *disk);
    disk->store = store;
    disk->events = *events;
    disk->wake = wake;
    disk->wake_context = wake_context;
    int status = uv_mutex_init(&disk->mutex);
    if (status == 0) status = uv_cond_init(&disk->work);
    if (status == 0) status = uv_thread_create(&disk->thread, thread_main, disk);
    assert(status == 0);
    (void)status;
    return disk;
}

void disk_stop(struct disk *disk)
{
    if (disk->stopped) return;
    uv_mutex_lock(&disk->mutex);
    disk->stopping = true;
    uv_cond_signal(&disk->work);
    uv_mutex_unlock(&disk->mutex);
    uv_thread_join(&disk->thread);
    disk->stopped = true;
}

void disk_free(struct disk *disk)
{
    if (disk == NULL) return;
    assert(disk->stopped);
    for (size_t i = 0; i < disk->done.count; i++) store_entries_free(&disk->done.items[i].entries);
    uv_mutex_destroy(&disk->mutex);
    uv_cond_destroy(&disk->work);
    memory_free(disk->group);
    memory_free(disk->queue.items);
    memory_free(disk->taken.items);
    memory_free(disk->done.items);
    memory_free(disk->collected.items);
    memory_free(disk);
}

/* ---- the loop's side ---- */

void disk_persist(struct disk *disk, const struct raft_persist *persist)
{
    add_job(disk, JOB_PERSIST)->persist = *persist;
    job_added(disk);
}

void disk_bootstrap(struct disk *disk, struct slice configuration, uint64_t cluster)
{
    struct job *job = add_job(disk, JOB_BOOTSTRAP);
    job->bootstrap.configuration = (struct buffer){0};
    buffer_append_slice(&job->bootstrap.configuration, configuration);
    job->bootstrap.cluster = cluster;
    job_added(disk);
}

void disk_read(struct disk *disk, uint64_t token, raft_index first, raft_index last,
               size_t max_bytes)
{
    struct job *job = add_job(disk, JOB_READ);
    job->read.token = token;
    job->read.first = first;
    job->read.last = last;
    job->read.max_bytes = max_bytes;
    job_added(disk);
}

void disk_run(struct disk *disk, struct disk_task *task)
{
    add_job(disk, JOB_TASK)->task = task;
    assert(!disk->stopping);
    job_added(disk);
}

/* Returns with the mutex held: fill the job in, then job_added. */
static struct job *add_job(struct disk *disk, enum job_kind kind)
{
    uv_mutex_lock(&disk->mutex);
    struct jobs *queue = &disk->queue;
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity == 0 ? 16 : queue->capacity * 2;
        queue->items = memory_resize(queue->items, queue->capacity, sizeof *queue->items);
    }
    struct job *job = &queue->items[queue->count++];
    job->kind = kind;
    job->epoch = disk->epoch;
    return job;
}

static void job_added(struct disk *disk)
{
    bool first = disk->queue.count == 1;
    uv_mutex_unlock(&disk->mutex);
    if (first) uv_cond_signal(&disk->work);
}

void disk_collect(struct disk *disk)
{
    uv_mutex_lock(&disk->mutex);
    struct completions done = disk->done;
    disk->done = disk->collected;
    disk->done.count = 0;
    disk->collected = done;
    uv_mutex_unlock(&disk->mutex);
    for (size_t i = 0; i < done.count; i++) deliver(disk, &done.items[i]);
}

static void deliver(struct disk *disk, struct completion *completion)
{
    const struct disk_events *events = &disk->events;
    switch (completion->kind) {
    case JOB_PERSIST:
        if (completion->code == ERROR_DISK_FULL) accept_writes_again(disk);
        events->persisted(events->context, completion->number, completion->code,
                          &completion->error);
        break;
    case JOB_BOOTSTRAP:
        events->bootstrapped(events->context, completion->code, &completion->error);
        break;
    case JOB_READ:
        events->log_read(events->context, completion->number, completion->entries.entries,
                         completion->entries.count, completion->code, &completion->error);
        store_entries_free(&completion->entries);
        break;
    case JOB_TASK:
    case JOB_TIDY:
        events->failed(events->context, &completion->error);
        break;
    }
}

/* The refusal is about to be known: what was handed over up to now is void, what comes from now on
 * counts. */
static void accept_writes_again(struct disk *disk)
{
    uv_mutex_lock(&disk->mutex);
    assert(disk->refused);
    disk->refused = false;
    disk->epoch++;
    uv_mutex_unlock(&disk->mutex);
}

struct disk_counters disk_counters(struct disk *disk)
{
    uv_mutex_lock(&disk->mutex);
    struct disk_counters counters = disk->counters;
    uv_mutex_unlock(&disk->mutex);
    return counters;
}

/* ---- the thread's side ---- */

static void thread_main(void *argument)
{
    struct disk *disk = argument;
    while (take_queue(disk)) {
        carry_out(disk);
        tidy(disk);
    }
}

/* After the completions are on their way: nobody waits for it but the next write. Its failure is
 * the end of the node, as a failed write is; no sequence carries it, so it takes back nothing that
 * was said. */
static void tidy(struct disk *disk)
{
    struct completion completion = {.kind = JOB_TIDY};
    uint64_t trimmed = store_counters(disk->store).trimmed;
    completion.code = store_tidy(disk->store, &completion.error);
    struct store_counters counters = store_counters(disk->store);
    disk->stuck = counters.trimmed == trimmed;
    uv_mutex_lock(&disk->mutex);
    disk->counters.store = counters;
    uv_mutex_unlock(&disk->mutex);
    if (completion.code != ERROR_OK) complete(disk, &completion, 0);
}

/* Nothing taken and true: the store is not tidy. */
static bool take_queue(struct disk *disk)
{
    uv_mutex_lock(&disk->mutex);
    wait_for_work(disk);
    struct jobs taken = disk->queue;
    disk->queue = disk->taken;
    disk->queue.count = 0;
    disk->taken = taken;
    disk->counters.batches += taken.count > 0;
    bool goes_on = taken.count > 0 || !disk->stopping;
    uv_mutex_unlock(&disk->mutex);
    return goes_on;
}

static void wait_for_work(struct disk *disk)
{
    while (disk->queue.count == 0 && !disk->stopping) {
        bool tidy = store_is_tidy(disk->store);
        if (!tidy && !disk->stuck) return;
        if (tidy) {
            uv_cond_wait(&disk->work, &disk->mutex);
        } else if (uv_cond_timedwait(&disk->work, &disk->mutex, TIDY_RETRY_NS) != 0) {
            return;
        }
    }
}

static void carry_out(struct disk *disk)
{
    for (size_t i = 0; i < disk->taken.count;) {
        struct job *job = &disk->taken.items[i];
        switch (job->kind) {
        case JOB_PERSIST:
            i = persist_group(disk, i);
            continue;
        case JOB_BOOTSTRAP:
            do_bootstrap(disk, job);
            break;
        case JOB_READ:
            do_read(disk, job);
            break;
        case JOB_TASK:
            job->task->run(job->task, disk->store);
            break;
        case JOB_TIDY:
            break;
        }
        i++;
    }
}

/* All the writes from `at` on, up to the next job of another kind, in one commit. Returns where
 * that one is. */
static size_t persist_group(struct disk *disk, size_t at)
{
    const struct jobs *taken = &disk->taken;
    if (disk->group_capacity < taken->count) {
        disk->group_capacity = taken->capacity;
        disk->group = memory_resize(disk->group, disk->group_capacity, sizeof *disk->group);
    }
    uv_mutex_lock(&disk->mutex);
    bool refused = disk->refused;
    uint64_t epoch = disk->epoch;
    uv_mutex_unlock(&disk->mutex);
    size_t count = 0, entries = 0;
    for (; at < taken->count && taken->items[at].kind == JOB_PERSIST; at++) {
        if (refused || taken->items[at].epoch != epoch) continue;
        entries += taken->items[at].persist.entry_count;
        disk->group[count++] = &taken->items[at].persist;
    }
    if (count > 0) commit_group(disk, count, entries);
    return at;
}

static void commit_group(struct disk *disk, size_t count, size_t entries)
{
    struct completion completion = {.kind = JOB_PERSIST};
    uint64_t began_ns = uv_hrtime();
    completion.code = store_persist(disk->store, disk->group, count, &completion.error);
    disk->commit_us = (uv_hrtime() - began_ns) / 1000;
    /* Done: all up to the last. Refused: the first, and with it every later one. */
    size_t named = completion.code == ERROR_DISK_FULL ? 0 : count - 1;
    completion.number = disk->group[named]->sequence;
    complete(disk, &completion, entries);
}

static void do_bootstrap(struct disk *disk, struct job *job)
{
    struct completion completion = {.kind = JOB_BOOTSTRAP};
    completion.code = store_bootstrap(disk->store, buffer_slice(&job->bootstrap.configuration),
                                      job->bootstrap.cluster, &completion.error);
    buffer_deinit(&job->bootstrap.configuration);
    complete(disk, &completion, 0);
}

static void do_read(struct disk *disk, const struct job *job)
{
    struct completion completion = {.kind = JOB_READ, .number = job->read.token};
    completion.code = store_read(disk->store, job->read.first, job->read.last, job->read.max_bytes,
                                 &completion.entries, &completion.error);
    complete(disk, &completion, 0);
}

static void complete(struct disk *disk, struct completion *completion, size_t entries)
{
    struct store_counters counters = store_counters(disk->store);
    uv_mutex_lock(&disk->mutex);
    struct completions *done = &disk->done;
    if (done->count == done->capacity) {
        done->capacity = done->capacity == 0 ? 16 : done->capacity * 2;
        done->items = memory_resize(done->items, done->capacity, sizeof *done->items);
    }
    done->items[done->count++] = *completion;
    disk->counters.store = counters;
    if (entries > disk->counters.entries_max) disk->counters.entries_max = entries;
    if (completion->kind == JOB_PERSIST) histogram_observe(&disk->counters.persist, disk->commit_us);
    if (completion->kind == JOB_PERSIST && completion->code == ERROR_DISK_FULL)
        disk->refused = true;
    bool first = done->count == 1;
    uv_mutex_unlock(&disk->mutex);
    if (first) disk->wake(disk->wake_context);
}
