/*
 * Messages at the door: which are for us, what their term means, and who handles them.
 *
 * Any higher term, in a request or an answer, makes a follower (§5.1), with three exceptions: a
 * granted pre-vote speaks of a term that nobody has entered; a vote request may be one to ignore
 * altogether (vote.c), so it decides by itself; and what servers outside the configuration answer
 * means nothing to us, whatever their term: they were removed, and do not know it yet.
 */
#include "raft/core.h"

#include "base/mutant.h"

enum term_rule {
    TERM_RAISES,     /* a higher term makes a follower before the handler runs */
    TERM_OF_VOTE,    /* the same, unless it is a granted pre-vote */
    TERM_BY_HANDLER, /* the handler decides */
};

struct message_row {
    enum term_rule rule;
    enum error_code (*handle)(struct raft *raft, const struct raft_message *message,
                              struct error *error);
};

static bool raises(const struct raft *raft, const struct message_row *row,
                   const struct raft_message *message);
static bool from_stranger(const struct raft *raft, const struct raft_message *message);
static void follow_term(struct raft *raft, const struct raft_message *message);

enum error_code raft_receive(struct raft *raft, const struct raft_event *event, struct error *error)
{
    static const struct message_row rows[] = {
        [RAFT_REQUEST_VOTE] = {TERM_BY_HANDLER, raft_receive_request_vote},
        [RAFT_VOTE] = {TERM_OF_VOTE, raft_receive_vote},
        [RAFT_APPEND] = {TERM_BY_HANDLER, raft_receive_append},
        [RAFT_APPEND_RESULT] = {TERM_RAISES, raft_receive_append_result},
        [RAFT_TIMEOUT_NOW] = {TERM_RAISES, raft_receive_timeout_now},
        [RAFT_READ_INDEX] = {TERM_RAISES, raft_receive_read_index},
        [RAFT_READ_INDEX_RESULT] = {TERM_RAISES, raft_receive_read_index_result},
        [RAFT_INSTALL_SNAPSHOT] = {TERM_BY_HANDLER, raft_receive_install_snapshot},
        [RAFT_SNAPSHOT_RESULT] = {TERM_RAISES, raft_receive_snapshot_result},
    };
    const struct raft_message *message = event->message;
    if ((size_t)message->type >= sizeof rows / sizeof *rows || !rows[message->type].handle) {
        return ERROR_OK;
    }
    if (!raft_is_self(raft, &message->to) || raft_is_self(raft, &message->from)) return ERROR_OK;
    const struct message_row *row = &rows[message->type];
    if (raises(raft, row, message)) {
        if (!GUARD(STRANGER_HEEDED, !from_stranger(raft, message))) return ERROR_OK;
        follow_term(raft, message);
    }
    return row->handle(raft, message, error);
}

static bool raises(const struct raft *raft, const struct message_row *row,
                   const struct raft_message *message)
{
    if (message->term <= raft->hard_state.term || row->rule == TERM_BY_HANDLER) return false;
    if (FAULT(HIGHER_TERM_IGNORED)) return false;
    return row->rule == TERM_RAISES || !(message->vote.pre && message->vote.granted);
}

static bool from_stranger(const struct raft *raft, const struct raft_message *message)
{
    return !raft_configuration_find(raft_effective(raft), &message->from) &&
           !raft_configuration_is_voter(raft_effective(raft), &message->from);
}

/* A server without a vote may be in a later term: it campaigned before it was demoted. To be led at
 * all it must be led in a later one, so its leader takes that step: it asks for leadership again at
 * once, before anybody misses it, instead of leaving an election to chance (bug 20). */
static void follow_term(struct raft *raft, const struct raft_message *message)
{
    bool led = raft->role == RAFT_LEADER;
    bool voter = raft_configuration_is_voter(raft_effective(raft), &message->from);
    raft_become_follower(raft, message->term, NULL);
    if (led && !voter && raft_may_campaign(raft)) raft_campaign(raft);
}
