/*
 * moonclave.host: one host over ports and a machine that the spec plays in Lua.
 *
 *   host.new{id=, incarnation=, cluster=, address=, peers=, join=, bundle=, config=, lua_release=, seed=,
 *            apply_slice_us=, settings={name=value}, ports={name=function}, machine={name=function}}
 *   host.mutant([name])      a build with mutants: switches that one on (module/mutants.h)
 *
 * Ports get plain Lua values: messages and hellos travel as frames (wire/wire.h), entries as their
 * bytes (raft/entry.h). What a port or the machine raises is raised again by the call it was in.
 */
#include "base/memory.h"
#include "host/host.h"
#include "module/fields.h"
#include "module/host_measures.h"
#include "module/host_world.h"
#include "module/mutants.h"
#include "module/values.h"
#include "raft/entry.h"
#include "wire/wire.h"

#include <string.h>

#define HOST_TYPE "moonclave.host"

static struct box *check_box(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, HOST_TYPE);
    luaL_argcheck(L, box->host != NULL, 1, "it is closed");
    box->L = L;
    return box;
}

/* ---- in: a host's life ---- */

static void check_settings(lua_State *L, struct settings *settings)
{
    settings_init(settings);
    if (lua_getfield(L, 1, "settings") == LUA_TTABLE) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            struct error error;
            if (settings_set(settings, luaL_checkstring(L, -2), (uint64_t)luaL_checkinteger(L, -1),
                             &error)) {
                luaL_error(L, "%s", error.text);
            }
        }
    }
    lua_pop(L, 1);
}

static const char **check_list(lua_State *L, const char *name, size_t *count)
{
    *count = 0;
    if (lua_getfield(L, 1, name) != LUA_TTABLE) return NULL;
    *count = (size_t)luaL_len(L, -1);
    const char **peers = lua_newuserdatauv(L, (*count + 1) * sizeof *peers, 0);
    for (size_t i = 0; i < *count; i++) {
        lua_geti(L, -2, (lua_Integer)i + 1);
        peers[i] = luaL_checkstring(L, -1); /* the table holds it */
        lua_pop(L, 1);
    }
    return peers;
}

static void keep_table(lua_State *L, struct box *box)
{
    lua_createtable(L, 2, 0);
    lua_getfield(L, 1, "ports");
    lua_seti(L, -2, PORTS);
    lua_getfield(L, 1, "machine");
    lua_seti(L, -2, MACHINE);
    box->table = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* Without the function there is no policy, or a machine that goes by no settings. */
static bool has_function(lua_State *L, const char *table, const char *name)
{
    lua_getfield(L, 1, table);
    bool has = lua_getfield(L, -1, name) == LUA_TFUNCTION;
    lua_pop(L, 2);
    return has;
}

static int new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct box){.L = L, .table = LUA_NOREF, .problem = LUA_NOREF};
    luaL_setmetatable(L, HOST_TYPE);
    keep_table(L, box);
    struct settings settings;
    check_settings(L, &settings);
    struct host_options options = {
        .address = field_text(L, 1, "address"),
        .bundle = field_slice(L, 1, "bundle"),
        .config = field_slice(L, 1, "config"),
        .labels = field_slice(L, 1, "labels"),
        .first_configuration = field_slice(L, 1, "first_configuration"),
        .lua_release = field_text(L, 1, "lua_release"),
        .seed = field_u64(L, 1, "seed"),
        .apply_slice_us = (size_t)field_u64(L, 1, "apply_slice_us"),
        .deaths = {field_u64(L, 1, "deadly"), (unsigned)field_u64(L, 1, "deaths")},
        .identity.incarnation = field_u64(L, 1, "incarnation"),
        .identity.cluster = field_u64(L, 1, "cluster"),
    };
    field_copy_text(L, 1, "id", options.identity.id, sizeof options.identity.id);
    options.peers = check_list(L, "peers", &options.peer_count);
    options.join = check_list(L, "join", &options.join_count);
    struct host_ports ports = world_ports;
    if (!has_function(L, "ports", "policy")) ports.policy = NULL;
    struct machine machine = world_machine;
    if (!has_function(L, "machine", "configure")) machine.configure = NULL;
    ports.context = machine.context = box;
    box->host = host_new(&options, &settings, &ports, &machine);
    lua_settop(L, 2);
    return finish(box, 1);
}

