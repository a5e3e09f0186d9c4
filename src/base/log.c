/* Log lines: format, clean, hand to the sink. No allocation, so that it also works when memory is
 * what ran out. */
#include "base/log.h"

#include "base/mp.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_SIZE (LOG_TEXT_MAX + 128) /* the text, and the time, level and room before it */

static const char *const names[] = {"debug", "info", "warn", "error"};
static const char *const columns[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};

enum log_level log_threshold = LOG_LEVEL_INFO;
void (*log_sink)(enum log_level level, const char *room, const char *text) = log_to_stderr;

bool log_as_json;
const char *log_node;
static _Atomic(const char *) noted_role;
static _Atomic uint64_t noted_term;

#define JSON_LINE_SIZE (2 * LOG_TEXT_MAX + 1024)

static void clean(char *text);
static size_t stamp_now(char *out, size_t size);
static size_t json_head(char *line, size_t size, enum log_level level, const char *room);
static size_t json_text(char *line, size_t size, const char *text);
static void write_line(const char *line, size_t size);

const char *log_level_name(enum log_level level)
{
    return names[level];
}

bool log_level_from_name(const char *name, enum log_level *level)
{
    for (int i = LOG_LEVEL_DEBUG; i <= LOG_LEVEL_ERROR; i++) {
        if (strcasecmp(names[i], name) == 0) {
            *level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_write(enum log_level level, const char *room, const char *format, ...)
{
    if (level < log_threshold || !log_sink) return;
    int kept = errno;
    char text[LOG_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (size >= (int)sizeof text) memcpy(text + sizeof text - 4, "...", 4);
    clean(text);
    log_sink(level, room, text);
    errno = kept;
}

void log_to_stderr(enum log_level level, const char *room, const char *text)
{
    char stamp[40];
    char line[LINE_MAX_SIZE];
    stamp_now(stamp, sizeof stamp);
    int size = snprintf(line, sizeof line, "%s %s %-6.24s %s\n", stamp, columns[level], room, text);
    if (size >= (int)sizeof line) {
        size = (int)sizeof line;
        line[size - 1] = '\n';
    }
    write_line(line, (size_t)size);
}

static size_t stamp_now(char *out, size_t size)
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &parts);
    return used + (size_t)snprintf(out + used, size - used, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void write_line(const char *line, size_t size)
{
    ssize_t written = write(STDERR_FILENO, line, size);
    (void)written; /* there is nobody left to tell */
}

/* ---- as JSON ---- */

void log_note_role(const char *role, uint64_t term)
{
    atomic_store_explicit(&noted_term, term, memory_order_relaxed);
    atomic_store_explicit(&noted_role, role, memory_order_release);
}

void log_to_stderr_as_json(enum log_level level, const char *room, const char *text)
{
    char line[JSON_LINE_SIZE];
    size_t size = json_head(line, sizeof line, level, room);
    size += (size_t)snprintf(line + size, sizeof line - size, ",\"text\":");
    size += json_text(line + size, sizeof line - size - 2, text);
    memcpy(line + size, "}\n", 2);
    write_line(line, size + 2);
}

void log_write_event(const char *type, const char *data, size_t size)
{
    char line[JSON_LINE_SIZE];
    if (!log_as_json || log_threshold > LOG_LEVEL_INFO) return;
    size_t used = json_head(line, sizeof line, LOG_LEVEL_INFO, "event");
    used += (size_t)snprintf(line + used, sizeof line - used, ",\"text\":\"%s\",\"event\":\"%s\"", type, type);
    if (size < sizeof line - used - 16)
        used += (size_t)snprintf(line + used, sizeof line - used, ",\"data\":%.*s", (int)size, data);
    memcpy(line + used, "}\n", 2);
    write_line(line, used + 2);
}

/* Rooms and roles are words of ours, an id has no quotes. */
static size_t json_head(char *line, size_t size, enum log_level level, const char *room)
{
    char stamp[40];
    stamp_now(stamp, sizeof stamp);
    const char *role = atomic_load_explicit(&noted_role, memory_order_acquire);
    int used = snprintf(line, size, "{\"time\":\"%s\",\"level\":\"%s\"", stamp, names[level]);
    if (log_node != NULL)
        used += snprintf(line + used, size - (size_t)used, ",\"node\":\"%.64s\"", log_node);
    if (role != NULL)
        used += snprintf(line + used, size - (size_t)used, ",\"role\":\"%s\",\"term\":%" PRIu64, role,
                         atomic_load_explicit(&noted_term, memory_order_relaxed));
    used += snprintf(line + used, size - (size_t)used, ",\"room\":\"%.24s\"", room);
    return (size_t)used;
}

/* With its quotes. Control characters are gone (clean); of a text that is no UTF-8, as a cut one may be, only ASCII
 * stays. There is room for every text of LOG_TEXT_MAX. */
static size_t json_text(char *line, size_t size, const char *text)
{
    bool sound = utf8_valid(slice_text(text));
    size_t used = 0;
    line[used++] = '"';
    for (; *text != 0 && used + 3 < size; text++) {
        if (*text == '"' || *text == '\\') line[used++] = '\\';
        bool plain = sound || (unsigned char)*text < 0x80;
        line[used++] = plain ? *text : '?';
    }
    line[used++] = '"';
    return used;
}

/* Also drops newlines at the end, so that a caller's habit does not leave empty lines. */
static void clean(char *text)
{
    size_t size = strlen(text);
    while (size && text[size - 1] == '\n') text[--size] = 0;
    for (size_t i = 0; i < size; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) text[i] = ' ';
    }
}
