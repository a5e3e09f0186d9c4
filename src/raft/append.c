/*
 * The follower's side of replication (§5.3).
 *
 * Entries are taken where the log agrees at prev_index; only an entry of another term at the same
 * index truncates, so a late or repeated append changes nothing. What is committed is never
 * truncated: an append that asks for it contradicts the safety of Raft, and this node stops. So
 * does one whose chain does not continue ours: equal terms at equal indexes must mean equal logs.
 *
 * The answer speaks of durable entries only. Where an append brought some that are not, it waits
 * for PERSISTED, and one answer serves for all that became durable together. A heartbeat is
 * answered at once.
 */
#include "raft/core.h"
#include "raft/entry.h"

#include "base/mutant.h"

static bool well_formed(const struct raft_message *message);
static enum error_code agree(struct raft *raft, const struct raft_append *append, bool *agreed,
                             struct error *error);
static enum error_code take_entries(struct raft *raft, const struct raft_append *append,
                                    size_t *taken, struct error *error);
static enum error_code skip_known(const struct raft *raft, const struct raft_append *append,
                                  size_t *known, struct error *error);
static enum error_code append_new(struct raft *raft, const struct raft_append *append, size_t known,
                                  struct error *error);
static void answer_success(struct raft *raft);
static void answer_failure(struct raft *raft, const struct raft_message *message);
static enum error_code contradiction(struct error *error, const char *what, raft_index index,
                                     const struct raft_message *message);

enum error_code raft_receive_append(struct raft *raft, const struct raft_message *message,
                                    struct error *error)
{
    const struct raft_append *append = &message->append;
    if (message->term < raft->hard_state.term) {
        answer_failure(raft, message); /* tells a leader of old that its time is over */
        return ERROR_OK;
    }
    if (!well_formed(message)) return ERROR_OK;
    bool present = message->term == raft->hard_state.term;
    bool known = raft_id_equal(&raft->leader, &message->from);
    if (present && !known && !raft_id_none(&raft->leader)) {
        return contradiction(error, "a second leader in one term sends", append->prev_index,
                             message);
    }
    if (!present || !known) raft_become_follower(raft, message->term, &message->from);
    if (!known && FAULT(VOTE_FORGOTTEN)) raft->hard_state.vote = (struct raft_id){{0}};
    raft->heard_us = raft->waiting_since_us = raft->now_us;
    if (raft_log_stands(raft)) {
        answer_failure(raft, message); /* a snapshot is about to take the log's place */
        return ERROR_OK;
    }
    raft->following.prev_index = append->prev_index;
    raft->following.round = raft_most(raft->following.round, append->round);

    bool agreed;
    enum error_code code = agree(raft, append, &agreed, error);
    if (code) return code;
    if (!agreed) {
        answer_failure(raft, message);
        return ERROR_OK;
    }
    size_t taken;
    code = take_entries(raft, append, &taken, error);
    if (code) return code;

    raft_index verified = append->prev_index + taken;
    raft->following.verified = raft_most(raft->following.verified, verified);
    raft_index bound = FAULT(COMMIT_PAST_APPEND) || FAULT(COMMIT_PAST_MATCH)
                           ? raft->log.last_index
                           : verified;
    raft->commit_index = raft_most(raft->commit_index, raft_least(append->commit, bound));
    if (append->entry_count > 0 && verified > raft->gate.durable.index) {
        raft->following.ack_due = true;
    } else {
        answer_success(raft);
    }
    return ERROR_OK;
}

void raft_ack_durable(struct raft *raft)
{
    struct raft_following *following = &raft->following;
    if (!following->ack_due) return;
    following->ack_due = following->verified > raft->gate.durable.index;
    answer_success(raft);
}

/* ---- what has come ---- */

/* Entries that do not follow each other, or come from a term after the message's, are no append of
 * ours to judge: they are dropped like any other noise. */
static bool well_formed(const struct raft_message *message)
{
    const struct raft_append *append = &message->append;
    raft_term term = append->prev_term;
    for (size_t i = 0; i < append->entry_count; i++) {
        const struct raft_entry *entry = &append->entries[i];
        if (entry->index != append->prev_index + 1 + i || entry->term < term || entry->term == 0) {
            return false;
        }
        term = entry->term;
    }
    return term <= message->term;
}

/* Is the leader's log ours up to prev_index? What is committed is in every later leader's log, so
 * below the snapshot the answer is yes without looking. */
static enum error_code agree(struct raft *raft, const struct raft_append *append, bool *agreed,
                             struct error *error)
{
    raft_index prev = append->prev_index;
    bool compacted = !GUARD(REJECTED_BELOW_SNAPSHOT, prev >= raft->log.base.index);
    *agreed =
        compacted ||
        (prev <= raft->log.last_index && raft_log_term_at(&raft->log, prev) == append->prev_term);
    if (*agreed || prev > raft->commit_index) return ERROR_OK;
    return error_set(error, ERROR_CORRUPT,
                     "entry %llu is committed here in term %llu, the leader has term %llu there",
                     (unsigned long long)prev,
                     (unsigned long long)raft_log_term_at(&raft->log, prev),
                     (unsigned long long)append->prev_term);
}

