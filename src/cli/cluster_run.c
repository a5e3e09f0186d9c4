/*
 * The children of `moonclave cluster`. Each has a pipe of ours as its standard input, and stops when that ends: so none
 * survives us, whatever kills us (start's --stop-with-stdin). Each is in a session of its own: Ctrl-C reaches it once
 * only, from here.
 */
#include "cli/cluster.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/mp.h"
#include "cli/cli.h"
#include "cli/client.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#define ASK_EVERY_MS 100
#define ASK_MS 1000
#define KILL_AFTER_MS 5000 /* more than the nodes' own --stop-timeout-ms */
#define LINE_MAX_BYTES 8192
#define CHUNK_SIZE 16384

enum ended { RUNS, ENDED, NEVER_STARTED };

struct child {
    struct run *run;
    const struct cluster_node *node;
    uv_process_t process;
    uv_pipe_t input, output; /* output: its standard output and error */
    struct buffer line;      /* the last one, not yet ended */
    enum ended ended;
    bool ready;
};

struct run {
    const struct cluster_plan *plan;
    uv_loop_t loop;
    uv_signal_t signals[3];
    uv_timer_t timer; /* asks whether all are ready; later: how long stopping takes */
    uv_work_t asking; /* in the loop's thread pool, because the client blocks */
    bool answered[CLUSTER_NODES_MAX]; /* written there */
    bool is_asking, all_ready, stopping, colour;
    uv_process_t repl;
    bool repl_runs;
    FILE *log; /* null: the nodes' lines are printed */
    int status;
    size_t running;
    char program[4096];
    char chunk[CHUNK_SIZE];
    struct child children[CLUSTER_NODES_MAX];
};

static void open_loop(struct run *run);
static void start(struct run *run, size_t i);
static void child_ended(uv_process_t *process, int64_t status, int signal);
static void explain_end(struct child *child, int64_t status, int signal);
static void print_command_line(const struct child *child, FILE *out);
static void close_when_done(struct run *run);
static void ask_soon(uv_timer_t *timer);
static void ask(uv_work_t *work);
static void asked(uv_work_t *work, int status);
static bool is_ready(const char *address);
static void start_repl(struct run *run);
static void repl_ended(uv_process_t *process, int64_t status, int signal);
static void signalled(uv_signal_t *handle, int number);
static void stop(struct run *run);
static void stop_took_too_long(uv_timer_t *timer);
static void signal_all(struct run *run, int number);
static void lend_chunk(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
static void output_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer);
static void print_lines(struct child *child, const char *data, size_t size);
static void print_line(struct child *child, struct slice line);

int cluster_run(const struct cluster_plan *plan)
{
    struct run *run = memory_zero(1, sizeof *run);
    run->plan = plan;
    open_loop(run);
    for (size_t i = 0; i < plan->count && !run->stopping; i++) start(run, i);
    if (run->running == 0) close_when_done(run);
    uv_run(&run->loop, UV_RUN_DEFAULT);
    int status = uv_loop_close(&run->loop);
    assert(status == 0);
    status = run->status;
    for (size_t i = 0; i < plan->count; i++) buffer_deinit(&run->children[i].line);
    if (run->log != NULL) fclose(run->log);
    memory_free(run);
    return status;
}

static void open_loop(struct run *run)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    const char *no_colour = getenv("NO_COLOR");
    size_t size = sizeof run->program;
    int status = uv_loop_init(&run->loop);
    assert(status == 0);
    run->colour = isatty(STDOUT_FILENO) && (no_colour == NULL || no_colour[0] == 0);
    (void)signal(SIGPIPE, SIG_IGN); /* who reads our output may leave: print_line notices */
    status = uv_exepath(run->program, &size);
    assert(status == 0);
    (void)status;
    for (size_t i = 0; i < 3; i++) {
        uv_signal_init(&run->loop, &run->signals[i]);
        run->signals[i].data = run;
        uv_signal_start(&run->signals[i], signalled, numbers[i]);
    }
    uv_timer_init(&run->loop, &run->timer);
    run->timer.data = run->asking.data = run;
    uv_timer_start(&run->timer, ask_soon, ASK_EVERY_MS, ASK_EVERY_MS);
}

/* ---- children ---- */

