/*
 * Commit (§5.3, §5.4.2): what is durable on a quorum of the effective configuration, the leader's
 * own disk counted like any other and no further than it has come (Ongaro §10.2.1). Only an entry
 * of the present term is committed by counting; it commits all before it (Figure 8).
 */
#include "raft/core.h"
#include "raft/entry.h"

#include "base/mutant.h"

#include <assert.h>

#define COMMIT_PUSH_FRACTION \
    8 /* of a heartbeat: how long an idle follower may not know of a commit */

static raft_index durable_at(void *context, const struct raft_id *id);

void raft_advance_commit(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return;
    raft_index index = raft_quorum_index(raft_effective(raft), durable_at, raft);
    if (index > raft->commit_index &&
        GUARD(COUNTED_PRIOR_TERM, raft_log_term_at(&raft->log, index) == raft->hard_state.term)) {
        assert(index <= raft->log.last_index);
        raft->commit_index = index;
        if (raft->commit_push_us == 0) {
            raft->commit_push_us =
                raft->now_us + raft->settings.heartbeat_us / COMMIT_PUSH_FRACTION;
        }
        raft_advance_reads(raft);
    }
    raft_settle(raft);
}

/* Proposals weigh until they are committed *and* durable here: until then they must be kept in
 * memory, and a leader whose own disk lags behind a quorum of others must not take more than it can
 * keep. */
void raft_settle(struct raft *raft)
{
    raft_index settled = raft_least(raft->commit_index, raft->gate.durable.index);
    raft_index unweighed = raft_least(settled, raft_log_tail_first(&raft->log) - 1);
    raft->settled_index = raft_most(raft->settled_index, unweighed);
    while (raft->settled_index < settled) {
        const struct raft_entry *entry = raft_log_entry(&raft->log, ++raft->settled_index);
        assert(raft->uncommitted_bytes >= raft_entry_size(entry));
        raft->uncommitted_bytes -= raft_entry_size(entry);
    }
}

static raft_index durable_at(void *context, const struct raft_id *id)
{
    const struct raft *raft = context;
    if (raft_is_self(raft, id)) {
        return FAULT(UNWRITTEN_COUNTED) ? raft->log.last_index : raft->gate.durable.index;
    }
    const struct raft_peer *peer = raft_peers_counted(&raft->peers, id);
    return peer ? peer->match : 0;
}
