/*
 * The policy VM. The language is the state machine's (sandbox_base.c, strings.c), held by the same budget: what makes
 * that one alike on every node makes a policy's answer depend on its view alone. The functions of one policy are taken
 * out of the table it returns when it is loaded, the missing ones out of the default's.
 */
#include "script/policy.h"

#include "base/memory.h"
#include "base/mp.h"
#include "script/bundle.h"
#include "script/library.h"
#include "script/policy_internal.h"

#include <assert.h>
#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <string.h>

#define STEPS_MAX      500000 /* of one view, or of loading: some milliseconds; a policy of nine servers takes 1% */
#define MEMORY_MAX     ((uint64_t)64 << 20)
#define BLOCK_MAX      ((uint64_t)16 << 20)
#define DEFAULT_MODULE "moonclave.policy"
#define OWN_FILE       "policy.lua"
#define NAMES_TEXT     "admit, promote, demote, evict and prefer_leader"

const char *const policy_functions[FUNCTIONS] = {"admit", "promote", "demote", "evict", "prefer_leader"};

static bool begin_vm(struct policy_vm *vm);
static void end_vm(struct policy_vm *vm);
static enum error_code run(struct policy_vm *vm, lua_CFunction function, struct policy_call *call,
                           struct error *error);
static int open_vm(lua_State *L);
static int load_policy(lua_State *L);
static void load_default(lua_State *L, struct policy_vm *vm);
static void check_fields(lua_State *L, int module, struct slice source);
static int base_log(lua_State *L);
static int base_require(lua_State *L);

/* ---- life ---- */

struct policy_vm *policy_vm_new(void (*log)(void *context, const char *text), void *log_context)
{
    struct policy_vm *vm = memory_zero(1, sizeof *vm);
    vm->log = log;
    vm->log_context = log_context;
    policy_vm_load(vm, (struct slice){0}, NULL);
    return vm;
}

void policy_vm_free(struct policy_vm *vm)
{
    if (!vm) return;
    end_vm(vm);
    buffer_deinit(&vm->bundle);
    buffer_deinit(&vm->scratch);
    memory_free(vm);
}

enum error_code policy_vm_load(struct policy_vm *vm, struct slice bundle, struct error *error)
{
    end_vm(vm);
    buffer_clear(&vm->bundle);
    buffer_append_slice(&vm->bundle, bundle);
    enum error_code code = ERROR_OK;
    if (!begin_vm(vm))
        code = error_set(&vm->problem, ERROR_SCRIPT, "there is no memory for the policy");
    else
        code = run(vm, load_policy, NULL, &vm->problem);
    if (code == ERROR_OK) vm->problem.code = ERROR_OK;
    if (code != ERROR_OK && error) *error = vm->problem;
    return code;
}

enum error_code policy_check(struct slice bundle, struct error *error)
{
    struct policy_vm *vm = memory_zero(1, sizeof *vm);
    enum error_code code = policy_vm_load(vm, bundle, error);
    policy_vm_free(vm);
    return code;
}

enum error_code policy_vm_decide(struct policy_vm *vm, struct slice view, struct buffer *actions,
                                 struct error *error)
{
    struct policy_call call = {.view = view};
    if (vm->problem.code != ERROR_OK) return error_set(error, ERROR_SCRIPT, "%s", vm->problem.text);
    buffer_clear(&vm->scratch);
    enum error_code code = run(vm, policy_decide, &call, error);
    if (code != ERROR_OK) return code;
    mp_write_array(actions, call.count);
    buffer_append_slice(actions, buffer_slice(&vm->scratch));
    return ERROR_OK;
}

/* The VM's own first blocks are made without limits: no script runs yet. */
static bool begin_vm(struct policy_vm *vm)
{
    vm->budget = (struct budget){
        .whose = "command", .steps_max = STEPS_MAX, .memory_max = SIZE_MAX, .block_max = SIZE_MAX};
    vm->L = vm->budget.L = lua_newstate(budget_allocate, &vm->budget);
    if (!vm->L) return false;
    *(struct policy_vm **)lua_getextraspace(vm->L) = vm;
    lua_pushcfunction(vm->L, open_vm);
    bool opened = lua_pcall(vm->L, 0, 0, 0) == LUA_OK;
    vm->budget.memory_max = MEMORY_MAX;
    vm->budget.block_max = BLOCK_MAX;
    return opened;
}

