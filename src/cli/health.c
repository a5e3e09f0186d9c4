/*
 * `moonclave health`: can the cluster lose a server, and why not? One line and an exit code. The leader knows
 * who is there and keeps up; each server knows what ails itself (a full disk, say): so the leader is asked, and
 * then every member.
 */
#include "cli/cli.h"
#include "cli/client.h"

#include "base/identity.h"
#include "base/memory.h"
#include "base/mp.h"
#include "http/json.h"
#include "node/verdict.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CONNECT_MS      1000
#define ANSWER_MS       2000
#define CLOCK_APART_MS  1000 /* beyond what the asking took: a note */
#define EXIT_NO_SERVICE 3

struct health_options {
    const char *addresses;
    bool json;
};

static int health_run(int argc, char **argv);
static bool ask_first(const char *addresses, struct verdict *verdict, struct error *error);
static enum error_code ask(const char *address, struct verdict *verdict, int64_t *apart_ms, int64_t *took_ms,
                           struct error *error);
static void ask_leader(struct verdict *verdict);
static void ask_members(struct verdict *verdict);
static int what_size(const struct error *error);
static void take_problems(struct verdict *verdict, const struct verdict *from, const char *id);
static void compare(struct verdict *verdict, const struct verdict *other, int64_t apart_ms);
static bool known(const struct verdict *verdict, const char *code, const char *id);
static int print_verdict(const struct verdict *verdict, bool as_json);
static uint64_t wall_ms(void);

#define FIELD(name) offsetof(struct health_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(addresses), 0, 0, "HOST:PORT,...",
     "nodes' addresses: the first that answers is asked (127.0.0.1:5001)"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "one JSON object, with every problem"},
};
static const struct flags flags = {.command = "health", .rows = rows, .count = sizeof rows / sizeof *rows};

const struct cli_command health_command = {
    .name = "health",
    .summary = "can the cluster lose a server, and why not",
    .usage = "[--addr HOST:PORT,HOST:PORT] [--json]",
    .help = "Asks a node, its leader and then every member, and says in one line whether the cluster can lose a\n"
            "server; several problems have a line each below it. Exit codes: 0 healthy, 1 degraded (it serves, and\n"
            "something is to be looked at), 3 unavailable (no leader, or nobody answers), 2 wrong usage.\n"
            "\n"
            "  moonclave health --addr 10.0.0.1:5001,10.0.0.2:5001 || page-somebody\n",
    .flags = &flags,
    .run = health_run,
};

static int health_run(int argc, char **argv)
{
    struct health_options options = {.addresses = "127.0.0.1:5001"};
    struct error error;
    if (flags_parse(&flags, argc, argv, &options, NULL, NULL, &error) != ERROR_OK) return cli_fail_error(&error);
    struct verdict *verdict = memory_zero(1, sizeof *verdict);
    int status;
    if (ask_first(options.addresses, verdict, &error)) {
        ask_leader(verdict);
        ask_members(verdict);
        verdict_judge(verdict);
        status = print_verdict(verdict, options.json);
    } else if (error.code == ERROR_USAGE) {
        status = cli_fail_error(&error);
    } else {
        verdict->health = HEALTH_UNAVAILABLE;
        snprintf(verdict->text, sizeof verdict->text, "unavailable: nobody answers: %.400s", error.text);
        status = print_verdict(verdict, options.json);
    }
    memory_free(verdict);
    return status;
}

/* ---- asking ---- */

/* The first address that answers; the error is the last one's. */
static bool ask_first(const char *addresses, struct verdict *verdict, struct error *error)
{
    char *copy = memory_copy_text(addresses);
    bool answered = false;
    error_set(error, ERROR_USAGE, "health: --addr is empty");
    for (char *rest = copy, *one; !answered && (one = strsep(&rest, ",")) != NULL;) {
        struct error why;
        enum error_code code = ask(one, verdict, NULL, NULL, &why);
        answered = code == ERROR_OK;
        if (!answered) error_set(error, code, "%.480s", why.text);
        if (code == ERROR_USAGE) break;
    }
    memory_free(copy);
    return answered;
}

/* How far its clock is ahead of ours, by the middle of the asking, and how long that took. */
static enum error_code ask(const char *address, struct verdict *verdict, int64_t *apart_ms, int64_t *took_ms,
                           struct error *error)
{
    struct rpc_client *client = NULL;
    struct slice answer;
    enum error_code code = rpc_client_open(&client, address, CONNECT_MS, error);
    uint64_t began_ms = wall_ms();
    if (code == ERROR_OK) code = rpc_client_call(client, "health", slice_of(NULL, 0), ANSWER_MS, &answer, error);
    uint64_t ended_ms = wall_ms();
    if (code == ERROR_OK && !verdict_read(answer, verdict))
        code = error_set(error, ERROR_BAD_REQUEST, "%s: it does not say how it is: an older version?", address);
    if (code == ERROR_OK && apart_ms != NULL) {
        *took_ms = (int64_t)(ended_ms - began_ms);
        *apart_ms = (int64_t)verdict->wall_ms - (int64_t)began_ms - *took_ms / 2;
    }
    rpc_client_close(client);
    return code;
}

