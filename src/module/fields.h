/*
 * Small moves that the Lua modules share: fields of a table in, fields of a table out. Only
 * src/module includes it. 64-bit numbers of ours that are unsigned appear in Lua as integers with
 * the same bits.
 */
#ifndef MOONCLAVE_MODULE_FIELDS_H
#define MOONCLAVE_MODULE_FIELDS_H

#include "base/buffer.h"
#include "base/error.h"

#include <lauxlib.h>
#include <lua.h>

/* The bytes of the string argument; Lua's, valid while it is on the stack. */
static inline struct slice check_slice(lua_State *L, int argument)
{
    size_t size;
    const char *bytes = luaL_checklstring(L, argument, &size);
    return slice_of(bytes, size);
}

static inline void push_slice(lua_State *L, struct slice slice)
{
    lua_pushlstring(L, slice.size ? (const char *)slice.data : "", slice.size);
}

/* Pushes what the buffer holds, and frees it. */
static inline int push_buffer(lua_State *L, struct buffer *buffer)
{
    push_slice(L, buffer_slice(buffer));
    buffer_deinit(buffer);
    return 1;
}

/* nil, "corrupt", "entry 7: its checksum does not match" */
static inline int push_failure(lua_State *L, const struct error *error)
{
    lua_pushnil(L);
    lua_pushstring(L, error_name(error->code));
    lua_pushstring(L, error->text);
    return 3;
}

/* A field's number, 0 where there is none. */
static inline uint64_t field_u64(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    uint64_t value = lua_isnil(L, -1) ? 0 : (uint64_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    return value;
}

static inline bool field_boolean(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    bool value = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return value;
}

/* A field's bytes, none where there is none; Lua's, valid while the table holds them. */
static inline struct slice field_slice(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    struct slice value = {0};
    if (!lua_isnil(L, -1)) value = check_slice(L, -1);
    lua_pop(L, 1);
    return value;
}

static inline const char *field_text(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    const char *value = lua_isnil(L, -1) ? "" : luaL_checkstring(L, -1);
    lua_pop(L, 1);
    return value;
}

/* Into a fixed text field; raises what does not fit. */
static inline void field_copy_text(lua_State *L, int table, const char *name, char *out,
                                   size_t capacity)
{
    struct slice value = field_slice(L, table, name);
    if (value.size >= capacity) luaL_error(L, "%s is too long", name);
    for (size_t i = 0; i < capacity; i++) out[i] = i < value.size ? (char)value.data[i] : 0;
}

static inline void set_u64(lua_State *L, const char *name, uint64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static inline void set_boolean(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static inline void set_slice(lua_State *L, const char *name, struct slice value)
{
    push_slice(L, value);
    lua_setfield(L, -2, name);
}

static inline void set_text(lua_State *L, const char *name, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

#endif
