/*
 * Handing leadership over (Ongaro §3.10): no more proposals, so that the target can catch up; once
 * it has the whole log it is told to campaign at once; if it does not take over within an election
 * timeout, this leader leads on.
 *
 * A target that was told may campaign at any time after, abort or not, and the voters will heed it:
 * so there is no lease any more in that term (bugs 5, 6). The transfer ends with leadership, however
 * it ends (bug 8).
 *
 * Preference: a leader offers leadership to a voter of higher priority that has caught up, when it
 * has led for a while; after an offer that failed it waits longer. Those who are preferred also
 * campaign first (timer.c). Neither ever keeps the only one who could lead from leading.
 */
#include "raft/core.h"

#include "base/mutant.h"

#include <assert.h>

#define STALLED_TIMEOUTS         8  /* election timeouts after its disk has stalled: it does not take over */
#define HANDOVER_FAILED_TIMEOUTS 16 /* election timeouts until leadership is offered again */

static enum error_code choose(const struct raft *raft, const struct raft_id *wanted,
                              struct raft_id *target, struct error *error);
static const struct raft_peer *best_of(const struct raft *raft, raft_index match);
static bool better(const struct raft *raft, const struct raft_peer *a, const struct raft_peer *b);
static bool reachable(const struct raft *raft, const struct raft_peer *peer);
static uint32_t priority_of(const struct raft *raft, const struct raft_id *id);
static bool stalls(const struct raft *raft);
static void begin(struct raft *raft, const struct raft_id *target);
static void abandon(struct raft *raft);
static void offer(struct raft *raft);
static void tell_to_campaign(struct raft *raft, const struct raft_id *target);

enum error_code raft_hand_over(struct raft *raft, const struct raft_event *event,
                               struct error *error)
{
    struct raft_id target;
    if (raft->role != RAFT_LEADER) {
        return error_set(error, ERROR_NOT_LEADER, "this node does not lead");
    }
    if (raft_handing_over(raft)) {
        return error_set(error, ERROR_UNAVAILABLE, "leadership is being handed to %s",
                         raft->handover.target.text);
    }
    enum error_code code = choose(raft, &event->target, &target, error);
    if (code) return code;
    begin(raft, &target);
    return ERROR_OK;
}

bool raft_handing_over(const struct raft *raft)
{
    return !raft_id_none(&raft->handover.target);
}

/* Told again with every heartbeat: the message may be lost. */
void raft_advance_handover(struct raft *raft)
{
    struct raft_handover *handover = &raft->handover;
    if (raft->role != RAFT_LEADER || !raft_handing_over(raft)) return;
    const struct raft_peer *peer = raft_peers_find(&raft->peers, &handover->target);
    if (!peer || peer->forgot || !raft_configuration_stays_voter(raft_effective(raft), &peer->id)) {
        abandon(raft);
        return;
    }
    bool ready = peer->match == raft->log.last_index;
    if (!ready || raft->now_us < handover->tell_again_us) return;
    handover->tell_again_us = raft->now_us + raft->settings.heartbeat_us;
    tell_to_campaign(raft, &peer->id);
}

void raft_handover_timer(struct raft *raft)
{
    if (raft_handing_over(raft)) {
        if (raft->now_us >= raft->handover.deadline_us) abandon(raft);
    } else if (raft->now_us >= raft->handover_us) {
        offer(raft);
    }
}

void raft_abdicate(struct raft *raft, raft_index match)
{
    const struct raft_peer *peer = best_of(raft, match);
    if (peer) tell_to_campaign(raft, &peer->id);
}

uint64_t raft_handover_deadline(const struct raft *raft)
{
    const struct raft_handover *handover = &raft->handover;
    bool tells = handover->tell_again_us > raft->now_us; /* else it has to catch up */
    return tells ? raft_least(handover->deadline_us, handover->tell_again_us)
                 : handover->deadline_us;
}

/* One of an older term says nothing any more. What the sender knew of us may be out of date: we
 * campaign only if we still may. Where our disk does not answer we do not: the request would wait
 * for it, and then, heeded by all, depose whoever leads by that time. Nor soon after: leadership
 * that comes back to a preferred server with such a disk would go to and fro. (A campaign of one's own may
 * begin meanwhile: its requests wait, too, and nobody heeds them who hears a leader.) */