/* Whoever it says leads is asked instead; one that leads no more may name another. */
static void ask_leader(struct verdict *verdict)
{
    struct verdict *other = memory_zero(1, sizeof *other);
    for (int tries = 0; tries < 3 && !verdict->leads && verdict->leader_address[0] != 0; tries++) {
        struct error error;
        if (ask(verdict->leader_address, other, NULL, NULL, &error) != ERROR_OK) {
            verdict_add_problem(verdict, "leader_silent", verdict->leader, false, false,
                                "leads, and does not answer here: %.*s", what_size(&error), error.text);
            break;
        }
        *verdict = *other;
    }
    memory_free(other);
}

/* What each says of itself, and how it differs from the leader. */
static void ask_members(struct verdict *verdict)
{
    struct verdict *other = memory_zero(1, sizeof *other);
    struct error error;
    int64_t own_apart_ms = 0, took_ms = 0, apart_ms;
    bool has_own = verdict->leads && verdict->leader_address[0] != 0 &&
                   ask(verdict->leader_address, other, &own_apart_ms, &took_ms, &error) == ERROR_OK;
    for (size_t i = 0; i < verdict->server_count; i++) {
        const struct verdict_server *server = &verdict->servers[i];
        if (strcmp(server->id, verdict->id) == 0 || server->address[0] == 0) continue;
        int64_t its_took_ms = 0;
        if (ask(server->address, other, &apart_ms, &its_took_ms, &error) != ERROR_OK) {
            if (!known(verdict, NULL, server->id))
                verdict_add_problem(verdict, "no_answer", server->id, !verdict->leads, false,
                                    "does not answer here: %.*s", what_size(&error), error.text);
            continue;
        }
        take_problems(verdict, other, server->id);
        int64_t difference_ms = apart_ms - own_apart_ms, blur_ms = CLOCK_APART_MS + took_ms + its_took_ms;
        bool apart = has_own && (difference_ms > blur_ms || difference_ms < -blur_ms);
        compare(verdict, other, apart ? difference_ms : 0);
    }
    memory_free(other);
}

/* How much of why an address does not answer is about that, and no advice; as a precision. */
static int what_size(const struct error *error)
{
    const char *advice = strstr(error->text, ": is a node running");
    return (int)(advice != NULL ? advice - error->text : 100);
}

/* Its own of itself, and those of the cluster; those that are known already are not said twice. */
static void take_problems(struct verdict *verdict, const struct verdict *from, const char *id)
{
    for (size_t i = 0; i < from->problem_count; i++) {
        const struct verdict_problem *problem = &from->problems[i];
        if (strcmp(problem->id, id) != 0 && problem->id[0] != 0) continue;
        if (known(verdict, problem->code, problem->id)) continue;
        verdict_add_problem(verdict, problem->code, problem->id, problem->disables, problem->notes, "%s",
                            problem->text);
    }
}

/* A mixture of versions is how upgrades go; of Lua releases, it is to be ended. */
static void compare(struct verdict *verdict, const struct verdict *other, int64_t apart_ms)
{
    if (strcmp(other->version, verdict->version) != 0)
        verdict_add_problem(verdict, "version", other->id, false, true, "runs version %s, %s runs %s", other->version,
                            verdict->id, verdict->version);
    if (strcmp(other->lua, verdict->lua) != 0)
        verdict_add_problem(verdict, "lua", other->id, false, false, "has Lua %s, %s has %s", other->lua, verdict->id,
                            verdict->lua);
    if (apart_ms != 0)
        verdict_add_problem(verdict, "clock", other->id, false, true, "has a clock that is %.1f s %s %s's",
                            (double)(apart_ms < 0 ? -apart_ms : apart_ms) / 1000, apart_ms < 0 ? "behind" : "ahead of",
                            verdict->id);
}

/* `code` null: any that keeps the server from counting. */
static bool known(const struct verdict *verdict, const char *code, const char *id)
{
    for (size_t i = 0; i < verdict->problem_count; i++) {
        const struct verdict_problem *problem = &verdict->problems[i];
        if (strcmp(problem->id, id) != 0) continue;
        if (code == NULL ? problem->disables : strcmp(problem->code, code) == 0) return true;
    }
    return false;
}

/* ---- telling ---- */

static int print_verdict(const struct verdict *verdict, bool as_json)
{
    static const int statuses[] = {
        [HEALTH_OK] = EXIT_DONE, [HEALTH_DEGRADED] = EXIT_FAILED, [HEALTH_UNAVAILABLE] = EXIT_NO_SERVICE};
    struct buffer value = {0}, json = {0};
    if (as_json) {
        verdict_write(verdict, &value);
        if (json_from_value(buffer_slice(&value), &json, NULL) == ERROR_OK)
            printf("%.*s\n", (int)json.size, (const char *)json.data);
    } else {
        printf("%s\n", verdict->text);
        for (size_t i = 0; i < verdict->problem_count && verdict->problem_count > 1; i++) {
            const struct verdict_problem *problem = &verdict->problems[i];
            printf("  %s%s%s\n", problem->id, problem->id[0] != 0 ? " " : "", problem->text);
        }
    }
    buffer_deinit(&value);
    buffer_deinit(&json);
    return statuses[verdict->health];
}

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
