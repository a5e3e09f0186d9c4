/*
 * `moonclave status`: the cluster as one node sees it, as a table for people or as JSON. Any node may be asked; how
 * far the members are is known to the leader only, so it is asked too where it can be reached.
 */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/view.h"

#include "base/identity.h"
#include "base/memory.h"
#include "base/mp.h"
#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 2000
#define ANSWER_MS 5000
#define COLUMNS 8 /* the last one, of labels, only where somebody has some */
#define CONTACT 6

struct status_options {
    const char *address;
    bool json;
};

/* What was asked for and where; buffers are owned. */
struct view {
    struct buffer status;  /* of the node asked */
    struct buffer members; /* of the leader, if it could be asked, else of the node asked */
    struct buffer leader;  /* its status, where it is another node that could be asked */
};

static int status_run(int argc, char **argv);
static enum error_code gather(const char *address, struct view *view, struct error *error);
static void ask_leader(struct view *view);
static enum error_code ask(struct rpc_client *client, const char *method, struct buffer *out, struct error *error);
static int print_json(const struct view *view);
static void print_view(const struct view *view);
static void print_snapshot(struct slice status);
static void print_warnings(struct slice status);
static void fill_row(struct slice member, char cells[COLUMNS][CELL_MAX]);
static void fill_labels(struct slice labels, char cell[CELL_MAX]);
static bool flag_of(struct slice map, const char *key);
static struct slice value_of(struct slice map, const char *key);

static const struct flag rows[] = {
    {"addr", FLAG_TEXT, offsetof(struct status_options, address), 0, 0, "HOST:PORT",
     "any node's address (127.0.0.1:5001)"},
    {"json", FLAG_BOOLEAN, offsetof(struct status_options, json), 0, 0, NULL, "one JSON object: {status, members}"},
};
static const struct flags flags = {.command = "status", .rows = rows, .count = sizeof rows / sizeof *rows};

const struct cli_command status_command = {
    .name = "status",
    .summary = "who leads, who is a member, who lags",
    .usage = "[--addr HOST:PORT] [--json]",
    .help = "Asks a node about its cluster and prints a line about it, one about how long the leader's commits of the\n"
            "last seconds took (p50: half of them no longer; none where there were none), one about the node's\n"
            "snapshot, and a row for each member. match is the index up to which a member's log is known to be\n"
            "durable, lag how many entries it is behind, contact how long ago it was heard; only the leader knows\n"
            "these.\n"
            "\n"
            "  moonclave status --addr 127.0.0.1:5002\n"
            "  moonclave status --json\n",
    .flags = &flags,
    .run = status_run,
};

static int status_run(int argc, char **argv)
{
    struct status_options options = {.address = "127.0.0.1:5001"};
    struct view view = {0};
    struct error error;
    enum error_code code = flags_parse(&flags, argc, argv, &options, NULL, NULL, &error);
    if (code == ERROR_OK) code = gather(options.address, &view, &error);
    int status = EXIT_DONE;
    if (code != ERROR_OK) {
        status = cli_fail_error(&error);
    } else if (options.json) {
        status = print_json(&view);
    } else {
        print_view(&view);
    }
    buffer_deinit(&view.status);
    buffer_deinit(&view.members);
    buffer_deinit(&view.leader);
    return status;
}

/* ---- asking ---- */

static enum error_code gather(const char *address, struct view *view, struct error *error)
{
    struct rpc_client *client = NULL;
    struct error why = {0};
    enum error_code code = rpc_client_open(&client, address, CONNECT_MS, &why);
    if (code == ERROR_OK) code = ask(client, "status", &view->status, &why);
    if (code == ERROR_OK) code = ask(client, "members", &view->members, &why);
    rpc_client_close(client);
    if (code != ERROR_OK) return error_set(error, code, "status: %.480s", why.text);
    ask_leader(view);
    return ERROR_OK;
}

/* A leader that cannot be reached is no failure: the node asked has its own, poorer answer. */
static void ask_leader(struct view *view)
{
    struct slice status = buffer_slice(&view->status);
    char id[CELL_MAX], leader[CELL_MAX], address[CELL_MAX];
    view_text(status, "id", id, sizeof id);
    view_text(status, "leader", leader, sizeof leader);
    view_text(status, "leader_address", address, sizeof address);
    if (leader[0] == 0 || address[0] == 0 || strcmp(id, leader) == 0) return;
    struct rpc_client *client = NULL;
    struct buffer members = {0};
    struct error ignored;
    if (rpc_client_open(&client, address, CONNECT_MS, &ignored) == ERROR_OK &&
        ask(client, "members", &members, &ignored) == ERROR_OK) {
        struct buffer poorer = view->members;
        view->members = members;
        members = poorer;
        if (ask(client, "status", &view->leader, &ignored) != ERROR_OK) buffer_clear(&view->leader);
    }
    buffer_deinit(&members);
    rpc_client_close(client);
}

