/*
 * What must hold of elections, logs and commits, checked after every call of a host and at every
 * write it notes. Checks are incremental: each looks only at what has changed since the last one on
 * this node.
 *
 * Two ranks. violate(): what a client or a disk could notice (lost, changed, diverged, stale).
 * breach(): a rule that implies it (a vote not durable, an entry of a prior term counted); left out
 * with options.outcome_only, so that a mutant can be shown to do harm. Messages are judged in
 * promises.c, requests in clients.c.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "raft/entry.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fail(struct sim *sim, const struct sim_node *node, const char *invariant,
                 const char *format, va_list arguments) __attribute__((format(printf, 4, 0)));
static void check_truncation(struct sim_node *node, const struct raft_persist *persist,
                             raft_term term);
static void check_entries(struct sim_node *node, const struct raft_persist *persist,
                          raft_term term);
static void check_commit(struct sim_node *node, const struct raft *raft,
                         const struct raft_status *status);
static void check_durable_index(struct sim_node *node, const struct raft *raft,
                                const struct raft_status *status);
static void check_peers(struct sim_node *node, const struct raft_status *status);
static void check_applied(struct sim_node *node, const struct raft_status *status);
static void check_configuration(struct sim_node *node, const struct raft *raft,
                                const struct raft_status *status);
static bool is_configuration(const struct sim *sim, const struct raft *raft, raft_index index);
static void check_one_configuration(struct sim_node *node, const struct raft_persist *persist,
                                    const struct raft_entry *entry);
static void check_complete(struct sim_node *node, const struct raft *raft, raft_term term);

void violate(struct sim *sim, const struct sim_node *node, const char *invariant,
             const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fail(sim, node, invariant, format, arguments);
    va_end(arguments);
}

void breach(struct sim *sim, const struct sim_node *node, const char *invariant, const char *format,
            ...)
{
    if (sim->options.outcome_only) return;
    va_list arguments;
    va_start(arguments, format);
    fail(sim, node, invariant, format, arguments);
    va_end(arguments);
}

/* ---- writes ---- */

void check_bootstrap(struct sim_node *node, struct slice configuration)
{
    struct sim *sim = node->sim;
    uint64_t hash = hash_bytes(configuration.data, configuration.size);
    if (sim->ledger.configuration_hash == 0) sim->ledger.configuration_hash = hash;
    if (hash != sim->ledger.configuration_hash) {
        violate(sim, node, "one_cluster",
                "bootstraps another configuration than the first node did");
    }
    configuration_first(sim, configuration);
    /* Wiped for good it is no more once the cluster has removed it and let it in as another one. */
    for (size_t i = 0; node->spare && i < sim->ledger.configuration_count; i++) {
        const struct sim_configuration *it = &sim->ledger.configurations[i];
        if (it->committed && configuration_names(&it->parsed, node)) node->wiped = false;
    }
    if (node->wiped) violate(sim, node, "wiped_stays_out", "a wiped node bootstraps itself");
}

void check_persist(struct sim_node *node, const struct raft_persist *persist)
{
    struct sim *sim = node->sim;
    const struct sim_disk *disk = &node->disk;
    if (disk->sequence > 0 && persist->sequence != disk->sequence + 1) {
        breach(sim, node, "persist_order", "persist %" PRIu64 " behind %" PRIu64, persist->sequence,
               disk->sequence);
    }
    if (disk->refusing) return; /* not done, whatever it says */
    const struct raft_hard_state *before = &disk->intended_hard_state;
    const struct raft_hard_state *after = persist->has_hard_state ? &persist->hard_state : before;
    if (after->term < before->term) {
        violate(sim, node, "term_monotonic", "writes term %" PRIu64 " over %" PRIu64, after->term,
                before->term);
    }
    if (after->term == before->term && !raft_id_none(&before->vote) &&
        !raft_id_equal(&before->vote, &after->vote)) {
        violate(sim, node, "one_vote", "writes vote '%s' over '%s' in term %" PRIu64,
                after->vote.text, before->vote.text, after->term);
    }
    check_truncation(node, persist, after->term);
    check_entries(node, persist, after->term);
}

/* Before a node leaves a term: what it held of that term's leader's log was true to say, however
 * late it is said. */
