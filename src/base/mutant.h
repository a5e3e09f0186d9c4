/*
 * Mutants: the guards whose absence the simulator must notice.
 *
 * A guard is written GUARD(name, condition) with a name from the table. In the product it is the condition and nothing
 * else. In a build with MOONCLAVE_MUTANTS the simulator can switch one guard off (it then always holds), and the
 * specs show that some seed kills that mutant. FAULT(name) holds in that mutant only, where the bug is something done
 * rather than something not looked at. Each row names the bug it stands for, by raft.md's number if it has one.
 */
#ifndef MOONCLAVE_BASE_MUTANT_H
#define MOONCLAVE_BASE_MUTANT_H

/* clang-format off */
#define MUTANT_TABLE(X) \
    X(COUNTED_PRIOR_TERM, "counted_prior_term", "1: an entry of a prior term is committed by counting") \
    X(READ_BEFORE_COMMIT, "read_before_commit", "2: a read is answered before this term has committed an entry") \
    X(UNWRITTEN_COUNTED, "unwritten_counted", "3: a leader counts what its own disk could still forget") \
    X(READ_JOINS_ROUND, "read_joins_round", "4: an old acknowledgement confirms a newer read") \
    X(STALE_READ, "stale_read", "4: a read is answered without a round that began after it") \
    X(ANSWER_BY_INDEX, "answer_by_index", "7: (a step is whole) whoever waits at an index is answered, whatever the term") \
    X(OLD_ROUND_ECHOED, "old_round_echoed", "4: a refusal echoes the round of a leader of a former term") \
    X(SILENT_REFUSAL, "silent_refusal", "18: a pre-candidate that is behind is not told so") \
    X(OWN_LEADER_REFUSED, "own_leader_refused", "19: a follower does not hear its own leader's pre-vote") \
    X(PRE_VOTE_RESTARTS, "pre_vote_restarts", "19: granting a pre-vote restarts the election timeout") \
    X(VOTE_FORGOTTEN, "vote_forgotten", "21: the vote is cleared on learning who leads") \
    X(COMMIT_PAST_APPEND, "commit_past_append", "22: a follower commits past prev + n") \
    X(TRUNCATE_WITHOUT_CONFLICT, "truncate_without_conflict", "23: a late, shorter append cuts a matching suffix off") \
    X(FAILED_WRITE_IGNORED, "failed_write_ignored", "26: a failed write is taken for a done one") \
    X(OLD_WRITE_VOUCHES, "old_write_vouches", "26: an old write vouches for the entry that has replaced its own") \
    X(LOG_NOT_COMPARED, "log_not_compared", "27: (a step is whole) the log is not looked at before granting") \
    X(HEARTBEAT_AT_MATCH, "heartbeat_at_match", "30: a lost window of appends is never noticed") \
    X(UNGATED_VOTE, "ungated_vote", "33: a vote leaves before term and vote are durable") \
    X(UNGATED_VOTE_REQUEST, "ungated_vote_request", "34: a vote request leaves before its term is durable") \
    X(DOUBLE_VOTE, "double_vote", "35: a restarted node votes again in the same term") \
    X(COMMIT_PAST_MATCH, "commit_past_match", "36: heartbeats commit what the follower was not matched to") \
    X(SMALL_QUORUM, "small_quorum", "37: a quorum is one server short") \
    X(WIPED_BELIEVED, "wiped_believed", "38: a wiped voter is taken for who it was") \
    X(ACK_NOT_DURABLE, "ack_not_durable", "39: a follower acknowledges what a crash makes it forget") \
    X(FORGETTING_BELIEVED, "forgetting_believed", "39: one who has lost what it acknowledged is counted on") \
    X(NO_STICKINESS, "no_stickiness", "20: a server that was cut off deposes the leader the others hear") \
    X(VOTE_TO_SPARE, "vote_to_spare", "a vote is given in a term whose leader is known") \
    X(NO_CHECK_QUORUM, "no_check_quorum", "a leader out of its quorum's reach leads on") \
    X(NO_PRE_VOTE, "no_pre_vote", "a candidate raises its term without asking whether it could win") \
    X(HIGHER_TERM_IGNORED, "higher_term_ignored", "a higher term in an answer changes nothing") \
    X(OLD_VOTE_COUNTED, "old_vote_counted", "a vote of another term counts") \
    X(OLD_TERM_RESULT, "old_term_result", "an acknowledgement of a former term counts") \
    X(PROGRESS_KEPT, "progress_kept", "what a follower held in a former term is believed in this one") \
    X(STRAY_REFUSAL, "stray_refusal", "a late refusal about what is matched counts") \
    X(FULL_DISK_CAMPAIGNS, "full_disk_campaigns", "a server that cannot write campaigns") \
    X(FULL_DISK_LEADS, "full_disk_leads", "a server that cannot write leads on") \
    X(STALLED_DISK_CAMPAIGNS, "stalled_disk_campaigns", "a server whose disk does not answer follows an order to campaign") \
    X(STALLED_DISK_LEADS, "stalled_disk_leads", "a leader whose disk does not answer leads on") \
    X(APPLY_NOT_DURABLE, "apply_not_durable", "a committed entry is applied before it is durable here") \
    X(CLOCK_GOES_BACK, "clock_goes_back", "a leader stamps an entry with a time before the last one's") \
    X(COMMAND_SENT_AGAIN, "command_sent_again", "a forwarded command is sent again when the connection breaks") \
    X(FOLLOWER_ANSWERS, "follower_answers", "a linearizable query is run on the state as it is") \
    X(READ_NOT_APPLIED, "read_not_applied", "a confirmed read does not wait for what it must see to be applied") \
    X(UNKNOWN_CALLED_DEFINITE, "unknown_called_definite", "a command that may be done is said to be certainly not done") \
    X(INIT_TWICE, "init_twice", "the app is brought into the cluster a second time") \
    X(LEASE_AFTER_TRANSFER, "lease_after_transfer", "5: a lease outlives a transfer that was given up") \
    X(LEASE_IN_TRANSFER, "lease_in_transfer", "6: a lease answers while leadership is handed over") \
    X(PROPOSED_TOO_LATE, "proposed_too_late", "7: a proposal is appended by one who leads no more") \
    X(TRANSFER_OUTLIVES, "transfer_outlives", "8: a transfer survives its leader's step-down") \
    X(CONFIGURATION_KEPT, "configuration_kept", "12: a truncated configuration stays in effect") \
    X(CONFIGURATION_FORGOTTEN, "configuration_forgotten", "13: a restart forgets configurations in the log") \
    X(INHERITED_IGNORED, "inherited_ignored", "14: a leader ignores an uncommitted configuration it inherits") \
    X(CHANGED_TOO_EARLY, "changed_too_early", "15: a change before this term has committed an entry") \
    X(UNAPPLIED_IGNORED, "unapplied_ignored", "16: a campaign by the configuration that is applied") \
    X(LEARNER_REFUSES, "learner_refuses", "17: one who knows itself as a learner refuses to vote") \
    X(STRANGER_HEEDED, "stranger_heeded", "20: a removed server's higher term deposes the leader") \
    X(TRANSFER_UNDER_LOAD, "transfer_under_load", "32: proposals go on during a transfer, which never ends") \
    X(NON_VOTERS_COUNTED, "non_voters_counted", "37: learners count in a quorum") \
    X(REJOINED_TRUSTED, "rejoined_trusted", "38: one who joins again is trusted with its former log") \
    X(TWO_CHANGES, "two_changes", "two changes of membership are under way at once") \
    X(REMOVED_LEADS_ON, "removed_leads_on", "a leader that was removed leads on") \
    X(OLD_TIMEOUT_NOW, "old_timeout_now", "5: an order to campaign of an older term is followed") \
    X(TRANSFER_TO_LEARNER, "transfer_to_learner", "leadership is handed to one who cannot lead") \
    X(WORD_FORGOTTEN, "word_forgotten", "a restarted voter breaks the lease it granted") \
    X(WORD_DIES_WITH_TERM, "word_dies_with_term", "a voter that hears of a higher term breaks a lease") \
    X(OLD_READ_INDEX, "old_read_index", "4: a late answer to another request serves a read") \
    X(CONFLICT_KEPT, "conflict_kept", "9: a snapshot is thought there because its index is, with another term") \
    X(CONFIGURATION_OUTLIVES_INSTALL, "configuration_outlives_install", "10, 11: configurations of a replaced log stay in force") \
    X(COMPACTED_CONFIGURATION, "compacted_configuration", "12: a configuration that was compacted is not there to roll back to") \
    X(COMPACTED_APPENDED, "compacted_appended", "24: entries that were compacted are looked at again") \
    X(REJECTED_BELOW_SNAPSHOT, "rejected_below_snapshot", "25: an append below the snapshot is not known to match") \
    X(OLDER_SNAPSHOT_INSTALLED, "older_snapshot_installed", "28: a snapshot older than the log replaces it") \
    X(TRANSFER_OUTLIVES_TERM, "transfer_outlives_term", "31: a snapshot transfer of a former term is alive at re-election") \
    X(RESTORE_SKIPPED, "restore_skipped", "a start goes on without the state of the snapshot it starts from") \
    X(COMPACTED_PAST_SNAPSHOT, "compacted_past_snapshot", "the log is given up further than a snapshot covers it") \
    X(SENT_SNAPSHOT_FORGOTTEN, "sent_snapshot_forgotten", "a snapshot is deleted while it is being sent") \
    X(INSTALL_OVERTAKES, "install_overtakes", "a snapshot replaces a log that writes are still on their way to") \
    X(LOG_MOVES, "log_moves", "a log that is being replaced takes entries") \
    X(UNSYNCED_SNAPSHOT, "unsynced_snapshot", "29: a snapshot is made the node's own before its bytes are synced") \
    X(RETRY_RUN_AGAIN, "retry_run_again", "a session's kept reply is not looked for: a retry is done again") \
    X(FLOOR_NOT_KEPT, "floor_not_kept", "a session does not remember what it has let go of: that is done again") \
    X(BODY_NOT_COMPARED, "body_not_compared", "another command under a used number is answered with the first one's reply") \
    X(RENEWAL_FORGETS, "renewal_forgets", "a renewal lets go of replies that were not acknowledged") \
    X(SESSION_OUTLIVES, "session_outlives", "a session takes commands after it has expired") \
    X(KEYS_BY_CLOCK, "keys_by_clock", "a leader's clock that jumps ahead has keys forgotten, and their commands done again") \
    X(REFUSAL_FOR_ALL, "refusal_for_all", "a refused attempt is told to be the outcome, though one before it may be done") \
    X(SETTINGS_NOT_TOLD, "settings_not_told", "the machine goes on by the budget it had before the cluster's settings changed") \
    X(SETTINGS_NOT_KEPT, "settings_not_kept", "a change of the cluster's settings is not in the system tree, and so in no snapshot") \
    X(SETTINGS_CHECKED_ONCE, "settings_checked_once", "two changes, each sound when it was asked for, are unsafe together") \
    X(POLICY_BELIEVED, "policy_believed", "a policy takes votes away until no majority can be reached") \
    X(DEPLOY_STAMPS_KEPT, "deploy_stamps_kept", "a snapshot loads a deployed app by the stamps of the one before it") \
    X(DEPLOY_BUNDLE_KEPT, "deploy_bundle_kept", "a snapshot brings the app that ran before the one that was deployed") \
    X(DEPLOY_UNCOMPARED, "deploy_uncompared", "a deploy replaces another app than the one it was meant to follow") \
    X(DEPLOY_TWICE, "deploy_twice", "the app that runs already, sent again, is deployed a second time") \
    X(DEPLOY_OVER_RESTORE, "deploy_over_restore", "an app is deployed while a backup is being restored") \
    X(DEPLOY_NOT_SKIPPED, "deploy_not_skipped", "a deploy that was the death of every node is tried though it is skipped") \
    X(MIGRATE_HALF_KEPT, "migrate_half_kept", "what a migrate that fails had changed by then stays") \
    /* of src/store: only runs on the real one can tell */ \
    X(STORE_UNSYNCED, "store_unsynced", "a commit is said to be durable before it is synced") \
    X(STORE_UNSCANNED, "store_unscanned", "the WAL is not looked at before SQLite forgets its damaged end") \
    X(STORE_UNADOPTED, "store_unadopted", "what only the page cache held before a kill is believed at the next open") \
    X(STORE_UNMARKED, "store_unmarked", "39: damage to the last transaction is taken for a torn write")
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
#define FAULT(name) GUARD(name, false)

#endif