static int close(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, HOST_TYPE);
    host_free(box->host);
    box->host = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, box->table);
    box->table = LUA_NOREF;
    return 0;
}

/* ---- entries: a list of bytes at `index`, decoded into one block with blobs of their own ---- */

static struct raft_entry *check_entries(lua_State *L, int index, size_t *count)
{
    *count = lua_isnoneornil(L, index) ? 0 : (size_t)luaL_len(L, index);
    struct raft_entry *entries = lua_newuserdatauv(L, (*count + 1) * sizeof *entries, 0);
    for (size_t i = 0; i < *count; i++) {
        struct error error;
        size_t size;
        lua_geti(L, index, (lua_Integer)i + 1);
        if (raft_entry_decode(check_slice(L, -1), &entries[i], &size, &error)) {
            luaL_error(L, "%s", error.text);
        }
        struct raft_payload *payload = &entries[i].payload;
        if (payload->bytes.size > 0) {
            payload->blob = blob_new(payload->bytes.data, payload->bytes.size);
            payload->bytes = slice_of(payload->blob->data, payload->blob->size);
        }
        lua_pop(L, 1);
    }
    return entries;
}

static void drop_entries(struct raft_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) raft_entry_drop(&entries[i]);
}

/* host:start{term=, vote=, configuration=, entries={bytes}, format_level=, snapshot=meta, base={index=, term=,
 * chain=}}: the entries follow the base; a configuration stands for a snapshot at index 0 */
static int start(lua_State *L)
{
    struct box *box = check_box(L);
    lua_getfield(L, 2, "entries");
    size_t count;
    struct raft_entry *entries = check_entries(L, lua_gettop(L), &count);
    struct raft_entry *configurations = lua_newuserdatauv(L, (count + 1) * sizeof *entries, 0);
    struct raft_entry *skips = lua_newuserdatauv(L, (count + 1) * sizeof *entries, 0);
    struct raft_term_run *runs = lua_newuserdatauv(L, (count + 1) * sizeof *runs, 0);
    struct raft_durable durable = {.runs = runs, .configurations = configurations, .skips = skips};
    durable.hard_state.term = field_u64(L, 2, "term");
    durable.hard_state.vote = raft_id_of(field_text(L, 2, "vote"));
    if (lua_getfield(L, 2, "snapshot") == LUA_TTABLE)
        durable.snapshot = check_meta(L, lua_gettop(L));
    else
        durable.snapshot.configuration = field_slice(L, 2, "configuration");
    uint32_t level = (uint32_t)field_u64(L, 2, "format_level");
    durable.snapshot.format_level = level != 0 ? level : FORMAT_LEVEL;
    if (lua_getfield(L, 2, "base") == LUA_TTABLE) {
        int base = lua_gettop(L);
        durable.base = (struct raft_log_base){.index = field_u64(L, base, "index"),
                                              .term = field_u64(L, base, "term"),
                                              .chain = field_u64(L, base, "chain")};
    }
    durable.last_index = durable.base.index + count;
    durable.last_chain = durable.base.chain;
    for (size_t i = 0; i < count; i++) {
        const struct raft_entry *entry = &entries[i];
        if (i == 0 || entry->term != entries[i - 1].term) {
            runs[durable.run_count++] = (struct raft_term_run){entry->index, entry->term};
        }
        if (entry->type == RAFT_CONFIGURATION) {
            configurations[durable.configuration_count++] = *entry;
        }
        if (entry->type == RAFT_SKIP) {
            skips[durable.skip_count++] = *entry;
        }
        durable.last_chain = entry->chain;
        durable.last_time_ms = entry->time_ms;
    }
    host_start(box->host, &durable);
    drop_entries(entries, count);
    return finish(box, 0);
}

static int turn(lua_State *L)
{
    struct box *box = check_box(L);
    lua_pushboolean(L, host_turn(box->host));
    return finish(box, 1);
}

