/*
 * The terminal of `moonclave top`: raw while it runs, on the alternate screen, and given back as it was, whatever ends
 * us but SIGKILL. A picture is made as a whole and written at once, so that nothing flickers.
 */
#include "cli/top.h"

#include "cli/cli.h"

#include "base/buffer.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#define KEYS       " arrows choose   t transfer   p promote   d demote   a add   x remove   q quit"
#define KEYS_SHORT " q quit  t transfer  p promote  d demote  a add  x remove"

#define BAR_MIN 8
#define BAR_ENTRIES_MIN 100 /* a bar's whole length is at least so many entries */

/* Where we draw. */
struct canvas {
    struct buffer out;
    int columns, rows, row;
    int limit; /* no line is drawn from this row on: the last is for the keys */
};

static void on_signal(int number);
static bool colours(void);
static void line(struct canvas *canvas, const char *style, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
static void draw_head(struct canvas *canvas, const struct top *top);
static void draw_nodes(struct canvas *canvas, const struct top *top);
static void draw_node(struct canvas *canvas, const struct top *top, const struct top_node *node, int bar, uint64_t end,
                      uint64_t window);
static void draw_selected(struct canvas *canvas, const struct top_node *node);
static void draw_events(struct canvas *canvas, const struct top *top);
static const char *amount(double value, char text[16]);
static const char *bytes(double value, char text[16]);
static const char *duration(uint64_t ms, char text[16]);
static int read_escape(void);

static struct termios before;
static bool is_ours;
static volatile sig_atomic_t ended, resized_now;

/* ---- the terminal ---- */

bool top_screen_begin(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGWINCH};
    struct termios raw;
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || tcgetattr(STDIN_FILENO, &before) != 0) return false;
    struct sigaction action = {.sa_handler = on_signal};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) sigaction(numbers[i], &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    raw = before;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 1;
    raw.c_cc[VTIME] = 0;
    raw.c_cc[VSUSP] = _POSIX_VDISABLE; /* stopped, we could not give it back */
    if (tcsetattr(STDIN_FILENO, TCSANOW, &raw) != 0) return false;
    is_ours = true;
    fputs("\033[?1049h\033[?25l", stdout);
    fflush(stdout);
    return true;
}

void top_screen_end(void)
{
    if (!is_ours) return;
    is_ours = false;
    fputs("\033[0m\033[?25h\033[?1049l", stdout);
    fflush(stdout);
    (void)tcsetattr(STDIN_FILENO, TCSANOW, &before);
}

static void on_signal(int number)
{
    if (number == SIGWINCH) resized_now = 1;
    else ended = 1;
}

int top_screen_key(uint64_t until_ms, bool *resized)
{
    for (;;) {
        if (ended) return -1;
        if (resized_now) {
            resized_now = 0;
            *resized = true;
            return 0;
        }
        uint64_t now_ms = cli_clock_ms();
        struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
        int status = poll(&input, 1, until_ms > now_ms ? (int)(until_ms - now_ms) : 0);
        if (status < 0 && errno == EINTR) continue;
        if (status == 0) return 0;
        unsigned char byte;
        if (status < 0 || read(STDIN_FILENO, &byte, 1) != 1) return -1;
        return byte == 27 ? read_escape() : byte;
    }
}

/* What follows an ESC: an arrow, or something that is none of our keys. A lone one is itself. */
static int read_escape(void)
{
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    unsigned char byte = 0;
    if (poll(&input, 1, 30) <= 0 || read(STDIN_FILENO, &byte, 1) != 1) return 27;
    if (byte != '[' && byte != 'O') return TOP_KEY_OTHER;
    do {
        if (poll(&input, 1, 30) <= 0 || read(STDIN_FILENO, &byte, 1) != 1) return TOP_KEY_OTHER;
    } while (byte < '@' || byte > '~');
    return byte == 'A' ? TOP_KEY_UP : byte == 'B' ? TOP_KEY_DOWN : TOP_KEY_OTHER;
}

/* ---- the picture ---- */

