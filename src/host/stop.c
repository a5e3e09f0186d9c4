/*
 * Stopping, in stages: new requests are refused from the first moment; those under way may still be
 * answered for half of stop_timeout_ms, while this node goes on taking part; then the core is left
 * alone, the rest is told what is known of it, and the disk finishes what it was given.
 *
 * A leader hands over before it goes: meanwhile commands wait, and are passed on to the next one.
 */
#include "host/internal.h"

static void hand_over(struct host *host);
static bool all_answered(const struct host *host);
static bool drained(const struct host *host);
static void answer_the_rest(struct host *host);

void stop_begin(struct host *host)
{
    if (host->stop.stage != STOP_NONE) return;
    uint64_t now_us = host_now(host);
    host->stop.stage = STOP_ANSWERING;
    host->stop.deadline_us = now_us + host->settings.stop_timeout_ms * 500;
    host->stop.last_us = now_us + host->settings.stop_timeout_ms * 1000;
    host->route_again = true; /* the parked are looked at, and refused */
    host_log(host, LOG_LEVEL_INFO, "stopping");
    watch_stopping(host);
    host->stop.hands_over = host->member_count > 1; /* if it leads */
    host->stop.hand_over_until_us = now_us + host->settings.election_timeout_ms * 1000;
}

/* Noted by stop_begin, done at the turn's end: it is a step of the core. Tried for an election timeout: a leader that
 * is new, or whose followers lag, cannot do it at once. Where it fails the others elect somebody without this node. */
static void hand_over(struct host *host)
{
    struct stop *stop = &host->stop;
    if (host->role != RAFT_LEADER || host->now_us >= stop->hand_over_until_us) {
        stop->hands_over = false;
        return;
    }
    if (host->now_us < stop->again_us) return;
    host_step(host, &(struct raft_event){.type = RAFT_EVENT_TRANSFER}); /* refused: it is under way, or nobody is fit */
    stop->again_us = retry_at(host);
}

/* When this has to be looked at again; 0: there is nothing to wait for. Who hands over wakes for its heartbeats. */
uint64_t stop_wakes_us(const struct host *host)
{
    return host->stop.deadline_us;
}

void stop_turn(struct host *host)
{
    struct stop *stop = &host->stop;
    if (host->dead) return;
    if (stop->hands_over) hand_over(host);
    if (stop->stage == STOP_ANSWERING &&
        ((all_answered(host) && !stop->hands_over) || host->now_us >= stop->deadline_us)) {
        answer_the_rest(host);
        host->frozen = true;
        stop->hands_over = false;
        stop->stage = STOP_DRAINING;
        stop->deadline_us = stop->last_us;
    }
    if (stop->stage == STOP_DRAINING && (drained(host) || host->now_us >= stop->deadline_us)) {
        submit_tell(host);
        deploy_abandon(host); /* the next life begins it again; it was not this one's death */
        stop->stage = STOP_DONE;
        host->ready = false;
        host->ports.stopped(host->ports.context);
    }
}

static bool all_answered(const struct host *host)
{
    return host->waiters.count == host->waiters.lists[WAITER_ANSWERED].count;
}

static bool drained(const struct host *host)
{
    return host->persist_done == host->persist_given && host->apply.token == 0 &&
           host->bootstrap.stage != BOOTSTRAP_STORING;
}

/* What may be in a log, or under way, is unknown; everything else certainly was not done. */
static void answer_the_rest(struct host *host)
{
    for (int state = WAITER_ARRIVED; state < WAITER_ANSWERED; state++) {
        struct waiter_list *list = &host->waiters.lists[state];
        while (list->first != NULL) {
            struct waiter *waiter = list->first;
            bool may_be_done =
                (state == WAITER_PROPOSED || state == WAITER_FORWARDED || state == WAITER_TRANSFER) &&
                waiter->kind != REQUEST_QUERY;
            answer_later(host, waiter, may_be_done ? ERROR_TIMEOUT : ERROR_SHUTTING_DOWN, NULL);
        }
    }
    reads_abandon(host);
}
