/*
 * The world of a host as the spec plays it: ports and machine as tables of Lua functions, called
 * protected, so that nothing jumps over the host's own frames. Only host.c includes it.
 */
#ifndef MOONCLAVE_MODULE_HOST_WORLD_H
#define MOONCLAVE_MODULE_HOST_WORLD_H

#include "host/host.h"
#include "module/fields.h"
#include "module/snapshot_table.h"
#include "raft/entry.h"
#include "wire/wire.h"

#define PORTS 1
#define MACHINE 2

struct box {
    lua_State *L; /* of the call in progress */
    struct host *host;
    int table;   /* registry: {ports, machine} */
    int problem; /* registry: what was raised first; LUA_NOREF: nothing */
};

/* Raises what was raised meanwhile; else returns what is on the stack above `base`. */
static inline int finish(struct box *box, int results)
{
    if (box->problem == LUA_NOREF) return results;
    lua_rawgeti(box->L, LUA_REGISTRYINDEX, box->problem);
    luaL_unref(box->L, LUA_REGISTRYINDEX, box->problem);
    box->problem = LUA_NOREF;
    return lua_error(box->L);
}

/* ---- out: calls of Lua ---- */

static inline lua_State *begin(struct box *box, int which, const char *name)
{
    luaL_checkstack(box->L, 16, name);
    lua_rawgeti(box->L, LUA_REGISTRYINDEX, box->table);
    lua_geti(box->L, -1, which);
    lua_getfield(box->L, -1, name);
    lua_replace(box->L, -3);
    lua_pop(box->L, 1);
    return box->L;
}

