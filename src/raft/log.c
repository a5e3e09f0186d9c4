/* The log: see log.h for what is kept and why. Everything here is arithmetic on memory. */
#include "raft/log.h"

#include "base/memory.h"
#include "base/mutant.h"
#include "raft/configuration.h"
#include "raft/entry.h"

#include <assert.h>

#define RING_CAPACITY_MIN 64

static enum error_code load_runs(struct raft_log *log, const struct raft_durable *durable,
                                 struct error *error);
static enum error_code load_configurations(struct raft_log *log, const struct raft_durable *durable,
                                           struct error *error);
static void push_run(struct raft_log *log, raft_index first, raft_term term);
static void push_configuration(struct raft_log *log, raft_index index,
                               struct raft_configuration *configuration);
static enum error_code decode_configuration(const struct raft_entry *entry,
                                            struct raft_configuration *configuration,
                                            struct error *error);
static struct raft_entry *slot_of(const struct raft_log *log, raft_index index);
static void push_entry(struct raft_log *log, const struct raft_entry *entry);
static void grow_ring(struct raft_log *log);

void raft_log_init(struct raft_log *log)
{
    *log = (struct raft_log){.last_known = true, .base_chain_known = true};
}

void raft_log_deinit(struct raft_log *log)
{
    raft_log_trim(log, log->last_index, 0);
    for (size_t i = 0; i < log->configuration_count; i++) {
        raft_configuration_deinit(&log->configurations[i].configuration);
    }
    raft_configuration_deinit(&log->snapshot_configuration.configuration);
    memory_free(log->configurations);
    memory_free(log->runs);
    memory_free(log->ring);
    raft_log_init(log);
}

enum error_code raft_log_load(struct raft_log *log, const struct raft_durable *durable,
                              struct error *error)
{
    const struct raft_snapshot_meta *snapshot = &durable->snapshot;
    if (durable->last_index < snapshot->index) {
        return error_set(error, ERROR_CORRUPT, "the log ends at %llu, before its snapshot at %llu",
                         (unsigned long long)durable->last_index,
                         (unsigned long long)snapshot->index);
    }
    if (durable->base.index > snapshot->index) {
        return error_set(error, ERROR_CORRUPT, "the log begins behind %llu, its snapshot ends at %llu",
                         (unsigned long long)durable->base.index,
                         (unsigned long long)snapshot->index);
    }
    log->base = durable->base;
    log->last_index = durable->last_index;
    log->last_chain = durable->last_chain;
    log->last_time_ms = durable->last_time_ms;
    enum error_code code = load_runs(log, durable, error);
    return code ? code : load_configurations(log, durable, error);
}

/* ---- terms and chains ---- */

raft_term raft_log_term_at(const struct raft_log *log, raft_index index)
{
    if (index == log->base.index) return log->base.term;
    if (index < log->base.index || index > log->last_index) return 0;
    return log->runs[raft_log_run_of(log, index)].term;
}

raft_term raft_log_last_term(const struct raft_log *log)
{
    return raft_log_term_at(log, log->last_index);
}

raft_index raft_log_last_at_most(const struct raft_log *log, raft_index index, raft_term term)
{
    if (index > log->last_index) index = log->last_index;
    if (index <= log->base.index) return log->base.index;
    size_t run = raft_log_run_of(log, index);
    while (log->runs[run].term > term) {
        index = log->runs[run].first - 1;
        if (run-- == 0) return log->base.index;
    }
    return index;
}

bool raft_log_chain_at(const struct raft_log *log, raft_index index, uint64_t *chain)
{
    const struct raft_entry *entry = raft_log_entry(log, index);
    if (entry) {
        *chain = entry->chain;
    } else if (index == log->last_index && log->last_known) {
        *chain = log->last_chain;
    } else if (index == log->base.index && log->base_chain_known) {
        *chain = log->base.chain;
    } else {
        return false;
    }
    return true;
}

const struct raft_configuration *raft_log_configuration(const struct raft_log *log,
                                                        raft_index *index)
{
    const struct raft_log_configuration *effective = &log->snapshot_configuration;
    if (log->configuration_count > 0) {
        effective = &log->configurations[log->configuration_count - 1];
    }
    if (index) *index = effective->index;
    return &effective->configuration;
}

const struct raft_configuration *raft_log_configuration_before(const struct raft_log *log)
{
    size_t count = log->configuration_count;
    return count > 1 ? &log->configurations[count - 2].configuration
                     : &log->snapshot_configuration.configuration;
}

/* ---- the tail ---- */

raft_index raft_log_tail_first(const struct raft_log *log)
{
    return log->last_index - log->tail_count + 1;
}

