/*
 * `state` in the console: handles to tables of the tree, which look and do not touch. A handle is its parent and a key;
 * the table it stands for is looked up once in each slice, because between slices anything may have happened to it. So
 * none holds on to memory of the tree, and none is ever wrong: it finds what is there now, or says that it is gone.
 */
#include "script/console_internal.h"

#include <lauxlib.h>
#include <string.h>

#define HANDLE "moonclave.state"

/* A userdata with two values: the parent (nil: the root) and the key in it. */
struct handle {
    const struct state_table *table;
    uint64_t slice; /* in which it was looked up */
};
enum { PARENT = 1, KEY = 2 };

bool console_is_handle(lua_State *L, int at)
{
    return luaL_testudata(L, at, HANDLE) != NULL;
}

static bool to_key(lua_State *L, int at, struct state_key *key)
{
    int is_integer;
    lua_Integer integer = lua_tointegerx(L, at, &is_integer);
    if (lua_type(L, at) == LUA_TSTRING) {
        size_t size;
        const char *text = lua_tolstring(L, at, &size);
        *key = state_key_string(slice_of(text, size));
        return true;
    }
    *key = state_key_integer(integer);
    return lua_type(L, at) == LUA_TNUMBER && is_integer;
}

/* ---- names ---- */

/* "state.items.a" */
static const char *push_name(lua_State *L, int at)
{
    at = lua_absindex(L, at);
    luaL_checkstack(L, 6, "too deep");
    if (lua_getiuservalue(L, at, PARENT) == LUA_TNIL) {
        lua_pop(L, 1);
        return lua_pushliteral(L, "state");
    }
    const char *parent = push_name(L, -1);
    bool named = lua_getiuservalue(L, at, KEY) == LUA_TSTRING;
    lua_pushfstring(L, named ? "%s.%s" : "%s[%s]", parent, luaL_tolstring(L, -1, NULL));
    lua_insert(L, -5);
    lua_pop(L, 4); /* the parent, its name, the key, its text */
    return lua_tostring(L, -1);
}

/* ---- from a handle to its table ---- */

const struct state_table *console_table(lua_State *L, int at)
{
    struct console *console = console_of(L);
    struct handle *handle = luaL_checkudata(L, at, HANDLE);
    if (handle->slice == console->slice) return handle->table;
    at = lua_absindex(L, at);
    luaL_checkstack(L, 4, "too deep");
    const struct state *state = console->ports.state(console->ports.context);
    const struct state_table *table = NULL;
    struct state_key key;
    if (state == NULL) luaL_error(L, "there is no state yet");
    if (lua_getiuservalue(L, at, PARENT) == LUA_TNIL) {
        table = state_root(state);
    } else {
        const struct state_table *parent = console_table(L, -1);
        lua_getiuservalue(L, at, KEY);
        if (to_key(L, -1, &key)) table = state_get_table(parent, key);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (table == NULL) luaL_error(L, "%s is not there any more: the state has changed", push_name(L, at));
    handle->table = table;
    handle->slice = console->slice;
    return table;
}

/* With the parent at `parent` and the key on top, which it takes; pushes the handle. */
static void push_handle(lua_State *L, int parent, const struct state_table *table)
{
    parent = lua_absindex(L, parent);
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 2);
    handle->table = table;
    handle->slice = console_of(L)->slice;
    luaL_setmetatable(L, HANDLE);
    lua_pushvalue(L, parent);
    lua_setiuservalue(L, -2, PARENT);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, KEY);
}

static void push_key(lua_State *L, struct state_key key)
{
    if (key.is_string) {
        lua_pushlstring(L, key.string.size ? (const char *)key.string.data : "", key.string.size);
    } else {
        lua_pushinteger(L, key.integer);
    }
}

static void push_value(lua_State *L, int parent, struct state_key key, struct state_value value)
{
    parent = lua_absindex(L, parent);
    switch (value.type) {
    case STATE_NIL:
        lua_pushnil(L);
        break;
    case STATE_BOOLEAN:
        lua_pushboolean(L, value.boolean);
        break;
    case STATE_INTEGER:
        lua_pushinteger(L, value.integer);
        break;
    case STATE_FLOAT:
        lua_pushnumber(L, value.number);
        break;
    case STATE_STRING:
        push_key(L, state_key_string(value.string));
        break;
    case STATE_TABLE:
        push_key(L, key);
        push_handle(L, parent, value.table);
        break;
    }
}

/* ---- what a handle can do ---- */

static int handle_index(lua_State *L)
{
    const struct state_table *table = console_table(L, 1);
    struct state_key key;
    if (!to_key(L, 2, &key)) return 0;
    push_value(L, 1, key, state_get(table, key));
    return 1;
}

static int handle_assign(lua_State *L)
{
    return luaL_error(L, "%s cannot be written here: only commands of the app change the state", push_name(L, 1));
}

static int handle_length(lua_State *L)
{
    lua_pushinteger(L, state_length(console_table(L, 1)));
    return 1;
}

static int handle_text(lua_State *L)
{
    lua_pushfstring(L, "%s (%I keys)", push_name(L, 1), (LUAI_UACINT)state_count(console_table(L, 1)));
    return 1;
}