void check_before_durable(struct sim_node *node, const struct raft_persist *persist)
{
    struct sim_disk *disk = &node->disk;
    raft_term term = disk->hard_state.term;
    if (!persist->has_hard_state || persist->hard_state.term == term || term == 0) return;
    ledger_ballot(&node->sim->ledger, node->number, term)->match =
        ledger_match(&node->sim->ledger, term, disk);
}

void check_after_durable(struct sim_node *node, const struct raft_persist *persist)
{
    struct sim *sim = node->sim;
    if (!persist->has_hard_state || raft_id_none(&persist->hard_state.vote)) return;
    const struct sim_node *candidate = node_find(sim, &persist->hard_state.vote);
    struct sim_ballot *ballot = ledger_ballot(&sim->ledger, node->number, persist->hard_state.term);
    uint8_t vote = (uint8_t)(candidate->number + 1);
    if ((ballot->durable && ballot->durable != vote) ||
        (ballot->promised && ballot->promised != vote)) {
        violate(sim, node, "one_vote", "a second vote in term %" PRIu64 ", for %s, becomes durable",
                persist->hard_state.term, candidate->id.text);
    }
    ballot->durable = ballot->promised = vote;
}

/* ---- roles ---- */

void check_role(struct sim_node *node, enum raft_role role, raft_term term)
{
    struct sim *sim = node->sim;
    if (role != RAFT_LEADER) return;
    struct sim_reign *reign = ledger_reign(&sim->ledger, term);
    if (reign->leader != NOBODY) {
        if (reign->leader != node->number || reign->lifetime != node->lifetime) {
            violate(sim, node, "one_leader", "term %" PRIu64 " had leader %s already", term,
                    sim->nodes[reign->leader].id.text);
        }
        return;
    }
    COVER(sim, elections);
    const struct raft *raft = host_raft(node->host);
    struct raft_status status;
    raft_status(raft, &status);
    raft_index last = status.last_index;
    while (last > 0 && ledger_term_of(&sim->ledger, raft, last) == term) last--;
    reign->leader = node->number;
    reign->lifetime = node->lifetime;
    reign->lost_time = last > 0 && last < status.first_index;
    ledger_set_log(&sim->ledger, reign, raft, last);
    if (ledger_ballot(&sim->ledger, node->number, term)->durable != node->number + 1) {
        breach(sim, node, "leader_voted",
               "leads term %" PRIu64 " without a durable vote for itself", term);
    }
    check_complete(node, raft, term);
    check_elected(node, raft, &status);
}

/* Every index committed in an earlier term is in its log. By log matching the newest speaks for
 * all. */
static void check_complete(struct sim_node *node, const struct raft *raft, raft_term term)
{
    struct sim *sim = node->sim;
    raft_index index = sim->ledger.committed;
    while (index > 0 && sim->ledger.records[index].announced_in >= term) index--;
    if (index == 0) return;
    raft_term held = ledger_term_of(&sim->ledger, raft, index);
    if (held == sim->ledger.records[index].committed_term) return;
    violate(sim, node, "leader_complete",
            "leads term %" PRIu64 " with term %" PRIu64 " at index %" PRIu64 ", where term %" PRIu64
            " was committed in term %" PRIu64,
            term, held, index, sim->ledger.records[index].committed_term,
            sim->ledger.records[index].announced_in);
}

/* ---- after every call ---- */

void check_node(struct sim_node *node)
{
    struct sim *sim = node->sim;
    const struct raft *raft = host_raft(node->host);
    if (!raft) return; /* blank */
    struct sim_watch *watch = &node->watch;
    struct raft_status status;
    raft_status(raft, &status);
    if (status.term < watch->term) {
        violate(sim, node, "term_monotonic", "term %" PRIu64 " after %" PRIu64, status.term,
                watch->term);
    }
    bool reigns_on =
        status.role == RAFT_LEADER && watch->role == RAFT_LEADER && status.term == watch->term;
    if (status.role == RAFT_LEADER && !reigns_on) {
        check_role(node, RAFT_LEADER, status.term);
        memset(watch->match, 0, sizeof watch->match);
        memset(watch->match_of, 0, sizeof watch->match_of);
    }
    if (reigns_on && status.last_index < watch->last) {
        violate(sim, node, "leader_append_only", "its log ends at %" PRIu64 " after %" PRIu64,
                status.last_index, watch->last);
    }
    if (status.commit_index < watch->commit) {
        violate(sim, node, "commit_monotonic", "commit %" PRIu64 " after %" PRIu64,
                status.commit_index, watch->commit);
    }
    if (status.commit_index > watch->commit) check_commit(node, raft, &status);
    check_durable_index(node, raft, &status);
    if (status.role == RAFT_LEADER) check_peers(node, &status);
    if (status.role == RAFT_LEADER && status.disk_full) {
        breach(sim, node, "full_disk_steps_down", "leads term %" PRIu64 " with a full disk",
               status.term);
    }
    check_applied(node, &status);
    check_configuration(node, raft, &status);
    check_standing(node, raft, &status);
    check_transfer(node, &status);
    cover_node(node, &status);
    if (status.role == RAFT_LEADER && (watch->role != RAFT_LEADER || watch->term != status.term))
        watch->led_us = node->sim->world.now_us;
    watch->term = status.term;
    watch->role = status.role;
    watch->commit = status.commit_index;
    watch->last = status.last_index;
    watch->durable = status.durable_index;
}