const struct raft_entry *raft_log_entry(const struct raft_log *log, raft_index index)
{
    if (index < raft_log_tail_first(log) || index > log->last_index) return NULL;
    return slot_of(log, index);
}

const struct raft_entry *raft_log_slice(const struct raft_log *log, raft_index first,
                                        raft_index last, size_t max_bytes, size_t *count)
{
    assert(first >= raft_log_tail_first(log) && first <= last && last <= log->last_index);
    const struct raft_entry *entries = slot_of(log, first);
    size_t until_wrap = (size_t)(log->ring + log->ring_capacity - entries);
    size_t most = last - first + 1 < until_wrap ? (size_t)(last - first + 1) : until_wrap;
    size_t bytes = raft_entry_size(&entries[0]);
    size_t taken = 1;
    for (; taken < most; taken++) {
        bytes += raft_entry_size(&entries[taken]);
        if (bytes > max_bytes) break;
    }
    *count = taken;
    return entries;
}

/* ---- changes ---- */

enum error_code raft_log_append(struct raft_log *log, const struct raft_entry *entry,
                                struct error *error)
{
    assert(entry->index == log->last_index + 1);
    assert(entry->term >= raft_log_last_term(log));
    if (entry->type == RAFT_CONFIGURATION) {
        struct raft_configuration configuration = {0};
        enum error_code code = decode_configuration(entry, &configuration, error);
        if (code) return code;
        push_configuration(log, entry->index, &configuration);
    }
    if (log->run_count == 0 || log->runs[log->run_count - 1].term != entry->term) {
        push_run(log, entry->index, entry->term);
    }
    push_entry(log, entry);
    log->last_chain = entry->chain;
    log->last_time_ms = entry->time_ms;
    log->last_known = true;
    return ERROR_OK;
}

void raft_log_truncate(struct raft_log *log, raft_index from)
{
    assert(from > log->base.index && from <= log->last_index);
    while (log->last_index >= from && log->tail_count > 0) {
        struct raft_entry *entry = slot_of(log, log->last_index);
        log->tail_bytes -= raft_entry_size(entry);
        raft_entry_drop(entry);
        log->tail_count--;
        log->last_index--;
    }
    log->last_index = from - 1;
    log->last_known = false;
    while (log->run_count > 0 && log->runs[log->run_count - 1].first >= from) log->run_count--;
    while (log->configuration_count > 0 &&
           log->configurations[log->configuration_count - 1].index >= from) {
        if (FAULT(CONFIGURATION_KEPT)) break;
        raft_configuration_deinit(&log->configurations[--log->configuration_count].configuration);
        log->configuration_changes++;
    }
}

void raft_log_trim(struct raft_log *log, raft_index limit, size_t bytes_max)
{
    while (log->tail_count > 0 && log->tail_bytes > bytes_max &&
           raft_log_tail_first(log) <= limit) {
        struct raft_entry *entry = slot_of(log, raft_log_tail_first(log));
        log->tail_bytes -= raft_entry_size(entry);
        raft_entry_drop(entry);
        log->tail_count--;
    }
}

void raft_log_keep_payload(struct raft_entry *entry)
{
    struct raft_payload *payload = &entry->payload;
    if (payload->blob || payload->bytes.size == 0) {
        raft_entry_take(entry);
    } else {
        payload->blob = blob_new(payload->bytes.data, payload->bytes.size);
        payload->bytes.data = payload->blob->data;
    }
}

/* ---- loading ---- */

static enum error_code load_runs(struct raft_log *log, const struct raft_durable *durable,
                                 struct error *error)
{
    raft_index expected = log->base.index + 1;
    raft_term least = log->base.term;
    for (size_t i = 0; i < durable->run_count; i++) {
        const struct raft_term_run *run = &durable->runs[i];
        bool placed =
            i == 0 ? run->first == expected : run->first >= expected && run->term != least;
        if (!placed || run->term < least || run->term == 0 || run->first > log->last_index) {
            return error_set(error, ERROR_CORRUPT,
                             "the log's terms are out of order at index %llu (term %llu)",
                             (unsigned long long)run->first, (unsigned long long)run->term);
        }
        push_run(log, run->first, run->term);
        expected = run->first + 1;
        least = run->term;
    }
    if (log->run_count == 0 && log->last_index > log->base.index) {
        return error_set(error, ERROR_CORRUPT, "the log's terms are missing");
    }
    if (least > durable->hard_state.term) {
        return error_set(error, ERROR_CORRUPT,
                         "the log reaches term %llu, but the stored term is %llu",
                         (unsigned long long)least, (unsigned long long)durable->hard_state.term);
    }
    raft_term term = raft_log_term_at(log, durable->snapshot.index);
    if (term != durable->snapshot.term) {
        return error_set(error, ERROR_CORRUPT,
                         "the log has term %llu at %llu, where its snapshot ends in term %llu",
                         (unsigned long long)term, (unsigned long long)durable->snapshot.index,
                         (unsigned long long)durable->snapshot.term);
    }
    return ERROR_OK;
}