static int timer(lua_State *L)
{
    struct box *box = check_box(L);
    host_timer(box->host);
    return finish(box, 0);
}

static int stop(lua_State *L)
{
    struct box *box = check_box(L);
    host_stop(box->host);
    return finish(box, 0);
}

/* ---- in: the disk ---- */

static enum error_code check_code(lua_State *L, int argument)
{
    struct slice name = slice_text(luaL_optstring(L, argument, "ok"));
    enum error_code code;
    luaL_argcheck(L, error_from_name((const char *)name.data, name.size, &code), argument, "code");
    return code;
}

static enum error_code check_error(lua_State *L, int argument, struct error *error)
{
    enum error_code code = check_code(L, argument);
    return error_set(error, code, "%s", luaL_optstring(L, argument + 1, error_help(code)));
}

/* host:persisted(sequence[, code, text]) */
static int persisted(lua_State *L)
{
    struct box *box = check_box(L);
    struct error error;
    enum error_code code = check_error(L, 3, &error);
    host_persisted(box->host, (uint64_t)luaL_checkinteger(L, 2), code, &error);
    return finish(box, 0);
}

static int bootstrapped(lua_State *L)
{
    struct box *box = check_box(L);
    struct error error;
    enum error_code code = check_error(L, 2, &error);
    host_bootstrapped(box->host, code, &error);
    return finish(box, 0);
}

/* host:snapshot_done{kind=, token=, code=, text=, offset=, bytes=} */
static int snapshot_done(lua_State *L)
{
    struct box *box = check_box(L);
    struct host_snapshot_report report = {.token = field_u64(L, 2, "token"),
                                          .offset = field_u64(L, 2, "offset")};
    const char *kind = field_text(L, 2, "kind");
    while (report.kind < HOST_SNAPSHOT_KINDS && strcmp(kind, job_kinds[report.kind]) != 0)
        report.kind++;
    luaL_argcheck(L, report.kind < HOST_SNAPSHOT_KINDS, 2, "kind");
    struct slice name = field_slice(L, 2, "code");
    if (name.size > 0) {
        bool known = error_from_name((const char *)name.data, name.size, &report.code);
        luaL_argcheck(L, known, 2, "code");
    }
    struct error error;
    const char *text = field_text(L, 2, "text");
    error_set(&error, report.code, "%s", text[0] != 0 ? text : error_help(report.code));
    report.error = &error;
    struct slice bytes = field_slice(L, 2, "bytes");
    if (bytes.size > 0) {
        struct blob *blob = blob_new(bytes.data, bytes.size);
        report.bytes = (struct raft_payload){blob, slice_of(blob->data, blob->size)};
    }
    host_snapshot_done(box->host, &report);
    blob_drop(report.bytes.blob);
    return finish(box, 0);
}

/* host:log_read(token, entries[, code, text]) */
static int log_read(lua_State *L)
{
    struct box *box = check_box(L);
    struct error error;
    enum error_code code = check_error(L, 4, &error);
    size_t count;
    struct raft_entry *entries = check_entries(L, 3, &count);
    host_log_read(box->host, (uint64_t)luaL_checkinteger(L, 2), entries, count, code, &error);
    drop_entries(entries, count);
    return finish(box, 0);
}

/* ---- in: the network ---- */

/* A hello as a table, to be looked at and changed. */
static int hello(lua_State *L)
{
    struct box *box = check_box(L);
    struct hello said;
    host_hello(box->host, &said);
    lua_createtable(L, 0, 10);
    set_text(L, "id", said.identity.id);
    set_u64(L, "incarnation", said.identity.incarnation);
    set_u64(L, "cluster", said.identity.cluster);
    set_text(L, "address", said.address);
    set_u64(L, "protocol_min", said.protocol_min);
    set_u64(L, "protocol_max", said.protocol_max);
    set_u64(L, "format_level", said.format_level);
    set_text(L, "lua_release", said.lua_release);
    set_u64(L, "peers_hash", said.peers_hash);
    set_boolean(L, "joining", said.joining);
    set_u64(L, "member_until", said.member_until);
    set_slice(L, "configuration", said.configuration);
    return finish(box, 1);
}