static void end_vm(struct policy_vm *vm)
{
    if (vm->L) lua_close(vm->L);
    vm->L = NULL;
}

/* A VM that the system gave no memory once is not used again. */
static enum error_code run(struct policy_vm *vm, lua_CFunction function, struct policy_call *call,
                           struct error *error)
{
    lua_State *L = vm->L;
    if (vm->budget.exhausted) return error_set(error, ERROR_SCRIPT, "there was no memory for the policy");
    lua_settop(L, 0);
    lua_pushcfunction(L, function);
    lua_pushlightuserdata(L, call);
    budget_begin(&vm->budget);
    int status = lua_pcall(L, 1, 0, 0);
    budget_pause(&vm->budget);
    if (status == LUA_OK) return ERROR_OK;
    enum budget_stop stop = vm->budget.stop;
    if (status == LUA_ERRMEM && stop == BUDGET_RUNS) stop = BUDGET_MEMORY;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "it raised what is no text";
    if (stop == BUDGET_STEPS) {
        const char *end = strstr(text, ": more than");
        error_set(error, ERROR_SCRIPT, "%.*s: more than %d steps: is there an endless loop?",
                  (int)(end ? end - text : (long)strlen(text)), text, STEPS_MAX);
    } else if (stop != BUDGET_RUNS) {
        error_set(error, ERROR_SCRIPT, "%s: it uses more than %d MiB of memory", OWN_FILE, (int)(MEMORY_MAX >> 20));
    } else {
        error_set(error, ERROR_SCRIPT, "%s", text);
    }
    lua_settop(L, 0);
    return ERROR_SCRIPT;
}

/* ---- the language ---- */

/* Nothing that tells one process from another, or that waits; and whatever works for long is charged: the hook does not
 * see into C, and a leader that a policy holds up leads nobody. */
