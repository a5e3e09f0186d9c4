/*
 * The matcher: backtracking over the pattern's text. An item is one character class with an
 * optional repetition, or one of the special forms: ( ) %b %f %1 and a final $. `match` walks items
 * in a loop and recurses only where there is a choice. Classes are those of the "C" locale, by
 * their own tables: nothing here depends on the machine.
 */
#include "script/pattern.h"

#include "script/budget.h"

#include <lauxlib.h>
#include <string.h>

#define DEPTH_MAX     200
#define STEPS_AT_ONCE 4096

static const uint8_t *match(struct pattern *p, const uint8_t *s, const uint8_t *t);

void pattern_init(struct pattern *pattern, lua_State *L, struct slice subject, struct slice text)
{
    pattern->L = L;
    pattern->subject = subject.data;
    pattern->subject_end = subject.data + subject.size;
    pattern->pattern_end = text.data + text.size;
    pattern->steps = 0;
    pattern->count = 0;
}

const uint8_t *pattern_match(struct pattern *pattern, const uint8_t *at, const uint8_t *text)
{
    pattern->count = 0;
    pattern->depth = DEPTH_MAX;
    return match(pattern, at, text);
}

void pattern_finish(struct pattern *pattern)
{
    uint64_t steps = pattern->steps;
    pattern->steps = 0;
    budget_charge(pattern->L, steps);
}

void pattern_push_capture(struct pattern *pattern, int i, const uint8_t *start, const uint8_t *end)
{
    lua_State *L = pattern->L;
    if (i >= pattern->count) {
        if (i > 0) luaL_error(L, "invalid capture index %%%d", i + 1);
        lua_pushlstring(L, (const char *)start, (size_t)(end - start));
    } else if (pattern->captures[i].size == CAPTURE_POSITION) {
        lua_pushinteger(L, pattern->captures[i].start - pattern->subject + 1);
    } else {
        if (pattern->captures[i].size == CAPTURE_OPEN) luaL_error(L, "unfinished capture");
        lua_pushlstring(L, (const char *)pattern->captures[i].start,
                        (size_t)pattern->captures[i].size);
    }
}

int pattern_push_captures(struct pattern *pattern, const uint8_t *start, const uint8_t *end,
                          bool whole)
{
    int count = pattern->count == 0 && whole ? 1 : pattern->count;
    luaL_checkstack(pattern->L, count, "too many captures");
    for (int i = 0; i < count; i++) pattern_push_capture(pattern, i, start, end);
    return count;
}

static void step(struct pattern *p)
{
    if (++p->steps < STEPS_AT_ONCE) return;
    p->steps = 0;
    budget_charge(p->L, STEPS_AT_ONCE);
}

