/*
 * The fsm VM behind base/machine.h: loads an app, applies commands, answers queries, and says what
 * went wrong.
 *
 * A command runs in one protected call from its bytes to its result's bytes. Only when all of that
 * has succeeded is the transaction on the state tree committed: a command that raises, exceeds its
 * budget, returns what is no plain data, or refuses (nil and an error) leaves nothing behind.
 *
 * The ways of failing are in fsm_failure.c, loading is in fsm_load.c, snapshots are in fsm_snapshot.c,
 * another version of the app in fsm_upgrade.c.
 */
#include "script/fsm_internal.h"

#include "base/memory.h"
#include "base/request.h"
#include "script/bundle.h"
#include "script/values.h"

#include <assert.h>
#include <lauxlib.h>
#include <locale.h>
#include <string.h>

static void take_limits(struct fsm *fsm, const struct fsm *from);
static void open_fsm(struct fsm *fsm);
static void close_fsm(struct fsm *fsm);
static int open_vm(lua_State *L);
static int run_named(lua_State *L);

/* ---- life ---- */

struct fsm *fsm_new(const struct settings *settings, void (*log)(void *context, const char *text),
                    void *log_context)
{
    static const int categories[] = {LC_COLLATE, LC_CTYPE,
                                     LC_NUMERIC}; /* Lua's strings and numbers follow them */
    for (size_t i = 0; i < 3; i++) assert(strcmp(setlocale(categories[i], NULL), "C") == 0);
    struct fsm *fsm = memory_zero(1, sizeof *fsm);
    fsm->log = log;
    fsm->log_context = log_context;
    open_fsm(fsm);
    fsm_limit(fsm, settings);
    return fsm;
}

struct fsm *fsm_new_beside(const struct fsm *fsm)
{
    struct fsm *beside = memory_zero(1, sizeof *beside);
    beside->log = fsm->log;
    beside->log_context = fsm->log_context;
    open_fsm(beside);
    take_limits(beside, fsm);
    beside->budget.fail_in = fsm->budget.fail_in;
    return beside;
}

static void take_limits(struct fsm *fsm, const struct fsm *from)
{
    fsm->budget.steps_max = from->budget.steps_max;
    fsm->budget.memory_max = from->budget.memory_max;
    fsm->budget.block_max = from->budget.block_max;
    fsm->migrate_steps_max = from->migrate_steps_max;
    fsm->migrate_memory_max = from->migrate_memory_max;
}

void fsm_free(struct fsm *fsm)
{
    if (!fsm) return;
    fsm_upgrade_abandon(fsm);
    fsm_stage_deinit(fsm);
    close_fsm(fsm);
    buffer_deinit(&fsm->scratch);
    buffer_deinit(&fsm->traceback);
    buffer_deinit(&fsm->names);
    memory_free(fsm->handles);
    memory_free(fsm);
}

/* The VM's own first blocks are made without limits: no script runs yet. */
static void open_fsm(struct fsm *fsm)
{
    fsm->state = state_new();
    fsm->budget = (struct budget){.whose = "command", .memory_max = SIZE_MAX, .block_max = SIZE_MAX};
    fsm->L = fsm->budget.L = lua_newstate(budget_allocate, &fsm->budget);
    assert(fsm->L);
    *(struct fsm **)lua_getextraspace(fsm->L) = fsm;
    lua_pushcfunction(fsm->L, open_vm);
    int status = lua_pcall(fsm->L, 0, 0, 0);
    assert(status == LUA_OK);
    (void)status;
}

static void close_fsm(struct fsm *fsm)
{
    fsm_restore_abandon(fsm);
    if (fsm->snapshot) state_snapshot_end(fsm->snapshot);
    fsm->snapshot = NULL;
    lua_close(fsm->L);
    state_free(fsm->state);
}

void fsm_reset(struct fsm *fsm)
{
    const struct fsm before = *fsm;
    close_fsm(fsm);
    open_fsm(fsm);
    take_limits(fsm, &before);
    fsm->budget.exhausted = before.budget.exhausted;
    fsm->budget.fail_in = before.budget.fail_in;
    fsm->handle_count = 0;
    fsm->loaded = false;
}

