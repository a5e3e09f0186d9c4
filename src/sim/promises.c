/*
 * What a message promises, its sender's disk must hold by then: votes given, votes asked for,
 * entries acknowledged. Checked when the message is handed to the network, against what is durable
 * at that moment.
 */
#include "sim/internal.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static void check_request_vote(struct sim_node *node, const struct raft_message *message);
static void check_vote(struct sim_node *node, const struct raft_message *message);
static void check_append(struct sim_node *node, const struct raft_message *message);
static void check_append_result(struct sim_node *node, const struct raft_message *message);
static void check_echo(struct sim_node *node, const struct raft_message *message);
/* Rounds begin anew with each of a leader's lives. What is echoed of a former one would confirm what this one has not
 * asked yet. */
static void check_echo(struct sim_node *node, const struct raft_message *message)
{
    const struct sim_node *leader = node_find(node->sim, &message->to);
    const struct sim_watch *watch = &leader->watch;
    if (!node_up(leader) || watch->role != RAFT_LEADER || watch->term != message->term) return;
    if (message->append_result.round > watch->round) {
        breach(node->sim, node, "echo_heard", "echoes round %" PRIu64 " to %s, which has begun %" PRIu64,
               message->append_result.round, leader->id.text, watch->round);
    }
}

static void promise(struct sim_node *node, raft_term term, const struct sim_node *candidate);
static void check_pre_voted(struct sim_node *node, raft_term term);
static bool is_quorum(struct sim_node *node, uint32_t bits);
static void note_word(struct sim_node *node, const struct raft_message *message,
                      const struct raft_status *after, const struct sim_received *before);
static void check_asked(struct sim_node *node, const struct raft_message *message,
                        const struct raft_status *after, const struct sim_received *before);
static void check_result(struct sim_node *node, const struct raft_message *message,
                         const struct raft_status *after, const struct sim_received *before);
static const struct raft_peer_status *peer_of(const struct raft_status *status,
                                              const struct raft_id *id);

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
        check_timeout_now(node, message);
        operators_handover(node_find(sim, &message->to));
        /* fall through */
    case RAFT_READ_INDEX_RESULT:
        if (message->type == RAFT_TIMEOUT_NOW || message->read_index_result.success) {
            check_role(node, RAFT_LEADER, message->term);
        }
        break;
    case RAFT_INSTALL_SNAPSHOT:
        check_role(node, RAFT_LEADER, message->term);
        check_chunk(node, message);
        break;
    case RAFT_SNAPSHOT_RESULT:
        check_chunk_result(node, message);
        break;
    case RAFT_READ_INDEX:
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
        struct sim_version *added = ledger_add_version(&sim->ledger, entry);
        added->claim = once_claim(sim, entry);
        if (entry->type == RAFT_CONFIGURATION) configuration_seen(sim, entry);
        if (entry->type == RAFT_SETTINGS) settings_entry_seen(sim, entry);
        if (entry->type == RAFT_DEPLOY) deploys_entry_seen(sim, entry);
        return;
    }
    if (version->chain != entry->chain || version->type != entry->type) {
        violate(sim, node, "log_matching",
                "another entry of term %" PRIu64 " at index %" PRIu64 " than seen before",
                entry->term, entry->index);
    }
}

