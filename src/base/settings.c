/*
 * The settings table as functions. A setting is found by its row; its value lies in struct settings
 * at the same place in the order. Errors name the setting, what was given and what would do.
 */
#include "base/settings.h"

#include "base/guess.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define NODE       SETTING_NODE
#define REPLICATED SETTING_REPLICATED
static const struct setting_row rows[SETTINGS_COUNT] = {
#define X(name, initial, least, most, unit, scope, live, help) \
    {#name, initial, least, most, unit, scope, live, help},
    SETTINGS_TABLE(X)
#undef X
};
#undef NODE
#undef REPLICATED

static const size_t offsets[SETTINGS_COUNT] = {
#define X(name, initial, least, most, unit, scope, live, help) offsetof(struct settings, name),
    SETTINGS_TABLE(X)
#undef X
};

/* What may stand behind a number, by the setting's own unit, from the smallest on. */
static const struct scale {
    const char *unit, *suffix;
    uint64_t factor;
} scales[] = {
    {"bytes", "B", 1},
    {"bytes", "KiB", UINT64_C(1) << 10},
    {"bytes", "MiB", UINT64_C(1) << 20},
    {"bytes", "GiB", UINT64_C(1) << 30},
    {"bytes", "TiB", UINT64_C(1) << 40},
    {"ms", "ms", 1},
    {"ms", "s", 1000},
    {"ms", "min", 60000},
    {"ms", "h", 3600000},
    {"ms", "d", 86400000},
};
#define SCALES (sizeof scales / sizeof *scales)

static bool same_name(const char *given, const char *name);
static enum error_code unknown(const char *name, struct error *error);
static bool parse(const struct setting_row *row, const char *text, uint64_t *value);
static bool parse_switch(const char *text, uint64_t *value);
static size_t parse_number(const char *text, uint64_t *value);
static const char *units_of(const struct setting_row *row);

void settings_init(struct settings *settings)
{
#define X(name, initial, least, most, unit, scope, live, help) settings->name = initial;
    SETTINGS_TABLE(X)
#undef X
}

const struct setting_row *settings_rows(unsigned *count)
{
    *count = SETTINGS_COUNT;
    return rows;
}

const struct setting_row *settings_find(const char *name)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (same_name(name, rows[i].name)) return &rows[i];
    }
    return NULL;
}

unsigned settings_place(const struct setting_row *row)
{
    assert(row >= rows && row < rows + SETTINGS_COUNT);
    return (unsigned)(row - rows);
}

const char *settings_nearest(const char *wrong)
{
    const char *best = NULL;
    size_t least = SIZE_MAX, distance;
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (!guess_is_near(wrong, rows[i].name, &distance) || distance >= least) continue;
        best = rows[i].name;
        least = distance;
    }
    return best;
}

uint64_t settings_get(const struct settings *settings, const struct setting_row *row)
{
    uint64_t value;
    memcpy(&value, (const char *)settings + offsets[settings_place(row)], sizeof value);
    return value;
}

enum error_code settings_set(struct settings *settings, const char *name, uint64_t value,
                             struct error *error)
{
    const struct setting_row *row = settings_find(name);
    if (!row) return unknown(name, error);
    if (value < row->least || value > row->most) {
        return error_set(error, ERROR_USAGE,
                         "%s is %" PRIu64 " %s: it must be from %" PRIu64 " to %" PRIu64, row->name,
                         value, row->unit, row->least, row->most);
    }
    memcpy((char *)settings + offsets[settings_place(row)], &value, sizeof value);
    return ERROR_OK;
}

enum error_code settings_set_text(struct settings *settings, const char *name, const char *text,
                                  struct error *error)
{
    const struct setting_row *row = settings_find(name);
    if (!row) return unknown(name, error);
    uint64_t value;
    if (!parse(row, text, &value)) {
        return error_set(error, ERROR_USAGE,
                         "%s is \"%.64s\": it must be a whole number from %" PRIu64 " to %" PRIu64
                         " (%s)%s",
                         row->name, text, row->least, row->most, row->unit, units_of(row));
    }
    return settings_set(settings, name, value, error);
}

static enum error_code unknown(const char *name, struct error *error)
{
    const char *meant = settings_nearest(name);
    if (meant == NULL) return error_set(error, ERROR_USAGE, "there is no setting %.64s", name);
    return error_set(error, ERROR_USAGE, "there is no setting %.64s: did you mean %s?", name, meant);
}

