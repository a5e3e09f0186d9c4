/*
 * The base functions of a state machine, where the stock ones would tell one node from another or
 * let a budget be caught: order, addresses, time of collection. See sandbox.c.
 */
#include "script/fsm_internal.h"

#include "script/bundle.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

static int base_pairs(lua_State *L);
static int base_next(lua_State *L);
static int base_type(lua_State *L);
static int base_setmetatable(lua_State *L);
static int base_pcall(lua_State *L);
static int base_xpcall(lua_State *L);
static int base_load(lua_State *L);
static int base_require(lua_State *L);
static int base_log(lua_State *L);

void sandbox_base_functions(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"pairs", base_pairs},
        {"next", base_next},
        {"type", base_type},
        {"pcall", base_pcall},
        {"xpcall", base_xpcall},
        {"tostring", sandbox_tostring},
        {"load", base_load},
        {"log", base_log},
        {"setmetatable", base_setmetatable},
        {"require", base_require},
        {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}

/* ---- order: pairs and next ---- */

/* A key of a Lua table, so that it can be sorted; the string is the table's. `at` is its place in
 * the list of keys. */
struct sort_key {
    enum { SORT_NUMBER, SORT_STRING, SORT_BOOLEAN } kind;
    uint32_t at;
    union {
        struct {
            lua_Number number;
            lua_Integer integer;
            bool is_integer;
        };
        struct slice string;
        bool boolean;
    };
};

static void to_sort_key(lua_State *L, int at, struct sort_key *key)
{
    size_t size;
    const char *text;
    switch (lua_type(L, at)) {
    case LUA_TNUMBER:
        key->kind = SORT_NUMBER;
        key->is_integer = lua_isinteger(L, at);
        key->number = lua_tonumber(L, at);
        key->integer = key->is_integer ? lua_tointeger(L, at) : 0;
        break;
    case LUA_TSTRING:
        key->kind = SORT_STRING;
        text = lua_tolstring(L, at, &size);
        key->string = slice_of(text, size);
        break;
    case LUA_TBOOLEAN:
        key->kind = SORT_BOOLEAN;
        key->boolean = lua_toboolean(L, at);
        break;
    default:
        luaL_error(L, "the keys of this table have no order that is the same on every node: "
                      "only numbers, strings and booleans have one");
    }
}

/* Numbers as floats first: a float key is never equal to an integer one, but may round to it. */
static int compare_numbers(const struct sort_key *a, const struct sort_key *b)
{
    if (a->is_integer && b->is_integer) {
        return (a->integer > b->integer) - (a->integer < b->integer);
    }
    if (a->number != b->number) return a->number < b->number ? -1 : 1;
    return a->is_integer ? -1 : 1;
}

static int compare_keys(const void *left, const void *right)
{
    const struct sort_key *a = left, *b = right;
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    if (a->kind == SORT_NUMBER) return compare_numbers(a, b);
    if (a->kind == SORT_STRING) return slice_compare(a->string, b->string);
    return a->boolean - b->boolean;
}

/* Pushes the list of the keys of the table at 1; true: it is in order already. */
static bool list_keys(lua_State *L, lua_Integer *count)
{
    struct sort_key last = {.kind = SORT_NUMBER}, key = last;
    bool sorted = true;
    lua_newtable(L);
    int list = lua_gettop(L);
    *count = 0;
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pop(L, 1);
        to_sort_key(L, -1, &key);
        if (*count > 0 && compare_keys(&last, &key) > 0) sorted = false;
        last = key;
        lua_pushvalue(L, -1);
        lua_rawseti(L, list, ++*count);
    }
    budget_charge(L, (uint64_t)*count * 4);
    return sorted;
}

/* Replaces the list on top by one in order. */
static void sort_list(lua_State *L, lua_Integer count)
{
    int list = lua_gettop(L);
    struct sort_key *keys = lua_newuserdatauv(L, (size_t)count * sizeof *keys, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, list, i + 1);
        to_sort_key(L, -1, &keys[i]);
        keys[i].at = (uint32_t)i + 1;
        lua_pop(L, 1);
    }
    qsort(keys, (size_t)count, sizeof *keys, compare_keys);
    budget_charge(L, (uint64_t)count * 8);
    lua_createtable(L, count < INT32_MAX ? (int)count : 0, 0);
    for (lua_Integer i = 0; i < count; i++) {
        lua_rawgeti(L, list, keys[i].at);
        lua_rawseti(L, -2, i + 1);
    }
    lua_replace(L, list);
    lua_settop(L, list);
}

/* Upvalues: the table, its keys, how far. A key whose value has gone is passed over. */
static int pairs_step(lua_State *L)
{
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(3));
    for (;;) {
        if (lua_rawgeti(L, lua_upvalueindex(2), ++at) == LUA_TNIL) return 1;
        lua_pushvalue(L, -1);
        if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL) break;
        lua_pop(L, 2);
        budget_charge(L, 1);
    }
    lua_pushinteger(L, at);
    lua_replace(L, lua_upvalueindex(3));
    return 2;
}

