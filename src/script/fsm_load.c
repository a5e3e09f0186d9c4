/*
 * Loading an app: fsm.lua and what it requires run once, its commands and queries are taken out of
 * the table it returns with its version and migrate, the globals are frozen, and init(config) makes the first state.
 */
#include "script/fsm_internal.h"

#include "base/mp.h"
#include "script/bundle.h"

#include <assert.h>
#include <lauxlib.h>
#include <stdlib.h>

static void take_version(lua_State *L, int module);
static int take_functions(lua_State *L, int module, const char *name);
static void make_first_state(lua_State *L, int module, struct slice config);
static void write_names(struct fsm *fsm, int functions);

int fsm_load_app(lua_State *L)
{
    struct fsm_call *call = lua_touserdata(L, 1);
    struct fsm *fsm = call->fsm;
    struct slice source;
    bool found = bundle_file(fsm->bundle, "fsm.lua", &source);
    assert(found); /* bundle_verify */
    (void)found;
    sandbox_run_file(L, "fsm.lua", source);
    int module = lua_gettop(L);
    bool has_commands = lua_istable(L, module) && lua_getfield(L, module, "commands") != LUA_TNIL;
    if (!has_commands) return luaL_error(L, "fsm.lua must return a table with `commands`");
    lua_settop(L, module);
    take_version(L, module);
    fsm->commands = take_functions(L, module, "commands");
    fsm->queries = take_functions(L, module, "queries");
    buffer_clear(&fsm->names);
    mp_write_map(&fsm->names, 2);
    mp_write_text(&fsm->names, "commands");
    write_names(fsm, fsm->commands);
    mp_write_text(&fsm->names, "queries");
    write_names(fsm, fsm->queries);
    sandbox_freeze(fsm);
    if (!fsm->restoring) make_first_state(L, module, call->arguments);
    return 0;
}

static void take_version(lua_State *L, int module)
{
    struct fsm *fsm = fsm_of(L);
    if (lua_getfield(L, module, "version") != LUA_TNIL && !lua_isinteger(L, -1)) {
        luaL_error(L, "fsm.lua: `version` must be an integer, it is a %s", luaL_typename(L, -1));
    }
    fsm->version = lua_tointeger(L, -1);
    int type = lua_getfield(L, module, "migrate");
    if (type != LUA_TNIL && type != LUA_TFUNCTION) {
        luaL_error(L, "fsm.lua: `migrate` must be a function, it is a %s", luaL_typename(L, -1));
    }
    fsm->migrate = type == LUA_TNIL ? 0 : luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, module);
}

/* Copies the functions of module[name] into a table of our own: later changes to the script's do
 * not count. */
static int take_functions(lua_State *L, int module, const char *name)
{
    lua_newtable(L);
    int taken = lua_gettop(L);
    int type = lua_getfield(L, module, name);
    if (type == LUA_TNIL) {
        lua_settop(L, taken);
        return luaL_ref(L, LUA_REGISTRYINDEX);
    }
    if (type != LUA_TTABLE) {
        luaL_error(L, "fsm.lua: `%s` must be a table of functions, it is a %s", name,
                   luaL_typename(L, -1));
    }
    lua_pushnil(L);
    while (lua_next(L, taken + 1)) {
        if (lua_type(L, -2) != LUA_TSTRING || lua_type(L, -1) != LUA_TFUNCTION) {
            luaL_error(L, "fsm.lua: `%s` must hold functions by name and nothing else", name);
        }
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, taken);
    }
    lua_settop(L, taken);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static void make_first_state(lua_State *L, int module, struct slice config)
{
    struct fsm *fsm = fsm_of(L);
    int type = lua_getfield(L, module, "init");
    if (type == LUA_TNIL) return;
    if (type != LUA_TFUNCTION) {
        luaL_error(L, "fsm.lua: `init` must be a function, it is a %s", luaL_typename(L, -1));
    }
    if (!fsm_push_arguments(L, config)) luaL_error(L, "the config is no plain data");
    lua_call(L, 1, 1);
    if (!lua_istable(L, -1)) {
        luaL_error(L, "fsm.init must return a table, the first state; it returned %s",
                   luaL_typename(L, -1));
    }
    state_put_root(fsm->state, fsm_build(L, lua_gettop(L), 1));
}

/* ---- names, kept as the bytes that fsm_names gives ---- */

static int compare_names(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static void write_names(struct fsm *fsm, int functions)
{
    lua_State *L = fsm->L;
    uint32_t count = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, functions);
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) count++;
    struct slice *names = lua_newuserdatauv(L, (count + 1u) * sizeof *names, 0);
    count = 0;
    lua_pushnil(L);
    for (; lua_next(L, table); lua_pop(L, 1)) {
        size_t size;
        const char *text = lua_tolstring(L, -2, &size);
        names[count++] = slice_of(text, size);
    }
    if (count > 0) qsort(names, count, sizeof *names, compare_names);
    mp_write_array(&fsm->names, count);
    for (uint32_t i = 0; i < count; i++) mp_write_string(&fsm->names, names[i]);
    lua_settop(L, table - 1);
}

static bool has(const struct fsm *fsm, const char *kind, struct slice name)
{
    struct slice list;
    uint32_t count;
    if (!fsm->loaded || !mp_map_get(buffer_slice(&fsm->names), kind, &list)) return false;
    struct mp_reader reader = mp_reader_of(list);
    bool read = mp_read_array(&reader, &count);
    for (struct slice found; read && count > 0; count--) {
        if (mp_read_string(&reader, &found) && slice_equal(found, name)) return true;
    }
    return false;
}

bool fsm_has_command(const struct fsm *fsm, struct slice name)
{
    return has(fsm, "commands", name);
}

bool fsm_has_query(const struct fsm *fsm, struct slice name)
{
    return has(fsm, "queries", name);
}

void fsm_names(const struct fsm *fsm, struct buffer *out)
{
    if (fsm->loaded) {
        buffer_append_slice(out, buffer_slice(&fsm->names));
        return;
    }
    mp_write_map(out, 2);
    mp_write_text(out, "commands");
    mp_write_array(out, 0);
    mp_write_text(out, "queries");
    mp_write_array(out, 0);
}
