/*
 * Roles: the only place that assigns one, after the table of legal transitions.
 *
 *   follower ──timeout──▶ pre-candidate ──quorum──▶ candidate ──quorum──▶ leader
 *      ▲                        │  ▲                   │  │                 │
 *      └────────────────────────┘  └──────timeout──────┘  │                 │
 *      └──── a higher term, a leader's word, ─────────────┴─────────────────┘
 *            a quorum out of reach, a full disk, a configuration without it
 *
 * A follower that its leader tells to campaign (handover.c) becomes a candidate at once.
 */
#include "base/mutant.h"
#include "raft/core.h"
#include "raft/entry.h"

#include <assert.h>

static void assign_role(struct raft *raft, enum raft_role role);
static void leave_leadership(struct raft *raft);
static void begin_campaign(struct raft *raft);

const char *raft_role_name(enum raft_role role)
{
    static const char *const names[] = {
        [RAFT_FOLLOWER] = "follower",
        [RAFT_PRE_CANDIDATE] = "pre-candidate",
        [RAFT_CANDIDATE] = "candidate",
        [RAFT_LEADER] = "leader",
    };
    return names[role];
}

/* A follower that learns of a higher term keeps waiting for as long as it would have: only a
 * leader's word and a granted vote start its timeout anew (§5.2), or a server that can never win
 * could keep the others from campaigning. */
void raft_become_follower(struct raft *raft, raft_term term, const struct raft_id *leader)
{
    assert(term >= raft->hard_state.term);
    if (term > raft->hard_state.term) raft->hard_state = (struct raft_hard_state){.term = term};
    if (raft->role == RAFT_LEADER) leave_leadership(raft);
    raft_fail_asking(raft); /* whoever leads now is asked anew */
    if (raft->role != RAFT_FOLLOWER) raft_restart_election_timeout(raft);
    assign_role(raft, RAFT_FOLLOWER);
    raft->leader = leader ? *leader : (struct raft_id){{0}};
    raft->following = (struct raft_following){.verified = raft->commit_index};
}

/* Ongaro §9.6: asks whether it could win before it raises its term. */
void raft_become_pre_candidate(struct raft *raft)
{
    assign_role(raft, RAFT_PRE_CANDIDATE);
    begin_campaign(raft);
    raft->own_vote = true; /* it promises nothing, so nothing has to be durable */
}

/* Term and vote change together, and so are one write. */
void raft_become_candidate(struct raft *raft)
{
    assign_role(raft, RAFT_CANDIDATE);
    raft->hard_state = (struct raft_hard_state){raft->hard_state.term + 1, raft->id};
    begin_campaign(raft);
    raft->own_vote = false; /* until it is durable */
}

void raft_become_leader(struct raft *raft)
{
    assert(GUARD(UNGATED_VOTE_REQUEST, raft_gate_hard_state_durable(raft)));
    assign_role(raft, RAFT_LEADER);
    raft->leader = raft->id;
    raft->leader_since_us = raft->now_us;
    raft->heartbeat_due_us = raft->now_us + raft->settings.heartbeat_us;
    raft->quorum_check_us = raft->now_us + raft->settings.election_timeout_us;
    raft->commit_push_us = 0;
    raft->lease_forgone = false;
    raft->handover_us = raft->now_us + RAFT_HANDOVER_TIMEOUTS * raft->settings.election_timeout_us;
    raft_peers_reset(&raft->peers, raft->log.last_index + 1);

    raft->settled_index = raft_least(raft->commit_index, raft->gate.durable.index);
    raft->uncommitted_bytes = 0;
    raft_index first = raft_most(raft->settled_index + 1, raft_log_tail_first(&raft->log));
    for (raft_index index = first; index <= raft->log.last_index; index++) {
        raft->uncommitted_bytes += raft_entry_size(raft_log_entry(&raft->log, index));
    }

    /* Entries of former terms are committed by committing this one (§5.4.2, §8). */
    struct raft_entry noop = {.type = RAFT_NOOP};
    raft_append_own(raft, &noop);
    raft->term_start = raft->log.last_index;
}

static void assign_role(struct raft *raft, enum raft_role role)
{
    static const bool legal[4][4] = {
        [RAFT_FOLLOWER] =
            {[RAFT_FOLLOWER] = true, [RAFT_PRE_CANDIDATE] = true, [RAFT_CANDIDATE] = true},
        [RAFT_PRE_CANDIDATE] =
            {[RAFT_FOLLOWER] = true, [RAFT_PRE_CANDIDATE] = true, [RAFT_CANDIDATE] = true},
        [RAFT_CANDIDATE] =
            {[RAFT_FOLLOWER] = true, [RAFT_PRE_CANDIDATE] = true, [RAFT_LEADER] = true},
        [RAFT_LEADER] = {[RAFT_FOLLOWER] = true},
    };
    assert(legal[raft->role][role]);
    raft->role = role;
}

static void leave_leadership(struct raft *raft)
{
    raft_fail_reads(raft);
    if (!FAULT(TRANSFER_OUTLIVES)) raft->handover = (struct raft_handover){0};
    if (!FAULT(TRANSFER_OUTLIVES_TERM)) raft_transfers_end(raft);
    raft->uncommitted_bytes = 0;
}

static void begin_campaign(struct raft *raft)
{
    raft->leader = (struct raft_id){{0}};
    raft->told_to_campaign = false;
    raft_fail_asking(raft);
    raft->following = (struct raft_following){.verified = raft->commit_index};
    for (size_t i = 0; i < raft->peers.count; i++) raft->peers.peers[i].granted = false;
    raft_restart_election_timeout(raft);
}
