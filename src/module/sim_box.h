/*
 * What simcore.c's parts share: a box is a simulated cluster as a Lua object. Its options table, whose functions the
 * simulation calls back, and the app's bundle are kept as the object's user values, so that a box that nobody holds
 * any more is collected whatever its functions refer to.
 *
 * Callbacks run inside calls of the box's methods, which keep the box at stack index 1. What a callback raises must not
 * jump through the simulator: it is caught and noted, the simulation goes on without further callbacks, and the method
 * raises it at its end.
 */
#ifndef MOONCLAVE_MODULE_SIM_BOX_H
#define MOONCLAVE_MODULE_SIM_BOX_H

#include "base/memory.h"
#include "module/fields.h"
#include "module/simrecord.h"
#include "script/bundle.h"
#include "script/values.h"
#include "sim/sim.h"

#include <stdio.h>
#include <string.h>

#define SIM_BOX "moonclave.sim.box"

enum { BOX_OPTIONS = 1, BOX_BUNDLE, BOX_FAILURE, BOX_VALUES = BOX_FAILURE };

struct box {
    struct sim *sim; /* null: finished */
    lua_State *L;    /* of the method that is running; null: none, no callbacks */
    bool failed;     /* a callback raised BOX_FAILURE */
    struct sim_options options;
    struct sim_workload workload;
    uint32_t *faults, *asks; /* owned */
    struct buffer ask;       /* the body being asked */
    struct buffer lines;     /* of the trace */
    FILE *file;              /* of the trace, in place of lines */
    struct record record;
};

/* ---- callbacks ---- */

/* Runs `call` with the box's options at index 1 and `arguments` at 2. false: it raised, now or before. */
static inline bool box_protected(struct box *box, lua_CFunction call, void *arguments)
{
    lua_State *L = box->L;
    if (!L || box->failed) return false;
    lua_checkstack(L, 8);
    lua_pushcfunction(L, call);
    lua_getiuservalue(L, 1, BOX_OPTIONS);
    lua_pushlightuserdata(L, arguments);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK) return true;
    lua_setiuservalue(L, 1, BOX_FAILURE);
    box->failed = true;
    return false;
}

struct box_next {
    unsigned client;
    uint64_t random;
    struct sim_ask *ask;
    struct buffer *body;
    bool asks;
};

static inline enum consistency box_consistency(lua_State *L, int at)
{
    static const char *const names[] = {"linearizable", "lease", "stale", NULL};
    return (enum consistency)luaL_checkoption(L, at, "linearizable", names);
}

/* kind, name, arguments [, consistency [, timeout_ms]] from index `at` on, as a request. */
static inline void box_check_ask(lua_State *L, int at, struct buffer *body, struct sim_ask *ask)
{
    static const char *const kinds[] = {"command", "query", NULL};
    lua_settop(L, at + 4);
    ask->kind = (enum request_kind)luaL_checkoption(L, at, NULL, kinds);
    ask->consistency = box_consistency(L, at + 3);
    lua_Integer timeout = luaL_optinteger(L, at + 4, 0);
    luaL_argcheck(L, timeout >= 0 && timeout <= UINT32_MAX, at + 4, "milliseconds");
    ask->timeout_ms = (uint32_t)timeout;
    buffer_clear(body);
    mp_write_array(body, 2);
    mp_write_string(body, check_slice(L, at + 1));
    if (lua_isnil(L, at + 2))
        mp_write_map(body, 0);
    else
        value_encode(L, at + 2, body);
    ask->body = buffer_slice(body);
}

static inline int box_call_next(lua_State *L)
{
    struct box_next *next = lua_touserdata(L, 2);
    lua_getfield(L, 1, "next");
    lua_pushinteger(L, next->client);
    lua_pushinteger(L, (lua_Integer)next->random);
    lua_call(L, 2, 5);
    if (!lua_toboolean(L, 3)) return 0;
    box_check_ask(L, 3, next->body, next->ask);
    next->asks = true;
    return 0;
}

static inline bool box_next(void *context, unsigned client, uint64_t random, struct sim_ask *ask)
{
    struct box *box = context;
    struct box_next next = {.client = client, .random = random, .ask = ask, .body = &box->ask};
    return box_protected(box, box_call_next, &next) && next.asks;
}

static inline void set_value(lua_State *L, const char *name, struct slice bytes)
{
    struct mp_reader reader = mp_reader_of(bytes);
    if (!value_push(L, &reader)) luaL_error(L, "%s is no value", name);
    lua_setfield(L, -2, name);
}

