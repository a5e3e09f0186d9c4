/* Where a load is, on a terminal: one line of standard error, over and over, gone at the end. Nothing elsewhere. */
#include "cli/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define EVERY_MS 200
#define BAR 20

static void show(uv_timer_t *timer);
static void bar(double share, char text[BAR + 1]);

void bench_progress_begin(struct bench *bench)
{
    uv_timer_init(&bench->loop, &bench->progress);
    bench->progress.data = bench;
    if (isatty(STDERR_FILENO)) uv_timer_start(&bench->progress, show, EVERY_MS, EVERY_MS);
}

void bench_progress_end(struct bench *bench)
{
    if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
    uv_close((uv_handle_t *)&bench->progress, NULL);
}

static void show(uv_timer_t *timer)
{
    const struct bench *bench = timer->data;
    const struct bench_options *options = bench->options;
    char text[BAR + 1];
    uint64_t done = 0;
    double passed_s = (double)(uv_hrtime() - bench->phase_began_ns) / 1e9;
    for (int i = 0; i < BENCH_OPERATIONS; i++) done += bench->figures[i].succeeded;
    fputs("\r\033[K", stderr);
    switch (bench->phase) {
    case BENCH_CONNECT: fprintf(stderr, "connecting: %zu of %zu", bench->connected, bench->connection_count); break;
    case BENCH_FILL:
        bar((double)bench->filled / (double)options->keys, text);
        fprintf(stderr, "[%s] writing the keys to be read: %" PRIu64 " of %" PRIu64, text, bench->filled,
                options->keys);
        break;
    case BENCH_WARMUP: fprintf(stderr, "warming up for %" PRIu64 " s", options->warmup); break;
    case BENCH_MEASURE:
        bar(passed_s / (double)options->seconds, text);
        fprintf(stderr, "[%s] %.0f of %" PRIu64 " s, %.0f/s", text, passed_s, options->seconds,
                passed_s > 0 ? (double)done / passed_s : 0);
        break;
    case BENCH_DRAIN: fprintf(stderr, "waiting for what is under way"); break;
    }
    fflush(stderr);
}

static void bar(double share, char text[BAR + 1])
{
    for (int i = 0; i < BAR; i++) text[i] = (double)i < share * BAR ? '#' : '.';
    text[BAR] = 0;
}