static int base_pairs(lua_State *L)
{
    if (fsm_is_handle(L, 1)) return fsm_state_pairs(L);
    if (luaL_getmetafield(L, 1, "__pairs") != LUA_TNIL) {
        lua_pushvalue(L, 1);
        lua_call(L, 1, 3);
        return 3;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer count;
    if (!list_keys(L, &count)) sort_list(L, count);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, pairs_step, 3);
    return 1;
}

/* The first pair in order. Going on from a key would need the order anew at every step: pairs has
 * it. */
static int base_next(lua_State *L)
{
    if (!lua_isnoneornil(L, 2)) {
        return luaL_error(L, "next(t, key) is not available in a state machine: use pairs");
    }
    lua_settop(L, 1);
    if (fsm_is_handle(L, 1)) {
        fsm_state_pairs(L);
        lua_call(L, 0, 2);
        return 2;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    struct sort_key least = {.kind = SORT_NUMBER}, key = least;
    uint64_t count = 0;
    lua_pushnil(L); /* at 2: the least key so far */
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pop(L, 1);
        to_sort_key(L, -1, &key);
        if (count++ == 0 || compare_keys(&key, &least) < 0) {
            least = key;
            lua_pushvalue(L, -1);
            lua_replace(L, 2);
        }
    }
    budget_charge(L, count);
    if (count == 0) return 1;
    lua_pushvalue(L, 2);
    lua_rawget(L, 1);
    return 2;
}

/* ---- kinds and texts ---- */

static int base_type(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushstring(L, fsm_is_handle(L, 1) ? "table" : luaL_typename(L, 1));
    return 1;
}

/* Without addresses, and with one NaN. */
int sandbox_tostring(lua_State *L)
{
    luaL_checkany(L, 1);
    int type = lua_type(L, 1);
    if (type == LUA_TTABLE && luaL_callmeta(L, 1, "__tostring")) {
        if (!lua_isstring(L, -1)) return luaL_error(L, "'__tostring' must return a string");
        return 1;
    }
    if (type == LUA_TNUMBER && lua_tonumber(L, 1) != lua_tonumber(L, 1)) {
        lua_pushliteral(L, "nan");
    } else if (type == LUA_TNIL || type == LUA_TBOOLEAN || type == LUA_TNUMBER ||
               type == LUA_TSTRING) {
        luaL_tolstring(L, 1, NULL);
    } else {
        lua_pushstring(L, fsm_is_handle(L, 1) ? "table" : luaL_typename(L, 1));
    }
    return 1;
}

static int base_log(lua_State *L)
{
    struct fsm *fsm = fsm_of(L);
    int count = lua_gettop(L);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (int i = 1; i <= count; i++) {
        if (i > 1) luaL_addchar(&text, ' ');
        lua_pushcfunction(L, sandbox_tostring);
        lua_pushvalue(L, i);
        lua_call(L, 1, 1);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    if (fsm->log) fsm->log(fsm->log_context, lua_tostring(L, -1));
    return 0;
}

static int base_setmetatable(lua_State *L)
{
    static const char *const refused[] = {"__gc", "__mode"};
    luaL_checktype(L, 1, LUA_TTABLE);
    if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL) {
        return luaL_error(L, "cannot change a protected metatable");
    }
    lua_settop(L, 2);
    for (size_t i = 0; i < 2 && lua_istable(L, 2); i++) {
        lua_pushstring(L, refused[i]);
        if (lua_rawget(L, 2) != LUA_TNIL) {
            return luaL_error(L,
                              "%s is not available in a state machine: when memory is collected "
                              "differs between nodes",
                              refused[i]);
        }
        lua_pop(L, 1);
    }
    lua_setmetatable(L, 1);
    return 1;
}

/* ---- protected calls ---- */

static int base_pcall(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, true);
    lua_insert(L, 1);
    int status = lua_pcall(L, lua_gettop(L) - 2, LUA_MULTRET, 0);
    budget_rethrow(L, status);
    if (status == LUA_OK) return lua_gettop(L);
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

/* The script's handler is the upvalue. It is passed over when the budget is spent: an error raised
 * by the count hook is handled while hooks are off, and nothing would end a handler then. */
static int handle(lua_State *L)
{
    if (budget_of(L)->stop != BUDGET_RUNS) return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int base_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle, 1);
    lua_replace(L, 2);
    lua_pushboolean(L, true);
    lua_pushvalue(L, 1);
    lua_rotate(L, 3, 2);
    /* 1 function, 2 handler, 3 true, 4 function, arguments */
    int status = lua_pcall(L, lua_gettop(L) - 4, LUA_MULTRET, 2);
    budget_rethrow(L, status);
    if (status == LUA_OK) return lua_gettop(L) - 2;
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

/* ---- code ---- */