/* ---- classes of characters ---- */

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(int c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_upper(int c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_graphic(int c)
{
    return c > ' ' && c < 127;
}

static bool in_class(int c, int class)
{
    bool inside;
    switch (class | 0x20) {
    case 'a':
        inside = is_lower(c) || is_upper(c);
        break;
    case 'c':
        inside = c < ' ' || c == 127;
        break;
    case 'd':
        inside = is_digit(c);
        break;
    case 'g':
        inside = is_graphic(c);
        break;
    case 'l':
        inside = is_lower(c);
        break;
    case 'p':
        inside = is_graphic(c) && !is_digit(c) && !is_lower(c) && !is_upper(c);
        break;
    case 's':
        inside = c == ' ' || (c >= '\t' && c <= '\r');
        break;
    case 'u':
        inside = is_upper(c);
        break;
    case 'w':
        inside = is_digit(c) || is_lower(c) || is_upper(c);
        break;
    case 'x':
        inside = is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
        break;
    case 'z':
        inside = c == 0;
        break;
    default:
        return c == class; /* % before anything else stands for it */
    }
    if (!is_lower(class) && !is_upper(class)) return c == class;
    return is_upper(class) ? !inside : inside;
}

/* The end of the class that begins at t. A ']' right behind '[' or '[^' is a member of the set. */
static const uint8_t *class_end(struct pattern *p, const uint8_t *t)
{
    int first = *t++;
    if (first == '%') {
        if (t == p->pattern_end) luaL_error(p->L, "malformed pattern (ends with '%%')");
        return t + 1;
    }
    if (first != '[') return t;
    if (t < p->pattern_end && *t == '^') t++;
    for (bool member = true; member || t == p->pattern_end || *t != ']'; member = false) {
        if (t == p->pattern_end) luaL_error(p->L, "malformed pattern (missing ']')");
        if (*t++ == '%') {
            if (t == p->pattern_end) luaL_error(p->L, "malformed pattern (missing ']')");
            t++;
        }
    }
    return t + 1;
}

/* Is c in the set [t, end)? t is at '[', end behind ']'. */
static bool in_set(struct pattern *p, int c, const uint8_t *t, const uint8_t *end)
{
    bool negated = t[1] == '^';
    const uint8_t *last = end - 1;
    t += negated ? 2 : 1;
    while (t < last) {
        step(p);
        if (*t == '%') {
            if (in_class(c, t[1])) return !negated;
            t += 2;
        } else if (last - t > 2 && t[1] == '-') {
            if (t[0] <= c && c <= t[2]) return !negated;
            t += 3;
        } else {
            if (*t == c) return !negated;
            t++;
        }
    }
    return negated;
}

/* Does the character at s belong to the class [t, end)? */
static bool single(struct pattern *p, const uint8_t *s, const uint8_t *t, const uint8_t *end)
{
    step(p);
    if (s >= p->subject_end) return false;
    switch (*t) {
    case '.':
        return true;
    case '%':
        return in_class(*s, t[1]);
    case '[':
        return in_set(p, *s, t, end);
    default:
        return *t == *s;
    }
}

/* ---- special forms: each returns where the match goes on, or null ---- */

static const uint8_t *match_capture(struct pattern *p, const uint8_t *s, const uint8_t *t)
{
    bool position = t + 1 < p->pattern_end && t[1] == ')';
    if (p->count >= PATTERN_CAPTURES_MAX) luaL_error(p->L, "too many captures");
    p->captures[p->count].start = s;
    p->captures[p->count].size = position ? CAPTURE_POSITION : CAPTURE_OPEN;
    p->count++;
    const uint8_t *end = match(p, s, t + (position ? 2 : 1));
    if (!end) p->count--;
    return end;
}

static const uint8_t *match_capture_end(struct pattern *p, const uint8_t *s, const uint8_t *t)
{
    int i = p->count - 1;
    while (i >= 0 && p->captures[i].size != CAPTURE_OPEN) i--;
    if (i < 0) luaL_error(p->L, "invalid pattern capture");
    p->captures[i].size = s - p->captures[i].start;
    const uint8_t *end = match(p, s, t + 1);
    if (!end) p->captures[i].size = CAPTURE_OPEN;
    return end;
}

/* %bxy: t is behind the b. */
static const uint8_t *match_balance(struct pattern *p, const uint8_t *s, const uint8_t *t)
{
    if (p->pattern_end - t < 2) luaL_error(p->L, "malformed pattern (missing arguments to '%%b')");
    if (s >= p->subject_end || *s != t[0]) return NULL;
    size_t open = 1;
    for (s++; s < p->subject_end; s++) {
        step(p);
        if (*s == t[1]) {
            if (--open == 0) return s + 1;
        } else if (*s == t[0]) {
            open++;
        }
    }
    return NULL;
}

/* %f[set]: between a character outside the set and one inside. Returns the end of the set in the
 * pattern. */
static const uint8_t *match_frontier(struct pattern *p, const uint8_t *s, const uint8_t *t)
{
    if (t >= p->pattern_end || *t != '[') luaL_error(p->L, "missing '[' after '%%f' in pattern");
    const uint8_t *end = class_end(p, t);
    int before = s == p->subject ? 0 : s[-1];
    int here = s < p->subject_end ? *s : 0;
    return !in_set(p, before, t, end) && in_set(p, here, t, end) ? end : NULL;
}

/* %1 ... %9: what that capture took. */
static const uint8_t *match_back(struct pattern *p, const uint8_t *s, int digit)
{
    int i = digit - '1';
    if (i < 0 || i >= p->count || p->captures[i].size == CAPTURE_OPEN) {
        luaL_error(p->L, "invalid capture index %%%d", i + 1);
    }
    ptrdiff_t size = p->captures[i].size;
    if (size == CAPTURE_POSITION) return NULL;
    budget_charge_bytes(p->L, (uint64_t)size);
    if (p->subject_end - s < size || memcmp(p->captures[i].start, s, (size_t)size) != 0) {
        return NULL;
    }
    return s + size;
}

/* ---- repetitions of one class; t is the class, `end` behind it, at the sign ---- */

static const uint8_t *match_most(struct pattern *p, const uint8_t *s, const uint8_t *t,
                                 const uint8_t *end)
{
    ptrdiff_t least = *end == '+', most = 0;
    while (single(p, s + most, t, end)) most++;
    for (; most >= least; most--) {
        const uint8_t *result = match(p, s + most, end + 1);
        if (result) return result;
    }
    return NULL;
}

static const uint8_t *match_least(struct pattern *p, const uint8_t *s, const uint8_t *t,
                                  const uint8_t *end)
{
    for (;; s++) {
        const uint8_t *result = match(p, s, end + 1);
        if (result) return result;
        if (!single(p, s, t, end)) return NULL;
    }
}

/* What stands at t, as far as the loop below needs to know it. */
static bool is_special(struct pattern *p, const uint8_t *t, uint8_t *form)
{
    *form = *t;
    if (*t == '(' || *t == ')') return true;
    if (*t == '$') return t + 1 == p->pattern_end;
    if (*t != '%' || t + 1 == p->pattern_end) return false;
    *form = is_digit(t[1]) ? '0' : t[1];
    return t[1] == 'b' || t[1] == 'f' || is_digit(t[1]);
}

static const uint8_t *match_items(struct pattern *p, const uint8_t *s, const uint8_t *t)
{
    while (t < p->pattern_end) {
        uint8_t form;
        step(p);
        if (is_special(p, t, &form)) {
            switch (form) {
            case '(':
                return match_capture(p, s, t);
            case ')':
                return match_capture_end(p, s, t);
            case '$':
                return s == p->subject_end ? s : NULL;
            case 'b':
                s = match_balance(p, s, t + 2);
                t += 4;
                break;
            case 'f':
                t = match_frontier(p, s, t + 2);
                if (!t) return NULL;
                break;
            default:
                s = match_back(p, s, t[1]);
                t += 2;
                break;
            }
            if (!s) return NULL;
            continue;
        }
        const uint8_t *end = class_end(p, t);
        uint8_t sign = end < p->pattern_end ? *end : 0;
        if (sign == '*' || sign == '+') return match_most(p, s, t, end);
        if (sign == '-') return match_least(p, s, t, end);
        bool one = single(p, s, t, end);
        if (sign == '?') {
            const uint8_t *result = one ? match(p, s + 1, end + 1) : NULL;
            if (result) return result;
            t = end + 1;
            continue;
        }
        if (!one) return NULL;
        s++;
        t = end;
    }
    return s;
}

static const uint8_t *match(struct pattern *p, const uint8_t *s, const uint8_t *t)
{
    if (p->depth-- == 0) luaL_error(p->L, "pattern too complex");
    const uint8_t *end = match_items(p, s, t);
    p->depth++;
    return end;
}
