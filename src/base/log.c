/* Log lines: format, clean, hand to the sink. No allocation, so that it also works when memory is
 * what ran out. */
#include "base/log.h"

#include <errno.h>
#include <stdarg.h>
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

static void clean(char *text);

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
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    char stamp[32];
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &parts);
    char line[LINE_MAX_SIZE];
    int size = snprintf(line, sizeof line, "%s.%03dZ %s %-6.24s %s\n", stamp,
                        (int)(now.tv_nsec / 1000000), columns[level], room, text);
    if (size >= (int)sizeof line) {
        size = (int)sizeof line;
        line[size - 1] = '\n';
    }
    ssize_t written = write(STDERR_FILENO, line, (size_t)size);
    (void)written; /* there is nobody left to tell */
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
