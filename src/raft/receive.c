/*
 * Messages at the door: which are for us, what their term means, and who handles them.
 *
 * Any higher term, in a request or an answer, makes a follower (§5.1), with two exceptions: a
 * granted pre-vote speaks of a term that nobody has entered, and a vote request may be one to
 * ignore altogether (vote.c), so it decides by itself.
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

enum error_code raft_receive(struct raft *raft, const struct raft_event *event, struct error *error)
{
    static const struct message_row rows[] = {
        [RAFT_REQUEST_VOTE] = {TERM_BY_HANDLER, raft_receive_request_vote},
        [RAFT_VOTE] = {TERM_OF_VOTE, raft_receive_vote},
        [RAFT_APPEND] = {TERM_BY_HANDLER, raft_receive_append},
        [RAFT_APPEND_RESULT] = {TERM_RAISES, raft_receive_append_result},
    };
    const struct raft_message *message = event->message;
    if ((size_t)message->type >= sizeof rows / sizeof *rows || !rows[message->type].handle) {
        return ERROR_OK;
    }
    if (!raft_is_self(raft, &message->to) || raft_is_self(raft, &message->from)) return ERROR_OK;
    const struct message_row *row = &rows[message->type];
    if (raises(raft, row, message)) raft_become_follower(raft, message->term, NULL);
    return row->handle(raft, message, error);
}

static bool raises(const struct raft *raft, const struct message_row *row,
                   const struct raft_message *message)
{
    if (message->term <= raft->hard_state.term || row->rule == TERM_BY_HANDLER) return false;
    if (FAULT(HIGHER_TERM_IGNORED)) return false;
    return row->rule == TERM_RAISES || !(message->vote.pre && message->vote.granted);
}
