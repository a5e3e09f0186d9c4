/* The error table as functions: everything here is read from the rows in error.h. No state, no
 * allocation. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum outcome { DEFINITE, UNKNOWN };

struct error_row {
    const char *name;
    const char *help;
    int http;
    enum outcome outcome;
};

static const struct error_row rows[] = {
#define X(name, number, text, http, outcome, help) [number] = {text, help, http, outcome},
    ERROR_TABLE(X)
#undef X
};

#define ROW_COUNT (sizeof rows / sizeof rows[0])

static const struct error_row *row_of(enum error_code code);

enum error_code error_set(struct error *error, enum error_code code, const char *format, ...)
{
    if (!error) return code;
    error->code = code;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->text, sizeof error->text, format, arguments);
    va_end(arguments);
    error_text_end(error->text);
    return code;
}

void error_text_end(char *text)
{
    size_t end = strlen(text), begin = end;
    while (begin > 0 && end - begin < 3 && ((unsigned char)text[begin - 1] & 0xc0) == 0x80) begin--;
    if (begin == 0) return;
    unsigned char first = (unsigned char)text[begin - 1];
    size_t wanted = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 0;
    if (end - begin + 1 < wanted) text[begin - 1] = 0;
}

const char *error_name(enum error_code code)
{
    return row_of(code)->name;
}

const char *error_help(enum error_code code)
{
    return row_of(code)->help;
}

int error_http_status(enum error_code code)
{
    return row_of(code)->http;
}

bool error_is_definite(enum error_code code)
{
    return row_of(code)->outcome == DEFINITE;
}

bool error_from_number(unsigned number, enum error_code *code)
{
    if (number >= ROW_COUNT || !rows[number].name) return false;
    *code = (enum error_code)number;
    return true;
}

bool error_from_name(const char *name, size_t size, enum error_code *code)
{
    for (unsigned i = 0; i < ROW_COUNT; i++) {
        if (rows[i].name && strlen(rows[i].name) == size && memcmp(rows[i].name, name, size) == 0) {
            *code = (enum error_code)i;
            return true;
        }
    }
    return false;
}

/* A number that is no row (a newer peer's, say) is the worst we know: internal, outcome unknown. */
static const struct error_row *row_of(enum error_code code)
{
    unsigned number = (unsigned)code;
    if (number >= ROW_COUNT || !rows[number].name) number = ERROR_INTERNAL;
    return &rows[number];
}
