/*
 * `moonclave skip INDEX`: an entry that every node dies of is not to be applied. The leader decides (host/skip.c) and
 * sees itself only; so the members are asked first whether one of them has applied it after all. That one is not at
 * fault, and what it did may have been told to a client: then nothing is skipped.
 */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/view.h"

#include "base/mp.h"
#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONNECT_MS 2000
#define ANSWER_MS  5000

struct skip_options {
    const char *address;
    uint64_t timeout_s;
    bool json, force, yes;
};

struct order {
    struct skip_options options;
    const char *argument;
    uint64_t index;
    struct rpc_client *client;
    size_t unknown; /* members that were not heard */
    struct error error;
};

static int skip_run(int argc, char **argv);
static enum error_code read_index(struct order *order);
static enum error_code ask_members(struct order *order);
static enum error_code ask_member(struct order *order, struct slice member);
static enum error_code agree(struct order *order);
static enum error_code give(struct order *order);
static enum error_code fail(struct order *order, const struct error *why);

#define FIELD(name) offsetof(struct skip_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "any node's address (127.0.0.1:5001)"},
    {"force", FLAG_BOOLEAN, FIELD(force), 0, 0, NULL, "also where not every member can be asked"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "the answer as JSON"},
    {"timeout", FLAG_INTEGER, FIELD(timeout_s), 1, 86400, "SECONDS", "how long to wait (60)"},
    {"yes", FLAG_BOOLEAN, FIELD(yes), 0, 0, NULL, "does not ask, on a terminal, whether that is meant"},
};
static const char *const arguments[] = {"INDEX"};
static const struct flags flags = {.command = "skip", .rows = rows, .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments, .argument_count = 1};

const struct cli_command skip_command = {
    .name = "skip",
    .summary = "skips an entry that every node dies of",
    .usage = "INDEX [--addr HOST:PORT] [--force] [flags]",
    .help = "A node that has died twice in a row while it applied one entry runs on without applying: `moonclave\n"
            "status` and its log name the entry. Where it lacks memory, give it more and restart it: it tries once\n"
            "again. Where every node dies of that command, this skips it: wherever it is applied it is a refused\n"
            "command (command_failed), and the state stays as it was. Only a leader that has halted there itself\n"
            "takes it, and nothing is skipped if a member has applied it: hand leadership to that one.\n"
            "\n"
            "  moonclave skip 4711 --addr 127.0.0.1:5001\n",
    .flags = &flags,
    .run = skip_run,
};

static int skip_run(int argc, char **argv)
{
    struct order order = {.options = {.address = "127.0.0.1:5001", .timeout_s = 60}};
    enum error_code code = flags_parse(&flags, argc, argv, &order.options, NULL, &order.argument, &order.error);
    if (code == ERROR_OK) code = read_index(&order);
    if (code == ERROR_OK) {
        struct error why;
        code = rpc_client_open(&order.client, order.options.address, CONNECT_MS, &why);
        if (code != ERROR_OK) fail(&order, &why);
    }
    if (code == ERROR_OK) code = ask_members(&order);
    if (code == ERROR_OK) code = agree(&order);
    if (code == ERROR_OK) code = give(&order);
    rpc_client_close(order.client);
    return code == ERROR_OK ? EXIT_DONE : cli_fail_error(&order.error);
}

static enum error_code read_index(struct order *order)
{
    const char *text = order->argument;
    char *end;
    if (text == NULL) return error_set(&order->error, ERROR_USAGE, "skip: INDEX is missing: of the entry to skip");
    order->index = strtoull(text, &end, 10);
    if (strspn(text, "0123456789") == strlen(text) && *end == 0 && order->index > 0 && order->index < INT64_MAX)
        return ERROR_OK;
    return error_set(&order->error, ERROR_USAGE, "skip: %.64s: INDEX is an entry's index: a number from 1 on", text);
}

