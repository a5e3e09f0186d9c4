/*
 * `moonclave top`: a cluster as it lives, on a whole terminal: who leads, how far each log is, what it costs. Keys give
 * orders, each after a question. It asks and draws once an interval; top.h says who does what.
 */
#include "cli/top.h"

#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct top_options {
    const char *address;
    uint64_t interval_ms;
};

static int top_run(int argc, char **argv);
static enum error_code watch(struct top *top, uint64_t interval_ms, struct error *error);
static bool obey(struct top *top, int key);
static void order(struct top *top, const char *method, const char *doing);
static const char *a_voter_less(const struct top *top, char text[TOP_LINE_MAX]);
static void add(struct top *top);
static bool ask_line(struct top *top, const char *question, char *answer, size_t size);
static bool ask_yes(struct top *top, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct top *top, const char *what, const char *id, enum error_code code, const struct error *error);

#define FIELD(name) offsetof(struct top_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "any node's address (127.0.0.1:5001)"},
    {"interval", FLAG_INTEGER, FIELD(interval_ms), 100, 60000, "MS", "how often it asks (1000)"},
};
static const struct flags flags = {.command = "top", .rows = rows, .count = sizeof rows / sizeof *rows};

const struct cli_command top_command = {
    .name = "top",
    .summary = "a cluster as it lives, on the whole terminal",
    .usage = "[--addr HOST:PORT] [--interval MS]",
    .help = "Asks every member once a second and draws: who leads, in which term, how many elections there were\n"
            "since it looks; how much is committed a second, and how long the leader's commits of the last seconds\n"
            "took (p50: half of them no longer; p99: 99 of 100; - where there were none); for each member its log as\n"
            "a bar that ends where the longest one ends (# committed, + not yet, . not there), how many entries it\n"
            "lacks, what it writes to disk, how long its answer took;\n"
            "of the member chosen also its snapshot, memory and processor.\n"
            "\n"
            "Keys: arrows (or j, k) choose; t hands leadership to the member chosen, p makes it a voter, d a\n"
            "learner, x removes it, a adds one; q ends it. Orders ask first, and say how many voters are left and\n"
            "how many of those answer. Where the output is no terminal `moonclave status` says the same once.\n"
            "NO_COLOR is respected.\n"
            "\n"
            "  moonclave top --addr 127.0.0.1:5002\n",
    .flags = &flags,
    .run = top_run,
};

static int top_run(int argc, char **argv)
{
    struct top_options options = {.address = "127.0.0.1:5001", .interval_ms = 1000};
    struct error error;
    static struct top top;
    enum error_code code = flags_parse(&flags, argc, argv, &options, NULL, NULL, &error);
    if (code != ERROR_OK) return cli_fail_error(&error);
    top = (struct top){.address = options.address};
    code = top_ask(&top, &error);
    if (code == ERROR_OK && !top_screen_begin()) {
        code = error_set(&error, ERROR_USAGE, "it needs a terminal: `%s status` says the same once", cli_program());
    }
    if (code == ERROR_OK) code = watch(&top, options.interval_ms, &error);
    top_screen_end();
    top_ask_end(&top);
    return code == ERROR_OK ? EXIT_DONE : cli_fail(exit_status_of(code), "top: %.400s", error.text);
}

static enum error_code watch(struct top *top, uint64_t interval_ms, struct error *error)
{
    uint64_t next_ms = cli_clock_ms() + interval_ms;
    for (;;) {
        bool resized = false;
        top_screen_draw(top, NULL);
        int key = top_screen_key(next_ms, &resized);
        if (key < 0 || (key > 0 && !obey(top, key))) return ERROR_OK;
        if (key == 0 && !resized) {
            if (top_ask(top, error) != ERROR_OK) snprintf(top->message, sizeof top->message, "%.200s", error->text);
            next_ms = cli_clock_ms() + interval_ms;
        }
    }
}

/* False: it is to end. */
static bool obey(struct top *top, int key)
{
    top->message[0] = 0;
    switch (key) {
    case 'q': return false;
    case TOP_KEY_UP:
    case 'k': top->selected -= top->selected > 0; break;
    case TOP_KEY_DOWN:
    case 'j': top->selected += top->selected + 1 < top->count; break;
    case 't': order(top, "admin/transfer", "hand leadership to"); break;
    case 'p': order(top, "admin/promote", "make a voter of"); break;
    case 'd': order(top, "admin/demote", "make a learner of"); break;
    case 'x': order(top, "admin/remove", "remove"); break;
    case 'a': add(top); break;
    default: break;
    }
    return true;
}

