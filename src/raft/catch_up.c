/*
 * How far behind a peer is, told in rounds (Ongaro §4.2.1): each round brings what the log held when
 * it began, so that every one is shorter than the one before, if the peer is fast enough. One whose
 * last round took less than an election timeout would not hold up a commit for longer than an
 * election does: it may become a voter; and so may one who lacks nothing, for where nothing is proposed there is no
 * round after a long one. Nobody waits for one who does not get on: it is reported.
 */
#include "raft/core.h"

#include <assert.h>

#define STUCK_TIMEOUTS 4 /* election timeouts without an entry taken */

void raft_catch_up_begin(struct raft *raft, struct raft_peer *peer)
{
    struct raft_catch_up *catch_up = &peer->catch_up;
    if (catch_up->target != 0 || peer->match >= raft->log.last_index) return;
    catch_up->target = raft->log.last_index;
    catch_up->began_us = catch_up->moved_us = raft->now_us;
}

void raft_catch_up_moved(struct raft *raft, struct raft_peer *peer)
{
    struct raft_catch_up *catch_up = &peer->catch_up;
    catch_up->moved_us = raft->now_us;
    if (catch_up->target == 0 || peer->match < catch_up->target) return;
    catch_up->rounds++;
    catch_up->round_us = raft->now_us - catch_up->began_us;
    catch_up->target = 0;
}

bool raft_caught_up(const struct raft *raft, const struct raft_peer *peer)
{
    const struct raft_catch_up *catch_up = &peer->catch_up;
    uint64_t limit_us = raft->settings.election_timeout_us;
    bool lacks_nothing = peer->match == raft->log.last_index;
    if (peer->forgot) return false;
    if (catch_up->rounds == 0 || (catch_up->round_us >= limit_us && !lacks_nothing)) return false;
    if (catch_up->target != 0 && raft->now_us - catch_up->began_us >= limit_us) return false;
    return raft->now_us - peer->contact_us < limit_us; /* with a round done, it has answered */
}

bool raft_stuck(const struct raft *raft, const struct raft_peer *peer)
{
    const struct raft_catch_up *catch_up = &peer->catch_up;
    uint64_t limit_us = STUCK_TIMEOUTS * raft->settings.election_timeout_us;
    return catch_up->target != 0 && raft->now_us - catch_up->moved_us >= limit_us;
}
