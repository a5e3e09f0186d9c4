/*
 * What the files of the load generator share.
 *
 *   bench.c              the command: flags, phases, the loop
 *   bench_connections.c  closed-loop clients: each keeps `depth` requests under way
 *   bench_protocol.c     requests as templates with only key and id patched; answers found in the bytes
 *   bench_report.c       latencies, errors, what is printed
 *   bench_progress.c     where it is, on a terminal
 *
 * It shares the machine with what it measures, so it does little: one thread, no allocation per request, and per turn
 * of the loop one write call for each connection, after everything that had come was read.
 */
#ifndef MOONCLAVE_CLI_BENCH_H
#define MOONCLAVE_CLI_BENCH_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/mp.h"
#include "base/random.h"

#include <uv.h>

#define BENCH_CODE_MAX 40   /* of an error's code, as it is counted */
#define BENCH_ERRORS_MAX 16 /* different codes; further ones share the last row */

enum bench_operation { BENCH_PUT, BENCH_GET };
#define BENCH_OPERATIONS 2

struct bench_options {
    const char *addresses;
    uint64_t clients, pipeline, size, reads, seconds, warmup, keys;
    bool http, json, no_header;
};

/* ---- bench_protocol.c ---- */

/* One request of each kind as bytes; where the parts are that change. */
struct bench_template {
    struct buffer bytes;
    size_t id_at;  /* 4 bytes, big-endian; unused where answers come in order */
    size_t key_at; /* 8 hexadecimal digits */
};

struct bench_answer {
    uint32_t id;    /* as given to the request; unused where answers come in order */
    bool empty;     /* it says that there is nothing */
    bool failed;
    char code[BENCH_CODE_MAX]; /* "not_leader", "503 unavailable" */
};

struct bench_protocol {
    bool in_order; /* answers come in the order of their requests, and carry no id */
    void (*build)(struct bench_template *templates, size_t value_size);
    /* The answer at the start of `bytes`: its size, 0 where more bytes are needed, -1 where it is no answer. `scan` is
     * the connection's own. */
    ptrdiff_t (*scan)(struct mp_scan *scan, struct slice bytes, struct bench_answer *answer);
};

extern const struct bench_protocol bench_rpc, bench_http;

void bench_request(const struct bench_template *request, uint32_t id, uint32_t key, struct buffer *out);

/* ---- bench_report.c ---- */

/* Latencies in classes of at most 1.6% width. */
#define BENCH_CLASS_BITS 6
#define BENCH_CLASSES ((64 - BENCH_CLASS_BITS + 1) << BENCH_CLASS_BITS)

struct bench_figures {
    uint64_t succeeded, failed; /* in the measured time, for the throughput */
    uint64_t sampled;           /* ... and those under way at its end, for the latencies */
    uint64_t longest_ns;
    uint64_t classes[BENCH_CLASSES];
};

struct bench_error {
    char code[BENCH_CODE_MAX];
    uint64_t count;
};

struct bench_errors {
    struct bench_error rows[BENCH_ERRORS_MAX];
    size_t count;
};

void bench_sample(struct bench_figures *figures, uint64_t ns);
void bench_count_error(struct bench_errors *errors, const char *code);
void bench_report(const struct bench_options *options, const struct bench_figures *figures,
                  const struct bench_errors *errors, uint64_t measured_ns);

/* ---- bench_connections.c ---- */

enum bench_phase {
    BENCH_CONNECT, /* until every client has its connection */
    BENCH_FILL,    /* every key is written once, for the reads */
    BENCH_WARMUP,  /* as in MEASURE, but not counted */
    BENCH_MEASURE,
    BENCH_DRAIN,   /* nothing new is sent; what is under way may end */
};

struct bench_connection;

struct bench {
    const struct bench_options *options;
    const struct bench_protocol *protocol;
    struct bench_template templates[BENCH_OPERATIONS];
    uv_loop_t loop;
    uv_check_t check;   /* after all reads of a turn: the writes */
    uv_timer_t timer;   /* phases */
    uv_timer_t retry;   /* what failed is tried again a moment later */
    uv_timer_t progress;
    enum bench_phase phase;
    struct random random;

    struct sockaddr_storage *addresses;
    char (*address_names)[64];
    size_t address_count;

    struct bench_connection *connections;
    size_t connection_count, connected;
    uint8_t *scratch;      /* where all of them read */
    size_t depth;          /* requests under way on each connection, now */
    size_t slots;          /* ... at most, ever */
    size_t under_way;
    struct bench_connection *dirty; /* have something to write */

    uint32_t fill_next;    /* the next key to write in FILL */
    uint64_t filled, filled_before; /* now, and when progress was last looked for */
    struct buffer refill;  /* keys whose write failed: u32 each */
    char refill_code[BENCH_CODE_MAX]; /* ... and why, the last time */

    uint64_t phase_began_ns, measured_ns;
    struct bench_figures figures[BENCH_OPERATIONS];
    struct bench_errors errors;
    struct error problem;  /* why it could not go on; code OK: it could */
};

void bench_connections_open(struct bench *bench);
void bench_connections_go(struct bench *bench);    /* fills every connection up to depth */
void bench_connections_flush(struct bench *bench);
void bench_connections_retry(struct bench *bench); /* connects again, sends what was held back */
void bench_connections_close(struct bench *bench);
void bench_connections_free(struct bench *bench);  /* after the loop has run out */

/* ---- bench_progress.c ---- */

void bench_progress_begin(struct bench *bench);
void bench_progress_end(struct bench *bench);

/* bench.c: called by the connections. */
void bench_all_connected(struct bench *bench);
void bench_all_filled(struct bench *bench);
void bench_all_answered(struct bench *bench);
void bench_give_up(struct bench *bench);           /* bench->problem says why */

#endif
