/*
 * The commands that are actions (host/README.md). About who is a member and who leads: of the leader, asked through any
 * node; `add` and `promote` wait until the server votes and say how far it is, `remove` and `demote` say what will be
 * left before they ask. `snapshot` is the node's own that is asked.
 */
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/labels.h"
#include "cli/view.h"

#include "base/mp.h"
#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECT_MS 2000
#define POLL_MS    200
#define IDS_MAX    16

struct admin_options {
    const char *address;
    const char *labels;
    uint64_t timeout_s;
    bool json, learner, force, yes;
};

/* One command being run. */
struct job {
    const struct cli_command *command;
    struct admin_options options;
    const char *arguments[IDS_MAX + 1];
    struct rpc_client *client;
    uint64_t deadline_ms;
    struct error error;
};

static int add_run(int argc, char **argv);
static int remove_run(int argc, char **argv);
static int promote_run(int argc, char **argv);
static int demote_run(int argc, char **argv);
static int members_run(int argc, char **argv);
static int priority_run(int argc, char **argv);
static int address_run(int argc, char **argv);
static int label_run(int argc, char **argv);
static int transfer_run(int argc, char **argv);
static int snapshot_run(int argc, char **argv);

#define FIELD(name) offsetof(struct admin_options, name)
#define COMMON COMMON_AT("any node's address (127.0.0.1:5001)")
#define COMMON_AT(address_help)                                                                                    \
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", address_help},                                          \
        {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "the answer as JSON"},                                     \
        {"timeout", FLAG_INTEGER, FIELD(timeout_s), 1, 86400, "SECONDS", "how long to wait (60)"}
#define YES {"yes", FLAG_BOOLEAN, FIELD(yes), 0, 0, NULL, "does not ask, on a terminal, whether that is meant"}

static const char *const id_argument[] = {"ID"};
static const char *const add_arguments[] = {"ID", "HOST:PORT"};
static const char *const priority_arguments[] = {"ID", "NUMBER"};
static const char *const label_arguments[IDS_MAX + 1] = {
    "ID",        "NAME=TEXT", "NAME=TEXT", "NAME=TEXT", "NAME=TEXT", "NAME=TEXT",
    "NAME=TEXT", "NAME=TEXT", "NAME=TEXT", "NAME=TEXT", "NAME=TEXT", "NAME=TEXT",
    "NAME=TEXT", "NAME=TEXT", "NAME=TEXT", "NAME=TEXT", "NAME=TEXT"};
static const char *const members_arguments[IDS_MAX + 1] = {"set", "ID", "ID", "ID", "ID", "ID", "ID", "ID", "ID",
                                                           "ID",  "ID", "ID", "ID", "ID", "ID", "ID", "ID"};
static const struct flag add_rows[] = {
    COMMON,
    {"learner", FLAG_BOOLEAN, FIELD(learner), 0, 0, NULL, "it stays a learner: it gets the log and does not vote"},
    {"label", FLAG_TEXT, FIELD(labels), 0, 0, "NAME=TEXT,...", "labels, as in zone=a"},
    {"force", FLAG_BOOLEAN, FIELD(force), 0, 0, NULL, "whatever the membership policy says"},
};
static const struct flag change_rows[] = {COMMON, YES};
static const struct flag promote_rows[] = {
    COMMON,
    {"force", FLAG_BOOLEAN, FIELD(force), 0, 0, NULL, "also where it has not caught up yet"},
};
static const struct flag members_rows[] = {
    COMMON,
    YES,
    {"force", FLAG_BOOLEAN, FIELD(force), 0, 0, NULL, "set: also learners that have not caught up yet"},
};
static const struct flag transfer_rows[] = {COMMON}; /* and of priority and address */
static const struct flag snapshot_rows[] = {COMMON_AT("the node's address (127.0.0.1:5001)")};

#define FLAGS(name, rows_, arguments_)                                                                            \
    {.command = name, .rows = rows_, .count = sizeof rows_ / sizeof *rows_, .arguments = arguments_,              \
     .argument_count = sizeof arguments_ / sizeof *arguments_}
