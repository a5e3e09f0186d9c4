/*
 * Completion for bash and zsh from the table of commands. What a value can be is known by how the help calls it (FILE,
 * DIR, APP ...): a flag of a new command is completed without a word here, unless its value is one of a few words.
 */
#include "cli/help.h"

#include <string.h>

/* What may stand in a place. */
struct kind {
    const char *flag;  /* null: any, and arguments */
    const char *value; /* as the help calls it */
    const char *bash;  /* what `_moonclave_offer` understands */
    const char *zsh;   /* an action of `_arguments` */
};
static const struct kind kinds[] = {
    {NULL, "APP", "app", "_files"},
    {NULL, "FILE", "file", "_files"},
    {NULL, "PATH", "file", "_files"},
    {NULL, "DIR", "folder", "_files -/"},
    {NULL, "DATA", "folder", "_files -/"},
    {NULL, "COMMAND", "commands", "($(_moonclave_names))"},
    {"trace", "FILE", "file", "_files"},
    {"log-level", "LEVEL", "debug info warn error", "(debug info warn error)"},
    {"disk", "KIND", "model sqlite", "(model sqlite)"},
    {"completion", "SHELL", "bash zsh", "(bash zsh)"},
};
static const struct kind other = {NULL, NULL, "any", " "};

static void print_bash(FILE *out);
static void print_zsh(FILE *out);
static const struct kind *kind_of(const char *flag, const char *value);
static bool is_word(const char *argument);
static void print_flag_name(const char *name, FILE *out);

bool completion_print(const char *shell, FILE *out)
{
    if (strcmp(shell, "bash") == 0) print_bash(out);
    else if (strcmp(shell, "zsh") == 0) print_zsh(out);
    else return false;
    return true;
}

static const struct kind *kind_of(const char *flag, const char *value)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bool same_flag = kinds[i].flag == NULL || (flag != NULL && strcmp(kinds[i].flag, flag) == 0);
        if (same_flag && strcmp(kinds[i].value, value) == 0) return &kinds[i];
    }
    return &other;
}

/* An argument in small letters is typed as it is. */
static bool is_word(const char *argument)
{
    return argument[0] >= 'a' && argument[0] <= 'z';
}

static void print_flag_name(const char *name, FILE *out)
{
    fputs("--", out);
    for (; *name != 0; name++) fputc(*name == '_' ? '-' : *name, out);
}

/* ---- bash ---- */

static const char bash_head[] =
    "# Completion of moonclave for bash: made by `moonclave help --completion bash`.\n"
    "\n";
