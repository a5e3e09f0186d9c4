/*
 * What must hold of leaders and configurations while servers come and go: whose votes and whose disks count.
 */
#include "sim/internal.h"

#include <inttypes.h>

/* Asked of each voter of one configuration: by the incarnation that it means. */
struct question {
    struct sim *sim;
    const struct raft_configuration *configuration;
    const struct sim_node *leader;
    raft_index index;
    raft_term term;
};

typedef bool is_held(const struct question *question, const struct sim_node *node, uint64_t incarnation);

static bool one_holds(const struct question *question, const struct raft_id *id, is_held *holds)
{
    const struct raft_server *server = raft_configuration_find(question->configuration, id);
    const struct sim_node *node = node_find(question->sim, id);
    return server && holds(question, node, server->incarnation);
}

/* Of the voters, and of the outgoing ones where there are any. Counted here: the core's counting is on trial. */
static bool majority(const struct question *question, is_held *holds)
{
    const struct raft_configuration *configuration = question->configuration;
    size_t voters = 0, holding = 0, outgoing = 0;
    for (size_t i = 0; i < configuration->server_count; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if (server->role != RAFT_VOTER) continue;
        voters++;
        if (one_holds(question, &server->id, holds)) holding++;
    }
    for (size_t i = 0; i < configuration->outgoing_count; i++) {
        if (one_holds(question, &configuration->outgoing[i], holds)) outgoing++;
    }
    return holding * 2 > voters &&
           (configuration->outgoing_count == 0 || outgoing * 2 > configuration->outgoing_count);
}

static bool durable_there(const struct question *question, const struct sim_node *node, uint64_t incarnation)
{
    const struct sim_disk *disk = life_disk(node, incarnation);
    return disk && disk_term(disk, question->index) == question->term;
}

static bool voted_durably(const struct question *question, const struct sim_node *node, uint64_t incarnation)
{
    return life_vote(node, incarnation, question->term) == question->leader->number + 1;
}

/* Has it a vote: in the incoming half, or in either? */
static bool votes(const struct raft_configuration *configuration, const struct raft_id *id, bool either)
{
    const struct raft_server *server = raft_configuration_find(configuration, id);
    for (size_t i = 0; either && i < configuration->outgoing_count; i++) {
        if (raft_id_equal(&configuration->outgoing[i], id)) return true;
    }
    return server && server->role == RAFT_VOTER;
}

bool check_stays_voter(const struct raft_configuration *configuration, const struct sim_node *node)
{
    return votes(configuration, &node->id, false);
}

static bool durable_by(struct sim *sim, const struct raft *raft, raft_index index,
                       const struct raft_configuration *configuration)
{
    const struct question question = {
        .sim = sim, .configuration = configuration, .index = index, .term = ledger_term_of(&sim->ledger, raft, index)};
    return majority(&question, durable_there);
}

/*
 * A leader may have appended another configuration since it counted, within the call that is looked at: then it was the
 * one before that decided. And who announces a commit first need not be who counted: the leader may have died in the
 * middle of telling it, with a configuration that this node has not got or has gone past. Any from the one before its
 * own on may have been the leader's.
 */
bool check_is_durable(struct sim_node *node, const struct raft *raft, const struct raft_status *status,
                      raft_index index)
{
    struct sim *sim = node->sim;
    if (durable_by(sim, raft, index, status->configuration)) return true;
    bool changed = !node->watch.configuration_known ||
                   node->watch.configuration != status->configuration_index;
    if (status->role == RAFT_LEADER && !changed) return false;
    const struct sim_configuration *before = configuration_before(sim, raft, status->configuration_index);
    if (status->role == RAFT_LEADER) return before && durable_by(sim, raft, index, &before->parsed);
    for (size_t i = 0; i < sim->ledger.configuration_count; i++) {
        const struct sim_configuration *it = &sim->ledger.configurations[i];
        if (before && it->index < before->index) continue;
        if (durable_by(sim, raft, index, &it->parsed)) return true;
    }
    return false;
}

/* Who counted may have died in the middle of telling it: then nobody has announced it. */
bool check_may_be_committed(struct sim *sim, raft_index index, raft_term term)
{
    const struct sim_configuration *it = configuration_at(sim, index, term);
    if (!it) return false;
    const struct question question = {.sim = sim, .configuration = &it->parsed, .index = index, .term = term};
    return majority(&question, durable_there);
}

/*
 * The votes that are durable for it are a majority of its own configuration, of both halves while that is joint. And it
 * is one of its voters; or one of those before, where the configuration that takes its vote away may yet be undone
 * (Ongaro 4.2.2).
 */
void check_elected(struct sim_node *node, const struct raft *raft, const struct raft_status *status)
{
    struct sim *sim = node->sim;
    const struct question question = {
        .sim = sim, .configuration = status->configuration, .leader = node, .term = status->term};
    if (!majority(&question, voted_durably)) {
        breach(sim, node, "elected_by_quorum",
               "leads term %" PRIu64 " without a majority of the configuration at %" PRIu64, status->term,
               status->configuration_index);
    }
    if (votes(status->configuration, &node->id, true)) return;
    const struct sim_configuration *before = configuration_before(sim, raft, status->configuration_index);
    if (status->configuration_index > status->commit_index && before &&
        votes(&before->parsed, &node->id, true))
        return;
    breach(sim, node, "voters_lead", "leads term %" PRIu64 ", and is no voter of the configuration at %" PRIu64,
           status->term, status->configuration_index);
}

