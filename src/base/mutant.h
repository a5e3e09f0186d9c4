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
    /* of src/store: only runs on the real one can tell */ \
    X(STORE_UNSYNCED,           "store_unsynced",           "a commit is said to be durable before it is synced") \
    X(STORE_UNSCANNED,          "store_unscanned",          "the WAL is not looked at before SQLite forgets its damaged end") \
    X(STORE_UNADOPTED,          "store_unadopted",          "what only the page cache held before a kill is believed at the next open") \
    X(STORE_UNMARKED,           "store_unmarked",           "damage to the last transaction is taken for a torn write")
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