/* Readline takes `:` and `=` for words of their own: they are put together first. */
static const char bash_tail[] =
    "\n"
    "# _moonclave_offer KIND CURRENT: what may stand there\n"
    "_moonclave_offer() {\n"
    "    case $1 in\n"
    "    any) ;;\n"
    "    none) mapfile -t COMPREPLY < <(compgen -W 'true false' -- \"$2\") ;;\n"
    "    file) mapfile -t COMPREPLY < <(compgen -f -- \"$2\") && compopt -o filenames 2>/dev/null ;;\n"
    "    folder) mapfile -t COMPREPLY < <(compgen -d -- \"$2\") && compopt -o filenames 2>/dev/null ;;\n"
    "    app)\n"
    "        mapfile -t COMPREPLY < <(compgen -d -- \"$2\"; compgen -f -X '!*.lua' -- \"$2\")\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        ;;\n"
    "    commands) mapfile -t COMPREPLY < <(compgen -W \"$(_moonclave_commands)\" -- \"$2\") ;;\n"
    "    *) mapfile -t COMPREPLY < <(compgen -W \"$1\" -- \"$2\") ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "_moonclave() {\n"
    "    local words=() glue= i current command flag= number=0\n"
    "    for ((i = 0; i <= COMP_CWORD; i++)); do\n"
    "        if [[ $i -gt 0 && ( -n $glue || ${COMP_WORDS[i]} == [:=]* ) ]]; then\n"
    "            words[${#words[@]} - 1]+=${COMP_WORDS[i]}\n"
    "            [[ ${COMP_WORDS[i]} == [:=]* ]] && glue=yes || glue=\n"
    "        else\n"
    "            words+=(\"${COMP_WORDS[i]}\") glue=\n"
    "        fi\n"
    "    done\n"
    "    COMPREPLY=()\n"
    "    current=${words[${#words[@]} - 1]}\n"
    "    if [[ ${#words[@]} -le 2 ]]; then\n"
    "        _moonclave_offer \"$(_moonclave_commands) --help --version\" \"$current\"\n"
    "        return\n"
    "    fi\n"
    "    command=${words[1]}\n"
    "    for ((i = 2; i < ${#words[@]} - 1; i++)); do\n"
    "        case ${words[i]} in\n"
    "        --) number=$((number + ${#words[@]} - 2 - i)) flag=-- i=${#words[@]} ;;\n"
    "        -*=*) ;;\n"
    "        -?*)\n"
    "            if [[ $(_moonclave_value \"$command\" \"${words[i]}\") != none ]]; then\n"
    "                flag=${words[i]}\n"
    "                i=$((i + 1))\n"
    "                [[ $i -eq $((${#words[@]} - 1)) ]] || flag=\n"
    "            fi\n"
    "            ;;\n"
    "        *) number=$((number + 1)) ;;\n"
    "        esac\n"
    "    done\n"
    "    if [[ $flag == --* && $flag != -- ]]; then\n"
    "        _moonclave_offer \"$(_moonclave_value \"$command\" \"$flag\")\" \"$current\"\n"
    "    elif [[ $current == --*=* && -z $flag ]]; then\n"
    "        _moonclave_offer \"$(_moonclave_value \"$command\" \"${current%%=*}\")\" \"${current#*=}\"\n"
    "    elif [[ $current == -* && -z $flag ]]; then\n"
    "        _moonclave_offer \"$(_moonclave_flags \"$command\") --help\" \"$current\"\n"
    "    else\n"
    "        _moonclave_offer \"$(_moonclave_argument \"$command\" $((number + 1)))\" \"$current\"\n"
    "    fi\n"
    "}\n"
    "complete -F _moonclave moonclave\n";

static void print_bash_flags(const struct cli_command *command, FILE *out)
{
    unsigned count = 0;
    const struct setting_row *settings = settings_rows(&count);
    const struct flags *flags = command->flags;
    if (flags == NULL || flags->count == 0) return;
    fprintf(out, "    %s) echo '", command->name);
    const char *between = "";
    for (size_t i = 0; i < flags->count; i++) {
        if (flags->rows[i].help == NULL) continue;
        fputs(between, out);
        print_flag_name(flags->rows[i].name, out);
        between = " ";
    }
    for (unsigned i = 0; flags->settings && i < count; i++) {
        fputc(' ', out);
        print_flag_name(settings[i].name, out);
    }
    fprintf(out, "' ;;\n");
}

static void print_bash_values(const struct cli_command *command, FILE *out)
{
    for (size_t i = 0; command->flags != NULL && i < command->flags->count; i++) {
        const struct flag *row = &command->flags->rows[i];
        const char *kind = row->type == FLAG_BOOLEAN ? "none" : kind_of(row->name, row->value)->bash;
        if (row->help == NULL || strcmp(kind, "any") == 0) continue;
        fprintf(out, "    '%s ", command->name);
        print_flag_name(row->name, out);
        fprintf(out, "') echo '%s' ;;\n", kind);
    }
}

static void print_bash_arguments(const struct cli_command *command, FILE *out)
{
    for (size_t i = 0; command->flags != NULL && i < command->flags->argument_count; i++) {
        const char *argument = command->flags->arguments[i];
        const char *kind = is_word(argument) ? argument : kind_of(NULL, argument)->bash;
        if (strcmp(kind, "any") != 0) fprintf(out, "    '%s %zu') echo '%s' ;;\n", command->name, i + 1, kind);
    }
}

static void print_bash(FILE *out)
{
    static const struct {
        const char *head;
        void (*print)(const struct cli_command *command, FILE *out);
        const char *tail;
    } parts[] = {
        {"_moonclave_flags() { # COMMAND\n    case $1 in\n", print_bash_flags, "    esac\n}\n"},
        {"_moonclave_value() { # COMMAND FLAG: the kind of its value; none: it takes none\n    case \"$1 $2\" in\n",
         print_bash_values, "    '* --help') echo none ;;\n    *) echo any ;;\n    esac\n}\n"},
        {"_moonclave_argument() { # COMMAND NUMBER\n    case \"$1 $2\" in\n", print_bash_arguments,
         "    *) echo any ;;\n    esac\n}\n"},
    };
    fputs(bash_head, out);
    fputs("_moonclave_commands() {\n    echo '", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++) fprintf(out, "%s%s", i > 0 ? " " : "", cli_commands[i]->name);
    fputs("'\n}\n", out);
    for (size_t p = 0; p < sizeof parts / sizeof *parts; p++) {
        fputs(parts[p].head, out);
        for (size_t i = 0; cli_commands[i] != NULL; i++) parts[p].print(cli_commands[i], out);
        fputs(parts[p].tail, out);
    }
    fputs(bash_tail, out);
}

/* ---- zsh ---- */

/* Within '...' and within the brackets of an option. */
static void print_zsh_text(const char *text, FILE *out)
{
    for (; *text != 0; text++) {
        if (*text == '\'') {
            fputs("'\\''", out);
            continue;
        }
        if (strchr("[]:\\", *text) != NULL) fputc('\\', out);
        fputc(*text, out);
    }
}

static void print_zsh_flag(const char *name, const char *value, const char *action, const char *help, FILE *out)
{
    fputs(" \\\n            '", out);
    print_flag_name(name, out);
    fputs(value != NULL ? "=[" : "[", out);
    print_zsh_text(help, out);
    fputc(']', out);
    if (value != NULL) {
        fputc(':', out);
        print_zsh_text(value, out);
        fprintf(out, ":%s", action);
    }
    fputc('\'', out);
}

static void print_zsh_command(const struct cli_command *command, FILE *out)
{
    const struct flags *flags = command->flags;
    unsigned count = 0;
    const struct setting_row *settings = settings_rows(&count);
    fprintf(out, "        %s) _arguments", command->name);
    for (size_t i = 0; flags != NULL && i < flags->count; i++) {
        const struct flag *row = &flags->rows[i];
        if (row->help == NULL) continue;
        bool boolean = row->type == FLAG_BOOLEAN;
        const char *action = boolean ? "" : kind_of(row->name, row->value)->zsh;
        print_zsh_flag(row->name, boolean ? NULL : row->value, action, row->help, out);
    }
    for (unsigned i = 0; flags != NULL && flags->settings && i < count; i++) {
        print_zsh_flag(settings[i].name, "N", " ", settings[i].help, out);
    }
    for (size_t i = 0; flags != NULL && i < flags->argument_count; i++) {
        const char *argument = flags->arguments[i];
        fprintf(out, " \\\n            '%zu:", i + 1);
        print_zsh_text(argument, out);
        if (is_word(argument)) fprintf(out, ":(%s)'", argument);
        else fprintf(out, ":%s'", kind_of(NULL, argument)->zsh);
    }
    fprintf(out, " \\\n            '--help[says what it does]' ;;\n");
}

static void print_zsh(FILE *out)
{
    fputs("#compdef moonclave\n"
          "# Completion of moonclave for zsh: made by `moonclave help --completion zsh`.\n"
          "\n"
          "_moonclave_names() {\n"
          "    print -l", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++) fprintf(out, " %s", cli_commands[i]->name);
    fputs("\n}\n"
          "\n"
          "_moonclave() {\n"
          "    local context state state_descr line\n"
          "    typeset -A opt_args\n"
          "    local -a commands=(\n", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++) {
        fprintf(out, "        '%s:", cli_commands[i]->name);
        print_zsh_text(cli_commands[i]->summary, out);
        fputs("'\n", out);
    }
    fputs("    )\n"
          "    _arguments -C '1:command:->command' '*::argument:->rest' '--help[lists the commands]' && return\n"
          "    case $state in\n"
          "    command) _describe command commands ;;\n"
          "    rest)\n"
          "        case $words[1] in\n", out);
    for (size_t i = 0; cli_commands[i] != NULL; i++) print_zsh_command(cli_commands[i], out);
    fputs("        esac\n"
          "        ;;\n"
          "    esac\n"
          "}\n"
          "\n"
          "if [ \"$funcstack[1]\" = _moonclave ]; then\n"
          "    _moonclave \"$@\"\n"
          "else\n"
          "    compdef _moonclave moonclave\n"
          "fi\n", out);
}