static const struct flags add_flags = FLAGS("add", add_rows, add_arguments);
static const struct flags remove_flags = FLAGS("remove", change_rows, id_argument);
static const struct flags promote_flags = FLAGS("promote", promote_rows, id_argument);
static const struct flags demote_flags = FLAGS("demote", change_rows, id_argument);
static const struct flags members_flags = FLAGS("members", members_rows, members_arguments);
static const struct flags priority_flags = FLAGS("priority", transfer_rows, priority_arguments);
static const struct flags address_flags = FLAGS("address", transfer_rows, add_arguments);
static const struct flags label_flags = FLAGS("label", transfer_rows, label_arguments);
static const struct flags transfer_flags = FLAGS("transfer", transfer_rows, id_argument);
static const struct flags snapshot_flags = {
    .command = "snapshot", .rows = snapshot_rows, .count = sizeof snapshot_rows / sizeof *snapshot_rows};

const struct cli_command add_command = {
    .name = "add",
    .summary = "lets a server into the cluster",
    .usage = "ID HOST:PORT [--learner] [--label zone=a] [--force] [flags]",
    .help = "The server must be running with --join and an empty data folder. It gets the log as a learner first and\n"
            "votes once it has caught up; this command waits until then. (Started with --join it asks by itself:\n"
            "`add` is for learners, and for those that are to vote at once.) Where the cluster's membership policy\n"
            "refuses the server, its reason is told.\n"
            "\n"
            "  moonclave add n4 127.0.0.1:5004 --label zone=b\n",
    .flags = &add_flags,
    .run = add_run,
};
const struct cli_command remove_command = {
    .name = "remove",
    .summary = "takes a server out of the cluster",
    .usage = "ID [--yes] [flags]",
    .help = "The server stops once it hears of it, and can come back with --join and an empty data folder only. The\n"
            "leader can be removed: another one takes over. Says what will be left, and on a terminal asks first.\n"
            "\n"
            "  moonclave remove n1 --addr 127.0.0.1:5002\n",
    .flags = &remove_flags,
    .run = remove_run,
};
const struct cli_command promote_command = {
    .name = "promote",
    .summary = "makes a learner a voter, once it has caught up",
    .usage = "ID [--force] [flags]",
    .help = "Waits until the server votes.\n"
            "\n"
            "  moonclave promote n4\n",
    .flags = &promote_flags,
    .run = promote_run,
};
const struct cli_command demote_command = {
    .name = "demote",
    .summary = "makes a voter a learner",
    .usage = "ID [--yes] [flags]",
    .help = "It still gets the log and answers, and does not vote. Says what is left, and on a terminal asks first.\n"
            "\n"
            "  moonclave demote n4 --yes\n",
    .flags = &demote_flags,
    .run = demote_run,
};
const struct cli_command members_command = {
    .name = "members",
    .summary = "who is a member; `members set` changes several at once",
    .usage = "[set ID ID ...] [flags]",
    .help = "Prints a row for each member, as the leader sees it. With `set`, exactly these are the voters from then\n"
            "on: learners among them are promoted, voters that are not named leave, in one step (joint consensus).\n"
            "\n"
            "  moonclave members set n1 n4 n5\n",
    .flags = &members_flags,
    .run = members_run,
};
const struct cli_command priority_command = {
    .name = "priority",
    .summary = "says which server is to lead where it can",
    .usage = "ID NUMBER [flags]",
    .help = "Leadership goes to the voter of the highest priority that has kept up, and stays there; without\n"
            "priorities (0, as every server begins) it stays wherever it is.\n"
            "\n"
            "  moonclave priority n2 10\n",
    .flags = &priority_flags,
    .run = priority_run,
};
const struct cli_command address_command = {
    .name = "address",
    .summary = "says where a server is reached from now on",
    .usage = "ID HOST:PORT [flags]",
    .help = "For a server that moves: tell the others first, then start it with the new --addr and its data folder.\n"
            "\n"
            "  moonclave address n2 127.0.0.1:5012\n",
    .flags = &address_flags,
    .run = address_run,
};
const struct cli_command label_command = {
    .name = "label",
    .summary = "says something about a server, as in zone=a",
    .usage = "ID NAME=TEXT ... [flags]",
    .help = "Labels are for people and for membership policies, say where a server stands. `members` shows them. A\n"
            "name without a text (zone=) takes that label away; labels that are not named stay.\n"
            "\n"
            "  moonclave label n4 zone=b rack=\n",
    .flags = &label_flags,
    .run = label_run,
};
const struct cli_command transfer_command = {
    .name = "transfer",
    .summary = "hands leadership to another server",
    .usage = "[ID] [flags]",
    .help = "To the server named, or to the one that is fit best. Commands that arrive meanwhile wait for the next\n"
            "leader. Where the server does not take over within an election timeout, the leader stays.\n"
            "\n"
            "  moonclave transfer n2\n",
    .flags = &transfer_flags,
    .run = transfer_run,
};

