/*
 * `moonclave sim`: an app in simulated clusters under faults. Here are its flags and its help; what it does is
 * lua/moonclave/sim/command.lua, run in a Lua state of its own with the simulator linked in.
 */
#include "cli/cli.h"

#include "base/mp.h"
#include "module/simcore.h"
#include "script/library.h"

#include <string.h>

#define NOT_GIVEN UINT64_MAX

struct sim_flags {
    uint64_t seeds, nodes, seed, minutes, jobs, shrink_seconds;
    const char *faults, *disk, *trace, *replay, *mutant, *deploy;
    bool coverage, no_shrink, all, json;
};

static int sim_command_run(int argc, char **argv);
static enum error_code check(const struct sim_flags *given, struct error *error);
static void write_options(struct buffer *out, const struct sim_flags *given, const char *app);

#define ROW(field) offsetof(struct sim_flags, field)
static const struct flag rows[] = {
    {"seeds", FLAG_INTEGER, ROW(seeds), 1, 1000000000, "N", "how many seeds (100; 1 with --seed)"},
    {"seed", FLAG_INTEGER, ROW(seed), 0, INT64_MAX - 1000000000, "S", "the first seed (1)"},
    {"minutes", FLAG_INTEGER, ROW(minutes), 1, 100000, "M", "seeds for so long, however many"},
    {"nodes", FLAG_INTEGER, ROW(nodes), 1, 7, "N", "cluster size, 1 to 7 (drawn: 3 or 5)"},
    {"faults", FLAG_TEXT, ROW(faults), 0, 0, "LIST", "only these kinds: crash,partition; all but: -wipe; `list` lists"},
    {"deploy", FLAG_TEXT, ROW(deploy), 0, 0, "NEXT", "the app's next version: each seed deploys it at some moment"},
    {"disk", FLAG_TEXT, ROW(disk), 0, 0, "KIND", "model (default, fast) or sqlite (the store itself)"},
    {"jobs", FLAG_INTEGER, ROW(jobs), 1, 256, "J", "processes (one for each core)"},
    {"trace", FLAG_TEXT, ROW(trace), 0, 0, "FILE", "a page of the failing run, else of the first seed"},
    {"coverage", FLAG_BOOLEAN, ROW(coverage), 0, 0, NULL, "what the runs have met"},
    {"all", FLAG_BOOLEAN, ROW(all), 0, 0, NULL, "all seeds, whatever fails (the first that fails ends it)"},
    {"no-shrink", FLAG_BOOLEAN, ROW(no_shrink), 0, 0, NULL, "the failing run as it was"},
    {"shrink-seconds", FLAG_INTEGER, ROW(shrink_seconds), 1, 86400, "S", "for looking for a shorter one (20)"},
    {"replay", FLAG_TEXT, ROW(replay), 0, 0, "TEXT", "with --seed: runs what a failure has printed"},
    {"json", FLAG_BOOLEAN, ROW(json), 0, 0, NULL, "one JSON object"},
    {"mutant", FLAG_TEXT, ROW(mutant), 0, 0, "NAME", NULL},
};
static const char *const arguments[] = {"APP"};
static const struct flags flags = {
    .command = "sim", .rows = rows, .count = sizeof rows / sizeof *rows, .arguments = arguments, .argument_count = 1};

