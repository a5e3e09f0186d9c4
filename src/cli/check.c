/*
 * `moonclave check`: what is wrong with an app, before a cluster finds out. Here are its flags and its help; what it
 * does is lua/moonclave/check, run in a Lua state of its own with the hosts of scripts linked in.
 */
#include "cli/cli.h"

#include "base/mp.h"
#include "module/app_modules.h"
#include "module/simcore.h"
#include "script/library.h"

struct check_flags {
    uint64_t entries, seed;
    bool json;
};

static int check_run(int argc, char **argv);

#define FIELD(name) offsetof(struct check_flags, name)
static const struct flag rows[] = {
    {"entries", FLAG_INTEGER, FIELD(entries), 0, 10000000, "N", "how many commands are replayed (2000; 0: none)"},
    {"seed", FLAG_INTEGER, FIELD(seed), 0, INT64_MAX, "S", "what they are drawn from (1)"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "one JSON object: {files, entries, findings}"},
};
static const char *const arguments[] = {"APP"};
static const struct flags flags = {.command = "check", .rows = rows, .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments, .argument_count = 1};

const struct cli_command check_command = {
    .name = "check",
    .summary = "what is wrong with an app: moonclave check APP",
    .usage = "APP [--entries N] [--seed S] [--json]",
    .help = "Reads the app's files, loads them as a node does, and replays commands. Each finding is a line with\n"
            "file, line, and what to do:\n"
            "\n"
            "  power         `^`: machines differ in the last digit\n"
            "  not there     a global that a state machine has not: os, io, print ...\n"
            "  global        a global that is written\n"
            "  kept outside  a variable of the module that a function changes: it is not in the state\n"
            "  lost write    a table that is changed after it was copied into the state\n"
            "  syntax, loading, sim.lua, raises   what does not compile or load; what a command of sim.lua raises\n"
            "  diverges      machines that disagree\n"
            "\n"
            "The replay draws commands as `moonclave sim` does (APP/sim.lua, or made-up arguments) and applies them\n"
            "to three machines: one left alone, one that is asked queries in between, one that is restored from its\n"
            "snapshot every few entries. A line that ends in `-- check: ignore` is not reported. Exits with 1 where\n"
            "there is a finding.\n"
            "\n"
            "  moonclave check examples/kv\n"
            "  moonclave check counter.lua --entries 100000 --seed 7\n",
    .flags = &flags,
    .run = check_run,
};

static int check_run(int argc, char **argv)
{
    static const struct library_module modules[] = {
        {"moonclave.control", luaopen_moonclave_control},
        {"moonclave.fsm", luaopen_moonclave_fsm},
        {"moonclave.policyvm", luaopen_moonclave_policyvm},
        {"moonclave.simcore", luaopen_moonclave_simcore},
        {"moonclave.workers", luaopen_moonclave_workers},
    };
    struct check_flags given = {.entries = 2000, .seed = 1};
    const char *app = NULL;
    struct error error;
    enum error_code code = flags_parse(&flags, argc, argv, &given, NULL, &app, &error);
    if (code != ERROR_OK) return cli_fail_error(&error);
    if (app == NULL) {
        return cli_fail(EXIT_USAGE, "check: which app? `%s check APP`, a folder with an fsm.lua or a .lua file",
                        cli_program());
    }
    struct buffer options = {0};
    mp_write_map(&options, 4);
    mp_write_text(&options, "app");
    mp_write_text(&options, app);
    mp_write_text(&options, "entries");
    mp_write_u64(&options, given.entries);
    mp_write_text(&options, "json");
    mp_write_boolean(&options, given.json);
    mp_write_text(&options, "seed");
    mp_write_u64(&options, given.seed);
    const struct library_command command = {
        .module = "moonclave.check.command",
        .program = cli_program(),
        .options = buffer_slice(&options),
        .modules = modules,
        .module_count = sizeof modules / sizeof *modules,
    };
    int status = EXIT_DONE;
    code = library_run(&command, &status, &error);
    buffer_deinit(&options);
    return code == ERROR_OK ? status : cli_fail_error(&error);
}
