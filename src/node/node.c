/*
 * A node's life: check the app, open the disk, listen, run the loop, stop.
 *
 * One turn of the loop takes everything that waits. Sockets are read and their requests submitted
 * as they come; at the turn's end the host proposes all of it as one step, what it answered goes
 * on, and every connection makes one write.
 */
#include "node/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "node/events.h"
#include "script/bundle.h"
#include "script/config.h"
#include "script/policy.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <unistd.h>

#define APPLY_SLICE_US    1000
#define SPARE_DESCRIPTORS 64 /* for the database, the other nodes and the loop */
#define LOG_GATE_MS       1000
#define LATER_ROUNDS      4 /* of answers that ask again within one turn */

static enum exit_status open_and_run(struct node *node, struct slice bundle);
static enum exit_status run(struct node *node, struct slice bundle);
static enum exit_status serve(struct node *node, struct slice bundle);
static struct host *make_host(struct node *node, struct slice bundle, const struct host_deaths *deaths);
static void tell_start(struct node *node);
static void close_all(struct node *node);
static bool turn(void *context);
static bool run_later(struct node *node);
static void woken(void *context);
static void disk_wakes(void *context);
static void watch(struct node *node);
static void signalled(uv_signal_t *handle, int number);
static void input_room(uv_handle_t *handle, size_t wanted, uv_buf_t *room);
static void input_came(uv_stream_t *stream, ssize_t count, const uv_buf_t *bytes);
static void stop_overdue(uv_timer_t *timer);
static size_t descriptors_for_clients(const struct settings *settings);
static uint64_t random_number(void);
static enum exit_status say(const struct error *error);

enum exit_status exit_status_of(enum error_code code)
{
    switch (code) {
    case ERROR_OK:
        return EXIT_DONE;
    case ERROR_USAGE:
        return EXIT_USAGE;
    case ERROR_IO:
        return EXIT_IO;
    case ERROR_CORRUPT:
    case ERROR_INTERNAL:
        return EXIT_INTERNAL;
    default:
        return EXIT_FAILED;
    }
}

enum exit_status node_run(const struct node_options *options)
{
    struct node_options own = *options;
    struct node node = {.options = &own, .own = &own};
    struct buffer bundle = {0};
    struct error error;
    node.later_end = &node.later;
    enum error_code code = ERROR_OK;
    if (options->app != NULL) {
        code = bundle_read(options->app, &bundle, &error);
        if (code == ERROR_OK) {
            struct error reason;
            code = fsm_check(buffer_slice(&bundle), options->config, &options->settings, &reason);
            if (code == ERROR_OK) code = policy_check(buffer_slice(&bundle), &reason);
            if (code != ERROR_OK) error_set(&error, code, "%s: %s", options->app, reason.text);
        }
    }
    enum exit_status status =
        code == ERROR_OK ? open_and_run(&node, buffer_slice(&bundle)) : say(&error);
    buffer_deinit(&bundle);
    return status;
}

/* ---- from the disk outwards ---- */

static enum exit_status open_and_run(struct node *node, struct slice bundle)
{
    const struct store_options options = {
        .folder = node->options->data, .id = node->options->id, .incarnation = random_number() | 1};
    struct error error;
    enum error_code code = store_open(&options, &node->store, &error);
    if (code != ERROR_OK) {
        enum exit_status status = say(&error);
        if (code == ERROR_CORRUPT)
            fprintf(stderr, "moonclave: `moonclave doctor %s` says what is damaged and what to do\n",
                    node->options->data);
        return status;
    }
    enum exit_status status = run(node, bundle);
    store_close(node->store);
    return status;
}

static enum exit_status run(struct node *node, struct slice bundle)
{
    const struct net_hooks hooks = {.context = node, .turn = turn, .woken = woken};
    if (uv_loop_init(&node->loop) != 0) {
        return say(
            &(struct error){.code = ERROR_INTERNAL, .text = "the event loop cannot be made"});
    }
    node->net = net_new(&node->loop, &hooks);
    node->tickets = tickets_new();
    node->clients_max = descriptors_for_clients(&node->options->settings);
    enum exit_status status = serve(node, bundle);
    net_close(node->net);
    net_drain(node->net);
    net_free(node->net);
    int busy = uv_loop_close(&node->loop);
    assert(busy == 0);
    tickets_free(node->tickets);
    buffer_deinit(&node->bundle);
    buffer_deinit(&node->config);
    buffer_deinit(&node->scratch);
    return status;
}

