/* The table of commands, the help, and the one line that says what went wrong. */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int help_run(int argc, char **argv);
static int version_run(int argc, char **argv);
static const struct cli_command *find(const char *name);
static int unknown_command(const char *name);
static bool asks_for_help(int argc, char **argv);
static void print_commands(FILE *out);
static void print_command(const struct cli_command *command, FILE *out);

static const struct cli_command help_command = {
    .name = "help",
    .summary = "about a command: moonclave help start",
    .usage = "[COMMAND]",
    .help = "Says what a command does and which flags it has.\n",
    .run = help_run,
};
static const struct cli_command version_command = {
    .name = "version",
    .summary = "which Moonclave this is",
    .usage = "",
    .help = "Prints the version.\n",
    .run = version_run,
};

/* In the order of the help. */
static const struct cli_command *const commands[] = {
    &start_command, &cluster_command, &status_command, &members_command, &add_command, &remove_command,
    &promote_command, &demote_command, &transfer_command, &snapshot_command, &repl_command, &sim_command,
    &bench_command, &help_command, &version_command,
};
#define COMMAND_COUNT (sizeof commands / sizeof *commands)

int cli_main(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help_run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0) return version_run(argc - 1, argv + 1);
    const struct cli_command *command = find(argv[1]);
    if (command == NULL) return unknown_command(argv[1]);
    if (asks_for_help(argc - 1, argv + 1)) {
        print_command(command, stdout);
        return EXIT_DONE;
    }
    return command->run(argc - 1, argv + 1);
}

int cli_fail(enum exit_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fputs("moonclave: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    return (int)status;
}

int cli_fail_error(const struct error *error)
{
    return cli_fail(exit_status_of(error->code), "%s", error->text);
}

/* ---- finding ---- */

static const struct cli_command *find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    }
    return NULL;
}

static int unknown_command(const char *name)
{
    struct flags_guess guess = {.wrong = name};
    for (size_t i = 0; i < COMMAND_COUNT; i++) flags_guess_add(&guess, commands[i]->name);
    if (guess.best == NULL) {
        return cli_fail(EXIT_USAGE, "there is no command \"%.64s\": `moonclave help` lists them", name);
    }
    return cli_fail(EXIT_USAGE, "there is no command \"%.64s\": did you mean %s?", name, guess.best);
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    }
    return false;
}

/* ---- help ---- */

static int help_run(int argc, char **argv)
{
    if (argc < 2) {
        print_commands(stdout);
        return EXIT_DONE;
    }
    const struct cli_command *command = find(argv[1]);
    if (command == NULL) return unknown_command(argv[1]);
    print_command(command, stdout);
    return EXIT_DONE;
}

static int version_run(int argc, char **argv)
{
    (void)argc, (void)argv;
    printf("moonclave %s\n", MOONCLAVE_VERSION);
    return EXIT_DONE;
}

static void print_commands(FILE *out)
{
    fprintf(out, "moonclave: a replicated state machine in Lua\n\nusage: moonclave COMMAND [flags]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        fprintf(out, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
    }
    fprintf(out, "\n`moonclave help COMMAND` tells more. Exit codes: 0 done, 1 failed, 2 wrong usage,\n"
                 "70 damaged data or an internal error, 74 the disk failed.\n");
}

static void print_command(const struct cli_command *command, FILE *out)
{
    fprintf(out, "usage: moonclave %s %s\n\n%s", command->name, command->usage, command->help);
    if (command->flags != NULL) flags_print(command->flags, out);
}
