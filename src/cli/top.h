/*
 * What the files of `moonclave top` share: top.c is the command and its keys, top_ask.c asks the nodes, top_screen.c
 * draws and owns the terminal.
 */
#ifndef MOONCLAVE_CLI_TOP_H
#define MOONCLAVE_CLI_TOP_H

#include "base/error.h"
#include "base/identity.h"
#include "base/settings.h"
#include "cli/client.h"
#include "cli/view.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOP_NODES_MAX  32
#define TOP_EVENTS_MAX 16
#define TOP_LINE_MAX   256

/* Counters that are shown as so much a second: the last value, when it was, and the rate since the one before. */
struct top_rate {
    uint64_t value, at_ms;
    double per_second;
};

struct top_node {
    char id[CELL_MAX], address[CELL_MAX], role[CELL_MAX], state[CELL_MAX];
    struct rpc_client *client; /* null: not connected */
    bool answers, seen;        /* seen: in the newest list of members */
    unsigned silent;           /* turns without an answer: it is asked less and less often */
    double answer_ms;
    char latency[LATENCY_MAX]; /* of its commits of the last seconds; "" where it has none */
    uint64_t term, first_index, last_index, commit_index, applied_index, snapshot_index, snapshot_size;
    uint64_t resident, uptime_ms;
    bool snapshot_taking, knows_lag;
    uint64_t match, lag, contact_ms; /* as the leader has it */
    struct top_rate commits, disk, processor; /* processor: microseconds */
};

struct top {
    const char *address;       /* the first to be asked */
    struct top_node nodes[TOP_NODES_MAX];
    size_t count, selected;
    char cluster[CELL_MAX], leader[CELL_MAX];
    uint64_t term, elections;  /* elections: changes of the term that were seen */
    char events[TOP_EVENTS_MAX][TOP_LINE_MAX]; /* the newest last */
    size_t event_count;
    char message[TOP_LINE_MAX]; /* below the events: what an order has come to */
};

/* Asks all there is to ask, once. UNAVAILABLE: nobody answers. */
enum error_code top_ask(struct top *top, struct error *error);
/* An order to the cluster through any node that answers: "admin/transfer" ... `address` may be null. */
enum error_code top_order(struct top *top, const char *method, const char *id, const char *address,
                          struct error *error);
void top_ask_end(struct top *top);
void top_event(struct top *top, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The terminal becomes ours, until top_screen_end: also after a signal. False: it is none. */
bool top_screen_begin(void);
void top_screen_end(void);
/* `question`: asked in the last line, with what is typed so far; null: the keys are shown there. */
void top_screen_draw(const struct top *top, const char *question);
/* Waits for a key, at most until then. 0: none came. Sets *resized where the window's size has changed. -1: a signal,
 * or the terminal is gone: it is to end. */
int top_screen_key(uint64_t until_ms, bool *resized);

enum { TOP_KEY_UP = 256, TOP_KEY_DOWN, TOP_KEY_OTHER };

#endif