/* Pops function and arguments, pushes `results` values: nils after a failure. */
static inline void call(struct box *box, int arguments, int results)
{
    lua_State *L = box->L;
    int base = lua_gettop(L) - arguments;
    if (lua_isnil(L, base)) {
        lua_settop(L, base - 1);
        lua_settop(L, base - 1 + results);
        return;
    }
    if (lua_pcall(L, arguments, results, 0) == LUA_OK) return;
    if (box->problem == LUA_NOREF) {
        box->problem = luaL_ref(L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(L, 1);
    }
    lua_settop(L, base - 1 + results);
}

static inline uint64_t call_for_number(struct box *box, int arguments)
{
    call(box, arguments, 1);
    uint64_t number = (uint64_t)lua_tointeger(box->L, -1);
    lua_pop(box->L, 1);
    return number;
}

static inline uint64_t port_now_us(void *context)
{
    begin(context, PORTS, "now_us");
    return call_for_number(context, 0);
}

static inline uint64_t port_wall_ms(void *context)
{
    begin(context, PORTS, "wall_ms");
    return call_for_number(context, 0);
}

static inline void push_entries(lua_State *L, const struct raft_entry *entries, size_t count)
{
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        struct buffer bytes = {0};
        raft_entry_encode(&entries[i], &bytes);
        push_buffer(L, &bytes);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
}

static inline void port_persist(void *context, const struct raft_persist *persist)
{
    lua_State *L = begin(context, PORTS, "persist");
    lua_createtable(L, 0, 5);
    set_u64(L, "sequence", persist->sequence);
    set_u64(L, "truncate_from", persist->truncate_from);
    if (persist->has_hard_state) {
        set_u64(L, "term", persist->hard_state.term);
        set_text(L, "vote", persist->hard_state.vote.text);
    }
    push_entries(L, persist->entries, persist->entry_count);
    lua_setfield(L, -2, "entries");
    call(context, 1, 0);
}

static inline void port_bootstrap(void *context, struct slice configuration, uint64_t cluster)
{
    lua_State *L = begin(context, PORTS, "bootstrap");
    push_slice(L, configuration);
    lua_pushinteger(L, (lua_Integer)cluster);
    call(context, 2, 0);
}

static inline void port_log_read(void *context, uint64_t token, raft_index first, raft_index last,
                          size_t max_bytes)
{
    lua_State *L = begin(context, PORTS, "log_read");
    lua_pushinteger(L, (lua_Integer)token);
    lua_pushinteger(L, (lua_Integer)first);
    lua_pushinteger(L, (lua_Integer)last);
    lua_pushinteger(L, (lua_Integer)max_bytes);
    call(context, 4, 0);
}

/* The Lua function's argument has the job's fields by their names, `kind` in words. */
static const char *const job_kinds[HOST_SNAPSHOT_KINDS] = {
    "begin", "write", "finish", "abort", "read", "receive", "install", "compact",
};

static inline void port_snapshot(void *context, const struct host_snapshot_job *job)
{
    lua_State *L = begin(context, PORTS, "snapshot");
    lua_createtable(L, 0, 7);
    set_text(L, "kind", job_kinds[job->kind]);
    set_u64(L, "token", job->token);
    push_meta(L, &job->meta);
    lua_setfield(L, -2, "meta");
    set_u64(L, "offset", job->offset);
    set_u64(L, "max_bytes", job->max_bytes);
    set_slice(L, "bytes", job->bytes.bytes);
    set_u64(L, "up_to", job->up_to);
    call(context, 1, 0);
}

static inline void port_send(void *context, const struct raft_message *message)
{
    lua_State *L = begin(context, PORTS, "send");
    struct wire_frame frame = {.type = (enum wire_type)message->type, .message = *message};
    struct buffer bytes = {0};
    wire_encode(&frame, &bytes);
    lua_pushstring(L, message->to.text);
    push_buffer(L, &bytes);
    lua_pushstring(L, wire_type_name(message->type));
    call(context, 3, 0);
}

static inline void port_forward(void *context, const struct raft_id *to, uint64_t ticket,
                         const struct request *request)
{
    lua_State *L = begin(context, PORTS, "forward");
    lua_pushstring(L, to->text);
    lua_pushinteger(L, (lua_Integer)ticket);
    lua_createtable(L, 0, 6);
    static const char *const kinds[] = {"command", "query", "session", "keyed", "admin"};
    set_text(L, "kind", kinds[request->kind]);
    set_boolean(L, "stale", request->consistency == CONSISTENCY_STALE);
    set_boolean(L, "lease", request->consistency == CONSISTENCY_LEASE);
    set_u64(L, "session", request->session);
    set_u64(L, "sequence", request->sequence);
    set_u64(L, "timeout_ms", request->timeout_ms);
    set_slice(L, "body", request->body);
    call(context, 3, 0);
}

static inline void push_reply(lua_State *L, const struct reply *reply)
{
    lua_pushstring(L, error_name(reply->code));
    push_slice(L, reply->body);
}

static inline void port_forward_reply(void *context, const struct raft_id *to, uint64_t ticket,
                               const struct reply *reply)
{
    lua_State *L = begin(context, PORTS, "forward_reply");
    lua_pushstring(L, to->text);
    lua_pushinteger(L, (lua_Integer)ticket);
    push_reply(L, reply);
    call(context, 4, 0);
}

static inline void port_peers(void *context, const struct host_peer *peers, size_t count)
{
    lua_State *L = begin(context, PORTS, "peers");
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        lua_createtable(L, 0, 2);
        set_text(L, "id", peers[i].id.text);
        set_text(L, "address", peers[i].address);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    call(context, 1, 0);
}

static inline void port_applying(void *context, raft_index index)
{
    lua_State *L = begin(context, PORTS, "applying");
    lua_pushinteger(L, (lua_Integer)index);
    call(context, 1, 0);
}

static inline void port_timer(void *context, uint64_t at_us)
{
    lua_State *L = begin(context, PORTS, "timer");
    lua_pushinteger(L, (lua_Integer)at_us);
    call(context, 1, 0);
}

static inline void port_reply(void *context, uint64_t ticket, const struct reply *reply)
{
    lua_State *L = begin(context, PORTS, "reply");
    lua_pushinteger(L, (lua_Integer)ticket);
    push_reply(L, reply);
    call(context, 3, 0);
}

static inline void port_role(void *context, enum raft_role role, raft_term term,
                      const struct raft_id *leader)
{
    lua_State *L = begin(context, PORTS, "role");
    lua_pushstring(L, raft_role_name(role));
    lua_pushinteger(L, (lua_Integer)term);
    lua_pushstring(L, leader->text);
    call(context, 3, 0);
}

static inline void port_loaded(void *context, struct slice bundle, struct slice config)
{
    lua_State *L = begin(context, PORTS, "loaded");
    push_slice(L, bundle);
    push_slice(L, config);
    call(context, 2, 0);
}

static inline void port_policy(void *context, uint64_t ticket, struct slice view)
{
    lua_State *L = begin(context, PORTS, "policy");
    lua_pushinteger(L, (lua_Integer)ticket);
    push_slice(L, view);
    call(context, 2, 0);
}

static inline void port_stopped(void *context)
{
    begin(context, PORTS, "stopped");
    call(context, 0, 0);
}

static inline void port_fatal(void *context, const struct error *error)
{
    lua_State *L = begin(context, PORTS, "fatal");
    lua_pushstring(L, error_name(error->code));
    lua_pushstring(L, error->text);
    call(context, 2, 0);
}

static inline void port_log(void *context, enum log_level level, const char *text)
{
    lua_State *L = begin(context, PORTS, "log");
    lua_pushstring(L, log_level_name(level));
    lua_pushstring(L, text);
    call(context, 2, 0);
}

static inline void push_settings(lua_State *L, const struct settings *settings)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    lua_newtable(L);
    for (unsigned i = 0; i < count; i++) set_u64(L, rows[i].name, settings_get(settings, &rows[i]));
}

