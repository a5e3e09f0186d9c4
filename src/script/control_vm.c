/*
 * One loaded app: a Lua state with the standard libraries, held to budgets.
 *
 * Time: a hook looks at the thread's CPU clock every HOOK_STEPS instructions. Past the budget it
 * yields, and the thread is given up where it stands: no pcall of the script can catch that. Where
 * a thread cannot yield (in a sort's comparison, or while the app is loaded) it raises instead, and
 * again at every instruction until it can. CPU time, not the wall's: a node that was stopped or
 * starved must not blame the script. Memory: past CONTROL_MEMORY_MAX a script's allocation fails,
 * which Lua turns into an error of that script; what the host itself allocates here always succeeds
 * or stops the node.
 */
#include "script/control_internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "script/bundle.h"
#include "script/library.h"
#include "script/values.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HOOK_STEPS 10000

static const char wait_mark; /* its address is what vm_wait yields */

static void *allocate(void *context, void *memory, size_t size_before, size_t size);
static void open_libraries(lua_State *L);
static void look_at_clock(lua_State *L, lua_Debug *where);
static int load_app(lua_State *L);
static int to_text(lua_State *L);
static int give_event(lua_State *L);

struct load {
    struct slice config;
};

struct vm *vm_new(struct control *control, struct slice bundle, struct slice config,
                  struct error *error)
{
    struct vm *vm = memory_zero(1, sizeof *vm);
    vm->control = control;
    vm->stop = vm->on_event = LUA_NOREF;
    buffer_append_slice(&vm->bundle, bundle);
    vm->L = lua_newstate(allocate, vm);
    *(struct vm **)lua_getextraspace(vm->L) = vm;
    open_libraries(vm->L);
    lua_sethook(vm->L, look_at_clock, LUA_MASKCOUNT, HOOK_STEPS);

    lua_State *L = vm->L;
    struct load load = {.config = config};
    lua_pushcfunction(L, to_text);
    lua_pushcfunction(L, load_app);
    lua_pushlightuserdata(L, &load);
    vm_enter(vm, CONTROL_LOAD_BUDGET_MS);
    int status = lua_pcall(L, 1, 0, 1);
    vm_leave(vm);
    if (status != LUA_OK) {
        error_set(error, ERROR_SCRIPT, "%s", lua_tostring(L, -1));
        vm_free(vm);
        return NULL;
    }
    lua_settop(L, 0);
    return vm;
}

void vm_stop(struct vm *vm)
{
    lua_State *L = vm->L;
    if (vm->stop == LUA_NOREF) return;
    lua_pushcfunction(L, to_text);
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->stop);
    vm_enter(vm, CONTROL_LOAD_BUDGET_MS);
    int status = lua_pcall(L, 0, 0, -2);
    vm_leave(vm);
    if (status != LUA_OK) {
        control_log(vm->control, LOG_LEVEL_ERROR,
                    lua_pushfstring(L, "api.stop() failed: %s", lua_tostring(L, -1)));
    }
    lua_settop(L, 0);
}

void vm_event(struct vm *vm, struct slice event)
{
    lua_State *L = vm->L;
    lua_pushcfunction(L, to_text);
    lua_pushcfunction(L, give_event);
    lua_pushlightuserdata(L, &event);
    vm_enter(vm, CONTROL_BUDGET_MS);
    int status = lua_pcall(L, 1, 0, -3);
    vm_leave(vm);
    if (status != LUA_OK) {
        control_log(vm->control, LOG_LEVEL_ERROR,
                    lua_pushfstring(L, "api.on_event() failed: %s", lua_tostring(L, -1)));
    }
    lua_settop(L, 0);
}

/* In protected mode, with the bytes. */
static int give_event(lua_State *L)
{
    struct mp_reader reader = mp_reader_of(*(const struct slice *)lua_touserdata(L, 1));
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm_of(L)->on_event);
    if (!value_push(L, &reader)) lua_pushnil(L);
    lua_call(L, 1, 0);
    return 0;
}

void vm_free(struct vm *vm)
{
    lua_close(vm->L);
    routes_deinit(&vm->routes);
    buffer_deinit(&vm->bundle);
    memory_free(vm);
}

/* A new thread begins with a copy of its state's extra space, so this works within any coroutine.
 */
struct vm *vm_of(lua_State *L)
{
    return *(struct vm **)lua_getextraspace(L);
}

/* ---- budgets ---- */

void vm_enter(struct vm *vm, unsigned budget_ms)
{
    vm->entered = true;
    vm->exhausted = false;
    vm->started_ns = 0;
    vm->budget_ns = (uint64_t)budget_ms * 1000000;
}

void vm_leave(struct vm *vm)
{
    vm->entered = false;
}

