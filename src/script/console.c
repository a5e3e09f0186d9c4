/* See console.h: one evaluation, from text to bytes. */
#include "script/console_internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "script/values.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <time.h>

#define HOOK_STEPS     1000
#define STUCK_NS       UINT64_C(20000000) /* where it cannot be interrupted, it may compute for so long */
#define OUTPUT_MAX     (64 * 1024)
#define NANOSECONDS_MS UINT64_C(1000000)
#define CALLS_MAX      2000

static void *allocate(void *context, void *memory, size_t size_before, size_t size);
static void look_at_clock(lua_State *L, lua_Debug *where);
static int open_libraries(lua_State *L);
static void give_up(struct console *console);
static int to_text(lua_State *L);

struct console *console_new(const struct console_ports *ports)
{
    struct console *console = memory_zero(1, sizeof *console);
    console->ports = *ports;
    console->L = lua_newstate(allocate, console);
    *(struct console **)lua_getextraspace(console->L) = console;
    lua_pushcfunction(console->L, open_libraries);
    lua_call(console->L, 0, 0); /* memory is there or stops the program: nothing raises */
    lua_sethook(console->L, look_at_clock, LUA_MASKCOUNT, HOOK_STEPS);
    return console;
}

void console_free(struct console *console)
{
    if (console == NULL) return;
    console->cancelled = console->exhausted = true; /* no __gc of a script runs on */
    lua_close(console->L);
    buffer_deinit(&console->output);
    memory_free(console);
}

/* ---- budgets ---- */

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *allocate(void *context, void *memory, size_t size_before, size_t size)
{
    struct console *console = context;
    size_t before = memory ? size_before : 0; /* without memory it tells a type */
    if (size == 0) {
        memory_free(memory);
        console->memory_used -= before;
        return NULL;
    }
    if (console->entered && size > before && console->memory_used + (size - before) > CONSOLE_MEMORY_MAX) return NULL;
    console->memory_used += size - before;
    return memory_resize(memory, 1, size);
}

/*
 * At the end of a slice the evaluation yields, which only its own thread can, and only outside of C functions:
 * elsewhere it goes on, for a while. Past the budget it is given up where it stands; where it cannot yield it
 * raises, again at every instruction until it can, so that no pcall holds it.
 *
 * Calls within calls are counted too: Lua's own limit begins anew with each slice, so that a stack could grow until
 * every error moved megabytes of it, and a slice would have no end.
 */
static void look_at_clock(lua_State *L, lua_Debug *where)
{
    struct console *console = console_of(L);
    uint64_t in_slice = cpu_ns() - console->slice_began_ns;
    bool can_yield = L == console->thread && lua_isyieldable(L);
    if (lua_getstack(L, CALLS_MAX, where)) console->exhausted = true;
    if (console->spent_ns + in_slice > CONSOLE_BUDGET_MS * NANOSECONDS_MS) console->exhausted = true;
    if (!can_yield && in_slice > console->slice_ns + STUCK_NS) console->exhausted = true;
    if (!console->exhausted && !console->cancelled && (in_slice < console->slice_ns || !can_yield)) return;
    if (can_yield) {
        console->paused = true;
        lua_yield(L, 0);
    } else {
        lua_sethook(L, look_at_clock, LUA_MASKCOUNT, 1);
        luaL_error(L, console->cancelled ? "cancelled" : "it computed for too long where it cannot be interrupted");
    }
}

/* ---- an evaluation ---- */

/* An expression, else statements: the function or the reason why not on top. */
static int compile(lua_State *L, struct slice source)
{
    size_t size;
    lua_pushliteral(L, "return ");
    lua_pushlstring(L, (const char *)source.data, source.size);
    lua_concat(L, 2);
    const char *expression = lua_tolstring(L, -1, &size);
    if (luaL_loadbufferx(L, expression, size, "=input", "t") == LUA_OK) {
        lua_remove(L, -2);
        return LUA_OK;
    }
    lua_pop(L, 2);
    return luaL_loadbufferx(L, (const char *)source.data, source.size, "=input", "t");
}

enum error_code console_begin(struct console *console, struct slice source, struct error *error)
{
    lua_State *L = console->L;
    give_up(console);
    if (compile(L, source) != LUA_OK) {
        enum error_code code = error_set(error, ERROR_SCRIPT, "%s", lua_tostring(L, -1));
        lua_settop(L, 0);
        return code;
    }
    console->thread = lua_newthread(L);
    lua_sethook(console->thread, look_at_clock, LUA_MASKCOUNT, HOOK_STEPS);
    lua_insert(L, -2);
    lua_xmove(L, console->thread, 1);
    console->reference = luaL_ref(L, LUA_REGISTRYINDEX);
    console->cancelled = console->exhausted = console->output_cut = false;
    console->spent_ns = 0;
    buffer_clear(&console->output);
    return ERROR_OK;
}

static void give_up(struct console *console)
{
    if (console->thread == NULL) return;
    luaL_unref(console->L, LUA_REGISTRYINDEX, console->reference);
    console->thread = NULL;
    lua_settop(console->L, 0);
}

void console_cancel(struct console *console)
{
    console->cancelled = true;
}

