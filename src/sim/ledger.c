/*
 * What has been seen so far of every index, every term and every vote: the omniscient memory that
 * the checks compare with. Arrays by index and term, filled as they appear; nothing here judges.
 */
#include "sim/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

static void *grow(void *items, size_t *count, size_t *capacity, size_t wanted, size_t size);

void ledger_deinit(struct sim_ledger *ledger)
{
    for (size_t i = 0; i < ledger->reign_count; i++) memory_free(ledger->reigns[i].runs);
    for (unsigned n = 0; n < SIM_NODES_MAX; n++) memory_free(ledger->ballots[n].items);
    memory_free(ledger->reigns);
    memory_free(ledger->records);
    memory_free(ledger->versions);
    configurations_deinit(ledger);
    snapshots_forget_taken(ledger);
    *ledger = (struct sim_ledger){0};
}

struct sim_record *ledger_record(struct sim_ledger *ledger, raft_index index)
{
    ledger->records = grow(ledger->records, &ledger->record_count, &ledger->record_capacity,
                           index + 1, sizeof *ledger->records);
    return &ledger->records[index];
}

struct sim_reign *ledger_reign(struct sim_ledger *ledger, raft_term term)
{
    size_t before = ledger->reign_count;
    ledger->reigns = grow(ledger->reigns, &ledger->reign_count, &ledger->reign_capacity, term + 1,
                          sizeof *ledger->reigns);
    for (size_t i = before; i < ledger->reign_count; i++) ledger->reigns[i].leader = NOBODY;
    return &ledger->reigns[term];
}

struct sim_ballot *ledger_ballot(struct sim_ledger *ledger, unsigned node, raft_term term)
{
    ledger->ballots[node].items =
        grow(ledger->ballots[node].items, &ledger->ballots[node].count,
             &ledger->ballots[node].capacity, term + 1, sizeof(struct sim_ballot));
    return &ledger->ballots[node].items[term];
}

const struct sim_version *ledger_version(const struct sim_ledger *ledger, raft_index index,
                                         raft_term term)
{
    if (index >= ledger->record_count) return NULL;
    uint32_t at = ledger->records[index].versions;
    while (at != 0 && ledger->versions[at - 1].term != term) at = ledger->versions[at - 1].next;
    return at == 0 ? NULL : &ledger->versions[at - 1];
}

struct sim_version *ledger_add_version(struct sim_ledger *ledger, const struct raft_entry *entry)
{
    struct sim_record *record = ledger_record(ledger, entry->index);
    ledger->versions = grow(ledger->versions, &ledger->version_count, &ledger->version_capacity,
                            ledger->version_count + 1, sizeof *ledger->versions);
    ledger->versions[ledger->version_count - 1] = (struct sim_version){.term = entry->term,
                                                                       .chain = entry->chain,
                                                                       .time_ms = entry->time_ms,
                                                                       .type = entry->type,
                                                                       .next = record->versions};
    record->versions = (uint32_t)ledger->version_count;
    return &ledger->versions[ledger->version_count - 1];
}

/* A core knows the terms of its log and of the entry before it. */
raft_term ledger_term_of(const struct sim_ledger *ledger, const struct raft *raft, raft_index index)
{
    raft_term term = raft_log_term(raft, index);
    if (term > 0 || index == 0 || index >= ledger->record_count) return term;
    struct raft_status status;
    raft_status(raft, &status);
    return index < status.first_index ? ledger->records[index].committed_term : 0;
}

/* A new leader's log up to `last`, as runs of terms. */
void ledger_set_log(const struct sim_ledger *ledger, struct sim_reign *reign, const struct raft *raft,
                    raft_index last)
{
    reign->last = last;
    size_t capacity = 0;
    for (raft_index index = 1; index <= last; index++) {
        raft_term term = ledger_term_of(ledger, raft, index);
        if (reign->run_count > 0 && reign->runs[reign->run_count - 1].term == term) continue;
        if (reign->run_count == capacity) {
            capacity = capacity ? capacity * 2 : 8;
            reign->runs = memory_resize(reign->runs, capacity, sizeof *reign->runs);
        }
        reign->runs[reign->run_count++] = (struct raft_term_run){index, term};
    }
}

raft_term ledger_leader_term_at(const struct sim_ledger *ledger, raft_term term, raft_index index)
{
    if (term >= ledger->reign_count || ledger->reigns[term].leader == NOBODY || index == 0)
        return 0;
    const struct sim_reign *reign = &ledger->reigns[term];
    if (index > reign->last) return term;
    size_t low = 0, high = reign->run_count; /* the last run that begins at or before index */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (reign->runs[middle].first <= index)
            low = middle;
        else
            high = middle;
    }
    return reign->runs[low].term;
}

/* Where index and term agree so does all before: the first agreement from the end is the answer. */
raft_index ledger_match(const struct sim_ledger *ledger, raft_term term,
                        const struct sim_disk *disk)
{
    raft_index index = disk->log.count;
    while (index > 0 && ledger_leader_term_at(ledger, term, index) != disk_term(disk, index))
        index--;
    return index;
}

/* At least `wanted` items, new ones zeroed. */
static void *grow(void *items, size_t *count, size_t *capacity, size_t wanted, size_t size)
{
    if (wanted <= *count) return items;
    if (wanted > *capacity) {
        size_t more = *capacity * 2 > wanted ? *capacity * 2 : wanted + 64;
        items = memory_resize(items, more, size);
        memset((char *)items + *capacity * size, 0, (more - *capacity) * size);
        *capacity = more;
    }
    *count = wanted;
    return items;
}
