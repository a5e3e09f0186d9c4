/* Verdicts: see verdict.h. The bytes are a map with sorted keys, as all answers are. */
#include "node/verdict.h"

#include "base/mp.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void judge_text(struct verdict *verdict);
static const struct verdict_problem *first_reason(const struct verdict *verdict);
static void write_server(const struct verdict_server *server, struct buffer *out);
static void write_problem(const struct verdict_problem *problem, struct buffer *out);
static void write_text(struct buffer *out, const char *key, const char *value);
static void write_number(struct buffer *out, const char *key, uint64_t value);
static void write_boolean(struct buffer *out, const char *key, bool value);
static void read_text(struct slice map, const char *key, char *out, size_t size);
static uint64_t read_number(struct slice map, const char *key);
static bool read_boolean(struct slice map, const char *key);
static uint32_t list_of(struct slice map, const char *key, struct mp_reader *reader);

const char *health_name(enum health health)
{
    static const char *const names[] = {
        [HEALTH_OK] = "healthy",
        [HEALTH_DEGRADED] = "degraded",
        [HEALTH_UNAVAILABLE] = "unavailable",
    };
    return names[health];
}

struct verdict_server *verdict_server(struct verdict *verdict, const char *id)
{
    for (size_t i = 0; i < verdict->server_count; i++) {
        if (strcmp(verdict->servers[i].id, id) == 0) return &verdict->servers[i];
    }
    return NULL;
}

void verdict_add_problem(struct verdict *verdict, const char *code, const char *id, bool disables, bool notes,
                         const char *format, ...)
{
    struct verdict_server *server = verdict_server(verdict, id);
    if (server != NULL && disables) server->good = false;
    if (verdict->problem_count == VERDICT_PROBLEMS_MAX) return;
    struct verdict_problem *problem = &verdict->problems[verdict->problem_count++];
    *problem = (struct verdict_problem){.disables = disables, .notes = notes};
    snprintf(problem->code, sizeof problem->code, "%s", code);
    snprintf(problem->id, sizeof problem->id, "%s", id);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(problem->text, sizeof problem->text, format, arguments);
    va_end(arguments);
}

/* ---- judging ---- */

/* A minority of `voters` may fail at most; fewer where some are not good already. */
void verdict_judge(struct verdict *verdict)
{
    verdict->voters = verdict->voters_good = 0;
    for (size_t i = 0; i < verdict->server_count; i++) {
        if (!verdict->servers[i].votes) continue;
        verdict->voters++;
        verdict->voters_good += verdict->servers[i].good;
    }
    unsigned majority = verdict->voters / 2 + 1;
    verdict->survives = verdict->voters_good > majority ? verdict->voters_good - majority : 0;
    bool whole = !verdict->leads || (verdict->voters_good == verdict->voters && verdict->survives > 0);
    bool reasons = false;
    for (size_t i = 0; i < verdict->problem_count; i++) reasons = reasons || !verdict->problems[i].notes;
    verdict->health = verdict->leader[0] == 0 ? HEALTH_UNAVAILABLE
                      : whole && !reasons     ? HEALTH_OK
                                              : HEALTH_DEGRADED;
    judge_text(verdict);
}

static void judge_text(struct verdict *verdict)
{
    char *out = verdict->text;
    size_t size = sizeof verdict->text;
    int used = snprintf(out, size, "%s: ", health_name(verdict->health));
    if (verdict->health == HEALTH_UNAVAILABLE) {
        used += snprintf(out + used, size - (size_t)used,
                         verdict->leaderless_ms > 0 ? "no leader since %.1f s" : "no leader",
                         (double)verdict->leaderless_ms / 1000);
    } else if (!verdict->leads) {
        used += snprintf(out + used, size - (size_t)used, "as far as %s can tell; %s leads and knows more",
                         verdict->id, verdict->leader);
    } else {
        used += snprintf(out + used, size - (size_t)used, "%u of %u voters, ", verdict->voters_good,
                         verdict->voters);
        used += verdict->survives > 0
                    ? snprintf(out + used, size - (size_t)used, "survives the loss of %u", verdict->survives)
                    : snprintf(out + used, size - (size_t)used, "no %sfailure can be survived",
                               verdict->voters_good < verdict->voters ? "further " : "");
    }
    const struct verdict_problem *reason = first_reason(verdict);
    if (reason != NULL) {
        size_t more = verdict->problem_count - 1;
        used += snprintf(out + used, size - (size_t)used, ": %s%s%s", reason->id, reason->id[0] ? " " : "",
                         reason->text);
        if (more > 0 && used < (int)size)
            snprintf(out + used, size - (size_t)used, " (and %zu more)", more);
    } else if (verdict->leads && verdict->survives == 0) {
        snprintf(out + used, size - (size_t)used, ": three voters survive the loss of one");
    }
}

/* What takes a server away goes first, and its reason before its silence; then what else degrades, then notes. */
static const struct verdict_problem *first_reason(const struct verdict *verdict)
{
    const struct verdict_problem *first = NULL;
    int rank = 0;
    for (size_t i = 0; i < verdict->problem_count; i++) {
        const struct verdict_problem *problem = &verdict->problems[i];
        bool silence = strcmp(problem->code, "silent") == 0;
        int its = problem->disables ? (silence ? 3 : 4) : problem->notes ? 1 : 2;
        if (its > rank) first = problem;
        if (its > rank) rank = its;
    }
    return first;
}