static inline void port_settings(void *context, const struct settings *settings)
{
    push_settings(begin(context, PORTS, "settings"), settings);
    call(context, 1, 0);
}

static inline void port_event(void *context, enum event_type type, struct slice data)
{
    lua_State *L = begin(context, PORTS, "event");
    lua_pushstring(L, event_name(type));
    push_slice(L, data);
    call(context, 2, 0);
}

/* ---- the machine ---- */

static inline void push_stamps(lua_State *L, const struct machine_entry *entry)
{
    lua_createtable(L, 0, 6);
    set_u64(L, "index", entry->index);
    set_u64(L, "term", entry->term);
    set_u64(L, "time_ms", entry->time_ms);
    set_u64(L, "seed", entry->seed);
    set_u64(L, "session", entry->session);
    set_u64(L, "sequence", entry->sequence);
}

static inline void machine_configure(void *context, const struct settings *settings)
{
    push_settings(begin(context, MACHINE, "configure"), settings);
    call(context, 1, 0);
}

static inline enum error_code machine_load(void *context, const struct machine_entry *entry,
                                    struct slice bundle, struct slice config, struct error *error)
{
    lua_State *L = begin(context, MACHINE, "load");
    push_stamps(L, entry);
    push_slice(L, bundle);
    push_slice(L, config);
    call(context, 3, 1);
    enum error_code code = ERROR_OK;
    if (lua_isstring(L, -1)) code = error_set(error, ERROR_SCRIPT, "%s", lua_tostring(L, -1));
    lua_pop(L, 1);
    return code;
}

/* Lua answers the reply's bytes and, when it is none that went well, the error's name. */
static inline enum error_code take_result(struct box *box, struct buffer *reply)
{
    lua_State *L = box->L;
    enum error_code code = ERROR_OK;
    size_t size = 0;
    const char *bytes = lua_tolstring(L, -2, &size);
    buffer_append(reply, bytes != NULL ? bytes : "", size);
    const char *name = lua_tolstring(L, -1, &size);
    if (name != NULL && !error_from_name(name, size, &code)) code = ERROR_INTERNAL;
    lua_pop(L, 2);
    return code;
}

