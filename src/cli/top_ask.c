/* Asks the nodes for `moonclave top`: whoever answers, the leader first, who is a member; and each about itself. */
#include "cli/top.h"

#include "cli/cli.h"

#include "base/mp.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CONNECT_MS 300
#define ANSWER_MS  700
#define ORDER_S    20
#define PATIENT_TURNS 3 /* a node that is silent is asked so often, */
#define SILENT_TURNS  5 /* and then each so many turns: asking costs ANSWER_MS */

static enum error_code ask_members(struct top *top, struct error *error);
static bool ask_members_of(struct top *top, struct top_node *node);
static void take_member(struct top *top, struct slice member);
static struct top_node *find(struct top *top, const char *id);
static void drop_unseen(struct top *top);
static void ask_status(struct top *top, struct top_node *node);
static void take_status(struct top_node *node, struct slice status);
static void take_rate(struct top_rate *rate, uint64_t value, uint64_t now_ms);
static void notice(struct top *top, const char *leader, uint64_t term);
static bool reach(struct top_node *node, struct error *error);
static void lose(struct top *top, struct top_node *node);
static uint64_t number(struct slice map, const char *key);
static bool flag(struct slice map, const char *key);

enum error_code top_ask(struct top *top, struct error *error)
{
    char leader[CELL_MAX] = "";
    uint64_t term = 0;
    bool any = false;
    enum error_code code = ask_members(top, error);
    if (code != ERROR_OK && top->count == 0) return code;
    for (size_t i = 0; i < top->count; i++) {
        struct top_node *node = &top->nodes[i];
        if (node->silent < PATIENT_TURNS || node->silent % SILENT_TURNS == 0)
            ask_status(top, node);
        else
            node->silent++;
        any = any || node->answers;
        if (!node->answers || node->term < term) continue;
        if (node->term > term) leader[0] = 0;
        term = node->term;
        if (strcmp(node->state, "leader") == 0) memcpy(leader, node->id, sizeof leader);
    }
    notice(top, leader, term);
    return any ? ERROR_OK : error_set(error, ERROR_UNAVAILABLE, "top: no member answers");
}

/* Whatever became of the order is for the message line. */
enum error_code top_order(struct top *top, const char *method, const char *id, const char *address,
                          struct error *error)
{
    struct buffer params = {0};
    struct slice result;
    enum error_code code = error_set(error, ERROR_UNAVAILABLE, "no member answers");
    mp_write_array(&params, 2);
    mp_write_map(&params, address != NULL ? 2 : 1);
    if (address != NULL) {
        mp_write_text(&params, "address");
        mp_write_text(&params, address);
    }
    mp_write_text(&params, "id");
    mp_write_text(&params, id);
    mp_write_map(&params, 1);
    mp_write_text(&params, "timeout");
    mp_write_float(&params, ORDER_S);
    for (size_t i = 0; i < top->count; i++) {
        struct top_node *node = &top->nodes[i];
        if (!node->answers || !reach(node, error)) continue;
        code = rpc_client_call(node->client, method, buffer_slice(&params), ORDER_S * 1000 + 1000, &result, error);
        if (code == ERROR_UNAVAILABLE || code == ERROR_TIMEOUT || code == ERROR_BAD_REQUEST) lose(top, node);
        break;
    }
    buffer_deinit(&params);
    return code;
}

void top_ask_end(struct top *top)
{
    for (size_t i = 0; i < top->count; i++) rpc_client_close(top->nodes[i].client);
}

/* ---- members ---- */

static enum error_code ask_members(struct top *top, struct error *error)
{
    if (top->count == 0) { /* whoever was named, before there is a list */
        struct top_node first = {.id = "?"};
        snprintf(first.address, sizeof first.address, "%s", top->address);
        if (!reach(&first, error)) return error->code;
        bool answered = ask_members_of(top, &first);
        rpc_client_close(first.client);
        if (answered) return ERROR_OK;
        return error_set(error, ERROR_UNAVAILABLE, "%s does not say who is a member", top->address);
    }
    struct top_node *leader = find(top, top->leader);
    if (leader != NULL && leader->answers && ask_members_of(top, leader)) return ERROR_OK;
    for (size_t i = 0; i < top->count; i++) {
        struct top_node *node = &top->nodes[i];
        if (node != leader && node->answers && ask_members_of(top, node)) return ERROR_OK;
    }
    return error_set(error, ERROR_UNAVAILABLE, "no member answers");
}

static bool ask_members_of(struct top *top, struct top_node *node)
{
    struct error error;
    struct slice list, member;
    uint32_t count;
    if (!reach(node, &error)) return false;
    if (rpc_client_call(node->client, "members", slice_of(NULL, 0), ANSWER_MS, &list, &error) != ERROR_OK) {
        rpc_client_close(node->client);
        node->client = NULL;
        return false;
    }
    struct mp_reader reader = mp_reader_of(list);
    if (!mp_read_array(&reader, &count) || count == 0) return false;
    for (size_t i = 0; i < top->count; i++) top->nodes[i].seen = false;
    while (mp_skip(&reader, &member)) take_member(top, member);
    drop_unseen(top);
    return true;
}

static void take_member(struct top *top, struct slice member)
{
    char id[CELL_MAX], text[CELL_MAX];
    struct top_node *node = find(top, view_text(member, "id", id, sizeof id));
    if (node == NULL && top->count < TOP_NODES_MAX) {
        node = &top->nodes[top->count++];
        *node = (struct top_node){0};
        memcpy(node->id, id, sizeof id);
        if (top->event_count > 0) top_event(top, "%s is a member", id);
    }
    if (node == NULL) return;
    node->seen = true;
    view_text(member, "address", node->address, sizeof node->address);
    view_text(member, "role", node->role, sizeof node->role);
    node->knows_lag = view_text(member, "lag", text, sizeof text)[0] != 0;
    node->lag = number(member, "lag");
    node->match = number(member, "match");
    node->contact_ms = number(member, "contact_ms");
}

