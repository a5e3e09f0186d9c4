/*
 * Another version of the app over the state as it is.
 *
 * The new code gets a VM of its own beside the one that runs, and is loaded there, without init. Where its version
 * differs from the old one's it then borrows the state, and its migrate(state, from_version) makes it over in one
 * transaction: in a coroutine that yields after so many steps, because making a large state over takes longer than a
 * node may be silent. Nobody sees the state meanwhile. When all has succeeded the two VMs change places, and the old
 * one is closed. Else the transaction is rolled back, and nothing of the old VM was ever touched.
 *
 * The VM in which migrate has run is closed as well: the one that goes on has loaded the same code, and no more. What
 * migrate leaves in a local of its module, or on the heap, is in no snapshot: a node that comes out of one would go
 * another way.
 */
#include "script/fsm_internal.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <lauxlib.h>

struct fsm_upgrade {
    struct fsm_call call; /* first: what runs in next gets a pointer to it */
    struct fsm *next;
    struct fsm *fresh; /* what goes on where next runs migrate; null: next */
    lua_State *main, *coroutine; /* of next; coroutine is null where there is no migrate to run */
    struct state *own;           /* next's, while it has borrowed the other's */
    uint64_t steps_max, memory_max; /* what a command may use, meanwhile */
    int64_t from_version;
    uint64_t hash;
};

static enum error_code load_beside(const struct fsm *fsm, const struct machine_entry *entry, struct slice bundle,
                                   struct fsm **loaded, struct error *error);
static void fail(struct fsm *fsm, enum error_code code);
static enum error_code begin_migrate(struct fsm *fsm, struct error *error);
static int make_coroutine(lua_State *L);
static enum error_code step_migrate(struct fsm_upgrade *upgrade, uint64_t work_max, bool *more, struct error *error);
static enum error_code end_migrate(struct fsm_upgrade *upgrade, int status, struct error *error);
static void give_back(struct fsm_upgrade *upgrade);
static int run_migrate(lua_State *L);
static int migrate_returned(lua_State *L, int status, lua_KContext context);
static int take_result(lua_State *L);
static void change_places(struct fsm *fsm, struct fsm *next);
static void own_vm(struct fsm *fsm);

static enum error_code upgrade_begin(void *context, const struct machine_entry *entry, struct slice bundle,
                                     struct machine_versions *versions, struct error *error)
{
    struct fsm *fsm = context;
    assert(fsm->loaded && !fsm->upgrade);
    struct fsm_upgrade *upgrade = fsm->upgrade = memory_zero(1, sizeof *upgrade);
    enum error_code code = load_beside(fsm, entry, bundle, &upgrade->next, error);
    struct fsm *next = upgrade->next;
    upgrade->call.fsm = next;
    upgrade->main = next->L;
    upgrade->from_version = fsm->version;
    upgrade->hash = state_hash(fsm->state);
    *versions = (struct machine_versions){.from = fsm->version, .to = next->version};
    if (code == ERROR_OK && next->migrate == 0 && next->version < fsm->version) {
        code = error_set(error, ERROR_SCRIPT,
                         "version %" PRId64 " cannot follow version %" PRId64
                         ": an older version needs a migrate(state, from_version) that knows the way back",
                         next->version, fsm->version);
    }
    if (code == ERROR_OK && next->migrate != 0 && next->version != fsm->version) {
        code = load_beside(fsm, entry, bundle, &upgrade->fresh, error);
        if (code == ERROR_OK) code = begin_migrate(fsm, error);
    }
    if (code != ERROR_OK) fail(fsm, code);
    return code;
}

/* Without its init. What it logs as it is loaded is said once. */
static enum error_code load_beside(const struct fsm *fsm, const struct machine_entry *entry, struct slice bundle,
                                   struct fsm **loaded, struct error *error)
{
    struct fsm *beside = *loaded = fsm_new_beside(fsm);
    bool again = loaded == &fsm->upgrade->fresh;
    if (again) beside->log = NULL;
    beside->restoring = true;
    enum error_code code = fsm_load(beside, entry, bundle, (struct slice){0}, error);
    beside->restoring = false;
    beside->log = fsm->log;
    return code;
}

