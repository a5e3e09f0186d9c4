/* See library.h. */
#include "script/library.h"

#include "base/mp.h"
#include "script/values.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES_MAX 4096

static int run(lua_State *L);
static int with_traceback(lua_State *L);

void library_add_paths(lua_State *L)
{
    char program[PATH_BYTES_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (size <= 0) return;
    program[size] = '\0';
    *strrchr(program, '/') = '\0';
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    lua_pushfstring(L,
                    "%s/../share/lua/5.4/?.lua;%s/../share/lua/5.4/?/init.lua;%s/../lua/?.lua;"
                    "%s/../lua/?/init.lua;%s",
                    program, program, program, program, lua_tostring(L, -1));
    lua_setfield(L, -3, "path");
    lua_pop(L, 1);
    lua_getfield(L, -1, "cpath");
    lua_pushfstring(L, "%s/../lib/lua/5.4/?.so;%s", program, lua_tostring(L, -1));
    lua_setfield(L, -3, "cpath");
    lua_pop(L, 2);
}

enum error_code library_run(const struct library_command *command, int *status, struct error *error)
{
    lua_State *L = luaL_newstate();
    if (!L) return error_set(error, ERROR_INTERNAL, "no memory for a Lua state");
    lua_pushcfunction(L, with_traceback);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, (void *)(uintptr_t)command);
    enum error_code code = ERROR_OK;
    if (lua_pcall(L, 1, 1, 1) == LUA_OK) {
        *status = (int)lua_tointeger(L, -1);
    } else {
        code = error_set(error, ERROR_SCRIPT, "%s", luaL_tolstring(L, -1, NULL));
    }
    lua_close(L);
    return code;
}

static int run(lua_State *L)
{
    const struct library_command *command = lua_touserdata(L, 1);
    luaL_openlibs(L);
    library_add_paths(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (size_t i = 0; i < command->module_count; i++) {
        lua_pushcfunction(L, command->modules[i].open);
        lua_setfield(L, -2, command->modules[i].name);
    }
    lua_getglobal(L, "require");
    lua_pushstring(L, command->module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    struct mp_reader reader = mp_reader_of(command->options);
    if (!value_push(L, &reader)) return luaL_error(L, "the options are no value");
    lua_call(L, 1, 1);
    return 1;
}

static int with_traceback(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}
