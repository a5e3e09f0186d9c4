/* Switching a mutant on from Lua, in the modules that are specified by stories rather than by the
 * simulator. See base/mutant.h. */
#ifndef MOONCLAVE_MODULE_MUTANTS_H
#define MOONCLAVE_MODULE_MUTANTS_H

#include "base/mutant.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

/* mutant([name]): that guard is off from now on; without a name none is. Raises what this build does
 * not have. */
static inline int check_mutant(lua_State *L, int at)
{
    const char *name = luaL_optstring(L, at, "");
#ifdef MOONCLAVE_MUTANTS
    mutant_active = MUTANT_NONE;
#define X(mutant, text, bug)             \
    if (strcmp(name, text) == 0) {       \
        mutant_active = MUTANT_##mutant; \
        return 0;                        \
    }
    MUTANT_TABLE(X)
#undef X
#endif
    if (!*name) return 0;
    return luaL_error(L, "this build has no mutant '%s'", name);
}

#endif
