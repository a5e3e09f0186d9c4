/*
 * `moonclave doctor`: is a stopped node's folder sound? If not: what is damaged, what that means, who has it whole, and
 * what to type next. Read-only: doctor_peers.c asks the other members how they are, nothing is changed anywhere.
 */
#include "cli/doctor.h"

#include "base/memory.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct doctor_options {
    const char *peers;
    bool json, alone;
};

/* A bar on the terminal, moved when a hundredth more is done. */
struct progress {
    bool shown;
    unsigned percent;
};

struct collecting {
    struct doctor *doctor;
    struct progress progress;
};

static int doctor_run(int argc, char **argv);
static void examine(struct doctor *doctor, bool quiet);
static void found(void *context, const struct store_finding *finding);
static void add(struct doctor *doctor, const struct store_finding *finding);
static void progress(void *context, uint64_t done, uint64_t total);

#define FIELD(name) offsetof(struct doctor_options, name)
static const struct flag rows[] = {
    {"peers", FLAG_TEXT, FIELD(peers), 0, 0, "ADDR,...", "other members to ask (those that the folder knows)"},
    {"alone", FLAG_BOOLEAN, FIELD(alone), 0, 0, NULL, "asks nobody"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "one JSON object"},
};
static const char *const arguments[] = {"DATA"};
static const struct flags flags = {.command = "doctor", .rows = rows, .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments, .argument_count = 1};

const struct cli_command doctor_command = {
    .name = "doctor",
    .summary = "checks a stopped node's data, says what to do",
    .usage = "DATA [--peers ADDR,...] [--json]",
    .help = "DATA is the data folder of a node that does not run. Checks every checksum, how the log's entries\n"
            "are chained, the WAL, who the node is and what it has promised, and the snapshot down to its trees'\n"
            "hashes. Of what is damaged it says where, what that means, which other member has it whole (they are\n"
            "asked by RPC), and which commands bring the node back. Changes nothing.\n"
            "\n"
            "Exit codes: 0 sound, 70 damaged, 1 it could not look, 2 wrong usage.\n"
            "\n"
            "  moonclave doctor data/n2\n",
    .flags = &flags,
    .run = doctor_run,
};

static int doctor_run(int argc, char **argv)
{
    struct doctor_options options = {0};
    struct error error = {0};
    const char *folder;
    struct doctor *doctor = memory_zero(1, sizeof *doctor);
    enum error_code code = flags_parse(&flags, argc, argv, &options, NULL, &folder, &error);
    if (code == ERROR_OK && folder == NULL)
        code = error_set(&error, ERROR_USAGE, "doctor: DATA is missing: the folder of a stopped node");
    if (code == ERROR_OK) {
        struct error why;
        code = survey_open(folder, &doctor->survey, &why);
        if (code != ERROR_OK) error_set(&error, code, "doctor: %.480s", why.text);
    }
    if (code == ERROR_OK) examine(doctor, options.json);
    bool asks = doctor->damaged || options.peers != NULL;
    if (code == ERROR_OK && asks && !options.alone) code = doctor_ask(doctor, options.peers, &error);
    int status = EXIT_DONE;
    if (code == ERROR_OK) {
        doctor_advise(doctor);
        if (options.json)
            doctor_print_json(doctor);
        else
            doctor_print(doctor);
        if (doctor->damaged) status = EXIT_INTERNAL;
    } else {
        cli_fail_error(&error);
        status = code == ERROR_USAGE ? EXIT_USAGE : EXIT_FAILED;
    }
    survey_close(&doctor->survey);
    memory_free(doctor->findings);
    memory_free(doctor);
    return status;
}

/* The trees last: where their bytes are damaged already, nothing is gained by reading them. */
static void examine(struct doctor *doctor, bool quiet)
{
    struct collecting collecting = {.doctor = doctor};
    const struct store_inspector inspector = {
        .context = &collecting,
        .found = found,
        .progress = !quiet && isatty(STDERR_FILENO) ? progress : NULL,
    };
    const struct store_overview *overview = doctor->survey.overview;
    struct store_finding finding = {.part = STORE_PART_SNAPSHOT, .file = overview->folder,
                                    .index = overview->snapshot.index};
    struct error error = {0};
    bool whole = true;
    store_inspect_check(doctor->survey.inspection, &inspector);
    if (collecting.progress.shown) fprintf(stderr, "\r\033[K");
    for (size_t i = 0; i < doctor->count; i++) whole = whole && doctor->findings[i].part != STORE_PART_SNAPSHOT;
    if (!whole || !overview->has_snapshot || overview->snapshot.index == 0) return;
    finding.code = survey_check_trees(&doctor->survey, &error);
    if (finding.code == ERROR_OK) return;
    snprintf(finding.text, sizeof finding.text, "%s", error.text);
    add(doctor, &finding);
}

static void found(void *context, const struct store_finding *finding)
{
    add(((struct collecting *)context)->doctor, finding);
}

/* The mark is a second witness: a node starts without it. */
static void add(struct doctor *doctor, const struct store_finding *finding)
{
    doctor->findings = memory_resize(doctor->findings, doctor->count + 1, sizeof *doctor->findings);
    doctor->findings[doctor->count++] = *finding;
    if (finding->code == ERROR_VERSION) doctor->newer = true;
    if (finding->part != STORE_PART_MARK) doctor->damaged = true;
}

static void progress(void *context, uint64_t done, uint64_t total)
{
    struct progress *bar = &((struct collecting *)context)->progress;
    unsigned percent = total > 0 ? (unsigned)(done * 100 / total) : 100;
    if (bar->shown && percent == bar->percent) return;
    bar->shown = true;
    bar->percent = percent;
    fprintf(stderr, "\rchecking [%-25.*s] %u%%\033[K", (int)(percent / 4), "#########################", percent);
}
