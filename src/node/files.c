/*
 * The snapshots' thread: see files.h. Everything in `struct files` below `mutex` is shared under it.
 *
 * A piece of work belongs to whoever has it in his list: the loop made it, the queue, the thread, for
 * some kinds the disk thread and then the queue again, the list of what is done, the loop, which frees
 * it. Nobody looks at what he has handed on.
 */
#include "node/files.h"

#include "base/memory.h"
#include "raft/snapshot_meta.h"
#include "store/snapshot.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <uv.h>

/* After each write of a snapshot of its own the thread leaves the disk alone for so many times as long as
 * that took (its sync, above all), so that the log, which everybody waits for, has most of it. */
#define REST_TIMES   4
#define REST_MOST_NS 200000000u

struct work {
    struct work *next;
    struct files *files;
    struct disk_task task;           /* its part in the log's order */
    struct host_snapshot_job job;    /* its bytes are held until the loop has it back */
    struct buffer configuration;     /* of job.meta */
    bool back;                       /* the part in the log's order is done, or refused */
    bool final;                      /* what came of it is the end of the node */
    enum error_code code;
    struct error error;
    uint64_t offset;
    struct blob *found; /* READ */
};

struct line {
    struct work *first, **end;
};

/* The snapshot that comes in, as far as the thread has told the store of it. */
struct incoming {
    bool begun;
    struct raft_snapshot_meta meta;
    struct buffer configuration;
    uint64_t have;
};

struct files {
    struct store_snapshots *snapshots;
    struct disk *disk;
    struct files_events events;
    void (*wake)(void *context);
    void *wake_context;
    uv_thread_t thread;
    bool stopped;
    struct line gathered; /* the loop's */

    /* the thread's */
    bool taking;
    struct error given_up; /* not taking: what the rest of that snapshot's work is told */
    struct incoming incoming;
    raft_index newest; /* what the node starts from */
    struct buffer scratch;
    uint64_t rest_until_ns; /* no write of a snapshot of this node's own before that */

    uv_mutex_t mutex;
    uv_cond_t given;
    struct line queue, done;
    struct files_counters counters;
    raft_index pins[FILES_PINS_MAX];
    size_t pin_count;
    bool stopping;
};

typedef enum error_code step_here(struct files *files, struct work *work);
typedef enum error_code step_in_log(struct store *store, struct work *work);

static step_here begin_own, write_own, finish_own, abort_own, read_bytes, receive, finish_incoming;
static step_in_log adopt, install, compact;
static step_here after_adopt, after_install, forget_older;

/* What is done here, in the log's order where that went well, and here again whatever came of it. */
static const struct steps {
    step_here *first;
    step_in_log *in_log;
    step_here *after;
} steps[HOST_SNAPSHOT_KINDS] = {
    [HOST_SNAPSHOT_BEGIN] = {begin_own, NULL, NULL},
    [HOST_SNAPSHOT_WRITE] = {write_own, NULL, NULL},
    [HOST_SNAPSHOT_FINISH] = {finish_own, adopt, after_adopt},
    [HOST_SNAPSHOT_ABORT] = {abort_own, NULL, NULL},
    [HOST_SNAPSHOT_READ] = {read_bytes, NULL, NULL},
    [HOST_SNAPSHOT_RECEIVE] = {receive, NULL, NULL},
    [HOST_SNAPSHOT_INSTALL] = {finish_incoming, install, after_install},
    [HOST_SNAPSHOT_COMPACT] = {NULL, compact, forget_older},
};

static void thread_main(void *argument);
static struct work *take(struct files *files);
static uint64_t rest_left_ns(const struct files *files);
static void carry_out(struct files *files, struct work *work);
static void settle(struct work *work, enum error_code code);
static void run_in_log(struct disk_task *task, struct store *store);
static void complete(struct files *files, struct work *work);
static void count(struct files_counters *counters, const struct work *work);
static void nothing_taken(struct files *files);
static enum error_code begin_incoming(struct files *files, struct work *work);
static bool is_incoming(const struct files *files, const struct work *work);
static struct work *work_new(struct files *files, const struct host_snapshot_job *job);
static void work_free(struct work *work);
static void line_init(struct line *line);
static void line_add(struct line *line, struct work *work);
static struct work *line_take(struct line *line);

/* ---- the loop's side ---- */

struct files *files_start(struct store *store, struct disk *disk, const struct files_events *events,
                          void (*wake)(void *context), void *wake_context)
{
    struct files *files = memory_zero(1, sizeof *files);
    files->snapshots = store_snapshots(store);
    files->disk = disk;
    files->events = *events;
    files->wake = wake;
    files->wake_context = wake_context;
    files->newest = store_durable(store)->snapshot.index;
    nothing_taken(files);
    line_init(&files->gathered);
    line_init(&files->queue);
    line_init(&files->done);
    int status = uv_mutex_init(&files->mutex);
    if (status == 0) status = uv_cond_init(&files->given);
    if (status == 0) status = uv_thread_create(&files->thread, thread_main, files);
    assert(status == 0);
    (void)status;
    return files;
}