/* ---- orders ---- */

static void order(struct top *top, const char *method, const char *doing)
{
    char id[CELL_MAX], meaning[TOP_LINE_MAX];
    struct error error;
    if (top->selected >= top->count) return;
    memcpy(id, top->nodes[top->selected].id, sizeof id); /* the list may change while we ask */
    bool less = strcmp(method, "admin/remove") == 0 || strcmp(method, "admin/demote") == 0;
    if (!ask_yes(top, "%s %s? %s[y/N] ", doing, id, less ? a_voter_less(top, meaning) : "")) return;
    snprintf(top->message, sizeof top->message, "%s %.70s ...", doing, id);
    top_screen_draw(top, NULL);
    enum error_code code = top_order(top, method, id, NULL, &error);
    tell(top, doing, id, code, &error);
}

/* What it means that the member chosen votes no more; empty where it does not vote anyway. */
static const char *a_voter_less(const struct top *top, char text[TOP_LINE_MAX])
{
    unsigned stay = 0, answer = 0;
    text[0] = 0;
    for (size_t i = 0; i < top->count; i++) {
        const struct top_node *node = &top->nodes[i];
        if (strcmp(node->role, "voter") != 0) {
            if (i == top->selected) return text;
        } else if (i != top->selected) {
            stay++;
            answer += node->answers;
        }
    }
    snprintf(text, TOP_LINE_MAX, "%u voter%s stay%s, %u answer%s, %u must ", stay, stay == 1 ? "" : "s",
             stay == 1 ? "s" : "", answer, answer == 1 ? "s" : "", stay / 2 + 1);
    return text;
}

static void add(struct top *top)
{
    char answer[160], id[CELL_MAX], address[CELL_MAX];
    struct error error;
    if (!ask_line(top, "add (ID HOST:PORT of a node started with --join): ", answer, sizeof answer)) return;
    const char *blank = strchr(answer, ' ');
    if (blank == NULL || blank == answer || blank[1] == 0 || strlen(blank + 1) >= sizeof address ||
        (size_t)(blank - answer) >= sizeof id) {
        snprintf(top->message, sizeof top->message, "not done: it is ID HOST:PORT, as in n4 127.0.0.1:5004");
        return;
    }
    snprintf(id, sizeof id, "%.*s", (int)(blank - answer), answer);
    snprintf(address, sizeof address, "%s", blank + 1);
    enum error_code code = top_order(top, "admin/add", id, address, &error);
    tell(top, "add", id, code, &error);
}

static void tell(struct top *top, const char *what, const char *id, enum error_code code, const struct error *error)
{
    snprintf(top->message, sizeof top->message, "%s %.70s: %.150s", what, id, code == ERROR_OK ? "done" : error->text);
}

/* Reads a line in the last row; false: it was given up. The cluster is not asked meanwhile. */
static bool ask_line(struct top *top, const char *question, char *answer, size_t size)
{
    char shown[TOP_LINE_MAX];
    size_t length = 0;
    answer[0] = 0;
    for (;;) {
        bool resized = false;
        snprintf(shown, sizeof shown, "%s%s_", question, answer);
        top_screen_draw(top, shown);
        int key = top_screen_key(cli_clock_ms() + 1000, &resized);
        if (key < 0 || key == 27) return false;
        if (key == '\r' || key == '\n') return length > 0;
        if ((key == 127 || key == 8) && length > 0) answer[--length] = 0;
        if (key >= ' ' && key < 127 && length + 1 < size) {
            answer[length++] = (char)key;
            answer[length] = 0;
        }
    }
}

static bool ask_yes(struct top *top, const char *format, ...)
{
    char question[TOP_LINE_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(question, sizeof question, format, arguments);
    va_end(arguments);
    for (;;) {
        bool resized = false;
        top_screen_draw(top, question);
        int key = top_screen_key(cli_clock_ms() + 60000, &resized);
        if (!resized) return key == 'y' || key == 'Y';
    }
}