const struct cli_command sim_command = {
    .name = "sim",
    .summary = "an app in simulated clusters under faults: moonclave sim APP --seeds 1000",
    .usage = "APP [flags]",
    .help =
        "Runs the app in whole clusters on a virtual clock, network and disk: nodes crash and lose\n"
        "unsynced writes, the network loses, doubles, delays and parts, disks fill, fail and are wiped,\n"
        "clocks jump. Everything is drawn from the seed: the same seed is the same run, always. Checked\n"
        "as it goes: everything that was acknowledged is there, all replicas agree, answers are\n"
        "linearizable, a healed majority makes progress.\n"
        "\n"
        "APP/sim.lua says what clients ask, the model by which answers are judged, and what must always\n"
        "hold of the state (examples/kv/sim.lua is one to copy). Without it every command and query is\n"
        "called with made-up arguments.\n"
        "\n"
        "--deploy NEXT tries an upgrade: the app is deployed over what runs at some moment of each seed.\n"
        "APP/sim.lua asks and judges before and after. That NEXT is refused (its migrate fails on some\n"
        "state) is a violation, and so is what no longer holds once it runs.\n"
        "\n"
        "A seed that fails is shrunk to a short schedule, printed with a line that runs exactly that\n"
        "again. Exit codes: 0 no violation, 1 a violation (or an app or sim.lua that does not load),\n"
        "2 wrong usage.\n"
        "\n"
        "  moonclave sim examples/kv                       100 seeds\n"
        "  moonclave sim examples/kv --seeds 1000 --nodes 5\n"
        "  moonclave sim examples/kv --minutes 30 --all    as many as fit, every failing seed listed\n"
        "  moonclave sim counter.lua --faults crash,pause  only these faults; --faults=-wipe: all but one\n"
        "  moonclave sim apps/v1 --deploy apps/v2          an upgrade, in 100 seeds\n"
        "  moonclave sim examples/kv --seed 7 --trace t.html\n",
    .flags = &flags,
    .run = sim_command_run,
};

static int sim_command_run(int argc, char **argv)
{
    static const struct library_module modules[] = {
        {"moonclave.simcore", luaopen_moonclave_simcore},
        {"moonclave.workers", luaopen_moonclave_workers},
    };
    struct sim_flags given = {NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, .disk = "model"};
    const char *app = NULL;
    struct error error;
    enum error_code code = flags_parse(&flags, argc, argv, &given, NULL, &app, &error);
    if (code == ERROR_OK) code = check(&given, &error);
    if (code != ERROR_OK) return cli_fail_error(&error);
    struct buffer options = {0};
    write_options(&options, &given, app);
    const struct library_command command = {
        .module = "moonclave.sim.command",
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

static enum error_code check(const struct sim_flags *given, struct error *error)
{
    if (strcmp(given->disk, "model") == 0 || strcmp(given->disk, "sqlite") == 0) return ERROR_OK;
    return error_set(error, ERROR_USAGE, "sim: --disk %s: it is model or sqlite", given->disk);
}

/* ---- the flags as a map, in the order of its keys ---- */

static void count_or_write(struct buffer *out, const char *name, uint64_t value, uint32_t *count)
{
    if (value == NOT_GIVEN) return;
    ++*count;
    if (!out) return;
    mp_write_text(out, name);
    mp_write_u64(out, value);
}

static void text_or_not(struct buffer *out, const char *name, const char *value, uint32_t *count)
{
    if (!value) return;
    ++*count;
    if (!out) return;
    mp_write_text(out, name);
    mp_write_text(out, value);
}

static void true_or_not(struct buffer *out, const char *name, bool value, uint32_t *count)
{
    if (!value) return;
    ++*count;
    if (!out) return;
    mp_write_text(out, name);
    mp_write_boolean(out, true);
}

/* With `out` null it only counts. */
static uint32_t write_fields(struct buffer *out, const struct sim_flags *given, const char *app)
{
    uint32_t count = 0;
    true_or_not(out, "all", given->all, &count);
    text_or_not(out, "app", app, &count);
    true_or_not(out, "coverage", given->coverage, &count);
    text_or_not(out, "deploy", given->deploy, &count);
    text_or_not(out, "disk", given->disk, &count);
    text_or_not(out, "faults", given->faults, &count);
    count_or_write(out, "jobs", given->jobs, &count);
    true_or_not(out, "json", given->json, &count);
    count_or_write(out, "minutes", given->minutes, &count);
    text_or_not(out, "mutant", given->mutant, &count);
    true_or_not(out, "no_shrink", given->no_shrink, &count);
    count_or_write(out, "nodes", given->nodes, &count);
    text_or_not(out, "replay", given->replay, &count);
    count_or_write(out, "seed", given->seed, &count);
    count_or_write(out, "seeds", given->seeds, &count);
    count_or_write(out, "shrink_seconds", given->shrink_seconds, &count);
    text_or_not(out, "trace", given->trace, &count);
    return count;
}

static void write_options(struct buffer *out, const struct sim_flags *given, const char *app)
{
    mp_write_map(out, write_fields(NULL, given, app));
    write_fields(out, given, app);
}