void files_stop(struct files *files)
{
    if (files->stopped) return;
    uv_mutex_lock(&files->mutex);
    files->stopping = true;
    uv_cond_signal(&files->given);
    uv_mutex_unlock(&files->mutex);
    uv_thread_join(&files->thread);
    files->stopped = true;
}

void files_free(struct files *files)
{
    if (files == NULL) return;
    assert(files->stopped);
    struct line *const lines[] = {&files->queue, &files->done, &files->gathered};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        for (struct work *work; (work = line_take(lines[i])) != NULL;) work_free(work);
    }
    uv_mutex_destroy(&files->mutex);
    uv_cond_destroy(&files->given);
    buffer_deinit(&files->incoming.configuration);
    buffer_deinit(&files->scratch);
    memory_free(files);
}

void files_give(struct files *files, const struct host_snapshot_job *job)
{
    struct work *work = work_new(files, job);
    uv_mutex_lock(&files->mutex);
    line_add(&files->queue, work);
    files->counters.waiting++;
    uv_cond_signal(&files->given);
    uv_mutex_unlock(&files->mutex);
}

void files_pin(struct files *files, raft_index index)
{
    uv_mutex_lock(&files->mutex);
    assert(files->pin_count < FILES_PINS_MAX);
    files->pins[files->pin_count++] = index;
    uv_mutex_unlock(&files->mutex);
}

void files_unpin(struct files *files, raft_index index)
{
    uv_mutex_lock(&files->mutex);
    size_t at = 0;
    while (at < files->pin_count && files->pins[at] != index) at++;
    assert(at < files->pin_count);
    files->pins[at] = files->pins[--files->pin_count];
    uv_mutex_unlock(&files->mutex);
}

void files_gather(struct files *files)
{
    uv_mutex_lock(&files->mutex);
    for (struct work *work; (work = line_take(&files->done)) != NULL;) {
        line_add(&files->gathered, work);
    }
    uv_mutex_unlock(&files->mutex);
}

void files_report(struct files *files)
{
    for (struct work *work; (work = line_take(&files->gathered)) != NULL; work_free(work)) {
        if (work->final) files->events.failed(files->events.context, &work->error);
        if (work->final || work->job.token == 0) continue;
        struct host_snapshot_report report = {
            .kind = work->job.kind,
            .token = work->job.token,
            .code = work->code,
            .error = &work->error,
            .offset = work->offset,
        };
        if (work->found != NULL) {
            report.bytes.blob = work->found;
            report.bytes.bytes = slice_of(work->found->data, work->found->size);
            work->found = NULL; /* the callee's */
        }
        files->events.done(files->events.context, &report);
    }
}

struct files_counters files_counters(struct files *files)
{
    uv_mutex_lock(&files->mutex);
    struct files_counters counters = files->counters;
    uv_mutex_unlock(&files->mutex);
    return counters;
}

/* ---- the thread's side ---- */

static void thread_main(void *argument)
{
    struct files *files = argument;
    for (struct work *work; (work = take(files)) != NULL;) carry_out(files, work);
}

static struct work *take(struct files *files)
{
    uv_mutex_lock(&files->mutex);
    while (!files->stopping) {
        const struct work *next = files->queue.first;
        uint64_t rest_ns = next != NULL && next->job.kind == HOST_SNAPSHOT_WRITE ? rest_left_ns(files) : 0;
        if (rest_ns > 0) {
            uv_cond_timedwait(&files->given, &files->mutex, rest_ns);
        } else if (next == NULL) {
            uv_cond_wait(&files->given, &files->mutex);
        } else {
            break;
        }
    }
    struct work *work = line_take(&files->queue);
    uv_mutex_unlock(&files->mutex);
    return work;
}

static uint64_t rest_left_ns(const struct files *files)
{
    uint64_t now_ns = uv_hrtime();
    return files->rest_until_ns > now_ns ? files->rest_until_ns - now_ns : 0;
}

static void carry_out(struct files *files, struct work *work)
{
    const struct steps *what = &steps[work->job.kind];
    if (work->back) {
        if (!work->final) settle(work, what->after(files, work));
    } else {
        if (what->first != NULL) settle(work, what->first(files, work));
        if (work->code == ERROR_OK && what->in_log != NULL) {
            work->task.run = run_in_log;
            disk_run(files->disk, &work->task);
            return;
        }
    }
    complete(files, work);
}

static void settle(struct work *work, enum error_code code)
{
    work->code = code;
    work->final = code != ERROR_OK && code != ERROR_DISK_FULL && code != ERROR_UNAVAILABLE;
}

