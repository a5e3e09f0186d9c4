/*
 * `moonclave config`: settings as a running node has them, and how they change: the cluster's through the log, by any
 * node; a node's own at the node that is asked, until it is restarted. host/settings.c decides what may be; here is
 * what people type and see.
 */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/view.h"

#include "base/mp.h"
#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define CONNECT_MS 2000
#define NAMES_MAX  32
#define COLUMNS    6

struct config_options {
    const char *address;
    uint64_t timeout_s;
    bool json, changed;
};

static int config_run(int argc, char **argv);

#define FIELD(name) offsetof(struct config_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "the node's address (127.0.0.1:5001)"},
    {"changed", FLAG_BOOLEAN, FIELD(changed), 0, 0, NULL, "list: only what is not the default"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "the answer as JSON"},
    {"timeout", FLAG_INTEGER, FIELD(timeout_s), 1, 86400, "SECONDS", "how long to wait (10)"},
};
#define EIGHT(name) name, name, name, name, name, name, name, name
static const char *const arguments[NAMES_MAX + 1] = {"list|get|set", EIGHT("NAME"), EIGHT("NAME"), EIGHT("NAME"),
                                                     EIGHT("NAME")};
static const struct flags flags = {
    .command = "config",
    .rows = rows,
    .count = sizeof rows / sizeof *rows,
    .arguments = arguments,
    .argument_count = sizeof arguments / sizeof *arguments,
};

const struct cli_command config_command = {
    .name = "config",
    .summary = "shows the settings of a running node and changes them",
    .usage = "[list | get NAME ... | set NAME=VALUE ...] [flags]",
    .help = "A setting is the cluster's or a node's own; `list` shows them apart, with where each value is from.\n"
            "The cluster's are changed through the log: any node may be asked, every node has the change at the same\n"
            "index, and it lasts. A node's own change on the node at --addr, at once, until it is restarted: to last,\n"
            "the value belongs into its config file or command line. Some need a restart, and say why. What would be\n"
            "unsafe with what is in force is refused, and then nothing changes.\n"
            "\n"
            "  moonclave config list --changed\n"
            "  moonclave config get command_steps_max\n"
            "  moonclave config set command_steps_max=1000000 command_memory_max=64MiB\n"
            "  moonclave config set request_timeout_ms=2s --addr 127.0.0.1:5002\n"
            "  moonclave config set snapshot_log_bytes=default\n"
            "\n"
            "Values are whole numbers in the setting's unit, or with a unit: B KiB MiB GiB TiB, ms s min h d. The\n"
            "config file and the flags of `start` take the same.\n",
    .flags = &flags,
    .run = config_run,
};

/* One command being run. */
struct job {
    struct config_options options;
    const char *given[NAMES_MAX + 1]; /* the action and what follows it */
    struct rpc_client *client;
    struct buffer answer;
    struct error error;
};

static enum error_code run(struct job *job);
static enum error_code list(struct job *job);
static enum error_code get(struct job *job);
static enum error_code set(struct job *job);
static enum error_code ask(struct job *job, const char *method, struct slice body);
static enum error_code write_change(struct job *job, struct buffer *body);
static void say_change(const struct job *job);
static void print_json(struct slice value);
static void print_scope(const struct job *job, struct slice settings, const char *scope);
static void print_setting(const struct job *job, const char *name, struct slice setting);
static const char *shown(const char *name, struct slice setting, const char *key, char *out);
static const char *whence(struct slice setting, char *out);
static void print_ignored(struct slice settings, const char *id);

static int config_run(int argc, char **argv)
{
    struct job job = {.options = {.address = "127.0.0.1:5001", .timeout_s = 10}};
    enum error_code code = flags_parse(&flags, argc, argv, &job.options, NULL, job.given, &job.error);
    if (code == ERROR_OK) code = run(&job);
    rpc_client_close(job.client);
    buffer_deinit(&job.answer);
    return code == ERROR_OK ? EXIT_DONE : cli_fail_error(&job.error);
}