void top_screen_draw(const struct top *top, const char *question)
{
    struct canvas canvas = {.columns = 80, .rows = 24};
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) {
        canvas.columns = size.ws_col;
        canvas.rows = size.ws_row;
    }
    canvas.limit = canvas.rows - 1;
    buffer_append_text(&canvas.out, "\033[H");
    draw_head(&canvas, top);
    draw_nodes(&canvas, top);
    if (top->selected < top->count) draw_selected(&canvas, &top->nodes[top->selected]);
    draw_events(&canvas, top);
    while (canvas.row < canvas.limit) line(&canvas, "", "%s", "");
    canvas.limit = canvas.rows;
    if (question != NULL)
        line(&canvas, "1", "%s", question);
    else
        line(&canvas, "7", "%s", canvas.columns > (int)sizeof KEYS ? KEYS : KEYS_SHORT);
    buffer_append_text(&canvas.out, "\033[0m");
    fwrite(canvas.out.data, 1, canvas.out.size, stdout);
    fflush(stdout);
    buffer_deinit(&canvas.out);
}

static bool colours(void)
{
    const char *no_colour = getenv("NO_COLOR");
    return no_colour == NULL || no_colour[0] == 0;
}

/* A row, cut where the screen ends. `style`: the parameters of SGR. Bytes are columns: what nodes send that is no
 * printable ASCII is shown as ?. */
static void line(struct canvas *canvas, const char *style, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    if (canvas->row >= canvas->limit) return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    size_t size = strlen(text);
    if (size > (size_t)canvas->columns) size = (size_t)canvas->columns;
    for (size_t i = 0; i < size; i++) {
        if (text[i] < ' ' || text[i] > '~') text[i] = '?';
    }
    bool plain = style[0] == 0 || (style[0] == '3' && !colours());
    buffer_append_format(&canvas->out, "\033[%sm%.*s\033[0m\033[K%s", plain ? "0" : style, (int)size, text,
                         canvas->row + 1 < canvas->rows ? "\r\n" : "");
    canvas->row++;
}

static void draw_head(struct canvas *canvas, const struct top *top)
{
    uint64_t commit = 0;
    double rate = 0;
    char text[16];
    const char *latency = "-"; /* what commits take is known where they are proposed */
    for (size_t i = 0; i < top->count; i++) {
        const struct top_node *node = &top->nodes[i];
        if (node->answers && node->commit_index > commit) commit = node->commit_index;
        if (node->answers && node->commits.per_second > rate) rate = node->commits.per_second;
        if (node->answers && strcmp(node->id, top->leader) == 0 && node->latency[0] != 0) latency = node->latency;
    }
    line(canvas, "1", "cluster %s   %s%s   term %" PRIu64 "   %" PRIu64 " election%s seen", top->cluster,
         top->leader[0] != 0 ? "leader " : "NO LEADER", top->leader, top->term, top->elections,
         top->elections == 1 ? "" : "s");
    line(canvas, "", "commit %" PRIu64 "   %s commits/s   latency %s", commit, amount(rate, text), latency);
    line(canvas, "", "%s", "");
}

static void draw_nodes(struct canvas *canvas, const struct top *top)
{
    uint64_t end = 0, lowest = UINT64_MAX;
    for (size_t i = 0; i < top->count; i++) {
        const struct top_node *node = &top->nodes[i];
        if (!node->answers) continue;
        if (node->last_index > end) end = node->last_index;
        if (node->commit_index < lowest) lowest = node->commit_index;
    }
    uint64_t window = lowest < end ? (end - lowest) * 5 / 4 : 0;
    if (window < BAR_ENTRIES_MIN) window = BAR_ENTRIES_MIN;
    int bar = canvas->columns - 68;
    if (bar < BAR_MIN) bar = BAR_MIN;
    line(canvas, "4", "  %-10s %-16s %5s %8s %-*s %5s %7s %8s", "id", "role", "term", "log", bar, "", "lag", "disk/s",
         "answer");
    for (size_t i = 0; i < top->count; i++) draw_node(canvas, top, &top->nodes[i], bar, end, window);
}