static struct top_node *find(struct top *top, const char *id)
{
    for (size_t i = 0; i < top->count; i++) {
        if (strcmp(top->nodes[i].id, id) == 0) return &top->nodes[i];
    }
    return NULL;
}

static void drop_unseen(struct top *top)
{
    for (size_t i = 0; i < top->count;) {
        if (top->nodes[i].seen) {
            i++;
            continue;
        }
        top_event(top, "%s is no longer a member", top->nodes[i].id);
        rpc_client_close(top->nodes[i].client);
        memmove(&top->nodes[i], &top->nodes[i + 1], (--top->count - i) * sizeof *top->nodes);
    }
    if (top->selected >= top->count && top->count > 0) top->selected = top->count - 1;
}

/* ---- a node ---- */

static void ask_status(struct top *top, struct top_node *node)
{
    struct error error;
    struct slice status;
    uint64_t began_ns = 0;
    struct timespec at;
    bool reached = reach(node, &error);
    clock_gettime(CLOCK_MONOTONIC, &at);
    began_ns = (uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec;
    if (!reached ||
        rpc_client_call(node->client, "status", slice_of(NULL, 0), ANSWER_MS, &status, &error) != ERROR_OK) {
        lose(top, node);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &at);
    node->answer_ms = (double)((uint64_t)at.tv_sec * 1000000000 + (uint64_t)at.tv_nsec - began_ns) / 1e6;
    if (!node->answers && node->silent > 0) top_event(top, "%s answers again", node->id);
    node->answers = true;
    node->silent = 0;
    take_status(node, status);
    view_text(status, "cluster", top->cluster, sizeof top->cluster);
}

static void take_status(struct top_node *node, struct slice status)
{
    struct slice part = {0};
    uint64_t now_ms = cli_clock_ms();
    view_text(status, "role", node->state, sizeof node->state);
    node->term = number(status, "term");
    node->first_index = number(status, "first_index");
    node->last_index = number(status, "last_index");
    node->commit_index = number(status, "commit_index");
    node->applied_index = number(status, "applied_index");
    node->uptime_ms = number(status, "uptime_ms");
    take_rate(&node->commits, node->commit_index, now_ms);
    view_latency(status, node->latency);
    if (mp_map_get(status, "snapshot", &part)) {
        node->snapshot_index = number(part, "index");
        node->snapshot_size = number(part, "size");
        node->snapshot_taking = flag(part, "taking");
    }
    if (mp_map_get(status, "node_counters", &part)) take_rate(&node->disk, number(part, "disk_bytes"), now_ms);
    if (mp_map_get(status, "process", &part)) {
        node->resident = number(part, "resident_bytes");
        take_rate(&node->processor, number(part, "cpu_us"), now_ms);
    }
}

/* A value that is less than the last is that of a process that has begun anew. */
static void take_rate(struct top_rate *rate, uint64_t value, uint64_t now_ms)
{
    uint64_t passed_ms = now_ms - rate->at_ms;
    bool known = rate->at_ms != 0 && value >= rate->value && passed_ms > 0;
    rate->per_second = known ? (double)(value - rate->value) * 1000 / (double)passed_ms : 0;
    rate->value = value;
    rate->at_ms = now_ms;
}

static void notice(struct top *top, const char *leader, uint64_t term)
{
    if (term > top->term) {
        if (top->term > 0) top->elections += term - top->term;
        top->term = term;
    }
    if (strcmp(leader, top->leader) == 0) return;
    if (leader[0] != 0) {
        top_event(top, "%s leads in term %llu", leader, (unsigned long long)term);
    } else {
        top_event(top, "no leader: %s is none any more", top->leader);
    }
    snprintf(top->leader, sizeof top->leader, "%s", leader);
}

static bool reach(struct top_node *node, struct error *error)
{
    if (node->client != NULL) return true;
    return rpc_client_open(&node->client, node->address, CONNECT_MS, error) == ERROR_OK;
}

static void lose(struct top *top, struct top_node *node)
{
    rpc_client_close(node->client);
    node->client = NULL;
    if (node->answers || node->silent == 0) top_event(top, "%s does not answer", node->id);
    node->answers = false;
    node->silent++;
    node->commits.at_ms = node->disk.at_ms = node->processor.at_ms = 0;
}

/* ---- small things ---- */

void top_event(struct top *top, const char *format, ...)
{
    char text[TOP_LINE_MAX - 32];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (top->event_count == TOP_EVENTS_MAX) {
        memmove(top->events[0], top->events[1], sizeof top->events - sizeof top->events[0]);
        top->event_count--;
    }
    time_t now = time(NULL);
    struct tm at;
    char clock[16] = "";
    if (localtime_r(&now, &at) != NULL) strftime(clock, sizeof clock, "%H:%M:%S", &at);
    snprintf(top->events[top->event_count++], TOP_LINE_MAX, "%s  %s", clock, text);
}

static uint64_t number(struct slice map, const char *key)
{
    char text[CELL_MAX];
    return strtoull(view_text(map, key, text, sizeof text), NULL, 10);
}

static bool flag(struct slice map, const char *key)
{
    struct slice value;
    bool set = false;
    if (!mp_map_get(map, key, &value)) return false;
    struct mp_reader reader = mp_reader_of(value);
    return mp_read_boolean(&reader, &set) && set;
}
