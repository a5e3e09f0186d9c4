/*
 * `moonclave recover`: a majority is lost for good; one survivor becomes the only member of a cluster that goes on from
 * what it has. Says what that keeps and what it may lose, asks, keeps the files as they were, and only then writes
 * (recover_write.c).
 *
 * One survivor, not several: two of them need not have the same log, and whichever of them led would decide what is
 * kept. The others join again, blank, and get everything.
 */
#include "cli/recover.h"

#include "base/memory.h"
#include "cli/cli.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define COMPARED_MAX 16

struct recover_options {
    const char *id, *compare;
    bool yes;
};

/* The whole of a run. */
struct recovery {
    struct recover_options options;
    struct survey survey;
    bool compared; /* no survivor that was looked at has more */
    struct error error;
};

static int recover_run(int argc, char **argv);
static enum error_code look(struct recovery *recovery, const char *folder);
static enum error_code check_sound(struct recovery *recovery);
static enum error_code check_member(struct recovery *recovery);
static enum error_code compare_all(struct recovery *recovery);
static enum error_code compare(struct recovery *recovery, const char *folder);
static void explain(const struct recovery *recovery);
static void print_others(const struct survey *survey, const char *between);
static enum error_code confirm(struct recovery *recovery);
static enum error_code carry_out(struct recovery *recovery);
static void print_end(const struct recover_plan *plan, const struct raft_configuration *before, const char *backup);

#define FIELD(name) offsetof(struct recover_options, name)
static const struct flag rows[] = {
    {"compare", FLAG_TEXT, FIELD(compare), 0, 0, "DATA,...", "folders of other survivors: refuses where one has more"},
    {"id", FLAG_TEXT, FIELD(id), 0, 0, "ID", "refuses where the folder is another node's"},
    {"yes", FLAG_BOOLEAN, FIELD(yes), 0, 0, NULL, "does not ask for the node's id to be typed"},
};
static const char *const arguments[] = {"DATA"};
static const struct flags flags = {.command = "recover", .rows = rows, .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments, .argument_count = 1};

const struct cli_command recover_command = {
    .name = "recover",
    .summary = "goes on from one node after a majority is lost",
    .usage = "DATA [--compare OTHER_DATA,...] [--id ID] [--yes]",
    .help = "Only where so many servers are lost for good that no majority is left. DATA is the folder of a\n"
            "survivor that does not run: it becomes the only member of a cluster that goes on from what it has. All\n"
            "of its log counts as committed from then on; what only the lost ones had acknowledged is gone. Where\n"
            "there are several survivors, take the one whose last entry has the highest (term, index), as `moonclave\n"
            "doctor` tells it; the others join again with an empty folder. The folder as it was is kept beside it.\n"
            "\n"
            "The lost servers must not come back: they are refused from then on, but as many of them as were a\n"
            "majority would go on as the cluster that was.\n"
            "\n"
            "  moonclave recover data/n1 --compare /mnt/n4/data\n",
    .flags = &flags,
    .run = recover_run,
};

static int recover_run(int argc, char **argv)
{
    struct recovery recovery = {0};
    const char *folder;
    enum error_code code =
        flags_parse(&flags, argc, argv, &recovery.options, NULL, &folder, &recovery.error);
    if (code != ERROR_OK) return cli_fail_error(&recovery.error);
    if (folder == NULL) return cli_fail(EXIT_USAGE, "recover: DATA is missing: the folder of a stopped node");
    code = look(&recovery, folder);
    if (code == ERROR_OK) {
        explain(&recovery);
        code = confirm(&recovery);
    }
    if (code == ERROR_OK) code = carry_out(&recovery);
    survey_close(&recovery.survey);
    fflush(stdout);
    return code == ERROR_OK ? EXIT_DONE : cli_fail(exit_status_of(code), "recover: %s", recovery.error.text);
}

/* ---- may it be recovered? ---- */

static enum error_code look(struct recovery *recovery, const char *folder)
{
    enum error_code code = survey_open(folder, &recovery->survey, &recovery->error);
    if (code != ERROR_OK) return code;
    code = check_sound(recovery);
    if (code == ERROR_OK) code = check_member(recovery);
    if (code == ERROR_OK) code = compare_all(recovery);
    return code;
}

static void count_damage(void *context, const struct store_finding *finding)
{
    if (finding->part != STORE_PART_MARK) ++*(size_t *)context;
}