static void check_request_vote(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    struct raft_status status;
    raft_status(host_raft(node->host), &status);
    if (status.disk_full) {
        breach(sim, node, "full_disk_waits", "asks for votes in term %" PRIu64 " with a full disk",
               message->term);
    }
    if (message->request_vote.pre) {
        COVER(sim, pre_votes);
        operators_asks(node);
        return;
    }
    COVER(sim, request_votes);
    if (message->request_vote.transfer) operators_takeover(node);
    if (!message->request_vote.transfer) check_pre_voted(node, message->term);
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
    node->watch.answers_vote = true;
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
    if (append->round > node->watch.round) {
        node->watch.round = append->round;
        node->watch.round_us[append->round % SIM_ROUNDS] = sim->world.now_us;
    }
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
    check_echo(node, message);
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
    raft_index held = life_match(node, node->disk.incarnation, message->term);
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

/* ---- what a message does to whom it reaches ---- */

void check_receiving(struct sim_node *node, const struct raft_message *message,
                     struct sim_received *before)
{
    const struct raft *raft = host_raft(node->host);
    memset(before, 0, sizeof *before);
    node->watch.answers_vote = false;
    before->steps = host_counters(node->host).steps;
    before->clock_us = node_clock_us(node);
    uint64_t now_us = node->sim->world.now_us;
    before->quiet = node->disk.count == 0 && node->disk.report_us < now_us &&
                    node->disk.snapshots.count == 0 && node->disk.snapshots.report_us < now_us &&
                    node->paused_until_us < now_us && /* or a report may wait behind this message */
                    !node->turn_scheduled;
    if (!raft) return;
    raft_status(raft, &before->status);
    const struct raft_peer_status *peer = peer_of(&before->status, &message->from);
    if (peer) before->peer = *peer;
    struct sim_watch *watch = &node->watch;
    if (message->type == RAFT_VOTE && message->vote.pre && message->vote.granted) {
        if (message->term < watch->pre_term) return; /* late */
        if (message->term > watch->pre_term) watch->pre_granted = 0;
        watch->pre_term = message->term;
        watch->pre_granted |= 1u << node_find(node->sim, &message->from)->number;
    }
}

/* Judged only where the core was given the message, and the process is still there. */
void check_received(struct sim_node *node, const struct raft_message *message,
                    const struct sim_received *before)
{
    if (node->dying || host_counters(node->host).steps == before->steps) return;
    struct raft_status after;
    raft_status(host_raft(node->host), &after);
    if (message->type == RAFT_APPEND) note_word(node, message, &after, before);
    if (message->type == RAFT_REQUEST_VOTE) check_asked(node, message, &after, before);
    if (message->type == RAFT_APPEND_RESULT) check_result(node, message, &after, before);
}

/* A candidate has been told by a majority that it could win (Ongaro 9.6), or it would disturb those
 * who have a leader. */
static void check_pre_voted(struct sim_node *node, raft_term term)
{
    const struct sim_watch *watch = &node->watch;
    uint32_t granted = watch->pre_term == term ? watch->pre_granted : 0;
    if (is_quorum(node, granted | 1u << node->number)) return;
    breach(node->sim, node, "pre_voted",
           "asks for votes in term %" PRIu64 ", which are granted beforehand by (bits) %x only", term, granted);
}

struct nodes {
    struct sim *sim;
    uint32_t bits;
};

static bool is_among(void *context, const struct raft_id *id)
{
    const struct nodes *nodes = context;
    return (nodes->bits >> node_find(nodes->sim, id)->number & 1) != 0;
}

/* Of the configuration that this node goes by. */
static bool is_quorum(struct sim_node *node, uint32_t bits)
{
    struct nodes nodes = {node->sim, bits};
    struct raft_status status;
    raft_status(host_raft(node->host), &status);
    return raft_quorum_has(status.configuration, is_among, &nodes);
}

static void note_word(struct sim_node *node, const struct raft_message *message,
                      const struct raft_status *after, const struct sim_received *before)
{
    const struct raft_append *append = &message->append;
    bool follows = after->role == RAFT_FOLLOWER && after->term == message->term &&
                   raft_id_equal(&after->leader, &message->from);
    if (follows) node->watch.heard_us = before->clock_us;
    raft_index last = append->prev_index + append->entry_count;
    if (after->commit_index > before->status.commit_index && after->commit_index > last) {
        breach(node->sim, node, "commit_bound",
               "commits %" PRIu64 " by an append that ends at %" PRIu64, after->commit_index, last);
    }
}

/*
 * Who leads, or has heard its leader within the least election timeout, ignores whoever else asks,
 * term and all (Ongaro 4.2.3). Everyone else who is asked answers, so that nobody asks for ever. And
 * once it knows who leads a term, nobody has a vote in it to give.
 */
static void check_asked(struct sim_node *node, const struct raft_message *message,
                        const struct raft_status *after, const struct sim_received *before)
{
    struct sim *sim = node->sim;
    const struct raft_status *was = &before->status;
    bool leads = was->role == RAFT_LEADER, knows = !raft_id_none(&was->leader);
    bool asks_own = raft_id_equal(&was->leader, &message->from);
    uint64_t silent_us = node_clock_us(node) - node->watch.heard_us;
    bool true_to = leads || (knows && !asks_own && silent_us < sim->plan.election_us);
    if (message->request_vote.transfer) true_to = false; /* it asks in its leader's name */
    bool changed = after->term != was->term || !raft_id_equal(&after->vote, &was->vote);
    if (message->term >= was->term && true_to && (changed || node->watch.answers_vote)) {
        breach(sim, node, "true_to_leader",
               "heeds %s, which asks for votes in term %" PRIu64 ", %" PRIu64
               " us after its leader's word",
               message->from.text, message->term, leads ? 0 : silent_us);
    }
    if (knows && after->term == was->term && changed) {
        breach(sim, node, "vote_to_spare", "votes in term %" PRIu64 ", which %s leads", was->term,
               was->leader.text);
    }
    bool free_to = message->term < was->term || (!leads && (!knows || asks_own));
    if (sim->plan.settings.leases) free_to = false; /* its word to a leader may bind it, known or not */
    if (free_to && !changed && before->quiet && !was->disk_full && !node->watch.answers_vote) {
        breach(sim, node, "asked_answers",
               "does not answer %s, which asks for votes in term %" PRIu64, message->from.text,
               message->term);
    }
}

/* What is acknowledged counts, and what is refused only where it is news. */
static void check_result(struct sim_node *node, const struct raft_message *message,
                         const struct raft_status *after, const struct sim_received *before)
{
    struct sim *sim = node->sim;
    const struct raft_append_result *result = &message->append_result;
    const struct raft_peer_status *was = &before->peer, *is = peer_of(after, &message->from);
    if (!is || raft_id_none(&was->id) || after->term != before->status.term ||
        message->term != after->term)
        return;
    struct sim_watch *watch = &node->watch;
    unsigned from = node_find(sim, &message->from)->number;
    if (result->round + SIM_ROUNDS > watch->round && result->round <= watch->round) {
        uint64_t sent_us = watch->round_us[result->round % SIM_ROUNDS];
        if (sent_us > watch->echoed_us[from]) watch->echoed_us[from] = sent_us;
    }
    if (result->success && is->match < result->match) {
        breach(sim, node, "ack_counts", "%s acknowledges %" PRIu64 ", and is thought to have %" PRIu64,
               message->from.text, result->match, is->match);
    }
    bool replicated = strcmp(was->progress, "replicate") == 0;
    bool stray = replicated ? result->prev_index <= was->match : result->prev_index != was->next - 1;
    bool offered = strcmp(is->progress, "snapshot") == 0; /* to whoever speaks, and lacks what is compacted away */
    bool moved = (strcmp(was->progress, is->progress) != 0 && !offered) || is->next < was->next;
    if (!result->success && stray && moved) {
        breach(sim, node, "stray_refusal",
               "a refusal of what follows %" PRIu64 " is old news: %s has %" PRIu64
               ", and is sent %" PRIu64 " next",
               result->prev_index, message->from.text, was->match, was->next);
    }
}

/* A majority, the leader included, has echoed a round that began after the query was made
 * (Ongaro 6.4). What was asked before it led may have been confirmed by the leader before it, and what was asked before
 * its configuration changed by a majority of the former one. */
void check_read(struct sim_node *node, uint64_t asked_us)
{
    const struct sim_watch *watch = &node->watch;
    if (watch->role != RAFT_LEADER || !host_is_leader(node->host)) return;
    if (asked_us < watch->led_us || asked_us <= watch->configured_us) return;
    struct raft_status status;
    raft_status(host_raft(node->host), &status);
    if (status.configuration_index != watch->configuration) return; /* it changes in this very turn */
    uint32_t confirmed = 1u << node->number;
    for (unsigned n = 0; n < node->sim->plan.nodes; n++) {
        if (watch->echoed_us[n] >= asked_us) confirmed |= 1u << n;
    }
    if (is_quorum(node, confirmed)) return;
    breach(node->sim, node, "read_confirmed",
           "answers a query that (bits) %x, no majority, have confirmed it may", confirmed);
}

static const struct raft_peer_status *peer_of(const struct raft_status *status,
                                              const struct raft_id *id)
{
    for (size_t i = 0; i < status->peer_count; i++) {
        if (raft_id_equal(&status->peers[i].id, id)) return &status->peers[i];
    }
    return NULL;
}