/* In the bar: # is committed there, + is in its log and not yet. It ends where the longest log ends. */
static void draw_node(struct canvas *canvas, const struct top *top, const struct top_node *node, int bar, uint64_t end,
                      uint64_t window)
{
    char chart[128] = "", role[40], lag[16] = "-", disk[16];
    size_t width = (size_t)bar < sizeof chart ? (size_t)bar : sizeof chart - 1;
    bool chosen = node == &top->nodes[top->selected], leads = strcmp(node->id, top->leader) == 0;
    if (!node->answers) {
        line(canvas, chosen ? "7" : "31", "%c %-10.10s %-8.8s does not answer   %s", chosen ? '>' : ' ', node->id,
             node->role, node->address);
        return;
    }
    for (size_t i = 0; i < width; i++) { /* a cell stands for the last of its entries */
        uint64_t back = window - window * (i + 1) / width;
        uint64_t index = end > back ? end - back : 0;
        chart[i] = index <= node->commit_index ? '#' : index <= node->last_index ? '+' : '.';
    }
    chart[width] = 0;
    snprintf(role, sizeof role, "%.8s %.8s", node->role, node->state);
    if (node->knows_lag) amount((double)node->lag, lag);
    line(canvas, chosen ? "7" : leads ? "32" : "", "%c %-10.10s %-16s %5" PRIu64 " %8" PRIu64 " %s %5s %7s %5.1f ms",
         chosen ? '>' : ' ', node->id, role, node->term, node->last_index, chart, lag,
         bytes(node->disk.per_second, disk), node->answer_ms);
}

static void draw_selected(struct canvas *canvas, const struct top_node *node)
{
    char rate[16], size[16], memory[16], up[16];
    line(canvas, "", "%s", "");
    line(canvas, "1", "%s   %s", node->id, node->address);
    if (!node->answers) return;
    line(canvas, "", "  commit %" PRIu64 "   applied %" PRIu64 "   %s commits/s   log from %" PRIu64,
         node->commit_index, node->applied_index, amount(node->commits.per_second, rate), node->first_index);
    if (node->snapshot_index > 0 || node->snapshot_taking) {
        line(canvas, "", "  snapshot at %" PRIu64 ", %s%s", node->snapshot_index,
             bytes((double)node->snapshot_size, size), node->snapshot_taking ? "; takes one now" : "");
    } else {
        line(canvas, "", "  no snapshot yet");
    }
    line(canvas, "", "  memory %s   processor %.0f%%   up %s", bytes((double)node->resident, memory),
         node->processor.per_second / 1e4, duration(node->uptime_ms, up));
}

static void draw_events(struct canvas *canvas, const struct top *top)
{
    int left = canvas->rows - canvas->row - 4 - (top->message[0] != 0 ? 1 : 0);
    size_t shown = left > 0 ? (size_t)left : 0;
    line(canvas, "", "%s", "");
    if (shown > top->event_count) shown = top->event_count;
    if (shown > 0) line(canvas, "4", "what happened");
    for (size_t i = top->event_count - shown; i < top->event_count; i++) line(canvas, "", "%s", top->events[i]);
    if (top->message[0] != 0) line(canvas, "33", "%s", top->message);
}

/* ---- numbers in few columns ---- */

static const char *amount(double value, char text[16])
{
    if (value < 10 && value != (double)(int)value) snprintf(text, 16, "%.1f", value);
    else if (value < 100000) snprintf(text, 16, "%.0f", value);
    else if (value < 1e7) snprintf(text, 16, "%.0fk", value / 1e3);
    else snprintf(text, 16, "%.0fM", value / 1e6);
    return text;
}

static const char *bytes(double value, char text[16])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    for (; value >= 1000 && unit + 1 < sizeof units / sizeof *units; unit++) value /= 1000;
    snprintf(text, 16, unit > 0 && value < 10 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return text;
}

static const char *duration(uint64_t ms, char text[16])
{
    uint64_t s = ms / 1000;
    if (s < 60) snprintf(text, 16, "%" PRIu64 " s", s);
    else if (s < 3600) snprintf(text, 16, "%" PRIu64 " min", s / 60);
    else if (s < 86400) snprintf(text, 16, "%" PRIu64 " h", s / 3600);
    else snprintf(text, 16, "%" PRIu64 " d", s / 86400 % 1000000);
    return text;
}
