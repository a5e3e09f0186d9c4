/*
 * Mutants: the guards whose absence the simulator must notice.
 *
 * A guard is written GUARD(name, condition) with a name from the table. In the product it is the condition and nothing
 * else. In a build with MOONCLAVE_MUTANTS the simulator can switch one guard off (it then always holds), and the
 * specs show that some seed kills that mutant. Each row names the bug it stands for, by raft.md's number if it has one.
 */
#ifndef MOONCLAVE_BASE_MUTANT_H
#define MOONCLAVE_BASE_MUTANT_H

/* clang-format off */
#define MUTANT_TABLE(X) \
    X(UNGATED_VOTE,             "ungated_vote",             "33: a vote leaves before term and vote are durable") \
    X(UNGATED_VOTE_REQUEST,     "ungated_vote_request",     "34: a vote request leaves before its term is durable") \
    X(COUNTED_PRIOR_TERM,       "counted_prior_term",       "1: an entry of a prior term is committed by counting") \
    X(DOUBLE_VOTE,              "double_vote",              "35: a restarted node votes again in the same term") \
    X(STALE_READ,               "stale_read",               "4: a read is answered without a round that began after it") \
    X(TRUNCATE_WITHOUT_CONFLICT,"truncate_without_conflict","23: a late, shorter append cuts a matching suffix off") \
    X(CONFLICT_KEPT,            "conflict_kept",            "9: a snapshot is thought there because its index is, with another term") \
    X(CONFIGURATION_OUTLIVES_INSTALL, "configuration_outlives_install", "10, 11: configurations of a replaced log stay in force") \
    X(COMPACTED_CONFIGURATION,  "compacted_configuration",  "12: a configuration that was compacted is not there to roll back to") \
    X(COMPACTED_APPENDED,       "compacted_appended",       "24: entries that were compacted are looked at again") \
    X(REJECTED_BELOW_SNAPSHOT,  "rejected_below_snapshot",  "25: an append below the snapshot is not known to match") \
    X(OLDER_SNAPSHOT_INSTALLED, "older_snapshot_installed", "28: a snapshot older than the log replaces it") \
    X(UNSYNCED_SNAPSHOT,        "unsynced_snapshot",        "29: a snapshot is made the node's own before its bytes are synced") \
    X(TRANSFER_OUTLIVES_TERM,   "transfer_outlives_term",   "31: a snapshot transfer of a former term is alive at re-election")
/* clang-format on */

enum mutant {
    MUTANT_NONE,
#define X(name, text, bug) MUTANT_##name,
    MUTANT_TABLE(X)
#undef X
};

#ifdef MOONCLAVE_MUTANTS
extern enum mutant mutant_active;
#define GUARD(name, condition) (mutant_active == MUTANT_##name || (condition))
#else
#define GUARD(name, condition) (condition)
#endif

#endif
