/*
 * Manual pages from the table of commands, in man(7). A help's paragraphs become the page's; its lines that begin with
 * two blanks are examples and stay as they are.
 */
#include "cli/help.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

static void print_title(const char *name, FILE *out);
static void print_name(const char *name, const char *summary, FILE *out);
static void print_flags(const struct flags *flags, FILE *out);
static void print_flag(const char *name, const char *value, const char *help, FILE *out);
static void print_help(const char *help, FILE *out);
static void print_exits(FILE *out);
static void print_text(const char *text, size_t size, FILE *out);
static void print_dashed(const char *name, FILE *out);

void manual_print(FILE *out)
{
    print_title("moonclave", out);
    print_name("moonclave", "a replicated state machine in Lua", out);
    fprintf(out, ".SH SYNOPSIS\n.B moonclave\n.I COMMAND\n.RI [ flags ]\n"
                 ".SH DESCRIPTION\n"
                 "Moonclave makes an ordinary Lua module a linearizable service that survives the loss of machines:\n"
                 "it runs the Raft protocol, keeps its log in SQLite, and loads the replicated state machine and the\n"
                 "API for clients from Lua scripts.\n"
                 ".SH COMMANDS\n");
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        fprintf(out, ".TP\n.BR moonclave\\-");
        print_dashed(cli_commands[i]->name, out);
        fprintf(out, " (1)\n");
        print_text(cli_commands[i]->summary, strlen(cli_commands[i]->summary), out);
        fputc('\n', out);
    }
    print_exits(out);
    fprintf(out, ".SH ENVIRONMENT\n"
                 ".TP\n.B NO_COLOR\nwhere it is set and not empty, nothing is coloured. Where the output is not a\n"
                 "terminal, nothing is either.\n"
                 ".TP\n.B TMPDIR\nwhere temporary folders are made (/tmp).\n"
                 ".TP\n.BR LUA_PATH ,\\  LUA_CPATH\nwhere Lua looks for modules behind the program's own; see\n"
                 ".BR moonclave\\-env (1).\n");
}

void manual_print_command(const struct cli_command *command, FILE *out)
{
    char name[128];
    snprintf(name, sizeof name, "moonclave-%s", command->name);
    print_title(name, out);
    print_name(name, command->summary, out);
    fprintf(out, ".SH SYNOPSIS\n.B moonclave ");
    print_dashed(command->name, out);
    fputc('\n', out);
    print_text(command->usage, strlen(command->usage), out);
    fprintf(out, "\n.SH DESCRIPTION\n");
    print_help(command->help, out);
    if (command->flags != NULL) print_flags(command->flags, out);
    print_exits(out);
    fprintf(out, ".SH SEE ALSO\n.BR moonclave (1)\n");
}

/* The date is left out: the page is that of a version, and the same version gives the same bytes. */
static void print_title(const char *name, FILE *out)
{
    fprintf(out, ".\\\" Made from the program's table of commands by `moonclave help --man`.\n.TH ");
    for (; *name != 0; name++) fputc(toupper((unsigned char)*name), out);
    fprintf(out, " 1 \"\" \"moonclave %s\" \"Moonclave\"\n", MOONCLAVE_VERSION);
}

static void print_name(const char *name, const char *summary, FILE *out)
{
    fprintf(out, ".SH NAME\n");
    print_dashed(name, out);
    fprintf(out, " \\- ");
    print_text(summary, strlen(summary), out);
    fputc('\n', out);
}

static void print_flags(const struct flags *flags, FILE *out)
{
    unsigned count = 0;
    if (flags->count > 0) fprintf(out, ".SH OPTIONS\n");
    for (size_t i = 0; i < flags->count; i++) {
        if (flags->rows[i].help == NULL) continue;
        print_flag(flags->rows[i].name, flags->rows[i].value, flags->rows[i].help, out);
    }
    if (!flags->settings) return;
    fprintf(out, ".SH SETTINGS\nEach is an option as well; the default and its unit stand behind it.\n");
    const struct setting_row *settings = settings_rows(&count);
    for (unsigned i = 0; i < count; i++) {
        char text[256];
        snprintf(text, sizeof text, "%s (%" PRIu64 "; %s)", settings[i].help, settings[i].initial, settings[i].unit);
        print_flag(settings[i].name, "N", text, out);
    }
}

static void print_flag(const char *name, const char *value, const char *help, FILE *out)
{
    fprintf(out, ".TP\n.B \\-\\-");
    print_dashed(name, out);
    if (value != NULL) {
        fprintf(out, " \\fI");
        print_text(value, strlen(value), out);
        fprintf(out, "\\fR");
    }
    fputc('\n', out);
    print_text(help, strlen(help), out);
    fputc('\n', out);
}

/* Line by line: lines that begin with two blanks are examples, an empty one ends a paragraph. */
static void print_help(const char *help, FILE *out)
{
    bool example = false, apart = false;
    for (size_t size; *help != 0; help += size + (help[size] == '\n')) {
        size = strcspn(help, "\n");
        bool indented = size > 2 && help[0] == ' ' && help[1] == ' ';
        if (size == 0) {
            apart = true;
            continue;
        }
        if (example && !indented) fprintf(out, ".EE\n.RE\n");
        if (apart && !(example && indented)) fprintf(out, ".PP\n");
        if (apart && example && indented) fputs("\\&\n", out);
        if (indented && !example) fprintf(out, ".RS\n.EX\n");
        example = indented;
        apart = false;
        print_text(indented ? help + 2 : help, indented ? size - 2 : size, out);
        fputc('\n', out);
    }
    if (example) fprintf(out, ".EE\n.RE\n");
}

static void print_exits(FILE *out)
{
    fprintf(out, ".SH \"EXIT STATUS\"\n");
    for (size_t i = 0; help_exits[i].meaning != NULL; i++) {
        fprintf(out, ".TP\n.B %d\n%s\n", (int)help_exits[i].status, help_exits[i].meaning);
    }
}

/* A line's bytes as they are: nothing in it is a request or an escape, and a dash can be copied into a shell. */
static void print_text(const char *text, size_t size, FILE *out)
{
    if (size > 0 && (text[0] == '.' || text[0] == '\'')) fputs("\\&", out);
    for (size_t i = 0; i < size; i++) {
        switch (text[i]) {
        case '\\': fputs("\\e", out); break;
        case '-': fputs("\\-", out); break;
        case '`': fputs("\\(ga", out); break;
        case '\'': fputs("\\(aq", out); break;
        case '^': fputs("\\(ha", out); break;
        case '~': fputs("\\(ti", out); break;
        default: fputc(text[i], out);
        }
    }
}

/* A name of a flag, a command or a setting. */
static void print_dashed(const char *name, FILE *out)
{
    for (; *name != 0; name++) fputs(*name == '-' || *name == '_' ? "\\-" : (char[]){*name, 0}, out);
}
