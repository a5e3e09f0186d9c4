/*
 * Which states the runs have met: cells of small tables, each a product of what a node is with what happens to it. A
 * cell that is never met is a hole in the search; the specs name those that must be met.
 *
 * Some cells are impossible, and some wait for a feature: reachable() says which and why. One that is met all the same
 * shows up there as a lie.
 */
#include "sim/internal.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { ROLE_BLANK = RAFT_LEADER + 1, ROLES };

enum received {
    GETS_PRE_VOTE_REQUEST,
    GETS_VOTE_REQUEST,
    GETS_PRE_VOTE_GRANTED,
    GETS_PRE_VOTE_REFUSED,
    GETS_VOTE_GRANTED,
    GETS_VOTE_REFUSED,
    GETS_ENTRIES,
    GETS_HEARTBEAT,
    GETS_ACK,
    GETS_CONFLICT,
    GETS_TIMEOUT_NOW,
    GETS_READ_INDEX,
    GETS_READ_INDEX_RESULT,
    GETS_CHUNK,
    GETS_CHUNK_RESULT,
    RECEIVED
};

enum { PROGRESS_PROBE, PROGRESS_REPLICATE, PROGRESS_SNAPSHOT, PROGRESSES };
enum { WINDOW_EMPTY, WINDOW_PARTLY, WINDOW_FULL, WINDOWS };
enum { CONFIGURATION_FIRST, CONFIGURATION_COMMITTED, CONFIGURATION_UNCOMMITTED, CONFIGURATION_JOINT, CONFIGURATIONS };
enum { LOG_WHOLE, LOG_COMPACTED, LOGS };
enum { ORDER_OUTCOMES = 3 };

/* Where each table begins. */
enum {
    CELLS_RECEIVED = 0,
    CELLS_PROGRESS = CELLS_RECEIVED + ROLES * RECEIVED,
    CELLS_SITUATION = CELLS_PROGRESS + PROGRESSES * WINDOWS,
    CELLS_FAULT = CELLS_SITUATION + (RAFT_LEADER + 1) * CONFIGURATIONS * LOGS,
    CELLS_ORDER = CELLS_FAULT + FAULTS * 2,
    CELLS_ONCE = CELLS_ORDER + ACTIONS * ORDER_OUTCOMES,
    CELLS = CELLS_ONCE + 2 * ONCE_VERDICTS
};
_Static_assert(CELLS <= SIM_CELLS, "sim.h: SIM_CELLS");

static enum received received_of(const struct raft_message *message);
static unsigned situation_of(const struct raft_status *status);
static const char *role_text(unsigned role);
static bool reachable(unsigned cell);

/* A blank node has asked for nothing. Under an id that had a former self it may meet answers to that one: too seldom to
 * be asked for, and so not counted. */
void cover_received(struct sim_node *node, const struct raft_message *message)
{
    unsigned role = host_raft(node->host) ? (unsigned)node->watch.role : ROLE_BLANK;
    unsigned cell = CELLS_RECEIVED + role * RECEIVED + received_of(message);
    if (role != ROLE_BLANK || reachable(cell)) node->sim->result->coverage.cells[cell]++;
}

void cover_node(struct sim_node *node, const struct raft_status *status)
{
    uint64_t *cells = node->sim->result->coverage.cells;
    size_t window = host_settings(node->host)->append_window;
    cells[CELLS_SITUATION + situation_of(status)]++;
    for (size_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *peer = &status->peers[i];
        unsigned progress = peer->progress[0] == 'p'   ? PROGRESS_PROBE
                            : peer->progress[0] == 'r' ? PROGRESS_REPLICATE
                                                       : PROGRESS_SNAPSHOT;
        unsigned full = peer->in_flight == 0       ? WINDOW_EMPTY
                        : peer->in_flight < window ? WINDOW_PARTLY
                                                   : WINDOW_FULL;
        cells[CELLS_PROGRESS + progress * WINDOWS + full]++;
    }
}

void cover_fault(struct sim *sim, unsigned fault)
{
    sim->result->coverage.cells[CELLS_FAULT + fault * 2 + (node_leading(sim) != NULL)]++;
}

void cover_order(struct sim *sim, const struct sim_order *order)
{
    unsigned outcome = (unsigned)order->outcome - OUTCOME_ANSWERED;
    sim->result->coverage.cells[CELLS_ORDER + order->action * ORDER_OUTCOMES + outcome]++;
}

void cover_once(struct sim *sim, bool keyed, enum once_verdict verdict)
{
    unsigned cell = CELLS_ONCE + verdict;
    if (keyed) cell += ONCE_VERDICTS;
    sim->result->coverage.cells[cell]++;
}