/* ---- bytes ---- */

void verdict_write(const struct verdict *verdict, struct buffer *out)
{
    mp_write_map(out, 16);
    write_text(out, "id", verdict->id);
    write_text(out, "leader", verdict->leader);
    write_text(out, "leader_address", verdict->leader_address);
    write_number(out, "leaderless_ms", verdict->leaderless_ms);
    write_boolean(out, "leads", verdict->leads);
    write_text(out, "lua", verdict->lua);
    mp_write_text(out, "problems");
    mp_write_array(out, (uint32_t)verdict->problem_count);
    for (size_t i = 0; i < verdict->problem_count; i++) write_problem(&verdict->problems[i], out);
    mp_write_text(out, "servers");
    mp_write_array(out, (uint32_t)verdict->server_count);
    for (size_t i = 0; i < verdict->server_count; i++) write_server(&verdict->servers[i], out);
    write_text(out, "state", health_name(verdict->health));
    mp_write_text(out, "survives");
    if (verdict->leads) {
        mp_write_u64(out, verdict->survives);
    } else {
        mp_write_nil(out); /* only the leader knows */
    }
    write_text(out, "text", verdict->text);
    write_text(out, "version", verdict->version);
    write_number(out, "voters", verdict->voters);
    mp_write_text(out, "voters_good");
    if (verdict->leads) {
        mp_write_u64(out, verdict->voters_good);
    } else {
        mp_write_nil(out);
    }
    write_number(out, "wall_ms", verdict->wall_ms);
    mp_write_text(out, "why");
    mp_write_text(out, verdict->problem_count > 0 ? first_reason(verdict)->code : "");
}

static void write_server(const struct verdict_server *server, struct buffer *out)
{
    mp_write_map(out, 4);
    write_text(out, "address", server->address);
    write_boolean(out, "good", server->good);
    write_text(out, "id", server->id);
    write_boolean(out, "votes", server->votes);
}

static void write_problem(const struct verdict_problem *problem, struct buffer *out)
{
    mp_write_map(out, 5);
    write_text(out, "code", problem->code);
    write_boolean(out, "disables", problem->disables);
    write_text(out, "id", problem->id);
    write_boolean(out, "note", problem->notes);
    write_text(out, "text", problem->text);
}

bool verdict_read(struct slice value, struct verdict *verdict)
{
    struct mp_reader reader;
    struct slice item;
    *verdict = (struct verdict){.leads = read_boolean(value, "leads")};
    read_text(value, "id", verdict->id, sizeof verdict->id);
    read_text(value, "leader", verdict->leader, sizeof verdict->leader);
    read_text(value, "leader_address", verdict->leader_address, sizeof verdict->leader_address);
    read_text(value, "lua", verdict->lua, sizeof verdict->lua);
    read_text(value, "version", verdict->version, sizeof verdict->version);
    verdict->leaderless_ms = read_number(value, "leaderless_ms");
    verdict->wall_ms = read_number(value, "wall_ms");
    uint32_t count = list_of(value, "servers", &reader);
    for (; count > 0 && verdict->server_count < VERDICT_SERVERS_MAX && mp_skip(&reader, &item); count--) {
        struct verdict_server *server = &verdict->servers[verdict->server_count++];
        read_text(item, "id", server->id, sizeof server->id);
        read_text(item, "address", server->address, sizeof server->address);
        server->good = read_boolean(item, "good");
        server->votes = read_boolean(item, "votes");
    }
    count = list_of(value, "problems", &reader);
    for (; count > 0 && verdict->problem_count < VERDICT_PROBLEMS_MAX && mp_skip(&reader, &item); count--) {
        struct verdict_problem *problem = &verdict->problems[verdict->problem_count++];
        read_text(item, "code", problem->code, sizeof problem->code);
        read_text(item, "id", problem->id, sizeof problem->id);
        read_text(item, "text", problem->text, sizeof problem->text);
        problem->disables = read_boolean(item, "disables");
        problem->notes = read_boolean(item, "note");
    }
    return verdict->id[0] != 0;
}

static void write_text(struct buffer *out, const char *key, const char *value)
{
    mp_write_text(out, key);
    mp_write_text(out, value);
}

static void write_number(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}

static void write_boolean(struct buffer *out, const char *key, bool value)
{
    mp_write_text(out, key);
    mp_write_boolean(out, value);
}

static void read_text(struct slice map, const char *key, char *out, size_t size)
{
    struct slice value, text = {0};
    if (!mp_map_get(map, key, &value)) return;
    struct mp_reader reader = mp_reader_of(value);
    if (mp_read_string(&reader, &text) && text.size < size) memcpy(out, text.data, text.size);
}

static uint64_t read_number(struct slice map, const char *key)
{
    struct slice value;
    uint64_t number = 0;
    if (!mp_map_get(map, key, &value)) return 0;
    struct mp_reader reader = mp_reader_of(value);
    return mp_read_u64(&reader, &number) ? number : 0;
}

static bool read_boolean(struct slice map, const char *key)
{
    struct slice value;
    return mp_map_get(map, key, &value) && value.size == 1 && value.data[0] == 0xc3;
}

static uint32_t list_of(struct slice map, const char *key, struct mp_reader *reader)
{
    struct slice value;
    uint32_t count = 0;
    if (!mp_map_get(map, key, &value)) return 0;
    *reader = mp_reader_of(value);
    return mp_read_array(reader, &count) ? count : 0;
}