static enum error_code ask(struct rpc_client *client, const char *method, struct buffer *out, struct error *error)
{
    struct slice result;
    enum error_code code = rpc_client_call(client, method, slice_of(NULL, 0), ANSWER_MS, &result, error);
    if (code == ERROR_OK) buffer_append_slice(out, result);
    return code;
}

/* ---- printing ---- */

static int print_json(const struct view *view)
{
    struct buffer value = {0}, json = {0};
    struct error error;
    mp_write_map(&value, 2);
    mp_write_text(&value, "members");
    mp_write_raw(&value, buffer_slice(&view->members));
    mp_write_text(&value, "status");
    mp_write_raw(&value, buffer_slice(&view->status));
    int status = EXIT_DONE;
    if (json_from_value(buffer_slice(&value), &json, &error) == ERROR_OK) {
        printf("%.*s\n", (int)json.size, (const char *)json.data);
    } else {
        status = cli_fail(EXIT_FAILED, "status: the node's answer is no value: %s", error.text);
    }
    buffer_deinit(&value);
    buffer_deinit(&json);
    return status;
}

static void print_view(const struct view *view)
{
    struct slice status = buffer_slice(&view->status);
    char cluster[CELL_MAX], leader[CELL_MAX], address[CELL_MAX], term[CELL_MAX], commit[CELL_MAX], id[CELL_MAX];
    view_text(status, "cluster", cluster, sizeof cluster);
    view_text(status, "leader", leader, sizeof leader);
    view_text(status, "leader_address", address, sizeof address);
    view_text(status, "term", term, sizeof term);
    view_text(status, "commit_index", commit, sizeof commit);
    view_text(status, "id", id, sizeof id);
    printf("cluster %s: ", cluster);
    if (leader[0] == 0) {
        printf("no leader is known to %s, term %s, commit %s\n", id, term, commit);
    } else {
        printf("leader %s (%s), term %s, commit %s\n", leader, address, term, commit);
    }
    char latency[LATENCY_MAX];
    view_latency(view->leader.size > 0 ? buffer_slice(&view->leader) : status, latency);
    if (leader[0] != 0 && latency[0] != 0) printf("commits of the last seconds: %s\n", latency);
    print_snapshot(status);
    print_warnings(status);
    view_members(buffer_slice(&view->members));
}

/* Of the node asked: what it would start from. */
static void print_snapshot(struct slice status)
{
    struct slice snapshot = value_of(status, "snapshot");
    char id[CELL_MAX], index[CELL_MAX], size[CELL_MAX], first[CELL_MAX];
    bool taking = flag_of(snapshot, "taking");
    view_text(status, "id", id, sizeof id);
    view_text(status, "first_index", first, sizeof first);
    view_text(snapshot, "size", size, sizeof size);
    view_text(snapshot, "index", index, sizeof index);
    bool has_one = index[0] != 0 && strcmp(index, "0") != 0;
    if (has_one) printf("%s: snapshot at index %s, %s bytes; its log begins at %s", id, index, size, first);
    if (taking) printf("%s takes a %ssnapshot now", has_one ? ";" : id, has_one ? "new " : "");
    if (has_one || taking) putchar('\n');
}

static void print_warnings(struct slice status)
{
    char text[ERROR_TEXT_MAX], id[CELL_MAX];
    view_text(status, "id", id, sizeof id);
    if (strcmp(view_text(status, "role", text, sizeof text), "blank") == 0) {
        printf("%s waits until every node of its --peers has answered: start the others\n", id);
    }
    if (view_text(value_of(status, "app"), "error", text, sizeof text)[0] != 0) {
        printf("%s cannot run the app: %s\n", id, text);
    }
    if (strcmp(view_text(status, "halted_at", text, sizeof text), "0") != 0 && text[0] != 0)
        printf("%s applies nothing: it died twice of entry %s (`%s help skip`)\n", id, text, cli_program());
    if (strcmp(view_text(status, "deploying_at", text, sizeof text), "0") != 0 && text[0] != 0)
        printf("%s goes over to another version of the app, entry %s: commands and queries wait\n", id, text);
    if (view_text(value_of(status, "policy"), "problem", text, sizeof text)[0] != 0) {
        printf("%s: the membership policy fails, and nothing is changed: %s\n", id, text);
    }
    if (flag_of(status, "disk_full")) printf("%s has a full disk: make room, it goes on by itself\n", id);
    if (flag_of(status, "wiped")) printf("%s has lost its data: remove it and let it join again\n", id);
    if (flag_of(status, "stopping")) printf("%s is stopping\n", id);
}

static const char *milliseconds(uint64_t us, char text[16])
{
    if (us < 10000) snprintf(text, 16, "%.1f ms", (double)us / 1e3);
    else if (us < 1000000) snprintf(text, 16, "%.0f ms", (double)us / 1e3);
    else snprintf(text, 16, "%.1f s", (double)us / 1e6);
    return text;
}