static enum error_code upgrade_step(void *context, uint64_t work_max, bool *more, struct error *error)
{
    struct fsm *fsm = context;
    struct fsm_upgrade *upgrade = fsm->upgrade;
    enum error_code code = ERROR_OK;
    *more = false;
    if (upgrade->coroutine) code = step_migrate(upgrade, work_max, more, error);
    if (*more) return code;
    if (code != ERROR_OK) {
        fail(fsm, code);
        return code;
    }
    if (upgrade->fresh) {
        fsm_free(upgrade->next);
        upgrade->next = upgrade->fresh;
        upgrade->fresh = NULL;
    }
    change_places(fsm, upgrade->next);
    fsm_upgrade_abandon(fsm); /* which is the old VM now */
    return code;
}

/* Where it was raised is kept, for whoever asks. */
static void fail(struct fsm *fsm, enum error_code code)
{
    struct fsm *next = fsm->upgrade->next;
    const struct buffer traceback = fsm->traceback;
    fsm->traceback = next->traceback;
    next->traceback = traceback;
    if (code == ERROR_INTERNAL) fsm->budget.exhausted = true;
    fsm_upgrade_abandon(fsm);
}

static void upgrade_end(void *context)
{
    fsm_upgrade_abandon(context);
}

void fsm_upgrade_abandon(struct fsm *fsm)
{
    struct fsm_upgrade *upgrade = fsm->upgrade;
    if (!upgrade) return;
    if (upgrade->own) {
        fsm_end_handles(upgrade->next);
        state_rollback(upgrade->next->state);
        give_back(upgrade);
    }
    fsm_free(upgrade->next);
    fsm_free(upgrade->fresh);
    memory_free(upgrade);
    fsm->upgrade = NULL;
}

uint64_t fsm_upgrade_hash(const struct fsm *fsm)
{
    return fsm->upgrade->hash;
}

/* ---- migrate ---- */

static enum error_code begin_migrate(struct fsm *fsm, struct error *error)
{
    struct fsm_upgrade *upgrade = fsm->upgrade;
    struct fsm *next = upgrade->next;
    struct budget *budget = &next->budget;
    if (fsm_run(next, make_coroutine, &upgrade->call, FSM_LOADING) != ERROR_OK) {
        return error_set(error, budget->exhausted ? ERROR_INTERNAL : ERROR_SCRIPT, "no memory is left for migrate");
    }
    upgrade->own = next->state;
    next->state = fsm->state;
    upgrade->steps_max = budget->steps_max;
    upgrade->memory_max = budget->memory_max;
    budget->steps_max = next->migrate_steps_max;
    budget->memory_max = next->migrate_memory_max;
    budget->whose = "migrate";
    budget->L = upgrade->coroutine;
    budget_begin(budget);
    state_begin(next->state);
    return ERROR_OK;
}

/* The registry keeps it as long as its VM lives. */
static int make_coroutine(lua_State *L)
{
    struct fsm_upgrade *upgrade = lua_touserdata(L, 1);
    lua_State *co = lua_newthread(L);
    lua_pushcfunction(co, run_migrate);
    lua_pushlightuserdata(co, upgrade);
    luaL_ref(L, LUA_REGISTRYINDEX);
    upgrade->coroutine = co;
    return 0;
}

static enum error_code step_migrate(struct fsm_upgrade *upgrade, uint64_t work_max, bool *more, struct error *error)
{
    struct fsm *next = upgrade->next;
    lua_State *co = upgrade->coroutine;
    int results = 0;
    next->L = co;
    next->mode = FSM_COMMAND;
    budget_slice(&next->budget, work_max);
    int status = lua_resume(co, upgrade->main, lua_status(co) == LUA_OK ? 1 : 0, &results);
    next->L = upgrade->main;
    next->mode = FSM_IDLE;
    *more = status == LUA_YIELD;
    if (*more) return ERROR_OK;
    if (status == LUA_OK) {
        status = (int)lua_tointeger(co, -1);
        lua_pop(co, 1);
    }
    return end_migrate(upgrade, status, error);
}

