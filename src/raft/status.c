/* What a core thinks, for those who look on: status pages, metrics, the simulator's invariants. */
#include "raft/core.h"

static void fill_peer(const struct raft *raft, const struct raft_peer *peer,
                      struct raft_peer_status *status);
static enum raft_standing standing_of(const struct raft *raft, const struct raft_peer *peer);

const char *raft_standing_name(enum raft_standing standing)
{
    static const char *const names[] = {
        [RAFT_STANDING_VOTER] = "voter",
        [RAFT_STANDING_LEARNER] = "learner",
        [RAFT_STANDING_LEAVING] = "leaving",
        [RAFT_STANDING_DEPARTED] = "departed",
    };
    return names[standing];
}

void raft_status(const struct raft *raft, struct raft_status *status)
{
    bool leads = raft->role == RAFT_LEADER;
    *status = (struct raft_status){
        .id = raft->id,
        .role = raft->role,
        .term = raft->hard_state.term,
        .vote = raft->hard_state.vote,
        .leader = raft->leader,
        .installing_index = raft->incoming.meta.index,
        .first_index = raft->log.base.index + 1,
        .last_index = raft->log.last_index,
        .last_term = raft_log_last_term(&raft->log),
        .commit_index = raft->commit_index,
        .applied_index = raft->applied_index,
        .durable_index = raft->gate.durable.index,
        .persist_sequence = raft->gate.sequence,
        .uncommitted_bytes = raft->uncommitted_bytes,
        .tail_bytes = raft->log.tail_bytes,
        .disk_full = raft->gate.refused,
        .configuration_pending = raft_configuration_pending(raft),
        .transfer_target = raft->handover.target,
        .lease_until_us = raft_lease_until(raft),
        .peers = raft->peers.status,
        .peer_count = leads ? raft->peers.count : 0,
    };
    const struct raft_snapshot_meta *snapshot = raft_snapshots_newest(raft);
    if (snapshot) {
        status->snapshot_index = snapshot->index;
        status->snapshot_term = snapshot->term;
    }
    status->configuration = raft_log_configuration(&raft->log, &status->configuration_index);
    for (size_t i = 0; i < status->peer_count; i++) {
        fill_peer(raft, &raft->peers.peers[i], &raft->peers.status[i]);
    }
}

const struct raft_entry *raft_entry_at(const struct raft *raft, raft_index index)
{
    return raft_log_entry(&raft->log, index);
}

raft_term raft_log_term(const struct raft *raft, raft_index index)
{
    return raft_log_term_at(&raft->log, index);
}

static void fill_peer(const struct raft *raft, const struct raft_peer *peer,
                      struct raft_peer_status *status)
{
    *status = (struct raft_peer_status){
        .id = peer->id,
        .standing = standing_of(raft, peer),
        .progress = raft_progress_name(peer->progress),
        .match = peer->match,
        .next = peer->next,
        .in_flight = peer->flight_count,
        .contact_us = peer->contact_us,
        .rounds = peer->catch_up.rounds,
        .round_us = peer->catch_up.round_us,
        .caught_up = raft_caught_up(raft, peer),
        .stuck = raft_stuck(raft, peer),
        .forgot = peer->forgot,
    };
    if (peer->progress != RAFT_SNAPSHOT) return;
    status->snapshot_index = peer->transfer.index;
    status->snapshot_offset = peer->transfer.acked;
    status->snapshot_size = raft_snapshots_find(raft, peer->transfer.index)->size;
}

static enum raft_standing standing_of(const struct raft *raft, const struct raft_peer *peer)
{
    const struct raft_server *server = raft_configuration_find(raft_effective(raft), &peer->id);
    if (peer->departed) return RAFT_STANDING_DEPARTED;
    if (!server || server->role == RAFT_LEAVING) return RAFT_STANDING_LEAVING;
    return server->role == RAFT_VOTER ? RAFT_STANDING_VOTER : RAFT_STANDING_LEARNER;
}
