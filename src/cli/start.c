/*
 * `moonclave start`: one node. What it is told comes from a Lua config file and the command line, which wins.
 */
#include "cli/cli.h"
#include "cli/labels.h"

#include "base/buffer.h"
#include "base/identity.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/mp.h"
#include "raft/configuration.h"
#include "script/config.h"

#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PEERS_MAX 64

struct start_options {
    const char *id, *address, *advertise, *peers, *join, *http, *data, *config, *log_level, *labels;
    uint64_t http_port; /* 0: not given */
    bool stop_with_stdin, log_json;
};

/* What is made from the options: owned. */
struct start {
    struct start_options options;
    struct settings settings;
    struct setting_sources sources;
    const char *app;
    struct buffer file;       /* the config file's map */
    struct buffer text;       /* values of the file as flags' text, each behind the other, zero-terminated */
    struct buffer app_config;
    struct buffer labels; /* one map */
    char http[ADDRESS_MAX + 8], data[ID_MAX + 16], app_path[PATH_MAX];
    char *peer_text, *join_text;
    const char *peers[PEERS_MAX], *join[PEERS_MAX];
    size_t peer_count, join_count;
};

static int start_run(int argc, char **argv);
static enum error_code read_all(struct start *start, int argc, char **argv, struct error *error);
static void note_flags(struct start *start, int argc, char **argv);
static void note_source(struct start *start, const char *name, enum setting_source source);
static enum error_code read_file(struct start *start, struct error *error);
static enum error_code set_from_file(struct start *start, struct slice key, struct slice value, struct error *error);
static enum error_code text_of(struct slice value, struct buffer *out);
static enum error_code complete(struct start *start, struct error *error);
static enum error_code split_list(const char *flag, const char *text, char **copy, const char **list, size_t *count,
                                  struct error *error);
static enum error_code check_address(const char *flag, const char *address, struct error *error);
static void find_app(struct start *start);
static bool find_app_of_rock(struct start *start, const char *program);
static bool take_app(struct start *start, const char *folder, const char *below, const char *app);

#define FIELD(name) offsetof(struct start_options, name)
static const struct flag rows[] = {
    {"id", FLAG_TEXT, FIELD(id), 0, 0, "ID", "this node's name: 1 to 64 of letters, digits, - _ ."},
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "where nodes and RPC clients reach it"},
    {"advertise", FLAG_TEXT, FIELD(advertise), 0, 0, "HOST:PORT", "the address others are told (--addr)"},
    {"peers", FLAG_TEXT, FIELD(peers), 0, 0, "A,B,C", "every first member's HOST:PORT or ID=HOST:PORT, itself too"},
    {"join", FLAG_TEXT, FIELD(join), 0, 0, "A,B,C", "HOST:PORT of members: a blank node asks them to let it in"},
    {"label", FLAG_TEXT, FIELD(labels), 0, 0, "NAME=TEXT,...", "with --join: labels it is to have, as in zone=a"},
    {"http-port", FLAG_INTEGER, FIELD(http_port), 1, 65535, "PORT", "HTTP on the host of --addr"},
    {"http", FLAG_TEXT, FIELD(http), 0, 0, "HOST:PORT", "HTTP elsewhere"},
    {"data", FLAG_TEXT, FIELD(data), 0, 0, "DIR", "its data folder (./data/ID)"},
    {"config", FLAG_TEXT, FIELD(config), 0, 0, "FILE", "a Lua file that returns a table of these flags"},
    {"log-level", FLAG_TEXT, FIELD(log_level), 0, 0, "LEVEL", "debug, info, warn or error (info)"},
    {"log-json", FLAG_BOOLEAN, FIELD(log_json), 0, 0, NULL, "log lines are JSON objects, one a line"},
    {"stop-with-stdin", FLAG_BOOLEAN, FIELD(stop_with_stdin), 0, 0, NULL, "stops when its standard input ends"},
};
static const char *const arguments[] = {"APP"};
static const struct flags flags = {
    .command = "start",
    .rows = rows,
    .count = sizeof rows / sizeof *rows,
    .arguments = arguments,
    .argument_count = 1,
    .settings = true,
};

