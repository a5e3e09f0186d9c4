/*
 * What a message promises, its sender's disk must hold by then: votes given, votes asked for,
 * entries acknowledged. Checked when the message is handed to the network, against what is durable
 * at that moment.
 */
#include "sim/internal.h"

#include <assert.h>
#include <inttypes.h>

static void check_request_vote(struct sim_node *node, const struct raft_message *message);
static void check_vote(struct sim_node *node, const struct raft_message *message);
static void check_append(struct sim_node *node, const struct raft_message *message);
static void check_append_result(struct sim_node *node, const struct raft_message *message);
static void promise(struct sim_node *node, raft_term term, const struct sim_node *candidate);

void check_send(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    if (!raft_id_equal(&message->from, &node->id) || !node_find(sim, &message->to)) {
        violate(sim, node, "message_address", "a message from '%s' to '%s'", message->from.text,
                message->to.text);
        return;
    }
    if (node->wiped) violate(sim, node, "wiped_stays_out", "a wiped node takes part");
    switch (message->type) {
    case RAFT_REQUEST_VOTE:
        check_request_vote(node, message);
        break;
    case RAFT_VOTE:
        check_vote(node, message);
        break;
    case RAFT_APPEND:
        check_append(node, message);
        break;
    case RAFT_APPEND_RESULT:
        check_append_result(node, message);
        break;
    case RAFT_TIMEOUT_NOW:
    case RAFT_READ_INDEX_RESULT:
        if (message->type == RAFT_TIMEOUT_NOW || message->read_index_result.success) {
            check_role(node, RAFT_LEADER, message->term);
        }
        break;
    case RAFT_READ_INDEX:
    case RAFT_INSTALL_SNAPSHOT: /* none are taken in the simulator yet */
    case RAFT_SNAPSHOT_RESULT:
        break;
    }
}

/* An entry as its term's leader made it: the same wherever it is seen, and nobody else makes any.
 */
void promises_see_entry(struct sim_node *node, const struct raft_entry *entry)
{
    struct sim *sim = node->sim;
    const struct sim_version *version = ledger_version(&sim->ledger, entry->index, entry->term);
    if (!version) {
        check_role(node, RAFT_LEADER, entry->term);
        ledger_add_version(&sim->ledger, entry->index, entry->term, entry->chain, entry->type);
        return;
    }
    if (version->chain != entry->chain || version->type != entry->type) {
        violate(sim, node, "log_matching",
                "another entry of term %" PRIu64 " at index %" PRIu64 " than seen before",
                entry->term, entry->index);
    }
}

/* How much of a term's leader's log a node has or had durable while it was in that term. */
raft_index promises_match(const struct sim_node *node, raft_term term)
{
    struct sim *sim = node->sim;
    const struct sim_disk *disk = node->ghost ? node->ghost : &node->disk;
    raft_index once = ledger_ballot(&sim->ledger, node->number, term)->match;
    raft_index now = disk->hard_state.term == term ? ledger_match(&sim->ledger, term, disk) : 0;
    return once > now ? once : now;
}

static void check_request_vote(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    if (message->request_vote.pre) {
        COVER(sim, pre_votes);
        return;
    }
    COVER(sim, request_votes);
    promise(node, message->term, node);
    if (ledger_ballot(&sim->ledger, node->number, message->term)->durable != node->number + 1) {
        breach(sim, node, "vote_request_durable",
               "asks for votes in term %" PRIu64 "; its disk has term %" PRIu64, message->term,
               node->disk.hard_state.term);
    }
    const struct raft_request_vote *request = &message->request_vote;
    if (node->disk.hard_state.term == message->term &&
        disk_term(&node->disk, request->last_index) != request->last_term) {
        breach(sim, node, "vote_request_durable",
               "claims index %" PRIu64 " of term %" PRIu64 "; its disk has term %" PRIu64 " there",
               request->last_index, request->last_term,
               disk_term(&node->disk, request->last_index));
    }
}

static void check_vote(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    const struct sim_node *candidate = node_find(sim, &message->to);
    if (!message->vote.granted) {
        COVER(sim, votes_refused);
        return;
    }
    COVER(sim, votes_granted);
    if (message->vote.pre) return;
    promise(node, message->term, candidate);
    if (ledger_ballot(&sim->ledger, node->number, message->term)->durable !=
        candidate->number + 1) {
        breach(sim, node, "vote_durable",
               "votes for %s in term %" PRIu64 "; its disk has term %" PRIu64 " and '%s'",
               candidate->id.text, message->term, node->disk.hard_state.term,
               node->disk.hard_state.vote.text);
    }
}

static void check_append(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    const struct raft_append *append = &message->append;
    if (append->entry_count > 0)
        COVER(sim, appends);
    else
        COVER(sim, heartbeats);
    check_role(node, RAFT_LEADER, message->term);
    if (append->commit > append->prev_index + append->entry_count) {
        breach(sim, node, "commit_verified",
               "announces commit %" PRIu64 " in an append that ends at %" PRIu64, append->commit,
               append->prev_index + append->entry_count);
    }
    raft_term own = ledger_leader_term_at(&sim->ledger, message->term, append->prev_index);
    if (own != append->prev_term) {
        violate(sim, node, "append_own_log",
                "says term %" PRIu64 " at index %" PRIu64 ", where its log has %" PRIu64,
                append->prev_term, append->prev_index, own);
    }
    for (size_t i = 0; i < append->entry_count; i++) {
        const struct raft_entry *entry = &append->entries[i];
        raft_index index = append->prev_index + 1 + i;
        if (entry->index != index ||
            entry->term != ledger_leader_term_at(&sim->ledger, message->term, index)) {
            violate(sim, node, "append_own_log",
                    "sends index %" PRIu64 " of term %" PRIu64 " at place %" PRIu64, entry->index,
                    entry->term, index);
            return;
        }
        promises_see_entry(node, entry);
    }
}

static void check_append_result(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    const struct raft_append_result *result = &message->append_result;
    if (!result->success) {
        COVER(sim, append_conflicts);
        return;
    }
    COVER(sim, append_ok);
    if (node->disk.hard_state.term < message->term) {
        breach(sim, node, "ack_durable",
               "acknowledges in term %" PRIu64 "; its disk has term %" PRIu64, message->term,
               node->disk.hard_state.term);
    }
    raft_index held = promises_match(node, message->term);
    if (result->match > held) {
        breach(sim, node, "ack_durable",
               "acknowledges %" PRIu64 " of term %" PRIu64 "'s log; its disk has %" PRIu64,
               result->match, message->term, held);
    }
}

static void promise(struct sim_node *node, raft_term term, const struct sim_node *candidate)
{
    struct sim_ballot *ballot = ledger_ballot(&node->sim->ledger, node->number, term);
    uint8_t vote = (uint8_t)(candidate->number + 1);
    if (ballot->promised && ballot->promised != vote) {
        violate(node->sim, node, "one_vote",
                "votes for %s in term %" PRIu64 " and has voted for %s", candidate->id.text, term,
                node->sim->nodes[ballot->promised - 1].id.text);
    }
    ballot->promised = vote;
}