static struct identity check_identity(lua_State *L, int table)
{
    struct identity identity = {.incarnation = field_u64(L, table, "incarnation"),
                                .cluster = field_u64(L, table, "cluster")};
    field_copy_text(L, table, "id", identity.id, sizeof identity.id);
    return identity;
}

static int push_code(struct box *box, enum error_code code, const struct error *error)
{
    if (box->problem == LUA_NOREF && code != ERROR_OK) return push_failure(box->L, error);
    lua_pushboolean(box->L, true);
    return finish(box, 1);
}

static int receive_hello(lua_State *L)
{
    struct box *box = check_box(L);
    struct error error = {.text = ""};
    struct hello said = {
        .identity = check_identity(L, 2),
        .protocol_min = (uint32_t)field_u64(L, 2, "protocol_min"),
        .protocol_max = (uint32_t)field_u64(L, 2, "protocol_max"),
        .format_level = (uint32_t)field_u64(L, 2, "format_level"),
        .peers_hash = field_u64(L, 2, "peers_hash"),
        .joining = field_boolean(L, 2, "joining"),
        .member_until = field_u64(L, 2, "member_until"),
        .configuration = field_slice(L, 2, "configuration"),
    };
    field_copy_text(L, 2, "address", said.address, sizeof said.address);
    field_copy_text(L, 2, "lua_release", said.lua_release, sizeof said.lua_release);
    enum error_code code = host_receive_hello(box->host, &said, &error);
    return push_code(box, code, &error);
}

/* host:refused(by, code, text) */
static int refused(lua_State *L)
{
    struct box *box = check_box(L);
    struct error error;
    enum error_code code = check_error(L, 3, &error);
    struct raft_id by = raft_id_of(luaL_checkstring(L, 2));
    host_refused(box->host, &by, code, error.text);
    return finish(box, 0);
}

/* host:receive(identity, frame) */
static int receive(lua_State *L)
{
    struct box *box = check_box(L);
    struct identity from = check_identity(L, 2);
    struct slice bytes = check_slice(L, 3);
    struct blob *blob = blob_new(bytes.data, bytes.size);
    struct wire_entries entries = {0};
    struct wire_frame frame;
    struct error error = {.text = ""};
    enum error_code code =
        wire_decode(blob, slice_of(blob->data, blob->size), &entries, &frame, &error);
    if (code == ERROR_OK) host_receive(box->host, &from, &frame.message);
    wire_entries_deinit(&entries);
    blob_drop(blob);
    return push_code(box, code, &error);
}

static struct request check_request(lua_State *L, int table)
{
    static const char *const kinds[] = {"command", "query", "session", "keyed", "admin"};
    enum request_kind kind = REQUEST_COMMAND;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(field_text(L, table, "kind"), kinds[i]) == 0) kind = (enum request_kind)i;
    }
    return (struct request){
        .kind = kind,
        .consistency = field_boolean(L, table, "stale")   ? CONSISTENCY_STALE
                       : field_boolean(L, table, "lease") ? CONSISTENCY_LEASE
                                                          : CONSISTENCY_LINEARIZABLE,
        .session = field_u64(L, table, "session"),
        .sequence = field_u64(L, table, "sequence"),
        .timeout_ms = (uint32_t)field_u64(L, table, "timeout_ms"),
        .body = field_slice(L, table, "body"),
    };
}

/* host:forwarded(identity, ticket, request) */
static int forwarded(lua_State *L)
{
    struct box *box = check_box(L);
    struct identity from = check_identity(L, 2);
    struct request request = check_request(L, 4);
    host_forwarded(box->host, &from, (uint64_t)luaL_checkinteger(L, 3), &request);
    return finish(box, 0);
}

/* host:forward_reply(identity, ticket, code, body) */
static int forward_reply(lua_State *L)
{
    struct box *box = check_box(L);
    struct identity from = check_identity(L, 2);
    struct reply reply = {check_code(L, 4), check_slice(L, 5)};
    host_forward_reply(box->host, &from, (uint64_t)luaL_checkinteger(L, 3), &reply);
    return finish(box, 0);
}