const char *view_latency(struct slice status, char out[LATENCY_MAX])
{
    struct slice latency = value_of(status, "commit_latency");
    char number[CELL_MAX], p50[16], p99[16];
    out[0] = 0;
    if (view_text(latency, "p99_us", number, sizeof number)[0] == 0) return out;
    milliseconds(strtoull(number, NULL, 10), p99);
    milliseconds(strtoull(view_text(latency, "p50_us", number, sizeof number), NULL, 10), p50);
    snprintf(out, LATENCY_MAX, "p50 %s, p99 %s", p50, p99);
    return out;
}

/* Columns as wide as their widest cell; numbers to the right. */
void view_members(struct slice members)
{
    static const char *const titles[COLUMNS] = {"id",    "address", "role",    "state",
                                                "match", "lag",     "contact", "labels"};
    static const bool right[COLUMNS] = {[4] = true, [5] = true, [6] = true};
    struct mp_reader reader = mp_reader_of(members);
    uint32_t count = 0;
    if (!mp_read_array(&reader, &count) || count == 0) return;
    char(*table)[COLUMNS][CELL_MAX] = memory_zero(count + 1, sizeof *table);
    int widths[COLUMNS] = {0};
    for (size_t i = 0; i < COLUMNS; i++) snprintf(table[0][i], CELL_MAX, "%s", titles[i]);
    uint32_t filled = 1;
    struct slice member;
    size_t columns = COLUMNS - 1;
    for (; filled <= count && mp_skip(&reader, &member); filled++) {
        fill_row(member, table[filled]);
        if (strcmp(table[filled][COLUMNS - 1], "-") != 0) columns = COLUMNS;
    }
    for (uint32_t row = 0; row < filled; row++) {
        for (size_t i = 0; i < columns; i++) {
            int width = (int)strlen(table[row][i]);
            if (width > widths[i]) widths[i] = width;
        }
    }
    for (uint32_t row = 0; row < filled; row++) {
        for (size_t i = 0; i < columns; i++) {
            int width = i + 1 == columns && !right[i] ? 0 : widths[i];
            printf("%s%*s", i > 0 ? "  " : "", right[i] ? width : -width, table[row][i]);
        }
        putchar('\n');
    }
    memory_free(table);
}

static void fill_row(struct slice member, char cells[COLUMNS][CELL_MAX])
{
    static const char *const keys[CONTACT + 1] = {"id", "address", "role", "state", "match", "lag", "contact_ms"};
    for (size_t i = 0; i < CONTACT + 1; i++) {
        view_text(member, keys[i], cells[i], CELL_MAX);
        if (cells[i][0] == 0) snprintf(cells[i], CELL_MAX, "-");
    }
    size_t size = strlen(cells[CONTACT]);
    if (strcmp(cells[CONTACT], "-") != 0) snprintf(cells[CONTACT] + size, CELL_MAX - size, " ms");
    fill_labels(value_of(member, "labels"), cells[COLUMNS - 1]);
}

/* ---- reading maps ---- */

/* A string or integer as text; "" for anything else. */
/* "rack=7,zone=a": as much as there is room for. */
static void fill_labels(struct slice labels, char cell[CELL_MAX])
{
    struct mp_reader reader = mp_reader_of(labels);
    struct slice name, value;
    uint32_t count;
    int used = 0;
    snprintf(cell, CELL_MAX, "-");
    if (labels.size == 0 || !mp_read_map(&reader, &count)) return;
    for (uint32_t i = 0; i < count && used < CELL_MAX; i++) {
        if (!mp_read_string(&reader, &name) || !mp_read_string(&reader, &value)) return;
        used += snprintf(cell + used, (size_t)(CELL_MAX - used), "%s%.*s=%.*s", i > 0 ? "," : "", (int)name.size,
                         (const char *)name.data, (int)value.size, (const char *)value.data);
    }
}

const char *view_text(struct slice map, const char *key, char *out, size_t size)
{
    struct slice value = value_of(map, key);
    struct mp_reader reader = mp_reader_of(value);
    struct mp_item item;
    out[0] = 0;
    if (value.size == 0 || !mp_read(&reader, &item)) return out;
    if (item.type == MP_STRING) {
        snprintf(out, size, "%.*s", (int)(item.string.size < size ? item.string.size : size),
                 item.string.size > 0 ? (const char *)item.string.data : "");
    } else if (item.type == MP_INTEGER) {
        snprintf(out, size, "%" PRId64, item.integer);
    }
    return out;
}

static bool flag_of(struct slice map, const char *key)
{
    struct slice value = value_of(map, key);
    return value.size == 1 && value.data[0] == 0xc3;
}

static struct slice value_of(struct slice map, const char *key)
{
    struct slice value;
    return map.size > 0 && mp_map_get(map, key, &value) ? value : slice_of(NULL, 0);
}
