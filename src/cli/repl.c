/*
 * `moonclave repl`: the cluster at a prompt. Here are its flags and its help; what it does is
 * lua/moonclave/repl/main.lua, run in a Lua state of its own with the line editor and the client's connections
 * linked in.
 */
#include "cli/cli.h"

#include "base/memory.h"
#include "base/mp.h"
#include "module/channel.h"
#include "module/editor.h"
#include "script/library.h"

#include <string.h>

struct repl_flags {
    bool json, yes;
    char **expressions; /* of argv; those given with -e */
    size_t expression_count;
};

static int repl_command_run(int argc, char **argv);
static enum error_code take_short(struct repl_flags *given, int *argc, char **argv, struct error *error);
static void write_options(struct buffer *out, const struct repl_flags *given, const char *address);

#define ROW(field) offsetof(struct repl_flags, field)
static const struct flag rows[] = {
    {"json", FLAG_BOOLEAN, ROW(json), 0, 0, NULL, "each result as a line of JSON, errors too (on standard error)"},
    {"yes", FLAG_BOOLEAN, ROW(yes), 0, 0, NULL, "asks nothing; -y says the same"},
};
static const char *const arguments[] = {"ADDR"};
static const struct flags flags = {
    .command = "repl", .rows = rows, .count = sizeof rows / sizeof *rows, .arguments = arguments, .argument_count = 1};

const struct cli_command repl_command = {
    .name = "repl",
    .summary = "the cluster at a prompt: moonclave repl 127.0.0.1:5001",
    .usage = "[ADDR | DATA_FOLDER] [-e EXPR ...] [-y] [flags]",
    .help =
        "A prompt for Lua in which the cluster is functions: status(), members(), transfer\"n2\", and each\n"
        "command and query of the app by its name: put{ key = \"a\", value = \"1\" }. ADDR is any node's\n"
        "address, or several with commas (127.0.0.1:5001). help() lists what there is.\n"
        "\n"
        "With a node's data folder, on its own machine, Lua runs on the node itself, over a view of the\n"
        "state that cannot be written: count(state.items).\n"
        "\n"
        "-e EXPR runs an expression and ends, also several; so does input that is no terminal. Then\n"
        "nothing is coloured, nobody is asked (what cannot be taken back needs -y), and the first that\n"
        "fails ends it. Exit codes: 0 done, 1 an expression failed or nobody answers, 2 wrong usage.\n"
        "\n"
        "  moonclave repl\n"
        "  moonclave repl -e 'put{ key = \"a\", value = \"1\" }' -e 'get{ key = \"a\" }'\n"
        "  moonclave repl --json -e 'members()' | jq '.[].id'\n"
        "  moonclave repl data/n1 -e 'count(state.items)'\n"
        "\n"
        "The history is in ~/.moonclave_history (MOONCLAVE_HISTORY=FILE: there; empty: nowhere). NO_COLOR\n"
        "is respected.\n",
    .flags = &flags,
    .run = repl_command_run,
};

static int repl_command_run(int argc, char **argv)
{
    static const struct library_module modules[] = {
        {"moonclave.channel", luaopen_moonclave_channel},
        {"moonclave.editor", luaopen_moonclave_editor},
    };
    struct repl_flags given = {.expressions = memory_zero((size_t)argc, sizeof *given.expressions)};
    const char *address = NULL;
    struct buffer options = {0};
    struct error error;
    int status = EXIT_DONE;
    enum error_code code = take_short(&given, &argc, argv, &error);
    if (code == ERROR_OK) code = flags_parse(&flags, argc, argv, &given, NULL, &address, &error);
    if (code == ERROR_OK) {
        write_options(&options, &given, address);
        const struct library_command command = {
            .module = "moonclave.repl.main",
            .program = cli_program(),
            .options = buffer_slice(&options),
            .modules = modules,
            .module_count = sizeof modules / sizeof *modules,
        };
        code = library_run(&command, &status, &error);
    }
    buffer_deinit(&options);
    memory_free(given.expressions);
    return code == ERROR_OK ? status : cli_fail_error(&error);
}

/* Takes -e EXPR and -y out of argv, which the table of flags does not have. */
static enum error_code take_short(struct repl_flags *given, int *argc, char **argv, struct error *error)
{
    int kept = 1;
    for (int at = 1; at < *argc; at++) {
        if (strcmp(argv[at], "--") == 0) {
            while (at < *argc) argv[kept++] = argv[at++];
        } else if (strcmp(argv[at], "-y") == 0) {
            given->yes = true;
        } else if (strcmp(argv[at], "-e") != 0) {
            argv[kept++] = argv[at];
        } else if (at + 1 < *argc) {
            given->expressions[given->expression_count++] = argv[++at];
        } else {
            return error_set(error, ERROR_USAGE, "repl: -e needs an expression: -e 'members()'");
        }
    }
    *argc = kept;
    return ERROR_OK;
}

/* One map, in the order of its keys. */
static void write_options(struct buffer *out, const struct repl_flags *given, const char *address)
{
    mp_write_map(out, 2U + (address != NULL ? 1U : 0U) + (given->expression_count > 0 ? 1U : 0U));
    if (address != NULL) {
        mp_write_text(out, "address");
        mp_write_text(out, address);
    }
    if (given->expression_count > 0) {
        mp_write_text(out, "expressions");
        mp_write_array(out, (uint32_t)given->expression_count);
        for (size_t i = 0; i < given->expression_count; i++) mp_write_text(out, given->expressions[i]);
    }
    mp_write_text(out, "json");
    mp_write_boolean(out, given->json);
    mp_write_text(out, "yes");
    mp_write_boolean(out, given->yes);
}
