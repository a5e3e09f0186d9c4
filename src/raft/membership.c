/*
 * Membership (Ongaro §4; the guard of 2015): which changes a leader takes, and what it does by
 * itself once one is committed.
 *
 * A configuration is effective from the moment its entry is in the log, and no longer than that: it
 * is read from the log (log.h) each time it is asked for. There is at most one that is not
 * committed. A leader that is not among the voters any more leads on, without counting itself, until
 * that is committed; then it steps down, and hands over to whoever is ready.
 *
 * A server in a configuration that takes its vote away, but may yet be undone, campaigns still: it
 * may be the only one that has the entry, and the others cannot win against its log (§4.2.2).
 */
#include "raft/core.h"

#include "base/mutant.h"

#include <string.h>

static enum raft_refusal refusal_of(const struct raft *raft, const struct raft_configure *change);
static enum raft_refusal check_servers(const struct raft_configuration *wanted);
static enum raft_refusal check_difference(const struct raft *raft,
                                          const struct raft_configure *change);
static enum error_code code_of(enum raft_refusal refusal);
static void append_configuration(struct raft *raft, const struct raft_configuration *configuration,
                                 struct raft_entry *entry);

static const struct {
    const char *name;
    enum error_code code;
    const char *text;
} refusals[] = {
    [RAFT_REFUSAL_NONE] = {"none", ERROR_OK, ""},
    [RAFT_REFUSAL_NOT_LEADER] = {"not_leader", ERROR_NOT_LEADER, "this node does not lead"},
    [RAFT_REFUSAL_DISK_FULL] = {"disk_full", ERROR_DISK_FULL, "the disk is full"},
    [RAFT_REFUSAL_PENDING] = {"pending", ERROR_UNAVAILABLE,
                              "another change of membership is not complete yet"},
    [RAFT_REFUSAL_TOO_EARLY] = {"too_early", ERROR_UNAVAILABLE,
                                "this leader has not committed an entry of its term yet"},
    [RAFT_REFUSAL_TRANSFER] = {"transfer", ERROR_UNAVAILABLE, "leadership is being handed over"},
    [RAFT_REFUSAL_STALE] = {"stale", ERROR_CONFLICT,
                            "the membership is not the expected one any more"},
    [RAFT_REFUSAL_MALFORMED] = {"malformed", ERROR_BAD_REQUEST,
                                "the servers must be sorted by id, none twice, each a voter or a "
                                "learner with an incarnation and an address"},
    [RAFT_REFUSAL_NO_VOTERS] = {"no_voters", ERROR_BAD_REQUEST, "no voter would be left"},
    [RAFT_REFUSAL_NO_CHANGE] = {"no_change", ERROR_BAD_REQUEST, "that changes nothing"},
    [RAFT_REFUSAL_INCARNATION] = {"incarnation", ERROR_BAD_REQUEST,
                                  "a server that lost its disk is to be removed, then added"},
    [RAFT_REFUSAL_NOT_CAUGHT_UP] = {"not_caught_up", ERROR_UNAVAILABLE,
                                    "a new voter must be a learner that has caught up"},
};

const char *raft_refusal_name(enum raft_refusal refusal)
{
    return refusals[refusal].name;
}

/* The mutants: a candidate that knows only what is applied, a leader that knows only what is its
 * own. */
const struct raft_configuration *raft_effective(const struct raft *raft)
{
    raft_index index;
    const struct raft_configuration *newest = raft_log_configuration(&raft->log, &index);
    if (FAULT(UNAPPLIED_IGNORED) && raft->role != RAFT_LEADER) {
        return raft_log_configuration_at(&raft->log, raft->applied_index, NULL);
    }
    if (FAULT(INHERITED_IGNORED) && raft->role == RAFT_LEADER &&
        index > raft->commit_index && index < raft->term_start) {
        return raft_log_configuration_before(&raft->log);
    }
    return newest;
}

bool raft_configuration_pending(const struct raft *raft)
{
    raft_index index;
    const struct raft_configuration *effective = raft_log_configuration(&raft->log, &index);
    return index > raft->commit_index || raft_configuration_joint(effective);
}

enum error_code raft_configure(struct raft *raft, const struct raft_event *event,
                               struct error *error)
{
    struct raft_configure *change = event->configure;
    change->refusal = refusal_of(raft, change);
    if (change->refusal) {
        return error_set(error, code_of(change->refusal), "%s", refusals[change->refusal].text);
    }
    raft_index previous;
    const struct raft_configuration *from = raft_log_configuration(&raft->log, &previous);
    struct raft_configuration next = {0};
    raft_configuration_next(from, previous, change->wanted, &next);
    struct raft_entry entry = {.time_ms = change->time_ms};
    append_configuration(raft, &next, &entry);
    raft_configuration_deinit(&next);
    change->index = entry.index;
    change->term = entry.term;
    return ERROR_OK;
}