static int peer_lost(lua_State *L)
{
    struct box *box = check_box(L);
    struct raft_id id = raft_id_of(luaL_checkstring(L, 2));
    host_peer_lost(box->host, &id);
    return finish(box, 0);
}

/* ---- in: clients ---- */

/* host:submit(ticket, {kind=, stale=, lease=, session=, sequence=, timeout_ms=, body=}) */
static int submit(lua_State *L)
{
    struct box *box = check_box(L);
    struct request request = check_request(L, 3);
    host_submit(box->host, (uint64_t)luaL_checkinteger(L, 2), &request);
    return finish(box, 0);
}

/* host:policy_decided(ticket, actions[, problem]): bytes, and a text where the policy has failed */
static int policy_decided(lua_State *L)
{
    struct box *box = check_box(L);
    struct error problem;
    bool failed = !lua_isnoneornil(L, 4);
    if (failed) error_set(&problem, ERROR_SCRIPT, "%s", luaL_checkstring(L, 4));
    struct slice actions = check_slice(L, 3);
    host_policy_decided(box->host, (uint64_t)luaL_checkinteger(L, 2), actions, failed ? &problem : NULL);
    return finish(box, 0);
}

static int cancel(lua_State *L)
{
    struct box *box = check_box(L);
    host_cancel(box->host, (uint64_t)luaL_checkinteger(L, 2));
    return finish(box, 0);
}

/* ---- what it says of itself ---- */

static int push_described(struct box *box, void (*describe)(const struct host *, struct buffer *))
{
    struct buffer bytes = {0};
    describe(box->host, &bytes);
    push_buffer(box->L, &bytes);
    struct mp_reader reader = mp_reader_of(check_slice(box->L, -1));
    unpack_value(box->L, &reader);
    return finish(box, 1);
}

static int status(lua_State *L)
{
    return push_described(check_box(L), host_status);
}

static int members(lua_State *L)
{
    return push_described(check_box(L), host_members);
}

static int config(lua_State *L)
{
    return push_described(check_box(L), host_config);
}

static int load(lua_State *L)
{
    return push_load(L, check_box(L)->host);
}

static int timings(lua_State *L)
{
    return push_timings(L, check_box(L)->host);
}

static int ready(lua_State *L)
{
    lua_pushboolean(L, host_ready(check_box(L)->host));
    return 1;
}

static int is_leader(lua_State *L)
{
    lua_pushboolean(L, host_is_leader(check_box(L)->host));
    return 1;
}

/* index, chain, state hash */
static int applied(lua_State *L)
{
    struct box *box = check_box(L);
    struct host_applied newest = host_applied(box->host);
    lua_pushinteger(L, (lua_Integer)newest.index);
    lua_pushinteger(L, (lua_Integer)newest.chain);
    lua_pushinteger(L, (lua_Integer)newest.state_hash);
    return finish(box, 3);
}

/* How many blobs are alive in the process: none is to stay behind. */
static int blobs(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)blob_count());
    return 1;
}

/* Each module has the one variable of a mutant build for itself: this is this one's. */
static int switch_mutant(lua_State *L)
{
    return check_mutant(L, 1);
}

__attribute__((visibility("default"))) int luaopen_moonclave_host(lua_State *L);

int luaopen_moonclave_host(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"start", start},         {"turn", turn},
        {"timer", timer},         {"stop", stop},
        {"persisted", persisted}, {"bootstrapped", bootstrapped},
        {"snapshot_done", snapshot_done},
        {"log_read", log_read},   {"hello", hello},
        {"refused", refused},     {"receive_hello", receive_hello},
        {"receive", receive},     {"forwarded", forwarded},
        {"cancel", cancel},       {"forward_reply", forward_reply},
        {"submit", submit},       {"peer_lost", peer_lost},
        {"status", status},       {"members", members}, {"config", config},
        {"load", load},           {"timings", timings},
        {"policy_decided", policy_decided},
        {"ready", ready},         {"is_leader", is_leader},
        {"applied", applied},     {"close", close},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"new", new}, {"blobs", blobs}, {"mutant", switch_mutant}, {NULL, NULL}};
    luaL_newmetatable(L, OBJECT_METATABLE);
    luaL_newmetatable(L, HOST_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, functions);
    return 1;
}
