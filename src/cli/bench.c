/*
 * `moonclave bench`: a closed-loop load on a running cluster with the commands of examples/kv. Its phases follow each
 * other: connect all clients; write every key once, if any are to be read; warm up; measure; let what is under way end.
 */
#include "cli/bench.h"

#include "base/memory.h"
#include "cli/cli.h"
#include "raft/configuration.h"

#include <assert.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define FILL_DEPTH 16       /* requests under way on each connection while keys are written */
#define FILL_PATIENCE_MS 10000 /* without any progress */
#define CONNECT_MS 5000
#define DRAIN_MS 8000       /* longer than a node lets a request wait */
#define RETRY_MS 20
#define NAME_SIZE (sizeof *((struct bench *)NULL)->address_names)

static int bench_run(int argc, char **argv);
static enum error_code resolve(struct bench *bench, struct error *error);
static enum error_code resolve_one(const char *address, struct sockaddr_storage *out, struct error *error);
static void allow_descriptors(size_t count);
static void run_loop(struct bench *bench);
static void loop_check(uv_check_t *check);
static void loop_retry(uv_timer_t *timer);
static void connect_too_long(uv_timer_t *timer);
static void fill_progress(uv_timer_t *timer);
static void begin_warmup(struct bench *bench);
static void begin_measure(uv_timer_t *timer);
static void begin_drain(uv_timer_t *timer);
static void drain_too_long(uv_timer_t *timer);
static void end(struct bench *bench);
static int outcome(struct bench *bench);
static void bench_free(struct bench *bench);

#define FIELD(name) offsetof(struct bench_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(addresses), 0, 0, "A[,B,C]", "the nodes; clients are spread over them (127.0.0.1:5001)"},
    {"clients", FLAG_INTEGER, FIELD(clients), 1, 20000, "N", "connections (64)"},
    {"pipeline", FLAG_INTEGER, FIELD(pipeline), 1, 4096, "N", "requests each keeps under way (1)"},
    {"size", FLAG_INTEGER, FIELD(size), 0, 8388608, "BYTES", "of a value (256)"},
    {"reads", FLAG_INTEGER, FIELD(reads), 0, 100, "PERCENT", "linearizable gets among the requests (0)"},
    {"seconds", FLAG_INTEGER, FIELD(seconds), 1, 86400, "N", "how long to measure (5)"},
    {"warmup", FLAG_INTEGER, FIELD(warmup), 0, 3600, "SECONDS", "before it is measured (1)"},
    {"keys", FLAG_INTEGER, FIELD(keys), 1, 1000000000, "N", "different keys, taken at random (10000)"},
    {"http", FLAG_BOOLEAN, FIELD(http), 0, 0, NULL, "PUT and GET /kv/KEY; to the HTTP addresses (127.0.0.1:9091)"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "one JSON object a line, for each operation"},
    {"no-header", FLAG_BOOLEAN, FIELD(no_header), 0, 0, NULL, "the table without its titles"},
};
static const struct flags flags = {.command = "bench", .rows = rows, .count = sizeof rows / sizeof *rows};

const struct cli_command bench_command = {
    .name = "bench",
    .summary = "a load on a running cluster: throughput and latencies",
    .usage = "[--addr A,B,C] [--clients N] [--pipeline N] [--size BYTES] [--reads PERCENT] [--seconds N] [--http]",
    .help = "Puts and gets against a cluster that runs examples/kv. Every client sends its next request when an\n"
            "answer has come. Exits with 1 when anything failed, or nothing succeeded. Beside the nodes it takes\n"
            "processor time from them: --json tells how much.\n"
            "\n"
            "  moonclave bench --addr 127.0.0.1:5001,127.0.0.1:5002,127.0.0.1:5003 --clients 256\n"
            "  moonclave bench --http --reads 50\n",
    .flags = &flags,
    .run = bench_run,
};