const struct cli_command start_command = {
    .name = "start",
    .summary = "runs one node",
    .usage = "[APP] --id ID --addr HOST:PORT (--peers A,B,C | --join A,B,C) [flags]",
    .help = "Runs one node of a cluster until SIGTERM or Ctrl-C. APP is a folder with fsm.lua, or a .lua file;\n"
            "without one it is the key-value example. A blank cluster begins when every node of --peers has\n"
            "answered with the same list; later starts need only --id and --addr, the rest is in the data folder.\n"
            "With --join a blank node enters a running cluster: it needs no app, which comes with the log.\n"
            "\n"
            "  moonclave start examples/kv --id n1 --addr 127.0.0.1:5001 --http-port 9091 --data data/n1 \\\n"
            "      --peers n1=127.0.0.1:5001,n2=127.0.0.1:5002,n3=127.0.0.1:5003\n"
            "  moonclave start --config node.lua\n"
            "  moonclave start --join 127.0.0.1:5001 --id n4 --addr 127.0.0.1:5004 --http-port 9094 --data data/n4\n"
            "\n"
            "In a config file names have _ for -, `peers` may be a list, `app` names the app and `app_config` is what\n"
            "its init gets:\n"
            "\n"
            "  return { id = \"n1\", addr = \"127.0.0.1:5001\", http_port = 9091, app = \"examples/kv\" }\n",
    .flags = &flags,
    .run = start_run,
};

static int start_run(int argc, char **argv)
{
    struct start start = {0};
    struct error error;
    settings_init(&start.settings);
    enum error_code code = read_all(&start, argc, argv, &error);
    if (code == ERROR_OK) code = complete(&start, &error);
    int status;
    if (code == ERROR_OK) {
        const struct node_options options = {
            .id = start.options.id,
            .address = start.options.address,
            .advertise = start.options.advertise,
            .peers = start.peer_count > 0 ? start.peers : NULL,
            .peer_count = start.peer_count,
            .join = start.join_count > 0 ? start.join : NULL,
            .join_count = start.join_count,
            .labels = buffer_slice(&start.labels),
            .http = start.options.http,
            .data = start.options.data,
            .app = start.app,
            .config = buffer_slice(&start.app_config),
            .settings = start.settings,
            .sources = start.sources,
            .stop_with_stdin = start.options.stop_with_stdin,
        };
        status = (int)node_run(&options);
    } else {
        status = cli_fail_error(&error);
    }
    memory_free(start.peer_text);
    memory_free(start.join_text);
    buffer_deinit(&start.file);
    buffer_deinit(&start.text);
    buffer_deinit(&start.app_config);
    buffer_deinit(&start.labels);
    return status;
}

/* Twice over the command line: once for --config, and again so that it wins over the file. */
static enum error_code read_all(struct start *start, int argc, char **argv, struct error *error)
{
    const char *app;
    enum error_code code = flags_parse(&flags, argc, argv, &start->options, &start->settings, &app, error);
    if (code == ERROR_OK && start->options.config != NULL) {
        code = read_file(start, error);
        if (code == ERROR_OK) {
            code = flags_parse(&flags, argc, argv, &start->options, &start->settings, &app, error);
        }
    }
    if (code == ERROR_OK && app != NULL) start->app = app;
    if (code == ERROR_OK) note_flags(start, argc, argv);
    return code;
}

/* Which settings the command line, which is sound, has named. */
static void note_flags(struct start *start, int argc, char **argv)
{
    for (int at = 1; at < argc && strcmp(argv[at], "--") != 0; at++) {
        char name[64];
        size_t size = strcspn(argv[at], "=");
        if (strncmp(argv[at], "--", 2) != 0 || size - 2 >= sizeof name) continue;
        snprintf(name, sizeof name, "%.*s", (int)(size - 2), argv[at] + 2);
        const struct flag *row = flags_find(&flags, name);
        bool value_follows = argv[at][size] == 0 && (row == NULL || row->type != FLAG_BOOLEAN);
        note_source(start, name, SETTING_FLAG);
        if (value_follows) at++;
    }
}

/* Of what is no setting, there is nothing to note. */
static void note_source(struct start *start, const char *name, enum setting_source source)
{
    const struct setting_row *row = flags_find(&flags, name) == NULL ? settings_find(name) : NULL;
    if (row != NULL) start->sources.of[settings_place(row)] = (uint8_t)source;
}

