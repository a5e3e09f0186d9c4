/*
 * Readable log lines with levels. One sink per process; the simulator and the specs bring theirs.
 *
 * A line of the default sink, on stderr:
 *
 *   2026-11-23T10:04:53.123Z INFO  raft   became leader of term 4
 *
 * It is written with one call, so lines of two threads do not mix.
 */
#ifndef MOONCLAVE_BASE_LOG_H
#define MOONCLAVE_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

const char *log_level_name(enum log_level level); /* "debug", "info", "warn", "error" */
bool log_level_from_name(const char *name, enum log_level *level);

#define LOG_TEXT_MAX 2048 /* a longer text is cut, and ends in "..." */

/* Lines below this level are dropped before they are formatted. INFO at first. */
extern enum log_level log_threshold;

/* Where lines go; set it before threads start. `text` is borrowed for the call, has no newline at
 * its end, and control characters in it are already replaced: what a stranger sent cannot forge a
 * line. */
extern void (*log_sink)(enum log_level level, const char *room, const char *text);

/* The default sink, for those who replace log_sink and want to pass lines on. */
void log_to_stderr(enum log_level level, const char *room, const char *text);

/* Lines as JSON objects, one a line: {"time", "level", "node", "role", "term", "room", "text"}; role and term once they
 * are known. Set both before threads start. */
extern bool log_as_json;
extern const char *log_node; /* this node's id; null: none */
void log_to_stderr_as_json(enum log_level level, const char *room, const char *text);
/* What later lines say of this node: `role` is a literal. From any thread. */
void log_note_role(const char *role, uint64_t term);
/* A line of level info and room "event" with `data`, one JSON value of `size` bytes, which is left out where it is too
 * long. Only where lines are JSON. */
void log_write_event(const char *type, const char *data, size_t size);

/* `room` is the folder the line comes from: "raft", "store", "net". Keeps errno. */
void log_write(enum log_level level, const char *room, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
