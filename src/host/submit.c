/*
 * Requests: how they are admitted, where they go, and how they are answered.
 *
 * Everything that arrives in a turn is looked at together at its end (submit_route): a leader
 * gathers commands for one proposal and queries for one read round, a follower forwards, and who
 * has nobody to ask is parked. What is refused is told at the end of the turn as well, never from
 * within the caller's own call.
 */
#include "host/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "base/mutant.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define INTAKE_BYTES \
    16384 /* small bodies share a blob of this size: one allocation for many requests */

/* What the end of waiting means, by where it was waited. Only what may have reached a log is
 * unknown. */
static const struct {
    enum error_code code;
    const char *message;
} overdue_rows[WAITER_STATES] = {
    [WAITER_ARRIVED] = {ERROR_UNAVAILABLE, "nobody could take it in time: it was not done"},
    [WAITER_PARKED] = {ERROR_UNAVAILABLE,
                       "no leader with the app was found in time: it was not done"},
    [WAITER_COMMAND] = {ERROR_UNAVAILABLE, "it was not proposed in time: it was not done"},
    [WAITER_QUERY] = {ERROR_UNAVAILABLE, "it was not asked in time"},
    [WAITER_STALE] = {ERROR_UNAVAILABLE, "it was not asked in time"},
    [WAITER_ADMIN] = {ERROR_UNAVAILABLE,
                      "the server to add did not answer in time: start it with --join, then try again"},
    [WAITER_TRANSFER] = {ERROR_TIMEOUT, "leadership was to be handed over; who leads now is not known yet"},
    [WAITER_SNAPSHOT] = {ERROR_TIMEOUT, "the snapshot is not complete yet: it is being taken"},
    [WAITER_PROPOSED] = {ERROR_TIMEOUT, NULL},
    [WAITER_FORWARDED] = {ERROR_TIMEOUT, NULL},
    [WAITER_READING] = {ERROR_TIMEOUT,
                        "no majority confirmed in time that the answer would be the newest"},
};

static enum error_code admission(const struct host *host, const struct request *request);
static const char *malformed(const struct request *request);
static uint64_t ask_again_until(const struct host *host, const struct waiter *waiter);
static bool is_refusal(enum error_code code);
static struct raft_payload intake_copy(struct host *host, struct slice body);
static void look_again(struct host *host);
static void route(struct host *host, struct waiter *waiter);
static void answer_guest(struct host *host, struct waiter *waiter);
static void route_stale(struct host *host, struct waiter *waiter);
static void try_again(struct host *host, struct waiter *waiter);
static void route_leading(struct host *host, struct waiter *waiter);

/* ---- admission ---- */

struct waiter *submit_admit(struct host *host, uint64_t ticket, const struct request *request,
                            const struct raft_id *from)
{
    uint64_t timeout_ms =
        request->timeout_ms != 0 ? request->timeout_ms : host->settings.request_timeout_ms;
    enum error_code code = admission(host, request);
    if (host->arrivals_us == 0) host->arrivals_us = host_now(host); /* one reading serves a turn */
    struct waiter *waiter = waiter_new(&host->waiters, host->arrivals_us + timeout_ms * 1000);
    waiter->ticket = ticket;
    waiter->arrived_us = host->arrivals_us;
    waiter->kind = request->kind;
    waiter->consistency = request->consistency;
    waiter->session = request->session;
    waiter->sequence = request->sequence;
    waiter->again_until_us = ask_again_until(host, waiter);
    if (from != NULL) {
        waiter->remote = true;
        waiter->peer = *from;
    } else {
        assert(waiter_index_find(&host->waiters, WAITERS_BY_TICKET, ticket, WAITER_STATES) == NULL);
        waiter_index_add(&host->waiters, WAITERS_BY_TICKET, ticket, waiter);
    }
    const char *wrong = code == ERROR_OK ? malformed(request) : NULL;
    if (wrong != NULL) code = ERROR_BAD_REQUEST;
    if (code != ERROR_OK) {
        answer_later(host, waiter, code, wrong);
        return waiter;
    }
    waiter->body = intake_copy(host, request->body);
    waiter->size = request->body.size;
    host->waiters.bytes += waiter->size;
    return waiter;
}

