/* `moonclave help`: about a command; and for packages: manual pages, completion, the names of all commands. */
#include "cli/help.h"

#include <string.h>

struct help_options {
    const char *completion;
    bool man, commands;
};

static int help_run(int argc, char **argv);

#define FIELD(name) offsetof(struct help_options, name)
static const struct flag rows[] = {
    {"man", FLAG_BOOLEAN, FIELD(man), 0, 0, NULL, "as a manual page, in man(7)"},
    {"completion", FLAG_TEXT, FIELD(completion), 0, 0, "SHELL", "a script that completes: bash or zsh"},
    {"commands", FLAG_BOOLEAN, FIELD(commands), 0, 0, NULL, "the names of the commands, one a line"},
};
static const char *const arguments[] = {"COMMAND"};
static const struct flags flags = {.command = "help", .rows = rows, .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments, .argument_count = 1};

const struct cli_command help_command = {
    .name = "help",
    .summary = "about a command: moonclave help start",
    .usage = "[COMMAND] [--man] [--completion bash|zsh] [--commands]",
    .help = "Says what a command does and which flags it has. Manual pages and completion are made from the same\n"
            "table; where Moonclave is installed without them:\n"
            "\n"
            "  moonclave help start\n"
            "  moonclave help --man start | man -l -\n"
            "  eval \"$(moonclave help --completion bash)\"\n",
    .flags = &flags,
    .run = help_run,
};

const struct help_exit help_exits[] = {
    {EXIT_DONE, "done"},
    {EXIT_FAILED, "failed: the line before says why"},
    {EXIT_USAGE, "wrong usage"},
    {EXIT_INTERNAL, "damaged data or an internal error: the node stopped to keep its promises"},
    {EXIT_IO, "the disk failed"},
    {EXIT_DONE, NULL},
};

static int help_run(int argc, char **argv)
{
    struct help_options options = {0};
    const char *name = NULL;
    struct error error;
    if (flags_parse(&flags, argc, argv, &options, NULL, &name, &error) != ERROR_OK) return cli_fail_error(&error);
    if (options.completion != NULL) {
        if (completion_print(options.completion, stdout)) return EXIT_DONE;
        return cli_fail(EXIT_USAGE, "help: --completion %.32s: it is bash or zsh", options.completion);
    }
    const struct cli_command *command = name != NULL ? cli_find(name) : NULL;
    if (name != NULL && command == NULL) return EXIT_USAGE;
    if (options.commands) {
        for (size_t i = 0; cli_commands[i] != NULL; i++) printf("%s\n", cli_commands[i]->name);
    } else if (options.man) {
        if (command == NULL) manual_print(stdout);
        else manual_print_command(command, stdout);
    } else {
        if (command == NULL) help_print_commands(stdout);
        else help_print_command(command, stdout);
    }
    return EXIT_DONE;
}

void help_print_commands(FILE *out)
{
    int widest = 0;
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        int size = (int)strlen(cli_commands[i]->name);
        if (size > widest) widest = size;
    }
    fprintf(out, "moonclave: a replicated state machine in Lua\n\nusage: moonclave COMMAND [flags]\n\n");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        fprintf(out, "  %-*s  %s\n", widest, cli_commands[i]->name, cli_commands[i]->summary);
    }
    fprintf(out, "\n`%s help COMMAND` tells more. Exit codes:\n", cli_program());
    for (size_t i = 0; help_exits[i].meaning != NULL; i++) {
        fprintf(out, "  %-*d  %s\n", widest, (int)help_exits[i].status, help_exits[i].meaning);
    }
}

void help_print_command(const struct cli_command *command, FILE *out)
{
    const char *blank = command->usage[0] != 0 ? " " : "";
    fprintf(out, "usage: moonclave %s%s%s\n\n%s", command->name, blank, command->usage, command->help);
    if (command->flags != NULL) flags_print(command->flags, out);
}
