/*
 * Is what a client was told true?
 *
 * The commands applied, in the order of their indexes, are the one history that a linearizable service may show; that
 * all nodes apply the same with the same replies and states is checked elsewhere (invariants.c). So no search is
 * needed: an answered command must stand in that history with that very reply, a query's answer must be what the
 * machine gave on some node for that operation, and both must lie at or behind everything that any request finished
 * earlier has shown (its `floor`). What is said to be certainly not done must never stand in it.
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
    if (!judge_by_machine(reply->code)) {
        judge_error(node, op, reply);
        return error_is_definite(reply->code) ? OUTCOME_DEFINITE : OUTCOME_UNKNOWN;
    }
    uint64_t hash = machine_reply_hash(reply->code, reply->body);
    bool sound = op->kind == REQUEST_COMMAND ? judge_command(node, op, number, hash, shown)
                                             : judge_query(node, op, number, hash, shown);
    if (sound && !node->sim->options.workload) workload_judge(node, op, number, reply, *shown);
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

/* The codes a sound cluster may give for sound requests; the rest says that something is broken. */
static void judge_error(struct sim_node *node, const struct sim_op *op, const struct reply *reply)
{
    struct sim *sim = node->sim;
    struct slice code;
    if (!mp_map_get(reply->body, "code", &code)) {
        violate(sim, node, "reply_true", "the body of error %s has no code",
                error_name(reply->code));
    }
    switch (reply->code) {
    case ERROR_NOT_LEADER:
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_OVERLOADED:
    case ERROR_SHUTTING_DOWN:
    case ERROR_DISK_FULL:
    case ERROR_WIPED:
    case ERROR_IO:
        break;
    default:
        violate(sim, node, "reply_sound", "a sound request is answered %s",
                error_name(reply->code));
    }
    if (error_is_definite(reply->code) && op->applied) {
        violate(sim, node, "definite_means_never",
                "a command applied at %" PRIu64 " is answered %s", op->applied,
                error_name(reply->code));
    }
}
