/* Proposals: all of a batch or none of it, refused rather than piled up. */
#include "raft/core.h"
#include "raft/entry.h"

#include "base/mutant.h"

#include <assert.h>

static size_t bytes_of(const struct raft_entry *entries, size_t count);

enum error_code raft_propose(struct raft *raft, const struct raft_event *event, struct error *error)
{
    struct raft_entry *entries = event->propose.entries;
    size_t count = event->propose.entry_count;
    if (raft->gate.refused) {
        return error_set(error, ERROR_DISK_FULL, "%s", error_help(ERROR_DISK_FULL));
    }
    if (!GUARD(PROPOSED_TOO_LATE, raft->role == RAFT_LEADER)) {
        bool known = !raft_id_none(&raft->leader);
        return error_set(error, ERROR_NOT_LEADER, known ? "%s leads" : "%sno leader is known",
                         raft->leader.text);
    }
    if (!GUARD(TRANSFER_UNDER_LOAD, !raft_handing_over(raft))) {
        return error_set(error, ERROR_UNAVAILABLE, "leadership is being handed to %s: try again",
                         raft->handover.target.text);
    }
    /* A single one always fits where nothing waits: a limit smaller than an entry must not stop it
     * for ever. */
    bool alone = count == 1 && raft->uncommitted_bytes == 0;
    if (!alone &&
        raft->uncommitted_bytes + bytes_of(entries, count) > raft->settings.uncommitted_bytes_max) {
        return error_set(error, ERROR_OVERLOADED,
                         "%zu bytes wait to be committed, the limit is %zu",
                         raft->uncommitted_bytes, raft->settings.uncommitted_bytes_max);
    }
    for (size_t i = 0; i < count; i++) {
        assert(entries[i].type < RAFT_ENTRY_TYPES && entries[i].type != RAFT_CONFIGURATION);
        raft_append_own(raft, &entries[i]);
    }
    return ERROR_OK;
}

void raft_append_own(struct raft *raft, struct raft_entry *entry)
{
    struct raft_log *log = &raft->log;
    assert(GUARD(PROPOSED_TOO_LATE, raft->role == RAFT_LEADER));
    assert(log->last_known); /* a truncation is always followed by an append, and a leader never
                                truncates */
    entry->term = raft->hard_state.term;
    entry->index = log->last_index + 1;
    if (!GUARD(CLOCK_GOES_BACK, entry->time_ms >= log->last_time_ms)) {
        entry->time_ms = log->last_time_ms;
    }
    entry->chain = raft_entry_chain(entry, log->last_chain);
    enum error_code code = raft_log_append(log, entry, NULL);
    assert(code == ERROR_OK);
    (void)code;
    raft->uncommitted_bytes += raft_entry_size(entry);
}

static size_t bytes_of(const struct raft_entry *entries, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) bytes += raft_entry_size(&entries[i]);
    return bytes;
}