static enum error_code check_sound(struct recovery *recovery)
{
    struct survey *survey = &recovery->survey;
    size_t damage = 0;
    struct error why = {0};
    const struct store_inspector inspector = {.context = &damage, .found = count_damage};
    store_inspect_check(survey->inspection, &inspector);
    if (damage == 0 && survey_check_trees(survey, &why) == ERROR_OK) return ERROR_OK;
    return error_set(&recovery->error, ERROR_CORRUPT,
                     "%s: it is damaged: `%s doctor %s` says where. Recover another survivor, or use a backup",
                     survey->overview->folder, cli_program(), survey->overview->folder);
}

static enum error_code check_member(struct recovery *recovery)
{
    const struct survey *survey = &recovery->survey;
    const struct identity *identity = &survey->overview->identity;
    struct error *error = &recovery->error;
    const struct raft_server *self = survey_self(survey);
    if (recovery->options.id != NULL && strcmp(recovery->options.id, identity->id) != 0)
        return error_set(error, ERROR_USAGE, "%s: this folder is of %s, not of %.64s", survey->overview->folder,
                         identity->id, recovery->options.id);
    if (identity->cluster == 0)
        return error_set(error, ERROR_UNAVAILABLE, "%s: %s was never a member: there is nothing to recover",
                         survey->overview->folder, identity->id);
    if (self == NULL)
        return error_set(error, ERROR_UNAVAILABLE,
                         "%s: the newest configuration in its log does not name %s: it was removed, and has no say",
                         survey->overview->folder, identity->id);
    if (self->role == RAFT_VOTER && survey_voters(survey) == 1 && survey->configuration.outgoing_count == 0)
        return error_set(error, ERROR_UNAVAILABLE, "%s: %s is the only voter: it leads by itself, start it",
                         survey->overview->folder, identity->id);
    return ERROR_OK;
}

static enum error_code compare_all(struct recovery *recovery)
{
    const char *list = recovery->options.compare;
    for (int count = 0; list != NULL && *list != 0; count++) {
        size_t size = strcspn(list, ",");
        char *folder = memory_alloc(size + 1);
        snprintf(folder, size + 1, "%s", list);
        enum error_code code = count < COMPARED_MAX ? compare(recovery, folder)
                                                    : error_set(&recovery->error, ERROR_USAGE,
                                                                "--compare: at most %d folders", COMPARED_MAX);
        memory_free(folder);
        if (code != ERROR_OK) return code;
        list += size + (list[size] == ',');
    }
    return ERROR_OK;
}

/* Of two survivors the one with the later last entry, as in an election (§5.4.1), has all that both must have. */
static enum error_code compare(struct recovery *recovery, const char *folder)
{
    const struct survey *own = &recovery->survey;
    struct survey other;
    enum error_code code = survey_open(folder, &other, &recovery->error);
    if (code != ERROR_OK) return code;
    const struct store_overview *its = other.overview;
    bool ahead = other.last_term > own->last_term ||
                 (other.last_term == own->last_term && other.last_index > own->last_index);
    if (!its->has_identity || its->identity.cluster != own->overview->identity.cluster) {
        code = error_set(&recovery->error, ERROR_FOREIGN,
                         "%s: it is of another cluster, or damaged: it cannot be compared", its->folder);
    } else if (ahead) {
        code = error_set(&recovery->error, ERROR_CONFLICT,
                         "%s has more: its last entry is %" PRIu64 " of term %" PRIu64 ", here it is %" PRIu64
                         " of term %" PRIu64 ": recover that one",
                         its->folder, other.last_index, other.last_term, own->last_index, own->last_term);
    } else {
        printf("%s: %s ends with entry %" PRIu64 " of term %" PRIu64 ": not later than %s\n", its->folder,
               its->identity.id, other.last_index, other.last_term, own->overview->identity.id);
        recovery->compared = true;
    }
    survey_close(&other);
    return code;
}

/* ---- what it means, and whether it is meant ---- */

