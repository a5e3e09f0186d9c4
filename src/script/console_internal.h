/*
 * What the console's files share.
 *
 *   console.c         an evaluation, from text to bytes: slices, budget, memory
 *   console_state.c   `state`: handles that look, and do not touch
 *   console_result.c  values as bytes, within limits
 */
#ifndef MOONCLAVE_SCRIPT_CONSOLE_INTERNAL_H
#define MOONCLAVE_SCRIPT_CONSOLE_INTERNAL_H

#include "script/console.h"
#include "state/state.h"

#include <lua.h>

struct console {
    struct console_ports ports;
    lua_State *L;
    lua_State *thread; /* what runs; null: nothing does */
    int reference;     /* keeps it */
    int arguments;     /* on its stack, for the first resume */
    bool entered;      /* scripts run: memory is limited */
    bool paused;       /* the slice was over: it goes on */
    bool cancelled, exhausted;
    uint64_t slice;    /* number: what handles have found in it stays where it is */
    uint64_t slice_began_ns, slice_ns, spent_ns;
    size_t memory_used;
    struct buffer output; /* printed */
    bool output_cut;
};

static inline struct console *console_of(lua_State *L)
{
    return *(struct console **)lua_getextraspace(L);
}

/* ---- console_state.c ---- */
/* Into the globals: state, count, scan; next and type that know handles. */
void console_state_open(lua_State *L);
bool console_is_handle(lua_State *L, int at);
const struct state_table *console_table(lua_State *L, int at); /* of a handle; raises where it is no longer there */

/* ---- console_result.c ---- */
/* The values from `first` to the top, and what was printed. Runs no script but a __tostring. */
void console_write_result(struct console *console, lua_State *from, int first, struct buffer *out);

#endif
