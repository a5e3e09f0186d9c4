/* The terminal's line editor, linked into the program for `moonclave repl`. */
#ifndef MOONCLAVE_MODULE_EDITOR_H
#define MOONCLAVE_MODULE_EDITOR_H

struct lua_State;

int luaopen_moonclave_editor(struct lua_State *L);

#endif