static enum error_code run(struct job *job)
{
    static const struct {
        const char *name;
        enum error_code (*run)(struct job *job);
        bool names;
    } actions[] = {{"list", list, false}, {"get", get, true}, {"set", set, true}};
    const char *name = job->given[0] != NULL ? job->given[0] : "list";
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strcmp(actions[i].name, name) != 0) continue;
        if (actions[i].names == (job->given[1] != NULL)) return actions[i].run(job);
        return error_set(&job->error, ERROR_USAGE, "config: %s", actions[i].names
                         ? "name the settings: config get NAME ..., config set NAME=VALUE ..."
                         : "list takes no names: `config get NAME` shows one");
    }
    return error_set(&job->error, ERROR_USAGE,
                     "config: \"%.64s\" is none of list, get, set: see `%s help config`", name, cli_program());
}

/* ---- the three ---- */

static enum error_code list(struct job *job)
{
    struct slice settings;
    enum error_code code = ask(job, "config", slice_of(NULL, 0));
    if (code != ERROR_OK) return code;
    if (job->options.json) {
        print_json(buffer_slice(&job->answer));
    } else if (mp_map_get(buffer_slice(&job->answer), "settings", &settings)) {
        print_scope(job, settings, "cluster");
        print_scope(job, settings, "node");
    }
    return ERROR_OK;
}

static enum error_code get(struct job *job)
{
    struct slice settings = {0}, setting;
    enum error_code code = ask(job, "config", slice_of(NULL, 0));
    if (code != ERROR_OK) return code;
    mp_map_get(buffer_slice(&job->answer), "settings", &settings);
    for (size_t i = 1; i <= NAMES_MAX && job->given[i] != NULL; i++) {
        const struct setting_row *row = settings_find(job->given[i]);
        const char *name = row != NULL ? row->name : job->given[i];
        if (!mp_map_get(settings, name, &setting)) {
            const char *meant = settings_nearest(name);
            return meant != NULL ? error_set(&job->error, ERROR_USAGE,
                                             "config: there is no setting %.64s: did you mean %s?", name, meant)
                                 : error_set(&job->error, ERROR_USAGE,
                                             "config: there is no setting %.64s: `%s config list` shows them all",
                                             name, cli_program());
        }
        if (job->options.json)
            print_json(setting);
        else
            print_setting(job, name, setting);
    }
    return ERROR_OK;
}

static enum error_code set(struct job *job)
{
    struct buffer body = {0};
    enum error_code code = write_change(job, &body);
    if (code == ERROR_OK) code = ask(job, "admin/config", buffer_slice(&body));
    buffer_deinit(&body);
    if (code != ERROR_OK) return code;
    if (job->options.json)
        print_json(buffer_slice(&job->answer));
    else
        say_change(job);
    return ERROR_OK;
}

/* {name: text}; the node reads the texts. */
static enum error_code write_change(struct job *job, struct buffer *body)
{
    uint32_t count = 0;
    while (count < NAMES_MAX && job->given[count + 1] != NULL) count++;
    mp_write_map(body, count);
    for (uint32_t i = 1; i <= count; i++) {
        const char *text = job->given[i], *equals = strchr(text, '=');
        if (equals == NULL || equals == text || equals[1] == 0) {
            return error_set(&job->error, ERROR_USAGE,
                             "config: set %.64s: NAME=VALUE is wanted, as in config set request_timeout_ms=2s", text);
        }
        mp_write_string(body, slice_of(text, (size_t)(equals - text)));
        mp_write_text(body, equals + 1);
    }
    return ERROR_OK;
}

/* `body` empty: no arguments. The answer goes into job->answer. */
static enum error_code ask(struct job *job, const char *method, struct slice body)
{
    struct buffer params = {0};
    struct slice result;
    struct error why;
    unsigned timeout_ms = (unsigned)job->options.timeout_s * 1000;
    enum error_code code = rpc_client_open(&job->client, job->options.address, CONNECT_MS, &why);
    mp_write_array(&params, body.size > 0 ? 2 : 0);
    if (body.size > 0) {
        mp_write_raw(&params, body);
        mp_write_map(&params, 1);
        mp_write_text(&params, "timeout");
        mp_write_float(&params, (double)job->options.timeout_s);
    }
    if (code == ERROR_OK)
        code = rpc_client_call(job->client, method, buffer_slice(&params), timeout_ms + 2000, &result, &why);
    if (code == ERROR_OK)
        buffer_append_slice(&job->answer, result);
    else
        error_set(&job->error, code, "config: %.480s", why.text);
    buffer_deinit(&params);
    return code;
}

/* ---- what is shown ---- */