static bool same_name(const char *given, const char *name)
{
    for (; *name; given++, name++) {
        if (*given != *name && !(*given == '-' && *name == '_')) return false;
    }
    return *given == 0;
}

/* ---- values as text ---- */

static bool parse(const struct setting_row *row, const char *text, uint64_t *value)
{
    if (strcmp(text, "default") == 0) {
        *value = row->initial;
        return true;
    }
    if (row->most == 1 && parse_switch(text, value)) return true;
    size_t digits = parse_number(text, value);
    if (digits == 0) return false;
    if (text[digits] == 0) return true;
    for (size_t i = 0; i < SCALES; i++) {
        const struct scale *scale = &scales[i];
        if (strcmp(scale->unit, row->unit) != 0 || strcmp(scale->suffix, text + digits) != 0) continue;
        if (*value > UINT64_MAX / scale->factor) return false;
        *value *= scale->factor;
        return true;
    }
    return false;
}

static bool parse_switch(const char *text, uint64_t *value)
{
    static const char *const words[][2] = {{"false", "off"}, {"true", "on"}};
    for (uint64_t is = 0; is < 2; is++) {
        if (strcmp(text, words[is][0]) != 0 && strcmp(text, words[is][1]) != 0) continue;
        *value = is;
        return true;
    }
    return false;
}

/* Digits only: strtoull would take blanks, signs and 0x, and wrap a minus around. How many; 0: none, or too many. */
static size_t parse_number(const char *text, uint64_t *value)
{
    size_t count = 0;
    *value = 0;
    for (; text[count] >= '0' && text[count] <= '9'; count++) {
        uint64_t digit = (uint64_t)(text[count] - '0');
        if (*value > (UINT64_MAX - digit) / 10) return 0;
        *value = *value * 10 + digit;
    }
    return count;
}

static const char *units_of(const struct setting_row *row)
{
    if (strcmp(row->unit, "bytes") == 0) return ", or with a unit: B, KiB, MiB, GiB, TiB";
    if (strcmp(row->unit, "ms") == 0) return ", or with a unit: ms, s, min, h, d";
    return "";
}

/* Zero needs no unit. */
const char *settings_format(const struct setting_row *row, uint64_t value, char out[SETTING_TEXT_MAX])
{
    const struct scale *best = NULL;
    for (size_t i = 0; i < SCALES && value > 0; i++) {
        bool fits = strcmp(scales[i].unit, row->unit) == 0 && value % scales[i].factor == 0;
        if (fits) best = &scales[i];
    }
    bool plain = best == NULL || strcmp(best->suffix, "B") == 0;
    snprintf(out, SETTING_TEXT_MAX, "%" PRIu64 "%s", plain ? value : value / best->factor, plain ? "" : best->suffix);
    return out;
}

/* ---- several at once ---- */

void settings_take(struct settings *to, const struct settings *from, enum setting_scope scope)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (rows[i].scope == scope) memcpy((char *)to + offsets[i], (const char *)from + offsets[i], sizeof(uint64_t));
    }
}

enum error_code settings_change_add(struct settings_change *change, const char *name, const char *text, uint64_t number,
                                    struct error *error)
{
    enum error_code code = text != NULL ? settings_set_text(&change->values, name, text, error)
                                        : settings_set(&change->values, name, number, error);
    if (code != ERROR_OK) return code;
    bool *named = &change->named[settings_place(settings_find(name))];
    if (*named) return error_set(error, ERROR_USAGE, "%.64s is named twice", name);
    *named = true;
    change->count++;
    return ERROR_OK;
}

void settings_change_make(const struct settings_change *change, struct settings *settings)
{
    for (size_t i = 0; i < SETTINGS_COUNT; i++) {
        if (!change->named[i]) continue;
        memcpy((char *)settings + offsets[i], (const char *)&change->values + offsets[i], sizeof(uint64_t));
    }
}

const char *settings_source_name(enum setting_source source)
{
    static const char *const names[SETTING_SOURCES] = {
        [SETTING_DEFAULT] = "default", [SETTING_FILE] = "file", [SETTING_FLAG] = "flag",
        [SETTING_CLUSTER] = "cluster", [SETTING_CHANGED] = "changed",
    };
    return source < SETTING_SOURCES ? names[source] : "unknown";
}
