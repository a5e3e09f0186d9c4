/* The connection of the client library, linked into the program for the commands that use that library. */
#ifndef MOONCLAVE_MODULE_CHANNEL_H
#define MOONCLAVE_MODULE_CHANNEL_H

struct lua_State;

int luaopen_moonclave_channel(struct lua_State *L);

#endif
