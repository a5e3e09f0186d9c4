/* The table of commands, and the one line that says what went wrong. */
#include "cli/cli.h"
#include "cli/help.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PROGRAM_MAX 200 /* a longer name leaves no room for what is said about it */

static int version_run(int argc, char **argv);
static const struct cli_command *find(const char *name);
static bool asks_for_help(int argc, char **argv);
static void note_program(const char *name);

static char program[PROGRAM_MAX] = "moonclave";

static const struct flags version_flags = {.command = "version"};
static const struct cli_command version_command = {
    .name = "version",
    .summary = "which Moonclave this is",
    .usage = "",
    .help = "Prints the version.\n"
            "\n"
            "  moonclave version\n",
    .flags = &version_flags,
    .run = version_run,
};

/* In the order of the help. */
const struct cli_command *const cli_commands[] = {
    &new_command, &start_command, &cluster_command, &status_command, &top_command, &members_command,
    &add_command, &remove_command, &promote_command, &demote_command, &priority_command, &address_command,
    &label_command, &transfer_command, &snapshot_command, &deploy_command, &backup_command, &restore_command,
    &config_command, &health_command, &events_command, &skip_command, &log_command, &doctor_command,
    &recover_command, &repl_command,
    &check_command, &sim_command, &bench_command, &env_command, &help_command, &version_command, NULL,
};

int cli_main(int argc, char **argv)
{
    if (argc > 0) note_program(argv[0]);
    if (argc < 2) {
        help_print_commands(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help_command.run(argc - 1, argv + 1);
    if (strcmp(argv[1], "--version") == 0) return version_run(argc - 1, argv + 1);
    const struct cli_command *command = cli_find(argv[1]);
    if (command == NULL) return EXIT_USAGE;
    if (asks_for_help(argc - 1, argv + 1)) {
        help_print_command(command, stdout);
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

/* ---- the program's name ---- */

const char *cli_program(void)
{
    return program;
}

static void note_program(const char *name)
{
    size_t size = strlen(name);
    bool plain = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./@%+=:,-") == size;
    if (size == 0 || size + 2 >= sizeof program || strchr(name, '\'') != NULL) return;
    snprintf(program, sizeof program, plain ? "%s" : "'%s'", name);
}

/* ---- finding ---- */

const struct cli_command *cli_find(const char *name)
{
    const struct cli_command *command = find(name);
    if (command != NULL) return command;
    struct flags_guess guess = {.wrong = name};
    for (size_t i = 0; cli_commands[i] != NULL; i++) flags_guess_add(&guess, cli_commands[i]->name);
    if (guess.best == NULL) {
        cli_fail(EXIT_USAGE, "there is no command \"%.64s\": `%s help` lists them", name, cli_program());
    } else {
        cli_fail(EXIT_USAGE, "there is no command \"%.64s\": did you mean %s?", name, guess.best);
    }
    return NULL;
}

static const struct cli_command *find(const char *name)
{
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
    }
    return NULL;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    }
    return false;
}

static int version_run(int argc, char **argv)
{
    struct error error;
    if (flags_parse(&version_flags, argc, argv, NULL, NULL, NULL, &error) != ERROR_OK) return cli_fail_error(&error);
    printf("moonclave %s\n", MOONCLAVE_VERSION);
    return EXIT_DONE;
}

bool cli_go_on(void)
{
    char answer[8] = "";
    fflush(stdout);
    fprintf(stderr, "go on? [y/N] ");
    return fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y');
}

uint64_t cli_clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