static inline enum error_code machine_apply(void *context, const struct machine_entry *entry,
                                     struct slice body, struct buffer *reply)
{
    lua_State *L = begin(context, MACHINE, "apply");
    push_stamps(L, entry);
    push_slice(L, body);
    call(context, 2, 2);
    return take_result(context, reply);
}

static inline enum error_code machine_query(void *context, struct slice body, struct buffer *reply)
{
    lua_State *L = begin(context, MACHINE, "query");
    push_slice(L, body);
    call(context, 1, 2);
    return take_result(context, reply);
}

static inline uint64_t machine_hash(void *context)
{
    begin(context, MACHINE, "hash");
    return call_for_number(context, 0);
}

static inline void machine_encode(void *context, struct buffer *out)
{
    (void)context;
    (void)out; /* the host never asks */
}

/* begin answers the hash, step the bytes and whether there is more; end is told. */
static inline uint64_t machine_snapshot_begin(void *context)
{
    begin(context, MACHINE, "snapshot_begin");
    return call_for_number(context, 0);
}

static inline bool machine_snapshot_step(void *context, size_t work_max, struct buffer *out)
{
    lua_State *L = begin(context, MACHINE, "snapshot_step");
    lua_pushinteger(L, (lua_Integer)work_max);
    call(context, 1, 2);
    size_t size = 0;
    const char *bytes = lua_tolstring(L, -2, &size);
    bool more = lua_toboolean(L, -1);
    buffer_append(out, bytes != NULL ? bytes : "", size);
    lua_pop(L, 2);
    return more;
}

static inline void machine_snapshot_end(void *context)
{
    begin(context, MACHINE, "snapshot_end");
    call(context, 0, 0);
}

/* Each answers nothing, or the name of an error and what is wrong; feed first how many bytes belong to it. */
static inline enum error_code take_failure(lua_State *L, struct error *error)
{
    enum error_code code = ERROR_OK;
    size_t size;
    const char *name = lua_tolstring(L, -2, &size);
    if (name != NULL) {
        if (!error_from_name(name, size, &code)) code = ERROR_INTERNAL;
        error_set(error, code, "%s", lua_tostring(L, -1));
    }
    lua_pop(L, 2);
    return code;
}

static inline enum error_code machine_restore_begin(void *context, const struct machine_entry *entry,
                                                    struct slice bundle, struct error *error)
{
    lua_State *L = begin(context, MACHINE, "restore_begin");
    push_stamps(L, entry);
    push_slice(L, bundle);
    call(context, 2, 2);
    return take_failure(L, error);
}

static inline enum error_code machine_restore_feed(void *context, struct slice bytes, size_t *used,
                                                   struct error *error)
{
    lua_State *L = begin(context, MACHINE, "restore_feed");
    push_slice(L, bytes);
    call(context, 1, 3);
    *used = (size_t)lua_tointeger(L, -3);
    enum error_code code = take_failure(L, error);
    lua_pop(L, 1);
    return code;
}

static inline enum error_code machine_restore_finish(void *context,
                                                     const struct machine_entry *entry,
                                                     uint64_t hash, struct error *error)
{
    lua_State *L = begin(context, MACHINE, "restore_finish");
    push_stamps(L, entry);
    lua_pushinteger(L, (lua_Integer)hash);
    call(context, 2, 2);
    return take_failure(L, error);
}

static inline enum error_code machine_upgrade_begin(void *context, const struct machine_entry *entry,
                                                    struct slice bundle, struct machine_versions *versions,
                                                    struct error *error)
{
    lua_State *L = begin(context, MACHINE, "upgrade_begin");
    push_stamps(L, entry);
    push_slice(L, bundle);
    call(context, 2, 4);
    *versions = (struct machine_versions){lua_tointeger(L, -2), lua_tointeger(L, -1)};
    lua_pop(L, 2);
    return take_failure(L, error);
}