bool sim_cell_name(unsigned cell, char *name, size_t size, bool *expected)
{
    static const char *const received[RECEIVED] = {
        "a pre-vote request", "a vote request", "a pre-vote", "a refused pre-vote", "a vote",
        "a refused vote",     "entries",        "a heartbeat", "an ack",            "a conflict",
        "a timeout-now",      "a read-index",   "a read-index result", "a snapshot's chunk",
        "a snapshot's result"};
    static const char *const progress[PROGRESSES] = {"probed", "replicated to", "sent a snapshot"};
    static const char *const windows[WINDOWS] = {"nothing under way", "window partly used",
                                                 "window full"};
    static const char *const configurations[CONFIGURATIONS] = {"first", "committed", "uncommitted",
                                                               "joint"};
    if (cell >= CELLS) return false;
    *expected = reachable(cell);
    if (cell >= CELLS_ONCE) {
        static const char *const verdicts[ONCE_VERDICTS] = {
#define X(name, text) text,
            ONCE_TABLE(X)
#undef X
        };
        unsigned once = cell - CELLS_ONCE;
        snprintf(name, size, "a command %s %s", once / ONCE_VERDICTS ? "under a key" : "in a session",
                 verdicts[once % ONCE_VERDICTS]);
    } else if (cell >= CELLS_ORDER) {
        static const char *const outcomes[ORDER_OUTCOMES] = {"is done", "is refused", "is not known to be done"};
        unsigned order = cell - CELLS_ORDER;
        snprintf(name, size, "an operator's %s %s", action_name((enum sim_action)(order / ORDER_OUTCOMES)),
                 outcomes[order % ORDER_OUTCOMES]);
    } else if (cell >= CELLS_FAULT) {
        unsigned fault = cell - CELLS_FAULT;
        snprintf(name, size, "fault %s, %s", sim_fault_name(fault / 2),
                 fault % 2 ? "someone leads" : "nobody leads");
    } else if (cell >= CELLS_SITUATION) {
        unsigned situation = cell - CELLS_SITUATION;
        snprintf(name, size, "%s, configuration %s, log %s",
                 role_text(situation / (CONFIGURATIONS * LOGS)),
                 configurations[situation / LOGS % CONFIGURATIONS],
                 situation % LOGS ? "compacted" : "whole");
    } else if (cell >= CELLS_PROGRESS) {
        unsigned peer = cell - CELLS_PROGRESS;
        snprintf(name, size, "peer %s, %s", progress[peer / WINDOWS], windows[peer % WINDOWS]);
    } else {
        snprintf(name, size, "%s receives %s", role_text(cell / RECEIVED), received[cell % RECEIVED]);
    }
    return true;
}

/* ---- helpers ---- */

static enum received received_of(const struct raft_message *message)
{
    switch (message->type) {
    case RAFT_REQUEST_VOTE:
        return message->request_vote.pre ? GETS_PRE_VOTE_REQUEST : GETS_VOTE_REQUEST;
    case RAFT_VOTE:
        if (message->vote.pre)
            return message->vote.granted ? GETS_PRE_VOTE_GRANTED : GETS_PRE_VOTE_REFUSED;
        return message->vote.granted ? GETS_VOTE_GRANTED : GETS_VOTE_REFUSED;
    case RAFT_APPEND:
        return message->append.entry_count > 0 ? GETS_ENTRIES : GETS_HEARTBEAT;
    case RAFT_APPEND_RESULT:
        return message->append_result.success ? GETS_ACK : GETS_CONFLICT;
    case RAFT_TIMEOUT_NOW:
        return GETS_TIMEOUT_NOW;
    case RAFT_READ_INDEX:
        return GETS_READ_INDEX;
    case RAFT_READ_INDEX_RESULT:
        return GETS_READ_INDEX_RESULT;
    case RAFT_INSTALL_SNAPSHOT:
        return GETS_CHUNK;
    case RAFT_SNAPSHOT_RESULT:
        return GETS_CHUNK_RESULT;
    }
    assert(false); /* a message without a row */
    return GETS_HEARTBEAT;
}

static unsigned situation_of(const struct raft_status *status)
{
    unsigned configuration = CONFIGURATION_COMMITTED;
    if (status->configuration->outgoing_count > 0)
        configuration = CONFIGURATION_JOINT;
    else if (status->configuration_index == 0)
        configuration = CONFIGURATION_FIRST;
    else if (status->configuration_index > status->commit_index)
        configuration = CONFIGURATION_UNCOMMITTED;
    unsigned log = status->first_index > 1 ? LOG_COMPACTED : LOG_WHOLE;
    return ((unsigned)status->role * CONFIGURATIONS + configuration) * LOGS + log;
}

static const char *role_text(unsigned role)
{
    return role == ROLE_BLANK ? "blank" : raft_role_name((enum raft_role)role);
}

static bool reachable(unsigned cell)
{
    if (cell >= CELLS_ONCE + ONCE_VERDICTS) { /* a key has no session, and does not say how old it is */
        unsigned verdict = (cell - CELLS_ONCE) % ONCE_VERDICTS;
        return verdict != ONCE_expired && verdict != ONCE_forgotten;
    }
    if (cell >= CELLS_SITUATION) return true;
    if (cell >= CELLS_PROGRESS) { /* a probe is one message at a time, and not counted as under way; nor are chunks */
        unsigned peer = cell - CELLS_PROGRESS;
        return peer / WINDOWS == PROGRESS_REPLICATE || peer % WINDOWS == WINDOW_EMPTY;
    }
    unsigned what = cell % RECEIVED;
    return cell / RECEIVED != ROLE_BLANK || what == GETS_PRE_VOTE_REQUEST ||
           what == GETS_VOTE_REQUEST || what == GETS_ENTRIES || what == GETS_HEARTBEAT;
}
