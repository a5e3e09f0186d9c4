/*
 * moonclave.simcore: one simulated run per call, for lua/moonclave/sim.lua, which is what people
 * require.
 *
 *   run{ seed=, nodes=, duration_us=, steps=, mutant=, outcome_only=, app=, trace=, record= } -> result
 * table mutants() -> array of { name, bug }; empty in a build without mutants
 *   states() -> the cells of the tables of states: name -> can today's code reach it?
 *   body_text(msgpack) -> a request or reply in a few words
 *
 * trace: true collects the lines in result.trace; a path writes them to that file as they come (a
 * run that an assert ends leaves them there). record: true puts simrecord.h's JSON into result.record.
 */
#include "base/buffer.h"
#include "module/simrecord.h"
#include "script/bundle.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>
#include <string.h>

struct trace {
    struct buffer lines;
    FILE *file;
};

static void read_options(lua_State *L, struct sim_options *options);
static void read_app(lua_State *L, struct sim_options *options);
static void open_trace(lua_State *L, struct sim_options *options, struct trace *trace);
static void push_result(lua_State *L, const struct sim_options *options,
                        const struct sim_result *result);
static void push_coverage(lua_State *L, const struct sim_coverage *coverage);
static void push_states(lua_State *L, const struct sim_coverage *coverage);
static int states(lua_State *L);
static void trace_line(void *context, const char *line);
static void set_integer(lua_State *L, const char *name, uint64_t value);
static void set_hex(lua_State *L, const char *name, uint64_t value);

static int run(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct sim_options options = {0};
    struct sim_result result;
    struct trace trace = {0};
    read_options(L, &options);
    read_app(L, &options); /* leaves the bundle, a string, on the stack while it is used */
    open_trace(L, &options, &trace);
    struct record record = {0};
    record_open(L, &options, &record);
    sim_run(&options, &result);
    if (trace.file) fclose(trace.file);
    push_result(L, &options, &result);
    if (trace.lines.size > 0) {
        lua_pushlstring(L, (const char *)trace.lines.data, trace.lines.size);
        lua_setfield(L, -2, "trace");
    }
    buffer_deinit(&trace.lines);
    if (options.moment) {
        record_push(L, &record, result.nodes);
        lua_setfield(L, -2, "record");
    }
    return 1;
}

