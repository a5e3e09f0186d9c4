/*
 * `moonclave env`: where the Lua library is, in a shell's words, for Lua programs that are not this one: lua5.4 and
 * busted find `moonclave.sim` wherever the program was put.
 */
#include "cli/cli.h"

#include "script/library.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int env_run(int argc, char **argv);
static void print_list(const char *name, const char *entries);
static void quote(struct buffer *out, const char *text);

static const struct flags flags = {.command = "env"};

const struct cli_command env_command = {
    .name = "env",
    .summary = "where its Lua library is: eval \"$(moonclave env)\"",
    .usage = "",
    .help = "Prints assignments of PATH, LUA_PATH and LUA_CPATH for a POSIX shell. After the line below in a shell,\n"
            "its `moonclave` is this one, and `require \"moonclave.sim\"` works in lua5.4 and in busted, also where\n"
            "Moonclave is not where Lua looks by itself: in a source tree, or a tree of luarocks.\n"
            "\n"
            "  eval \"$(moonclave env)\"\n",
    .flags = &flags,
    .run = env_run,
};

static int env_run(int argc, char **argv)
{
    char program[PATH_MAX];
    struct buffer lua = {0}, c = {0}, entries = {0};
    struct error error;
    enum error_code code = flags_parse(&flags, argc, argv, NULL, NULL, NULL, &error);
    if (code == ERROR_OK) code = library_folder("moonclave.sim", false, &lua, &error);
    if (code == ERROR_OK) code = library_folder("moonclave.simcore", true, &c, &error);
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (code == ERROR_OK && size > 0) {
        program[size] = 0;
        *strrchr(program, '/') = 0;
        quote(&entries, program);
        printf("export PATH=%.*s:\"$PATH\"\n", (int)entries.size, (const char *)entries.data);
        buffer_clear(&entries);
        buffer_append_format(&entries, "%.*s/?.lua;%.*s/?/init.lua", (int)lua.size, (const char *)lua.data,
                             (int)lua.size, (const char *)lua.data);
        buffer_append_byte(&entries, 0);
        print_list("LUA_PATH", (const char *)entries.data);
        buffer_clear(&entries);
        buffer_append_format(&entries, "%.*s/?.so", (int)c.size, (const char *)c.data);
        buffer_append_byte(&entries, 0);
        print_list("LUA_CPATH", (const char *)entries.data);
    }
    buffer_deinit(&lua);
    buffer_deinit(&c);
    buffer_deinit(&entries);
    return code == ERROR_OK ? EXIT_DONE : cli_fail_error(&error);
}

/* Before what is there; an empty entry stands for Lua's own places. Where the variable of Lua's version is set, Lua
 * looks at that one alone. */
static void print_list(const char *name, const char *entries)
{
    struct buffer quoted = {0};
    char versioned[32];
    snprintf(versioned, sizeof versioned, "%s_5_4", name);
    const char *set = getenv(versioned) != NULL ? versioned : name;
    quote(&quoted, entries);
    printf("export %s=%.*s\";${%s:-;}\"\n", set, (int)quoted.size, (const char *)quoted.data, set);
    buffer_deinit(&quoted);
}

static void quote(struct buffer *out, const char *text)
{
    buffer_append_byte(out, '\'');
    for (; *text != 0; text++) {
        if (*text == '\'') buffer_append_text(out, "'\\''");
        else buffer_append_byte(out, (uint8_t)*text);
    }
    buffer_append_byte(out, '\'');
}