/* On the disk thread. When this thread has ended meanwhile, the work waits in the queue to be freed. */
static void run_in_log(struct disk_task *task, struct store *store)
{
    struct work *work = (struct work *)((char *)task - offsetof(struct work, task));
    struct files *files = work->files;
    settle(work, steps[work->job.kind].in_log(store, work));
    work->back = true;
    uv_mutex_lock(&files->mutex);
    line_add(&files->queue, work);
    uv_cond_signal(&files->given);
    uv_mutex_unlock(&files->mutex);
}

static void complete(struct files *files, struct work *work)
{
    uv_mutex_lock(&files->mutex);
    bool first = files->done.first == NULL;
    count(&files->counters, work);
    line_add(&files->done, work);
    uv_mutex_unlock(&files->mutex);
    if (first) files->wake(files->wake_context);
}

static void count(struct files_counters *counters, const struct work *work)
{
    counters->waiting--;
    counters->refusals += work->code == ERROR_DISK_FULL;
    if (work->code != ERROR_OK) return;
    counters->taken += work->job.kind == HOST_SNAPSHOT_FINISH;
    counters->installed += work->job.kind == HOST_SNAPSHOT_INSTALL;
    counters->written_bytes += work->job.bytes.bytes.size;
    counters->read_bytes += work->found != NULL ? work->found->size : 0;
}

/* ---- one of this node's own ---- */

static void nothing_taken(struct files *files)
{
    files->taking = false;
    error_set(&files->given_up, ERROR_UNAVAILABLE, "no snapshot is being taken");
}

static enum error_code begin_own(struct files *files, struct work *work)
{
    if (files->taking) store_snapshot_abort(files->snapshots);
    enum error_code code = store_snapshot_begin(files->snapshots, &work->job.meta, &work->error);
    files->taking = code == ERROR_OK;
    if (code != ERROR_OK) files->given_up = work->error;
    return code;
}

/* Work of a snapshot that was given up is told why, each piece. */
static enum error_code write_own(struct files *files, struct work *work)
{
    if (!files->taking) {
        work->error = files->given_up;
        return work->error.code;
    }
    uint64_t began_ns = uv_hrtime();
    enum error_code code =
        store_snapshot_write(files->snapshots, work->job.bytes.bytes, &work->error);
    uint64_t rest_ns = (uv_hrtime() - began_ns) * REST_TIMES;
    files->rest_until_ns = uv_hrtime() + (rest_ns < REST_MOST_NS ? rest_ns : REST_MOST_NS);
    files->taking = code == ERROR_OK;
    if (code != ERROR_OK) files->given_up = work->error;
    return code;
}

static enum error_code finish_own(struct files *files, struct work *work)
{
    if (!files->taking) {
        work->error = files->given_up;
        return work->error.code;
    }
    enum error_code code =
        store_snapshot_finish(files->snapshots, &work->job.meta, &work->error);
    work->offset = work->job.meta.size;
    nothing_taken(files);
    return code;
}

static enum error_code adopt(struct store *store, struct work *work)
{
    return store_adopt(store, &work->job.meta, &work->error);
}

/* A file that the log does not name is of no use, least of all where the disk is full. */
static enum error_code after_adopt(struct files *files, struct work *work)
{
    if (work->code == ERROR_OK) {
        files->newest = work->job.meta.index;
        return ERROR_OK;
    }
    struct error failure;
    enum error_code code =
        store_snapshot_discard(files->snapshots, work->job.meta.index, &failure);
    if (code != ERROR_OK) work->error = failure;
    return code != ERROR_OK ? code : work->code;
}

static enum error_code abort_own(struct files *files, struct work *work)
{
    (void)work;
    store_snapshot_abort(files->snapshots);
    nothing_taken(files);
    return ERROR_OK;
}

/* ---- one that comes in ---- */

/* Whoever has a snapshot has no use for it as one that comes in: that would take it away from the log. */
static enum error_code receive(struct files *files, struct work *work)
{
    struct incoming *incoming = &files->incoming;
    const struct host_snapshot_job *job = &work->job;
    assert(job->meta.index > files->newest);
    enum error_code code = ERROR_OK;
    if (job->bytes.bytes.size == 0 || !is_incoming(files, work)) code = begin_incoming(files, work);
    if (code == ERROR_OK && job->bytes.bytes.size > 0) {
        code = store_incoming_write(files->snapshots, job->offset, job->bytes.bytes,
                                    &incoming->have, &work->error);
    }
    if (code != ERROR_OK) incoming->begun = false; /* the next one asks the disk how much is there */
    work->offset = code == ERROR_OK ? incoming->have : 0;
    return code;
}