static int mutants(lua_State *L)
{
    lua_newtable(L);
    const char *name, *bug;
    for (unsigned i = 0; (name = sim_mutant_name(i, &bug)) != NULL; i++) {
        lua_newtable(L);
        lua_pushstring(L, name);
        lua_setfield(L, -2, "name");
        lua_pushstring(L, bug);
        lua_setfield(L, -2, "bug");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

__attribute__((visibility("default"))) int luaopen_moonclave_simcore(lua_State *L);

int luaopen_moonclave_simcore(lua_State *L)
{
    static const luaL_Reg functions[] = {{"run", run},
                                         {"mutants", mutants},
                                         {"states", states},
                                         {"body_text", record_body_text},
                                         {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}

/* ---- options ---- */

static lua_Integer option_integer(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    lua_Integer value = luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return value;
}

static void read_options(lua_State *L, struct sim_options *options)
{
    options->seed = (uint64_t)option_integer(L, "seed");
    lua_Integer nodes = option_integer(L, "nodes");
    if (nodes < 0 || nodes > SIM_NODES_MAX)
        luaL_error(L, "nodes: 1 to %d, or nil to draw", SIM_NODES_MAX);
    options->nodes = (unsigned)nodes;
    options->safety_us = (uint64_t)option_integer(L, "duration_us");
    options->steps_max = (uint64_t)option_integer(L, "steps");
    lua_getfield(L, 1, "outcome_only");
    options->outcome_only = lua_toboolean(L, -1);
    lua_getfield(L, 1, "mutant");
    const char *mutant = luaL_optstring(L, -1, NULL);
    if (mutant && !sim_mutant_find(mutant, &options->mutant))
        luaL_error(L, "this build has no mutant '%s'", mutant);
    lua_pop(L, 2);
}

static void read_app(lua_State *L, struct sim_options *options)
{
    lua_getfield(L, 1, "app");
    const char *app = luaL_optstring(L, -1, NULL);
    if (!app) return;
    struct buffer bundle = {0};
    struct error error;
    if (bundle_read(app, &bundle, &error) != ERROR_OK) {
        buffer_deinit(&bundle);
        luaL_error(L, "%s", error.text);
    }
    lua_pushlstring(L, (const char *)bundle.data, bundle.size);
    buffer_deinit(&bundle);
    options->bundle.data = (const uint8_t *)lua_tolstring(L, -1, &options->bundle.size);
}

static void open_trace(lua_State *L, struct sim_options *options, struct trace *trace)
{
    lua_getfield(L, 1, "trace");
    if (lua_toboolean(L, -1)) {
        const char *path = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
        if (path && !(trace->file = fopen(path, "w")))
            luaL_error(L, "cannot write the trace to %s", path);
        options->trace = trace_line;
        options->trace_context = trace;
    }
    lua_pop(L, 1);
}

static void trace_line(void *context, const char *line)
{
    struct trace *trace = context;
    if (trace->file) {
        fprintf(trace->file, "%s\n", line);
        fflush(trace->file);
        return;
    }
    buffer_append_text(&trace->lines, line);
    buffer_append_byte(&trace->lines, '\n');
}

/* ---- the result ---- */

static void push_result(lua_State *L, const struct sim_options *options,
                        const struct sim_result *result)
{
    lua_newtable(L);
    lua_pushboolean(L, result->ok);
    lua_setfield(L, -2, "ok");
    lua_pushboolean(L, result->cut);
    lua_setfield(L, -2, "cut");
    set_integer(L, "seed", options->seed);
    set_integer(L, "nodes", result->nodes);
    set_integer(L, "steps", result->steps);
    set_integer(L, "events", result->events);
    set_integer(L, "virtual_us", result->virtual_us);
    set_integer(L, "election_us", result->election_us);
    set_integer(L, "recovery_us", result->recovery_us);
    set_hex(L, "trace_hash", result->trace_hash);
    set_hex(L, "state_hash", result->state_hash);
    push_coverage(L, &result->coverage);
    lua_setfield(L, -2, "coverage");
    push_states(L, &result->coverage);
    lua_setfield(L, -2, "states");
    if (result->ok) return;
    lua_newtable(L);
    lua_pushstring(L, result->invariant);
    lua_setfield(L, -2, "invariant");
    lua_pushstring(L, result->detail);
    lua_setfield(L, -2, "detail");
    set_integer(L, "time_us", result->violation_us);
    set_integer(L, "step", result->violation_step);
    lua_setfield(L, -2, "violation");
}

static void push_coverage(lua_State *L, const struct sim_coverage *coverage)
{
    lua_newtable(L);
#define X(name) set_integer(L, #name, coverage->name);
    SIM_COVERAGE_TABLE(X)
#undef X
}

/* The cells of the tables of states, by name. */
static void push_states(lua_State *L, const struct sim_coverage *coverage)
{
    char name[96];
    bool expected;
    lua_newtable(L);
    for (unsigned cell = 0; sim_cell_name(cell, name, sizeof name, &expected); cell++)
        set_integer(L, name, coverage->cells[cell]);
}

/* states() -> name -> can today's code reach it? */
static int states(lua_State *L)
{
    char name[96];
    bool expected;
    lua_newtable(L);
    for (unsigned cell = 0; sim_cell_name(cell, name, sizeof name, &expected); cell++) {
        lua_pushboolean(L, expected);
        lua_setfield(L, -2, name);
    }
    return 1;
}

static void set_integer(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void set_hex(lua_State *L, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}
