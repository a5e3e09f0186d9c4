/*
 * The side that is asked for votes (§5.2, §5.4.1; pre-vote and stickiness: Ongaro §9.6, §4.2.3).
 *
 * A vote is granted to any candidate whose log is good enough, be it in our configuration or not
 * (§4.1): it may be in one that has not reached us, and whose quorum needs us. For the same reason
 * a learner, or a server without a configuration, votes when asked: the candidate decides whose
 * votes count.
 */
#include "raft/core.h"

#include "base/mutant.h"

static bool true_to_leader(const struct raft *raft, const struct raft_message *message);
static bool up_to_date(const struct raft *raft, const struct raft_request_vote *request);
static bool free_to_vote(const struct raft *raft, const struct raft_id *candidate);
static void grant(struct raft *raft, const struct raft_message *message);
static void answer(struct raft *raft, const struct raft_message *message, bool granted);

enum error_code raft_receive_request_vote(struct raft *raft, const struct raft_message *message,
                                          struct error *error)
{
    (void)error;
    const struct raft_request_vote *request = &message->request_vote;
    if (message->term < raft->hard_state.term) {
        /* With our term: a pre-candidate that is behind must learn of it, or asks forever. */
        if (!FAULT(SILENT_REFUSAL)) answer(raft, message, false);
        return ERROR_OK;
    }
    if (true_to_leader(raft, message)) return ERROR_OK;
    if (FAULT(LEARNER_REFUSES) &&
        !raft_configuration_is_voter(raft_effective(raft), &raft->id)) {
        return ERROR_OK;
    }
    if (request->pre) {
        bool free = message->term > raft->hard_state.term || free_to_vote(raft, &message->from);
        if (FAULT(PRE_VOTE_RESTARTS)) raft_restart_election_timeout(raft);
        answer(raft, message, free && up_to_date(raft, request));
        return ERROR_OK;
    }
    if (message->term > raft->hard_state.term) raft_become_follower(raft, message->term, NULL);
    bool granted = free_to_vote(raft, &message->from) && up_to_date(raft, request);
    if (granted) grant(raft, message);
    answer(raft, message, granted);
    return ERROR_OK;
}

/* Ignored, term and all: a server that was cut off, or was removed, must not depose a leader that
 * the others hear. The leader itself is exempt: if it asks, it leads no more.
 *
 * Where a lease may rest on our silence, it is our word that counts, not whether we still know whom
 * we gave it to: we may have heard of a higher term since, or have been restarted. */
static bool true_to_leader(const struct raft *raft, const struct raft_message *message)
{
    if (message->request_vote.transfer || FAULT(NO_STICKINESS)) return false;
    if (raft->role == RAFT_LEADER) {
        return true; /* it has a quorum, or finds out within an election timeout (timer.c) */
    }
    if (!GUARD(WORD_FORGOTTEN, raft->now_us >= raft->silent_until_us)) return true;
    bool bound = raft->settings.leases && !FAULT(WORD_DIES_WITH_TERM);
    if (raft_id_none(&raft->leader) && !bound) return false;
    if (raft_id_equal(&raft->leader, &message->from)) return FAULT(OWN_LEADER_REFUSED);
    return raft->now_us - raft->heard_us < raft->settings.election_timeout_us;
}

static bool up_to_date(const struct raft *raft, const struct raft_request_vote *request)
{
    if (FAULT(LOG_NOT_COMPARED)) return true;
    raft_term last_term = raft_log_last_term(&raft->log);
    if (request->last_term != last_term) return request->last_term > last_term;
    return request->last_index >= raft->log.last_index;
}

/* In the present term. Who knows its leader has no vote to give, used or not: that leader has the
 * votes of a majority, so one more could elect nobody, and would only cost a write and time. */
static bool free_to_vote(const struct raft *raft, const struct raft_id *candidate)
{
    const struct raft_id *vote = &raft->hard_state.vote;
    if (raft_id_equal(vote, candidate)) return true;
    return raft_id_none(vote) && GUARD(VOTE_TO_SPARE, raft_id_none(&raft->leader));
}

static void grant(struct raft *raft, const struct raft_message *message)
{
    if (raft->role != RAFT_FOLLOWER) raft_become_follower(raft, message->term, NULL);
    raft->hard_state.vote = message->from;
    raft_restart_election_timeout(raft);
}

static void answer(struct raft *raft, const struct raft_message *request, bool granted)
{
    struct raft_message message = raft_message_to(raft, RAFT_VOTE, &request->from);
    message.vote.pre = request->request_vote.pre;
    message.vote.granted = granted;
    if (granted) message.term = request->term;
    raft_gate_hold(raft, &message);
}
