/*
 * A follower that loses what it acknowledged (bug 39): the end of its log is gone, and its disk
 * could not tell.
 *
 * Within a term a follower's log never ends before what it acknowledged to the leader of that term:
 * both agree so far, so no append truncates it, and a snapshot that is installed reaches further. An
 * answer may say so all the same because it is old. One that echoes a heartbeat round that began
 * after the acknowledgement had come is not: it is proof. An answer that would be one if it were new
 * makes the leader begin such a round.
 *
 * Who has forgotten an entry has forgotten what it promised after that: a vote in a later term,
 * maybe, for one whose log contradicts what it acknowledges now. So in this term it counts in no
 * quorum, of entries, rounds, leases or contact; and it is sent what it lost, for others count on
 * that being there. Where nobody can do without it this leader steps down an election timeout later
 * (time enough to send), like any that is out of its quorum's reach, and the next term begins with
 * what is on the disks.
 */
#include "raft/core.h"

#include "base/mutant.h"

static void lost(struct raft *raft, struct raft_peer *peer, raft_index last);

void raft_notice_loss(struct raft *raft, struct raft_peer *peer,
                      const struct raft_append_result *result)
{
    if (peer->departed || result->last_index >= peer->match) return;
    if (result->round > peer->match_round) {
        if (!FAULT(FORGETTING_BELIEVED)) lost(raft, peer, result->last_index);
    } else if (raft->reads.round == peer->match_round) {
        raft_begin_round(raft);
        peer->speak = true;
    }
}

/* From there on it is sent the log again. What it acknowledges then is not counted, but looked at: it
 * may lose more. */
static void lost(struct raft *raft, struct raft_peer *peer, raft_index last)
{
    if (!peer->forgot) {
        struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_FORGOT);
        effect->forgot.peer = peer->id;
        effect->forgot.acknowledged = peer->match;
        effect->forgot.last = last;
        peer->forgot_us = raft->now_us;
    }
    peer->forgot = true;
    peer->match = 0;
    peer->catch_up = (struct raft_catch_up){0};
    peer->returning = false;
    raft_peer_probe(peer, last + 1);
}