static int bench_run(int argc, char **argv)
{
    struct bench_options options = {
        .clients = 64, .pipeline = 1, .size = 256, .seconds = 5, .warmup = 1, .keys = 10000};
    struct error error;
    if (flags_parse(&flags, argc, argv, &options, NULL, NULL, &error) != ERROR_OK) return cli_fail_error(&error);
    if (options.addresses == NULL) options.addresses = options.http ? "127.0.0.1:9091" : "127.0.0.1:5001";
    struct bench *bench = memory_zero(1, sizeof *bench);
    bench->options = &options;
    bench->protocol = options.http ? &bench_http : &bench_rpc;
    bench->connection_count = options.clients;
    bench->slots = options.reads > 0 && options.pipeline < FILL_DEPTH ? FILL_DEPTH : options.pipeline;
    int status;
    if (resolve(bench, &error) == ERROR_OK) {
        bench->protocol->build(bench->templates, options.size);
        random_init(&bench->random, uv_hrtime());
        allow_descriptors(options.clients);
        run_loop(bench);
        status = outcome(bench);
    } else {
        status = cli_fail_error(&error);
    }
    bench_free(bench);
    return status;
}

static int outcome(struct bench *bench)
{
    uint64_t succeeded = 0, failed = 0;
    if (bench->problem.code != ERROR_OK) return cli_fail_error(&bench->problem);
    bench_report(bench->options, bench->figures, &bench->errors, bench->measured_ns);
    for (int i = 0; i < BENCH_OPERATIONS; i++) {
        succeeded += bench->figures[i].succeeded;
        failed += bench->figures[i].failed;
    }
    if (succeeded == 0) {
        return cli_fail(EXIT_FAILED, "bench: nothing succeeded: `%s status` tells how the cluster is, and the "
                        "app must be examples/kv", cli_program());
    }
    return failed > 0 ? EXIT_FAILED : EXIT_DONE;
}

static void bench_free(struct bench *bench)
{
    for (int i = 0; i < BENCH_OPERATIONS; i++) buffer_deinit(&bench->templates[i].bytes);
    buffer_deinit(&bench->refill);
    memory_free(bench->addresses);
    memory_free(bench->address_names);
    memory_free(bench);
}

/* ---- addresses ---- */

static enum error_code resolve(struct bench *bench, struct error *error)
{
    const char *list = bench->options->addresses;
    size_t most = 1;
    for (const char *at = list; *at != 0; at++) most += *at == ',';
    bench->addresses = memory_zero(most, sizeof *bench->addresses);
    bench->address_names = memory_zero(most, sizeof *bench->address_names);
    for (const char *at = list; *at != 0;) {
        size_t size = strcspn(at, ",");
        char *name = bench->address_names[bench->address_count];
        if (size >= NAME_SIZE) return error_set(error, ERROR_USAGE, "bench: --addr %.99s: too long", at);
        memcpy(name, at, size);
        name[size] = 0;
        at += size;
        at += *at == ',';
        if (size == 0) continue;
        enum error_code code = resolve_one(name, &bench->addresses[bench->address_count], error);
        if (code != ERROR_OK) return code;
        bench->address_count++;
    }
    if (bench->address_count > 0) return ERROR_OK;
    return error_set(error, ERROR_USAGE, "bench: --addr: no address given: it is HOST:PORT[,HOST:PORT]");
}

static enum error_code resolve_one(const char *address, struct sockaddr_storage *out, struct error *error)
{
    char host[ADDRESS_MAX + 1], service[8];
    uint16_t port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    if (!raft_address_split(address, host, &port) || port == 0) {
        return error_set(error, ERROR_USAGE, "bench: --addr %s: an address is HOST:PORT", address);
    }
    snprintf(service, sizeof service, "%u", (unsigned)port);
    int status = getaddrinfo(host, service, &hints, &list);
    if (status != 0) {
        return error_set(error, ERROR_UNAVAILABLE, "bench: --addr %s: the host is not known: %s", address,
                         gai_strerror(status));
    }
    memcpy(out, list->ai_addr, list->ai_addrlen);
    freeaddrinfo(list);
    return ERROR_OK;
}

/* As many as the system lets us have; where that is too few, connecting says so. */
static void allow_descriptors(size_t count)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= count + 64) return;
    limit.rlim_cur = limit.rlim_max < count + 64 ? limit.rlim_max : count + 64;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

/* ---- the loop ---- */

