/*
 * `moonclave cluster`: some nodes on this machine, for development. Here is what is settled before anything starts:
 * that the app is valid (one complaint, not one per node), free ports, the data folders, and what people are told.
 */
#include "cli/cluster.h"

#include "base/memory.h"
#include "base/mp.h"
#include "cli/cli.h"
#include "cli/folder.h"
#include "script/bundle.h"
#include "script/fsm.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARGUMENTS_MAX 64
#define NAMES_SHOWN 3

struct cluster_options {
    uint64_t nodes, port, http_port; /* ports: 0 where not given */
    const char *data, *log_level, *config;
    bool no_repl;
};

/* From the flags to what runs. */
struct setup {
    struct cluster_options options;
    struct settings settings;
    const char *app; /* null: the default of `start` */
    uint16_t ports[CLUSTER_NODES_MAX], http_ports[CLUSTER_NODES_MAX];
    char *folder;    /* of all data */
    char log[4096];  /* in it */
    bool temporary;
    struct buffer names; /* of the app's commands and queries: fsm_names */
    bool is_kv;      /* it serves /kv/KEY */
    struct cluster_plan plan;
};

static int cluster_command_run(int argc, char **argv);
static enum error_code prepare(struct setup *setup, struct error *error);
static enum error_code read_app(struct setup *setup, struct error *error);
static enum error_code load_app(struct setup *setup, struct slice bundle, struct error *error);
static enum error_code choose_ports(struct setup *setup, struct error *error);
static enum error_code choose_port(const struct setup *setup, const char *flag, uint64_t given, uint64_t initial,
                                   size_t i, int *held, uint16_t *port, struct error *error);