static void say_change(const struct job *job)
{
    char index[CELL_MAX], id[CELL_MAX], text[SETTING_TEXT_MAX];
    bool replicated = view_text(buffer_slice(&job->answer), "index", index, sizeof index)[0] != 0;
    view_text(buffer_slice(&job->answer), "id", id, sizeof id);
    for (size_t i = 1; i <= NAMES_MAX && job->given[i] != NULL; i++) {
        const char *equals = strchr(job->given[i], '=');
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(equals - job->given[i]), job->given[i]);
        const struct setting_row *row = settings_find(name);
        struct settings values;
        bool known = row != NULL && settings_set_text(&values, name, equals + 1, NULL) == ERROR_OK;
        uint64_t value = known ? settings_get(&values, row) : 0;
        printf("%s is %s ", known ? row->name : name, known ? settings_format(row, value, text) : equals + 1);
        if (replicated) {
            printf("in the cluster, from index %s on\n", index);
        } else {
            printf("on %s until it is restarted; to keep it, put into its config file:\n  %s = ", id,
                   known ? row->name : name);
            printf(known ? "%" PRIu64 "\n" : "\n", value);
        }
    }
}

static void print_json(struct slice value)
{
    struct buffer json = {0};
    struct error error;
    if (json_from_value(value, &json, &error) == ERROR_OK) printf("%.*s\n", (int)json.size, (const char *)json.data);
    buffer_deinit(&json);
}

/* A value of the setting in its largest unit that is exact; as it is where this program does not know the setting. */
static const char *shown(const char *name, struct slice setting, const char *key, char *out)
{
    const struct setting_row *row = settings_find(name);
    struct slice found;
    uint64_t value;
    if (row == NULL || !mp_map_get(setting, key, &found)) return view_text(setting, key, out, CELL_MAX);
    struct mp_reader reader = mp_reader_of(found);
    return mp_read_u64(&reader, &value) ? settings_format(row, value, out) : view_text(setting, key, out, CELL_MAX);
}

/* ---- the table ---- */

struct table {
    size_t widths[COLUMNS];
    bool measuring;
};

/* Without blanks at the end. */
static void print_row(struct table *table, const char *const cells[COLUMNS])
{
    struct buffer line = {0};
    for (size_t i = 0; i < COLUMNS; i++) {
        size_t size = strlen(cells[i]);
        if (table->measuring && size > table->widths[i]) table->widths[i] = size;
        if (table->measuring || table->widths[i] == 0) continue;
        buffer_append_format(&line, "%-*s  ", (int)table->widths[i], cells[i]);
    }
    while (line.size > 0 && line.data[line.size - 1] == ' ') line.size--;
    if (line.size > 0) printf("%.*s\n", (int)line.size, (const char *)line.data);
    buffer_deinit(&line);
}

static bool is_default(struct slice setting)
{
    char value[CELL_MAX], initial[CELL_MAX];
    return strcmp(view_text(setting, "value", value, sizeof value),
                  view_text(setting, "default", initial, sizeof initial)) == 0;
}

/* "index 12" where it was changed through the log. */
static const char *from_where(struct slice setting, char *out)
{
    char index[CELL_MAX];
    view_text(setting, "source", out, CELL_MAX);
    if (view_text(setting, "index", index, sizeof index)[0] != 0) snprintf(out, CELL_MAX, "index %.20s", index);
    return out;
}

static size_t print_settings(const struct job *job, struct slice settings, const char *scope, struct table *table)
{
    struct mp_reader reader = mp_reader_of(settings);
    uint32_t count = 0;
    size_t printed = 0;
    mp_read_map(&reader, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct slice key, setting;
        char name[64], text[CELL_MAX], value[CELL_MAX], initial[CELL_MAX], least[CELL_MAX], most[CELL_MAX],
            limits[2 * CELL_MAX], from[CELL_MAX], restart[CELL_MAX];
        if (!mp_read_string(&reader, &key) || !mp_skip(&reader, &setting)) break;
        if (strcmp(view_text(setting, "scope", text, sizeof text), scope) != 0) continue;
        if (job->options.changed && is_default(setting)) continue;
        snprintf(name, sizeof name, "%.*s", (int)(key.size < 60 ? key.size : 60), (const char *)key.data);
        snprintf(limits, sizeof limits, "%s..%s", shown(name, setting, "least", least),
                 shown(name, setting, "most", most));
        bool fixed = view_text(setting, "restart", restart, sizeof restart)[0] != 0;
        print_row(table, (const char *const[COLUMNS]){name, shown(name, setting, "value", value),
                                                      shown(name, setting, "default", initial), limits,
                                                      from_where(setting, from), fixed ? "restart" : ""});
        printed++;
    }
    return printed;
}

