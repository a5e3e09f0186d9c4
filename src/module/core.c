/*
 * moonclave.core: the Raft core by itself, driven from Lua: one event table in, a list of effect
 * tables out. Names and units are those of raft/raft.h; types of events, effects and messages are
 * their names in lower case ("persist_refused", "read_log", "append_result").
 *
 *   new{ id=, election_timeout_us=, ... } -> core       a setting not given has its default
 *   core:step(event) -> effects, code, text             code "ok", or why it was refused
 *   core:status() -> table      core:term(index) -> term       core:entry(index) -> entry or nil
 *   core:prepare(index) -> the meta of a snapshot to be taken there
 *   core:close()                                        drops every payload; the core is gone
 *   blobs() -> payloads alive in this process
 *   mutant([name])                                      that guard is off from now on (module/mutants.h)
 *
 * Events: {type=, now_us=} and start: durable={term, vote, snapshot={index, term, chain,
 * configuration_index, configuration}, last_index, last_chain, last_time_ms, runs={{first, term}},
 * configurations={entry}}, seed, incarnation; receive: message; propose: entries (assigned fields are written
 * back); read: context, mode ("lease" or round), ask; configure: expected, wanted (encoded), forced,
 * time_ms (index, term and refusal are written back); transfer: target; persisted, persist_refused:
 * sequence; log_read: token, entries; applied: index; unreachable: peer; snapshot_taken: snapshot (a
 * meta); chunk_read: token, bytes; chunk_written: token, offset; snapshot_installed,
 * snapshot_failed: token. A durable without `base` has a log that begins behind its snapshot.
 */
#include "module/core_status.h"
#include "module/entry_table.h"
#include "module/fields.h"
#include "module/message_table.h"
#include "module/mutants.h"
#include "raft/raft.h"

#include <string.h>

#define CORE_METATABLE "moonclave.core"

static struct raft *check_core(lua_State *L);
static void check_event(lua_State *L, int table, struct raft_event *event);
static void push_effects(lua_State *L, const struct raft_effects *effects);
static void write_back(lua_State *L, int table, const struct raft_event *event);
static void write_back_change(lua_State *L, int table, struct raft_configure *change);

static uint64_t setting(lua_State *L, const char *name, uint64_t initial)
{
    uint64_t value = field_u64(L, 1, name);
    return value ? value : initial;
}

static int core_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *id = field_text(L, 1, "id");
    luaL_argcheck(L, id_valid(id), 1, "no valid id");
    struct raft_settings settings = {
        .election_timeout_us = setting(L, "election_timeout_us", 1000000),
        .heartbeat_us = setting(L, "heartbeat_us", 100000),
        .disk_retry_us = setting(L, "disk_retry_us", 500000),
        .append_bytes_max = (size_t)setting(L, "append_bytes_max", 1048576),
        .append_window = (size_t)setting(L, "append_window", 128),
        .uncommitted_bytes_max = (size_t)setting(L, "uncommitted_bytes_max", 67108864),
        .tail_bytes_max = (size_t)field_u64(L, 1, "tail_bytes_max"),
        .leases = field_boolean(L, 1, "leases"),
        .clock_drift_ppm = (uint32_t)field_u64(L, 1, "clock_drift_ppm"),
        .snapshot_chunk_bytes = (size_t)setting(L, "snapshot_chunk_bytes", 1048576),
        .snapshot_window = (size_t)setting(L, "snapshot_window", 8),
        .trailing_entries = (size_t)field_u64(L, 1, "trailing_entries"),
    };
    struct raft **core = lua_newuserdatauv(L, sizeof *core, 0);
    *core = raft_new(id, &settings);
    luaL_setmetatable(L, CORE_METATABLE);
    return 1;
}

