/* See library.h. */
#include "script/library.h"

#include "base/mp.h"
#include "script/values.h"

#include <lauxlib.h>
#include <lualib.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *search(lua_State *L, const char *module, bool compiled);
static int run(lua_State *L);
static int with_traceback(lua_State *L);

void library_add_paths(lua_State *L)
{
    char program[PATH_MAX];
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
    lua_pushfstring(L, "%s/../lib/lua/5.4/?.so;%s/lua/?.so;%s", program, program, lua_tostring(L, -1));
    lua_setfield(L, -3, "cpath");
    lua_pop(L, 2);
}

enum error_code library_folder(const char *module, bool compiled, struct buffer *out, struct error *error)
{
    char folder[PATH_MAX];
    lua_State *L = luaL_newstate();
    if (!L) return error_set(error, ERROR_INTERNAL, "no memory for a Lua state");
    luaL_openlibs(L);
    library_add_paths(L);
    const char *found = search(L, module, compiled);
    enum error_code code = ERROR_OK;
    if (found == NULL) {
        code = error_set(error, ERROR_NOT_FOUND, "%s is not found: the Lua library must stand beside the program, as "
                         "`make install` and luarocks put it, or in %s", module, compiled ? "LUA_CPATH" : "LUA_PATH");
    } else if (realpath(found, folder) == NULL) {
        code = error_set(error, ERROR_IO, "%s: %s", found, strerror(errno));
    } else {
        for (int ups = 0; ups < 2; ups++) *strrchr(folder, '/') = '\0';
        buffer_append_text(out, folder);
    }
    lua_close(L);
    return code;
}

/* The path of its file, on the stack; null: there is none. */
static const char *search(lua_State *L, const char *module, bool compiled)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchpath");
    lua_pushstring(L, module);
    lua_getfield(L, -3, compiled ? "cpath" : "path");
    lua_call(L, 2, 1);
    return lua_tostring(L, -1);
}

enum error_code library_run(const struct library_command *command, int *status, struct error *error)
{
    lua_State *L = luaL_newstate();
    if (!L) return error_set(error, ERROR_INTERNAL, "no memory for a Lua state");
    lua_pushcfunction(L, with_traceback);
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, (void *)(uintptr_t)command);
    enum error_code code = ERROR_OK;
    if (lua_pcall(L, 1, 2, 1) == LUA_OK) {
        size_t size = 0;
        const char *text = lua_tolstring(L, -1, &size);
        *status = (int)lua_tointeger(L, -2);
        if (text != NULL && command->text != NULL) buffer_append(command->text, text, size);
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
    lua_createtable(L, 0, 1);
    lua_pushstring(L, command->program);
    lua_seti(L, -2, 0);
    lua_setglobal(L, "arg");
    lua_getglobal(L, "require");
    lua_pushstring(L, command->module);
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "main");
    struct mp_reader reader = mp_reader_of(command->options);
    if (!value_push(L, &reader)) return luaL_error(L, "the options are no value");
    lua_call(L, 1, 2);
    return 2;
}

static int with_traceback(lua_State *L)
{
    luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
    return 1;
}
