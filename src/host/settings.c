/*
 * Settings while running: the action `config`, [config, {name: value}], and what a node says of them.
 *
 * This node's own change on this node, at once and until it is restarted. The cluster's are an entry of the log: the
 * leader looks whether they are sound and proposes them, and every node looks again as it applies the entry, because
 * another change may have come first. There only rules between replicated settings count, so that all decide alike;
 * what a node's own settings have to say about them is asked before: by the node that is asked, and by the leader.
 *
 * What is refused changes nothing. What is accepted counts from the next entry on: budgets, sessions and keys. Less of
 * something takes nothing away that is there: sessions above sessions_max stay open and replies above a limit of bytes
 * stay kept (new ones are refused), a session lets go of the replies above its window with its next command, and one
 * that is idle for longer than the new session_timeout_ms expires with the next entry. idempotency_timeout_ms only
 * grows: see base/settings_rules.c.
 */
#include "host/internal.h"

#include "base/mp.h"
#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define VALUE_TEXT_MAX 64

static bool read_arguments(struct slice body, struct slice *arguments);
static enum error_code read_change(struct slice arguments, struct settings_change *change, struct error *error);
static enum error_code add_pair(struct settings_change *change, struct slice name, struct mp_reader *value,
                                struct error *error);
static enum error_code whose(const struct settings_change *change, enum setting_scope *scope, struct error *error);
static enum error_code check_own(const struct host *host, const struct settings_change *change, struct error *error);
static void change_own(struct host *host, const struct settings_change *change);
static void refuse(struct host *host, struct waiter *waiter, const struct error *error);
static void tell(struct host *host, bool replicated);
static void log_changes(struct host *host, const struct settings_change *change, raft_index index);
static void warn_of_own(struct host *host, const struct error *error);
static void write_setting(const struct host *host, const struct setting_row *row, struct buffer *out);
static enum setting_source source_of(const struct host *host, const struct setting_row *row, raft_index index);

void settings_begin(struct host *host, const struct setting_sources *sources)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    for (unsigned i = 0; i < count; i++) {
        bool given = settings_get(&host->settings, &rows[i]) != rows[i].initial;
        host->sources.of[i] = sources != NULL ? sources->of[i] : given ? SETTING_FLAG : SETTING_DEFAULT;
    }
}

const struct settings *host_settings(const struct host *host)
{
    return &host->settings;
}

/* ---- asked ---- */

bool settings_are_asked(const struct waiter *waiter)
{
    struct slice arguments;
    return waiter->kind == REQUEST_ADMIN && !waiter->remote && read_arguments(waiter->body.bytes, &arguments);
}

/* [config, arguments]; anything else is for the leader to answer. */
static bool read_arguments(struct slice body, struct slice *arguments)
{
    struct mp_reader reader = mp_reader_of(body);
    struct slice name = {0};
    uint32_t count = 0;
    return mp_read_array(&reader, &count) && count == 2 && mp_read_string(&reader, &name) &&
           slice_equal(name, slice_text("config")) && mp_skip(&reader, arguments);
}

bool settings_ask(struct host *host, struct waiter *waiter)
{
    struct slice arguments = {0};
    struct settings_change change;
    struct error error;
    enum setting_scope scope = SETTING_NODE;
    bool sound = read_arguments(waiter->body.bytes, &arguments);
    assert(sound); /* settings_are_asked */
    (void)sound;
    enum error_code code = read_change(arguments, &change, &error);
    if (code == ERROR_OK) code = whose(&change, &scope, &error);
    if (code == ERROR_OK) code = check_own(host, &change, &error);
    if (code != ERROR_OK) {
        refuse(host, waiter, &error);
        return true;
    }
    if (scope == SETTING_REPLICATED) return false;
    change_own(host, &change);
    buffer_clear(&host->scratch);
    mp_write_map(&host->scratch, 1);
    mp_write_text(&host->scratch, "id");
    mp_write_text(&host->scratch, host->identity.id);
    answer(host, waiter, ERROR_OK, buffer_slice(&host->scratch));
    return true;
}