static enum error_code admission(const struct host *host, const struct request *request)
{
    const struct waiters *waiters = &host->waiters;
    if (host->stop.stage != STOP_NONE) return ERROR_SHUTTING_DOWN;
    if (host->wiped) return ERROR_UNAVAILABLE;
    if (request->body.size > host->settings.entry_bytes_max) return ERROR_TOO_LARGE;
    if (waiters->count >= host->settings.waiting_max) return ERROR_OVERLOADED;
    if (waiters->bytes + request->body.size > host->settings.waiting_bytes_max)
        return ERROR_OVERLOADED;
    return ERROR_OK;
}

/* What is wrong with session and sequence; null: nothing. */
static const char *malformed(const struct request *request)
{
    enum session_action action;
    uint64_t acknowledged;
    if (request->kind == REQUEST_SESSION) {
        bool valid = session_body_read(request->body, &action, &acknowledged) &&
                     (action == SESSION_OPEN) == (request->session == 0);
        return valid ? NULL : "a session is opened without its number, renewed and closed with it";
    }
    if (request->kind != REQUEST_COMMAND) return NULL;
    if (request->session == 0)
        return request->sequence == 0 ? NULL : "a sequence is of no use without a session";
    bool valid = request->sequence > 0 && request->sequence <= INT64_MAX;
    return valid ? NULL : "a sequence in a session is from 1 to 2^63 - 1";
}

/* A key is forgotten in time, and what is sent after that would be done again: half of it is far
 * away from that. Before INIT this node does not know how long it is. */
static uint64_t ask_again_until(const struct host *host, const struct waiter *waiter)
{
    if (!waiter_is_deduplicated(waiter)) return 0;
    if (waiter->kind != REQUEST_KEYED) return waiter->deadline_us;
    if (!host->system.initialised) return 0;
    uint64_t kept_us = host->arrivals_us + host->settings.idempotency_timeout_ms * 500;
    return kept_us < waiter->deadline_us ? kept_us : waiter->deadline_us;
}

/* Bytes already given out are never touched again: other threads may be reading them. */
static struct raft_payload intake_copy(struct host *host, struct slice body)
{
    if (body.size == 0) return (struct raft_payload){0};
    if (body.size > INTAKE_BYTES / 4) {
        struct blob *blob = blob_new(body.data, body.size);
        return (struct raft_payload){blob, slice_of(blob->data, body.size)};
    }
    if (host->intake == NULL || host->intake_used + body.size > INTAKE_BYTES) {
        blob_drop(host->intake);
        host->intake = blob_new_empty(INTAKE_BYTES);
        host->intake_used = 0;
    }
    uint8_t *at = host->intake->data + host->intake_used;
    memcpy(at, body.data, body.size);
    host->intake_used += body.size;
    return (struct raft_payload){blob_take(host->intake), slice_of(at, body.size)};
}

/* ---- where to ---- */

void submit_route(struct host *host)
{
    if (host->route_again) look_again(host);
    struct waiter_list *arrived = &host->waiters.lists[WAITER_ARRIVED];
    while (arrived->first != NULL) route(host, arrived->first);
}

static void look_again(struct host *host)
{
    struct waiter_list *parked = &host->waiters.lists[WAITER_PARKED];
    host->route_again = false;
    while (parked->first != NULL) waiter_move(&host->waiters, parked->first, WAITER_ARRIVED);
    forward_reconsider(host);
}

