/*
 * moonclave.formats: the frozen bytes of Raft's side, for the specs: entries, configurations,
 * snapshot metas; and what a SETTINGS entry says.
 *
 * Encoders take a table and return bytes; decoders take bytes and return a table, or nil, the
 * error's code and its text.
 */
#include "host/system.h"
#include "module/entry_table.h"
#include "module/fields.h"
#include "module/snapshot_table.h"
#include "raft/configuration.h"
#include "raft/entry.h"

#include "base/memory.h"

#include <string.h>

/* ---- entries ---- */

static int entry_encode(lua_State *L)
{
    struct raft_entry entry = check_entry(L, 1);
    struct buffer out = {0};
    raft_entry_encode(&entry, &out);
    return push_buffer(L, &out);
}

/* entry, size */
static int entry_decode(lua_State *L)
{
    struct raft_entry entry;
    struct error error;
    size_t size;
    if (raft_entry_decode(check_slice(L, 1), &entry, &size, &error)) return push_failure(L, &error);
    push_entry(L, &entry);
    lua_pushinteger(L, (lua_Integer)size);
    return 2;
}

/* entry_chain(entry, previous) */
static int entry_chain(lua_State *L)
{
    struct raft_entry entry = check_entry(L, 1);
    lua_pushinteger(L, (lua_Integer)raft_entry_chain(&entry, (uint64_t)luaL_checkinteger(L, 2)));
    return 1;
}

static int entry_type_name(lua_State *L)
{
    lua_pushstring(L, raft_entry_type_name((unsigned)luaL_checkinteger(L, 1)));
    return 1;
}

/* ---- configurations ---- */

static void check_addresses(lua_State *L, int table, struct raft_server *server)
{
    if (lua_getfield(L, table, "addresses") == LUA_TNIL) return;
    server->address_count = (size_t)luaL_len(L, -1);
    server->addresses = memory_zero(server->address_count, sizeof *server->addresses);
    for (size_t i = 0; i < server->address_count; i++) {
        lua_geti(L, -1, (lua_Integer)i + 1);
        int address = lua_gettop(L);
        server->addresses[i].kind = memory_copy_text(field_text(L, address, "kind"));
        server->addresses[i].host = memory_copy_text(field_text(L, address, "host"));
        server->addresses[i].port = (uint16_t)field_u64(L, address, "port");
        lua_pop(L, 1);
    }
}

/* Labels are given as a list of {name, value}, in order. */
static void check_labels(lua_State *L, int table, struct raft_server *server)
{
    if (lua_getfield(L, table, "labels") == LUA_TNIL) return;
    server->label_count = (size_t)luaL_len(L, -1);
    server->labels = memory_zero(server->label_count, sizeof *server->labels);
    for (size_t i = 0; i < server->label_count; i++) {
        lua_geti(L, -1, (lua_Integer)i + 1);
        lua_geti(L, -1, 1);
        lua_geti(L, -2, 2);
        server->labels[i].name = memory_copy_text(luaL_checkstring(L, -2));
        server->labels[i].value = memory_copy_text(luaL_checkstring(L, -1));
        lua_pop(L, 3);
    }
}

static void check_server(lua_State *L, struct raft_server *server)
{
    int table = lua_gettop(L);
    field_copy_text(L, table, "id", server->id.text, sizeof server->id.text);
    server->incarnation = field_u64(L, table, "incarnation");
    server->role = (enum raft_server_role)field_u64(L, table, "role");
    server->priority = (uint32_t)field_u64(L, table, "priority");
    check_addresses(L, table, server);
    check_labels(L, table, server);
    lua_settop(L, table);
}

/* Owned by the caller. A table that is not one raises, and leaks what was read: specs only. */
static struct raft_configuration check_configuration(lua_State *L, int table)
{
    luaL_checktype(L, table, LUA_TTABLE);
    struct raft_configuration configuration = {.previous = field_u64(L, table, "previous")};
    int top = lua_gettop(L);
    if (lua_getfield(L, table, "servers") != LUA_TNIL) {
        configuration.server_count = (size_t)luaL_len(L, -1);
        configuration.servers =
            memory_zero(configuration.server_count, sizeof *configuration.servers);
        for (size_t i = 0; i < configuration.server_count; i++) {
            lua_geti(L, top + 1, (lua_Integer)i + 1);
            check_server(L, &configuration.servers[i]);
        }
    }
    lua_settop(L, top);
    if (lua_getfield(L, table, "outgoing") != LUA_TNIL) {
        configuration.outgoing_count = (size_t)luaL_len(L, -1);
        configuration.outgoing =
            memory_zero(configuration.outgoing_count, sizeof *configuration.outgoing);
        for (size_t i = 0; i < configuration.outgoing_count; i++) {
            lua_geti(L, top + 1, (lua_Integer)i + 1);
            configuration.outgoing[i] = raft_id_of(luaL_checkstring(L, -1));
            lua_pop(L, 1);
        }
    }
    lua_settop(L, top);
    return configuration;
}