const struct cli_command snapshot_command = {
    .name = "snapshot",
    .summary = "makes a node take a snapshot now",
    .usage = "[flags]",
    .help = "The node at --addr writes its state to disk as of what it has applied, and lets go of the log before it.\n"
            "Nodes do so by themselves when the log has become long (snapshot_log_bytes); this is for right before a\n"
            "restart, which is quick then. Waits until the snapshot is durable and says its index and size.\n"
            "\n"
            "  moonclave snapshot --addr 127.0.0.1:5002\n",
    .flags = &snapshot_flags,
    .run = snapshot_run,
};

static bool begin(struct job *job, const struct cli_command *command, int argc, char **argv, int needed);
static int finish(struct job *job, enum error_code code);
static enum error_code ask(struct job *job, const char *method, const struct buffer *arguments, struct buffer *out);
static enum error_code read_members(struct job *job, struct buffer *members);
static void begin_arguments(const struct job *job, struct buffer *arguments, uint32_t more);
static enum error_code wait_for_voter(struct job *job, const char *id);
static bool agreed(struct job *job, const char *doing, const char *id);
static void show_answer(const struct job *job, const struct buffer *answer, const char *id, const char *what);

/* ---- the commands ---- */

static int add_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    if (!begin(&job, &add_command, argc, argv, 2)) return finish(&job, job.error.code);
    const char *id = job.arguments[0];
    begin_arguments(&job, &arguments, 4);
    mp_write_text(&arguments, "address");
    mp_write_text(&arguments, job.arguments[1]);
    mp_write_text(&arguments, "force");
    mp_write_boolean(&arguments, job.options.force);
    mp_write_text(&arguments, "labels");
    enum error_code code = labels_write("add", job.options.labels, &arguments, &job.error);
    mp_write_text(&arguments, "learner");
    mp_write_boolean(&arguments, job.options.learner);
    if (code == ERROR_OK) code = ask(&job, "admin/add", &arguments, &answer);
    if (code == ERROR_OK && !job.options.learner) code = wait_for_voter(&job, id);
    if (code == ERROR_OK)
        show_answer(&job, &answer, id, job.options.learner ? "is a learner" : "is a voter");
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int remove_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    if (!begin(&job, &remove_command, argc, argv, 1)) return finish(&job, job.error.code);
    if (!agreed(&job, "removing", job.arguments[0])) return finish(&job, job.error.code);
    begin_arguments(&job, &arguments, 0);
    enum error_code code = ask(&job, "admin/remove", &arguments, &answer);
    if (code == ERROR_OK) show_answer(&job, &answer, job.arguments[0], "is removed");
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int promote_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    if (!begin(&job, &promote_command, argc, argv, 1)) return finish(&job, job.error.code);
    begin_arguments(&job, &arguments, 1);
    mp_write_text(&arguments, "force");
    mp_write_boolean(&arguments, job.options.force);
    enum error_code code = ask(&job, "admin/promote", &arguments, &answer);
    if (code == ERROR_OK) code = wait_for_voter(&job, job.arguments[0]);
    if (code == ERROR_OK) show_answer(&job, &answer, job.arguments[0], "is a voter");
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int demote_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    if (!begin(&job, &demote_command, argc, argv, 1)) return finish(&job, job.error.code);
    if (!agreed(&job, "demoting", job.arguments[0])) return finish(&job, job.error.code);
    begin_arguments(&job, &arguments, 0);
    enum error_code code = ask(&job, "admin/demote", &arguments, &answer);
    if (code == ERROR_OK) show_answer(&job, &answer, job.arguments[0], "is a learner");
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int members_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0}, members = {0};
    if (!begin(&job, &members_command, argc, argv, 0)) return finish(&job, job.error.code);
    enum error_code code = ERROR_OK;
    uint32_t count = 0;
    while (count < IDS_MAX && job.arguments[0] != NULL && job.arguments[count + 1] != NULL) count++;
    if (job.arguments[0] != NULL && (strcmp(job.arguments[0], "set") != 0 || count == 0)) {
        code = error_set(&job.error, ERROR_USAGE,
                         "members: \"%.64s\": only `members set ID ID ...` takes arguments", job.arguments[0]);
    } else if (count > 0 && agreed(&job, "changing the voters", NULL)) {
        mp_write_map(&arguments, 2);
        mp_write_text(&arguments, "force");
        mp_write_boolean(&arguments, job.options.force);
        mp_write_text(&arguments, "voters");
        mp_write_array(&arguments, count);
        for (uint32_t i = 0; i < count; i++) mp_write_text(&arguments, job.arguments[i + 1]);
        code = ask(&job, "admin/set", &arguments, &answer);
    } else if (count > 0) {
        code = job.error.code;
    }
    if (code == ERROR_OK) code = read_members(&job, &members);
    if (code == ERROR_OK && job.options.json)
        show_answer(&job, &members, "", "");
    else if (code == ERROR_OK)
        view_members(buffer_slice(&members));
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    buffer_deinit(&members);
    return finish(&job, code);
}