/* The error, where there is one, is on top of the coroutine's stack. */
static enum error_code end_migrate(struct fsm_upgrade *upgrade, int status, struct error *error)
{
    struct fsm *next = upgrade->next;
    char text[FSM_MESSAGE_MAX];
    lua_settop(next->L, 0);
    if (status != LUA_OK) lua_xmove(upgrade->coroutine, next->L, 1);
    enum error_code code = fsm_run_ended(next, status);
    if (code == ERROR_OK) {
        state_commit(next->state);
    } else {
        if (FAULT(MIGRATE_HALF_KEPT))
            state_commit(next->state);
        else
            state_rollback(next->state);
        code = error_set(error, code == ERROR_INTERNAL ? code : ERROR_SCRIPT, "migrate from version %" PRId64 ": %s",
                         upgrade->from_version, fsm_failure_text(next, text));
    }
    give_back(upgrade);
    return code;
}

/* The state to its owner, and to the new code what is a command's. */
static void give_back(struct fsm_upgrade *upgrade)
{
    struct budget *budget = &upgrade->next->budget;
    upgrade->next->state = upgrade->own;
    upgrade->own = NULL;
    budget->L = upgrade->main;
    budget->sliced = false;
    budget->whose = "command";
    budget->steps_max = upgrade->steps_max;
    budget->memory_max = upgrade->memory_max;
}

/* ---- in the coroutine: 1 is the upgrade, 2 the message handler ---- */

static int run_migrate(lua_State *L)
{
    struct fsm_upgrade *upgrade = lua_touserdata(L, 1);
    struct fsm *fsm = upgrade->next;
    lua_pushcfunction(L, fsm_trace);
    lua_rawgeti(L, LUA_REGISTRYINDEX, fsm->migrate);
    fsm_push_table(fsm, state_root(fsm->state));
    lua_pushinteger(L, upgrade->from_version);
    return migrate_returned(L, lua_pcallk(L, 2, 1, 2, 0, migrate_returned), 0);
}

/* Answers the error, if any, and the status. */
static int migrate_returned(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    if (status == LUA_OK || status == LUA_YIELD) {
        lua_pushcfunction(L, take_result);
        lua_insert(L, -2);
        status = lua_pcall(L, 1, 1, 2);
    }
    lua_pushinteger(L, status);
    return 2;
}

/* What migrate returns is the state: the one it was given, or a table that takes its place. */
static int take_result(lua_State *L)
{
    struct fsm *fsm = fsm_of(L);
    if (fsm_is_handle(L, 1) && fsm_check_table(L, 1) == state_root(fsm->state)) return 0;
    if (!fsm_is_handle(L, 1) && !lua_istable(L, 1)) {
        return luaL_error(L, "it must return the state, or a table to take its place; it returned %s",
                          luaL_typename(L, 1));
    }
    uint64_t before = state_written(fsm->state);
    state_put_root(fsm->state, fsm_build(L, 1, 1));
    budget_charge_bytes(L, state_written(fsm->state) - before);
    if (state_written(fsm->state) > fsm->budget.memory_max) budget_end(L, BUDGET_MEMORY);
    return 0;
}

/* ---- the end ---- */

/* The VMs with all that belongs to them. The state and what is done with it beside commands stay. */
static void change_places(struct fsm *fsm, struct fsm *next)
{
    const struct fsm old = *fsm, new = *next;
    struct fsm *const places[] = {fsm, next};
    const struct fsm *const kept[] = {&old, &new};
    *fsm = new;
    *next = old;
    for (size_t i = 0; i < 2; i++) {
        places[i]->state = kept[i]->state;
        places[i]->snapshot = kept[i]->snapshot;
        places[i]->restore = kept[i]->restore;
        places[i]->stage = kept[i]->stage;
        places[i]->replaced = kept[i]->replaced;
        places[i]->upgrade = kept[i]->upgrade;
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
    machine->upgrade_begin = upgrade_begin;
    machine->upgrade_step = upgrade_step;
    machine->upgrade_end = upgrade_end;
}
