/*
 * Is what a client was told true?
 *
 * The commands applied, in the order of their indexes, are the one history that a linearizable service may show; that
 * all nodes apply the same with the same replies and states is checked elsewhere (invariants.c). So no search is
 * needed: an answered command must stand in that history with that very reply, a query's answer must be what the
 * machine gave on some node for that operation, and both must lie at or behind everything that any request finished
 * earlier has shown (its `floor`). What is said to be certainly not done must never stand in it.
 *
 * An operation that is asked again is one command from its first attempt on: every answer to any attempt is the one
 * reply, and it is certainly not done once each attempt is said not to be.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/mp.h"

#include <inttypes.h>

static bool judge_command(struct sim_node *node, const struct sim_op *op, uint64_t number,
                          uint64_t hash, raft_index *shown);
static bool judge_query(struct sim_node *node, const struct sim_op *op, uint64_t number,
                        uint64_t hash, raft_index *shown);
static void judge_error(struct sim_node *node, const struct sim_op *op, const struct reply *reply);

bool judge_by_machine(enum error_code code)
{
    switch (code) {
    case ERROR_OK:
    case ERROR_REJECTED:
    case ERROR_COMMAND_FAILED:
    case ERROR_NO_SUCH_COMMAND:
    case ERROR_BAD_REQUEST:
        return true;
    default:
        return false;
    }
}

enum sim_outcome judge_reply(struct sim_node *node, struct sim_op *op, uint64_t number,
                             const struct reply *reply, raft_index *shown)
{
    if (poison_judges(node, number, reply->code)) return OUTCOME_DEFINITE;
    if (!judge_by_machine(reply->code)) {
        judge_error(node, op, reply);
        return error_is_definite(reply->code) ? OUTCOME_DEFINITE : OUTCOME_UNKNOWN;
    }
    if (op->kind == REQUEST_SESSION) {
        once_judge_session(node, op, number, reply);
        return OUTCOME_ANSWERED;
    }
    uint64_t hash = machine_reply_hash(reply->code, reply->body);
    const struct sim_op *root = &node->sim->clients.ops[op->first - 1];
    bool sound = op->kind == REQUEST_QUERY ? judge_query(node, op, number, hash, shown)
                                           : judge_command(node, root, op->first, hash, shown);
    if (sound && !node->sim->options.workload) workload_judge(node, root, op->first, reply, *shown);
    return OUTCOME_ANSWERED;
}

static bool judge_command(struct sim_node *node, const struct sim_op *op, uint64_t number,
                          uint64_t hash, raft_index *shown)
{
    struct sim *sim = node->sim;
    if (op->applied == 0 || sim->ledger.records[op->applied].reply_hash != hash) {
        violate(sim, node, "acknowledged_applied",
                "command %" PRIu64 " is answered; it was applied at %" PRIu64
                " (0: nowhere), with another reply",
                number, op->applied);
        return false;
    }
    if (op->applied <= op->floor) {
        violate(sim, node, "real_time",
                "command %" PRIu64 " takes effect at %" PRIu64 "; %" PRIu64
                " was shown before it was asked",
                number, op->applied, op->floor);
    }
    *shown = op->applied;
    return true;
}

static bool judge_query(struct sim_node *node, const struct sim_op *op, uint64_t number,
                        uint64_t hash, raft_index *shown)
{
    struct sim *sim = node->sim;
    const struct sim_showing *newest = NULL;
    for (unsigned i = 0; i < SIM_SHOWINGS; i++) {
        const struct sim_showing *showing = &op->showings[i];
        if (i < op->showing && showing->reply_hash == hash &&
            (!newest || showing->version > newest->version))
            newest = showing;
    }
    if (!newest) {
        violate(sim, node, "reply_true", "query %" PRIu64 " is answered with what no machine gave",
                number);
        return false;
    }
    sim->clients.shown_at = newest->version;
    *shown = op->consistency == CONSISTENCY_STALE ? 0 : newest->version;
    bool by_lease = op->consistency == CONSISTENCY_LEASE && sim->plan.settings.leases != 0;
    if (op->consistency != CONSISTENCY_STALE && !by_lease) check_read(node, op->invoked_us);
    if (op->consistency != CONSISTENCY_STALE && newest->version < op->floor) {
        violate(sim, node, "stale_read",
                "query %" PRIu64 " shows version %" PRIu64 "; %" PRIu64
                " was shown before it was asked",
                number, newest->version, op->floor);
    }
    return true;
}

bool judge_is_passing(enum error_code code)
{
    switch (code) {
    case ERROR_NOT_LEADER:
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_OVERLOADED:
    case ERROR_SHUTTING_DOWN:
    case ERROR_DISK_FULL:
    case ERROR_WIPED:
    case ERROR_IO:
        return true;
    default:
        return false;
    }
}

/* The codes a sound cluster may give for sound requests; the rest says that something is broken. */
static void judge_error(struct sim_node *node, const struct sim_op *op, const struct reply *reply)
{
    struct sim *sim = node->sim;
    struct slice code;
    if (!mp_map_get(reply->body, "code", &code)) {
        violate(sim, node, "reply_true", "the body of error %s has no code",
                error_name(reply->code));
    }
    if (reply->code == ERROR_SESSION_EXPIRED || reply->code == ERROR_FORGOTTEN || reply->code == ERROR_REUSED)
        once_judge_refusal(node, op, reply);
    else if (!judge_is_passing(reply->code))
        violate(sim, node, "reply_sound", "a sound request is answered %s", error_name(reply->code));
    const struct sim_op *root = &sim->clients.ops[op->first - 1];
    if (error_is_definite(reply->code) && root->applied && root->hopeful == 1) { /* which is this attempt */
        violate(sim, node, "definite_means_never",
                "a command applied at %" PRIu64 " is answered %s", root->applied,
                error_name(reply->code));
    }
}