static enum exit_status serve(struct node *node, struct slice bundle)
{
    struct disk_events events = ports_disk_events;
    struct files_events files_events = ports_files_events;
    struct error error;
    events.context = files_events.context = node;
    node->started_ms = net_turn_ms(node->net);
    events_open(node);
    peers_open(node);
    app_open(node);
    struct host_deaths deaths;
    node->deaths = deaths_open(node->options->data, &deaths, &error);
    if (node->deaths == NULL)
        log_write(LOG_LEVEL_WARN, "node",
                  "%s: should an entry be the death of this process, the next one will not know", error.text);
    tell_start(node);
    node->host = make_host(node, bundle, &deaths);
    node->disk = disk_start(node->store, &events, disk_wakes, node);
    node->files = files_start(node->store, node->disk, &files_events, disk_wakes, node);
    enum error_code code = door_open(node, &error);
    enum error_code web_code = web_open(node, code == ERROR_OK ? &error : NULL);
    if (code == ERROR_OK) code = web_code;
    if (code == ERROR_OK) local_open(node);
    watch(node);
    if (code == ERROR_OK) {
        const struct node_options *options = node->options;
        log_write(LOG_LEVEL_INFO, "node",
                  "%s: moonclave %s, nodes and RPC on %s, HTTP on %s, data in %s", options->id,
                  MOONCLAVE_VERSION, options->address,
                  options->http ? options->http : "no port (--http-port)", options->data);
        host_start(node->host, store_durable(node->store));
        net_again(node->net);
        while (!node->stopped) uv_run(&node->loop, UV_RUN_ONCE);
        log_write(LOG_LEVEL_INFO, "node", "%s: stopped", options->id);
    } else {
        node->status = say(&error);
    }
    close_all(node);
    return node->status;
}

static void tell_start(struct node *node)
{
    const struct node_options *options = node->options;
    const char *const pairs[][2] = {{"address", options->advertise},
                                    {"id", options->id},
                                    {"lua", config_lua_release()},
                                    {"version", MOONCLAVE_VERSION}};
    struct buffer data = {0};
    mp_write_map(&data, sizeof pairs / sizeof *pairs);
    for (size_t i = 0; i < 2 * sizeof pairs / sizeof *pairs; i++) mp_write_text(&data, pairs[i / 2][i % 2]);
    events_note(node, EVENT_STARTED, buffer_slice(&data));
    buffer_deinit(&data);
}

static struct host *make_host(struct node *node, struct slice bundle, const struct host_deaths *deaths)
{
    const struct node_options *options = node->options;
    const struct host_options host_options = {
        .identity = *store_identity(node->store),
        .first_configuration = store_first_configuration(node->store),
        .address = options->advertise,
        .peers = options->peers,
        .peer_count = options->peer_count,
        .join = options->join,
        .join_count = options->join_count,
        .labels = options->labels,
        .bundle = bundle,
        .config = options->config,
        .lua_release = config_lua_release(),
        .seed = random_number(),
        .deaths = *deaths,
        .apply_slice_us = APPLY_SLICE_US,
        .sources = &options->sources,
    };
    struct host_ports ports;
    struct machine machine;
    ports_fill(node, &ports);
    fsm_machine(node->fsm, &machine);
    return host_new(&host_options, &options->settings, &ports, &machine);
}

/* Connections first: they cancel what they wait for. The disk before the host: it reads what the
 * host owns. The snapshots' thread before the disk's, which it hands work on to. */
static void close_all(struct node *node)
{
    web_close(node);
    clients_close(node);
    local_close(node);
    door_close(node);
    app_close(node);
    peers_close(node);
    files_stop(node->files);
    disk_stop(node->disk);
    host_free(node->host);
    files_free(node->files);
    disk_free(node->disk);
    fsm_free(node->fsm);
    deaths_close(node->deaths, node->status == EXIT_DONE);
    events_close(node);
    run_later(node); /* answers nobody waits for: they free themselves */
    memory_free(node->door);
    uv_close((uv_handle_t *)&node->timer, NULL);
    uv_close((uv_handle_t *)&node->stop_timer, NULL);
    for (size_t i = 0; i < sizeof node->signals / sizeof *node->signals; i++) {
        uv_close((uv_handle_t *)&node->signals[i], NULL);
    }
    if (node->has_standard_input) uv_close((uv_handle_t *)&node->standard_input, NULL);
}

/* ---- a turn ---- */

static bool turn(void *context)
{
    struct node *node = context;
    if (node->host == NULL || node->control == NULL) return false;
    run_later(node);
    bool more = host_turn(node->host);
    for (int i = 0; i < LATER_ROUNDS && run_later(node); i++) more = host_turn(node->host);
    if (node->load_due) app_load(node);
    return more || node->later != NULL;
}

/* What is listed while it runs is for the next round. One at a time, because any of them may forget
 * another. */
static bool run_later(struct node *node)
{
    struct later boundary = {.listed = true};
    if (node->later == NULL) return false;
    *node->later_end = &boundary;
    node->later_end = &boundary.next;
    for (;;) {
        struct later *later = node->later;
        node->later = later->next;
        if (node->later == NULL) node->later_end = &node->later;
        if (later == &boundary) return true;
        later->listed = false;
        later->run(later);
    }
}