enum error_code raft_receive_timeout_now(struct raft *raft, const struct raft_message *message,
                                         struct error *error)
{
    (void)error;
    if (!GUARD(OLD_TIMEOUT_NOW, message->term == raft->hard_state.term)) return ERROR_OK;
    bool stranger = !raft_id_none(&raft->leader) && !raft_id_equal(&raft->leader, &message->from);
    if (raft->role != RAFT_FOLLOWER || stranger || !raft_may_campaign(raft)) return ERROR_OK;
    if (!GUARD(STALLED_DISK_CAMPAIGNS, !stalls(raft))) return ERROR_OK;
    raft_campaign_at_once(raft);
    return ERROR_OK;
}

/* ---- whom ---- */

static enum error_code choose(const struct raft *raft, const struct raft_id *wanted,
                              struct raft_id *target, struct error *error)
{
    const struct raft_peer *peer;
    if (raft_id_none(wanted)) {
        peer = best_of(raft, 0);
        if (!peer) {
            return error_set(error, ERROR_UNAVAILABLE, "no other voter is there to take over");
        }
    } else {
        peer = raft_peers_find(&raft->peers, wanted);
        bool voter = raft_configuration_stays_voter(raft_effective(raft), wanted);
        if (!peer || !GUARD(TRANSFER_TO_LEARNER, voter)) {
            return error_set(error, ERROR_NOT_FOUND, "%s is no other voter", wanted->text);
        }
        if (peer->forgot) {
            return error_set(error, ERROR_UNAVAILABLE,
                             "%s has lost entries that it acknowledged: remove it", wanted->text);
        }
    }
    *target = peer->id;
    return ERROR_OK;
}

/* Of those who answer, and hold at least `match`. */
static const struct raft_peer *best_of(const struct raft *raft, raft_index match)
{
    const struct raft_peer *best = NULL;
    for (size_t i = 0; i < raft->peers.count; i++) {
        const struct raft_peer *peer = &raft->peers.peers[i];
        if (!reachable(raft, peer) || peer->match < match) continue;
        if (!best || better(raft, peer, best)) best = peer;
    }
    return best;
}

/* One who keeps up, or it would not be done in time; then the one preferred; then the one with the
 * most of the log. */
static bool better(const struct raft *raft, const struct raft_peer *a, const struct raft_peer *b)
{
    bool keeps_up = raft_caught_up(raft, a);
    if (keeps_up != raft_caught_up(raft, b)) return keeps_up;
    uint32_t priority = priority_of(raft, &a->id), other = priority_of(raft, &b->id);
    return priority != other ? priority > other : a->match > b->match;
}

static bool reachable(const struct raft *raft, const struct raft_peer *peer)
{
    if (peer->forgot || !raft_configuration_stays_voter(raft_effective(raft), &peer->id)) {
        return false;
    }
    return peer->contact_us != 0 &&
           raft->now_us - peer->contact_us < raft->settings.election_timeout_us;
}

/* Now, or not long ago. */
static bool stalls(const struct raft *raft)
{
    uint64_t since_us = raft->gate.stalled_us;
    uint64_t until_us = since_us + STALLED_TIMEOUTS * raft->settings.election_timeout_us;
    return raft_gate_stalled(raft) || (since_us != 0 && raft->now_us < until_us);
}

static uint32_t priority_of(const struct raft *raft, const struct raft_id *id)
{
    const struct raft_server *server = raft_configuration_find(raft_effective(raft), id);
    return server ? server->priority : 0;
}

/* ---- steps ---- */

static void begin(struct raft *raft, const struct raft_id *target)
{
    raft->handover = (struct raft_handover){
        .target = *target,
        .deadline_us = raft->now_us + raft->settings.election_timeout_us,
    };
}

static void abandon(struct raft *raft)
{
    raft_emit(raft, RAFT_EFFECT_TRANSFER_FAILED)->target = raft->handover.target;
    raft->handover = (struct raft_handover){0};
    raft->handover_us =
        raft->now_us + HANDOVER_FAILED_TIMEOUTS * raft->settings.election_timeout_us;
}

static void offer(struct raft *raft)
{
    raft->handover_us = raft->now_us + RAFT_HANDOVER_TIMEOUTS * raft->settings.election_timeout_us;
    if (raft_configuration_pending(raft) || raft->commit_index < raft->term_start) return;
    const struct raft_peer *best = best_of(raft, 0);
    if (!best || priority_of(raft, &best->id) <= priority_of(raft, &raft->id)) return;
    if (raft_caught_up(raft, best)) begin(raft, &best->id);
}

static void tell_to_campaign(struct raft *raft, const struct raft_id *target)
{
    struct raft_message message = raft_message_to(raft, RAFT_TIMEOUT_NOW, target);
    raft->lease_forgone = true;
    raft_send(raft, &message);
}