/* `taken` counts those that are in the log now, new or not. */
static enum error_code take_entries(struct raft *raft, const struct raft_append *append,
                                    size_t *taken, struct error *error)
{
    size_t known = 0;
    enum error_code code = skip_known(raft, append, &known, error);
    *taken = known;
    if (code || known == append->entry_count || raft->gate.refused) return code;
    raft_index from = append->entries[known].index;
    if (from <= raft->log.last_index) {
        raft_log_truncate(&raft->log, from);
        raft_gate_truncated(&raft->gate, from);
        raft->following.verified = raft_least(raft->following.verified, from - 1);
    }
    *taken = append->entry_count;
    return append_new(raft, append, known, error);
}

static enum error_code skip_known(const struct raft *raft, const struct raft_append *append,
                                  size_t *known, struct error *error)
{
    size_t i = 0;
    for (; i < append->entry_count; i++) {
        const struct raft_entry *entry = &append->entries[i];
        if (!GUARD(COMPACTED_APPENDED, entry->index > raft->log.base.index)) continue;
        if (entry->index > raft->log.last_index) break;
        bool conflict = raft_log_term_at(&raft->log, entry->index) != entry->term;
        bool committed = entry->index <= raft->commit_index;
        if (conflict && committed) {
            return error_set(error, ERROR_CORRUPT,
                             "entry %llu is committed here, and the leader replaces it",
                             (unsigned long long)entry->index);
        }
        if (!committed && GUARD(TRUNCATE_WITHOUT_CONFLICT, conflict)) break;
        uint64_t chain;
        if (raft_log_chain_at(&raft->log, entry->index, &chain) && chain != entry->chain) {
            return error_set(error, ERROR_CORRUPT,
                             "entry %llu of term %llu is not what the leader has there",
                             (unsigned long long)entry->index, (unsigned long long)entry->term);
        }
    }
    *known = i;
    return ERROR_OK;
}

/* After a truncation below what is in memory the chain there is unknown: its first entry is
 * believed, being checksummed, and the rest is checked again. */
static enum error_code append_new(struct raft *raft, const struct raft_append *append, size_t known,
                                  struct error *error)
{
    struct raft_log *log = &raft->log;
    for (size_t i = known; i < append->entry_count; i++) {
        const struct raft_entry *entry = &append->entries[i];
        uint64_t chain;
        if (raft_log_chain_at(log, log->last_index, &chain) &&
            raft_entry_chain(entry, chain) != entry->chain) {
            return error_set(error, ERROR_CORRUPT,
                             "entry %llu of term %llu does not continue the log that is here",
                             (unsigned long long)entry->index, (unsigned long long)entry->term);
        }
        enum error_code code = raft_log_append(log, entry, error);
        if (code) return code;
    }
    return ERROR_OK;
}

/* ---- answers ---- */

static void answer_success(struct raft *raft)
{
    const struct raft_following *following = &raft->following;
    struct raft_message message = raft_message_to(raft, RAFT_APPEND_RESULT, &raft->leader);
    message.append_result = (struct raft_append_result){
        .success = true,
        .prev_index = following->prev_index,
        .match = FAULT(ACK_NOT_DURABLE)
                     ? following->verified
                     : raft_least(following->verified, raft->gate.durable.index),
        .last_index = raft->log.last_index,
        .round = following->round,
    };
    raft_gate_hold(raft, &message);
}

/* The hint: our last entry that could still be the leader's, for the terms of its log do not exceed
 * prev_term there. So the leader goes back term by term, not entry by entry.
 *
 * The answer speaks of the present term. A round of a former one means nothing in that: its leader
 * may have been restarted, lead again, and count its rounds from the beginning. */
static void answer_failure(struct raft *raft, const struct raft_message *request)
{
    const struct raft_append *append = &request->append;
    bool present = request->term == raft->hard_state.term;
    raft_index maybe = raft_log_last_at_most(&raft->log, append->prev_index, append->prev_term);
    struct raft_message message = raft_message_to(raft, RAFT_APPEND_RESULT, &request->from);
    message.append_result = (struct raft_append_result){
        .success = false,
        .prev_index = append->prev_index,
        .last_index = raft->log.last_index,
        .conflict_term = raft_log_term_at(&raft->log, maybe),
        .conflict_index = maybe + 1,
        .round = present || FAULT(OLD_ROUND_ECHOED) ? append->round : 0,
    };
    raft_gate_hold(raft, &message);
}

static enum error_code contradiction(struct error *error, const char *what, raft_index index,
                                     const struct raft_message *message)
{
    return error_set(error, ERROR_CORRUPT, "%s index %llu: %s, term %llu", what,
                     (unsigned long long)index, message->from.text,
                     (unsigned long long)message->term);
}
