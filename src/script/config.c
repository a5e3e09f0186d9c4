/* Runs a configuration file in a throw-away VM and turns the table it returns into msgpack bytes.
 * See config.h. */
#include "script/config.h"

#include "base/memory.h"
#include "base/mp.h"

#include <errno.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEPS_MAX      10000000 /* a file that needs more is a program, or an endless loop */
#define STEPS_PER_CALL 100000

static int run(lua_State *L);
static void open_libraries(lua_State *L);
static void spend(lua_State *L, lua_Debug *where);
static void write_value(lua_State *L, int at, struct buffer *out, int depth);
static void write_table(lua_State *L, int at, struct buffer *out, int depth);
static void write_map(lua_State *L, int at, struct buffer *out, int depth);
static int sort_keys(lua_State *L);
static bool key_before(lua_State *L, int a, int b);

struct run {
    const char *path;
    struct buffer *out;
    int steps;
};

enum error_code config_read(const char *path, struct buffer *out, struct error *error)
{
    if (access(path, R_OK) != 0) {
        return error_set(error, ERROR_NOT_FOUND, "cannot read the config file %s: %s", path,
                         strerror(errno));
    }
    lua_State *L = luaL_newstate();
    if (L == NULL) return error_set(error, ERROR_INTERNAL, "no memory for a Lua state");
    struct run state = {.path = path, .out = out};
    size_t size_before = out->size;
    *(struct run **)lua_getextraspace(L) = &state;
    lua_pushcfunction(L, run);
    enum error_code code = ERROR_OK;
    if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
        const char *text = luaL_tolstring(L, -1, NULL);
        out->size = size_before;
        code = error_set(error, ERROR_SCRIPT, "the config file is not valid: %s", text);
    }
    lua_close(L);
    return code;
}

const char *config_lua_release(void)
{
    return LUA_VERSION_MAJOR "." LUA_VERSION_MINOR "." LUA_VERSION_RELEASE;
}

static int run(lua_State *L)
{
    struct run *state = *(struct run **)lua_getextraspace(L);
    open_libraries(L);
    lua_sethook(L, spend, LUA_MASKCOUNT, STEPS_PER_CALL);
    if (luaL_loadfilex(L, state->path, "t") != LUA_OK) return lua_error(L);
    lua_call(L, 0, 1);
    if (!lua_istable(L, -1)) {
        return luaL_error(L, "%s must return a table, it returned %s", state->path,
                          luaL_typename(L, -1));
    }
    write_map(L, lua_gettop(L), state->out, 0);
    return 0;
}

static int get_environment(lua_State *L)
{
    lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
    return 1;
}

static void open_libraries(lua_State *L)
{
    static const luaL_Reg libraries[] = {
        {LUA_GNAME, luaopen_base},
        {LUA_STRLIBNAME, luaopen_string},
        {LUA_TABLIBNAME, luaopen_table},
        {LUA_MATHLIBNAME, luaopen_math},
    };
    static const char *const absent[] = {"dofile", "loadfile",       "load",
                                         "print",  "collectgarbage", "warn"};
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        luaL_requiref(L, libraries[i].name, libraries[i].func, 1);
        lua_pop(L, 1);
    }
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++) {
        lua_pushnil(L);
        lua_setglobal(L, absent[i]);
    }
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, get_environment);
    lua_setfield(L, -2, "getenv");
    lua_setglobal(L, "os");
}

static void spend(lua_State *L, lua_Debug *where)
{
    (void)where;
    struct run *state = *(struct run **)lua_getextraspace(L);
    state->steps += STEPS_PER_CALL;
    if (state->steps > STEPS_MAX)
        luaL_error(L, "%s runs for too long: is there an endless loop?", state->path);
}

static void write_value(lua_State *L, int at, struct buffer *out, int depth)
{
    size_t size;
    const char *text;
    switch (lua_type(L, at)) {
    case LUA_TNIL:
        mp_write_nil(out);
        break;
    case LUA_TBOOLEAN:
        mp_write_boolean(out, lua_toboolean(L, at));
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, at)) {
            mp_write_integer(out, lua_tointeger(L, at));
        } else {
            mp_write_float(out, lua_tonumber(L, at));
        }
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, at, &size);
        mp_write_string(out, slice_of(text, size));
        break;
    case LUA_TTABLE:
        write_table(L, at, out, depth);
        break;
    default:
        luaL_error(L, "a configuration holds plain data only, not a %s", luaL_typename(L, at));
    }
}

/* A table whose keys are exactly 1..n is an array (and an empty one too), any other a map. */
static void write_table(lua_State *L, int at, struct buffer *out, int depth)
{
    if (depth >= VALUE_DEPTH_MAX)
        luaL_error(L, "tables within tables deeper than %d", VALUE_DEPTH_MAX);
    luaL_checkstack(L, 8, NULL);
    lua_Integer count = 0, last = 0;
    lua_pushnil(L);
    while (lua_next(L, at)) {
        lua_pop(L, 1);
        lua_Integer key = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        count++;
        if (key < 1) last = LUA_MAXINTEGER;
        if (key > last) last = key;
    }
    if (last != count) {
        write_map(L, at, out, depth);
        return;
    }
    mp_write_array(out, (uint32_t)count);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, at, i);
        write_value(L, lua_gettop(L), out, depth + 1);
        lua_pop(L, 1);
    }
}

/* Keys in canonical order: integers ascending, then strings bytewise. */
static void write_map(lua_State *L, int at, struct buffer *out, int depth)
{
    luaL_checkstack(L, 8, NULL);
    lua_newtable(L);
    int keys = lua_gettop(L);
    lua_Integer count = 0;
    lua_pushnil(L);
    while (lua_next(L, at)) {
        lua_pop(L, 1);
        if (!lua_isinteger(L, -1) && lua_type(L, -1) != LUA_TSTRING) {
            luaL_error(L, "keys are strings or integers, not a %s", luaL_typename(L, -1));
        }
        lua_pushvalue(L, -1);
        lua_rawseti(L, keys, ++count);
    }
    lua_pushcfunction(L, sort_keys);
    lua_pushvalue(L, keys);
    lua_call(L, 1, 0);
    mp_write_map(out, (uint32_t)count);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, keys, i);
        write_value(L, lua_gettop(L), out, depth + 1);
        lua_rawget(L, at);
        write_value(L, lua_gettop(L), out, depth + 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Insertion sort: a configuration has few keys. */
static int sort_keys(lua_State *L)
{
    lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
    for (lua_Integer i = 2; i <= count; i++) {
        for (lua_Integer j = i; j > 1; j--) {
            lua_rawgeti(L, 1, j - 1);
            lua_rawgeti(L, 1, j);
            if (!key_before(L, 3, 2)) {
                lua_settop(L, 1);
                break;
            }
            lua_rawseti(L, 1, j - 1);
            lua_rawseti(L, 1, j);
        }
    }
    return 0;
}

static bool key_before(lua_State *L, int a, int b)
{
    bool a_number = lua_type(L, a) == LUA_TNUMBER, b_number = lua_type(L, b) == LUA_TNUMBER;
    if (a_number != b_number) return a_number;
    if (a_number) return lua_tointeger(L, a) < lua_tointeger(L, b);
    size_t a_size, b_size;
    const char *a_text = lua_tolstring(L, a, &a_size), *b_text = lua_tolstring(L, b, &b_size);
    return slice_compare(slice_of(a_text, a_size), slice_of(b_text, b_size)) < 0;
}
