/*
 * The Lua library (lua/moonclave) from within the program: where it is, and running a part of it that is a command of
 * its own, in a Lua state of its own.
 */
#ifndef MOONCLAVE_SCRIPT_LIBRARY_H
#define MOONCLAVE_SCRIPT_LIBRARY_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct lua_State;

/* An ELF program has no wrapper that sets paths: its library is found beside it, installed or in the source tree.
 * Puts those places before package.path and package.cpath. */
void library_add_paths(struct lua_State *L);

/* The folder in which `require` of the program finds a module "moonclave.NAME": the one that holds moonclave/, without
 * links and dots. `compiled`: a module in C, for other programs. NOT_FOUND says where it was looked for. */
enum error_code library_folder(const char *module, bool compiled, struct buffer *out, struct error *error);

/* A C module that is linked into the program: require finds it without a file. */
struct library_module {
    const char *name;
    int (*open)(struct lua_State *L);
};

struct library_command {
    const char *module;   /* returns a table with a function main(options) -> exit status, text */
    const char *program;  /* arg[0] there: how the program was called, for lines that are to be typed next */
    struct slice options; /* one msgpack map */
    const struct library_module *modules;
    size_t module_count;
    struct buffer *text; /* what main returns behind the status is appended to it; null: it is not wanted */
};

/* Runs it with all of Lua's libraries. OK: `status` is what main returned. SCRIPT: the module cannot be found, or it
 * raised; then the text has the traceback's first line. */
enum error_code library_run(const struct library_command *command, int *status, struct error *error);

#endif