static int core_step(lua_State *L)
{
    struct raft *core = check_core(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct raft_event event = {0};
    struct raft_effects effects;
    struct error error = {ERROR_OK, ""};
    check_event(L, 2, &event);
    enum error_code code = raft_step(core, &event, &effects, &error);
    if (event.type == RAFT_EVENT_PROPOSE && code == ERROR_OK) write_back(L, 2, &event);
    if (event.type == RAFT_EVENT_CONFIGURE) write_back_change(L, 2, event.configure);
    push_effects(L, &effects);
    lua_pushstring(L, error_name(code));
    lua_pushstring(L, error.text);
    return 3;
}

static int core_status(lua_State *L)
{
    struct raft_status status;
    raft_status(check_core(L), &status);
    push_status(L, &status);
    return 1;
}

static int core_term(lua_State *L)
{
    raft_term term = raft_log_term(check_core(L), (raft_index)luaL_checkinteger(L, 2));
    lua_pushinteger(L, (lua_Integer)term);
    return 1;
}

static int core_entry(lua_State *L)
{
    const struct raft_entry *entry =
        raft_entry_at(check_core(L), (raft_index)luaL_checkinteger(L, 2));
    if (!entry) return 0;
    push_entry(L, entry);
    return 1;
}

static int core_prepare(lua_State *L)
{
    struct raft_snapshot_meta meta;
    struct buffer configuration = {0};
    raft_snapshot_prepare(check_core(L), (raft_index)luaL_checkinteger(L, 2), &meta, &configuration);
    push_meta(L, &meta);
    buffer_deinit(&configuration);
    return 1;
}

static int core_close(lua_State *L)
{
    struct raft **core = luaL_checkudata(L, 1, CORE_METATABLE);
    if (*core) raft_free(*core);
    *core = NULL;
    return 0;
}

static int core_blobs(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)blob_count());
    return 1;
}

/* Each module has the one variable of a mutant build for itself: this is this one's. */
static int switch_mutant(lua_State *L)
{
    return check_mutant(L, 1);
}

__attribute__((visibility("default"))) int luaopen_moonclave_core(lua_State *L);
int luaopen_moonclave_core(lua_State *L)
{
    static const luaL_Reg methods[] = {{"step", core_step},   {"status", core_status},
                                       {"term", core_term},   {"entry", core_entry},
                                       {"close", core_close}, {"prepare", core_prepare},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"new", core_new}, {"blobs", core_blobs}, {"mutant", switch_mutant}, {NULL, NULL}};
    luaL_newmetatable(L, CORE_METATABLE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, core_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    return 1;
}

static struct raft *check_core(lua_State *L)
{
    struct raft **core = luaL_checkudata(L, 1, CORE_METATABLE);
    luaL_argcheck(L, *core != NULL, 1, "the core is closed");
    return *core;
}

/* ---- events in ---- */

static void check_runs(lua_State *L, int table, struct raft_durable *durable)
{
    if (lua_getfield(L, table, "runs") == LUA_TNIL) return;
    int list = lua_gettop(L);
    durable->run_count = (size_t)luaL_len(L, list);
    struct raft_term_run *runs = lua_newuserdatauv(L, durable->run_count * sizeof *runs + 1, 0);
    for (size_t i = 0; i < durable->run_count; i++) {
        lua_geti(L, list, (lua_Integer)i + 1);
        int run = lua_gettop(L);
        runs[i] = (struct raft_term_run){field_u64(L, run, "first"), field_u64(L, run, "term")};
        lua_pop(L, 1);
    }
    durable->runs = runs;
}

static void check_snapshot(lua_State *L, int table, struct raft_durable *durable)
{
    if (lua_getfield(L, table, "snapshot") == LUA_TNIL) return;
    struct raft_snapshot_meta *snapshot = &durable->snapshot;
    *snapshot = check_meta(L, lua_gettop(L));
    durable->base = (struct raft_log_base){snapshot->index, snapshot->term, snapshot->chain};
    if (lua_getfield(L, table, "base") == LUA_TNIL) return;
    int base = lua_gettop(L);
    durable->base = (struct raft_log_base){field_u64(L, base, "index"), field_u64(L, base, "term"),
                                           field_u64(L, base, "chain")};
}