/* Whoever leads when a joint configuration is committed appends what it is left for. The same guard
 * as for every change: only after this term has committed an entry. */
void raft_follow_membership(struct raft *raft)
{
    raft_index index;
    const struct raft_configuration *effective = raft_log_configuration(&raft->log, &index);
    if (raft->role != RAFT_LEADER || index > raft->commit_index ||
        raft->commit_index < raft->term_start) {
        return;
    }
    if (raft_configuration_joint(effective)) {
        struct raft_configuration next = {0};
        struct raft_entry entry = {0};
        raft_configuration_settled(effective, index, &next);
        append_configuration(raft, &next, &entry);
        raft_configuration_deinit(&next);
    } else if (!GUARD(REMOVED_LEADS_ON, raft_configuration_stays_voter(effective, &raft->id))) {
        raft_abdicate(raft, raft->log.last_index);
        raft_become_follower(raft, raft->hard_state.term, NULL);
    }
}

/* ---- what is refused, and why ---- */

/* A change that is judged while the one before it is not committed, or by a leader whose
 * configuration another's of an earlier term may yet replace, could make two majorities that do not
 * overlap (Ongaro 2015). */
static enum raft_refusal refusal_of(const struct raft *raft, const struct raft_configure *change)
{
    raft_index index;
    raft_log_configuration(&raft->log, &index);
    if (raft->gate.refused) return RAFT_REFUSAL_DISK_FULL;
    if (raft->role != RAFT_LEADER) return RAFT_REFUSAL_NOT_LEADER;
    if (raft_handing_over(raft)) return RAFT_REFUSAL_TRANSFER;
    if (!GUARD(CHANGED_TOO_EARLY, raft->commit_index >= raft->term_start)) {
        return RAFT_REFUSAL_TOO_EARLY;
    }
    if (!GUARD(TWO_CHANGES, !raft_configuration_pending(raft))) return RAFT_REFUSAL_PENDING;
    if (change->expected != index) return RAFT_REFUSAL_STALE;
    enum raft_refusal refusal = check_servers(change->wanted);
    return refusal ? refusal : check_difference(raft, change);
}

static enum raft_refusal check_servers(const struct raft_configuration *wanted)
{
    size_t voters = 0;
    for (size_t i = 0; i < wanted->server_count; i++) {
        const struct raft_server *server = &wanted->servers[i];
        bool sorted = i == 0 || strcmp(server[-1].id.text, server->id.text) < 0;
        bool known = server->role == RAFT_VOTER || server->role == RAFT_LEARNER;
        if (!sorted || !known || !id_valid(server->id.text) || server->incarnation == 0 ||
            server->address_count == 0) {
            return RAFT_REFUSAL_MALFORMED;
        }
        if (server->role == RAFT_VOTER) voters++;
    }
    return voters > 0 ? RAFT_REFUSAL_NONE : RAFT_REFUSAL_NO_VOTERS;
}

static enum raft_refusal check_difference(const struct raft *raft,
                                          const struct raft_configure *change)
{
    const struct raft_configuration *now = raft_log_configuration(&raft->log, NULL);
    const struct raft_configuration *wanted = change->wanted;
    for (size_t i = 0; i < wanted->server_count; i++) {
        const struct raft_server *server = &wanted->servers[i];
        const struct raft_server *before = raft_configuration_find(now, &server->id);
        if (before && before->incarnation != server->incarnation) return RAFT_REFUSAL_INCARNATION;
        if (change->forced || server->role != RAFT_VOTER) continue;
        if (before && before->role == RAFT_VOTER) continue;
        const struct raft_peer *peer = raft_peers_find(&raft->peers, &server->id);
        if (!before || !peer || !raft_caught_up(raft, peer)) return RAFT_REFUSAL_NOT_CAUGHT_UP;
    }
    return raft_configuration_same(now, wanted) ? RAFT_REFUSAL_NO_CHANGE : RAFT_REFUSAL_NONE;
}

static enum error_code code_of(enum raft_refusal refusal)
{
    return refusals[refusal].code;
}

static void append_configuration(struct raft *raft, const struct raft_configuration *configuration,
                                 struct raft_entry *entry)
{
    struct buffer bytes = {0};
    raft_configuration_encode(configuration, &bytes);
    entry->type = RAFT_CONFIGURATION;
    entry->payload = (struct raft_payload){NULL, buffer_slice(&bytes)}; /* copied where it is kept */
    raft_append_own(raft, entry);
    buffer_deinit(&bytes);
}
