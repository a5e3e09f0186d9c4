/*
 * Another version of the app over the state as it is.
 *
 * The new code gets a VM of its own beside the one that runs. It is loaded there, without init; where its version
 * differs from the old one's it then borrows the state, and its migrate(state, from_version) makes it over in one
 * transaction. When all of that has succeeded the two VMs change places, and the old one is closed. Else the
 * transaction is rolled back, and nothing of the old VM was ever touched.
 */
#include "script/fsm_internal.h"

#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <lauxlib.h>

static enum error_code migrate(struct fsm *fsm, struct fsm *next, const struct machine_versions *versions,
                               struct error *error);
static int run_migrate(lua_State *L);
static void change_places(struct fsm *fsm, struct fsm *next);
static void own_vm(struct fsm *fsm);

static enum error_code upgrade(void *context, const struct machine_entry *entry, struct slice bundle,
                               struct machine_versions *versions, struct error *error)
{
    struct fsm *fsm = context;
    assert(fsm->loaded);
    struct fsm *next = fsm_new_beside(fsm);
    *versions = (struct machine_versions){.from = fsm->version};
    next->restoring = true;
    enum error_code code = fsm_load(next, entry, bundle, (struct slice){0}, error);
    next->restoring = false;
    if (code == ERROR_OK) {
        versions->to = next->version;
        code = migrate(fsm, next, versions, error);
    }
    if (code == ERROR_OK) change_places(fsm, next);
    if (code == ERROR_INTERNAL) fsm->budget.exhausted = true;
    fsm_free(next);
    return code;
}

static enum error_code migrate(struct fsm *fsm, struct fsm *next, const struct machine_versions *versions,
                               struct error *error)
{
    if (versions->to == versions->from) return ERROR_OK;
    if (next->migrate == 0 && versions->to > versions->from) return ERROR_OK;
    if (next->migrate == 0) {
        return error_set(error, ERROR_SCRIPT,
                         "version %" PRId64 " cannot follow version %" PRId64
                         ": an older version needs a migrate(state, from_version) that knows the way back",
                         versions->to, versions->from);
    }
    struct fsm_call call = {.fsm = next, .from_version = versions->from};
    struct state *own = next->state;
    const struct budget limits = next->budget;
    next->state = fsm->state;
    next->budget.steps_max = next->migrate_steps_max;
    next->budget.memory_max = next->migrate_memory_max;
    next->budget.whose = "migrate";
    state_begin(next->state);
    enum error_code code = fsm_run(next, run_migrate, &call, FSM_COMMAND);
    if (code != ERROR_OK) {
        char text[FSM_MESSAGE_MAX];
        if (FAULT(MIGRATE_HALF_KEPT))
            state_commit(next->state);
        else
            state_rollback(next->state);
        code = error_set(error, code == ERROR_INTERNAL ? code : ERROR_SCRIPT, "migrate from version %" PRId64 ": %s",
                         versions->from, fsm_failure_text(next, text));
    } else {
        state_commit(next->state);
    }
    next->state = own;
    next->budget.steps_max = limits.steps_max;
    next->budget.memory_max = limits.memory_max;
    next->budget.whose = limits.whose;
    return code;
}

/* What it returns is the state: the one it was given, or a table that takes its place. */
static int run_migrate(lua_State *L)
{
    struct fsm_call *call = lua_touserdata(L, 1);
    struct fsm *fsm = call->fsm;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fsm->migrate);
    fsm_push_table(fsm, state_root(fsm->state));
    lua_pushinteger(L, call->from_version);
    lua_call(L, 2, 1);
    if (fsm_is_handle(L, -1) && fsm_check_table(L, lua_gettop(L)) == state_root(fsm->state)) return 0;
    if (!fsm_is_handle(L, -1) && !lua_istable(L, -1)) {
        return luaL_error(L, "it must return the state, or a table to take its place; it returned %s",
                          luaL_typename(L, -1));
    }
    uint64_t before = state_written(fsm->state);
    state_put_root(fsm->state, fsm_build(L, lua_gettop(L), 1));
    budget_charge_bytes(L, state_written(fsm->state) - before);
    if (state_written(fsm->state) > fsm->budget.memory_max) budget_end(L, BUDGET_MEMORY);
    return 0;
}

/* The VMs with all that belongs to them. The state with its snapshot and its stage, and what was applied last, stay. */
static void change_places(struct fsm *fsm, struct fsm *next)
{
    const struct fsm old = *fsm, new = *next;
    *fsm = new;
    *next = old;
    struct fsm *const places[] = {fsm, next};
    const struct fsm *const kept[] = {&old, &new};
    for (size_t i = 0; i < 2; i++) {
        places[i]->state = kept[i]->state;
        places[i]->snapshot = kept[i]->snapshot;
        places[i]->restore = kept[i]->restore;
        places[i]->stage = kept[i]->stage;
        places[i]->replaced = kept[i]->replaced;
        own_vm(places[i]);
    }
}

static void own_vm(struct fsm *fsm)
{
    *(struct fsm **)lua_getextraspace(fsm->L) = fsm;
    lua_setallocf(fsm->L, budget_allocate, &fsm->budget);
}

void fsm_machine_upgrade(struct machine *machine)
{
    machine->upgrade = upgrade;
}