static void push_server(lua_State *L, const struct raft_server *server)
{
    lua_createtable(L, 0, 6);
    set_text(L, "id", server->id.text);
    set_u64(L, "incarnation", server->incarnation);
    set_u64(L, "role", server->role);
    set_u64(L, "priority", server->priority);
    lua_newtable(L);
    for (size_t i = 0; i < server->address_count; i++) {
        lua_createtable(L, 0, 3);
        set_text(L, "kind", server->addresses[i].kind);
        set_text(L, "host", server->addresses[i].host);
        set_u64(L, "port", server->addresses[i].port);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "addresses");
    lua_newtable(L);
    for (size_t i = 0; i < server->label_count; i++) {
        lua_createtable(L, 2, 0);
        lua_pushstring(L, server->labels[i].name);
        lua_seti(L, -2, 1);
        lua_pushstring(L, server->labels[i].value);
        lua_seti(L, -2, 2);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "labels");
}

static void push_configuration(lua_State *L, const struct raft_configuration *configuration)
{
    lua_createtable(L, 0, 3);
    set_u64(L, "previous", configuration->previous);
    lua_newtable(L);
    for (size_t i = 0; i < configuration->server_count; i++) {
        push_server(L, &configuration->servers[i]);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "servers");
    lua_newtable(L);
    for (size_t i = 0; i < configuration->outgoing_count; i++) {
        lua_pushstring(L, configuration->outgoing[i].text);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "outgoing");
}

/* By way of a copy, so that every encoding in the specs checks copying too. */
static int configuration_encode(lua_State *L)
{
    struct raft_configuration configuration = check_configuration(L, 1), copy = {0};
    raft_configuration_copy(&copy, &configuration);
    raft_configuration_deinit(&configuration);
    struct buffer out = {0};
    raft_configuration_encode(&copy, &out);
    raft_configuration_deinit(&copy);
    return push_buffer(L, &out);
}

static int configuration_decode(lua_State *L)
{
    struct raft_configuration configuration = {0};
    struct error error;
    if (raft_configuration_decode(check_slice(L, 1), &configuration, &error)) {
        return push_failure(L, &error);
    }
    push_configuration(L, &configuration);
    raft_configuration_deinit(&configuration);
    return 1;
}

/* configuration_make{{id, incarnation, address, role}, ...}: built with raft_configuration_add. */
static int configuration_make(lua_State *L)
{
    struct raft_configuration configuration;
    raft_configuration_init(&configuration);
    struct error error;
    lua_Integer count = luaL_len(L, 1);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        int server = lua_gettop(L);
        enum error_code code = raft_configuration_add(
            &configuration, field_text(L, server, "id"), field_u64(L, server, "incarnation"),
            field_text(L, server, "address"), (enum raft_server_role)field_u64(L, server, "role"),
            &error);
        lua_pop(L, 1);
        if (code) {
            raft_configuration_deinit(&configuration);
            return push_failure(L, &error);
        }
    }
    push_configuration(L, &configuration);
    raft_configuration_deinit(&configuration);
    return 1;
}

/* configuration_change(configuration, "remove" | "role" | "priority" | "address" | "label", id, value, kind):
 * with that change, or nil, code, text. A label's kind is its name; without a value it goes. */
static int configuration_change(lua_State *L)
{
    struct raft_configuration configuration = check_configuration(L, 1);
    const char *what = luaL_checkstring(L, 2), *id = luaL_checkstring(L, 3);
    struct error error;
    enum error_code code;
    if (strcmp(what, "remove") == 0) {
        code = raft_configuration_remove(&configuration, id, &error);
    } else if (strcmp(what, "address") == 0) {
        const char *kind = luaL_checkstring(L, 5), *address = luaL_checkstring(L, 4);
        code = raft_configuration_set_address(&configuration, id, kind, address, &error);
    } else if (strcmp(what, "label") == 0) {
        const char *name = luaL_checkstring(L, 5), *value = luaL_optstring(L, 4, NULL);
        code = raft_configuration_set_label(&configuration, id, name, value, &error);
    } else if (strcmp(what, "role") == 0) {
        enum raft_server_role role = (enum raft_server_role)luaL_checkinteger(L, 4);
        code = raft_configuration_set_role(&configuration, id, role, &error);
    } else {
        uint32_t priority = (uint32_t)luaL_checkinteger(L, 4);
        code = raft_configuration_set_priority(&configuration, id, priority, &error);
    }
    int results = 1;
    if (code) {
        results = push_failure(L, &error);
    } else {
        push_configuration(L, &configuration);
    }
    raft_configuration_deinit(&configuration);
    return results;
}

/* configuration_next(from, previous, wanted) -> what is to be appended */
static int configuration_next(lua_State *L)
{
    struct raft_configuration from = check_configuration(L, 1), wanted = check_configuration(L, 3);
    struct raft_configuration next = {0};
    raft_configuration_next(&from, (raft_index)luaL_checkinteger(L, 2), &wanted, &next);
    push_configuration(L, &next);
    raft_configuration_deinit(&from);
    raft_configuration_deinit(&wanted);
    raft_configuration_deinit(&next);
    return 1;
}