static void run_loop(struct bench *bench)
{
    int status = uv_loop_init(&bench->loop);
    assert(status == 0);
    (void)status;
    uv_check_init(&bench->loop, &bench->check);
    uv_timer_init(&bench->loop, &bench->timer);
    uv_timer_init(&bench->loop, &bench->retry);
    bench->check.data = bench->timer.data = bench->retry.data = bench;
    uv_check_start(&bench->check, loop_check);
    uv_timer_start(&bench->timer, connect_too_long, CONNECT_MS, 0);
    bench_progress_begin(bench);
    bench_connections_open(bench);
    uv_run(&bench->loop, UV_RUN_DEFAULT);
    status = uv_loop_close(&bench->loop);
    assert(status == 0);
    bench_connections_free(bench);
}

static void loop_check(uv_check_t *check)
{
    bench_connections_flush(check->data);
}

static void loop_retry(uv_timer_t *timer)
{
    bench_connections_retry(timer->data);
}

/* ---- phases ---- */

static void connect_too_long(uv_timer_t *timer)
{
    struct bench *bench = timer->data;
    error_set(&bench->problem, ERROR_UNAVAILABLE, "bench: %s: only %zu of %zu connections in %d seconds: do the nodes "
              "run there, and do their limits (clients_max, open files) allow so many?", bench->options->addresses,
              bench->connected, bench->connection_count, CONNECT_MS / 1000);
    bench_give_up(bench);
}

void bench_all_connected(struct bench *bench)
{
    uv_timer_start(&bench->retry, loop_retry, RETRY_MS, RETRY_MS);
    if (bench->options->reads == 0) {
        begin_warmup(bench);
        return;
    }
    bench->phase = BENCH_FILL;
    bench->depth = bench->slots;
    uv_timer_start(&bench->timer, fill_progress, FILL_PATIENCE_MS, FILL_PATIENCE_MS);
    bench_connections_go(bench);
}

static void fill_progress(uv_timer_t *timer)
{
    struct bench *bench = timer->data;
    if (bench->filled > bench->filled_before) {
        bench->filled_before = bench->filled;
        return;
    }
    error_set(&bench->problem, ERROR_UNAVAILABLE, "bench: the keys to be read could not be written: %" PRIu64 " of %"
              PRIu64 " were, then nothing for %d seconds (%s): see `%s status`", bench->filled,
              bench->options->keys, FILL_PATIENCE_MS / 1000,
              bench->refill_code[0] != 0 ? bench->refill_code : "no answer", cli_program());
    bench_give_up(bench);
}

void bench_all_filled(struct bench *bench)
{
    begin_warmup(bench);
}

static void begin_warmup(struct bench *bench)
{
    bench->phase = BENCH_WARMUP;
    bench->depth = bench->options->pipeline;
    uv_timer_start(&bench->timer, begin_measure, bench->options->warmup * 1000, 0);
    bench_connections_go(bench);
}

static void begin_measure(uv_timer_t *timer)
{
    struct bench *bench = timer->data;
    bench->phase = BENCH_MEASURE;
    bench->phase_began_ns = uv_hrtime();
    uv_timer_start(timer, begin_drain, bench->options->seconds * 1000, 0);
}

static void begin_drain(uv_timer_t *timer)
{
    struct bench *bench = timer->data;
    bench->phase = BENCH_DRAIN;
    bench->measured_ns = uv_hrtime() - bench->phase_began_ns;
    uv_timer_stop(&bench->retry);
    uv_timer_start(timer, drain_too_long, DRAIN_MS, 0);
    if (bench->under_way == 0) end(bench);
}

static void drain_too_long(uv_timer_t *timer)
{
    end(timer->data); /* closing counts what is still under way as an error */
}

void bench_all_answered(struct bench *bench)
{
    end(bench);
}

void bench_give_up(struct bench *bench)
{
    end(bench);
}

static void end(struct bench *bench)
{
    if (uv_is_closing((uv_handle_t *)&bench->check)) return;
    uv_close((uv_handle_t *)&bench->check, NULL);
    uv_close((uv_handle_t *)&bench->timer, NULL);
    uv_close((uv_handle_t *)&bench->retry, NULL);
    bench_progress_end(bench);
    bench_connections_close(bench);
}