void fsm_fail_allocation(struct fsm *fsm, uint64_t nth)
{
    fsm->budget.fail_in = nth;
}

bool fsm_exhausted(const struct fsm *fsm)
{
    return fsm->budget.exhausted;
}

void fsm_limit(struct fsm *fsm, const struct settings *settings)
{
    fsm->budget.steps_max = settings->command_steps_max;
    fsm->budget.memory_max = settings->command_memory_max;
    fsm->budget.block_max = settings->block_bytes_max;
    fsm->migrate_steps_max = settings->migrate_steps_max;
    fsm->migrate_memory_max = settings->migrate_memory_max;
}

static int context_index(lua_State *L);
static int context_newindex(lua_State *L);

static int open_vm(lua_State *L)
{
    struct fsm *fsm = fsm_of(L);
    sandbox_open(fsm);
    fsm_state_open(fsm);
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushcfunction(L, sandbox_random);
    lua_pushcclosure(L, context_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, context_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    fsm->context = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- ctx: one object for all commands, which reads the entry being applied ---- */

static int context_index(lua_State *L)
{
    static const struct {
        const char *name;
        size_t offset;
    } fields[] = {
        {"index", offsetof(struct machine_entry, index)},
        {"term", offsetof(struct machine_entry, term)},
        {"time", offsetof(struct machine_entry, time_ms)},
        {"session", offsetof(struct machine_entry, session)},
    };
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (strcmp(fields[i].name, name) != 0) continue;
        uint64_t value;
        memcpy(&value, (const char *)&fsm_of(L)->entry + fields[i].offset, sizeof value);
        lua_pushinteger(L, (lua_Integer)value);
        return 1;
    }
    if (strcmp(name, "random") != 0) return 0;
    lua_pushvalue(L, lua_upvalueindex(1));
    return 1;
}

static int context_newindex(lua_State *L)
{
    return luaL_error(L, "ctx cannot be changed");
}

/* ---- the machine ---- */

static void begin_entry(struct fsm *fsm, const struct machine_entry *entry)
{
    fsm->entry = *entry;
    random_init(&fsm->random, entry->seed);
}

static void machine_configure(void *context, const struct settings *settings)
{
    fsm_limit(context, settings);
}

static enum error_code machine_load(void *context, const struct machine_entry *entry,
                                    struct slice bundle, struct slice config, struct error *error)
{
    struct fsm *fsm = context;
    assert(!fsm->loaded);
    enum error_code code = fsm_load(fsm, entry, bundle, config, error);
    if (code != ERROR_OK) fsm_reset(fsm); /* another may follow */
    return code;
}

enum error_code fsm_load(struct fsm *fsm, const struct machine_entry *entry, struct slice bundle,
                         struct slice config, struct error *error)
{
    enum error_code code = bundle_verify(bundle, error);
    if (code) return code;
    begin_entry(fsm, entry);
    fsm->bundle = bundle;
    struct fsm_call call = {.fsm = fsm, .arguments = config};
    state_begin(fsm->state);
    code = fsm_run(fsm, fsm_load_app, &call, FSM_LOADING);
    fsm->bundle = (struct slice){0};
    if (code) {
        state_rollback(fsm->state);
        char text[FSM_MESSAGE_MAX];
        return error_set(error, code == ERROR_INTERNAL ? code : ERROR_SCRIPT, "%s", fsm_failure_text(fsm, text));
    }
    state_commit(fsm->state);
    fsm->loaded = true;
    return ERROR_OK;
}

/* [name, arguments] */
static bool read_body(struct slice body, struct fsm_call *call)
{
    const struct mp_limits limits = {
        .depth = VALUE_DEPTH_MAX + 1, .elements = UINT64_MAX, .bytes = SIZE_MAX};
    if (mp_check(body, &limits, NULL)) return false;
    struct mp_reader reader = mp_reader_of(body);
    uint32_t count;
    if (!mp_read_array(&reader, &count) || count < 1 || count > 2 ||
        !mp_read_string(&reader, &call->name)) {
        return false;
    }
    return count == 1 || mp_skip(&reader, &call->arguments);
}

static enum error_code answer(struct fsm *fsm, struct slice body, struct buffer *reply,
                              enum fsm_mode mode)
{
    struct fsm_call call = {.fsm = fsm, .reply = reply};
    size_t before = reply->size;
    if (!read_body(body, &call)) {
        reply_write_error(reply, ERROR_BAD_REQUEST,
                          "a request is the msgpack array [name, arguments]");
        return ERROR_BAD_REQUEST;
    }
    enum error_code code = fsm_run(fsm, run_named, &call, mode);
    if (code == ERROR_COMMAND_FAILED || code == ERROR_INTERNAL) {
        reply->size = before;
        fsm_write_failure(fsm, reply);
    }
    return code;
}

static enum error_code machine_apply(void *context, const struct machine_entry *entry,
                                     struct slice body, struct buffer *reply)
{
    struct fsm *fsm = context;
    begin_entry(fsm, entry);
    state_begin(fsm->state);
    enum error_code code = answer(fsm, body, reply, FSM_COMMAND);
    if (code) {
        state_rollback(fsm->state);
    } else {
        state_commit(fsm->state);
    }
    return code;
}

/* Chance in a query is that of the entry applied last: the same question gives the same answer. */
static enum error_code machine_query(void *context, struct slice body, struct buffer *reply)
{
    struct fsm *fsm = context;
    random_init(&fsm->random, fsm->entry.seed);
    return answer(fsm, body, reply, FSM_QUERY);
}

static uint64_t machine_hash(void *context)
{
    const struct fsm *fsm = context;
    return fsm->upgrade ? fsm_upgrade_hash(fsm) : state_hash(fsm->state);
}

static void machine_encode(void *context, struct buffer *out)
{
    state_encode(state_root(((struct fsm *)context)->state), out);
}

void fsm_machine(struct fsm *fsm, struct machine *machine)
{
    *machine = (struct machine){
        .context = fsm,
        .configure = machine_configure,
        .load = machine_load,
        .apply = machine_apply,
        .query = machine_query,
        .hash = machine_hash,
        .encode = machine_encode,
    };
    fsm_machine_snapshots(machine);
    fsm_machine_stage(machine);
    fsm_machine_upgrade(machine);
}

enum error_code fsm_check(struct slice bundle, struct slice config, const struct settings *settings,
                          struct error *error)
{
    struct fsm *fsm = fsm_new(settings, NULL, NULL);
    const struct machine_entry entry = {.index = 1, .term = 1};
    enum error_code code = machine_load(fsm, &entry, bundle, config, error);
    fsm_free(fsm);
    return code;
}

/* ---- one protected call ---- */

enum error_code fsm_run(struct fsm *fsm, lua_CFunction function, struct fsm_call *call, enum fsm_mode mode)
{
    lua_State *L = fsm->L;
    lua_settop(L, 0);
    buffer_clear(&fsm->traceback);
    budget_begin(&fsm->budget);
    fsm->mode = mode;
    lua_pushcfunction(L, fsm_trace);
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, call);
    enum error_code code = fsm_run_ended(fsm, lua_pcall(L, 1, 0, 1));
    return code == ERROR_OK ? call->code : code;
}

