/*
 * Queries. All that gathered in a turn share one round of the core: one READ, one confirmation by a
 * majority, and then each is run on a state that has applied at least the index given. A stale
 * query is run on the state as it is. Those that are content with the leader's lease have a round of
 * their own, which costs no messages while the lease holds.
 */
#include "host/internal.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>

struct round {
    struct round *next;
    uint64_t context;
    raft_index index; /* 0: not confirmed yet */
    uint64_t asked_us;
    bool answered;
    struct waiter_list waiters;
};

static void ask(struct host *host, enum raft_read_mode mode);
static struct round *round_new(struct reads *reads);
static struct round *round_find(struct reads *reads, uint64_t context);
static void rounds_sweep(struct reads *reads);
static void refuse_unreachable(struct host *host);
static bool run_list(struct host *host, struct waiter_list *list, uint64_t until_us);
static void run_query(struct host *host, struct waiter *waiter);

void reads_ask(struct host *host)
{
    if (host->waiters.lists[WAITER_QUERY].first != NULL) ask(host, RAFT_READ_LEASE);
    if (host->waiters.lists[WAITER_QUERY].first != NULL) ask(host, RAFT_READ_ROUND);
}

/* All who want it that way, in one round. A follower asks the leader for the index. */
static void ask(struct host *host, enum raft_read_mode mode)
{
    struct waiter_list *queries = &host->waiters.lists[WAITER_QUERY];
    if (!host_runs(host)) return;
    struct round *round = NULL;
    struct waiter *next;
    for (struct waiter *waiter = queries->first; waiter != NULL; waiter = next) {
        next = waiter->next;
        bool lease = waiter->consistency == CONSISTENCY_LEASE && host->settings.leases != 0;
        if (lease != (mode == RAFT_READ_LEASE)) continue;
        if (round == NULL) round = round_new(&host->reads);
        host->counters.reads++;
        waiter_move_to(&host->waiters, waiter, WAITER_READING, &round->waiters);
    }
    if (round == NULL) return;
    host->counters.read_rounds++;
    round->asked_us = host->now_us;
    struct raft_event event = {.type = RAFT_EVENT_READ};
    event.read.context = round->context;
    event.read.mode = mode;
    event.read.ask = host->role != RAFT_LEADER;
    host_step(host, &event);
}

static struct round *round_new(struct reads *reads)
{
    struct round *round = reads->pool;
    if (round != NULL) {
        reads->pool = round->next;
    } else {
        round = memory_alloc(sizeof *round);
    }
    *round = (struct round){.context = ++reads->context};
    if (reads->last != NULL) {
        reads->last->next = round;
    } else {
        reads->first = round;
    }
    reads->last = round;
    return round;
}

void reads_deinit(struct host *host)
{
    struct reads *reads = &host->reads;
    if (reads->last != NULL) {
        reads->last->next = reads->pool;
        reads->pool = reads->first;
    }
    while (reads->pool != NULL) {
        struct round *round = reads->pool;
        reads->pool = round->next;
        memory_free(round);
    }
    *reads = (struct reads){0};
}

/* ---- the core's answers, within effects ---- */

void reads_ready(struct host *host, uint64_t context, raft_index index)
{
    struct round *round = round_find(&host->reads, context);
    round->answered = true;
    round->index = index;
    histogram_observe(&host->watch.timings.read_round, host->now_us - round->asked_us);
}

/* Whoever leads now can tell: a change of role has them looked at again at once. */
void reads_failed(struct host *host, uint64_t context)
{
    struct round *round = round_find(&host->reads, context);
    round->answered = true;
    while (round->waiters.first != NULL) park(host, round->waiters.first, retry_at(host));
}

void reads_abandon(struct host *host)
{
    for (struct round *round = host->reads.first; round != NULL; round = round->next) {
        while (round->waiters.first != NULL)
            answer_later(host, round->waiters.first, ERROR_SHUTTING_DOWN, NULL);
    }
}

static struct round *round_find(struct reads *reads, uint64_t context)
{
    struct round *round = reads->first;
    while (round != NULL && round->context != context) round = round->next;
    assert(round != NULL && !round->answered); /* each context is answered once */
    return round;
}

/* ---- running ---- */

bool reads_run(struct host *host, uint64_t until_us)
{
    /* The machine may be what has failed, or is not all there. */
    if (host->dead || restoring(host) || deploying(host)) return false;
    bool more = run_list(host, &host->waiters.lists[WAITER_STALE], until_us);
    for (struct round *round = host->reads.first; round != NULL && !more && !host->dead;
         round = round->next) {
        if (round->answered && GUARD(READ_NOT_APPLIED, round->index <= host->apply.applied))
            more = run_list(host, &round->waiters, until_us);
    }
    if (skip_halted(host)) refuse_unreachable(host);
    rounds_sweep(&host->reads);
    return more;
}

/* Rounds that were under way as this node halted: it does not come as far as they need. */
static void refuse_unreachable(struct host *host)
{
    for (struct round *round = host->reads.first; round != NULL; round = round->next) {
        if (!round->answered || round->index <= host->apply.applied) continue;
        while (round->waiters.first != NULL) skip_refuse(host, round->waiters.first);
    }
}

/* Rounds that are answered and have nobody left. */
static void rounds_sweep(struct reads *reads)
{
    struct round **at = &reads->first;
    reads->last = NULL;
    while (*at != NULL) {
        struct round *round = *at;
        if (round->answered && round->waiters.count == 0) {
            *at = round->next;
            round->next = reads->pool;
            reads->pool = round;
        } else {
            reads->last = round;
            at = &round->next;
        }
    }
}

/* At least one, then until the time is over: true when some are left. */
static bool run_list(struct host *host, struct waiter_list *list, uint64_t until_us)
{
    while (list->first != NULL) {
        run_query(host, list->first);
        if (host->dead) return false;
        if (until_us > 0 && host_now(host) >= until_us) break;
    }
    return list->first != NULL;
}

static void run_query(struct host *host, struct waiter *waiter)
{
    if (snapshot_is_asked(waiter)) { /* a backup: from here on it holds all that it has to */
        snapshot_ask(host, waiter);
        return;
    }
    if (!host->apply.app_loaded) {
        answer_error(host, waiter, ERROR_SCRIPT, NULL);
        return;
    }
    struct buffer *reply = &host->apply.reply;
    buffer_clear(reply);
    enum error_code code = host->machine.query(host->machine.context, waiter->body.bytes, reply);
    if (code == ERROR_INTERNAL)
        machine_failed(host, host->apply.applied);
    else
        answer(host, waiter, code, buffer_slice(reply));
}
