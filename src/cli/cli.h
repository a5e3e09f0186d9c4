/*
 * The program's commands. One row per command in cli.c; each command's file holds its flags, its help and its run
 * function. Nothing here knows sockets or nodes.
 *
 * What people see when something is wrong is one line on stderr, `moonclave: what: where: what to do`, and an exit
 * code of enum exit_status (node/node.h).
 */
#ifndef MOONCLAVE_CLI_CLI_H
#define MOONCLAVE_CLI_CLI_H

#include "base/error.h"
#include "cli/flags.h"
#include "node/node.h"

struct cli_command {
    const char *name;
    const char *summary;      /* one line, for the list of commands */
    const char *usage;        /* what stands behind the name: "APP [flags]" */
    const char *help;         /* paragraphs above the flags; ends with a newline */
    const struct flags *flags; /* listed below it; null: none */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit code */
};

extern const struct cli_command add_command;
extern const struct cli_command address_command;
extern const struct cli_command backup_command;
extern const struct cli_command bench_command;
extern const struct cli_command check_command;
extern const struct cli_command cluster_command;
extern const struct cli_command config_command;
extern const struct cli_command demote_command;
extern const struct cli_command deploy_command;
extern const struct cli_command doctor_command;
extern const struct cli_command env_command;
extern const struct cli_command events_command;
extern const struct cli_command health_command;
extern const struct cli_command help_command;
extern const struct cli_command label_command;
extern const struct cli_command log_command;
extern const struct cli_command members_command;
extern const struct cli_command new_command;
extern const struct cli_command priority_command;
extern const struct cli_command promote_command;
extern const struct cli_command recover_command;
extern const struct cli_command remove_command;
extern const struct cli_command repl_command;
extern const struct cli_command restore_command;
extern const struct cli_command sim_command;
extern const struct cli_command skip_command;
extern const struct cli_command snapshot_command;
extern const struct cli_command start_command;
extern const struct cli_command status_command;
extern const struct cli_command top_command;
extern const struct cli_command transfer_command;

/* The commands in the order of the help, null behind the last. */
extern const struct cli_command *const cli_commands[];
/* Null, after the line that says so, where there is none of that name. */
const struct cli_command *cli_find(const char *name);

/* Finds the command and runs it; handles help, --help and --version. Returns the exit code. */
int cli_main(int argc, char **argv);

/* The program as it was called ("build/moonclave"), quoted where a shell needs it: for each line that is to be typed
 * next. Of a source tree it need not be on PATH. */
const char *cli_program(void);

/* Asks whoever sits at the terminal; anything but y is no. */
bool cli_go_on(void);

uint64_t cli_clock_us(void); /* monotonic */
static inline uint64_t cli_clock_ms(void)
{
    return cli_clock_us() / 1000;
}

/* One line on stderr, behind "moonclave: ". Both return the exit code, so that `return cli_fail(...)` reads well. */
int cli_fail(enum exit_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));
int cli_fail_error(const struct error *error); /* its text, the exit code of its code */

#endif
