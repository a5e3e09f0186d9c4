/*
 * A node's configuration file: a Lua file that returns a table. It is data written in Lua, not a
 * program: it runs once with string, table, math and os.getenv, with a budget, and what it returns
 * becomes one msgpack map.
 */
#ifndef MOONCLAVE_SCRIPT_CONFIG_H
#define MOONCLAVE_SCRIPT_CONFIG_H

#include "base/buffer.h"
#include "base/error.h"

/* Appends one canonical msgpack map. NOT_FOUND: no such file; SCRIPT: a syntax or run-time error,
 * no table returned, or a value in it that is no plain data; each with file, line and reason. */
enum error_code config_read(const char *path, struct buffer *out, struct error *error);

/* The Lua release this program is built with: "5.4.4". Nodes tell each other. */
const char *config_lua_release(void);

#endif
