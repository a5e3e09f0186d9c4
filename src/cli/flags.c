/* Flags by table: see flags.h. */
#include "cli/flags.h"

#include "base/guess.h"
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_SIZE 64 /* a longer one is no flag of ours */
#define HELP_COLUMN 28

static enum error_code parse_one(const struct flags *flags, int argc, char **argv, int *at, void *target,
                                 struct settings *settings, struct error *error);
static enum error_code set_row(const struct flags *flags, const struct flag *row, const char *value, void *target,
                               struct error *error);
static enum error_code set_integer(const struct flags *flags, const struct flag *row, const char *text, uint64_t *field,
                                   struct error *error);
static bool read_number(const char *text, uint64_t *value);
static enum error_code unknown(const struct flags *flags, const char *name, struct error *error);
static bool same_name(const char *a, const char *b);
static void print_flag(FILE *out, const char *name, const char *value, const char *help);

enum error_code flags_parse(const struct flags *flags, int argc, char **argv, void *target,
                            struct settings *settings, const char **arguments, struct error *error)
{
    size_t given = 0;
    bool flags_end = false;
    for (size_t i = 0; i < flags->argument_count; i++) arguments[i] = NULL;
    for (int at = 1; at < argc; at++) {
        if (!flags_end && strcmp(argv[at], "--") == 0) {
            flags_end = true;
        } else if (!flags_end && argv[at][0] == '-' && argv[at][1] != 0) {
            enum error_code code = parse_one(flags, argc, argv, &at, target, settings, error);
            if (code != ERROR_OK) return code;
        } else if (given < flags->argument_count) {
            arguments[given++] = argv[at];
        } else {
            return error_set(error, ERROR_USAGE, "%s: unexpected argument \"%s\": see `%s help %s`",
                             flags->command, argv[at], cli_program(), flags->command);
        }
    }
    return ERROR_OK;
}

static enum error_code parse_one(const struct flags *flags, int argc, char **argv, int *at, void *target,
                                 struct settings *settings, struct error *error)
{
    char name[NAME_MAX_SIZE + 1];
    bool yes = strcmp(argv[*at], "-y") == 0 && flags_find(flags, "yes") != NULL;
    const char *text = yes ? "--yes" : argv[*at];
    const char *begin = text + 1 + (text[1] == '-');
    size_t size = strcspn(begin, "=");
    const char *value = begin[size] == '=' ? begin + size + 1 : NULL;
    if (text[1] != '-' || size == 0 || size > NAME_MAX_SIZE) return unknown(flags, text, error);
    memcpy(name, begin, size);
    name[size] = 0;
    const struct flag *row = flags_find(flags, name);
    bool takes_value = row != NULL ? row->type != FLAG_BOOLEAN : flags->settings && settings_find(name) != NULL;
    if (takes_value && value == NULL && *at + 1 < argc) value = argv[++*at];
    return flags_set(flags, name, value, target, settings, error);
}

enum error_code flags_set(const struct flags *flags, const char *name, const char *value, void *target,
                          struct settings *settings, struct error *error)
{
    const struct flag *row = flags_find(flags, name);
    bool is_setting = row == NULL && flags->settings && settings_find(name) != NULL;
    if (row == NULL && !is_setting) return unknown(flags, name, error);
    if (value == NULL && (is_setting || row->type != FLAG_BOOLEAN)) {
        return error_set(error, ERROR_USAGE, "%s: --%s needs a value: --%s %s", flags->command, name, name,
                         is_setting ? "VALUE" : row->value);
    }
    if (is_setting) return settings_set_text(settings, name, value, error);
    return set_row(flags, row, value, target, error);
}

const struct flag *flags_find(const struct flags *flags, const char *name)
{
    for (size_t i = 0; i < flags->count; i++) {
        if (same_name(flags->rows[i].name, name)) return &flags->rows[i];
    }
    return NULL;
}

/* ---- values ---- */

static enum error_code set_row(const struct flags *flags, const struct flag *row, const char *value, void *target,
                               struct error *error)
{
    void *field = (char *)target + row->offset;
    switch (row->type) {
    case FLAG_TEXT:
        *(const char **)field = value;
        return ERROR_OK;
    case FLAG_INTEGER:
        return set_integer(flags, row, value, field, error);
    case FLAG_BOOLEAN:
        *(bool *)field = value == NULL || strcmp(value, "true") == 0;
        if (value == NULL || strcmp(value, "true") == 0 || strcmp(value, "false") == 0) return ERROR_OK;
        return error_set(error, ERROR_USAGE, "%s: --%s=%s: it is true or false, or given without a value",
                         flags->command, row->name, value);
    }
    return ERROR_INTERNAL;
}