enum error_code fsm_run_ended(struct fsm *fsm, int status)
{
    if (status == LUA_ERRMEM && fsm->budget.stop == BUDGET_RUNS)
        fsm->budget.stop = budget_memory_stop(&fsm->budget);
    if (fsm->budget.exhausted) fsm->budget.stop = BUDGET_EXHAUSTED; /* whatever has come of it */
    fsm->mode = FSM_IDLE;
    budget_pause(&fsm->budget);
    fsm_end_handles(fsm);
    if (fsm->budget.exhausted) return ERROR_INTERNAL;
    return status != LUA_OK || fsm->budget.stop != BUDGET_RUNS ? ERROR_COMMAND_FAILED : ERROR_OK;
}

/* Missing and nil arguments come as an empty table. false: there is something in them that Lua
 * cannot hold. */
bool fsm_push_arguments(lua_State *L, struct slice bytes)
{
    struct mp_reader reader = mp_reader_of(bytes);
    if (bytes.size > 0) {
        if (!value_push(L, &reader)) return false;
        if (!lua_isnil(L, -1)) return true;
        lua_pop(L, 1);
    }
    lua_newtable(L);
    return true;
}

static void encode_plain(lua_State *L, int at, struct buffer *out)
{
    struct fsm *fsm = fsm_of(L);
    size_t before = out->size;
    struct value_rules rules = {
        .foreign = fsm_encode_handle,
        .bytes_max = before + fsm->budget.block_max,
        .refuse_metatables = true,
    };
    value_encode_with(L, at, out, &rules);
    budget_charge_bytes(L, out->size - before);
}