static int handle_equal(lua_State *L)
{
    lua_pushboolean(L, console_is_handle(L, 1) && console_is_handle(L, 2) &&
                           console_table(L, 1) == console_table(L, 2));
    return 1;
}

/* Pushes the first key of the range that comes behind `last` (an absolute index; nil: the first of all) and its value.
 * Each step looks for its place anew: the state may have changed since the one before. */
static int push_next(lua_State *L, int handle, int last, struct state_range range)
{
    const struct state_table *table = console_table(L, handle);
    struct state_cursor cursor;
    struct state_key key, behind;
    struct state_value value;
    bool has_last = !lua_isnil(L, last) && to_key(L, last, &behind);
    if (has_last && range.reverse) range.to = &behind;
    if (has_last && !range.reverse) range.from = &behind;
    state_scan(&cursor, table, &range);
    bool found = state_scan_next(&cursor, &key, &value);
    if (found && has_last && state_key_compare(key, behind) == 0) found = state_scan_next(&cursor, &key, &value);
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    push_key(L, key);
    push_value(L, handle, key, value);
    return 2;
}

static int handle_next(lua_State *L)
{
    struct state_range range = {0};
    lua_settop(L, 2);
    return push_next(L, 1, 2, range);
}

static int handle_pairs(lua_State *L)
{
    console_table(L, 1);
    lua_pushcfunction(L, handle_next);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

/* next and type of the library, that know handles. */
static int next_key(lua_State *L)
{
    if (console_is_handle(L, 1)) return handle_next(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    if (lua_next(L, 1)) return 2;
    lua_pushnil(L);
    return 1;
}

static int type_of(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushstring(L, console_is_handle(L, 1) ? "table" : luaL_typename(L, 1));
    return 1;
}

static int count(lua_State *L)
{
    lua_Integer keys = 0;
    if (console_is_handle(L, 1)) {
        keys = (lua_Integer)state_count(console_table(L, 1));
    } else {
        luaL_checktype(L, 1, LUA_TTABLE);
        for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) keys++;
    }
    lua_pushinteger(L, keys);
    return 1;
}

/* ---- scan ---- */

/* The iterator's upvalues. */
enum { SCAN_HANDLE = 1, SCAN_FROM, SCAN_TO, SCAN_PREFIX, SCAN_REVERSE, SCAN_LEFT };

static int scan_next(lua_State *L)
{
    struct state_range range = {.reverse = lua_toboolean(L, lua_upvalueindex(SCAN_REVERSE))};
    struct state_key from, to;
    lua_Integer left = lua_tointeger(L, lua_upvalueindex(SCAN_LEFT));
    size_t size = 0;
    const char *prefix = lua_tolstring(L, lua_upvalueindex(SCAN_PREFIX), &size);
    if (left <= 0) return 0;
    lua_pushinteger(L, left - 1);
    lua_replace(L, lua_upvalueindex(SCAN_LEFT));
    if (to_key(L, lua_upvalueindex(SCAN_FROM), &from)) range.from = &from;
    if (to_key(L, lua_upvalueindex(SCAN_TO), &to)) range.to = &to;
    range.prefix = slice_of(prefix, size);
    lua_settop(L, 2); /* the invariant state, the key given last */
    lua_pushvalue(L, lua_upvalueindex(SCAN_HANDLE));
    lua_replace(L, 1);
    return push_next(L, 1, 2, range);
}

static int scan(lua_State *L)
{
    static const char *const fields[] = {"from", "to", "prefix", "reverse"};
    console_table(L, 1);
    if (lua_isnoneornil(L, 2)) {
        lua_settop(L, 1);
        lua_newtable(L);
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    for (size_t i = 0; i < 4; i++) lua_getfield(L, 2, fields[i]);
    if (lua_getfield(L, 2, "limit") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushinteger(L, LUA_MAXINTEGER);
    }
    luaL_argcheck(L, lua_isinteger(L, -1), 2, "limit is a whole number");
    luaL_argcheck(L, lua_isnil(L, -3) || lua_type(L, -3) == LUA_TSTRING, 2, "prefix is a string");
    lua_pushcclosure(L, scan_next, 6);
    return 1;
}

void console_state_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"__index", handle_index},  {"__newindex", handle_assign}, {"__len", handle_length}, {"__eq", handle_equal},
        {"__tostring", handle_text}, {"__pairs", handle_pairs},    {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"next", next_key}, {"type", type_of}, {"count", count}, {"scan", scan}, {NULL, NULL},
    };
    luaL_newmetatable(L, HANDLE);
    luaL_setfuncs(L, methods, 0);
    lua_pushliteral(L, "state");
    lua_setfield(L, -2, "__metatable");
    lua_pop(L, 1);
    lua_pushglobaltable(L);
    luaL_setfuncs(L, functions, 0);
    struct handle *root = lua_newuserdatauv(L, sizeof *root, 2);
    *root = (struct handle){0};
    luaL_setmetatable(L, HANDLE);
    lua_setfield(L, -2, "state");
    lua_pop(L, 1);
}
