/*
 * Every error Moonclave can report, in one table: adding one is adding a row.
 *
 * A row is: name, number (frozen: it travels on the wire), code text (frozen: clients match on it), HTTP status,
 * outcome, and what to tell a person when nothing more precise is known.
 *
 * The outcome answers the one question a client must be able to ask: may my command still take effect?
 *   DEFINITE  certainly not done, now or later
 *   UNKNOWN   it may or may not have been done, or may yet be
 * It speaks of the request that it answers. What an earlier request with the same session and sequence was told, or the
 * same key, stays as it was: one whose outcome is unknown does not become undone because a retry was refused.
 */
#ifndef MOONCLAVE_BASE_ERROR_H
#define MOONCLAVE_BASE_ERROR_H

#include <stdbool.h>
#include <stddef.h>

/* clang-format off */
#define ERROR_TABLE(X) \
    X(OK,              0, "ok",              200, DEFINITE, "done") \
    X(REJECTED,        1, "rejected",        409, DEFINITE, "the state machine refused the command") \
    X(NOT_LEADER,      2, "not_leader",      503, DEFINITE, "this node does not lead and knows no leader") \
    X(TIMEOUT,         3, "timeout",         504, UNKNOWN,  "no outcome in time: it may or may not have been done") \
    X(UNAVAILABLE,     4, "unavailable",     503, DEFINITE, "the cluster cannot serve this now: try again") \
    X(OVERLOADED,      5, "overloaded",      429, DEFINITE, "too much is waiting: try again later") \
    X(TOO_LARGE,       6, "too_large",       413, DEFINITE, "larger than the limit") \
    X(BAD_REQUEST,     7, "bad_request",     400, DEFINITE, "the request is malformed") \
    X(COMMAND_FAILED,  8, "command_failed",  500, DEFINITE, "the script raised an error; nothing was changed") \
    X(NO_SUCH_COMMAND, 9, "no_such_command", 404, DEFINITE, "the app has no command or query of that name") \
    X(SESSION_EXPIRED, 10, "session_expired", 409, DEFINITE, "the session has expired") \
    X(UNAUTHORIZED,    11, "unauthorized",   401, DEFINITE, "not allowed") \
    X(SHUTTING_DOWN,   12, "shutting_down",  503, DEFINITE, "this node is stopping: use another") \
    X(NOT_FOUND,       13, "not_found",      404, DEFINITE, "there is no such thing") \
    X(DISK_FULL,       14, "disk_full",      503, DEFINITE, "the disk is full: make room, the node goes on by itself") \
    X(IO,              15, "io_error",       500, UNKNOWN,  "the disk failed: this node stops") \
    X(CORRUPT,         16, "corrupt",        500, UNKNOWN,  "stored data is damaged: this node stops") \
    X(FOREIGN,         17, "foreign",        409, DEFINITE, "this belongs to another node or cluster") \
    X(VERSION,         18, "version",        409, DEFINITE, "written by a newer or unknown version") \
    X(WIPED,           19, "wiped",          409, DEFINITE, "this node lost its data: remove it and let it join again") \
    X(SCRIPT,          20, "script_error",   500, DEFINITE, "the app's script is not valid") \
    X(USAGE,           21, "usage",          400, DEFINITE, "the command line or a setting is not valid") \
    X(INTERNAL,        22, "internal",       500, UNKNOWN,  "an internal error") \
    X(CONFLICT,        23, "conflict",       409, DEFINITE, "it has changed meanwhile: look again, then decide") \
    X(FORGOTTEN,       24, "forgotten",      409, DEFINITE, "the session keeps no reply to a sequence that old: it was not done now") \
    X(REUSED,          25, "reused",         409, DEFINITE, "this key or sequence was used for another command: it was not done") \
    X(REMOVED,         26, "removed",        409, DEFINITE, "this node was removed from the cluster: to come back it joins with an empty data folder") \
    X(REFUSED,         30, "refused",        403, DEFINITE, "the cluster's membership policy does not allow it")
/* clang-format on */

enum error_code {
#define X(name, number, text, http, outcome, help) ERROR_##name = number,
    ERROR_TABLE(X)
#undef X
};

#define ERROR_TEXT_MAX 512

/* A failure on its way to a person: what, where, what to do. Plain memory, no ownership. */
struct error {
    enum error_code code;
    char text[ERROR_TEXT_MAX];
};

/* Sets code and formatted text, which is cut where it is too long (error_text_end); a null error is allowed. Returns
 * code, so that `return error_set(...)` reads well. */
enum error_code error_set(struct error *error, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Takes off what a cut has left of a character at the end: a UTF-8 text stays one, and so stays text in JSON. */
void error_text_end(char *text);

const char *error_name(enum error_code code);        /* "not_leader"; "internal" for a number not in the table */
const char *error_help(enum error_code code);        /* the sentence for people */
int error_http_status(enum error_code code);         /* 503 */
bool error_is_definite(enum error_code code);        /* certainly not done */
bool error_from_number(unsigned number, enum error_code *code);              /* false: no such row */
bool error_from_name(const char *name, size_t size, enum error_code *code);  /* false: no such row */

#endif
