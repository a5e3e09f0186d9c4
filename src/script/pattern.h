/*
 * Lua patterns, matched with a budget: every character looked at is a step, so that a pattern that
 * backtracks for seconds ends like any other endless loop. Same language as the Lua manual's
 * section 6.4.1.
 */
#ifndef MOONCLAVE_SCRIPT_PATTERN_H
#define MOONCLAVE_SCRIPT_PATTERN_H

#include "base/buffer.h"

#include <lua.h>
#include <stdbool.h>

#define PATTERN_CAPTURES_MAX 32

/* One attempt after another on one subject; captures are those of the last match. */
struct pattern {
    lua_State *L;
    const uint8_t *subject, *subject_end;
    const uint8_t *pattern_end;
    uint64_t steps; /* not charged yet */
    int depth;      /* of recursion left */
    int count;      /* captures begun */
    struct {
        const uint8_t *start;
        ptrdiff_t size; /* CAPTURE_OPEN, CAPTURE_POSITION */
    } captures[PATTERN_CAPTURES_MAX];
};
#define CAPTURE_OPEN     (-1)
#define CAPTURE_POSITION (-2)

void pattern_init(struct pattern *pattern, lua_State *L, struct slice subject, struct slice text);
/* Does the pattern at `text` (within the one given, behind a '^') match at `at`? The end of the
 * match, or null. Raises for a malformed pattern and for a spent budget. */
const uint8_t *pattern_match(struct pattern *pattern, const uint8_t *at, const uint8_t *text);
/* Charges what was not charged yet: at the end of use. */
void pattern_finish(struct pattern *pattern);
/* Pushes capture i (from 0) of the match [start, end); a pattern without captures has the whole
 * match as its first. */
void pattern_push_capture(struct pattern *pattern, int i, const uint8_t *start, const uint8_t *end);
/* Pushes all; with `whole`, the whole match where there are none. Returns how many. */
int pattern_push_captures(struct pattern *pattern, const uint8_t *start, const uint8_t *end,
                          bool whole);

#endif