static void encode_refusal(lua_State *L, int at, struct buffer *out);

/* Ends a call whose function was not run. */
static int refuse(struct fsm_call *call, enum error_code code, const char *message)
{
    call->code = code;
    reply_write_error(call->reply, code, message);
    return 0;
}

static int run_named(lua_State *L)
{
    struct fsm_call *call = lua_touserdata(L, 1);
    struct fsm *fsm = call->fsm;
    bool query = fsm->mode == FSM_QUERY;
    lua_pushlstring(L, (const char *)call->name.data, call->name.size);
    lua_rawgeti(L, LUA_REGISTRYINDEX, query ? fsm->queries : fsm->commands);
    bool found = false;
    if (fsm->loaded) {
        lua_pushvalue(L, 2);
        found = lua_rawget(L, 3) == LUA_TFUNCTION;
    }
    if (!found) {
        lua_pushfstring(L, "the app has no %s '%s'", query ? "query" : "command",
                        lua_tostring(L, 2));
        return refuse(call, ERROR_NO_SUCH_COMMAND, lua_tostring(L, -1));
    }
    fsm_push_table(fsm, state_root(fsm->state));
    if (!fsm_push_arguments(L, call->arguments)) {
        return refuse(call, ERROR_BAD_REQUEST,
                      "the arguments are nested too deep, or a key is no string or integer");
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, fsm->context);
    lua_call(L, 3, 2);
    if (lua_isnil(L, -2) && !lua_isnil(L, -1)) {
        call->code = ERROR_REJECTED;
        encode_refusal(L, lua_gettop(L), call->reply);
    } else {
        encode_plain(L, lua_gettop(L) - 1, call->reply);
    }
    return 0;
}

static void default_field(lua_State *L, int table, const char *name, const char *value)
{
    lua_pushstring(L, name);
    if (lua_rawget(L, table) == LUA_TNIL) {
        lua_pushstring(L, name);
        lua_pushstring(L, value);
        lua_rawset(L, table);
    }
    lua_pop(L, 1);
}

/* The app's own error as a map with at least code and message. A bare string is both. */
static void encode_refusal(lua_State *L, int at, struct buffer *out)
{
    lua_newtable(L);
    int body = lua_gettop(L);
    if (lua_type(L, at) == LUA_TSTRING) {
        default_field(L, body, "code", lua_tostring(L, at));
        default_field(L, body, "message", lua_tostring(L, at));
    } else if (lua_type(L, at) == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, at)) {
            lua_pushvalue(L, -2);
            lua_insert(L, -2);
            lua_rawset(L, body);
        }
    } else {
        luaL_error(L, "the error of a refused command is a string or a plain table, not a %s",
                   fsm_is_handle(L, at) ? "table of the state" : luaL_typename(L, at));
    }
    default_field(L, body, "code", error_name(ERROR_REJECTED));
    default_field(L, body, "message", error_help(ERROR_REJECTED));
    encode_plain(L, body, out);
}
