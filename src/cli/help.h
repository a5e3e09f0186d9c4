/*
 * What is said about the commands, all of it from their rows (cli.h): the help (help.c), manual pages (manual.c) and
 * completion for shells (completion.c). A command that has a row is in each of them.
 */
#ifndef MOONCLAVE_CLI_HELP_H
#define MOONCLAVE_CLI_HELP_H

#include "cli/cli.h"

#include <stdio.h>

/* How a process of Moonclave ends. */
struct help_exit {
    enum exit_status status;
    const char *meaning;
};
extern const struct help_exit help_exits[]; /* the last has no meaning */

void help_print_commands(FILE *out);
void help_print_command(const struct cli_command *command, FILE *out);

/* A manual page in man(7): of the program, or of one command. */
void manual_print(FILE *out);
void manual_print_command(const struct cli_command *command, FILE *out);

/* A script that completes commands, flags and their values; false: there is none for this shell. */
bool completion_print(const char *shell, FILE *out);

#endif