/* Takes the waiter out of ARRIVED, whatever happens. */
static void route(struct host *host, struct waiter *waiter)
{
    waiter_wake_at(&host->waiters, waiter, waiter->deadline_us);
    if (host->stop.stage != STOP_NONE) {
        answer_later(host, waiter, ERROR_SHUTTING_DOWN, NULL);
    } else if (waiter->uncertain && !GUARD(COMMAND_SENT_AGAIN, may_ask_again(host, waiter))) {
        park(host, waiter, waiter->deadline_us);
    } else if (waiter->kind == REQUEST_QUERY &&
               GUARD(FOLLOWER_ANSWERS, waiter->consistency == CONSISTENCY_STALE)) {
        route_stale(host, waiter);
    } else if (snapshot_is_asked(waiter)) {
        snapshot_route(host, waiter);
    } else if (settings_are_asked(waiter) && settings_ask(host, waiter)) {
        return;
    } else if (host->role == RAFT_LEADER) {
        route_leading(host, waiter);
    } else if (waiter->remote && waiter->kind == REQUEST_ADMIN) {
        answer_guest(host, waiter);
    } else if (waiter->remote) {
        answer_later(host, waiter, ERROR_NOT_LEADER,
                     NULL); /* what was forwarded once is never forwarded again */
    } else if (waiter->kind == REQUEST_QUERY && host->settings.follower_reads != 0 &&
               host->apply.app_loaded && !raft_id_none(&host->leader) && host_runs(host) &&
               !skip_halted(host)) {
        waiter_move(&host->waiters, waiter, WAITER_QUERY);
    } else {
        forward_or_park(host, waiter);
    }
}

/* Perhaps a node that is to join: it is told where the leader is, as far as that is known here. */
static void answer_guest(struct host *host, struct waiter *waiter)
{
    const struct member *leader = member_find(host, host->leader.text);
    struct buffer *body = &host->scratch;
    buffer_clear(body);
    mp_write_map(body, 3);
    mp_write_text(body, "code");
    mp_write_text(body, error_name(ERROR_NOT_LEADER));
    mp_write_text(body, "leader_address");
    mp_write_text(body, leader != NULL ? leader->address : "");
    mp_write_text(body, "message");
    mp_write_text(body, error_help(ERROR_NOT_LEADER));
    answer(host, waiter, ERROR_NOT_LEADER, buffer_slice(body));
}

static void route_stale(struct host *host, struct waiter *waiter)
{
    if (host->apply.app_error.code != ERROR_OK) {
        answer_later(host, waiter, ERROR_SCRIPT, NULL);
    } else if (host->apply.app_loaded) {
        waiter_move(&host->waiters, waiter, WAITER_STALE);
    } else {
        park(host, waiter, waiter->deadline_us);
    }
}

static void route_leading(struct host *host, struct waiter *waiter)
{
    if (waiter->kind == REQUEST_ADMIN) {
        waiter_move(&host->waiters, waiter, WAITER_ADMIN);
    } else if (host->apply.app_error.code != ERROR_OK) {
        answer_later(host, waiter, ERROR_SCRIPT, NULL);
    } else if (!host->apply.app_loaded) {
        park(host, waiter, waiter->deadline_us);
    } else {
        waiter_move(&host->waiters, waiter,
                    waiter->kind == REQUEST_QUERY ? WAITER_QUERY : WAITER_COMMAND);
    }
}

void park(struct host *host, struct waiter *waiter, uint64_t wake_us)
{
    waiter_move(&host->waiters, waiter, WAITER_PARKED);
    waiter_wake_at(&host->waiters, waiter, wake_us);
}

void arrive_again(struct host *host, struct waiter *waiter)
{
    waiter->term = 0;
    waiter_move(&host->waiters, waiter, WAITER_ARRIVED);
    waiter_wake_at(&host->waiters, waiter, waiter->deadline_us);
}

bool may_ask_again(const struct host *host, const struct waiter *waiter)
{
    return waiter->kind == REQUEST_QUERY || host->now_us < waiter->again_until_us;
}

uint64_t retry_at(const struct host *host)
{
    return host->now_us + host->settings.heartbeat_ms * 1000;
}

