/* The modules that the program links in, for its own commands: `moonclave sim`. */
#ifndef MOONCLAVE_MODULE_SIMCORE_H
#define MOONCLAVE_MODULE_SIMCORE_H

struct lua_State;

int luaopen_moonclave_simcore(struct lua_State *L);
int luaopen_moonclave_workers(struct lua_State *L);

#endif