/* Complete or not is looked at here: finishing takes it for granted. */
static enum error_code finish_incoming(struct files *files, struct work *work)
{
    struct incoming *incoming = &files->incoming;
    assert(work->job.meta.index > files->newest);
    enum error_code code = ERROR_OK;
    if (!is_incoming(files, work)) code = begin_incoming(files, work);
    incoming->begun = false;
    if (code == ERROR_OK && incoming->have == work->job.meta.size) {
        code = store_incoming_finish(files->snapshots, &work->error);
    } else if (code == ERROR_OK) {
        error_set(&work->error, ERROR_UNAVAILABLE,
                  "the snapshot at %" PRIu64 " is not all here: %" PRIu64 " of %" PRIu64 " bytes",
                  work->job.meta.index, incoming->have, work->job.meta.size);
        code = ERROR_UNAVAILABLE;
    }
    return code;
}

static enum error_code install(struct store *store, struct work *work)
{
    return store_install(store, &work->job.meta, &work->error);
}

static enum error_code after_install(struct files *files, struct work *work)
{
    if (work->code == ERROR_OK) files->newest = work->job.meta.index;
    return work->code;
}

static enum error_code begin_incoming(struct files *files, struct work *work)
{
    struct incoming *incoming = &files->incoming;
    const struct raft_snapshot_meta *meta = &work->job.meta;
    enum error_code code =
        store_incoming_begin(files->snapshots, meta, &incoming->have, &work->error);
    incoming->begun = code == ERROR_OK;
    buffer_clear(&incoming->configuration);
    buffer_append_slice(&incoming->configuration, meta->configuration);
    incoming->meta = *meta;
    incoming->meta.configuration = buffer_slice(&incoming->configuration);
    return code;
}

static bool is_incoming(const struct files *files, const struct work *work)
{
    const struct incoming *incoming = &files->incoming;
    return incoming->begun && raft_snapshot_meta_equal(&incoming->meta, &work->job.meta);
}

/* ---- reading and forgetting ---- */

/* Behind its end there is nothing of it. */
static enum error_code read_bytes(struct files *files, struct work *work)
{
    const struct host_snapshot_job *job = &work->job;
    buffer_clear(&files->scratch);
    enum error_code code =
        store_snapshot_read(files->snapshots, job->meta.index, job->offset, job->max_bytes,
                            &files->scratch, &work->error);
    if (code == ERROR_NOT_FOUND) return ERROR_UNAVAILABLE;
    if (code == ERROR_OK && files->scratch.size == 0) {
        return error_set(&work->error, ERROR_UNAVAILABLE,
                         "the snapshot at %" PRIu64 " has no bytes at %" PRIu64, job->meta.index,
                         job->offset);
    }
    if (code == ERROR_OK) work->found = blob_new(files->scratch.data, files->scratch.size);
    return code;
}

static enum error_code compact(struct store *store, struct work *work)
{
    return store_compact(store, work->job.up_to, &work->error);
}

/* Also where a full disk kept the log as long as it was: what goes here is room. The next one moves
 * the log's base further. */
static enum error_code forget_older(struct files *files, struct work *work)
{
    raft_index pins[FILES_PINS_MAX];
    uv_mutex_lock(&files->mutex);
    size_t count = files->pin_count;
    memcpy(pins, files->pins, sizeof pins);
    uv_mutex_unlock(&files->mutex);
    return store_snapshots_forget_but(files->snapshots, work->job.meta.index, pins, count,
                                      &work->error);
}

/* ---- work and lines of it ---- */

static struct work *work_new(struct files *files, const struct host_snapshot_job *job)
{
    struct work *work = memory_zero(1, sizeof *work);
    work->files = files;
    work->job = *job;
    buffer_append_slice(&work->configuration, job->meta.configuration);
    work->job.meta.configuration = buffer_slice(&work->configuration);
    if (job->bytes.blob != NULL) {
        blob_take(job->bytes.blob);
    } else if (job->bytes.bytes.size > 0) { /* merely borrowed */
        struct blob *copy = blob_new(job->bytes.bytes.data, job->bytes.bytes.size);
        work->job.bytes = (struct raft_payload){copy, slice_of(copy->data, copy->size)};
    }
    return work;
}

static void work_free(struct work *work)
{
    blob_drop(work->job.bytes.blob);
    blob_drop(work->found);
    buffer_deinit(&work->configuration);
    memory_free(work);
}

static void line_init(struct line *line)
{
    *line = (struct line){.end = &line->first};
}

static void line_add(struct line *line, struct work *work)
{
    work->next = NULL;
    *line->end = work;
    line->end = &work->next;
}

static struct work *line_take(struct line *line)
{
    struct work *work = line->first;
    if (work == NULL) return NULL;
    line->first = work->next;
    if (line->first == NULL) line->end = &line->first;
    return work;
}