static void refuse(struct host *host, struct waiter *waiter, const struct error *error)
{
    answer_error(host, waiter, error->code == ERROR_USAGE ? ERROR_BAD_REQUEST : error->code, error->text);
}

/* {name: a number, or a text as on the command line}; a number is the text that has its digits */
static enum error_code read_change(struct slice arguments, struct settings_change *change, struct error *error)
{
    struct mp_reader reader = mp_reader_of(arguments);
    uint32_t count = 0;
    *change = (struct settings_change){0};
    bool map = mp_read_map(&reader, &count);
    for (uint32_t i = 0; map && i < count; i++) {
        struct slice name;
        if (!mp_read_string(&reader, &name)) map = false;
        enum error_code code = map ? add_pair(change, name, &reader, error) : ERROR_OK;
        if (code != ERROR_OK) return code;
    }
    if (map && count > 0) return ERROR_OK;
    return error_set(error, ERROR_BAD_REQUEST, "the arguments are {name: value} of the settings to change");
}

static enum error_code add_pair(struct settings_change *change, struct slice name, struct mp_reader *value,
                                struct error *error)
{
    char key[VALUE_TEXT_MAX], text[VALUE_TEXT_MAX];
    struct mp_item item = {.type = MP_NIL};
    snprintf(key, sizeof key, "%.*s", (int)(name.size < sizeof key ? name.size : sizeof key - 1),
             (const char *)name.data);
    mp_read(value, &item);
    if (item.type == MP_BOOLEAN) {
        snprintf(text, sizeof text, "%s", item.boolean ? "true" : "false");
    } else if (item.type == MP_INTEGER) {
        snprintf(text, sizeof text, "%" PRId64, item.integer);
    } else if (item.type == MP_STRING && item.string.size < sizeof text) {
        snprintf(text, sizeof text, "%.*s", (int)item.string.size, (const char *)item.string.data);
    } else {
        return error_set(error, ERROR_BAD_REQUEST, "%s: a value is a whole number, or a text as in \"64MiB\"", key);
    }
    return settings_change_add(change, key, text, 0, error);
}

/* All of one scope: they are changed in different ways, and one request is done or not. */
static enum error_code whose(const struct settings_change *change, enum setting_scope *scope, struct error *error)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count), *first = NULL;
    for (unsigned i = 0; i < count; i++) {
        if (!change->named[i]) continue;
        if (first == NULL) first = &rows[i];
        if (rows[i].scope == first->scope) continue;
        bool own = rows[i].scope == SETTING_NODE;
        return error_set(error, ERROR_BAD_REQUEST,
                         "%s is the cluster's and %s this node's: change them one after the other",
                         own ? first->name : rows[i].name, own ? rows[i].name : first->name);
    }
    *scope = first->scope;
    return ERROR_OK;
}

/* With all that is in force here, of the cluster and of this node. */
static enum error_code check_own(const struct host *host, const struct settings_change *change, struct error *error)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    struct settings after = host->settings;
    settings_change_make(change, &after);
    for (unsigned i = 0; i < count; i++) {
        const char *why = settings_why_fixed(&rows[i]);
        bool changes = settings_get(&after, &rows[i]) != settings_get(&host->settings, &rows[i]);
        if (!changes || why == NULL) continue;
        char flag[64];
        snprintf(flag, sizeof flag, "%s", rows[i].name);
        for (char *at = flag; *at != 0; at++) *at = *at == '_' ? '-' : *at;
        return error_set(error, ERROR_BAD_REQUEST, "%s needs a restart (%s): start with --%s=%" PRIu64, rows[i].name,
                         why, flag, settings_get(&after, &rows[i]));
    }
    return settings_check_change(&host->settings, &after, false, error);
}

static void change_own(struct host *host, const struct settings_change *change)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    log_changes(host, change, 0);
    settings_change_make(change, &host->settings);
    for (unsigned i = 0; i < count; i++) {
        if (change->named[i] && rows[i].live) host->sources.of[i] = SETTING_CHANGED;
    }
    turnstile_adjust(host);
    tell(host, false);
}