static int priority_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    if (!begin(&job, &priority_command, argc, argv, 2)) return finish(&job, job.error.code);
    char *end, text[CELL_MAX];
    unsigned long long priority = strtoull(job.arguments[1], &end, 10);
    enum error_code code = ERROR_OK;
    if (job.arguments[1][0] < '0' || job.arguments[1][0] > '9' || *end != 0 || priority > UINT32_MAX) {
        code = error_set(&job.error, ERROR_USAGE, "priority: \"%.64s\" is not a number from 0 to %" PRIu32,
                         job.arguments[1], UINT32_MAX);
    }
    begin_arguments(&job, &arguments, 1);
    mp_write_text(&arguments, "priority");
    mp_write_u64(&arguments, priority);
    if (code == ERROR_OK) code = ask(&job, "admin/priority", &arguments, &answer);
    snprintf(text, sizeof text, "has priority %llu", priority);
    if (code == ERROR_OK) show_answer(&job, &answer, job.arguments[0], text);
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int address_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    char text[ADDRESS_MAX + CELL_MAX];
    if (!begin(&job, &address_command, argc, argv, 2)) return finish(&job, job.error.code);
    begin_arguments(&job, &arguments, 1);
    mp_write_text(&arguments, "address");
    mp_write_text(&arguments, job.arguments[1]);
    enum error_code code = ask(&job, "admin/address", &arguments, &answer);
    snprintf(text, sizeof text, "is reached at %s", job.arguments[1]);
    if (code == ERROR_OK) show_answer(&job, &answer, job.arguments[0], text);
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int label_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    if (!begin(&job, &label_command, argc, argv, 2)) return finish(&job, job.error.code);
    enum error_code code = ERROR_OK;
    uint32_t count = 0;
    while (count < IDS_MAX && job.arguments[count + 1] != NULL) count++;
    begin_arguments(&job, &arguments, 1);
    mp_write_text(&arguments, "labels");
    mp_write_map(&arguments, count);
    for (uint32_t i = 1; i <= count && code == ERROR_OK; i++) {
        const char *text = job.arguments[i], *equals = strchr(text, '=');
        if (equals == NULL || equals == text) {
            code = error_set(&job.error, ERROR_USAGE, "label: \"%.64s\" is no NAME=TEXT, nor NAME= to take it away",
                             text);
            break;
        }
        mp_write_string(&arguments, slice_of(text, (size_t)(equals - text)));
        if (equals[1] == 0)
            mp_write_nil(&arguments);
        else
            mp_write_text(&arguments, equals + 1);
    }
    if (code == ERROR_OK) code = ask(&job, "admin/labels", &arguments, &answer);
    if (code == ERROR_OK) show_answer(&job, &answer, job.arguments[0], "is labelled");
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int transfer_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    char leader[CELL_MAX];
    if (!begin(&job, &transfer_command, argc, argv, 0)) return finish(&job, job.error.code);
    if (job.arguments[0] != NULL)
        begin_arguments(&job, &arguments, 0);
    else
        mp_write_map(&arguments, 0);
    enum error_code code = ask(&job, "admin/transfer", &arguments, &answer);
    if (code == ERROR_OK)
        show_answer(&job, &answer, view_text(buffer_slice(&answer), "leader", leader, sizeof leader), "leads");
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