/* ---- the end of waiting ---- */

/* Who is due before the deadline is due for another attempt. */
void submit_expire(struct host *host)
{
    for (;;) {
        struct waiter *waiter = waiters_first_due(&host->waiters);
        if (waiter == NULL || waiter->wake_us > host->now_us) return;
        if (waiter->state == WAITER_ANSWERED) {
            answer_error(host, waiter, waiter->code, waiter->message);
        } else if (waiter->deadline_us <= host->now_us && FAULT(UNKNOWN_CALLED_DEFINITE)) {
            answer_error(host, waiter, ERROR_UNAVAILABLE, NULL);
        } else if (waiter->deadline_us <= host->now_us) {
            answer_error(host, waiter, overdue_rows[waiter->state].code,
                         overdue_rows[waiter->state].message);
        } else {
            try_again(host, waiter);
        }
    }
}

/* With a silent leader, a command that is too old to be sent again waits for its answer to the end. */
static void try_again(struct host *host, struct waiter *waiter)
{
    if (waiter->state == WAITER_FORWARDED && !may_ask_again(host, waiter)) {
        waiter_wake_at(&host->waiters, waiter, waiter->deadline_us);
        return;
    }
    if (waiter->state == WAITER_FORWARDED && waiter->kind != REQUEST_QUERY)
        waiter->uncertain = true;
    arrive_again(host, waiter);
}

void submit_tell(struct host *host)
{
    struct waiter_list *answered = &host->waiters.lists[WAITER_ANSWERED];
    while (answered->first != NULL)
        answer_error(host, answered->first, answered->first->code, answered->first->message);
}

void answer_later(struct host *host, struct waiter *waiter, enum error_code code,
                  const char *message)
{
    waiter->code = code;
    waiter->message = message;
    waiter_drop_body(waiter);
    waiter_move(&host->waiters, waiter, WAITER_ANSWERED);
}

/* A refusal of the last attempt says nothing about one before it. */
void answer(struct host *host, struct waiter *waiter, enum error_code code, struct slice body)
{
    struct reply reply = {code, body};
    if (waiter->uncertain && is_refusal(code) && !FAULT(REFUSAL_FOR_ALL)) {
        char text[128];
        snprintf(text, sizeof text,
                 "the last attempt was refused (%s), but an earlier one may have been done",
                 error_name(code));
        buffer_clear(&host->scratch);
        reply_write_error(&host->scratch, ERROR_TIMEOUT, text);
        reply = (struct reply){ERROR_TIMEOUT, buffer_slice(&host->scratch)};
    }
    if (waiter->remote) {
        host->ports.forward_reply(host->ports.context, &waiter->peer, waiter->ticket, &reply);
    } else {
        bool command = waiter->kind == REQUEST_COMMAND || waiter->kind == REQUEST_KEYED;
        if (command && reply.code == ERROR_OK)
            histogram_observe(&host->watch.timings.proposal, host->now_us - waiter->arrived_us);
        host->ports.reply(host->ports.context, waiter->ticket, &reply);
    }
    waiter_free(&host->waiters, waiter);
}

/* Not what the machine answered to the command itself, which is the outcome of every attempt. */
static bool is_refusal(enum error_code code)
{
    switch (code) {
    case ERROR_OK:
    case ERROR_REJECTED:
    case ERROR_COMMAND_FAILED:
    case ERROR_NO_SUCH_COMMAND:
    case ERROR_BAD_REQUEST:
        return false;
    default:
        return error_is_definite(code);
    }
}

void answer_error(struct host *host, struct waiter *waiter, enum error_code code,
                  const char *message)
{
    if (code == ERROR_SCRIPT && message == NULL) message = host->apply.app_error.text;
    buffer_clear(&host->scratch);
    reply_write_error(&host->scratch, code, message);
    answer(host, waiter, code, buffer_slice(&host->scratch));
}
