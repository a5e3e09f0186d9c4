/*
 * `moonclave log`: what is in a stopped node's log, an entry a line. Read row by row, so that a log of any length will
 * do; nothing is changed, and a running node's folder is refused (store/inspect.h).
 */
#include "cli/cli.h"
#include "cli/log_view.h"
#include "cli/show.h"

#include "base/mp.h"
#include "http/json.h"
#include "raft/entry.h"
#include "store/inspect.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct log_options {
    const char *type, *grep;
    uint64_t from, to, first, last, term;
    bool all, json;
};

/* One run: which entries are wanted, how many have been found. */
struct reading {
    struct log_options options;
    int type; /* -1: any */
    int width; /* of an index */
    uint64_t shown, damaged;
    raft_index begin; /* counting from the end: the first that is wanted */
    struct buffer text;
};

static int log_run(int argc, char **argv);
static enum error_code check_options(struct reading *reading, const char *folder, struct error *error);
static enum error_code print_log(struct reading *reading, struct store_inspection *inspection, struct error *error);
static void print_head(const struct store_overview *overview);
static bool count_back(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage);
static bool print_row(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage);
static bool wanted(struct reading *reading, const struct raft_entry *entry);
static void print_entry(struct reading *reading, const struct raft_entry *entry);
static void print_json(struct reading *reading);
static void print_damage(struct reading *reading, raft_index index, const struct error *damage);

#define FIELD(name) offsetof(struct log_options, name)
static const struct flag rows[] = {
    {"first", FLAG_INTEGER, FIELD(first), 1, UINT64_MAX, "N", "the first N of them only"},
    {"last", FLAG_INTEGER, FIELD(last), 1, UINT64_MAX, "N", "the last N of them only"},
    {"from", FLAG_INTEGER, FIELD(from), 1, INT64_MAX, "INDEX", "those from this index on"},
    {"to", FLAG_INTEGER, FIELD(to), 1, INT64_MAX, "INDEX", "those up to this index"},
    {"type", FLAG_TEXT, FIELD(type), 0, 0, "TYPE", "command, configuration, init, session, noop, skip ..."},
    {"term", FLAG_INTEGER, FIELD(term), 1, UINT64_MAX, "T", "those of this term"},
    {"grep", FLAG_TEXT, FIELD(grep), 0, 0, "TEXT", "those that this text is found in, as they are printed in full"},
    {"all", FLAG_BOOLEAN, FIELD(all), 0, 0, NULL, "nothing is cut short; with --json the app's files with their text"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "one JSON object a line"},
};
static const char *const arguments[] = {"DATA"};
static const struct flags flags = {.command = "log", .rows = rows, .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments, .argument_count = 1};

const struct cli_command log_command = {
    .name = "log",
    .summary = "prints the log of a stopped node",
    .usage = "DATA [--last N] [--type command] [--term T] [--grep TEXT] [flags]",
    .help = "DATA is the data folder of a node that does not run. Prints an entry a line: index, term, the leader's\n"
            "clock (UTC), type, and what it is about. Entries that a snapshot covers may be gone. Whether the\n"
            "newest are committed, one node's folder does not tell. Nothing is changed.\n"
            "\n"
            "  moonclave log data/n1 --last 20\n"
            "  moonclave log data/n1 --type command --grep '\"greeting\"' --json\n",
    .flags = &flags,
    .run = log_run,
};

static int log_run(int argc, char **argv)
{
    struct reading reading = {.options = {.from = 1, .to = INT64_MAX}, .type = -1, .begin = 1};
    struct store_inspection *inspection = NULL;
    struct error error = {0};
    const char *folder;
    enum error_code code = flags_parse(&flags, argc, argv, &reading.options, NULL, &folder, &error);
    if (code == ERROR_OK) code = check_options(&reading, folder, &error);
    if (code == ERROR_OK) code = store_inspect_open(folder, &inspection, &error);
    if (code == ERROR_OK) code = print_log(&reading, inspection, &error);
    store_inspect_close(inspection);
    buffer_deinit(&reading.text);
    fflush(stdout);
    if (code == ERROR_USAGE) return cli_fail_error(&error);
    if (code != ERROR_OK) return cli_fail(exit_status_of(code), "log: %s", error.text);
    if (reading.damaged == 0) return EXIT_DONE;
    return cli_fail(EXIT_INTERNAL, "log: %" PRIu64 " of these entries are damaged: see `%s doctor %s`",
                    reading.damaged, cli_program(), folder);
}

static enum error_code check_options(struct reading *reading, const char *folder, struct error *error)
{
    const struct log_options *options = &reading->options;
    if (folder == NULL) return error_set(error, ERROR_USAGE, "log: DATA is missing: the folder of a stopped node");
    if (options->first > 0 && options->last > 0)
        return error_set(error, ERROR_USAGE,
                         "log: --first and --last exclude each other: --from and --to give a range");
    for (int type = 0; options->type != NULL && type < RAFT_ENTRY_TYPES; type++) {
        if (strcmp(options->type, raft_entry_type_name((unsigned)type)) == 0) reading->type = type;
    }
    if (options->type == NULL || reading->type >= 0) return ERROR_OK;
    return error_set(error, ERROR_USAGE,
                     "log: --type %.40s: the types are noop, configuration, init, deploy, command, session, "
                     "settings, skip and restore", options->type);
}