static void *allocate(void *context, void *memory, size_t size_before, size_t size)
{
    struct vm *vm = context;
    size_t before = memory ? size_before : 0; /* without memory it tells a type */
    if (size == 0) {
        memory_free(memory);
        vm->memory_used -= before;
        return NULL;
    }
    if (vm->entered && size > before && vm->memory_used + (size - before) > CONTROL_MEMORY_MAX)
        return NULL;
    vm->memory_used += size - before;
    return memory_resize(memory, 1, size);
}

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* The first look only notes the time: most handlers end before it and never read a clock. */
static void look_at_clock(lua_State *L, lua_Debug *where)
{
    (void)where;
    struct vm *vm = vm_of(L);
    if (!vm->entered) return;
    uint64_t now_ns = cpu_ns();
    if (vm->started_ns == 0) vm->started_ns = now_ns;
    if (!vm->exhausted && now_ns - vm->started_ns <= vm->budget_ns) return;
    vm->exhausted = true;
    lua_sethook(L, look_at_clock, LUA_MASKCOUNT, 1);
    if (lua_isyieldable(L)) {
        lua_yield(L, 0);
    } else {
        luaL_error(L, VM_INTERRUPTED, (int)(vm->budget_ns / 1000000));
    }
}

/* ---- threads ---- */

struct thread vm_take_thread(struct vm *vm)
{
    if (vm->idle_count > 0) return vm->idle[--vm->idle_count];
    struct thread thread = {.L = lua_newthread(vm->L)};
    thread.reference = luaL_ref(vm->L, LUA_REGISTRYINDEX);
    return thread;
}

void vm_give_thread(struct vm *vm, struct thread thread)
{
    lua_settop(thread.L, 0);
    if (vm->idle_count == IDLE_THREADS_MAX) {
        luaL_unref(vm->L, LUA_REGISTRYINDEX, thread.reference);
    } else {
        vm->idle[vm->idle_count++] = thread;
    }
}

/* Its to-be-closed variables are closed now, by the script's own functions; not those of a thread
 * that was interrupted: an error within a hook leaves the thread without hooks, and so without a
 * budget. */
void vm_close_thread(struct vm *vm, struct thread thread, bool interrupted)
{
    if (!interrupted) {
        vm_enter(vm, CONTROL_BUDGET_MS);
        lua_resetthread(thread.L);
        vm_leave(vm);
    }
    luaL_unref(vm->L, LUA_REGISTRYINDEX, thread.reference);
}

bool vm_is_wait(lua_State *L, int index)
{
    return lua_touserdata(L, index) == (const void *)&wait_mark;
}

int vm_wait(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)&wait_mark);
    return lua_yield(L, 1);
}

/* ---- errors as text ---- */

/* A message handler too: what a script raises may be anything. */
static int to_text(lua_State *L)
{
    if (lua_istable(L, 1) && !luaL_getmetafield(L, 1, "__tostring")) {
        lua_getfield(L, 1, "code");
        lua_getfield(L, 1, "message");
        lua_pushfstring(L, "%s: %s", luaL_tolstring(L, 2, NULL), luaL_tolstring(L, 3, NULL));
    } else {
        luaL_tolstring(L, 1, NULL);
    }
    return 1;
}

const char *vm_error_text(struct vm *vm, lua_State *from)
{
    lua_State *L = vm->L;
    lua_pushcfunction(L, to_text);
    lua_xmove(from, L, 1);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_pop(L, 1);
        lua_pushliteral(L, "an error that raises when it is shown");
    }
    return lua_tostring(L, -1);
}

/* ---- loading ---- */

static void take_routes(lua_State *L, struct vm *vm, int api);

/* In protected mode, with the struct load. */
static int load_app(lua_State *L)
{
    struct vm *vm = vm_of(L);
    const struct load *load = lua_touserdata(L, 1);
    struct slice text;
    if (!bundle_file(buffer_slice(&vm->bundle), "api.lua", &text))
        return luaL_error(L, "the app has no api.lua");
    if (luaL_loadbufferx(L, (const char *)text.data, text.size, "@api.lua", "t") != LUA_OK)
        return lua_error(L);
    lua_call(L, 0, 1);
    if (!lua_istable(L, 2))
        return luaL_error(L, "api.lua must return a table, not a %s", luaL_typename(L, 2));
    take_routes(L, vm, 2);
    if (lua_getfield(L, 2, "stop") == LUA_TFUNCTION) {
        vm->stop = luaL_ref(L, LUA_REGISTRYINDEX);
    } else if (!lua_isnil(L, -1)) {
        return luaL_error(L, "api.stop is not a function");
    }
    if (lua_getfield(L, 2, "on_event") == LUA_TFUNCTION) {
        vm->on_event = luaL_ref(L, LUA_REGISTRYINDEX);
    } else if (!lua_isnil(L, -1)) {
        return luaL_error(L, "api.on_event is not a function");
    }
    lua_settop(L, 2);
    if (lua_getfield(L, 2, "start") == LUA_TNIL) return 0;
    if (!lua_isfunction(L, -1)) return luaL_error(L, "api.start is not a function");
    struct mp_reader reader = mp_reader_of(load->config);
    if (!value_push(L, &reader)) lua_pushnil(L);
    lua_call(L, 1, 0);
    return 0;
}

static enum error_code take_route(lua_State *L, struct vm *vm, struct error *error);

/* Tables are walked in no order: of several mistakes the first by its text is told, so it is the
 * same each time. */