static inline void box_push_operation(lua_State *L, const struct sim_operation *operation)
{
    static const char *const outcomes[] = {"unknown", "ok", "failed", "unknown"}; /* by enum sim_outcome */
    static const char *const consistencies[] = {"linearizable", "lease", "stale"};
    lua_createtable(L, 0, 14);
    set_u64(L, "number", operation->number);
    set_u64(L, "client", operation->client + 1u);
    set_u64(L, "node", operation->node);
    bool query = operation->kind == REQUEST_QUERY;
    set_text(L, "kind", query ? "query" : "command");
    if (query) set_text(L, "consistency", consistencies[operation->consistency]);
    struct mp_reader reader = mp_reader_of(operation->body);
    uint32_t two;
    struct slice name, arguments;
    if (mp_read_array(&reader, &two) && mp_read_string(&reader, &name) && mp_skip(&reader, &arguments)) {
        set_slice(L, "name", name);
        set_value(L, "arguments", arguments);
    }
    set_text(L, "outcome", outcomes[operation->outcome]);
    if (operation->reply.size > 0) set_value(L, operation->code == ERROR_OK ? "result" : "error", operation->reply);
    set_u64(L, "invoked_us", operation->invoked_us);
    set_u64(L, "returned_us", operation->returned_us);
    if (operation->index > 0 || (query && operation->consistency != CONSISTENCY_STALE))
        set_u64(L, "index", operation->index);
}

static inline int box_call_ended(lua_State *L)
{
    lua_getfield(L, 1, "ended");
    if (lua_isnil(L, -1)) return 0;
    box_push_operation(L, lua_touserdata(L, 2));
    lua_call(L, 1, 0);
    return 0;
}

static inline void box_ended(void *context, const struct sim_operation *operation)
{
    box_protected(context, box_call_ended, (void *)(uintptr_t)operation);
}

static inline int box_call_applied(lua_State *L)
{
    const uint64_t *numbers = lua_touserdata(L, 2);
    lua_getfield(L, 1, "applied");
    lua_pushinteger(L, (lua_Integer)numbers[0]);
    lua_pushinteger(L, (lua_Integer)numbers[1]);
    lua_call(L, 2, 0);
    return 0;
}

static inline void box_applied(void *context, uint64_t number, uint64_t index)
{
    uint64_t numbers[] = {number, index};
    box_protected(context, box_call_applied, numbers);
}

struct box_state {
    uint64_t index;
    struct slice state;
    char *why;
    size_t why_size;
    bool holds;
};

/* state(index, state) -> true, or false and why */
static inline int box_call_state(lua_State *L)
{
    struct box_state *call = lua_touserdata(L, 2);
    struct mp_reader reader = mp_reader_of(call->state);
    lua_getfield(L, 1, "state");
    lua_pushinteger(L, (lua_Integer)call->index);
    if (!value_push(L, &reader)) return luaL_error(L, "the state is no value");
    lua_call(L, 2, 2);
    call->holds = lua_toboolean(L, -2);
    if (!call->holds) snprintf(call->why, call->why_size, "%s", luaL_tolstring(L, -1, NULL));
    return 0;
}

static inline bool box_state(void *context, uint64_t index, struct slice state, char *why, size_t why_size)
{
    struct box_state call = {.index = index, .state = state, .why = why, .why_size = why_size, .holds = true};
    return !box_protected(context, box_call_state, &call) || call.holds;
}

struct box_struck {
    uint64_t number, at_us;
    const char *kind, *what;
};

static inline int box_call_struck(lua_State *L)
{
    const struct box_struck *call = lua_touserdata(L, 2);
    lua_getfield(L, 1, "struck");
    lua_pushinteger(L, (lua_Integer)call->number);
    lua_pushstring(L, call->kind);
    lua_pushinteger(L, (lua_Integer)call->at_us);
    lua_pushstring(L, call->what);
    lua_call(L, 4, 0);
    return 0;
}

static inline void box_struck(void *context, uint64_t number, const char *kind, uint64_t at_us, const char *what)
{
    struct box_struck call = {.number = number, .at_us = at_us, .kind = kind, .what = what};
    box_protected(context, box_call_struck, &call);
}

struct box_deployed {
    uint64_t at_us;
    const char *what;
};

static inline int box_call_deployed(lua_State *L)
{
    const struct box_deployed *call = lua_touserdata(L, 2);
    lua_getfield(L, 1, "deployed");
    lua_pushinteger(L, (lua_Integer)call->at_us);
    lua_pushstring(L, call->what);
    lua_call(L, 2, 0);
    return 0;
}

static inline void box_deployed(void *context, uint64_t at_us, const char *what)
{
    struct box_deployed call = {.at_us = at_us, .what = what};
    box_protected(context, box_call_deployed, &call);
}

static inline void box_trace(void *context, const char *line)
{
    struct box *box = context;
    if (box->file) {
        fprintf(box->file, "%s\n", line);
        fflush(box->file);
        return;
    }
    buffer_append_text(&box->lines, line);
    buffer_append_byte(&box->lines, '\n');
}

/* ---- options ---- */

