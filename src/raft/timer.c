/*
 * Time. Nothing here sleeps: the core says when it wants to be woken next, and looks at the clock
 * it is told.
 *
 * A DEADLINE is given out only when it must be earlier than the last one. A follower that hears its
 * leader ten times a second is so woken once in an election timeout, finds that it is not yet time,
 * and names the next deadline.
 */
#include "raft/core.h"

#include "base/mutant.h"

#include <assert.h>

#define PREFERRED_MAX 2

static void lead(struct raft *raft);
static void follow(struct raft *raft);
static void push_commit(struct raft *raft);
static uint64_t quorum_contact(struct raft *raft);
static uint64_t contact_with(void *context, const struct raft_id *id);
static size_t preferred_count(const struct raft *raft);
static uint64_t next_deadline(const struct raft *raft);
static uint64_t earlier(uint64_t a, uint64_t b); /* 0: none */

enum error_code raft_timer(struct raft *raft, const struct raft_event *event, struct error *error)
{
    (void)event;
    (void)error;
    raft->told.deadline_us = 0;
    struct raft_gate *gate = &raft->gate;
    if (gate->refused && !gate->retrying && raft->now_us >= gate->retry_us) gate->retry_due = true;
    if (raft->role == RAFT_LEADER) {
        lead(raft);
        return ERROR_OK;
    }
    raft_asking_timer(raft);
    if (raft_may_campaign(raft)) follow(raft);
    return ERROR_OK;
}

/* Drawn between the least timeout and twice that, so that few servers campaign at once (§5.2). Where
 * others are preferred as leaders, they are given the time to go first: one least timeout, or two
 * where there are several. Should they be gone, that is all that it costs. */
void raft_restart_election_timeout(struct raft *raft)
{
    uint64_t least = raft->settings.election_timeout_us;
    raft->waiting_since_us = raft->now_us;
    raft->election_timeout_us = least + random_below(&raft->random, least);
    raft->election_timeout_us += least * raft_least(preferred_count(raft), PREFERRED_MAX);
}

/* The voters of a higher priority than ours. */
static size_t preferred_count(const struct raft *raft)
{
    const struct raft_configuration *configuration = raft_effective(raft);
    const struct raft_server *self = raft_configuration_find(configuration, &raft->id);
    size_t count = 0;
    for (size_t i = 0; self && i < configuration->server_count; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if (server->role == RAFT_VOTER && server->priority > self->priority) count++;
    }
    return count;
}

void raft_arm(struct raft *raft)
{
    uint64_t deadline_us = next_deadline(raft);
    uint64_t told_us = raft->told.deadline_us;
    if (deadline_us == 0 || (told_us != 0 && told_us <= deadline_us)) return;
    raft->told.deadline_us = deadline_us;
    raft_emit(raft, RAFT_EFFECT_DEADLINE)->deadline_us = deadline_us;
}

/* A leader that has not heard from a quorum for an election timeout may have been replaced: it
 * leads no more (Ongaro §6.2). */
static void lead(struct raft *raft)
{
    if (raft->peers.count == 0) return;
    if (raft->now_us >= raft->quorum_check_us) {
        uint64_t contact_us =
            FAULT(NO_CHECK_QUORUM) ? raft->now_us : quorum_contact(raft);
        raft->quorum_check_us = contact_us + raft->settings.election_timeout_us;
        if (raft->now_us >= raft->quorum_check_us) {
            raft_become_follower(raft, raft->hard_state.term, NULL);
            return;
        }
    }
    raft_handover_timer(raft);
    if (raft->commit_push_us != 0 && raft->now_us >= raft->commit_push_us) push_commit(raft);
    if (raft->now_us < raft->heartbeat_due_us) return;
    raft->heartbeat_due_us = raft->now_us + raft->settings.heartbeat_us;
    raft_lease_mark(raft);
    raft_speak_to_all(raft);
}

static void follow(struct raft *raft)
{
    if (raft->now_us >= raft->waiting_since_us + raft->election_timeout_us) {
        raft_campaign(raft);
    } else if (raft->role != RAFT_FOLLOWER && raft->now_us >= raft->ask_again_us) {
        raft_ask_for_votes(raft);
    }
}

/* Under load the next append carries the commit index. An idle follower is told after a moment, not
 * after a whole heartbeat: so that what was acknowledged is soon to be seen on every server. */
static void push_commit(struct raft *raft)
{
    raft->commit_push_us = 0;
    for (size_t i = 0; i < raft->peers.count; i++) {
        struct raft_peer *peer = &raft->peers.peers[i];
        if (peer->progress == RAFT_REPLICATE && peer->commit_sent < raft->commit_index) {
            peer->speak = true;
        }
    }
}

static uint64_t quorum_contact(struct raft *raft)
{
    return raft_quorum_index(raft_effective(raft), contact_with, raft);
}

static uint64_t contact_with(void *context, const struct raft_id *id)
{
    const struct raft *raft = context;
    if (raft_is_self(raft, id)) return raft->now_us;
    const struct raft_peer *peer = raft_peers_find(&raft->peers, id);
    if (!peer) return raft->leader_since_us;
    uint64_t contact_us = peer->forgot ? peer->forgot_us : peer->contact_us;
    return contact_us > raft->leader_since_us ? contact_us : raft->leader_since_us;
}

/* 0: none, only an event from outside can change anything. */
static uint64_t next_deadline(const struct raft *raft)
{
    const struct raft_gate *gate = &raft->gate;
    if (gate->refused) {
        return earlier(gate->retrying ? 0 : gate->retry_us, raft_asking_deadline(raft));
    }
    if (raft->role == RAFT_LEADER) {
        if (raft->peers.count == 0) return 0;
        uint64_t deadline_us = raft_least(raft->heartbeat_due_us, raft->quorum_check_us);
        deadline_us = earlier(deadline_us, raft->commit_push_us);
        return earlier(deadline_us, raft_handover_deadline(raft));
    }
    uint64_t asking_us = raft_asking_deadline(raft);
    if (!raft_may_campaign(raft)) return asking_us;
    uint64_t deadline_us = raft->waiting_since_us + raft->election_timeout_us;
    if (raft->role != RAFT_FOLLOWER) deadline_us = raft_least(deadline_us, raft->ask_again_us);
    return earlier(deadline_us, asking_us);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    if (a == 0 || b == 0) return raft_most(a, b);
    return raft_least(a, b);
}
