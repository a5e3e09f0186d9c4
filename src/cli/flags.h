/*
 * Flags by table: --name VALUE and --name=VALUE into the fields of a struct. One row per flag; the help is made from
 * the same rows. Settings (base/settings.h) can be flags too, without rows of their own.
 *
 * Values are borrowed from argv. Names may be written with `_` for `-`. `--` ends the flags; what is no flag is an
 * argument. Where there is a flag --yes, -y says the same.
 */
#ifndef MOONCLAVE_CLI_FLAGS_H
#define MOONCLAVE_CLI_FLAGS_H

#include "base/error.h"
#include "base/settings.h"

#include <stddef.h>
#include <stdio.h>

enum flag_type {
    FLAG_TEXT,    /* const char *; null where not given, unless the caller put a default there */
    FLAG_INTEGER, /* uint64_t, least ... most */
    FLAG_BOOLEAN, /* bool; no value, or =true, =false */
};

struct flag {
    const char *name;      /* without the dashes */
    enum flag_type type;
    size_t offset;         /* of the field in the target */
    uint64_t least, most;  /* FLAG_INTEGER */
    const char *value;     /* how the help calls the value: "HOST:PORT"; null for booleans */
    const char *help;      /* one line; null: not listed */
};

struct flags {
    const char *command;         /* in messages: "start" */
    const struct flag *rows;
    size_t count;
    const char *const *arguments; /* what the arguments are called, in order; all may be left out */
    size_t argument_count;
    bool settings;               /* every setting is a flag as well */
};

/* Fills the fields of `target` that are given; `settings` may be null where flags->settings is false; arguments[i]
 * stays null for an argument that is not given. USAGE, with a text for people, at the first thing that is wrong. */
enum error_code flags_parse(const struct flags *flags, int argc, char **argv, void *target,
                            struct settings *settings, const char **arguments, struct error *error);

/* The same for one flag by name, for what does not come from a command line. `value` null: none was given. */
enum error_code flags_set(const struct flags *flags, const char *name, const char *value, void *target,
                          struct settings *settings, struct error *error);

/* The flag's row; null: none of that name. */
const struct flag *flags_find(const struct flags *flags, const char *name);

/* The lines of the help. */
void flags_print(const struct flags *flags, FILE *out);

/* The best of `count` names for a mistyped one; null: none is near. */
struct flags_guess {
    const char *wrong;
    const char *best;
    size_t distance;
};
void flags_guess_add(struct flags_guess *guess, const char *name); /* zero-initialise but for `wrong` */

#endif