/* The node, and the machine where it concerns that. */
static void tell(struct host *host, bool replicated)
{
    if (replicated && host->machine.configure != NULL)
        host->machine.configure(host->machine.context, &host->settings);
    if (host->ports.settings != NULL) host->ports.settings(host->ports.context, &host->settings);
}

/* Behind a number or a text that is what it was, there is nothing to tell. */
static void log_changes(struct host *host, const struct settings_change *change, raft_index index)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    for (unsigned i = 0; i < count; i++) {
        char before[SETTING_TEXT_MAX], after[SETTING_TEXT_MAX], from[48] = "until this node is restarted";
        uint64_t was = settings_get(&host->settings, &rows[i]), is = settings_get(&change->values, &rows[i]);
        if (!change->named[i] || was == is) continue;
        if (index > 0) snprintf(from, sizeof from, "in the cluster, by index %" PRIu64, index);
        host_log(host, LOG_LEVEL_INFO, "%s is %s, was %s, %s", rows[i].name, settings_format(&rows[i], is, after),
                 settings_format(&rows[i], was, before), from);
    }
}

/* ---- the cluster's ---- */

/* Looked at by the node that was asked; that may know other settings than this one, and may be another program. */
void settings_propose(struct host *host, struct waiter *waiter, struct slice arguments)
{
    struct settings_change change;
    struct error error;
    enum setting_scope scope = SETTING_NODE;
    struct buffer payload = {0};
    enum error_code code = read_change(arguments, &change, &error);
    if (code == ERROR_OK) code = whose(&change, &scope, &error);
    if (code == ERROR_OK && scope == SETTING_NODE)
        code = error_set(&error, ERROR_BAD_REQUEST, "these are settings of a node: ask that node itself");
    if (code == ERROR_OK && !host->system.initialised)
        code = error_set(&error, ERROR_UNAVAILABLE, "the cluster has no app yet, with which its settings come");
    if (code == ERROR_OK) code = check_own(host, &change, &error);
    if (code != ERROR_OK) {
        refuse(host, waiter, &error);
        return;
    }
    settings_payload_encode(&change, &payload);
    propose_for(host, waiter, RAFT_SETTINGS, buffer_slice(&payload));
    buffer_deinit(&payload);
}

/* The same on every node: the texts are part of the chain. */
enum error_code settings_applied(struct host *host, const struct raft_entry *entry)
{
    struct buffer *reply = &host->apply.reply;
    struct settings_change change;
    struct settings after = host->settings;
    struct error error;
    if (settings_payload_decode(entry->payload.bytes, &change, &error) != ERROR_OK) {
        struct error why;
        error_set(&why, error.code, "entry %" PRIu64 ": %s", entry->index, error.text);
        host_fatal(host, &why);
        return error.code;
    }
    if (!host->system.initialised) {
        reply_write_error(reply, ERROR_UNAVAILABLE, NULL);
        return ERROR_UNAVAILABLE;
    }
    settings_change_make(&change, &after);
    if (!GUARD(SETTINGS_CHECKED_ONCE, settings_check_change(&host->settings, &after, true, &error) == ERROR_OK)) {
        reply_write_error(reply, ERROR_CONFLICT, "another change came first, and together they are unsafe");
        return ERROR_CONFLICT;
    }
    log_changes(host, &change, entry->index);
    if (settings_check_change(&host->settings, &after, false, &error) != ERROR_OK) warn_of_own(host, &error);
    if (!FAULT(SETTINGS_NOT_KEPT)) system_apply_settings(&host->system, &change, entry->index);
    host->settings = after;
    tell(host, !FAULT(SETTINGS_NOT_TOLD));
    mp_write_map(reply, 1);
    mp_write_text(reply, "index");
    mp_write_u64(reply, entry->index);
    return ERROR_OK;
}

