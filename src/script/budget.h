/*
 * The budget of one command or query: steps and memory, counted so that every node stops it at the
 * same place.
 *
 * Steps: the VM's count hook takes STEPS_PER_TICK at a time; C functions that work for long charge
 * what they do, by the byte or the element; and every string longer than a name is charged when its
 * block is allocated, because the hook does not see the bytes that `..` copies. Once spent, the
 * budget raises in every further instruction until the top is reached: a pcall cannot hold it.
 *
 * Memory: all of the VM's blocks go through budget_allocate. It refuses a block above block_max.
 * Every tick looks whether more than memory_max is in use, collects everything if so, and ends the
 * command when what is left is still more: garbage left by earlier commands does not count. Between
 * ticks twice as much may be in use; past that allocations fail (Lua then collects and asks again
 * before it gives up).
 *
 * All that is the same on every node. That the system has no memory for a block within these limits is not: the VM then
 * gets none ever again, and whoever called it must stop the node (`exhausted`), whatever the script has made of it.
 */
#ifndef MOONCLAVE_SCRIPT_BUDGET_H
#define MOONCLAVE_SCRIPT_BUDGET_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEPS_PER_TICK 1000
#define BYTES_PER_STEP 8

enum budget_stop { BUDGET_RUNS, BUDGET_STEPS, BUDGET_MEMORY, BUDGET_BLOCK, BUDGET_EXHAUSTED };

struct budget {
    lua_State *L;
    uint64_t steps_max, memory_max, block_max;
    const char *whose; /* what their settings' names begin with: "command" */
    int64_t steps_left;
    int64_t slice_left; /* until a coroutine yields that is held to slices */
    bool sliced;
    uint64_t memory_used;
    enum budget_stop stop; /* why it is over; RUNS: it is not */
    bool block_refused;    /* the last allocation that failed did so because of block_max */
    void *strings;         /* Lua's table of all short strings: no script's block */
    bool exhausted;        /* the system has refused memory: for good */
    uint64_t fail_in;      /* for tests: the allocation from now on that the system refuses; 0: none */
};

/* The VM keeps a pointer to its owner in its extra space; the budget is that owner's first field.
 */
static inline struct budget *budget_of(lua_State *L)
{
    return *(struct budget **)lua_getextraspace(L);
}

void *budget_allocate(void *budget, void *block, size_t old_size, size_t size); /* a lua_Alloc */
void budget_begin(struct budget *budget); /* a new command: everything is there again */
/* What runs is a coroutine: its hook yields after about so many steps, where Lua can. */
void budget_slice(struct budget *budget, uint64_t steps);
void budget_pause(struct budget *budget); /* no command runs: no hook */

/* Takes steps; raises when there are not enough left. */
void budget_charge(lua_State *L, uint64_t steps);
void budget_charge_bytes(lua_State *L, uint64_t bytes);
/* The same without raising. false: not enough left, and nothing was taken. */
bool budget_take(struct budget *budget, uint64_t steps);
/* Why a call ended with LUA_ERRMEM. */
enum budget_stop budget_memory_stop(const struct budget *budget);
/* Ends the command: raises, now and until the top. */
int budget_end(lua_State *L, enum budget_stop why);
/* Behind every protected call: goes on raising what must not be caught. */
void budget_rethrow(lua_State *L, int status);

#endif
