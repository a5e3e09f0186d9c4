/* The log meets a snapshot: taken here, it lets the log forget its beginning; installed, it takes the
 * place of the whole log. See log.h. */
#include "base/mutant.h"
#include "raft/configuration.h"
#include "raft/log.h"

#include <assert.h>
#include <string.h>

static void forget_configurations(struct raft_log *log, raft_index upto);
static void forget_runs(struct raft_log *log, raft_index base);

/* The configurations behind the snapshot are kept: taking one changes nothing of what is in force. */
void raft_log_snapshot(struct raft_log *log, const struct raft_snapshot_meta *meta)
{
    assert(meta->index >= log->base.index && meta->index <= log->last_index);
    raft_index at;
    const struct raft_configuration *then = raft_log_configuration_at(log, meta->index, &at);
    assert(at == meta->configuration_index);
    if (FAULT(COMPACTED_CONFIGURATION)) {
        forget_configurations(log, meta->index);
        return;
    }
    if (then != &log->snapshot_configuration.configuration) {
        raft_configuration_copy(&log->snapshot_configuration.configuration, then);
        log->snapshot_configuration.index = at;
    }
    forget_configurations(log, meta->index);
}

void raft_log_compact(struct raft_log *log, raft_index index)
{
    assert(index > log->base.index && index <= log->last_index);
    struct raft_log_base base = {index, raft_log_term_at(log, index), 0};
    log->base_chain_known = raft_log_chain_at(log, index, &base.chain);
    raft_log_trim(log, index, 0);
    forget_runs(log, index);
    log->base = base;
}

void raft_log_install(struct raft_log *log, const struct raft_snapshot_meta *meta)
{
    struct raft_configuration configuration = {0};
    struct error error;
    enum error_code code = raft_configuration_decode(meta->configuration, &configuration, &error);
    assert(code == ERROR_OK); /* it was read when the snapshot was offered (install.c) */
    raft_log_trim(log, log->last_index, 0);
    log->base = (struct raft_log_base){meta->index, meta->term, meta->chain};
    log->base_chain_known = true;
    log->last_index = meta->index;
    log->last_chain = meta->chain;
    log->last_known = true;
    log->run_count = 0;
    if (!FAULT(CONFIGURATION_OUTLIVES_INSTALL)) forget_configurations(log, UINT64_MAX);
    raft_configuration_deinit(&log->snapshot_configuration.configuration);
    log->snapshot_configuration =
        (struct raft_log_configuration){meta->configuration_index, configuration};
    log->configuration_changes++;
}

const struct raft_configuration *raft_log_configuration_at(const struct raft_log *log,
                                                           raft_index index, raft_index *at)
{
    const struct raft_log_configuration *found = &log->snapshot_configuration;
    for (size_t i = 0; i < log->configuration_count; i++) {
        if (log->configurations[i].index <= index) found = &log->configurations[i];
    }
    if (at) *at = found->index;
    return &found->configuration;
}

static void forget_configurations(struct raft_log *log, raft_index upto)
{
    size_t count = 0;
    while (count < log->configuration_count && log->configurations[count].index <= upto) {
        raft_configuration_deinit(&log->configurations[count++].configuration);
    }
    if (count == 0) return;
    log->configuration_count -= count;
    memmove(log->configurations, log->configurations + count,
            log->configuration_count * sizeof *log->configurations);
}

/* The run that holds the new base stays: what follows may be of its term. */
static void forget_runs(struct raft_log *log, raft_index base)
{
    size_t count = raft_log_run_of(log, base);
    log->run_count -= count;
    memmove(log->runs, log->runs + count, log->run_count * sizeof *log->runs);
}