/* ---- has anybody applied it? ---- */

static enum error_code ask_members(struct order *order)
{
    struct slice members;
    struct error why;
    struct buffer kept = {0};
    uint32_t count = 0;
    enum error_code code =
        rpc_client_call(order->client, "members", slice_of(NULL, 0), ANSWER_MS, &members, &why);
    if (code != ERROR_OK) return fail(order, &why);
    buffer_append_slice(&kept, members);
    struct mp_reader reader = mp_reader_of(buffer_slice(&kept));
    struct slice member;
    mp_read_array(&reader, &count);
    while (code == ERROR_OK && mp_skip(&reader, &member)) code = ask_member(order, member);
    buffer_deinit(&kept);
    if (code != ERROR_OK || order->unknown == 0 || order->options.force) return code;
    return error_set(&order->error, ERROR_UNAVAILABLE,
                     "skip: not done: a member that has applied the entry would have to stop, and %zu could not be "
                     "asked: start them, or say --force", order->unknown);
}

static enum error_code ask_member(struct order *order, struct slice member)
{
    struct rpc_client *client = NULL;
    struct slice status;
    struct error why;
    char id[CELL_MAX], address[CELL_MAX], applied[CELL_MAX];
    view_text(member, "id", id, sizeof id);
    view_text(member, "address", address, sizeof address);
    enum error_code code = rpc_client_open(&client, address, CONNECT_MS, &why);
    if (code == ERROR_OK) code = rpc_client_call(client, "status", slice_of(NULL, 0), ANSWER_MS, &status, &why);
    if (code != ERROR_OK) {
        fprintf(stderr, "%s cannot be asked: %s\n", id, why.text);
        order->unknown++;
    } else if (strtoull(view_text(status, "applied_index", applied, sizeof applied), NULL, 10) >= order->index) {
        error_set(&order->error, ERROR_CONFLICT,
                  "skip: not done: %s has applied entry %" PRIu64 ", so it is no death to every node: "
                  "`%s transfer %s`, and give the nodes that died of it more memory",
                  id, order->index, cli_program(), id);
        rpc_client_close(client);
        return ERROR_CONFLICT;
    }
    rpc_client_close(client);
    return ERROR_OK;
}

static enum error_code agree(struct order *order)
{
    if (order->options.yes || order->options.json || !isatty(STDIN_FILENO)) return ERROR_OK;
    fprintf(stderr, "entry %" PRIu64 " will never be applied, on no node. (`%s log DATA --from %" PRIu64
                    " --to %" PRIu64 "` shows it, of a stopped node.)\n",
            order->index, cli_program(), order->index, order->index);
    return cli_go_on() ? ERROR_OK : error_set(&order->error, ERROR_USAGE, "skip: not done");
}

/* ---- the order ---- */

static enum error_code give(struct order *order)
{
    struct buffer params = {0}, json = {0};
    struct slice result;
    struct error why;
    mp_write_array(&params, 2);
    mp_write_map(&params, 1);
    mp_write_text(&params, "index");
    mp_write_u64(&params, order->index);
    mp_write_map(&params, 1);
    mp_write_text(&params, "timeout");
    mp_write_float(&params, (double)order->options.timeout_s);
    enum error_code code = rpc_client_call(order->client, "admin/skip", buffer_slice(&params),
                                           (unsigned)order->options.timeout_s * 1000 + 2000, &result, &why);
    if (code != ERROR_OK)
        fail(order, &why);
    else if (!order->options.json)
        printf("entry %" PRIu64 " is skipped\n", order->index);
    else if (json_from_value(result, &json, &why) == ERROR_OK)
        printf("%.*s\n", (int)json.size, (const char *)json.data);
    buffer_deinit(&params);
    buffer_deinit(&json);
    return code;
}

static enum error_code fail(struct order *order, const struct error *why)
{
    return error_set(&order->error, why->code, "skip: %.480s", why->text);
}