static void check_commit(struct sim_node *node, const struct raft *raft,
                         const struct raft_status *status)
{
    struct sim *sim = node->sim;
    struct sim_ledger *ledger = &sim->ledger;
    if (status->commit_index > status->last_index) {
        violate(sim, node, "commit_in_log", "commit %" PRIu64 " past its last index %" PRIu64,
                status->commit_index, status->last_index);
        return;
    }
    raft_index newest = 0;
    for (raft_index index = node->watch.commit + 1; index <= status->commit_index; index++) {
        raft_term term = ledger_term_of(ledger, raft, index);
        const struct sim_version *version = ledger_version(ledger, index, term);
        struct sim_record *record = ledger_record(ledger, index);
        if (!version) {
            violate(sim, node, "commit_known",
                    "commits index %" PRIu64 " of term %" PRIu64 ", which nobody has written",
                    index, term);
            return;
        }
        if (record->committed_term == 0) {
            record->committed_term = term;
            record->committed_chain = version->chain;
            record->announced_in = status->term;
            newest = index;
            COVER(sim, commits);
            if (index > ledger->committed) ledger->committed = index;
            if (version->type == RAFT_CONFIGURATION) configuration_decided(sim, index, term);
        }
        if (record->committed_chain != version->chain ||
            (record->applied_term && record->applied_term != term)) {
            violate(sim, node, "commit_changed",
                    "commits term %" PRIu64 " at index %" PRIu64 ", where term %" PRIu64
                    " was committed",
                    term, index, record->committed_term);
            return;
        }
    }
    if (status->role == RAFT_LEADER && raft_log_term(raft, status->commit_index) != status->term) {
        breach(sim, node, "commit_own_term",
               "leader of term %" PRIu64 " commits index %" PRIu64 " of term %" PRIu64
               " by counting (5.4.2)",
               status->term, status->commit_index, raft_log_term(raft, status->commit_index));
    }
    if (newest > 0 && !check_is_durable(node, raft, status, newest)) {
        breach(sim, node, "commit_durable",
               "index %" PRIu64 " is announced committed, and not durable on a quorum", newest);
    }
}

static void check_durable_index(struct sim_node *node, const struct raft *raft,
                                const struct raft_status *status)
{
    raft_index index = status->durable_index;
    if (index == 0 || (index == node->watch.durable && status->last_index == node->watch.last))
        return;
    if (node->disk.snapshots.switching) return; /* it will hear of another log presently */
    if (disk_term(&node->disk, index) != raft_log_term(raft, index)) {
        breach(node->sim, node, "durable_index",
               "believes %" PRIu64 " of term %" PRIu64 " durable; the disk has term %" PRIu64
               " there",
               index, raft_log_term(raft, index), disk_term(&node->disk, index));
    }
}

/* What a leader believes of the others is on their disks, and never shrinks within a term. Of one that is not in its
 * configuration any more it is not known which life is meant; should it come back, all begins anew. */