static enum error_code read_file(struct start *start, struct error *error)
{
    enum error_code code = config_read(start->options.config, &start->file, error);
    if (code != ERROR_OK) return code;
    /* Texts are borrowed by the options: they must not move. */
    buffer_reserve(&start->text, 2 * start->file.size + 64 * PEERS_MAX);
    struct mp_reader reader = mp_reader_of(buffer_slice(&start->file));
    uint32_t count;
    struct slice key, value;
    if (!mp_read_map(&reader, &count)) {
        return error_set(error, ERROR_USAGE, "%s: must return a table of names", start->options.config);
    }
    for (uint32_t i = 0; i < count; i++) {
        if (!mp_read_string(&reader, &key) || !mp_skip(&reader, &value)) {
            return error_set(error, ERROR_USAGE, "%s: must return a table of names, not a list", start->options.config);
        }
        struct error reason;
        code = set_from_file(start, key, value, &reason);
        if (code != ERROR_OK) return error_set(error, code, "%s: %s", start->options.config, reason.text);
    }
    return ERROR_OK;
}

static enum error_code set_from_file(struct start *start, struct slice key, struct slice value, struct error *error)
{
    char name[64];
    if (key.size >= sizeof name) return error_set(error, ERROR_USAGE, "unknown name of %zu bytes", key.size);
    memcpy(name, key.data, key.size);
    name[key.size] = 0;
    if (strcmp(name, "app_config") == 0) {
        buffer_append_slice(&start->app_config, value);
        return ERROR_OK;
    }
    size_t at = start->text.size;
    if (text_of(value, &start->text) != ERROR_OK) {
        return error_set(error, ERROR_USAGE, "%s: must be a string, a whole number, a boolean or a list of strings",
                         name);
    }
    buffer_append_byte(&start->text, 0);
    const char *text = (const char *)start->text.data + at;
    if (strcmp(name, "app") == 0) {
        start->app = text;
        return ERROR_OK;
    }
    note_source(start, name, SETTING_FILE);
    return flags_set(&flags, name, text, &start->options, &start->settings, error);
}

static enum error_code text_of(struct slice value, struct buffer *out)
{
    struct mp_reader reader = mp_reader_of(value);
    struct mp_item item;
    if (!mp_read(&reader, &item)) return ERROR_USAGE;
    switch (item.type) {
    case MP_STRING: buffer_append_slice(out, item.string); return ERROR_OK;
    case MP_INTEGER: buffer_append_format(out, "%" PRId64, item.integer); return ERROR_OK;
    case MP_BOOLEAN: buffer_append_text(out, item.boolean ? "true" : "false"); return ERROR_OK;
    case MP_ARRAY:
        for (uint32_t i = 0; i < item.count; i++) {
            struct slice text;
            if (!mp_read_string(&reader, &text)) return ERROR_USAGE;
            if (i > 0) buffer_append_byte(out, ',');
            buffer_append_slice(out, text);
        }
        return ERROR_OK;
    default: return ERROR_USAGE;
    }
}

/* ---- what is left to be known ---- */