static int snapshot_run(int argc, char **argv)
{
    struct job job;
    struct buffer arguments = {0}, answer = {0};
    char index[CELL_MAX], text[CELL_MAX], size[CELL_MAX];
    if (!begin(&job, &snapshot_command, argc, argv, 0)) return finish(&job, job.error.code);
    mp_write_map(&arguments, 0);
    enum error_code code = ask(&job, "admin/snapshot", &arguments, &answer);
    if (code == ERROR_OK) {
        view_text(buffer_slice(&answer), "index", index, sizeof index);
        view_text(buffer_slice(&answer), "size", size, sizeof size);
        snprintf(text, sizeof text, "at index %.20s, %.20s bytes", index, size);
        show_answer(&job, &answer, "snapshot", text);
    }
    buffer_deinit(&arguments);
    buffer_deinit(&answer);
    return finish(&job, code);
}

/* ---- one job ---- */

/* Reads the command line and connects; false: job->error says why not. */
static bool begin(struct job *job, const struct cli_command *command, int argc, char **argv, int needed)
{
    *job = (struct job){.command = command, .options = {.address = "127.0.0.1:5001", .timeout_s = 60}};
    enum error_code code =
        flags_parse(command->flags, argc, argv, &job->options, NULL, job->arguments, &job->error);
    if (code != ERROR_OK) return false;
    for (int i = 0; i < needed; i++) {
        if (job->arguments[i] != NULL) continue;
        error_set(&job->error, ERROR_USAGE, "%s: %s is missing: %s %s %s", command->name,
                  command->flags->arguments[i], cli_program(), command->name, command->usage);
        return false;
    }
    job->deadline_ms = cli_clock_ms() + job->options.timeout_s * 1000;
    struct error why;
    code = rpc_client_open(&job->client, job->options.address, CONNECT_MS, &why);
    if (code != ERROR_OK) error_set(&job->error, code, "%s: %.480s", command->name, why.text);
    return code == ERROR_OK;
}

static int finish(struct job *job, enum error_code code)
{
    rpc_client_close(job->client);
    return code == ERROR_OK ? EXIT_DONE : cli_fail_error(&job->error);
}

/* `arguments`: one value, null for none; the answer goes into `out`. */
static enum error_code ask(struct job *job, const char *method, const struct buffer *arguments, struct buffer *out)
{
    struct buffer params = {0};
    struct error why;
    struct slice result;
    uint64_t now_ms = cli_clock_ms();
    uint64_t left_ms = job->deadline_ms > now_ms ? job->deadline_ms - now_ms : 1;
    mp_write_array(&params, arguments != NULL ? 2 : 0);
    if (arguments != NULL) {
        mp_write_raw(&params, buffer_slice(arguments));
        mp_write_map(&params, 1);
        mp_write_text(&params, "timeout");
        mp_write_float(&params, (double)left_ms / 1000);
    }
    enum error_code code =
        rpc_client_call(job->client, method, buffer_slice(&params), (unsigned)left_ms + 2000, &result, &why);
    if (code == ERROR_OK)
        buffer_append_slice(out, result);
    else
        error_set(&job->error, code, "%s: %.480s", job->command->name, why.text);
    buffer_deinit(&params);
    return code;
}

/* As the leader sees them, where it can be reached; else as the node that was asked does. */
static enum error_code read_members(struct job *job, struct buffer *members)
{
    struct buffer status = {0};
    char leader[CELL_MAX], id[CELL_MAX], address[CELL_MAX];
    struct rpc_client *client = NULL;
    struct error ignored;
    struct slice result;
    buffer_clear(members);
    enum error_code code = ask(job, "status", NULL, &status);
    view_text(buffer_slice(&status), "leader", leader, sizeof leader);
    view_text(buffer_slice(&status), "id", id, sizeof id);
    view_text(buffer_slice(&status), "leader_address", address, sizeof address);
    if (code == ERROR_OK && leader[0] != 0 && strcmp(leader, id) != 0 &&
        rpc_client_open(&client, address, CONNECT_MS, &ignored) == ERROR_OK &&
        rpc_client_call(client, "members", slice_of(NULL, 0), CONNECT_MS, &result, &ignored) == ERROR_OK) {
        buffer_append_slice(members, result);
    }
    if (code == ERROR_OK && members->size == 0) code = ask(job, "members", NULL, members);
    rpc_client_close(client);
    buffer_deinit(&status);
    return code;
}