void settings_adopt(struct host *host, const struct settings *cluster)
{
    settings_take(&host->settings, cluster, SETTING_REPLICATED);
    tell(host, true);
}

/* Once, when this node has caught up: before, what it knows of the cluster may be out of date. */
void settings_compare(struct host *host)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    struct error error;
    host->settings_compared = true;
    for (unsigned i = 0; i < count; i++) {
        char own[SETTING_TEXT_MAX], cluster[SETTING_TEXT_MAX];
        uint64_t given = settings_get(&host->started, &rows[i]), value = settings_get(&host->settings, &rows[i]);
        if (rows[i].scope != SETTING_REPLICATED || host->sources.of[i] == SETTING_DEFAULT || given == value) continue;
        host_log(host, LOG_LEVEL_WARN,
                 "this node was started with %s=%s, the cluster has %s: the cluster's counts (`moonclave config set` "
                 "changes it)",
                 rows[i].name, settings_format(&rows[i], given, own), settings_format(&rows[i], value, cluster));
    }
    if (settings_check(&host->started, NULL) == ERROR_OK && settings_check(&host->settings, &error) != ERROR_OK)
        warn_of_own(host, &error);
}

static void warn_of_own(struct host *host, const struct error *error)
{
    host_log(host, LOG_LEVEL_WARN, "this node's settings do not go with the cluster's: %s", error->text);
}

/* ---- what a node says ---- */

void host_config(const struct host *host, struct buffer *out)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    mp_write_map(out, 3);
    mp_write_text(out, "applied_index");
    mp_write_u64(out, host->apply.applied);
    mp_write_text(out, "id");
    mp_write_text(out, host->identity.id);
    mp_write_text(out, "settings");
    mp_write_map(out, count);
    const char *last = "";
    for (unsigned left = count; left > 0; left--) {
        const struct setting_row *next = NULL;
        for (unsigned i = 0; i < count; i++) {
            if (strcmp(rows[i].name, last) <= 0) continue;
            if (next == NULL || strcmp(rows[i].name, next->name) < 0) next = &rows[i];
        }
        assert(next != NULL); /* no name stands twice */
        mp_write_text(out, next->name);
        write_setting(host, next, out);
        last = next->name;
    }
}

static void write_setting(const struct host *host, const struct setting_row *row, struct buffer *out)
{
    bool replicated = row->scope == SETTING_REPLICATED;
    unsigned place = settings_place(row);
    raft_index index = replicated ? system_setting_index(&host->system, row->name) : 0;
    uint64_t started = settings_get(&host->started, row), value = settings_get(&host->settings, row);
    bool differs = replicated && host->sources.of[place] != SETTING_DEFAULT && started != value;
    const char *why = settings_why_fixed(row);
    const struct { const char *key; bool is; uint64_t number; const char *text; } fields[] = {
        {"default", true, row->initial, NULL},
        {"help", true, 0, row->help},
        {"index", index > 0, index, NULL},
        {"least", true, row->least, NULL},
        {"most", true, row->most, NULL},
        {"restart", why != NULL, 0, why},
        {"scope", true, 0, replicated ? "cluster" : "node"},
        {"source", true, 0, settings_source_name(source_of(host, row, index))},
        {"started_with", differs, started, NULL},
        {"unit", true, 0, row->unit},
        {"value", true, value, NULL},
    };
    mp_write_map(out, sizeof fields / sizeof *fields);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        mp_write_text(out, fields[i].key);
        if (!fields[i].is)
            mp_write_nil(out);
        else if (fields[i].text != NULL)
            mp_write_text(out, fields[i].text);
        else
            mp_write_u64(out, fields[i].number);
    }
}

/* Before INIT what is the cluster's is what this node would propose. */
static enum setting_source source_of(const struct host *host, const struct setting_row *row, raft_index index)
{
    if (row->scope == SETTING_REPLICATED && host->system.initialised)
        return index > 0 ? SETTING_CHANGED : SETTING_CLUSTER;
    return host->sources.of[settings_place(row)];
}