static int hold_port(uint16_t *port);
static enum error_code make_folder(struct setup *setup, struct error *error);
static void plan_node(struct setup *setup, size_t i);
static void add_argument(struct cluster_node *node, size_t *count, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void add_settings(const struct setup *setup, struct cluster_node *node, size_t *count);
static void announce(const struct setup *setup);
static void say_how_to_try(void *context);
static void say_generated(const struct setup *setup, const char *key, const char *curl, const char *kind);
static void setup_deinit(struct setup *setup);

#define FIELD(name) offsetof(struct cluster_options, name)
static const struct flag rows[] = {
    {"nodes", FLAG_INTEGER, FIELD(nodes), 1, CLUSTER_NODES_MAX, "N", "how many (3)"},
    {"port", FLAG_INTEGER, FIELD(port), 1, 65000, "PORT", "n1's, for nodes and RPC; the others' follow it (5001)"},
    {"http-port", FLAG_INTEGER, FIELD(http_port), 1, 65000, "PORT", "n1's HTTP port; the others' follow it (9091)"},
    {"data", FLAG_TEXT, FIELD(data), 0, 0, "DIR", "keeps data in DIR/n1 ... (a temporary folder, removed at the end)"},
    {"log-level", FLAG_TEXT, FIELD(log_level), 0, 0, "LEVEL", "of every node: debug, info, warn, error (info)"},
    {"config", FLAG_TEXT, FIELD(config), 0, 0, "FILE", "a Lua config file for every node"},
    {"no-repl", FLAG_BOOLEAN, FIELD(no_repl), 0, 0, NULL, "on a terminal too: only the nodes and their logs"},
};
static const char *const arguments[] = {"APP"};
static const struct flags flags = {
    .command = "cluster", .rows = rows, .count = sizeof rows / sizeof *rows, .arguments = arguments,
    .argument_count = 1, .settings = true};

const struct cli_command cluster_command = {
    .name = "cluster",
    .summary = "a local cluster for development: moonclave cluster examples/kv",
    .usage = "APP [flags]",
    .help = "Starts nodes of the app on this machine and shows their logs, each line behind its node's name, until\n"
            "Ctrl-C or SIGTERM. At a terminal there is a prompt once all are ready (`moonclave help repl`); the\n"
            "logs then go on in a file, and the nodes end with the prompt. Nothing is left behind, unless --data\n"
            "is given.\n"
            "\n"
            "  moonclave cluster examples/kv\n"
            "  moonclave cluster counter.lua --nodes 5 --data data\n",
    .flags = &flags,
    .run = cluster_command_run,
};

static int cluster_command_run(int argc, char **argv)
{
    struct setup setup = {.options = {.nodes = 3}};
    struct error error;
    int status = EXIT_DONE;
    settings_init(&setup.settings);
    enum error_code code = flags_parse(&flags, argc, argv, &setup.options, &setup.settings, &setup.app, &error);
    if (code == ERROR_OK) code = settings_check(&setup.settings, &error);
    if (code == ERROR_OK) code = prepare(&setup, &error);
    if (code == ERROR_OK) {
        announce(&setup);
        status = cluster_run(&setup.plan);
    } else {
        status = cli_fail_error(&error);
    }
    setup_deinit(&setup);
    return status;
}

static enum error_code prepare(struct setup *setup, struct error *error)
{
    enum error_code code = read_app(setup, error);
    if (code == ERROR_OK) code = choose_ports(setup, error);
    if (code == ERROR_OK) code = make_folder(setup, error);
    if (code != ERROR_OK) return code;
    setup->plan.count = setup->options.nodes;
    setup->plan.stop_timeout_ms = setup->settings.stop_timeout_ms;
    setup->plan.ready = say_how_to_try;
    setup->plan.context = setup;
    setup->plan.repl = !setup->options.no_repl && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    snprintf(setup->log, sizeof setup->log, "%s/cluster.log", setup->folder);
    setup->plan.log = setup->log;
    for (size_t i = 0; i < setup->plan.count; i++) plan_node(setup, i);
    return ERROR_OK;
}

static void setup_deinit(struct setup *setup)
{
    if (setup->temporary) folder_remove(setup->folder);
    memory_free(setup->folder);
    buffer_deinit(&setup->names);
    for (size_t i = 0; i < setup->plan.count; i++) {
        struct cluster_node *node = &setup->plan.nodes[i];
        for (char **argument = node->arguments; *argument != NULL; argument++) memory_free(*argument);
        memory_free(node->arguments);
        memory_free(node->data);
    }
}

/* ---- the app ---- */

static enum error_code read_app(struct setup *setup, struct error *error)
{
    struct buffer bundle = {0};
    if (setup->app == NULL) {
        setup->is_kv = true;
        return ERROR_OK;
    }
    enum error_code code = bundle_read(setup->app, &bundle, error);
    if (code == ERROR_OK) code = load_app(setup, buffer_slice(&bundle), error);
    buffer_deinit(&bundle);
    return code;
}

static enum error_code load_app(struct setup *setup, struct slice bundle, struct error *error)
{
    static const uint8_t no_config = 0x90;
    static const char route[] = "\"PUT /kv/:key\"";
    struct fsm *fsm = fsm_new(&setup->settings, NULL, NULL);
    struct machine machine;
    struct machine_entry entry = {.index = 1, .term = 1};
    struct slice api;
    fsm_machine(fsm, &machine);
    struct error why = {0};
    enum error_code code = machine.load(machine.context, &entry, bundle, slice_of(&no_config, 1), &why);
    if (code == ERROR_OK) {
        fsm_names(fsm, &setup->names);
    } else if (setup->options.config != NULL) {
        code = ERROR_OK; /* its init may well need what is in there: the nodes will tell */
    } else {
        error_set(error, code, "cluster: the app %s is not valid: %.400s", setup->app, why.text);
    }
    setup->is_kv = bundle_file(bundle, "api.lua", &api) && api.size > 0 &&
                   memmem(api.data, api.size, route, sizeof route - 1) != NULL;
    fsm_free(fsm);
    return code;
}

/* ---- ports ---- */

/* All chosen ports are held until the last is chosen, so that none is chosen twice. */
static enum error_code choose_ports(struct setup *setup, struct error *error)
{
    const struct cluster_options *options = &setup->options;
    int held[2 * CLUSTER_NODES_MAX];
    size_t count = 0;
    enum error_code code = ERROR_OK;
    for (size_t i = 0; code == ERROR_OK && i < options->nodes; i++) {
        code = choose_port(setup, "port", options->port, 5001, i, &held[count], &setup->ports[i], error);
        if (code != ERROR_OK) break;
        count++;
        code = choose_port(setup, "http-port", options->http_port, 9091, i, &held[count], &setup->http_ports[i], error);
        count += code == ERROR_OK;
    }
    for (size_t i = 0; i < count; i++) close(held[i]);
    return code;
}

/* A default that is taken is replaced, what was asked for is not; nor where data remembers its ports. */
static enum error_code choose_port(const struct setup *setup, const char *flag, uint64_t given, uint64_t initial,
                                   size_t i, int *held, uint16_t *port, struct error *error)
{
    uint16_t wanted = (uint16_t)((given != 0 ? given : initial) + i);
    *port = wanted;
    *held = hold_port(port);
    if (*held >= 0) return ERROR_OK;
    if (given != 0 || setup->options.data != NULL) {
        return error_set(error, ERROR_UNAVAILABLE, "cluster: n%zu cannot listen on 127.0.0.1:%u: %s: give another --%s",
                         i + 1, wanted, strerror(errno), flag);
    }
    *port = 0;
    *held = hold_port(port);
    if (*held < 0) return error_set(error, ERROR_UNAVAILABLE, "cluster: no free port: %s", strerror(errno));
    printf("port %u is taken: n%zu uses %u for --%s\n", wanted, i + 1, *port, flag);
    return ERROR_OK;
}

/* A socket bound to the port, and which one that is where it was 0; -1 with errno. */
static int hold_port(uint16_t *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(*port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    int on = 1;
    int held = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (held < 0) return -1;
    (void)setsockopt(held, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(held, (struct sockaddr *)&address, size) == 0 && listen(held, 1) == 0 &&
        getsockname(held, (struct sockaddr *)&address, &size) == 0) {
        *port = ntohs(address.sin_port);
        return held;
    }
    int reason = errno;
    close(held);
    errno = reason;
    return -1;
}

/* ---- folders and command lines ---- */

static enum error_code make_folder(struct setup *setup, struct error *error)
{
    if (setup->options.data != NULL) {
        setup->folder = memory_copy_text(setup->options.data);
        return folder_make(setup->folder, error);
    }
    enum error_code code = folder_temporary("cluster", &setup->folder, error);
    setup->temporary = code == ERROR_OK;
    return code;
}

static void plan_node(struct setup *setup, size_t i)
{
    struct cluster_node *node = &setup->plan.nodes[i];
    size_t count = 0, size = strlen(setup->folder) + 16;
    char peers[CLUSTER_NODES_MAX * (CLUSTER_ADDRESS_MAX + 8)];
    size_t used = 0;
    for (size_t k = 0; k < setup->options.nodes; k++) {
        used += (size_t)snprintf(peers + used, sizeof peers - used, "%sn%zu=127.0.0.1:%u", k > 0 ? "," : "", k + 1,
                                 setup->ports[k]);
    }
    snprintf(node->id, sizeof node->id, "n%u", (unsigned)(i + 1) % 1000U);
    snprintf(node->address, sizeof node->address, "127.0.0.1:%u", setup->ports[i]);
    node->data = memory_alloc(size);
    snprintf(node->data, size, "%s/%s", setup->folder, node->id);
    node->arguments = memory_zero(ARGUMENTS_MAX, sizeof *node->arguments);
    add_argument(node, &count, "moonclave");
    add_argument(node, &count, "start");
    if (setup->app != NULL) add_argument(node, &count, "%s", setup->app);
    add_argument(node, &count, "--id=%s", node->id);
    add_argument(node, &count, "--addr=%s", node->address);
    add_argument(node, &count, "--http-port=%u", setup->http_ports[i]);
    add_argument(node, &count, "--peers=%s", peers);
    add_argument(node, &count, "--data=%s", node->data);
    add_argument(node, &count, "--stop-with-stdin");
    if (setup->options.log_level != NULL) add_argument(node, &count, "--log-level=%s", setup->options.log_level);
    if (setup->options.config != NULL) add_argument(node, &count, "--config=%s", setup->options.config);
    add_settings(setup, node, &count);
}

static void add_settings(const struct setup *setup, struct cluster_node *node, size_t *count)
{
    unsigned row_count;
    const struct setting_row *settings = settings_rows(&row_count);
    for (unsigned i = 0; i < row_count; i++) {
        uint64_t value = settings_get(&setup->settings, &settings[i]);
        if (value != settings[i].initial) add_argument(node, count, "--%s=%" PRIu64, settings[i].name, value);
    }
}

static void add_argument(struct cluster_node *node, size_t *count, const char *format, ...)
{
    char text[4096];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    assert(*count + 1 < ARGUMENTS_MAX);
    node->arguments[(*count)++] = memory_copy_text(text);
}

/* ---- what people are told ---- */

static void announce(const struct setup *setup)
{
    printf("starting %zu node%s of %s; data in %s%s\n", setup->plan.count, setup->plan.count == 1 ? "" : "s",
           setup->app != NULL ? setup->app : "the default app", setup->folder,
           setup->temporary ? ", removed at the end" : "");
    fflush(stdout);
}

static void say_how_to_try(void *context)
{
    const struct setup *setup = context;
    uint16_t first = setup->http_ports[0], last = setup->http_ports[setup->plan.count - 1];
    printf("\nThe cluster is ready. Try it in another terminal, on any node:\n\n");
    if (setup->is_kv) {
        printf("  curl -X PUT --data-binary hello http://127.0.0.1:%u/kv/greeting\n"
               "  curl http://127.0.0.1:%u/kv/greeting\n", first, last);
    } else {
        say_generated(setup, "commands", "curl -d '{}'", "command");
        say_generated(setup, "queries", "curl", "query");
    }
    printf("  curl http://127.0.0.1:%u/v1/status\n"
           "  %s status --addr %s\n\n", first, cli_program(), setup->plan.nodes[0].address);
    if (!setup->is_kv) printf("Arguments: JSON behind -d for commands, ?name=value for queries.\n");
    if (setup->plan.repl) {
        printf("Or here. The nodes' logs go on in\n  %s\n\n", setup->log);
    } else {
        printf("Ctrl-C ends it.\n\n");
    }
    fflush(stdout);
}

/* The first few of the app's own names. */
static void say_generated(const struct setup *setup, const char *key, const char *curl, const char *kind)
{
    struct slice list, name;
    uint32_t count;
    if (setup->names.size == 0 || !mp_map_get(buffer_slice(&setup->names), key, &list)) return;
    struct mp_reader reader = mp_reader_of(list);
    if (!mp_read_array(&reader, &count)) return;
    for (uint32_t i = 0; i < count && i < NAMES_SHOWN && mp_read_string(&reader, &name); i++) {
        printf("  %s http://127.0.0.1:%u/v1/%s/%.*s\n", curl, setup->http_ports[0], kind, (int)name.size,
               (const char *)name.data);
    }
}