static enum error_code complete(struct start *start, struct error *error)
{
    struct start_options *options = &start->options;
    enum error_code code = ERROR_OK;
    if (options->log_level != NULL && !log_level_from_name(options->log_level, &log_threshold)) {
        return error_set(error, ERROR_USAGE, "start: --log-level %s: must be debug, info, warn or error",
                         options->log_level);
    }
    if (options->id == NULL) {
        return error_set(error, ERROR_USAGE, "start: --id is missing: name this node, as in --id n1");
    }
    if (!id_valid(options->id)) {
        return error_set(error, ERROR_USAGE, "start: --id %s: must be 1 to %d of letters, digits, - _ .", options->id,
                         ID_MAX);
    }
    if (options->address == NULL) {
        return error_set(error, ERROR_USAGE, "start: --addr is missing: where to listen, as in --addr 127.0.0.1:5001");
    }
    log_node = options->id;
    log_as_json = options->log_json;
    if (log_as_json) log_sink = log_to_stderr_as_json;
    if (options->advertise == NULL) options->advertise = options->address;
    code = check_address("--addr", options->address, error);
    if (code == ERROR_OK) code = check_address("--advertise", options->advertise, error);
    if (code == ERROR_OK && options->http != NULL) code = check_address("--http", options->http, error);
    if (code == ERROR_OK)
        code = split_list("--peers", options->peers, &start->peer_text, start->peers, &start->peer_count, error);
    if (code == ERROR_OK)
        code = split_list("--join", options->join, &start->join_text, start->join, &start->join_count, error);
    if (code == ERROR_OK && options->join != NULL && options->peers != NULL)
        code = error_set(error, ERROR_USAGE, "start: --peers begins a cluster, --join enters one: give one of them");
    if (code == ERROR_OK && options->labels != NULL && options->join == NULL)
        code = error_set(error, ERROR_USAGE,
                         "start: --label goes with --join; a first member gets its labels from POST /v1/admin/labels");
    if (code == ERROR_OK && options->labels != NULL)
        code = labels_write("start", options->labels, &start->labels, error);
    if (code == ERROR_OK) code = settings_check(&start->settings, error);
    if (code != ERROR_OK) return code;
    if (options->http == NULL && options->http_port != 0) {
        const char *colon = strrchr(options->address, ':');
        snprintf(start->http, sizeof start->http, "%.*s:%" PRIu64, (int)(colon - options->address), options->address,
                 options->http_port);
        options->http = start->http;
    }
    if (options->data == NULL) {
        snprintf(start->data, sizeof start->data, "./data/%s", options->id);
        options->data = start->data;
    }
    if (start->app == NULL && start->join_count == 0) find_app(start);
    if (start->app_config.size == 0) mp_write_map(&start->app_config, 0);
    return ERROR_OK;
}

/* Addresses behind commas, in a copy that the list points into. */
static enum error_code split_list(const char *flag, const char *text, char **copy, const char **list, size_t *count,
                                  struct error *error)
{
    if (text == NULL) return ERROR_OK;
    *copy = memory_copy_text(text);
    for (char *rest = *copy, *one; (one = strsep(&rest, ",")) != NULL;) {
        const char *address = strchr(one, '=') != NULL ? strchr(one, '=') + 1 : one;
        if (*count == PEERS_MAX) return error_set(error, ERROR_USAGE, "start: %s: more than %d", flag, PEERS_MAX);
        enum error_code code = check_address(flag, address, error);
        if (code != ERROR_OK) return code;
        list[(*count)++] = one;
    }
    return ERROR_OK;
}

static enum error_code check_address(const char *flag, const char *address, struct error *error)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    if (strlen(address) <= ADDRESS_MAX && raft_address_split(address, host, &port) && port != 0) return ERROR_OK;
    return error_set(error, ERROR_USAGE, "start: %s %.80s: an address is HOST:PORT, as in 127.0.0.1:5001", flag,
                     address);
}

/* The key-value example, beside the program: in a build tree, installed, or where we stand. None: none here. */
static void find_app(struct start *start)
{
    static const char *const places[] = {"/../examples/kv", "/../share/moonclave/examples/kv"};
    char program[PATH_MAX];
    ssize_t size = readlink("/proc/self/exe", program, sizeof program - 1);
    if (size > 0) {
        program[size] = 0;
        *strrchr(program, '/') = 0;
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            if (take_app(start, program, places[i], "")) return;
        }
        if (find_app_of_rock(start, program)) return;
    }
    if (access("examples/kv", R_OK) == 0) start->app = "examples/kv";
}

/* luarocks keeps a rock's examples in a folder of its version. */
static bool find_app_of_rock(struct start *start, const char *program)
{
    char rocks[PATH_MAX];
    bool found = false;
    int length = snprintf(rocks, sizeof rocks, "%s/../lib/luarocks/rocks-5.4/moonclave/", program);
    DIR *folder = length < (int)sizeof rocks ? opendir(rocks) : NULL;
    if (folder == NULL) return false;
    for (struct dirent *entry; !found && (entry = readdir(folder)) != NULL;) {
        found = entry->d_name[0] != '.' && take_app(start, rocks, entry->d_name, "/examples/kv");
    }
    closedir(folder);
    return found;
}

/* The three behind each other, if that is there. */
static bool take_app(struct start *start, const char *folder, const char *below, const char *app)
{
    int length = snprintf(start->app_path, sizeof start->app_path, "%s%s%s", folder, below, app);
    if (length >= (int)sizeof start->app_path || access(start->app_path, R_OK) != 0) return false;
    start->app = start->app_path;
    return true;
}