static enum error_code load_configurations(struct raft_log *log, const struct raft_durable *durable,
                                           struct error *error)
{
    struct slice bytes = durable->snapshot.configuration;
    log->snapshot_configuration.index = durable->snapshot.configuration_index;
    if (bytes.size > 0) {
        enum error_code code =
            raft_configuration_decode(bytes, &log->snapshot_configuration.configuration, error);
        if (code) return code;
    }
    raft_index after = log->base.index;
    for (size_t i = 0; i < durable->configuration_count; i++) {
        const struct raft_entry *entry = &durable->configurations[i];
        if (entry->index <= after || entry->index > log->last_index ||
            entry->type != RAFT_CONFIGURATION) {
            return error_set(error, ERROR_CORRUPT,
                             "the log's configurations are out of order at index %llu",
                             (unsigned long long)entry->index);
        }
        after = entry->index;
        struct raft_configuration configuration = {0};
        enum error_code code = decode_configuration(entry, &configuration, error);
        if (code) return code;
        if (FAULT(CONFIGURATION_FORGOTTEN)) {
            raft_configuration_deinit(&configuration);
            continue;
        }
        push_configuration(log, entry->index, &configuration);
    }
    log->configuration_changes++;
    return ERROR_OK;
}

/* ---- helpers ---- */

/* The run that holds `index`, an index within the log. Nearly every question is about the newest
 * run. */
size_t raft_log_run_of(const struct raft_log *log, raft_index index)
{
    assert(log->run_count > 0 && log->runs[0].first <= index);
    size_t low = 0, high = log->run_count - 1;
    if (log->runs[high].first <= index) return high;
    while (low < high) {
        size_t middle = low + (high - low + 1) / 2;
        if (log->runs[middle].first <= index) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return low;
}

static void push_run(struct raft_log *log, raft_index first, raft_term term)
{
    assert(log->run_count == 0 || log->runs[log->run_count - 1].first < first);
    if (log->run_count == log->run_capacity) {
        log->run_capacity = log->run_capacity ? 2 * log->run_capacity : 16;
        log->runs = memory_resize(log->runs, log->run_capacity, sizeof *log->runs);
    }
    log->runs[log->run_count++] = (struct raft_term_run){first, term};
}

/* Takes the configuration over. */
static void push_configuration(struct raft_log *log, raft_index index,
                               struct raft_configuration *configuration)
{
    if (log->configuration_count == log->configuration_capacity) {
        log->configuration_capacity =
            log->configuration_capacity ? 2 * log->configuration_capacity : 4;
        log->configurations = memory_resize(log->configurations, log->configuration_capacity,
                                            sizeof *log->configurations);
    }
    log->configurations[log->configuration_count++] =
        (struct raft_log_configuration){index, *configuration};
    log->configuration_changes++;
}

static enum error_code decode_configuration(const struct raft_entry *entry,
                                            struct raft_configuration *configuration,
                                            struct error *error)
{
    struct error inner = {ERROR_OK, ""};
    enum error_code code = raft_configuration_decode(entry->payload.bytes, configuration, &inner);
    if (code == ERROR_OK) return ERROR_OK;
    return error_set(error, code, "configuration entry %llu: %s", (unsigned long long)entry->index,
                     inner.text);
}

static struct raft_entry *slot_of(const struct raft_log *log, raft_index index)
{
    return &log->ring[index & (log->ring_capacity - 1)];
}

static void push_entry(struct raft_log *log, const struct raft_entry *entry)
{
    if (log->tail_count == log->ring_capacity) grow_ring(log);
    log->last_index++;
    log->tail_count++;
    struct raft_entry *slot = slot_of(log, log->last_index);
    *slot = *entry;
    raft_log_keep_payload(slot);
    log->tail_bytes += raft_entry_size(slot);
}

static void grow_ring(struct raft_log *log)
{
    struct raft_log bigger = *log;
    bigger.ring_capacity = log->ring_capacity ? 2 * log->ring_capacity : RING_CAPACITY_MIN;
    bigger.ring = memory_alloc(bigger.ring_capacity * sizeof *bigger.ring);
    for (raft_index index = raft_log_tail_first(log); index <= log->last_index; index++) {
        *slot_of(&bigger, index) = *slot_of(log, index);
    }
    memory_free(log->ring);
    *log = bigger;
}