static void check_peers(struct sim_node *node, const struct raft_status *status)
{
    struct sim *sim = node->sim;
    struct sim_watch *watch = &node->watch;
    for (size_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *peer = &status->peers[i];
        unsigned number = node_find(sim, &peer->id)->number;
        bool departed = peer->standing == RAFT_STANDING_DEPARTED;
        if (departed) watch->match_of[number] = 0;
        if (peer->match == watch->match[number] && (departed || watch->match_of[number])) continue;
        const struct raft_server *server = raft_configuration_find(status->configuration, &peer->id);
        uint64_t incarnation = server && !departed ? server->incarnation : 0;
        raft_index before = watch->match_of[number] == incarnation ? watch->match[number] : 0;
        watch->match[number] = peer->match;
        watch->match_of[number] = incarnation;
        if (peer->match < before) {
            breach(sim, node, "match_monotonic", "match of %s is %" PRIu64 " after %" PRIu64,
                   peer->id.text, peer->match, before);
        }
        raft_index held = life_match(&sim->nodes[number], incarnation, status->term);
        if (peer->match > held) {
            breach(sim, node, "match_durable",
                   "believes %s to hold %" PRIu64 " of term %" PRIu64 "'s log; it has %" PRIu64,
                   peer->id.text, peer->match, status->term, held);
        }
    }
}

static void check_applied(struct sim_node *node, const struct raft_status *status)
{
    struct sim *sim = node->sim;
    struct host_applied applied = host_applied(node->host);
    if (applied.index < status->snapshot_index) return; /* what it covers is yet to be restored */
    if (status->applied_index != applied.index && !node->stopping) {
        breach(sim, node, "applied_told", "has applied %" PRIu64 "; its core was told of %" PRIu64,
               applied.index, status->applied_index);
    }
    if (applied.index == node->watch.applied) return;
    if (applied.index < node->watch.applied) {
        violate(sim, node, "apply_once", "applied %" PRIu64 " after %" PRIu64, applied.index,
                node->watch.applied);
    }
    if (applied.index > status->commit_index || applied.index > node->disk.log.count) {
        violate(sim, node, "apply_committed",
                "applied %" PRIu64 ", commit %" PRIu64 ", durable %zu", applied.index,
                status->commit_index, node->disk.log.count);
    }
    node->watch.applied = applied.index;
    if (sim->once.index < applied.index) once_look(node);
    check_settings(node, applied.index);
    check_running(node, applied.index);
    struct sim_record *record = ledger_record(&sim->ledger, applied.index);
    if (record->host_chain == 0) {
        record->host_chain = applied.chain;
        record->host_state = applied.state_hash;
    }
    if (record->host_chain != applied.chain || record->host_state != applied.state_hash) {
        violate(sim, node, "state_agrees",
                "the chain of results and states differs at index %" PRIu64, applied.index);
    }
}

/* The effective configuration is a pure function of the log: its newest CONFIGURATION entry, or what stands at the
 * log's beginning. Looked at when it, or the log's end, may have been changed by other than appending. An entry in a
 * write that a full disk refuses, and that has not been sent either, nobody has seen: then it is looked at again. */
static void check_configuration(struct sim_node *node, const struct raft *raft,
                                const struct raft_status *status)
{
    struct sim *sim = node->sim;
    struct sim_watch *watch = &node->watch;
    bool same = watch->configuration_known && status->last_index >= watch->last &&
                status->configuration_index == watch->configuration;
    if (same) return;
    watch->configuration_known = true;
    if (watch->configuration != status->configuration_index) watch->configured_us = sim->world.now_us;
    watch->configuration = status->configuration_index;
    watch->stays_voter = check_stays_voter(status->configuration, node);
    raft_index index = status->last_index;
    while (index > 0 && !is_configuration(sim, raft, index)) {
        bool seen = ledger_version(&sim->ledger, index, ledger_term_of(&sim->ledger, raft, index)) != NULL;
        if (!seen) watch->configuration_known = false;
        if (!seen) return;
        index--;
    }
    if (index != status->configuration_index) {
        violate(sim, node, "configuration_recomputed",
                "goes by the configuration of index %" PRIu64 "; its log's newest is at %" PRIu64,
                status->configuration_index, index);
        return;
    }
    struct slice stored = {0};
    if (index == 0 && node->disk.configuration)
        stored = slice_of(node->disk.configuration->data, node->disk.configuration->size);
    else if (index > 0 && disk_term(&node->disk, index) == ledger_term_of(&sim->ledger, raft, index))
        stored = node->disk.log.entries[index - 1].payload.bytes;
    if (index > 0 && index == node->disk.snapshots.meta.configuration_index)
        stored = node->disk.snapshots.meta.configuration; /* the entry may be gone */
    if (stored.size == 0) return; /* not durable yet */
    struct buffer encoded = {0};
    raft_configuration_encode(status->configuration, &encoded);
    if (!slice_equal(buffer_slice(&encoded), stored)) {
        violate(sim, node, "configuration_recomputed",
                "goes by another configuration than stands at index %" PRIu64, index);
    }
    buffer_deinit(&encoded);
}