static void start(struct run *run, size_t i)
{
    struct child *child = &run->children[i];
    child->run = run;
    child->node = &run->plan->nodes[i];
    uv_pipe_init(&run->loop, &child->input, 0);
    uv_pipe_init(&run->loop, &child->output, 0);
    child->process.data = child->output.data = child;
    int ends[2]; /* one pipe for both of its outputs: lines stay in order */
    int status = uv_pipe(ends, UV_NONBLOCK_PIPE, 0);
    if (status == 0) {
        uv_pipe_open(&child->output, ends[0]);
        uv_stdio_container_t stdio[3] = {
            {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&child->input},
            {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
            {.flags = UV_INHERIT_FD, .data.fd = ends[1]},
        };
        uv_process_options_t options = {
            .file = run->program,
            .args = child->node->arguments,
            .flags = UV_PROCESS_DETACHED,
            .stdio = stdio,
            .stdio_count = 3,
            .exit_cb = child_ended,
        };
        status = uv_spawn(&run->loop, &child->process, &options);
        close(ends[1]);
    }
    if (status == 0) {
        run->running++;
        uv_read_start((uv_stream_t *)&child->output, lend_chunk, output_read);
        return;
    }
    child->ended = NEVER_STARTED;
    run->status = cli_fail(EXIT_FAILED, "cluster: %s could not be started: %s", child->node->id, uv_strerror(status));
    uv_close((uv_handle_t *)&child->input, NULL);
    uv_close((uv_handle_t *)&child->output, NULL);
    stop(run);
}

static void child_ended(uv_process_t *process, int64_t status, int signal)
{
    struct child *child = process->data;
    struct run *run = child->run;
    child->ended = ENDED;
    run->running--;
    uv_close((uv_handle_t *)process, NULL);
    uv_close((uv_handle_t *)&child->input, NULL);
    /* What it has said last may still be in the pipe. */
    ssize_t size;
    int descriptor;
    uv_read_stop((uv_stream_t *)&child->output);
    if (uv_fileno((uv_handle_t *)&child->output, &descriptor) == 0) {
        while ((size = read(descriptor, run->chunk, sizeof run->chunk)) > 0) {
            print_lines(child, run->chunk, (size_t)size);
        }
    }
    uv_close((uv_handle_t *)&child->output, NULL);
    if (child->line.size > 0) print_line(child, buffer_slice(&child->line));
    explain_end(child, status, signal);
    if (run->running == 0) close_when_done(run);
}

static void explain_end(struct child *child, int64_t status, int signal)
{
    struct run *run = child->run;
    char how[64];
    if (signal != 0) {
        snprintf(how, sizeof how, "by signal %d", signal);
    } else {
        snprintf(how, sizeof how, "with exit code %" PRId64, status);
    }
    fflush(stdout);
    if (run->stopping) {
        if (status == 0 && signal == 0) return;
        int failed = cli_fail(EXIT_FAILED, "cluster: %s ended %s", child->node->id, how);
        if (run->status == EXIT_DONE) run->status = failed;
        return;
    }
    if (!run->all_ready) {
        run->status = cli_fail(EXIT_FAILED, "cluster: %s ended %s before all were ready: its lines above say why",
                               child->node->id, how);
        stop(run);
        return;
    }
    FILE *out = run->log != NULL ? run->log : stderr;
    if (!run->repl_runs) run->status = EXIT_FAILED;
    fprintf(out, "%s ended %s; it can be started again, in another terminal:\n", child->node->id, how);
    print_command_line(child, out);
}

static void print_command_line(const struct child *child, FILE *out)
{
    fprintf(out, "  %s", child->run->program);
    for (char **argument = child->node->arguments + 1; *argument != NULL; argument++) {
        if (strcmp(*argument, "--stop-with-stdin") == 0) continue;
        bool plain = strpbrk(*argument, " \t'\"\\$*?[]&;|<>()`!#~") == NULL;
        fprintf(out, plain ? " %s" : " '%s'", *argument);
    }
    fputc('\n', out);
    fflush(out);
}

/* Everything that keeps the loop running, once no child does. */
static void close_when_done(struct run *run)
{
    if (uv_is_closing((uv_handle_t *)&run->timer)) return;
    if (!run->stopping) {
        run->stopping = true;
        run->status = cli_fail(EXIT_FAILED, "cluster: no node is left");
    }
    uv_close((uv_handle_t *)&run->timer, NULL);
    for (size_t i = 0; i < 3; i++) uv_close((uv_handle_t *)&run->signals[i], NULL);
}

/* ---- being ready ---- */

static void ask_soon(uv_timer_t *timer)
{
    struct run *run = timer->data;
    if (run->is_asking) return;
    run->is_asking = uv_queue_work(&run->loop, &run->asking, ask, asked) == 0;
}

/* In another thread: it reads the plan and writes `answered`, which nobody else does meanwhile. */
static void ask(uv_work_t *work)
{
    struct run *run = work->data;
    for (size_t i = 0; i < run->plan->count; i++) {
        if (!run->answered[i]) run->answered[i] = is_ready(run->plan->nodes[i].address);
        if (!run->answered[i]) return;
    }
}

static void asked(uv_work_t *work, int status)
{
    struct run *run = work->data;
    run->is_asking = false;
    if (status != 0 || run->stopping) return;
    for (size_t i = 0; i < run->plan->count; i++) {
        if (!run->answered[i]) return;
    }
    run->all_ready = true;
    uv_timer_stop(&run->timer);
    run->plan->ready(run->plan->context);
    if (run->plan->repl) start_repl(run);
}

static bool is_ready(const char *address)
{
    static const uint8_t yes = 0xc3;
    struct rpc_client *client = NULL;
    struct error ignored;
    struct slice status, value;
    bool ready = rpc_client_open(&client, address, ASK_MS, &ignored) == ERROR_OK &&
                 rpc_client_call(client, "status", slice_of(NULL, 0), ASK_MS, &status, &ignored) == ERROR_OK &&
                 mp_map_get(status, "ready", &value) && slice_equal(value, slice_of(&yes, 1));
    rpc_client_close(client);
    return ready;
}

/* ---- the REPL ---- */

/* It has the terminal, and so Ctrl-C is its own. */
static void start_repl(struct run *run)
{
    char addresses[CLUSTER_NODES_MAX * CLUSTER_ADDRESS_MAX] = "";
    for (size_t i = 0; i < run->plan->count; i++) {
        size_t used = strlen(addresses);
        snprintf(addresses + used, sizeof addresses - used, "%s%s", i > 0 ? "," : "", run->plan->nodes[i].address);
    }
    char *arguments[] = {(char *)(uintptr_t)cli_program(), "repl", addresses, NULL};
    uv_stdio_container_t stdio[3];
    for (int i = 0; i < 3; i++) stdio[i] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = i};
    uv_process_options_t options = {
        .file = run->program, .args = arguments, .stdio = stdio, .stdio_count = 3, .exit_cb = repl_ended};
    run->log = fopen(run->plan->log, "a");
    run->repl.data = run;
    int status = uv_spawn(&run->loop, &run->repl, &options);
    run->repl_runs = status == 0;
    if (status == 0) return;
    run->status = cli_fail(EXIT_FAILED, "cluster: the REPL could not be started: %s", uv_strerror(status));
    uv_close((uv_handle_t *)&run->repl, NULL);
    stop(run);
}