/* Once the configuration that takes a leader's vote away is committed, it leads no more; and a joint one that is
 * committed is left for the next. Before a leader has committed an entry of its own term it need not know of either. */
void check_standing(struct sim_node *node, const struct raft *raft, const struct raft_status *status)
{
    if (status->role != RAFT_LEADER || status->configuration_index > status->commit_index ||
        (node->watch.stays_voter && status->configuration->outgoing_count == 0) ||
        raft_log_term(raft, status->commit_index) != status->term)
        return;
    breach(node->sim, node, "standing", "%s at %" PRIu64 " is committed, and it leads on",
           status->configuration->outgoing_count > 0 ? "the joint configuration"
                                                     : "the configuration without it",
           status->configuration_index);
}

/* A transfer is a leader's, and ends with its leadership. */
void check_transfer(struct sim_node *node, const struct raft_status *status)
{
    if (status->role == RAFT_LEADER || raft_id_none(&status->transfer_target)) return;
    breach(node->sim, node, "transfer_ends", "hands leadership to %s, and does not lead",
           status->transfer_target.text);
}

/*
 * What a leader appends: no configuration before it has committed an entry of its term (Ongaro 2015), and no command
 * while it hands leadership over.
 */
void check_changes(struct sim_node *node, const struct raft_entry *entry)
{
    bool asked = entry->type == RAFT_COMMAND || entry->type == RAFT_SETTINGS;
    if (entry->type != RAFT_CONFIGURATION && !asked) return;
    const struct raft *raft = host_raft(node->host);
    struct raft_status status;
    raft_status(raft, &status);
    if (status.role != RAFT_LEADER || entry->term != status.term) return;
    if (entry->type == RAFT_CONFIGURATION && raft_log_term(raft, status.commit_index) != status.term) {
        breach(node->sim, node, "changed_early",
               "changes the configuration at %" PRIu64 " before it has committed an entry of its term %" PRIu64,
               entry->index, status.term);
    }
    if (asked && !raft_id_none(&status.transfer_target)) {
        breach(node->sim, node, "transfer_stills", "appends a command at %" PRIu64 " while %s is to take over",
               entry->index, status.transfer_target.text);
    }
}

/* Told to campaign is a voter, as far as the leader knows. */
void check_timeout_now(struct sim_node *node, const struct raft_message *message)
{
    struct raft_status status;
    raft_status(host_raft(node->host), &status);
    const struct sim_node *to = node_find(node->sim, &message->to);
    if (check_stays_voter(status.configuration, to)) return;
    breach(node->sim, node, "transfer_to_voter", "tells %s to campaign, which has no vote", to->id.text);
}

/* An answer, of a later term, by one that is in no part of the receiver's configuration: it means nothing there, or a
 * removed server could depose a leader. (Whoever asks, and whoever leads, may be in one that has not arrived yet.) */
bool check_is_stranger(const struct sim_node *node, const struct raft_message *message)
{
    struct raft_status status;
    bool asks = message->type == RAFT_REQUEST_VOTE || message->type == RAFT_APPEND;
    bool pre_vote = message->type == RAFT_VOTE && message->vote.pre && message->vote.granted;
    if (asks || pre_vote || message->term <= node->watch.term || !host_raft(node->host)) return false;
    raft_status(host_raft(node->host), &status);
    return !raft_configuration_find(status.configuration, &message->from);
}

/* What it made of the message. `before` is the term it was in; it campaigns for the leader of that term only. */
void check_told(struct sim_node *node, const struct raft_message *message, raft_term before, bool stranger)
{
    struct raft_status status;
    bool told = message->type == RAFT_TIMEOUT_NOW && message->term < before;
    if (!node_up(node) || !(told || stranger)) return;
    raft_status(host_raft(node->host), &status);
    if (status.term == before) return;
    if (stranger) {
        breach(node->sim, node, "stranger_heeded", "goes from term %" PRIu64 " to %" PRIu64
               " because %s says so, which is in no part of its configuration", before, status.term,
               message->from.text);
    } else {
        breach(node->sim, node, "old_timeout_now", "campaigns in term %" PRIu64 " because the leader of term %" PRIu64
               " said so, in term %" PRIu64, status.term, message->term, before);
    }
}

/* It stopped by itself: a configuration that is committed names it no more, and one before did. */
void check_removed(struct sim_node *node)
{
    struct sim *sim = node->sim;
    bool named = false;
    for (raft_index from = 0;;) { /* in the order of the log */
        const struct sim_configuration *next = NULL;
        for (size_t i = 0; i < sim->ledger.configuration_count; i++) {
            const struct sim_configuration *it = &sim->ledger.configurations[i];
            if (it->committed && it->index >= from && (!next || it->index < next->index)) next = it;
        }
        if (!next) break;
        bool here = configuration_names(&next->parsed, node) != NULL;
        if (named && !here) return;
        named = named || here;
        from = next->index + 1;
    }
    violate(sim, node, "removed", "stops as if it had been removed");
}
