/* Entries as Lua tables, for the modules that show entries. */
#ifndef MOONCLAVE_MODULE_ENTRY_TABLE_H
#define MOONCLAVE_MODULE_ENTRY_TABLE_H

#include "module/fields.h"
#include "raft/entry.h"

/* The payload is borrowed from the table's string. */
static inline struct raft_entry check_entry(lua_State *L, int table)
{
    luaL_checktype(L, table, LUA_TTABLE);
    return (struct raft_entry){
        .type = (uint8_t)field_u64(L, table, "type"),
        .flags = (uint16_t)field_u64(L, table, "flags"),
        .term = field_u64(L, table, "term"),
        .index = field_u64(L, table, "index"),
        .time_ms = field_u64(L, table, "time_ms"),
        .seed = field_u64(L, table, "seed"),
        .session = field_u64(L, table, "session"),
        .sequence = field_u64(L, table, "sequence"),
        .chain = field_u64(L, table, "chain"),
        .payload = {NULL, field_slice(L, table, "payload")},
    };
}

static inline void push_entry(lua_State *L, const struct raft_entry *entry)
{
    lua_createtable(L, 0, 10);
    set_u64(L, "type", entry->type);
    set_u64(L, "flags", entry->flags);
    set_u64(L, "term", entry->term);
    set_u64(L, "index", entry->index);
    set_u64(L, "time_ms", entry->time_ms);
    set_u64(L, "seed", entry->seed);
    set_u64(L, "session", entry->session);
    set_u64(L, "sequence", entry->sequence);
    set_u64(L, "chain", entry->chain);
    set_slice(L, "payload", entry->payload.bytes);
}

#endif