void node_later(struct node *node, struct later *later)
{
    if (later->listed) return;
    later->listed = true;
    later->next = NULL;
    *node->later_end = later;
    node->later_end = &later->next;
    net_again(node->net);
}

void node_forget_later(struct node *node, struct later *later)
{
    if (!later->listed) return;
    struct later **at = &node->later;
    while (*at != later) at = &(*at)->next;
    *at = later->next;
    if (node->later_end == &later->next) node->later_end = at;
    later->listed = false;
}

bool node_may_log(struct node *node, struct log_gate *gate)
{
    uint64_t now = net_turn_ms(node->net);
    if (now < gate->next_ms) {
        gate->held_back++;
        return false;
    }
    if (gate->held_back > 0)
        log_write(LOG_LEVEL_WARN, "node", "%u lines like the next were left out", gate->held_back);
    gate->held_back = 0;
    gate->next_ms = now + LOG_GATE_MS;
    return true;
}

/* Called by the disk thread and the snapshots'. */
static void disk_wakes(void *context)
{
    net_wake(((struct node *)context)->net);
}

static void woken(void *context)
{
    struct node *node = context;
    if (node->files == NULL) return;
    files_gather(node->files);
    disk_collect(node->disk);
    files_report(node->files);
}

void node_settings(struct node *node, const struct settings *settings)
{
    node->own->settings = *settings;
    node->clients_max = descriptors_for_clients(settings);
}

/* ---- the end ---- */

static void watch(struct node *node)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    uv_timer_init(&node->loop, &node->timer);
    uv_timer_init(&node->loop, &node->stop_timer);
    node->timer.data = node->stop_timer.data = node;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        uv_signal_init(&node->loop, &node->signals[i]);
        node->signals[i].data = node;
        uv_signal_start(&node->signals[i], signalled, numbers[i]);
    }
    if (!node->options->stop_with_stdin) return;
    uv_pipe_init(&node->loop, &node->standard_input, 0);
    node->has_standard_input = true;
    node->standard_input.data = node;
    if (uv_pipe_open(&node->standard_input, STDIN_FILENO) == 0) {
        uv_read_start((uv_stream_t *)&node->standard_input, input_room, input_came);
    }
}

static void signalled(uv_signal_t *handle, int number)
{
    node_stop(handle->data, number == SIGINT ? "interrupted" : "told to stop");
}

static void input_room(uv_handle_t *handle, size_t wanted, uv_buf_t *room)
{
    static char ignored[256];
    (void)handle, (void)wanted;
    *room = uv_buf_init(ignored, sizeof ignored);
}

static void input_came(uv_stream_t *stream, ssize_t count, const uv_buf_t *bytes)
{
    (void)bytes;
    if (count >= 0) return;
    uv_read_stop(stream);
    node_stop(stream->data, "its standard input has ended");
}

void node_stop(struct node *node, const char *why)
{
    if (node->stopping) {
        log_write(LOG_LEVEL_WARN, "node", "%s again: stops at once", why);
        _exit(EXIT_FAILED);
    }
    node->stopping = true;
    log_write(LOG_LEVEL_INFO, "node", "%s", why);
    door_shut(node);
    web_shut(node);
    host_stop(node->host);
    uv_timer_start(&node->stop_timer, stop_overdue, node->options->settings.stop_timeout_ms, 0);
    net_again(node->net);
}

static void stop_overdue(uv_timer_t *timer)
{
    struct node *node = timer->data;
    log_write(LOG_LEVEL_WARN, "node",
              "not drained after %" PRIu64 " ms (stop_timeout_ms): stops as it is",
              node->options->settings.stop_timeout_ms);
    node->status = EXIT_FAILED;
    node->stopped = true;
    net_again(node->net);
}

void node_fatal(struct node *node, const struct error *error)
{
    log_write(LOG_LEVEL_ERROR, "node", "%s: stops at once: %s", node->options->id, error->text);
    _exit((int)exit_status_of(error->code == ERROR_OK ? ERROR_INTERNAL : error->code));
}

/* ---- small things ---- */

/* The soft limit of open files is raised to the hard one; what is left over is for clients. */
static size_t descriptors_for_clients(const struct settings *settings)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return settings->clients_max;
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
        getrlimit(RLIMIT_NOFILE, &limit);
    }
    size_t room = limit.rlim_cur > 2 * SPARE_DESCRIPTORS
                      ? (size_t)limit.rlim_cur - SPARE_DESCRIPTORS
                      : (size_t)limit.rlim_cur / 2;
    return settings->clients_max < room ? settings->clients_max : room;
}

static uint64_t random_number(void)
{
    uint64_t number;
    if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number) {
        log_write(LOG_LEVEL_ERROR, "node",
                  "the system gives no random numbers: an identity cannot be drawn");
        abort();
    }
    return number;
}

static enum exit_status say(const struct error *error)
{
    fprintf(stderr, "moonclave: %s\n", error->text);
    return exit_status_of(error->code);
}
