/*
 * The side that asks for votes: pre-vote, vote, and counting (§5.2, Ongaro §9.6).
 *
 * A vote request is held until term, vote *and log* are durable. A candidate that asks earlier can
 * crash, come back with less of a log, campaign in the same term again and collect a grant that was
 * given to what it no longer has.
 */
#include "raft/core.h"

#include "base/mutant.h"

static bool votes_in(const struct raft *raft, const struct raft_configuration *configuration);
static bool has_granted(void *context, const struct raft_id *id);
static void ask(struct raft *raft, const struct raft_peer *peer);

/* Only voters campaign. A server without a configuration waits to be told of one. One whose vote is
 * taken away by a configuration that is not known to be committed goes on as a voter of the one
 * before it (membership.c says why); its own vote does not count then. One that has joined again
 * under its old id meets its former self in the log as it catches up: that one's vote is not its. */
bool raft_may_campaign(const struct raft *raft)
{
    if (raft_log_stands(raft)) return false;
    if (!GUARD(FULL_DISK_CAMPAIGNS, !raft->gate.refused)) return false;
    if (votes_in(raft, raft_effective(raft))) return true;
    raft_index index;
    raft_log_configuration(&raft->log, &index);
    return index > raft->commit_index && votes_in(raft, raft_log_configuration_before(&raft->log));
}

static bool votes_in(const struct raft *raft, const struct raft_configuration *configuration)
{
    if (!raft_configuration_is_voter(configuration, &raft->id)) return false;
    const struct raft_server *server = raft_configuration_find(configuration, &raft->id);
    return !server || raft->incarnation == 0 || server->incarnation == raft->incarnation;
}

void raft_campaign(struct raft *raft)
{
    raft_become_pre_candidate(raft);
    if (FAULT(NO_PRE_VOTE)) raft_become_candidate(raft);
    raft_ask_for_votes(raft);
    raft_count_votes(raft);
}

void raft_campaign_at_once(struct raft *raft)
{
    raft_become_candidate(raft);
    raft->told_to_campaign = true;
    raft_ask_for_votes(raft);
    raft_count_votes(raft);
}

/* Repeated while no answer comes (§5.1): a request may have been lost, or have come a moment too
 * soon for a voter that was still true to its old leader. A vote is granted again to the same
 * candidate. */
void raft_ask_for_votes(struct raft *raft)
{
    raft->ask_again_us = raft->now_us + raft->settings.heartbeat_us;
    for (size_t i = 0; i < raft->peers.count; i++) {
        const struct raft_peer *peer = &raft->peers.peers[i];
        if (peer->voter && !peer->granted) ask(raft, peer);
    }
}

void raft_count_votes(struct raft *raft)
{
    if (!raft_quorum_has(raft_effective(raft), has_granted, raft)) return;
    if (raft->role == RAFT_CANDIDATE) {
        raft_become_leader(raft);
    } else if (raft->role == RAFT_PRE_CANDIDATE) {
        raft_become_candidate(raft);
        raft_ask_for_votes(raft);
    }
}

/* A granted pre-vote carries the term that was asked for, which is nobody's yet. A refusal carries
 * the answerer's own: where that is higher it raises us (receive.c), where it is lower it says
 * nothing more than no. */
enum error_code raft_receive_vote(struct raft *raft, const struct raft_message *message,
                                  struct error *error)
{
    (void)error;
    const struct raft_vote *vote = &message->vote;
    raft_term asked = raft->hard_state.term + (vote->pre ? 1 : 0);
    enum raft_role asking = vote->pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE;
    if (!vote->granted || raft->role != asking) return ERROR_OK;
    if (!GUARD(OLD_VOTE_COUNTED, message->term == asked)) return ERROR_OK;
    struct raft_peer *peer = raft_peers_find(&raft->peers, &message->from);
    if (!peer) return ERROR_OK;
    peer->granted = true;
    raft_count_votes(raft);
    return ERROR_OK;
}

static bool has_granted(void *context, const struct raft_id *id)
{
    const struct raft *raft = context;
    if (raft_is_self(raft, id)) return raft->own_vote;
    const struct raft_peer *peer = raft_peers_find(&raft->peers, id);
    return peer && peer->granted;
}

static void ask(struct raft *raft, const struct raft_peer *peer)
{
    bool pre = raft->role == RAFT_PRE_CANDIDATE;
    struct raft_message message = raft_message_to(raft, RAFT_REQUEST_VOTE, &peer->id);
    if (pre) message.term++;
    message.request_vote.pre = pre;
    message.request_vote.transfer = raft->told_to_campaign;
    message.request_vote.last_index = raft->log.last_index;
    message.request_vote.last_term = raft_log_last_term(&raft->log);
    raft_gate_hold(raft, &message);
}