static void print_scope(const struct job *job, struct slice settings, const char *scope)
{
    static const char *const head[COLUMNS] = {"name", "value", "default", "limits", "from", ""};
    bool cluster = strcmp(scope, "cluster") == 0;
    char id[CELL_MAX], index[CELL_MAX];
    struct table table = {.measuring = true};
    view_text(buffer_slice(&job->answer), "id", id, sizeof id);
    view_text(buffer_slice(&job->answer), "applied_index", index, sizeof index);
    print_row(&table, head);
    size_t count = print_settings(job, settings, scope, &table);
    table.measuring = false;
    printf("%s", cluster ? "" : "\n");
    if (cluster)
        printf("settings of the cluster, as %s has them at index %s%s\n", id, index, count > 0 ? "" : ": the defaults");
    else
        printf("settings of %s%s\n", id, count > 0 ? "" : ": the defaults");
    if (count == 0) return;
    print_row(&table, head);
    print_settings(job, settings, scope, &table);
    if (cluster) print_ignored(settings, id);
}

/* What the node was started with, and the cluster does not have. */
static void print_ignored(struct slice settings, const char *id)
{
    struct mp_reader reader = mp_reader_of(settings);
    uint32_t count = 0;
    mp_read_map(&reader, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct slice key, setting;
        char name[64], value[CELL_MAX];
        if (!mp_read_string(&reader, &key) || !mp_skip(&reader, &setting)) break;
        snprintf(name, sizeof name, "%.*s", (int)(key.size < 60 ? key.size : 60), (const char *)key.data);
        if (shown(name, setting, "started_with", value)[0] == 0) continue;
        printf("%s was started with %s = %s, which is of no effect: the cluster's counts\n", id, name, value);
    }
}

/* ---- one ---- */

static void print_setting(const struct job *job, const char *name, struct slice setting)
{
    char value[CELL_MAX], plain[CELL_MAX], unit[CELL_MAX], text[CELL_MAX], other[CELL_MAX], id[CELL_MAX];
    bool cluster = strcmp(view_text(setting, "scope", text, sizeof text), "cluster") == 0;
    shown(name, setting, "value", value);
    view_text(setting, "value", plain, sizeof plain);
    view_text(setting, "unit", unit, sizeof unit);
    view_text(buffer_slice(&job->answer), "id", id, sizeof id);
    if (strcmp(value, plain) == 0)
        printf("%s = %s (%s)\n", name, value, unit);
    else
        printf("%s = %s (%s %s)\n", name, value, plain, unit);
    printf("  %s\n", view_text(setting, "help", text, sizeof text));
    shown(name, setting, "least", text);
    printf("  from %s to %s", text, shown(name, setting, "most", other));
    printf("; the default is %s\n", shown(name, setting, "default", text));
    printf("  %s, %s\n", cluster ? "the cluster's" : "this node's own", whence(setting, text));
    if (shown(name, setting, "started_with", text)[0] != 0)
        printf("  %s was started with %s, which is of no effect: the cluster's counts\n", id, text);
    if (view_text(setting, "restart", text, sizeof text)[0] != 0)
        printf("  changes with a restart only: %s\n", text);
}

/* Where the value is from, in words. */
static const char *whence(struct slice setting, char *out)
{
    static const struct { const char *source, *words; } sources[] = {
        {"default", "as it is by default"},
        {"file", "from its config file"},
        {"flag", "from its command line"},
        {"cluster", "as the cluster was begun"},
        {"changed", "changed while running, until it is restarted"},
    };
    char text[CELL_MAX];
    if (view_text(setting, "index", text, sizeof text)[0] != 0) {
        snprintf(out, CELL_MAX, "changed at index %.20s", text);
        return out;
    }
    view_text(setting, "source", text, sizeof text);
    for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
        if (strcmp(sources[i].source, text) == 0) return sources[i].words;
    }
    return "from elsewhere";
}
