/*
 * The state as bytes while commands go on, and the way back: a VM as new, the app's code without its
 * init, and the tree built from the bytes without a line of Lua.
 *
 * What a script keeps outside of `state` (a local of its module that a command changes) is in no
 * snapshot, as it is in no hash.
 */
#include "script/fsm_internal.h"

#include <assert.h>

static uint64_t snapshot_begin(void *context)
{
    struct fsm *fsm = context;
    assert(fsm->snapshot == NULL);
    fsm->snapshot = state_snapshot_begin(fsm->state);
    return state_snapshot_hash(fsm->snapshot);
}

static bool snapshot_step(void *context, size_t work_max, struct buffer *out)
{
    return state_snapshot_step(((struct fsm *)context)->snapshot, work_max, out);
}

static void snapshot_end(void *context)
{
    struct fsm *fsm = context;
    state_snapshot_end(fsm->snapshot);
    fsm->snapshot = NULL;
}

/* What has loaded once loads again, however small the budget may have become since: else a node that is restored would
 * stop where the others go on. */
static enum error_code restore_begin(void *context, const struct machine_entry *entry,
                                     struct slice bundle, struct error *error)
{
    struct fsm *fsm = context;
    fsm_upgrade_abandon(fsm);
    fsm_reset(fsm);
    const struct budget limits = fsm->budget;
    fsm->restoring = true;
    fsm->budget.steps_max = INT64_MAX;
    fsm->budget.memory_max = fsm->budget.block_max = SIZE_MAX;
    enum error_code code = fsm_load(fsm, entry, bundle, (struct slice){0}, error);
    fsm->restoring = false;
    fsm->budget.steps_max = limits.steps_max;
    fsm->budget.memory_max = limits.memory_max;
    fsm->budget.block_max = limits.block_max;
    if (code == ERROR_OK) fsm->restore = state_restore_begin();
    return code;
}

static enum error_code restore_feed(void *context, struct slice bytes, size_t *used,
                                    struct error *error)
{
    return state_restore_feed(((struct fsm *)context)->restore, bytes, used, error);
}

static enum error_code restore_finish(void *context, const struct machine_entry *entry,
                                      uint64_t hash, struct error *error)
{
    struct fsm *fsm = context;
    enum error_code code = state_restore_finish(fsm->restore, hash, fsm->state, error);
    fsm_restore_abandon(fsm);
    fsm->entry = *entry;
    return code;
}

void fsm_restore_abandon(struct fsm *fsm)
{
    state_restore_free(fsm->restore);
    fsm->restore = NULL;
}

void fsm_machine_snapshots(struct machine *machine)
{
    machine->snapshot_begin = snapshot_begin;
    machine->snapshot_step = snapshot_step;
    machine->snapshot_end = snapshot_end;
    machine->restore_begin = restore_begin;
    machine->restore_feed = restore_feed;
    machine->restore_finish = restore_finish;
}