static void check_start(lua_State *L, int event, struct raft_event *out)
{
    struct raft_durable *durable = lua_newuserdatauv(L, sizeof *durable, 0);
    memset(durable, 0, sizeof *durable);
    out->start.durable = durable;
    out->start.seed = field_u64(L, event, "seed");
    out->start.incarnation = field_u64(L, event, "incarnation");
    if (lua_getfield(L, event, "durable") == LUA_TNIL) return;
    int table = lua_gettop(L);
    durable->hard_state.term = field_u64(L, table, "term");
    check_id(L, table, "vote", &durable->hard_state.vote);
    durable->last_index = field_u64(L, table, "last_index");
    durable->last_chain = field_u64(L, table, "last_chain");
    durable->last_time_ms = field_u64(L, table, "last_time_ms");
    check_snapshot(L, table, durable);
    check_runs(L, table, durable);
    durable->configurations =
        check_entries(L, table, "configurations", &durable->configuration_count);
}

static void check_timer(lua_State *L, int table, struct raft_event *event)
{
    (void)L;
    (void)table;
    (void)event;
}

static void check_receive(lua_State *L, int table, struct raft_event *event)
{
    event->message = check_message(L, table);
}

static void check_propose(lua_State *L, int table, struct raft_event *event)
{
    event->propose.entries = check_entries(L, table, "entries", &event->propose.entry_count);
}

static void check_read(lua_State *L, int table, struct raft_event *event)
{
    event->read.context = field_u64(L, table, "context");
    event->read.mode = strcmp(field_text(L, table, "mode"), "lease") == 0 ? RAFT_READ_LEASE
                                                                         : RAFT_READ_ROUND;
    event->read.ask = field_boolean(L, table, "ask");
}

static void check_persisted(lua_State *L, int table, struct raft_event *event)
{
    event->persisted = field_u64(L, table, "sequence");
}

static void check_log_read(lua_State *L, int table, struct raft_event *event)
{
    event->log_read.token = field_u64(L, table, "token");
    event->log_read.entries = check_entries(L, table, "entries", &event->log_read.entry_count);
}

static void check_applied(lua_State *L, int table, struct raft_event *event)
{
    event->applied = field_u64(L, table, "index");
}

static void check_unreachable(lua_State *L, int table, struct raft_event *event)
{
    check_id(L, table, "peer", &event->peer);
}

/* The decoded configuration is freed after the step. */
static void check_configure(lua_State *L, int table, struct raft_event *event)
{
    struct raft_configure *change = lua_newuserdatauv(L, sizeof *change, 0);
    struct raft_configuration *wanted = lua_newuserdatauv(L, sizeof *wanted, 0);
    struct error error;
    memset(change, 0, sizeof *change);
    memset(wanted, 0, sizeof *wanted);
    if (raft_configuration_decode(field_slice(L, table, "wanted"), wanted, &error)) {
        luaL_error(L, "%s", error.text);
    }
    change->expected = field_u64(L, table, "expected");
    change->forced = field_boolean(L, table, "forced");
    change->time_ms = field_u64(L, table, "time_ms");
    change->wanted = wanted;
    event->configure = change;
}

static void check_transfer(lua_State *L, int table, struct raft_event *event)
{
    check_id(L, table, "target", &event->target);
}

static void check_taken(lua_State *L, int table, struct raft_event *event)
{
    lua_getfield(L, table, "snapshot");
    struct raft_snapshot_meta *meta = lua_newuserdatauv(L, sizeof *meta, 0);
    *meta = check_meta(L, lua_gettop(L) - 1);
    event->snapshot = meta;
    event->keep_from = field_u64(L, table, "keep_from");
}

static void check_chunk(lua_State *L, int table, struct raft_event *event)
{
    event->chunk.token = field_u64(L, table, "token");
    event->chunk.offset = field_u64(L, table, "offset");
    event->chunk.bytes = (struct raft_payload){NULL, field_slice(L, table, "bytes")};
}