/* The pieces of a function at 1 as one string in its place. */
static void gather_pieces(lua_State *L)
{
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (;;) {
        lua_pushvalue(L, 1);
        lua_call(L, 0, 1);
        if (lua_isnil(L, -1)) break;
        if (!lua_isstring(L, -1)) luaL_error(L, "reader function must return a string");
        if (lua_rawlen(L, -1) == 0) break;
        luaL_addvalue(&text);
    }
    lua_pop(L, 1);
    luaL_pushresult(&text);
    lua_replace(L, 1);
}

static int base_load(lua_State *L)
{
    bool has_environment = !lua_isnone(L, 4);
    bool is_string = lua_type(L, 1) == LUA_TSTRING;
    if (!is_string) luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 4);
    if (!is_string) gather_pieces(L);
    size_t size;
    const char *text = lua_tolstring(L, 1, &size);
    const char *name = luaL_optstring(L, 2, is_string ? text : "=(load)");
    budget_charge(L, size);
    int status = luaL_loadbufferx(L, text, size, name, "t");
    budget_rethrow(L, status);
    if (status != LUA_OK) {
        lua_pushnil(L);
        lua_insert(L, -2);
        return 2;
    }
    if (has_environment) {
        lua_pushvalue(L, 4);
        if (!lua_setupvalue(L, -2, 1)) lua_pop(L, 1);
    }
    return 1;
}

int sandbox_run_file(lua_State *L, const char *path, struct slice source)
{
    budget_charge(L, source.size);
    if (source.size > 0 && source.data[0] == LUA_SIGNATURE[0]) {
        return luaL_error(L, "%s is compiled code: an app's files are text", path);
    }
    lua_pushfstring(L, "@%s", path);
    int status =
        luaL_loadbufferx(L, (const char *)source.data, source.size, lua_tostring(L, -1), "t");
    lua_remove(L, -2);
    if (status != LUA_OK) lua_error(L);
    lua_call(L, 0, 1);
    return 1;
}

/* Pushes the path of the module's file in the bundle. */
static bool find_module(lua_State *L, struct slice bundle, const char *name, struct slice *source)
{
    static const char *const endings[] = {".lua", "/init.lua"};
    const char *path = luaL_gsub(L, name, ".", "/");
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        lua_pushfstring(L, "%s%s", path, endings[i]);
        if (bundle_file(bundle, lua_tostring(L, -1), source)) return true;
        lua_pop(L, 1);
    }
    return false;
}

int sandbox_require(lua_State *L, struct slice bundle, int modules, const char *why_not)
{
    const char *name = luaL_checkstring(L, 1);
    struct slice source;
    lua_settop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, modules);
    lua_pushvalue(L, 1);
    int known = lua_rawget(L, 2);
    if (known == LUA_TLIGHTUSERDATA) return luaL_error(L, "module '%s' requires itself", name);
    if (known != LUA_TNIL) return 1;
    if (why_not) return luaL_error(L, "require '%s' %s", name, why_not);
    if (!find_module(L, bundle, name, &source)) return luaL_error(L, "the app has no module '%s'", name);
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, L);
    lua_rawset(L, 2);
    sandbox_run_file(L, lua_tostring(L, -1), source);
    if (lua_isnil(L, -1)) {
        lua_pushboolean(L, true);
        lua_replace(L, -2);
    }
    lua_pushvalue(L, 1);
    lua_pushvalue(L, -2);
    lua_rawset(L, 2);
    return 1;
}

/* Each module runs once, while the app loads: later it would run at different times on different
 * nodes. */
static int base_require(lua_State *L)
{
    const struct fsm *fsm = fsm_of(L);
    bool loads = fsm->mode == FSM_LOADING;
    if (strcmp(luaL_checkstring(L, 1), "moonclave") == 0) {
        lua_getglobal(L, "moonclave");
        return 1;
    }
    return sandbox_require(L, fsm->bundle, fsm->modules,
                           loads ? NULL : "while a command runs: require modules at the top of the file");
}

/* ---- chance ---- */

/* math.random and ctx.random: (), (n), (m, n), (0), as in Lua. */
int sandbox_random(lua_State *L)
{
    struct random *random = &fsm_of(L)->random;
    lua_Integer low = 1, high;
    switch (lua_gettop(L)) {
    case 0:
        lua_pushnumber(L, random_unit(random));
        return 1;
    case 1:
        high = luaL_checkinteger(L, 1);
        if (high == 0) {
            lua_pushinteger(L, (lua_Integer)random_next(random));
            return 1;
        }
        break;
    case 2:
        low = luaL_checkinteger(L, 1);
        high = luaL_checkinteger(L, 2);
        break;
    default:
        return luaL_error(L, "wrong number of arguments");
    }
    luaL_argcheck(L, low <= high, lua_gettop(L), "interval is empty");
    uint64_t span = (uint64_t)high - (uint64_t)low + 1; /* 0: all of them */
    uint64_t drawn = span ? random_below(random, span) : random_next(random);
    lua_pushinteger(L, (lua_Integer)((uint64_t)low + drawn));
    return 1;
}
