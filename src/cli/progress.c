/* A line on a terminal that says how far something is: progress.h. */
#include "cli/progress.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVERY_MS 100
#define WIDTH 24

void progress_begin(struct progress *progress, const char *what, uint64_t total)
{
    const char *term = getenv("TERM");
    *progress = (struct progress){.what = what, .total = total, .begun_ms = cli_clock_ms()};
    progress->terminal = isatty(STDERR_FILENO) && (term == NULL || strcmp(term, "dumb") != 0);
}

void progress_at(struct progress *progress, uint64_t done)
{
    char have[16], all[16], rate[16], bar[WIDTH + 1];
    uint64_t now = cli_clock_ms(), passed_ms = now - progress->begun_ms;
    if (!progress->terminal || (progress->drawn && now - progress->drawn_ms < EVERY_MS)) return;
    if (done > progress->total && progress->total > 0) done = progress->total;
    double part = progress->total > 0 ? (double)done / (double)progress->total : 0;
    for (int i = 0; i < WIDTH; i++) bar[i] = i < (int)(part * WIDTH) ? '#' : '.';
    bar[WIDTH] = 0;
    progress_bytes(done, have);
    progress_bytes(progress->total, all);
    progress_bytes(passed_ms > 0 ? done * 1000 / passed_ms : 0, rate);
    bool plain = getenv("NO_COLOR") != NULL && *getenv("NO_COLOR") != 0;
    fprintf(stderr, "\r%s %s%s%s %3.0f%%  %s of %s  %s/s\033[K", progress->what, plain ? "" : "\033[36m", bar,
            plain ? "" : "\033[0m", part * 100, have, all, rate);
    progress->drawn = true;
    progress->drawn_ms = now;
}

void progress_end(struct progress *progress)
{
    if (progress->drawn) fprintf(stderr, "\r\033[K");
    progress->drawn = false;
}

const char *progress_bytes(uint64_t bytes, char *out)
{
    static const char *const units[] = {"kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    if (bytes < 1000) {
        snprintf(out, 16, "%" PRIu64 " bytes", bytes);
        return out;
    }
    for (value /= 1000; value >= 999.95 && unit < 3; value /= 1000) unit++;
    snprintf(out, 16, "%.1f %s", value, units[unit]);
    return out;
}