static void explain(const struct recovery *recovery)
{
    const struct survey *survey = &recovery->survey;
    const char *id = survey->overview->identity.id;
    survey_print(survey);
    printf("\n%s becomes the only member of a cluster that goes on from this folder.\n", id);
    printf("  kept  everything in its log, up to entry %" PRIu64 " of term %" PRIu64 "; all of it counts as committed\n"
           "        then, also what no majority had and whose clients were never told\n",
           survey->last_index, survey->last_term);
    printf("  lost  what only ");
    print_others(survey, " and ");
    printf(" had acknowledged; this folder cannot tell whether there is any\n");
    if (!recovery->compared)
        printf("        Other survivors? `%s doctor` tells the last entry of each: take the one with the\n"
               "        highest (term, index), or give their folders with --compare.\n", cli_program());
    printf("  gone  ");
    print_others(survey, ", ");
    printf(": never start them on their folders again. They are refused from now on, but as many of\n"
           "        them as were a majority would go on as the cluster that was\n");
    printf("  undo  the files as they are now are kept; until %s is started, putting them back undoes it\n\n", id);
    fflush(stdout);
}

static void print_others(const struct survey *survey, const char *between)
{
    bool first = true;
    for (size_t i = 0; i < survey->configuration.server_count; i++) {
        const char *id = survey->configuration.servers[i].id.text;
        if (strcmp(id, survey->overview->identity.id) == 0) continue;
        printf("%s%s", first ? "" : between, id);
        first = false;
    }
}

static enum error_code confirm(struct recovery *recovery)
{
    const char *id = recovery->survey.overview->identity.id;
    char line[ID_MAX + 2] = "";
    if (recovery->options.yes) return ERROR_OK;
    printf("To go on, type the node's id (%s): ", id);
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) putchar('\n');
    line[strcspn(line, "\r\n")] = 0;
    if (strcmp(line, id) == 0) return ERROR_OK;
    return error_set(&recovery->error, ERROR_USAGE, "not done: nothing was changed");
}

/* ---- doing it ---- */

/* The survey holds the folder's lock: it goes before the store takes it. */
static enum error_code carry_out(struct recovery *recovery)
{
    struct recover_plan plan;
    struct raft_configuration before = {0};
    char *backup = NULL, *folder = memory_copy_text(recovery->survey.overview->folder);
    signal(SIGXFSZ, SIG_IGN); /* a limit of files' sizes is told as an error, as a full disk is */
    enum error_code code = recover_backup(folder, &backup, &recovery->error);
    if (code != ERROR_OK) {
        memory_free(folder);
        return code;
    }
    recover_plan_init(&plan, &recovery->survey);
    raft_configuration_copy(&before, &recovery->survey.configuration);
    plan.folder = folder;
    survey_close(&recovery->survey);
    code = recover_write(&plan, &recovery->error);
    if (code == ERROR_OK) {
        print_end(&plan, &before, backup);
    } else {
        char why[ERROR_TEXT_MAX];
        snprintf(why, sizeof why, "%s", recovery->error.text);
        error_set(&recovery->error, code, "%.240s; the folder as it was is in %.240s", why, backup);
    }
    raft_configuration_deinit(&before);
    recover_plan_deinit(&plan);
    memory_free(backup);
    memory_free(folder);
    return code;
}

static void print_end(const struct recover_plan *plan, const struct raft_configuration *before, const char *backup)
{
    const struct raft_server *self = &plan->next.servers[0];
    char address[ADDRESS_MAX + 1] = "HOST:PORT", other[ADDRESS_MAX + 1];
    int number = 1;
    raft_server_address(self, "node", address);
    printf("%s is recovered: entry %" PRIu64 " of term %" PRIu64 " makes it the only member of cluster %016" PRIx64 "\n"
           "what to do:\n", plan->identity.id, plan->entry.index, plan->entry.term, plan->cluster);
    printf("  %d. %s start --id %s --addr %s --data %s   (and its other flags)\n", number++, cli_program(),
           plan->identity.id, address, plan->folder);
    printf("  %d. %s snapshot --addr %s   (others then join from it)\n", number++, cli_program(), address);
    for (size_t i = 0; i < before->server_count; i++) {
        const struct raft_server *server = &before->servers[i];
        if (raft_id_equal(&server->id, &self->id)) continue;
        if (!raft_server_address(server, "node", other)) continue;
        printf("  %d. %s start --join %s --id %s --addr %s --data DIR   (an empty one; or a new server)\n",
               number++, cli_program(), address, server->id.text, other);
    }
    printf("To undo it, as long as %s was not started: rm -r %s && mv %s %s\n", plan->identity.id, plan->folder, backup,
           plan->folder);
}