static void repl_ended(uv_process_t *process, int64_t status, int signal)
{
    struct run *run = process->data;
    run->repl_runs = false;
    uv_close((uv_handle_t *)process, NULL);
    if ((status != 0 || signal != 0) && !run->stopping) run->status = EXIT_FAILED;
    stop(run);
}

/* ---- stopping ---- */

static void signalled(uv_signal_t *handle, int number)
{
    struct run *run = handle->data;
    if (run->repl_runs && number == SIGINT) return;
    if (run->stopping) {
        signal_all(run, SIGKILL); /* asked twice */
    } else {
        stop(run);
    }
}

static void stop(struct run *run)
{
    if (run->stopping) return;
    run->stopping = true;
    if (run->repl_runs) uv_process_kill(&run->repl, SIGTERM);
    signal_all(run, SIGTERM);
    uv_timer_start(&run->timer, stop_took_too_long, run->plan->stop_timeout_ms + KILL_AFTER_MS, 0);
}

static void stop_took_too_long(uv_timer_t *timer)
{
    struct run *run = timer->data;
    run->status = cli_fail(EXIT_FAILED, "cluster: nodes that do not stop are killed");
    signal_all(run, SIGKILL);
}

static void signal_all(struct run *run, int number)
{
    for (size_t i = 0; i < run->plan->count; i++) {
        struct child *child = &run->children[i];
        if (child->run != NULL && child->ended == RUNS) uv_process_kill(&child->process, number);
    }
}

/* ---- their lines ---- */

static void lend_chunk(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct child *child = handle->data;
    *buffer = uv_buf_init(child->run->chunk, CHUNK_SIZE);
}

static void output_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct child *child = stream->data;
    if (size > 0) print_lines(child, buffer->base, (size_t)size);
    if (size < 0) uv_read_stop(stream);
    fflush(stdout);
}

static void print_lines(struct child *child, const char *data, size_t size)
{
    while (size > 0) {
        const char *end = memchr(data, '\n', size);
        size_t part = end != NULL ? (size_t)(end - data) : size;
        buffer_append(&child->line, data, part);
        if (end != NULL || child->line.size >= LINE_MAX_BYTES) print_line(child, buffer_slice(&child->line));
        part += end != NULL;
        data += part;
        size -= part;
    }
}

static void print_line(struct child *child, struct slice line)
{
    struct run *run = child->run;
    size_t number = (size_t)(child - run->children);
    const char *text = line.size > 0 ? (const char *)line.data : "";
    if (run->log != NULL) {
        fprintf(run->log, "%s | %.*s\n", child->node->id, (int)line.size, text);
        fflush(run->log);
    } else if (run->colour) {
        printf("\033[%zum%s |\033[0m %.*s\n", 31 + (number + 1) % 6, child->node->id, (int)line.size, text);
    } else {
        printf("%s | %.*s\n", child->node->id, (int)line.size, text);
    }
    buffer_clear(&child->line);
    if (ferror(stdout)) stop(run); /* nobody is there any more */
}