/* A map that begins with the id that is the first argument. */
static void begin_arguments(const struct job *job, struct buffer *arguments, uint32_t more)
{
    mp_write_map(arguments, more + 1);
    mp_write_text(arguments, "id");
    mp_write_text(arguments, job->arguments[0]);
}

/* ---- waiting ---- */

static bool find_member(const struct buffer *members, const char *id, struct slice *member)
{
    struct mp_reader reader = mp_reader_of(buffer_slice(members));
    uint32_t count;
    char text[CELL_MAX];
    if (!mp_read_array(&reader, &count)) return false;
    while (mp_skip(&reader, member)) {
        if (strcmp(view_text(*member, "id", text, sizeof text), id) == 0) return true;
    }
    return false;
}

/* The server is a member; until it votes. How far it is shows on a terminal. */
static enum error_code wait_for_voter(struct job *job, const char *id)
{
    struct buffer members = {0};
    struct slice member;
    char role[CELL_MAX], lag[CELL_MAX];
    bool shown = false, terminal = isatty(STDERR_FILENO) && !job->options.json;
    enum error_code code;
    for (;;) {
        code = read_members(job, &members);
        if (code != ERROR_OK) break;
        bool there = find_member(&members, id, &member);
        if (there && strcmp(view_text(member, "role", role, sizeof role), "voter") == 0) break;
        if (cli_clock_ms() >= job->deadline_ms) {
            code = error_set(&job->error, ERROR_TIMEOUT,
                             "%s: %s is a member and has not caught up in time: it becomes a voter when it has; "
                             "`%s members` shows how far it is", job->command->name, id, cli_program());
            break;
        }
        if (terminal && there) {
            view_text(member, "lag", lag, sizeof lag);
            fprintf(stderr, "\r%s is a learner, %s entries behind \033[K", id, lag);
            shown = true;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
    }
    if (shown) fprintf(stderr, "\r\033[K");
    buffer_deinit(&members);
    return code;
}

/* ---- what will be left ---- */

static bool agreed(struct job *job, const char *doing, const char *id)
{
    struct buffer members = {0};
    struct slice member;
    char text[CELL_MAX];
    uint32_t count = 0, voters = 0;
    bool votes = false;
    if (job->options.json || read_members(job, &members) != ERROR_OK) {
        buffer_deinit(&members);
        return job->options.json;
    }
    struct mp_reader reader = mp_reader_of(buffer_slice(&members));
    mp_read_array(&reader, &count);
    while (mp_skip(&reader, &member)) {
        bool voter = strcmp(view_text(member, "role", text, sizeof text), "voter") == 0;
        if (voter) voters++;
        if (id != NULL && strcmp(view_text(member, "id", text, sizeof text), id) == 0) votes = voter;
    }
    buffer_deinit(&members);
    if (id != NULL && votes) {
        uint32_t left = voters - 1, spare = left > 0 ? (left - 1) / 2 : 0;
        fprintf(stderr, "%s %s leaves %u voter%s: %s\n", doing, id, left, left == 1 ? "" : "s",
                spare == 0   ? "no failure can then be survived"
                : spare == 1 ? "one failure can then be survived"
                             : "more than one failure can then be survived");
    }
    if (job->options.yes || !isatty(STDIN_FILENO) || (id != NULL && !votes)) return true;
    fprintf(stderr, "go on? [y/N] ");
    char answer[8] = "";
    if (fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y')) return true;
    error_set(&job->error, ERROR_USAGE, "%s: not done", job->command->name);
    return false;
}

/* "ID WHAT", or the answer itself as JSON. */
static void show_answer(const struct job *job, const struct buffer *answer, const char *id, const char *what)
{
    struct buffer json = {0};
    struct error error;
    if (!job->options.json) {
        printf("%s %s\n", id, what);
    } else if (json_from_value(buffer_slice(answer), &json, &error) == ERROR_OK) {
        printf("%.*s\n", (int)json.size, (const char *)json.data);
    }
    buffer_deinit(&json);
}