static int open_vm(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},     {LUA_STRLIBNAME, luaopen_string}, {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math}, {LUA_UTF8LIBNAME, luaopen_utf8},
    };
    static const char *const absent[] = {"dofile", "loadfile", "collectgarbage", "print", "warn", "rawset"};
    static const char *const absent_math[] = {"random", "randomseed"};
    static const luaL_Reg own[] = {{"log", base_log}, {"require", base_require}, {NULL, NULL}};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
        lua_pop(L, 1);
    }
    lua_pushglobaltable(L);
    sandbox_base_functions(L);
    luaL_setfuncs(L, own, 0);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, absent[i]);
    }
    lua_getfield(L, -1, LUA_MATHLIBNAME);
    for (size_t i = 0; i < sizeof absent_math / sizeof *absent_math; i++) {
        lua_pushnil(L);
        lua_setfield(L, -2, absent_math[i]);
    }
    lua_getfield(L, -2, LUA_STRLIBNAME);
    sandbox_string_functions(L);
    sandbox_charged_string(L);
    lua_pushnil(L);
    lua_setfield(L, -2, "dump");
    lua_getfield(L, -3, LUA_TABLIBNAME);
    sandbox_table_functions(L);
    lua_getfield(L, -4, LUA_UTF8LIBNAME);
    sandbox_charged_utf8(L);
    lua_newtable(L);
    policy_vm_of(L)->modules = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int base_log(lua_State *L)
{
    struct policy_vm *vm = policy_vm_of(L);
    luaL_Buffer text;
    int count = lua_gettop(L);
    luaL_buffinit(L, &text);
    for (int i = 1; i <= count; i++) {
        if (i > 1) luaL_addchar(&text, ' ');
        lua_pushcfunction(L, sandbox_tostring);
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    if (vm->log) vm->log(vm->log_context, lua_tostring(L, -1));
    return 0;
}

/* The app's own modules, and the default policy. */
static int base_require(lua_State *L)
{
    const struct policy_vm *vm = policy_vm_of(L);
    return sandbox_require(L, buffer_slice(&vm->bundle), vm->modules, NULL);
}

/* ---- loading ---- */

static int load_policy(lua_State *L)
{
    struct policy_vm *vm = policy_vm_of(L);
    struct slice source = {0};
    load_default(L, vm);
    int standard = lua_gettop(L);
    bool own = bundle_file(buffer_slice(&vm->bundle), OWN_FILE, &source);
    if (own) {
        sandbox_run_file(L, OWN_FILE, source);
        if (!lua_istable(L, -1))
            return luaL_error(L, "%s must return a table with %s; it returned a %s", OWN_FILE, NAMES_TEXT,
                              luaL_typename(L, -1));
        check_fields(L, lua_gettop(L), source);
    }
    int module = lua_gettop(L);
    for (int i = 0; i < FUNCTIONS; i++) {
        if (lua_getfield(L, module, policy_functions[i]) != LUA_TFUNCTION) {
            lua_pop(L, 1);
            lua_getfield(L, standard, policy_functions[i]);
        }
        assert(lua_isfunction(L, -1)); /* the default has all */
        vm->functions[i] = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    return 0;
}

/* Finds the library's file as `require` of an ordinary Lua would. */
static void read_default(struct buffer *out)
{
    lua_State *L = luaL_newstate();
    if (!L) return;
    luaL_openlibs(L);
    library_add_paths(L);
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchpath");
    lua_pushliteral(L, DEFAULT_MODULE);
    lua_getfield(L, -3, "path");
    FILE *file = lua_pcall(L, 2, 1, 0) == LUA_OK && lua_isstring(L, -1) ? fopen(lua_tostring(L, -1), "rb") : NULL;
    char piece[4096];
    for (size_t size; file && (size = fread(piece, 1, sizeof piece, file)) > 0;)
        buffer_append_slice(out, slice_of(piece, size));
    if (file) fclose(file);
    lua_close(L);
}

/* Pushes it, and lets `require` find it. */
static void load_default(lua_State *L, struct policy_vm *vm)
{
    buffer_clear(&vm->scratch);
    read_default(&vm->scratch);
    if (vm->scratch.size == 0)
        luaL_error(L, "the default policy is not there: moonclave/policy.lua is in no folder of Lua's path");
    lua_rawgeti(L, LUA_REGISTRYINDEX, vm->modules);
    sandbox_run_file(L, "moonclave/policy.lua", buffer_slice(&vm->scratch));
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, DEFAULT_MODULE);
    lua_remove(L, -2);
    if (!lua_istable(L, -1)) luaL_error(L, "moonclave/policy.lua must return a table");
    for (int i = 0; i < FUNCTIONS; i++) {
        if (lua_getfield(L, -1, policy_functions[i]) != LUA_TFUNCTION)
            luaL_error(L, "moonclave/policy.lua has no function %s", policy_functions[i]);
        lua_pop(L, 1);
    }
}

/* Where a field that is no function stands: the first line that has its name. */
static int line_of(struct slice source, const char *name)
{
    size_t size = strlen(name);
    int line = 1;
    for (size_t i = 0; size > 0 && i + size <= source.size; i++) {
        if (memcmp(source.data + i, name, size) == 0) return line;
        if (source.data[i] == '\n') line++;
    }
    return 1;
}

/* A misspelled function would be one that is never called. Of several the first by name is told. */
static void check_fields(lua_State *L, int module, struct slice source)
{
    lua_getglobal(L, "pairs");
    lua_pushvalue(L, module);
    lua_call(L, 1, 1);
    int step = lua_gettop(L);
    for (;;) {
        lua_settop(L, step);
        lua_pushvalue(L, step);
        lua_call(L, 0, 2);
        if (lua_isnil(L, step + 1)) break;
        bool known = false;
        for (int i = 0; i < FUNCTIONS && lua_type(L, step + 1) == LUA_TSTRING; i++)
            known = known || strcmp(lua_tostring(L, step + 1), policy_functions[i]) == 0;
        const char *name = luaL_tolstring(L, step + 1, NULL);
        bool function = lua_isfunction(L, step + 2);
        lua_Debug where = {.linedefined = line_of(source, name), .short_src = OWN_FILE};
        if (function && !lua_iscfunction(L, step + 2)) {
            lua_pushvalue(L, step + 2);
            lua_getinfo(L, ">S", &where);
        }
        if (!known)
            luaL_error(L, "%s:%d: a policy has no `%s`: it has %s", where.short_src, where.linedefined, name,
                       NAMES_TEXT);
        if (!function)
            luaL_error(L, "%s:%d: `%s` must be a function, it is a %s", where.short_src, where.linedefined, name,
                       luaL_typename(L, step + 2));
    }
    lua_settop(L, module);
}
