/*
 * How far a long piece of work is: one line on stderr, drawn over itself, on a terminal only. Everywhere else
 * nothing is written. Colour unless NO_COLOR is set.
 */
#ifndef MOONCLAVE_CLI_PROGRESS_H
#define MOONCLAVE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    const char *what; /* "backup" */
    uint64_t total;   /* bytes; 0: not known */
    uint64_t begun_ms, drawn_ms;
    bool terminal, drawn;
};

void progress_begin(struct progress *progress, const char *what, uint64_t total);
/* As often as one likes: it is drawn ten times a second. */
void progress_at(struct progress *progress, uint64_t done);
void progress_end(struct progress *progress); /* wipes the line; harmless where there is none */

/* 1234567 as "1.2 MB" into out, which has 16 bytes. Returns out. */
const char *progress_bytes(uint64_t bytes, char *out);

#endif