static void check_event(lua_State *L, int table, struct raft_event *event)
{
    static const struct {
        const char *name;
        enum raft_event_type type;
        void (*check)(lua_State *L, int table, struct raft_event *event);
    } rows[] = {
        {"start", RAFT_EVENT_START, check_start},
        {"timer", RAFT_EVENT_TIMER, check_timer},
        {"receive", RAFT_EVENT_RECEIVE, check_receive},
        {"propose", RAFT_EVENT_PROPOSE, check_propose},
        {"read", RAFT_EVENT_READ, check_read},
        {"persisted", RAFT_EVENT_PERSISTED, check_persisted},
        {"persist_refused", RAFT_EVENT_PERSIST_REFUSED, check_persisted},
        {"log_read", RAFT_EVENT_LOG_READ, check_log_read},
        {"applied", RAFT_EVENT_APPLIED, check_applied},
        {"unreachable", RAFT_EVENT_UNREACHABLE, check_unreachable},
        {"configure", RAFT_EVENT_CONFIGURE, check_configure},
        {"transfer", RAFT_EVENT_TRANSFER, check_transfer},
        {"snapshot_taken", RAFT_EVENT_SNAPSHOT_TAKEN, check_taken},
        {"chunk_read", RAFT_EVENT_CHUNK_READ, check_chunk},
        {"chunk_written", RAFT_EVENT_CHUNK_WRITTEN, check_chunk},
        {"snapshot_installed", RAFT_EVENT_SNAPSHOT_INSTALLED, check_chunk},
        {"snapshot_failed", RAFT_EVENT_SNAPSHOT_FAILED, check_chunk},
    };
    const char *name = field_text(L, table, "type");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strcmp(rows[i].name, name) != 0) continue;
        event->type = rows[i].type;
        event->now_us = field_u64(L, table, "now_us");
        rows[i].check(L, table, event);
        return;
    }
    luaL_error(L, "no event type %s", name);
}

