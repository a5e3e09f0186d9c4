/*
 * Snapshots as Lua tables, for the modules that show them: metas, chunks, answers. Fields have their
 * names in raft/types.h; a chunk's bytes are `chunk`, a status is its number.
 */
#ifndef MOONCLAVE_MODULE_SNAPSHOT_TABLE_H
#define MOONCLAVE_MODULE_SNAPSHOT_TABLE_H

#include "module/fields.h"
#include "raft/snapshot_meta.h"

/* The configuration is borrowed from the table's string. */
static inline struct raft_snapshot_meta check_meta(lua_State *L, int table)
{
    luaL_checktype(L, table, LUA_TTABLE);
    return (struct raft_snapshot_meta){
        .index = field_u64(L, table, "index"),
        .term = field_u64(L, table, "term"),
        .chain = field_u64(L, table, "chain"),
        .format_level = (uint32_t)field_u64(L, table, "format_level"),
        .system_hash = field_u64(L, table, "system_hash"),
        .state_hash = field_u64(L, table, "state_hash"),
        .size = field_u64(L, table, "size"),
        .configuration_index = field_u64(L, table, "configuration_index"),
        .configuration = field_slice(L, table, "configuration"),
    };
}

static inline void push_meta(lua_State *L, const struct raft_snapshot_meta *meta)
{
    lua_createtable(L, 0, 9);
    set_u64(L, "index", meta->index);
    set_u64(L, "term", meta->term);
    set_u64(L, "chain", meta->chain);
    set_u64(L, "format_level", meta->format_level);
    set_u64(L, "system_hash", meta->system_hash);
    set_u64(L, "state_hash", meta->state_hash);
    set_u64(L, "size", meta->size);
    set_u64(L, "configuration_index", meta->configuration_index);
    set_slice(L, "configuration", meta->configuration);
}

/* A checksum that is not given is made; so is `last`, from the meta's size. */
static inline void check_install_snapshot(lua_State *L, int table,
                                          struct raft_install_snapshot *install)
{
    lua_getfield(L, table, "meta");
    install->meta = check_meta(L, lua_gettop(L));
    lua_pop(L, 1);
    install->attempt = field_u64(L, table, "attempt");
    install->offset = field_u64(L, table, "offset");
    install->chunk.bytes = field_slice(L, table, "chunk");
    install->checksum = raft_chunk_checksum(install->offset, install->chunk.bytes);
    install->last = install->offset + install->chunk.bytes.size == install->meta.size;
    if (lua_getfield(L, table, "checksum") != LUA_TNIL) {
        install->checksum = (uint64_t)luaL_checkinteger(L, -1);
    }
    if (lua_getfield(L, table, "last") != LUA_TNIL) install->last = lua_toboolean(L, -1);
    lua_pop(L, 2);
}

static inline void push_install_snapshot(lua_State *L, const struct raft_install_snapshot *install)
{
    push_meta(L, &install->meta);
    lua_setfield(L, -2, "meta");
    set_u64(L, "attempt", install->attempt);
    set_u64(L, "offset", install->offset);
    set_u64(L, "checksum", install->checksum);
    set_boolean(L, "last", install->last);
    set_slice(L, "chunk", install->chunk.bytes);
}

static inline void check_snapshot_result(lua_State *L, int table,
                                         struct raft_snapshot_result *result)
{
    result->index = field_u64(L, table, "index");
    result->term = field_u64(L, table, "snapshot_term");
    result->attempt = field_u64(L, table, "attempt");
    result->status = (enum raft_snapshot_status)field_u64(L, table, "status");
    result->offset = field_u64(L, table, "offset");
    result->match = field_u64(L, table, "match");
}

static inline void push_snapshot_result(lua_State *L, const struct raft_snapshot_result *result)
{
    set_u64(L, "index", result->index);
    set_u64(L, "snapshot_term", result->term);
    set_u64(L, "attempt", result->attempt);
    set_u64(L, "status", result->status);
    set_u64(L, "offset", result->offset);
    set_u64(L, "match", result->match);
}

#endif
