/*
 * What a state machine sees. Nothing of the stock libraries is handed out but the functions named
 * here; the rest says, when it is touched, what to use instead.
 *
 * The environment is an empty table over the real globals: reading goes through, writing goes
 * through while the app loads and raises afterwards. Libraries are such tables too, and never
 * writable. Strings' metatable leads to our string library and to nothing else.
 */
#include "script/fsm_internal.h"

#include "script/values.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

struct absent {
    const char *library; /* null: a global */
    const char *name;    /* null: all that is not there */
    const char *instead;
};

/* The first row that fits counts. */
static const struct absent absent[] = {
    {"os", "time", "use ctx.time"},
    {"os", "clock", "use ctx.time"},
    {"os", "date", "use ctx.time"},
    {"os", "getenv", "pass it in the app's config"},
    {"os", NULL, "a state machine has no world around it"},
    {"io", NULL, "a state machine touches no files"},
    {"package", NULL, "require takes the app's own files"},
    {"debug", NULL, "its answers are not the same on every node"},
    {"coroutine", NULL, "a command runs from beginning to end"},
    {"string", "dump", "code is replicated as text"},
    {"math", "randomseed", "math.random is seeded for every entry"},
    {"math", "sin", "its result differs between machines"},
    {"math", "cos", "its result differs between machines"},
    {"math", "tan", "its result differs between machines"},
    {"math", "asin", "its result differs between machines"},
    {"math", "acos", "its result differs between machines"},
    {"math", "atan", "its result differs between machines"},
    {"math", "exp", "its result differs between machines"},
    {"math", "log", "its result differs between machines"},
    {"math", "log10", "its result differs between machines"},
    {"math", "pow", "its result differs between machines"},
    {NULL, "print", "use log(...)"},
    {NULL, "warn", "use log(...)"},
    {NULL, "dofile", "use require"},
    {NULL, "loadfile", "use require"},
    {NULL, "loadstring", "use load"},
    {NULL, "collectgarbage", "memory is the host's business"},
    {NULL, "rawget", "use t[key]"},
    {NULL, "rawset", "use t[key] = value"},
    {NULL, "rawlen", "use #t"},
    {NULL, "unpack", "use table.unpack"},
};

static const char *const kept_base[] = {"assert",   "error",  "getmetatable", "ipairs",
                                        "rawequal", "select", "tonumber",     NULL};
static const char *const kept_math[] = {"abs",        "ceil", "floor",      "fmod", "huge", "max",
                                        "maxinteger", "min",  "mininteger", "modf", "pi",   "sqrt",
                                        "tointeger",  "type", "ult",        NULL};
static const char *const kept_utf8[] = {"char", "charpattern", "codes", NULL};
static const char *const charged_utf8[] = {"codepoint", "len", "offset", NULL};
static const char *const charged_string[] = {"byte", NULL};
static const char *const empty_libraries[] = {"os", "io", "package", "debug", "coroutine", NULL};

static void open_stock(lua_State *L);
static void keep(lua_State *L, const char *library, const char *const *names);
static void keep_charged(lua_State *L, const char *library, const char *const *names);
static void guard(lua_State *L, const char *library);
static void add_libraries(lua_State *L);
static void make_environment(lua_State *L);
static void replace_string_metatable(lua_State *L, int string_library);

/* The table of real globals is on the stack all the way; the environment becomes the VM's global
 * table. */
void sandbox_open(struct fsm *fsm)
{
    lua_State *L = fsm->L;
    open_stock(L);
    lua_newtable(L);
    keep(L, LUA_GNAME, kept_base);
    sandbox_base_functions(L);
    lua_pushcfunction(L, fsm_scan);
    lua_setfield(L, -2, "scan");
    lua_pushcfunction(L, fsm_count);
    lua_setfield(L, -2, "count");
    lua_pushliteral(L, LUA_VERSION);
    lua_setfield(L, -2, "_VERSION");
    add_libraries(L);
    make_environment(L);
    lua_newtable(L);
    fsm->modules = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* ---- stock libraries, kept where no script can reach them ---- */

static void open_stock(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},       {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table}, {LUA_MATHLIBNAME, luaopen_math},
        {LUA_UTF8LIBNAME, luaopen_utf8},
    };
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        luaL_requiref(L, libraries[i].name, libraries[i].func, 0);
        lua_pop(L, 1);
    }
}

static void push_stock(lua_State *L, const char *library)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, library);
    lua_remove(L, -2);
}

static void keep(lua_State *L, const char *library, const char *const *names)
{
    push_stock(L, library);
    for (; *names; names++) {
        lua_getfield(L, -1, *names);
        lua_setfield(L, -3, *names);
    }
    lua_pop(L, 1);
}

/* Stock functions that walk a whole string: it is charged first. The function is an upvalue, called
 * in this frame so that its errors name the script's line. */