static void take_routes(lua_State *L, struct vm *vm, int api)
{
    struct error first = {.code = ERROR_OK}, error;
    if (lua_getfield(L, api, "routes") == LUA_TNIL) return;
    if (!lua_istable(L, -1))
        luaL_error(L, "api.routes must be a table, not a %s", luaL_typename(L, -1));
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        if (take_route(L, vm, &error) && (!first.code || strcmp(error.text, first.text) < 0))
            first = error;
    }
    if (!first.code) routes_sort(&vm->routes, &first);
    if (first.code) luaL_error(L, "api.lua: %s", first.text);
}

/* The pattern and the handler are on top; pops the handler. */
static enum error_code take_route(lua_State *L, struct vm *vm, struct error *error)
{
    enum error_code code;
    size_t size;
    if (lua_type(L, -2) != LUA_TSTRING) {
        code = error_set(error, ERROR_SCRIPT, "a route is named by a string, not a %s",
                         luaL_typename(L, -2));
    } else if (!lua_isfunction(L, -1)) {
        code = error_set(error, ERROR_SCRIPT, "the route \"%s\" is not a function",
                         lua_tostring(L, -2));
    } else {
        const char *pattern = lua_tolstring(L, -2, &size);
        int handler = luaL_ref(L, LUA_REGISTRYINDEX);
        return routes_add(&vm->routes, slice_of(pattern, size), handler, error);
    }
    lua_pop(L, 1);
    return code;
}

/* ---- libraries ---- */

/*
 * A script's own coroutines let the host's wait pass: resume and wrap hand it outwards, and the
 * reply inwards. So a generator may query.
 */
static const char coroutine_source[] =
    "local is_wait, resume, yield, create = ...\n"
    "local function pass(co, ok, first, ...)\n"
    "  if ok and is_wait(first) then return pass(co, resume(co, yield(first))) end\n"
    "  return ok, first, ...\n"
    "end\n"
    "local function raise(ok, first, ...)\n"
    "  if ok then return first, ... end\n"
    "  error(first, 0)\n"
    "end\n"
    "function coroutine.resume(co, ...) return pass(co, resume(co, ...)) end\n"
    "function coroutine.wrap(f)\n"
    "  local co = create(f)\n"
    "  return function(...) return raise(pass(co, resume(co, ...))) end\n"
    "end\n";

static int is_wait(lua_State *L)
{
    lua_pushboolean(L, vm_is_wait(L, 1));
    return 1;
}

static void open_coroutines(lua_State *L)
{
    static const char *const wrapped[] = {"resume", "yield", "create"};
    if (luaL_loadbufferx(L, coroutine_source, sizeof coroutine_source - 1, "=coroutine", "t") !=
        LUA_OK)
        abort();
    lua_pushcfunction(L, is_wait);
    lua_getglobal(L, "coroutine");
    for (size_t i = 0; i < 3; i++) lua_getfield(L, -1 - (int)i, wrapped[i]);
    lua_remove(L, -4);
    lua_call(L, 4, 0);
}

/* print goes where people look for it on a server: into the log. */
static int print(lua_State *L)
{
    control_log_values(L, LOG_LEVEL_INFO);
    return 0;
}

static int search_bundle(lua_State *L);

static void open_libraries(lua_State *L)
{
    static const char *const absent[] = {"exit",
                                         "setlocale"}; /* the process is not the script's alone */
    luaL_openlibs(L);
    lua_getglobal(L, "os");
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, absent[i]);
    }
    lua_pushcfunction(L, print);
    lua_setglobal(L, "print");
    lua_createtable(L, 0, 1);
    value_push_object_function(L);
    lua_setfield(L, -2, "object");
    lua_setglobal(L, "moonclave");
    open_coroutines(L);
    request_open(L);
    luaL_requiref(L, "moonclave.cluster", cluster_open, 0);

    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers"); /* after preload, before the file system */
    for (lua_Integer i = (lua_Integer)lua_rawlen(L, -1); i >= 2; i--) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, -2, i + 1);
    }
    lua_pushcfunction(L, search_bundle);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 1);
    library_add_paths(L);
    lua_settop(L, 0);
}

/* require "a.b" is a/b.lua or a/b/init.lua of the app. */
static int search_bundle(lua_State *L)
{
    static const char *const endings[] = {".lua", "/init.lua"};
    struct vm *vm = vm_of(L);
    const char *name = luaL_gsub(L, luaL_checkstring(L, 1), ".", "/");
    for (size_t i = 0; i < 2; i++) {
        const char *path = lua_pushfstring(L, "%s%s", name, endings[i]);
        struct slice text;
        if (!bundle_file(buffer_slice(&vm->bundle), path, &text)) continue;
        const char *chunk = lua_pushfstring(L, "@%s", path);
        if (luaL_loadbufferx(L, (const char *)text.data, text.size, chunk, "t") != LUA_OK)
            return lua_error(L);
        lua_pushstring(L, path);
        return 2;
    }
    lua_pushfstring(L, "no file '%s.lua' in the app", name);
    return 1;
}