static bool is_configuration(const struct sim *sim, const struct raft *raft, raft_index index)
{
    const struct sim_version *version =
        ledger_version(&sim->ledger, index, ledger_term_of(&sim->ledger, raft, index));
    return version && version->type == RAFT_CONFIGURATION;
}

/* A CONFIGURATION entry is written: no other one may wait to be committed before it. A leader appends what a joint one
 * is left for in the very step that commits that; what it counts as committed is judged after the call. */
static void check_one_configuration(struct sim_node *node, const struct raft_persist *persist,
                                    const struct raft_entry *entry)
{
    struct sim *sim = node->sim;
    struct raft_status status;
    raft_status(host_raft(node->host), &status);
    for (raft_index index = entry->index - 1; index > status.commit_index; index--) {
        raft_index first = persist->entries[0].index; /* from there on this write replaces what was there */
        raft_term term = index >= first ? persist->entries[index - first].term
                                        : node->disk.intended[index - 1].term;
        const struct sim_version *version = ledger_version(&sim->ledger, index, term);
        if (!version || version->type != RAFT_CONFIGURATION) continue;
        if (index <= sim->ledger.committed) return; /* committed, though it has not heard of it */
        if (check_may_be_committed(sim, index, term)) return;
        breach(sim, node, "one_configuration",
               "configurations at %" PRIu64 " and %" PRIu64 " are both uncommitted", index,
               entry->index);
        return;
    }
}

/* Called by the watched machine for every command, before the host knows the reply. */
void check_apply(struct sim_node *node, const struct machine_entry *entry, uint64_t number,
                 struct slice body, uint64_t reply_hash, uint64_t state_hash)
{
    struct sim *sim = node->sim;
    const struct raft *raft = host_raft(node->host);
    struct sim_record *record = ledger_record(&sim->ledger, entry->index);
    trace_event(sim, TRACE_APPLY, node->number, entry->index, state_hash);
    TRACE(sim, node, "applies %" PRIu64 ", state %016" PRIx64, entry->index, state_hash);
    record_apply(node, entry->index, state_hash, body);
    if (entry->index <= node->machine.applied || entry->time_ms < node->machine.time_ms) {
        violate(sim, node, "apply_once",
                "applies index %" PRIu64 " at %" PRIu64 " ms after %" PRIu64 " at %" PRIu64 " ms",
                entry->index, entry->time_ms, node->machine.applied, node->machine.time_ms);
    }
    once_look(node); /* which says what was not to be run */
    check_budget(node, entry->index);
    check_code(node, entry->index);
    record = ledger_record(&sim->ledger, entry->index);
    for (raft_index index = node->machine.applied + 1; index <= entry->index; index++) {
        const struct sim_version *version =
            ledger_version(&sim->ledger, index, ledger_term_of(&sim->ledger, raft, index));
        bool command = version && version->type == RAFT_COMMAND && !sim->ledger.records[index].skipped &&
                       !poison_is(sim, index);
        if (!version || command != (index == entry->index)) {
            violate(sim, node, "apply_gapless",
                    "applies %" PRIu64 " behind %" PRIu64 "; index %" PRIu64 " is %sa command",
                    entry->index, node->machine.applied, index, command ? "" : "not ");
            break;
        }
    }
    if (entry->term != raft_log_term(raft, entry->index) || entry->index > node->disk.log.count) {
        violate(sim, node, "apply_durable",
                "applies index %" PRIu64 " of term %" PRIu64 "; durable are %zu", entry->index,
                entry->term, node->disk.log.count);
    }
    if (record->applied_term == 0) {
        record->applied_term = entry->term;
        record->number = number;
        record->state_hash = state_hash;
        record->reply_hash = reply_hash;
        record->time_ms = entry->time_ms;
        if (entry->index > sim->ledger.applied) sim->ledger.applied = entry->index;
        bool lawful = once_run(node, entry->index, node->machine.told_size);
        clients_applied(node, entry->index, number, body, lawful);
        record = ledger_record(&sim->ledger, entry->index);
    }
    if (record->applied_term != entry->term || record->number != number ||
        record->state_hash != state_hash || record->reply_hash != reply_hash ||
        record->time_ms != entry->time_ms) {
        violate(sim, node, "state_agrees",
                "index %" PRIu64 " of term %" PRIu64
                " gives another command, time, reply or state than elsewhere",
                entry->index, entry->term);
    }
}

