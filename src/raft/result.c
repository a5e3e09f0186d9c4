/*
 * The leader's side of replication, inward: what followers answer (§5.3).
 *
 * Answers come late, twice, out of order. A success can only move match up; a refusal counts only
 * where it is about what was sent last (probing) or about something not yet matched (replicating).
 * Everything else is stray, and harmless.
 */
#include "raft/core.h"

#include "base/mutant.h"

static void succeeded(struct raft *raft, struct raft_peer *peer,
                      const struct raft_append_result *result);
static void refused(struct raft *raft, struct raft_peer *peer,
                    const struct raft_append_result *result);

enum error_code raft_receive_append_result(struct raft *raft, const struct raft_message *message,
                                           struct error *error)
{
    (void)error;
    const struct raft_append_result *result = &message->append_result;
    if (raft->role != RAFT_LEADER) return ERROR_OK;
    if (!GUARD(OLD_TERM_RESULT, message->term == raft->hard_state.term)) return ERROR_OK;
    struct raft_peer *peer = raft_peers_find(&raft->peers, &message->from);
    if (!peer || result->match > raft->log.last_index || result->round > raft->reads.round) {
        return ERROR_OK;
    }
    raft_notice_loss(raft, peer, result);
    peer->contact_us = raft->now_us;
    peer->round = raft_most(peer->round, result->round);
    raft_lease_answered(raft, peer, result->round);
    if (result->success) {
        succeeded(raft, peer, result);
        raft_advance_commit(raft);
    } else {
        refused(raft, peer, result);
    }
    /* It speaks, and only a snapshot can help it. */
    if (peer->next <= raft->log.base.index) peer->paused = false;
    raft_advance_reads(raft);
    return ERROR_OK;
}

void raft_matched(struct raft *raft, struct raft_peer *peer, raft_index match)
{
    if (match <= peer->match) return;
    peer->match = match;
    peer->match_round = raft->reads.round;
    raft_catch_up_moved(raft, peer);
}

/* A probe becomes replication once something that it brought is durable there, or there is nothing
 * to bring. Before that, a follower that takes no entries (its disk is full) gets one append for
 * each heartbeat it answers, not a window of them. */
static void succeeded(struct raft *raft, struct raft_peer *peer,
                      const struct raft_append_result *result)
{
    raft_matched(raft, peer, result->match);
    if (peer->progress == RAFT_SNAPSHOT) {
        /* It has what only the snapshot held, however it came by it. */
        if (peer->match >= raft->log.base.index) raft_transfer_done(peer);
    } else if (peer->progress == RAFT_REPLICATE) {
        raft_peer_flight_landed(peer, peer->match);
        peer->paused = false;
        if (peer->next <= peer->match) peer->next = peer->match + 1;
    } else if (peer->match >= peer->next || peer->match == raft->log.last_index) {
        raft_peer_replicate(peer);
    } else if (result->prev_index == peer->next - 1) {
        peer->paused = false;
    }
}

/* Back to where the logs may agree: no follower's entry behind conflict_index - 1 is ours, and
 * there its term is conflict_term at most, so ours must not be newer. A probe that gets no further
 * waits for the next heartbeat: a follower that asks for what it has acknowledged is not answered in
 * a circle. Where our log begins later, next stays before it: a snapshot is due (transfer.c). */
static void refused(struct raft *raft, struct raft_peer *peer,
                    const struct raft_append_result *result)
{
    if (peer->progress == RAFT_SNAPSHOT) return;
    bool probing = peer->progress == RAFT_PROBE;
    bool stray = probing ? result->prev_index != peer->next - 1 : result->prev_index <= peer->match;
    if (!GUARD(STRAY_REFUSAL, !stray) || result->conflict_index == 0) return;
    raft_index maybe =
        raft_log_last_at_most(&raft->log, result->conflict_index - 1, result->conflict_term);
    if (result->conflict_index <= raft->log.base.index) maybe = result->conflict_index - 1;
    raft_index next = raft_most(raft_least(maybe + 1, result->prev_index), peer->match + 1);
    bool further = !probing || next < peer->next;
    raft_peer_probe(peer, next);
    peer->paused = !further;
}