/* An array of ascending numbers; owned by the caller. */
static inline uint32_t *box_numbers(lua_State *L, int table, const char *name, size_t *count)
{
    uint32_t *numbers = NULL;
    *count = 0;
    if (lua_getfield(L, table, name) == LUA_TTABLE) {
        *count = (size_t)luaL_len(L, -1);
        numbers = memory_zero(*count + 1, sizeof *numbers);
        for (size_t i = 0; i < *count; i++) {
            lua_geti(L, -1, (lua_Integer)i + 1);
            numbers[i] = (uint32_t)lua_tointeger(L, -1);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
    return numbers;
}

static inline bool box_has(lua_State *L, int table, const char *name)
{
    bool has = lua_getfield(L, table, name) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

static inline void box_read_workload(lua_State *L, struct box *box)
{
    bool manual = box->options.manual;
    if (!box_has(L, 2, "next") && !manual) return;
    box->workload = (struct sim_workload){
        .context = box,
        .next = box_next,
        .ended = box_ended,
        .applied = box_has(L, 2, "applied") ? box_applied : NULL,
        .state = box_has(L, 2, "state") ? box_state : NULL,
        .state_every = field_u64(L, 2, "state_every"),
    };
    box->options.workload = &box->workload;
}

static inline void box_read_numbers(lua_State *L, struct sim_options *options)
{
    options->seed = field_u64(L, 2, "seed");
    uint64_t nodes = field_u64(L, 2, "nodes");
    if (nodes > SIM_NODES_MAX) luaL_error(L, "nodes: 1 to %d, or nil to draw", SIM_NODES_MAX);
    options->nodes = (unsigned)nodes;
    uint64_t clients = field_u64(L, 2, "clients");
    if (clients > SIM_CLIENTS_MAX) luaL_error(L, "clients: 1 to %d, or nil to draw", SIM_CLIENTS_MAX);
    options->clients = (unsigned)clients;
    options->safety_us = field_u64(L, 2, "duration_us");
    options->steps_max = field_u64(L, 2, "steps");
    options->outcome_only = field_boolean(L, 2, "outcome_only");
    options->poison = field_boolean(L, 2, "poison");
    options->manual = field_boolean(L, 2, "manual");
    options->restores = field_boolean(L, 2, "restores");
    if (box_has(L, 2, "deploys"))
        options->deploys = field_boolean(L, 2, "deploys") ? SIM_DEPLOYS_ALWAYS : SIM_DEPLOYS_NONE;
    options->trim.kinds = (uint32_t)field_u64(L, 2, "kinds");
    options->trim.calm = (uint32_t)field_u64(L, 2, "calm");
    options->disk = strcmp(field_text(L, 2, "disk"), "sqlite") == 0 ? SIM_DISK_SQLITE : SIM_DISK_MODEL;
    static const char *const policies[] = {"", "none", "script", "dice"};
    while (options->policy < 3 && strcmp(field_text(L, 2, "policy"), policies[options->policy]) != 0) options->policy++;
    const char *mutant = field_text(L, 2, "mutant");
    if (mutant[0] && !sim_mutant_find(mutant, &options->mutant)) luaL_error(L, "this build has no mutant '%s'", mutant);
}

/* The app's bundle: given as bytes, or read from a path. */
static inline void box_read_app(lua_State *L, struct box *box)
{
    struct slice bundle = field_slice(L, 2, "bundle");
    const char *app = field_text(L, 2, "app");
    if (bundle.size > 0) {
        push_slice(L, bundle);
    } else if (app[0]) {
        struct buffer bytes = {0};
        struct error error;
        if (bundle_read(app, &bytes, &error) != ERROR_OK) {
            buffer_deinit(&bytes);
            luaL_error(L, "%s", error.text);
        }
        push_buffer(L, &bytes);
    } else {
        return;
    }
    box->options.bundle = check_slice(L, -1);
    lua_setiuservalue(L, 1, BOX_BUNDLE);
}

static inline void box_read_trace(lua_State *L, struct box *box)
{
    lua_getfield(L, 2, "trace");
    if (lua_toboolean(L, -1)) {
        const char *path = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        if (path && !(box->file = fopen(path, "w"))) luaL_error(L, "cannot write the trace to %s", path);
        box->options.trace = box_trace;
        box->options.trace_context = box;
    }
    lua_pop(L, 1);
}

/* The box is at index 1, its options at 2. */
static inline void box_read_options(lua_State *L, struct box *box)
{
    struct sim_options *options = &box->options;
    box_read_numbers(L, options);
    box_read_app(L, box);
    box->options.next = field_slice(L, 2, "next_bundle"); /* which the options keep */
    if (box_has(L, 2, "deployed")) {
        options->deployed = box_deployed;
        options->deployed_context = box;
    }
    box->faults = box_numbers(L, 2, "faults", &options->trim.fault_count);
    box->asks = box_numbers(L, 2, "asks", &options->trim.ask_count);
    options->trim.only_faults = field_boolean(L, 2, "only_faults");
    options->trim.only_asks = field_boolean(L, 2, "only_asks");
    options->trim.faults = box->faults;
    options->trim.asks = box->asks;
    box_read_workload(L, box);
    if (box_has(L, 2, "struck")) {
        options->struck = box_struck;
        options->struck_context = box;
    }
    box_read_trace(L, box);
    record_open(L, 2, options, &box->record);
}

#endif