/* configuration_settled(joint, previous) -> what it is left for */
static int configuration_settled(lua_State *L)
{
    struct raft_configuration joint = check_configuration(L, 1), next = {0};
    raft_configuration_settled(&joint, (raft_index)luaL_checkinteger(L, 2), &next);
    push_configuration(L, &next);
    raft_configuration_deinit(&joint);
    raft_configuration_deinit(&next);
    return 1;
}

/* configuration_address(configuration, id, kind) */
static int configuration_address(lua_State *L)
{
    struct raft_configuration configuration = check_configuration(L, 1);
    struct raft_id id = raft_id_of(luaL_checkstring(L, 2));
    const struct raft_server *server = raft_configuration_find(&configuration, &id);
    char address[ADDRESS_MAX + 1];
    bool found = server && raft_server_address(server, luaL_checkstring(L, 3), address);
    raft_configuration_deinit(&configuration);
    if (!found) return 0;
    lua_pushstring(L, address);
    return 1;
}

static int configuration_is_voter(lua_State *L)
{
    struct raft_configuration configuration = check_configuration(L, 1);
    struct raft_id id = raft_id_of(luaL_checkstring(L, 2));
    lua_pushboolean(L, raft_configuration_is_voter(&configuration, &id));
    raft_configuration_deinit(&configuration);
    return 1;
}

static int address_split(lua_State *L)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    if (!raft_address_split(luaL_checkstring(L, 1), host, &port)) return 0;
    lua_pushstring(L, host);
    lua_pushinteger(L, port);
    return 2;
}

/* ---- majorities: the second argument is a table by id ---- */

static raft_index index_of(void *context, const struct raft_id *id)
{
    return field_u64(context, 2, id->text);
}

static bool has(void *context, const struct raft_id *id)
{
    return field_boolean(context, 2, id->text);
}

static int quorum_index(lua_State *L)
{
    struct raft_configuration configuration = check_configuration(L, 1);
    lua_pushinteger(L, (lua_Integer)raft_quorum_index(&configuration, index_of, L));
    raft_configuration_deinit(&configuration);
    return 1;
}

static int quorum_has(lua_State *L)
{
    struct raft_configuration configuration = check_configuration(L, 1);
    lua_pushboolean(L, raft_quorum_has(&configuration, has, L));
    raft_configuration_deinit(&configuration);
    return 1;
}

/* ---- snapshot metas ---- */

static int meta_encode(lua_State *L)
{
    struct raft_snapshot_meta meta = check_meta(L, 1);
    struct buffer out = {0};
    raft_snapshot_meta_encode(&meta, &out);
    return push_buffer(L, &out);
}

static int meta_decode(lua_State *L)
{
    struct raft_snapshot_meta meta;
    struct error error;
    if (raft_snapshot_meta_decode(check_slice(L, 1), &meta, &error)) return push_failure(L, &error);
    push_meta(L, &meta);
    return 1;
}

/* ---- settings ---- */

/* settings_encode{name = value, ...} */
static int settings_encode(lua_State *L)
{
    struct settings_change change = {0};
    struct buffer out = {0};
    struct error error;
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        if (settings_change_add(&change, luaL_checkstring(L, -2), NULL, (uint64_t)luaL_checkinteger(L, -1), &error))
            return push_failure(L, &error);
    }
    settings_payload_encode(&change, &out);
    return push_buffer(L, &out);
}

/* settings_decode(bytes) -> {name = value, ...} */
static int settings_decode(lua_State *L)
{
    struct settings_change change;
    struct error error;
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    if (settings_payload_decode(check_slice(L, 1), &change, &error)) return push_failure(L, &error);
    lua_newtable(L);
    for (unsigned i = 0; i < count; i++) {
        if (change.named[i]) set_u64(L, rows[i].name, settings_get(&change.values, &rows[i]));
    }
    return 1;
}

static const luaL_Reg functions[] = {
    {"entry_encode", entry_encode},
    {"entry_decode", entry_decode},
    {"entry_chain", entry_chain},
    {"entry_type_name", entry_type_name},
    {"configuration_encode", configuration_encode},
    {"configuration_decode", configuration_decode},
    {"configuration_make", configuration_make},
    {"configuration_change", configuration_change},
    {"configuration_next", configuration_next},
    {"configuration_settled", configuration_settled},
    {"configuration_address", configuration_address},
    {"configuration_is_voter", configuration_is_voter},
    {"address_split", address_split},
    {"quorum_index", quorum_index},
    {"quorum_has", quorum_has},
    {"meta_encode", meta_encode},
    {"meta_decode", meta_decode},
    {"settings_encode", settings_encode},
    {"settings_decode", settings_decode},
    {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_moonclave_formats(lua_State *L);
int luaopen_moonclave_formats(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
