/*
 * `moonclave events`: what happens to a node, as it happens. Asks the node for what is behind the last event it
 * has, and the node answers when there is something (src/node/README.md): so nothing is lost while the
 * connection is, and what was lost because it was too long is said.
 */
#include "cli/cli.h"
#include "cli/client.h"

#include "base/event.h"
#include "base/mp.h"
#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 2000
#define WAIT_MS    20000
#define ANSWER_MS  (WAIT_MS + 5000)
#define AGAIN_MS   1000

struct events_options {
    const char *address, *types;
    bool json, once, new;
};

/* Where it is in the node's events. */
struct follower {
    struct events_options options;
    struct rpc_client *client;
    uint64_t after, life;
    bool from_now; /* nothing has been asked yet, and what was before is not wanted */
};

static int events_run(int argc, char **argv);
static int follow(struct follower *follower);
static enum error_code ask(struct follower *follower, struct slice *answer, struct error *error);
static uint32_t print_answer(struct follower *follower, struct slice answer);
static void print_event(const struct follower *follower, struct slice event);
static void print_pairs(struct slice data);
static void print_time(uint64_t time_ms);
static uint64_t number_of(struct slice map, const char *key);
static struct slice text_of(struct slice map, const char *key);

#define FIELD(name) offsetof(struct events_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "the node's address (127.0.0.1:5001)"},
    {"type", FLAG_TEXT, FIELD(types), 0, 0, "A,B,C", "only events of these types"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "each event a JSON object, one a line"},
    {"once", FLAG_BOOLEAN, FIELD(once), 0, 0, NULL, "prints what the node has kept, and ends"},
    {"new", FLAG_BOOLEAN, FIELD(new), 0, 0, NULL, "only what comes from now on"},
};
static const struct flags flags = {.command = "events", .rows = rows, .count = sizeof rows / sizeof *rows};

const struct cli_command events_command = {
    .name = "events",
    .summary = "what happens to a node: roles, members, snapshots, disks",
    .usage = "[--addr HOST:PORT] [--type A,B,C] [--json] [--once | --new]",
    .help = "Prints the newest events that the node has kept (1024 at most), then each one as it happens, until it is\n"
            "interrupted. When the node is gone it tries on, and says what it may have missed. Types: started, ready,\n"
            "stopping, role, term, leader, configuration, handover, snapshot_taken, snapshot_installing,\n"
            "snapshot_installed, peer_lost, peer_regained, slow_disk, slow_apply, disk_full, disk_room.\n"
            "\n"
            "  moonclave events --type leader,configuration --json\n",
    .flags = &flags,
    .run = events_run,
};

static int events_run(int argc, char **argv)
{
    struct follower follower = {.options = {.address = "127.0.0.1:5001"}};
    struct error error;
    struct slice wrong;
    uint64_t types;
    enum error_code code = flags_parse(&flags, argc, argv, &follower.options, NULL, NULL, &error);
    const char *list = follower.options.types;
    if (code == ERROR_OK && list != NULL && !event_types_of(slice_text(list), &types, &wrong))
        code = error_set(&error, ERROR_USAGE, "events: --type %s: there is no type \"%.*s\": `%s help events` "
                         "lists them", list, (int)wrong.size, (const char *)wrong.data, cli_program());
    if (code == ERROR_OK && follower.options.once && follower.options.new)
        code = error_set(&error, ERROR_USAGE, "events: --once prints what was, --new what will be: give one of them");
    if (code != ERROR_OK) return cli_fail_error(&error);
    follower.from_now = follower.options.new;
    int status = follow(&follower);
    rpc_client_close(follower.client);
    return status;
}

/* The first failure ends it, for then the address is wrong or nobody is there; later ones are told, once each time. */
static int follow(struct follower *follower)
{
    bool reached = false, told = false;
    for (;;) {
        struct slice answer;
        struct error error = {0};
        enum error_code code = ask(follower, &answer, &error);
        if (code == ERROR_OK) {
            uint32_t count = print_answer(follower, answer);
            fflush(stdout);
            if (ferror(stdout)) return cli_fail(EXIT_FAILED, "events: nobody reads what is printed");
            if (follower->options.once && count == 0) return EXIT_DONE;
            reached = true;
            told = false;
            continue;
        }
        bool passes = code == ERROR_UNAVAILABLE || code == ERROR_TIMEOUT || code == ERROR_OVERLOADED;
        if (!reached || !passes || follower->options.once) {
            return cli_fail(exit_status_of(code), "events: %.480s", error.text);
        }
        rpc_client_close(follower->client);
        follower->client = NULL;
        if (!told) fprintf(stderr, "moonclave: events: %.480s: trying on\n", error.text);
        told = true;
        nanosleep(&(struct timespec){.tv_sec = AGAIN_MS / 1000}, NULL);
    }
}