/* The error on top of `from` as a text. What it raises itself is passed over. */
static void read_error(struct console *console, lua_State *from, struct error *error)
{
    lua_State *L = console->L;
    lua_pushcfunction(L, to_text);
    lua_xmove(from, L, 1);
    bool fine = lua_pcall(L, 1, 1, 0) == LUA_OK;
    error_set(error, ERROR_SCRIPT, "%s", fine ? lua_tostring(L, -1) : "an error that raises when it is shown");
    lua_pop(L, 1);
}

static enum error_code finish(struct console *console, int status, int count, struct buffer *out, struct error *error)
{
    lua_State *thread = console->thread;
    if (console->cancelled) return error_set(error, ERROR_SCRIPT, "cancelled");
    if (console->exhausted && status == LUA_YIELD)
        return error_set(error, ERROR_SCRIPT, "given up: it computed for more than %d ms, or called %d deep",
                         CONSOLE_BUDGET_MS, CALLS_MAX);
    if (status == LUA_YIELD) return error_set(error, ERROR_SCRIPT, "attempt to yield from outside a coroutine");
    if (status == LUA_OK) {
        console_write_result(console, thread, lua_gettop(thread) - count + 1, out);
        return ERROR_OK;
    }
    read_error(console, thread, error);
    return ERROR_SCRIPT;
}

bool console_step(struct console *console, unsigned slice_us, struct buffer *out, enum error_code *code,
                  struct error *error)
{
    int count = 0, status = LUA_YIELD;
    const struct state *state = console->ports.state(console->ports.context);
    if (state != NULL && state_is_open(state) && !console->cancelled) return true;
    console->slice++;
    console->paused = false;
    console->slice_ns = (uint64_t)slice_us * 1000;
    console->slice_began_ns = cpu_ns();
    console->entered = true;
    if (!console->cancelled) status = lua_resume(console->thread, console->L, 0, &count);
    console->entered = false;
    console->spent_ns += cpu_ns() - console->slice_began_ns;
    if (status == LUA_YIELD && console->paused && !console->exhausted && !console->cancelled) return true;
    console->slice_began_ns = cpu_ns();
    *code = finish(console, status, count, out, error);
    give_up(console);
    lua_gc(console->L, LUA_GCSTEP, 100);
    return false;
}

static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* ---- what is there ---- */

static int print(lua_State *L)
{
    struct console *console = console_of(L);
    int count = lua_gettop(L);
    for (int at = 1; at <= count; at++) {
        size_t size;
        const char *text = luaL_tolstring(L, at, &size);
        if (console->output.size + size > OUTPUT_MAX) {
            console->output_cut = true;
            return 0;
        }
        if (at > 1) buffer_append(&console->output, "\t", 1);
        buffer_append(&console->output, text, size);
        lua_pop(L, 1);
    }
    buffer_append(&console->output, "\n", 1);
    return 0;
}

static int ask_port(lua_State *L, void (*port)(void *context, struct buffer *out))
{
    struct console *console = console_of(L);
    struct buffer bytes = {0};
    port(console->ports.context, &bytes);
    struct mp_reader reader = mp_reader_of(buffer_slice(&bytes));
    bool entered = console->entered;
    console->entered = false; /* so that nothing raises and leaves the bytes behind */
    if (!value_push(L, &reader)) lua_pushnil(L);
    console->entered = entered;
    buffer_deinit(&bytes);
    return 1;
}

static int status(lua_State *L)
{
    return ask_port(L, console_of(L)->ports.status);
}

static int members(lua_State *L)
{
    return ask_port(L, console_of(L)->ports.members);
}

/* Text only: made-up bytecode could do anything. */
static int load_text(lua_State *L)
{
    size_t size;
    const char *text = luaL_checklstring(L, 1, &size);
    const char *name = luaL_optstring(L, 2, "=load");
    bool has_environment = !lua_isnone(L, 4);
    if (luaL_loadbufferx(L, text, size, name, "t") != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (has_environment) {
        lua_pushvalue(L, 4);
        lua_setupvalue(L, -2, 1);
    }
    return 1;
}

static void keep_only(lua_State *L, const char *library, const char *const *names)
{
    lua_getglobal(L, library);
    lua_newtable(L);
    for (; *names != NULL; names++) {
        lua_getfield(L, -2, *names);
        lua_setfield(L, -2, *names);
    }
    lua_setglobal(L, library);
    lua_pop(L, 1);
}

static int open_libraries(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},          {LUA_TABLIBNAME, luaopen_table}, {LUA_STRLIBNAME, luaopen_string},
        {LUA_MATHLIBNAME, luaopen_math},    {LUA_UTF8LIBNAME, luaopen_utf8}, {LUA_COLIBNAME, luaopen_coroutine},
        {LUA_OSLIBNAME, luaopen_os},        {NULL, NULL},
    };
    static const luaL_Reg own[] = {
        {"print", print}, {"status", status}, {"members", members}, {"load", load_text}, {NULL, NULL},
    };
    static const char *const absent[] = {"dofile", "loadfile", "collectgarbage", "warn"};
    static const char *const clocks[] = {"time", "clock", "date", "difftime", NULL};
    for (const luaL_Reg *row = libraries; row->name != NULL; row++) luaL_requiref(L, row->name, row->func, 1);
    keep_only(L, LUA_OSLIBNAME, clocks);
    lua_pushglobaltable(L);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, absent[i]);
    }
    luaL_setfuncs(L, own, 0);
    console_state_open(L);
    lua_settop(L, 0);
    return 0;
}
