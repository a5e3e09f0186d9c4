/*
 * Lua values and canonical msgpack, for the specs' modules: the plain reading of base/mp.h, made to
 * be compared with. (The values that apps see are script's, with objects and limits of their own.)
 * A table with keys 1 ... n is an array, one with the metatable given as `object` or with other
 * keys a map; a null light userdata is nil within tables.
 */
#ifndef MOONCLAVE_MODULE_VALUES_H
#define MOONCLAVE_MODULE_VALUES_H

#include "base/mp.h"
#include "module/fields.h"

#include <stdlib.h>

#define OBJECT_METATABLE "moonclave.spec.object"

struct map_key {
    bool is_string;
    lua_Integer integer;
    struct slice string; /* Lua's: the table holds it */
};

/* Integers ascending, then strings bytewise. */
static inline int compare_keys(const void *a, const void *b)
{
    const struct map_key *one = a, *other = b;
    if (one->is_string != other->is_string) return one->is_string ? 1 : -1;
    if (one->is_string) return slice_compare(one->string, other->string);
    return (one->integer > other->integer) - (one->integer < other->integer);
}

static inline void pack_value(lua_State *L, struct buffer *out);

static inline void pack_map(lua_State *L, struct buffer *out)
{
    int table = lua_gettop(L);
    size_t count = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) count++;
    struct map_key *keys = lua_newuserdatauv(L, count * sizeof *keys + 1, 0);
    count = 0;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        struct map_key key = {.is_string = lua_type(L, -2) == LUA_TSTRING};
        if (key.is_string) {
            key.string = check_slice(L, -2);
        } else {
            key.integer = luaL_checkinteger(L, -2);
        }
        keys[count++] = key;
    }
    if (count) qsort(keys, count, sizeof *keys, compare_keys);
    mp_write_map(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        if (keys[i].is_string) {
            mp_write_string(out, keys[i].string);
            push_slice(L, keys[i].string);
        } else {
            mp_write_integer(out, keys[i].integer);
            lua_pushinteger(L, keys[i].integer);
        }
        lua_gettable(L, table);
        pack_value(L, out);
    }
    lua_settop(L, table);
}

static inline bool is_array(lua_State *L)
{
    lua_Integer count = luaL_len(L, -1), seen = 0;
    if (luaL_getmetafield(L, -1, "__name") != LUA_TNIL) {
        lua_pop(L, 1);
        return false;
    }
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) seen++;
    return seen == count;
}

/* Pops the value on top and appends its bytes. */
static inline void pack_value(lua_State *L, struct buffer *out)
{
    luaL_checkstack(L, 8, "value");
    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        mp_write_boolean(out, lua_toboolean(L, -1));
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1)) {
            mp_write_integer(out, lua_tointeger(L, -1));
        } else {
            mp_write_float(out, lua_tonumber(L, -1));
        }
        break;
    case LUA_TSTRING:
        mp_write_string(out, check_slice(L, -1));
        break;
    case LUA_TTABLE:
        if (!is_array(L)) {
            pack_map(L, out);
            break;
        }
        mp_write_array(out, (uint32_t)luaL_len(L, -1));
        for (lua_Integer i = 1; i <= luaL_len(L, -1); i++) {
            lua_geti(L, -1, i);
            pack_value(L, out);
        }
        break;
    default:
        mp_write_nil(out);
        break;
    }
    lua_pop(L, 1);
}

/* Pushes the next value; raises what is malformed. */
static inline void unpack_value(lua_State *L, struct mp_reader *reader)
{
    struct mp_item item;
    luaL_checkstack(L, 8, "value");
    if (!mp_read(reader, &item)) luaL_error(L, "malformed");
    switch (item.type) {
    case MP_NIL:
        lua_pushlightuserdata(L, NULL);
        break;
    case MP_BOOLEAN:
        lua_pushboolean(L, item.boolean);
        break;
    case MP_INTEGER:
        lua_pushinteger(L, item.integer);
        break;
    case MP_UNSIGNED:
        lua_pushfstring(L, "unsigned %I", (lua_Integer)item.unsigned_integer);
        break;
    case MP_FLOAT:
        lua_pushnumber(L, item.number);
        break;
    case MP_STRING:
        push_slice(L, item.string);
        break;
    case MP_ARRAY:
        lua_newtable(L);
        for (uint32_t i = 1; i <= item.count; i++) {
            unpack_value(L, reader);
            lua_seti(L, -2, i);
        }
        break;
    case MP_MAP:
        lua_newtable(L);
        luaL_setmetatable(L, OBJECT_METATABLE);
        for (uint32_t i = 0; i < item.count; i++) {
            unpack_value(L, reader);
            unpack_value(L, reader);
            lua_settable(L, -3);
        }
        break;
    }
}

#endif
