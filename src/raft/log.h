/*
 * The log as the core knows it: index-and-term arithmetic for all of it, entries for its tail.
 *
 * - Terms of the whole log are kept as runs (first index, term): a log of a million entries and
 * three terms is three runs. The base stands before the first entry: index 0, or where the log was
 * compacted. The snapshot's index is there or, while entries are kept for slow followers, behind it.
 * - The tail is a ring of the newest entries, one slot per index (index modulo capacity), each with
 * a reference to its payload. Everything not yet durable or not yet applied is in it. Older entries
 * are on the disk only.
 * - Every CONFIGURATION entry behind the snapshot is kept decoded. The effective configuration is the
 * last of them, or the snapshot's: a function of the log, never stored beside it.
 *
 * What is durable is the gate's concern (gate.h), not the log's.
 */
#ifndef MOONCLAVE_RAFT_LOG_H
#define MOONCLAVE_RAFT_LOG_H

#include "base/error.h"
#include "raft/types.h"

struct raft_log_configuration {
    raft_index index;
    struct raft_configuration configuration;
};

struct raft_log {
    struct raft_log_base base; /* the entry before the first */
    bool base_chain_known;     /* not where the log was cut at an entry that only the disk had */
    struct raft_log_configuration snapshot_configuration;

    raft_index last_index; /* base.index when empty */
    uint64_t last_chain;
    uint64_t last_time_ms;
    bool last_known; /* are the two? not after a truncation, until the append that follows it */
    struct raft_term_run *runs; /* the first may begin before the log does */
    size_t run_count, run_capacity;
    struct raft_log_configuration *configurations;
    size_t configuration_count, configuration_capacity;
    uint64_t configuration_changes; /* counts every change of the effective configuration */

    struct raft_entry *ring;
    size_t ring_capacity; /* a power of two, or 0 */
    size_t tail_count;    /* the tail is last_index - tail_count + 1 ... last_index */
    size_t tail_bytes;
};

void raft_log_init(struct raft_log *log);   /* empty, at index 0 */
void raft_log_deinit(struct raft_log *log); /* drops every reference */
/* What the disk holds; `log` is fresh. CORRUPT or VERSION, with a text: it contradicts itself. */
enum error_code raft_log_load(struct raft_log *log, const struct raft_durable *durable,
                              struct error *error);

raft_term raft_log_term_at(const struct raft_log *log,
                           raft_index index); /* 0: not known, or index 0 */
raft_term raft_log_last_term(const struct raft_log *log);
size_t raft_log_run_of(const struct raft_log *log, raft_index index); /* the place of the run that holds it */
/* The largest index up to `index` whose term is at most `term`: where a log that has `term` at
 * `index` could still agree with this one. The base's index at least. */
raft_index raft_log_last_at_most(const struct raft_log *log, raft_index index, raft_term term);
/* The chain value of the entry at `index`. false: only the disk knows it. */
bool raft_log_chain_at(const struct raft_log *log, raft_index index, uint64_t *chain);

/* The effective configuration. `index` may be null. */
const struct raft_configuration *raft_log_configuration(const struct raft_log *log,
                                                        raft_index *index);

/* The one before the effective configuration (itself, where the log holds no other). */
const struct raft_configuration *raft_log_configuration_before(const struct raft_log *log);

raft_index raft_log_tail_first(
    const struct raft_log *log); /* last_index + 1 when nothing is in memory */
const struct raft_entry *raft_log_entry(const struct raft_log *log,
                                        raft_index index); /* null: not in the tail */
/* Entries from `first` on, in the tail, that lie side by side: up to `last` and max_bytes, but at
 * least one. Fewer where the ring wraps: ask again for the rest. */
const struct raft_entry *raft_log_slice(const struct raft_log *log, raft_index first,
                                        raft_index last, size_t max_bytes, size_t *count);

/* Appends at last_index + 1 and takes a reference to the payload (a copy, where it is merely
 * borrowed). `entry` carries term, index and chain. CORRUPT or VERSION: a configuration that cannot
 * be read; nothing changed. */
enum error_code raft_log_append(struct raft_log *log, const struct raft_entry *entry,
                                struct error *error);
/* Removes every entry from `from` on (within the log). An append must follow: last_chain and
 * last_time_ms are unknown until then. */
void raft_log_truncate(struct raft_log *log, raft_index from);
/* Drops entries up to `limit` from the tail, oldest first, until it has no more than bytes_max. */
void raft_log_trim(struct raft_log *log, raft_index limit, size_t bytes_max);

/* A snapshot of an index within the log has been taken: its configuration, which is the log's as of
 * then, is the one that is left when no entry behind it is one. */
void raft_log_snapshot(struct raft_log *log, const struct raft_snapshot_meta *meta);
/* Forgets the entries up to `index`, which a snapshot covers. */
void raft_log_compact(struct raft_log *log, raft_index index);
/* The log as a snapshot leaves it: nothing of the old one remains, and it begins behind meta->index.
 * The meta's configuration can be read: it has been. */
void raft_log_install(struct raft_log *log, const struct raft_snapshot_meta *meta);
/* The configuration in force at `index`, at or behind the snapshot. `at` may be null. */
const struct raft_configuration *raft_log_configuration_at(const struct raft_log *log,
                                                           raft_index index, raft_index *at);

/* A reference of one's own to the payload: taken where it is counted, copied where it is merely
 * borrowed. */
void raft_log_keep_payload(struct raft_entry *entry);

#endif