static enum error_code set_integer(const struct flags *flags, const struct flag *row, const char *text, uint64_t *field,
                                   struct error *error)
{
    uint64_t value;
    if (!read_number(text, &value)) {
        return error_set(error, ERROR_USAGE, "%s: --%s %s: not a whole number", flags->command, row->name, text);
    }
    if (value < row->least || value > row->most) {
        return error_set(error, ERROR_USAGE, "%s: --%s %s: it must be %" PRIu64 " to %" PRIu64, flags->command,
                         row->name, text, row->least, row->most);
    }
    *field = value;
    return ERROR_OK;
}

/* Digits only: strtoull alone would take blanks and a sign. */
static bool read_number(const char *text, uint64_t *value)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    *value = strtoull(text, &end, 10);
    return errno == 0 && *end == 0;
}

/* ---- names ---- */

static enum error_code unknown(const struct flags *flags, const char *name, struct error *error)
{
    const char *bare = name + strspn(name, "-");
    struct flags_guess guess = {.wrong = bare};
    for (size_t i = 0; i < flags->count; i++) flags_guess_add(&guess, flags->rows[i].name);
    unsigned settings_count = 0;
    const struct setting_row *settings = settings_rows(&settings_count);
    for (unsigned i = 0; flags->settings && i < settings_count; i++) flags_guess_add(&guess, settings[i].name);
    char best[NAME_MAX_SIZE + 1] = "";
    for (size_t i = 0; guess.best != NULL && i < NAME_MAX_SIZE && guess.best[i] != 0; i++) {
        best[i] = guess.best[i] == '_' ? '-' : guess.best[i];
        best[i + 1] = 0;
    }
    const char *dashes = bare == name ? "--" : "";
    if (best[0] == 0) {
        return error_set(error, ERROR_USAGE, "%s: there is no flag %s%.*s: see `%s help %s`", flags->command,
                         dashes, NAME_MAX_SIZE, name, cli_program(), flags->command);
    }
    return error_set(error, ERROR_USAGE, "%s: there is no flag %s%.*s: did you mean --%s?", flags->command, dashes,
                     NAME_MAX_SIZE, name, best);
}

static bool same_name(const char *a, const char *b)
{
    for (; *a != 0 && *b != 0; a++, b++) {
        char left = *a == '_' ? '-' : *a, right = *b == '_' ? '-' : *b;
        if (left != right) return false;
    }
    return *a == *b;
}

void flags_guess_add(struct flags_guess *guess, const char *name)
{
    size_t size = strcspn(guess->wrong, "=");
    if (size == 0 || size > NAME_MAX_SIZE || strlen(name) > NAME_MAX_SIZE) return;
    char wrong[NAME_MAX_SIZE + 1];
    memcpy(wrong, guess->wrong, size);
    wrong[size] = 0;
    size_t distance;
    if (!guess_is_near(wrong, name, &distance)) return;
    if (guess->best != NULL && distance >= guess->distance) return;
    guess->best = name;
    guess->distance = distance;
}

/* ---- help ---- */

void flags_print(const struct flags *flags, FILE *out)
{
    if (flags->count > 0) fprintf(out, "\nFlags:\n");
    for (size_t i = 0; i < flags->count; i++) {
        if (flags->rows[i].help == NULL) continue;
        print_flag(out, flags->rows[i].name, flags->rows[i].value, flags->rows[i].help);
    }
    if (!flags->settings) return;
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    fprintf(out, "\nSettings, flags as well (default; unit), as in --waiting-bytes-max 64MiB or --http-idle-ms 30s:\n");
    for (unsigned i = 0; i < count; i++) {
        char text[256];
        char initial[SETTING_TEXT_MAX];
        snprintf(text, sizeof text, "%s (%s; %s)", rows[i].help, settings_format(&rows[i], rows[i].initial, initial),
                 rows[i].unit);
        print_flag(out, rows[i].name, "N", text);
    }
}

static void print_flag(FILE *out, const char *name, const char *value, const char *help)
{
    int column = fprintf(out, "  --");
    for (; *name != 0; name++, column++) fputc(*name == '_' ? '-' : *name, out);
    if (value != NULL) column += fprintf(out, " %s", value);
    if (column > HELP_COLUMN - 2) {
        fputc('\n', out);
        column = 0;
    }
    fprintf(out, "%*s%s\n", HELP_COLUMN - column, "", help);
}