static enum error_code ask(struct follower *follower, struct slice *answer, struct error *error)
{
    struct buffer params = {0};
    enum error_code code = ERROR_OK;
    const char *types = follower->options.types;
    if (follower->client == NULL)
        code = rpc_client_open(&follower->client, follower->options.address, CONNECT_MS, error);
    mp_write_array(&params, 1);
    uint32_t pairs = 1;
    pairs += !follower->from_now;
    pairs += follower->life != 0;
    pairs += types != NULL;
    mp_write_map(&params, pairs);
    if (!follower->from_now) {
        mp_write_text(&params, "after");
        mp_write_u64(&params, follower->after);
    }
    if (follower->life != 0) {
        mp_write_text(&params, "life");
        mp_write_u64(&params, follower->life);
    }
    if (types != NULL) {
        mp_write_text(&params, "types");
        mp_write_text(&params, types);
    }
    /* What comes from now on is asked for without waiting at first: the answer says where now is. */
    bool waits = !follower->options.once && !follower->from_now;
    mp_write_text(&params, "wait_ms");
    mp_write_u64(&params, waits ? WAIT_MS : 0);
    if (code == ERROR_OK)
        code = rpc_client_call(follower->client, "events", buffer_slice(&params), ANSWER_MS, answer, error);
    buffer_deinit(&params);
    return code;
}

/* How many there were. */
static uint32_t print_answer(struct follower *follower, struct slice answer)
{
    struct slice list, event;
    uint32_t count = 0;
    uint64_t lost = number_of(answer, "lost"), life = number_of(answer, "life");
    if (follower->life != 0 && life != follower->life)
        fprintf(stderr, "moonclave: events: the node has started anew: what it told last before that may be missing\n");
    else if (lost > 0 && follower->after > 0)
        fprintf(stderr, "moonclave: events: %" PRIu64 " are lost: the node keeps the newest only\n", lost);
    follower->life = life;
    follower->after = number_of(answer, "next");
    follower->from_now = false;
    if (!mp_map_get(answer, "events", &list)) return 0;
    struct mp_reader reader = mp_reader_of(list);
    mp_read_array(&reader, &count);
    for (uint32_t i = 0; i < count && mp_skip(&reader, &event); i++) print_event(follower, event);
    return count;
}

/* 2026-11-26T05:20:11.123Z n1 leader leader=n2 role=follower term=4 */
static void print_event(const struct follower *follower, struct slice event)
{
    struct slice data, node = text_of(event, "node"), type = text_of(event, "type");
    if (follower->options.json) {
        struct buffer json = {0};
        if (json_from_value(event, &json, NULL) == ERROR_OK)
            printf("%.*s\n", (int)json.size, (const char *)json.data);
        buffer_deinit(&json);
        return;
    }
    print_time(number_of(event, "time_ms"));
    printf(" %.*s %.*s", (int)node.size, (const char *)node.data, (int)type.size, (const char *)type.data);
    if (mp_map_get(event, "data", &data)) print_pairs(data);
    putchar('\n');
}

static void print_pairs(struct slice data)
{
    struct mp_reader reader = mp_reader_of(data);
    struct slice key, value;
    uint32_t count = 0;
    mp_read_map(&reader, &count);
    for (uint32_t i = 0; i < count && mp_read_string(&reader, &key) && mp_skip(&reader, &value); i++) {
        struct mp_reader at = mp_reader_of(value);
        struct slice text = {0};
        struct buffer json = {0};
        if (!mp_read_string(&at, &text) && json_from_value(value, &json, NULL) == ERROR_OK)
            text = buffer_slice(&json);
        printf(" %.*s=%.*s", (int)key.size, (const char *)key.data, (int)text.size,
               text.size > 0 ? (const char *)text.data : "");
        buffer_deinit(&json);
    }
}

static void print_time(uint64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm parts;
    char stamp[32];
    gmtime_r(&seconds, &parts);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    printf("%s.%03dZ", stamp, (int)(time_ms % 1000));
}

static uint64_t number_of(struct slice map, const char *key)
{
    struct slice value;
    uint64_t number = 0;
    if (!mp_map_get(map, key, &value)) return 0;
    struct mp_reader reader = mp_reader_of(value);
    return mp_read_u64(&reader, &number) ? number : 0;
}

static struct slice text_of(struct slice map, const char *key)
{
    struct slice value, text = {0};
    if (!mp_map_get(map, key, &value)) return text;
    struct mp_reader reader = mp_reader_of(value);
    mp_read_string(&reader, &text);
    return text;
}