static inline enum error_code machine_upgrade_step(void *context, uint64_t work_max, bool *more,
                                                   struct error *error)
{
    lua_State *L = begin(context, MACHINE, "upgrade_step");
    lua_pushinteger(L, (lua_Integer)work_max);
    call(context, 1, 3);
    *more = lua_toboolean(L, -3);
    enum error_code code = take_failure(L, error);
    lua_pop(L, 1);
    return code;
}

static inline void machine_upgrade_end(void *context)
{
    begin(context, MACHINE, "upgrade_end");
    call(context, 0, 0);
}

static inline enum error_code machine_stage_begin(void *context, const struct settings *settings,
                                                  const struct machine_entry *entry, struct slice bundle,
                                                  struct error *error)
{
    lua_State *L = begin(context, MACHINE, "stage_begin");
    push_stamps(L, entry);
    push_slice(L, bundle);
    push_settings(L, settings);
    call(context, 3, 2);
    return take_failure(L, error);
}

static inline enum error_code machine_stage_feed(void *context, struct slice bytes, size_t *used,
                                                 struct error *error)
{
    lua_State *L = begin(context, MACHINE, "stage_feed");
    push_slice(L, bytes);
    call(context, 1, 3);
    *used = (size_t)lua_tointeger(L, -3);
    enum error_code code = take_failure(L, error);
    lua_pop(L, 1);
    return code;
}

static inline enum error_code machine_stage_take(void *context, const struct settings *settings,
                                                 const struct machine_entry *entry, struct slice bundle,
                                                 const struct machine_entry *last, uint64_t hash,
                                                 struct error *error)
{
    lua_State *L = begin(context, MACHINE, "stage_take");
    push_stamps(L, entry);
    push_slice(L, bundle);
    push_stamps(L, last);
    lua_pushinteger(L, (lua_Integer)hash);
    push_settings(L, settings);
    call(context, 5, 2);
    return take_failure(L, error);
}

static inline void machine_stage_end(void *context)
{
    begin(context, MACHINE, "stage_end");
    call(context, 0, 0);
}

static inline bool machine_stage_sweep(void *context)
{
    lua_State *L = begin(context, MACHINE, "stage_sweep");
    call(context, 0, 1);
    bool more = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return more;
}

static const struct host_ports world_ports = {
    .now_us = port_now_us,
    .wall_ms = port_wall_ms,
    .persist = port_persist,
    .bootstrap = port_bootstrap,
    .log_read = port_log_read,
    .snapshot = port_snapshot,
    .send = port_send,
    .forward = port_forward,
    .forward_reply = port_forward_reply,
    .peers = port_peers,
    .applying = port_applying,
    .timer = port_timer,
    .reply = port_reply,
    .role = port_role,
    .loaded = port_loaded,
    .settings = port_settings,
    .policy = port_policy,
    .stopped = port_stopped,
    .fatal = port_fatal,
    .log = port_log,
    .event = port_event,
};

static const struct machine world_machine = {
    .configure = machine_configure,
    .load = machine_load,
    .apply = machine_apply,
    .query = machine_query,
    .hash = machine_hash,
    .encode = machine_encode,
    .snapshot_begin = machine_snapshot_begin,
    .snapshot_step = machine_snapshot_step,
    .snapshot_end = machine_snapshot_end,
    .restore_begin = machine_restore_begin,
    .restore_feed = machine_restore_feed,
    .restore_finish = machine_restore_finish,
    .upgrade_begin = machine_upgrade_begin,
    .upgrade_step = machine_upgrade_step,
    .upgrade_end = machine_upgrade_end,
    .stage_begin = machine_stage_begin,
    .stage_feed = machine_stage_feed,
    .stage_take = machine_stage_take,
    .stage_end = machine_stage_end,
    .stage_sweep = machine_stage_sweep,
};

#endif
