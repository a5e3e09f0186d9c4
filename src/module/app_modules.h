/* The modules that the program links in for `moonclave check`: the hosts of an app's scripts. */
#ifndef MOONCLAVE_MODULE_APP_MODULES_H
#define MOONCLAVE_MODULE_APP_MODULES_H

struct lua_State;

int luaopen_moonclave_control(struct lua_State *L);
int luaopen_moonclave_fsm(struct lua_State *L);
int luaopen_moonclave_policyvm(struct lua_State *L);

#endif