static int charged(lua_State *L)
{
    if (lua_type(L, 1) == LUA_TSTRING) budget_charge_bytes(L, lua_rawlen(L, 1));
    int results = lua_tocfunction(L, lua_upvalueindex(1))(L);
    budget_charge(L, (uint64_t)results);
    return results;
}

static void keep_charged(lua_State *L, const char *library, const char *const *names)
{
    push_stock(L, library);
    for (; *names; names++) {
        lua_getfield(L, -1, *names);
        lua_pushcclosure(L, charged, 1);
        lua_setfield(L, -3, *names);
    }
    lua_pop(L, 1);
}

void sandbox_charged_utf8(lua_State *L)
{
    keep_charged(L, LUA_UTF8LIBNAME, charged_utf8);
}

void sandbox_charged_string(lua_State *L)
{
    keep_charged(L, LUA_STRLIBNAME, charged_string);
}

/* ---- what is not there ---- */

static int raise_absent(lua_State *L, const char *library, const char *name, const char *instead)
{
    return luaL_error(L, "%s%s%s is not available in a state machine: %s", library ? library : "",
                      library ? "." : "", name, instead);
}

/* __index of a library (its name is the upvalue; nil: of the globals): what is not there is nil, or
 * raises. */
static int touch(lua_State *L)
{
    const char *library = lua_tostring(L, lua_upvalueindex(1));
    if (lua_type(L, 2) != LUA_TSTRING) return 0;
    const char *name = lua_tostring(L, 2);
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        const struct absent *row = &absent[i];
        if ((row->library == NULL) != (library == NULL)) continue;
        if (library && strcmp(row->library, library) != 0) continue;
        if (!row->name || strcmp(row->name, name) == 0) {
            return raise_absent(L, library, name, row->instead);
        }
    }
    return 0;
}

static int refuse_library_change(lua_State *L)
{
    return luaL_error(L, "the libraries of a state machine cannot be changed");
}

/* The table on top gets a metatable that answers for what is not in it. A null library: the
 * globals. */
static void answer_for_absent(lua_State *L, const char *library)
{
    lua_createtable(L, 0, 1);
    lua_pushstring(L, library);
    lua_pushcclosure(L, touch, 1);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

/* The library on top becomes an empty table over it that cannot be changed. */
static void guard(lua_State *L, const char *library)
{
    answer_for_absent(L, library);
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_rotate(L, -3, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, refuse_library_change);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
}

static void add_libraries(lua_State *L)
{
    lua_newtable(L);
    keep(L, LUA_MATHLIBNAME, kept_math);
    lua_pushcfunction(L, sandbox_random);
    lua_setfield(L, -2, "random");
    guard(L, "math");
    lua_setfield(L, -2, "math");

    lua_newtable(L);
    keep(L, LUA_UTF8LIBNAME, kept_utf8);
    sandbox_charged_utf8(L);
    guard(L, "utf8");
    lua_setfield(L, -2, "utf8");

    lua_newtable(L);
    sandbox_table_functions(L);
    guard(L, "table");
    lua_setfield(L, -2, "table");

    static const char *const kept[] = {"char", "len", "lower", "reverse", "sub", "upper", NULL};
    lua_newtable(L);
    keep(L, LUA_STRLIBNAME, kept);
    sandbox_charged_string(L);
    sandbox_string_functions(L);
    replace_string_metatable(L, lua_gettop(L));
    guard(L, "string");
    lua_setfield(L, -2, "string");

    lua_newtable(L);
    value_push_object_function(L);
    lua_setfield(L, -2, "object");
    guard(L, "moonclave");
    lua_setfield(L, -2, "moonclave");

    for (const char *const *name = empty_libraries; *name; name++) {
        lua_newtable(L);
        guard(L, *name);
        lua_setfield(L, -2, *name);
    }
}

/* Arithmetic on strings stays; the way to the stock library does not. */
static void replace_string_metatable(lua_State *L, int string_library)
{
    lua_pushliteral(L, "");
    lua_getmetatable(L, -1);
    lua_pushvalue(L, string_library);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 2);
}

/* ---- the environment ---- */

static int refuse_global(lua_State *L)
{
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2);
    return luaL_error(
        L, "the global '%s' cannot be set: a state machine keeps what it knows in its state", name);
}

/* The real globals are on top; they are taken. */
static void make_environment(lua_State *L)
{
    answer_for_absent(L, NULL);
    lua_newtable(L);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__newindex");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "_G");
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pop(L, 1);
}

void sandbox_freeze(struct fsm *fsm)
{
    lua_State *L = fsm->L;
    lua_pushglobaltable(L);
    lua_getmetatable(L, -1);
    lua_pushcfunction(L, refuse_global);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 2);
}