/* ---- helpers ---- */

/*
 * Only on conflict with what this term's leader has, never by a leader, never anything committed by
 * then. The write that tries again what a full disk refused carries decisions of earlier terms too,
 * flattened into one: what counts there is the term of the entry put in place, for the leader who
 * sent that was of this term or a later one.
 */
static void check_truncation(struct sim_node *node, const struct raft_persist *persist,
                             raft_term term)
{
    struct sim *sim = node->sim;
    const struct sim_disk *disk = &node->disk;
    raft_index from = persist->truncate_from;
    if (from == 0 || from > disk->intended_count) return;
    const struct sim_reign *reign = ledger_reign(&sim->ledger, term);
    if (reign->leader == node->number && reign->lifetime == node->lifetime) {
        violate(sim, node, "leader_append_only",
                "truncates its log from %" PRIu64 " as the leader of term %" PRIu64, from, term);
    }
    if (disk->retries && persist->entry_count > 0) term = persist->entries[0].term;
    if (ledger_leader_term_at(&sim->ledger, term, from) == disk->intended[from - 1].term) {
        breach(sim, node, "truncates_conflict",
               "cuts off index %" PRIu64 " of term %" PRIu64 ", which the leader of term %" PRIu64
               " has too",
               from, disk->intended[from - 1].term, term);
    }
    for (raft_index index = from; index <= disk->intended_count; index++) {
        const struct sim_record *record = ledger_record(&sim->ledger, index);
        if (record->committed_term == 0 || record->announced_in > term) continue;
        if (record->committed_chain != disk->intended[index - 1].chain) continue;
        breach(sim, node, "keeps_committed",
               "cuts off index %" PRIu64 ", committed in term %" PRIu64, index,
               record->announced_in);
        return;
    }
}

static void check_entries(struct sim_node *node, const struct raft_persist *persist, raft_term term)
{
    struct sim *sim = node->sim;
    const struct sim_disk *disk = &node->disk;
    raft_index last = disk->intended_count;
    if (persist->truncate_from > 0 && persist->truncate_from <= last)
        last = persist->truncate_from - 1;
    struct sim_mark previous = last > 0 ? disk->intended[last - 1] : (struct sim_mark){0};
    for (size_t i = 0; i < persist->entry_count; i++) {
        const struct raft_entry *entry = &persist->entries[i];
        if (entry->index != ++last) {
            violate(sim, node, "log_contiguous",
                    "writes index %" PRIu64 " where %" PRIu64 " is next", entry->index, last);
            return;
        }
        bool begins = entry->term > previous.term && ledger_reign(&sim->ledger, entry->term)->lost_time;
        if (entry->term < previous.term || entry->term > term ||
            (entry->time_ms < previous.time_ms && !begins)) {
            violate(sim, node, "log_ascends",
                    "index %" PRIu64 ": term %" PRIu64 " time %" PRIu64 " behind term %" PRIu64
                    " time %" PRIu64 ", in term %" PRIu64,
                    last, entry->term, entry->time_ms, previous.term, previous.time_ms, term);
        }
        if (entry->chain != raft_entry_chain(entry, previous.chain)) {
            violate(sim, node, "log_chain",
                    "index %" PRIu64 " of term %" PRIu64 " is not chained to the entry before it",
                    last, entry->term);
        }
        promises_see_entry(node, entry);
        check_changes(node, entry);
        if (entry->type == RAFT_CONFIGURATION) check_one_configuration(node, persist, entry);
        previous = (struct sim_mark){entry->term, entry->chain, entry->time_ms};
    }
}

static void fail(struct sim *sim, const struct sim_node *node, const char *invariant,
                 const char *format, va_list arguments)
{
    struct sim_result *result = sim->result;
    if (!result->ok) return;
    result->ok = false;
    sim->over = true;
    result->violation_us = sim->world.now_us;
    result->violation_step = sim_steps(sim);
    snprintf(result->invariant, sizeof result->invariant, "%s", invariant);
    int size = snprintf(result->detail, sizeof result->detail, "%s%s", node ? node->id.text : "",
                        node ? ": " : "");
    vsnprintf(result->detail + size, sizeof result->detail - (size_t)size, format, arguments);
    TRACE(sim, node, "VIOLATES %s: %s", invariant, result->detail);
    record_violation(sim, node, invariant, result->detail);
}
