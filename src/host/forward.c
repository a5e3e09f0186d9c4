/*
 * A follower passes commands and linearizable queries on to the leader, under forward tickets of
 * its own.
 *
 * A plain command is sent again only after a definite refusal. When the connection breaks or the
 * leader is silent, it may have been proposed: it waits for its deadline and is then told that the
 * outcome is unknown. A command in a session or under a key is done once however often it is
 * proposed, and a query has no effect: they are simply sent again, to whoever leads then, under a
 * new ticket. From then on a command is uncertain: a refusal of one attempt is no answer for all.
 */
#include "host/internal.h"

#include "base/mutant.h"

#include <assert.h>
#include <string.h>

#define ATTEMPTS_COUNTED 8

static void send_forward(struct host *host, struct waiter *waiter);
static uint32_t remaining_ms(const struct host *host, const struct waiter *waiter);
static bool lost(const struct reply *reply, const struct waiter *waiter);
static void ask_again(struct host *host, struct waiter *waiter);

/* Forwards, or parks: until there is another leader, or for a moment when the way to this one is
 * broken. */
void forward_or_park(struct host *host, struct waiter *waiter)
{
    const struct member *leader =
        raft_id_none(&host->leader) ? NULL : member_find(host, host->leader.text);
    bool refused = waiter->term == host->term;
    if (!host_runs(host) || leader == NULL || refused ||
        strcmp(leader->id.text, host->identity.id) == 0) {
        park(host, waiter, waiter->deadline_us);
    } else if (leader->lost_until_us > host->now_us) {
        park(host, waiter, leader->lost_until_us);
    } else {
        send_forward(host, waiter);
    }
}

/* A silent leader is asked again after an election timeout: by then there may be another one. A
 * command costs an entry each time, so it waits twice as long each time. */
static void send_forward(struct host *host, struct waiter *waiter)
{
    struct request request = {
        .kind = waiter->kind,
        .consistency = waiter->consistency,
        .session = waiter->session,
        .sequence = waiter->sequence,
        .timeout_ms = remaining_ms(host, waiter),
        .body = waiter->body.bytes,
    };
    waiter_move(&host->waiters, waiter, WAITER_FORWARDED);
    waiter->peer = host->leader;
    waiter->term = host->term;
    waiter->number = ++host->ticket;
    waiter_index_add(&host->waiters, WAITERS_BY_NUMBER, waiter->number, waiter);
    if (may_ask_again(host, waiter)) {
        unsigned doubled = waiter->kind == REQUEST_QUERY ? 0 : waiter->attempts;
        waiter_wake_at(&host->waiters, waiter,
                       host->now_us + (host->settings.election_timeout_ms * 1000 << doubled));
    }
    if (waiter->attempts < ATTEMPTS_COUNTED) waiter->attempts++;
    host->counters.forwards++;
    host->ports.forward(host->ports.context, &waiter->peer, waiter->number, &request);
}

static uint32_t remaining_ms(const struct host *host, const struct waiter *waiter)
{
    uint64_t left_us = waiter->deadline_us > host->now_us ? waiter->deadline_us - host->now_us : 0;
    uint64_t left_ms = (left_us + 999) / 1000; /* no more than it came with */
    return left_ms > 0 ? (uint32_t)left_ms : 1;
}

/*
 * NOT_LEADER and SHUTTING_DOWN: not there, so with the next leader (waiter->term, the term it was
 * asked in, keeps it from asking the same one again). UNAVAILABLE: the leader could not be reached,
 * or could not do it now: again soon. Everything else is the answer.
 */
void forward_answered(struct host *host, const struct identity *from, uint64_t ticket,
                      const struct reply *reply)
{
    struct waiter *waiter =
        waiter_index_find(&host->waiters, WAITERS_BY_NUMBER, ticket, WAITER_FORWARDED);
    /* An answer to a former attempt, or too late, finds nobody. */
    if (waiter == NULL || strcmp(waiter->peer.text, from->id) != 0) return;
    if (reply->code == ERROR_NOT_LEADER || reply->code == ERROR_SHUTTING_DOWN) {
        waiter_move(&host->waiters, waiter, WAITER_ARRIVED);
    } else if (reply->code == ERROR_UNAVAILABLE) {
        waiter->term = 0;
        park(host, waiter, retry_at(host));
    } else if (lost(reply, waiter) && may_ask_again(host, waiter)) {
        waiter->uncertain = true;
        waiter->term = 0;
        park(host, waiter, retry_at(host));
    } else {
        answer(host, waiter, reply->code, reply->body);
    }
}

/* The leader lost sight of a command; or has no room now for one that may have been done before. */
static bool lost(const struct reply *reply, const struct waiter *waiter)
{
    if (waiter->kind == REQUEST_QUERY) return false;
    bool full = reply->code == ERROR_OVERLOADED || reply->code == ERROR_DISK_FULL;
    return !error_is_definite(reply->code) || (waiter->uncertain && full);
}

void forward_lost(struct host *host, const struct raft_id *id)
{
    struct member *member = member_find(host, id->text);
    if (member != NULL) member->lost_until_us = retry_at(host);
    struct waiter *next;
    for (struct waiter *waiter = host->waiters.lists[WAITER_FORWARDED].first; waiter != NULL;
         waiter = next) {
        next = waiter->next;
        if (GUARD(COMMAND_SENT_AGAIN, may_ask_again(host, waiter)) &&
            raft_id_equal(&waiter->peer, id))
            ask_again(host, waiter);
    }
}

void forward_reconsider(struct host *host)
{
    struct waiter *next;
    for (struct waiter *waiter = host->waiters.lists[WAITER_FORWARDED].first; waiter != NULL;
         waiter = next) {
        next = waiter->next;
        if (may_ask_again(host, waiter) && !raft_id_equal(&waiter->peer, &host->leader))
            ask_again(host, waiter);
    }
}

static void ask_again(struct host *host, struct waiter *waiter)
{
    if (waiter->kind != REQUEST_QUERY) waiter->uncertain = true;
    arrive_again(host, waiter);
}
