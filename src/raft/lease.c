/*
 * The leader's lease (Ongaro §6.4.1): a follower that hears its leader votes for nobody else for one
 * least election timeout (vote.c). So for that long, counted from when the word was *sent* that a
 * quorum has answered, nobody else can lead, and a read needs no round.
 *
 * Clocks are only asked to run at nearly the same rate: the lease is shortened by the bound that is
 * set. It is off unless that is set, for all servers: a voter that restarts has forgotten whom it
 * heard, and keeps silent for as long as its word may bind it.
 *
 * There is none while leadership is handed over, nor after somebody was told to campaign in this
 * term, for such a candidate is heeded at once; nor before this term's first commit.
 */
#include "raft/core.h"

#include "base/mutant.h"

#define MILLION 1000000

static uint64_t answered_word(void *context, const struct raft_id *id);
static uint64_t lease_us(const struct raft_settings *settings);

void raft_lease_mark(struct raft *raft)
{
    if (raft->settings.leases) raft_begin_round(raft);
}

void raft_lease_answered(struct raft *raft, struct raft_peer *peer, uint64_t round)
{
    const struct raft_reads *reads = &raft->reads;
    if (reads->round - round >= RAFT_ROUNDS_KEPT) return; /* too old to be of use; of none, nothing is said */
    peer->lease_us = raft_most(peer->lease_us, reads->began_us[round % RAFT_ROUNDS_KEPT]);
}

uint64_t raft_lease_until(const struct raft *raft)
{
    if (!raft->settings.leases || raft->role != RAFT_LEADER) return 0;
    if (raft->commit_index < raft->term_start) return 0;
    if (!GUARD(LEASE_IN_TRANSFER, !raft_handing_over(raft))) return 0;
    bool forgone = raft->lease_forgone && !raft_handing_over(raft);
    if (!GUARD(LEASE_AFTER_TRANSFER, !forgone)) return 0;
    uint64_t since_us = raft_quorum_index(raft_effective(raft), answered_word, (void *)raft);
    return since_us == 0 ? 0 : since_us + lease_us(&raft->settings);
}

static uint64_t answered_word(void *context, const struct raft_id *id)
{
    const struct raft *raft = context;
    if (raft_is_self(raft, id)) return raft->now_us;
    const struct raft_peer *peer = raft_peers_counted(&raft->peers, id);
    return peer ? peer->lease_us : 0;
}

/* The follower's clock may be that much fast, and ours that much slow. */
static uint64_t lease_us(const struct raft_settings *settings)
{
    uint64_t drift = raft_least(settings->clock_drift_ppm, MILLION);
    return settings->election_timeout_us * (MILLION - drift) / (MILLION + drift);
}
