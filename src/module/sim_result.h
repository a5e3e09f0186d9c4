/* A run's result as a Lua table: for simcore.c. */
#ifndef MOONCLAVE_MODULE_SIM_RESULT_H
#define MOONCLAVE_MODULE_SIM_RESULT_H

#include "module/fields.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <stdio.h>

static inline void set_hex(lua_State *L, const char *name, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    set_text(L, name, text);
}

static inline void push_coverage(lua_State *L, const struct sim_coverage *coverage)
{
    lua_newtable(L);
#define X(name) set_u64(L, #name, coverage->name);
    SIM_COVERAGE_TABLE(X)
#undef X
}

/* The cells of the tables of states, by name. */
static inline void push_states(lua_State *L, const struct sim_coverage *coverage)
{
    char name[96];
    bool expected;
    lua_newtable(L);
    for (unsigned cell = 0; sim_cell_name(cell, name, sizeof name, &expected); cell++)
        set_u64(L, name, coverage->cells[cell]);
}

static inline void push_result(lua_State *L, uint64_t seed, const struct sim_result *result)
{
    lua_newtable(L);
    set_boolean(L, "ok", result->ok);
    set_boolean(L, "cut", result->cut);
    set_u64(L, "seed", seed);
    set_u64(L, "nodes", result->nodes);
    set_u64(L, "steps", result->steps);
    set_u64(L, "events", result->events);
    set_u64(L, "virtual_us", result->virtual_us);
    set_u64(L, "election_us", result->election_us);
    set_u64(L, "safety_us", result->safety_us);
    set_u64(L, "recovery_us", result->recovery_us);
    set_hex(L, "trace_hash", result->trace_hash);
    set_hex(L, "state_hash", result->state_hash);
    push_coverage(L, &result->coverage);
    lua_setfield(L, -2, "coverage");
    push_states(L, &result->coverage);
    lua_setfield(L, -2, "states");
    if (result->ok) return;
    lua_newtable(L);
    set_text(L, "invariant", result->invariant);
    set_text(L, "detail", result->detail);
    set_u64(L, "time_us", result->violation_us);
    set_u64(L, "step", result->violation_step);
    lua_setfield(L, -2, "violation");
}

#endif