static enum error_code print_log(struct reading *reading, struct store_inspection *inspection, struct error *error)
{
    const struct log_options *options = &reading->options;
    const struct store_overview *overview = store_inspect_overview(inspection);
    raft_index from = options->from, base = overview->has_base ? overview->base.index : 0;
    enum error_code code = ERROR_OK;
    if (from <= base) from = base + 1; /* rows before it are garbage that waits to be removed */
    if (!options->json) print_head(overview);
    reading->width = snprintf(NULL, 0, "%" PRIu64, overview->last_index);
    if (options->last > 0) {
        reading->begin = options->to + 1;
        code = store_inspect_rows(inspection, from, options->to, true, count_back, reading, error);
        reading->shown = reading->damaged = 0;
        if (reading->begin > from) from = reading->begin;
    }
    if (code == ERROR_OK) code = store_inspect_rows(inspection, from, options->to, false, print_row, reading, error);
    return code;
}

static void print_head(const struct store_overview *overview)
{
    if (overview->has_identity)
        printf("-- node %s, cluster %016" PRIx64, overview->identity.id, overview->identity.cluster);
    else
        printf("-- a node whose identity is damaged");
    if (overview->last_index > 0)
        printf(": entries %" PRIu64 " to %" PRIu64, overview->first_index, overview->last_index);
    else
        printf(": the log is empty");
    if (overview->has_snapshot && overview->snapshot.index > 0)
        printf("; snapshot at %" PRIu64 ", term %" PRIu64, overview->snapshot.index, overview->snapshot.term);
    putchar('\n');
}

/* ---- which ---- */

/* Backwards, until enough are found. What is damaged is counted: it might have been one. */
static bool count_back(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage)
{
    struct reading *reading = context;
    (void)damage;
    if (entry != NULL && !wanted(reading, entry)) return true;
    reading->begin = index;
    return ++reading->shown < reading->options.last;
}

static bool wanted(struct reading *reading, const struct raft_entry *entry)
{
    const struct log_options *options = &reading->options;
    if (reading->type >= 0 && entry->type != reading->type) return false;
    if (options->term > 0 && entry->term != options->term) return false;
    if (options->grep == NULL) return true;
    buffer_clear(&reading->text);
    buffer_append_format(&reading->text, "%s ", raft_entry_type_name(entry->type));
    log_view_text(entry, true, &reading->text);
    return memmem(reading->text.data, reading->text.size, options->grep, strlen(options->grep)) != NULL;
}

/* ---- printing ---- */

static bool print_row(void *context, raft_index index, const struct raft_entry *entry, const struct error *damage)
{
    struct reading *reading = context;
    if (entry == NULL) {
        print_damage(reading, index, damage);
        reading->damaged++;
    } else if (wanted(reading, entry)) {
        print_entry(reading, entry);
    } else {
        return true;
    }
    return ++reading->shown != reading->options.first;
}

static void print_entry(struct reading *reading, const struct raft_entry *entry)
{
    char time[24];
    buffer_clear(&reading->text);
    if (reading->options.json) {
        log_view_map(entry, reading->options.all, &reading->text);
        print_json(reading);
        return;
    }
    log_view_text(entry, reading->options.all, &reading->text);
    while (reading->text.size > 0 && reading->text.data[reading->text.size - 1] == ' ') reading->text.size--;
    printf("%*" PRIu64 "  t%" PRIu64 "  %s  ", reading->width, entry->index, entry->term,
           entry->time_ms > 0 ? show_time(entry->time_ms, time) : "-                      ");
    if (reading->text.size == 0) {
        printf("%s\n", raft_entry_type_name(entry->type));
        return;
    }
    printf("%-13s  ", raft_entry_type_name(entry->type));
    fwrite(reading->text.data, 1, reading->text.size, stdout);
    putchar('\n');
}

static void print_json(struct reading *reading)
{
    struct buffer json = {0};
    struct error error;
    if (json_from_value(buffer_slice(&reading->text), &json, &error) == ERROR_OK)
        printf("%.*s\n", (int)json.size, (const char *)json.data);
    else
        cli_fail(EXIT_FAILED, "log: an entry cannot be written as JSON: %s", error.text);
    buffer_deinit(&json);
}

static void print_damage(struct reading *reading, raft_index index, const struct error *damage)
{
    if (!reading->options.json) {
        printf("%*" PRIu64 "  damaged: %s\n", reading->width, index, damage->text);
        return;
    }
    buffer_clear(&reading->text);
    mp_write_map(&reading->text, 2);
    mp_write_text(&reading->text, "damaged");
    mp_write_text(&reading->text, damage->text);
    mp_write_text(&reading->text, "index");
    mp_write_u64(&reading->text, index);
    print_json(reading);
}
