/*
 * Another app and state in place of the current ones. The state grows beside the current one, which goes on;
 * the code is tried in a VM of its own before anything else, so that taking cannot fail halfway: it loads
 * again as it did then.
 */
#include "script/fsm_internal.h"

#include <assert.h>

#define SWEEP_KEYS 1024 /* of one call: under a millisecond */

static bool sweep_key(struct state *state);

static enum error_code stage_begin(void *context, const struct settings *settings,
                                   const struct machine_entry *entry, struct slice bundle,
                                   struct error *error)
{
    struct fsm *fsm = context;
    struct fsm *trial = fsm_new(settings, NULL, NULL);
    assert(fsm->stage == NULL);
    trial->restoring = true;
    enum error_code code = fsm_load(trial, entry, bundle, (struct slice){0}, error);
    if (trial->budget.exhausted) fsm->budget.exhausted = true;
    fsm_free(trial);
    if (code == ERROR_OK) fsm->stage = state_restore_begin();
    return code;
}

static enum error_code stage_feed(void *context, struct slice bytes, size_t *used, struct error *error)
{
    return state_restore_feed(((struct fsm *)context)->stage, bytes, used, error);
}

static enum error_code stage_take(void *context, const struct settings *settings,
                                  const struct machine_entry *entry, struct slice bundle,
                                  const struct machine_entry *last, uint64_t hash, struct error *error)
{
    struct fsm *fsm = context;
    struct state *next = state_new();
    enum error_code code = state_restore_finish(fsm->stage, hash, next, error);
    if (code != ERROR_OK) {
        state_free(next);
        return code;
    }
    fsm_stage_abandon(fsm);
    state_free(fsm->replaced);
    fsm->replaced = fsm->state;
    fsm->state = state_new();
    fsm_reset(fsm);
    fsm_limit(fsm, settings);
    fsm->restoring = true;
    code = fsm_load(fsm, entry, bundle, (struct slice){0}, error);
    fsm->restoring = false;
    assert(code == ERROR_OK || code == ERROR_INTERNAL); /* it did load: stage_begin */
    state_free(fsm->state);
    fsm->state = next;
    fsm->entry = *last;
    return code;
}

static void stage_end(void *context)
{
    fsm_stage_abandon(context);
}

void fsm_stage_abandon(struct fsm *fsm)
{
    state_restore_free(fsm->stage);
    fsm->stage = NULL;
}

void fsm_stage_deinit(struct fsm *fsm)
{
    fsm_stage_abandon(fsm);
    state_free(fsm->replaced);
    fsm->replaced = NULL;
}

/* From the end, which costs least to cut off. */
static bool stage_sweep(void *context)
{
    struct fsm *fsm = context;
    if (fsm->replaced == NULL) return false;
    unsigned left = SWEEP_KEYS;
    state_begin(fsm->replaced);
    while (left > 0 && sweep_key(fsm->replaced)) left--;
    state_commit(fsm->replaced);
    if (left == 0) return true;
    state_free(fsm->replaced);
    fsm->replaced = NULL;
    return false;
}

/* The last key of the last table that has any; false: there is none. */
static bool sweep_key(struct state *state)
{
    struct state_table *table = state_root(state);
    for (;;) {
        struct state_cursor cursor;
        struct state_key key;
        struct state_value value;
        state_scan(&cursor, table, &(struct state_range){.reverse = true});
        if (!state_scan_next(&cursor, &key, &value)) return false; /* only the root can be empty here */
        if (value.type != STATE_TABLE || state_count(value.table) == 0) {
            state_put(state, table, key, state_nil());
            return true;
        }
        table = value.table;
    }
}

void fsm_machine_stage(struct machine *machine)
{
    machine->stage_begin = stage_begin;
    machine->stage_feed = stage_feed;
    machine->stage_take = stage_take;
    machine->stage_end = stage_end;
    machine->stage_sweep = stage_sweep;
}