static void write_back(lua_State *L, int table, const struct raft_event *event)
{
    lua_getfield(L, table, "entries");
    for (size_t i = 0; i < event->propose.entry_count; i++) {
        const struct raft_entry *entry = &event->propose.entries[i];
        lua_geti(L, -1, (lua_Integer)i + 1);
        set_u64(L, "term", entry->term);
        set_u64(L, "index", entry->index);
        set_u64(L, "time_ms", entry->time_ms);
        set_u64(L, "chain", entry->chain);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void write_back_change(lua_State *L, int table, struct raft_configure *change)
{
    lua_pushvalue(L, table);
    set_u64(L, "index", change->index);
    set_u64(L, "term", change->term);
    set_text(L, "refusal", raft_refusal_name(change->refusal));
    lua_pop(L, 1);
    raft_configuration_deinit((struct raft_configuration *)change->wanted);
}

/* ---- effects out ---- */

static void push_persist(lua_State *L, const struct raft_effect *effect)
{
    const struct raft_persist *persist = &effect->persist;
    set_u64(L, "sequence", persist->sequence);
    if (persist->has_hard_state) {
        set_u64(L, "term", persist->hard_state.term);
        set_text(L, "vote", persist->hard_state.vote.text);
    }
    if (persist->truncate_from) set_u64(L, "truncate_from", persist->truncate_from);
    push_entries(L, persist->entries, persist->entry_count);
}

static void push_send(lua_State *L, const struct raft_effect *effect)
{
    push_message(L, &effect->message);
    lua_setfield(L, -2, "message");
}

static void push_apply(lua_State *L, const struct raft_effect *effect)
{
    set_u64(L, "first", effect->apply.first);
    set_u64(L, "last", effect->apply.last);
}

static void push_read_log(lua_State *L, const struct raft_effect *effect)
{
    set_u64(L, "token", effect->read_log.token);
    set_u64(L, "first", effect->read_log.first);
    set_u64(L, "last", effect->read_log.last);
    set_u64(L, "max_bytes", effect->read_log.max_bytes);
}

static void push_read(lua_State *L, const struct raft_effect *effect)
{
    set_u64(L, "context", effect->read.context);
    set_u64(L, "index", effect->read.index);
}

static void push_role(lua_State *L, const struct raft_effect *effect)
{
    set_text(L, "role", raft_role_name(effect->role.role));
    set_u64(L, "term", effect->role.term);
    set_text(L, "leader", effect->role.leader.text);
}

static void push_configuration_effect(lua_State *L, const struct raft_effect *effect)
{
    set_u64(L, "index", effect->configuration.index);
    push_configuration(L, effect->configuration.configuration);
    lua_setfield(L, -2, "configuration");
}

static void push_deadline(lua_State *L, const struct raft_effect *effect)
{
    set_u64(L, "at_us", effect->deadline_us);
}

static void push_transfer_failed(lua_State *L, const struct raft_effect *effect)
{
    set_text(L, "target", effect->target.text);
}

static void push_chunk(lua_State *L, const struct raft_effect *effect)
{
    set_u64(L, "token", effect->chunk.token);
    push_meta(L, &effect->chunk.snapshot);
    lua_setfield(L, -2, "snapshot");
    if (effect->type == RAFT_EFFECT_SNAPSHOT_INSTALL) return;
    set_u64(L, "offset", effect->chunk.offset);
    if (effect->type == RAFT_EFFECT_CHUNK_READ) {
        set_u64(L, "max_bytes", effect->chunk.max_bytes);
    } else {
        set_slice(L, "bytes", effect->chunk.bytes.bytes);
        set_boolean(L, "last", effect->chunk.last);
    }
}

static void push_forgot(lua_State *L, const struct raft_effect *effect)
{
    set_text(L, "peer", effect->forgot.peer.text);
    set_u64(L, "acknowledged", effect->forgot.acknowledged);
    set_u64(L, "last", effect->forgot.last);
}

static void push_compact(lua_State *L, const struct raft_effect *effect)
{
    set_u64(L, "up_to", effect->compact.up_to);
    set_u64(L, "snapshot_from", effect->compact.snapshot_from);
}

static void push_effects(lua_State *L, const struct raft_effects *effects)
{
    static const struct {
        const char *name;
        void (*push)(lua_State *L, const struct raft_effect *effect);
    } rows[] = {
        [RAFT_EFFECT_PERSIST] = {"persist", push_persist},
        [RAFT_EFFECT_SEND] = {"send", push_send},
        [RAFT_EFFECT_APPLY] = {"apply", push_apply},
        [RAFT_EFFECT_READ_LOG] = {"read_log", push_read_log},
        [RAFT_EFFECT_READ_READY] = {"read_ready", push_read},
        [RAFT_EFFECT_READ_FAILED] = {"read_failed", push_read},
        [RAFT_EFFECT_ROLE] = {"role", push_role},
        [RAFT_EFFECT_CONFIGURATION] = {"configuration", push_configuration_effect},
        [RAFT_EFFECT_DEADLINE] = {"deadline", push_deadline},
        [RAFT_EFFECT_TRANSFER_FAILED] = {"transfer_failed", push_transfer_failed},
        [RAFT_EFFECT_FORGOT] = {"forgot", push_forgot},
        [RAFT_EFFECT_CHUNK_READ] = {"chunk_read", push_chunk},
        [RAFT_EFFECT_CHUNK_WRITE] = {"chunk_write", push_chunk},
        [RAFT_EFFECT_SNAPSHOT_INSTALL] = {"snapshot_install", push_chunk},
        [RAFT_EFFECT_COMPACT] = {"compact", push_compact},
    };
    luaL_checkstack(L, 12, "effects");
    lua_createtable(L, (int)effects->count, 0);
    for (size_t i = 0; i < effects->count; i++) {
        const struct raft_effect *effect = &effects->effects[i];
        lua_createtable(L, 0, 6);
        set_text(L, "type", rows[effect->type].name);
        rows[effect->type].push(L, effect);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
}
