/* Steps and memory of one command. See budget.h. */
#include "script/budget.h"

#include "base/memory.h"

#include <lauxlib.h>

#define BETWEEN_TICKS 2 /* times memory_max may be in use until the next tick looks */
#define STRINGS_AT_FIRST 128 /* places in the table of all short strings, in every Lua 5.4 */
#define SHORT_STRING_BYTES \
    96 /* block of a string that Lua may share; whether it is allocated depends on the past */

static void tick(lua_State *L, lua_Debug *where);
static void end_slice(lua_State *L, struct budget *budget);
static int raise_spent(lua_State *L, const struct budget *budget);
static bool fits(struct budget *budget, const void *block, size_t before, size_t size);
static void note_strings(struct budget *budget, const void *block, void *grown, size_t size);
static bool has_memory(struct budget *budget, size_t before, size_t size);
static bool is_full(struct budget *budget);

void *budget_allocate(void *context, void *block, size_t old_size, size_t size)
{
    struct budget *budget = context;
    size_t before = block ? old_size : 0;
    if (size == 0) {
        memory_free(block);
        budget->memory_used -= before;
        return NULL;
    }
    if (size > before && !fits(budget, block, before, size)) return NULL;
    void *grown = has_memory(budget, before, size) ? memory_try_resize(block, size) : NULL;
    if (!grown) {
        budget->exhausted = true;
        return size <= before ? block : NULL; /* Lua relies on it that a block can always shrink */
    }
    budget->memory_used = budget->memory_used - before + size;
    note_strings(budget, block, grown, size);
    if (!block && old_size == LUA_TSTRING && size > SHORT_STRING_BYTES) {
        budget->steps_left -= (int64_t)(size / BYTES_PER_STEP);
        if (budget->steps_left < 0 && budget->L) lua_sethook(budget->L, tick, LUA_MASKCOUNT, 1);
    }
    return grown;
}

/* The first block of its size that a new VM asks for, and what becomes of it. */
static void note_strings(struct budget *budget, const void *block, void *grown, size_t size)
{
    bool first = !budget->L && !budget->strings && !block && size == STRINGS_AT_FIRST * sizeof(void *);
    if (first || (block && block == budget->strings)) budget->strings = grown;
}

/* false: the system has none, or a test says so. */
static bool has_memory(struct budget *budget, size_t before, size_t size)
{
    if (size <= before) return true;
    if (budget->fail_in > 0 && --budget->fail_in == 0) budget->exhausted = true;
    return !budget->exhausted;
}

enum budget_stop budget_memory_stop(const struct budget *budget)
{
    if (budget->exhausted) return BUDGET_EXHAUSTED;
    return budget->block_refused ? BUDGET_BLOCK : BUDGET_MEMORY;
}

/* Lua's table of all short strings may be larger than a block: it asks for that again and again, with a full collection
 * each time, and gets over it when it is refused; how large it is depends on the garbage of the past. memory_max holds
 * for it as for everything. */
static bool fits(struct budget *budget, const void *block, size_t before, size_t size)
{
    bool large = size > budget->block_max && !(block && block == budget->strings);
    bool room = (budget->memory_used - before + size) / BETWEEN_TICKS <= budget->memory_max;
    if (large || !room) budget->block_refused = large;
    return !large && room;
}

void budget_begin(struct budget *budget)
{
    budget->steps_left = (int64_t)budget->steps_max;
    budget->stop = BUDGET_RUNS;
    budget->block_refused = false;
    lua_sethook(budget->L, tick, LUA_MASKCOUNT, STEPS_PER_TICK);
}

void budget_slice(struct budget *budget, uint64_t steps)
{
    budget->sliced = true;
    budget->slice_left = steps < INT64_MAX ? (int64_t)steps : INT64_MAX;
}

void budget_pause(struct budget *budget)
{
    lua_sethook(budget->L, NULL, 0, 0);
}

void budget_charge(lua_State *L, uint64_t steps)
{
    if (!budget_take(budget_of(L), steps)) budget_end(L, BUDGET_STEPS);
}

void budget_charge_bytes(lua_State *L, uint64_t bytes)
{
    budget_charge(L, bytes / BYTES_PER_STEP);
}

bool budget_take(struct budget *budget, uint64_t steps)
{
    if (budget->steps_left < 0 || steps > (uint64_t)budget->steps_left) return false;
    budget->steps_left -= (int64_t)steps;
    return true;
}

int budget_end(lua_State *L, enum budget_stop why)
{
    struct budget *budget = budget_of(L);
    if (budget->stop == BUDGET_RUNS) budget->stop = why;
    lua_sethook(L, tick, LUA_MASKCOUNT, 1);
    luaL_where(L, 1);
    return raise_spent(L, budget);
}

void budget_rethrow(lua_State *L, int status)
{
    struct budget *budget = budget_of(L);
    if (status == LUA_ERRMEM && budget->stop == BUDGET_RUNS) {
        budget->stop = budget_memory_stop(budget);
        lua_sethook(L, tick, LUA_MASKCOUNT, 1);
    }
    if (budget->stop != BUDGET_RUNS) lua_error(L);
}

static void tick(lua_State *L, lua_Debug *where)
{
    struct budget *budget = budget_of(L);
    if (budget->stop == BUDGET_RUNS) {
        budget->steps_left -= STEPS_PER_TICK;
        bool steps = budget->steps_left < 0, memory = !steps && is_full(budget);
        if (!steps && !memory) {
            if (budget->sliced) end_slice(L, budget);
            return;
        }
        budget->stop = steps ? BUDGET_STEPS : BUDGET_MEMORY;
        lua_sethook(L, tick, LUA_MASKCOUNT, 1);
    }
    lua_getinfo(L, "Sl", where);
    lua_pushfstring(L, "%s:%d: ", where->short_src, where->currentline);
    raise_spent(L, budget);
}

/* The last thing that a hook does. */
static void end_slice(lua_State *L, struct budget *budget)
{
    budget->slice_left -= STEPS_PER_TICK;
    if (budget->slice_left <= 0 && lua_isyieldable(L)) lua_yield(L, 0);
}

/* What is in use is never less than what is reachable: where this says no, every node says no.
 * Where one node has to collect to say so, and another does not, both have seen that there is room.
 */
static bool is_full(struct budget *budget)
{
    if (budget->memory_used <= budget->memory_max) return false;
    lua_gc(budget->L, LUA_GCCOLLECT);
    return budget->memory_used > budget->memory_max;
}

/* The place is on top. */
static int raise_spent(lua_State *L, const struct budget *budget)
{
    lua_pushfstring(L, "more than %I steps (%s_steps_max): is there an endless loop?", (LUAI_UACINT)budget->steps_max,
                    budget->whose);
    lua_concat(L, 2);
    return lua_error(L);
}
