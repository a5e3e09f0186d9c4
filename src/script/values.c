/*
 * Lua values <-> msgpack. Canonical form asks for map keys in order, so a map's keys are gathered and sorted first: on
 * the C stack while they are few, in a userdata (which an error frees) when they are many.
 */
#include "script/values.h"

#include <lauxlib.h>
#include <stdlib.h>

#define FEW_KEYS 16
#define TABLE_HINT_MAX 4096 /* a count in the bytes is believed this far before its elements have been seen */

/* A map's key; the string belongs to the table that is being written. */
struct key {
    bool is_string;
    int64_t integer;
    struct slice string;
};

/* Where in a value we are, for error texts: a list from the innermost outwards, on the C stack. */
struct step {
    const struct step *up;
    const struct key *key; /* null: element `position` of an array */
    lua_Integer position;
};

struct encoder {
    lua_State *L;
    struct buffer *out;
    const struct value_rules *rules;
};

static const char object_key; /* its address is where the registry keeps object's metatable */

static bool push_value(lua_State *L, struct mp_reader *reader, int depth);
static void encode(struct encoder *encoder, int index, int depth, const struct step *where);
static int object(lua_State *L);
static void push_object_metatable(lua_State *L);

bool value_push(lua_State *L, struct mp_reader *reader)
{
    int top = lua_gettop(L);
    if (push_value(L, reader, 0)) return true;
    lua_settop(L, top);
    return false;
}

void value_encode(lua_State *L, int index, struct buffer *out)
{
    static const struct value_rules no_rules = {.foreign = NULL};
    value_encode_with(L, index, out, &no_rules);
}

void value_encode_with(lua_State *L, int index, struct buffer *out, const struct value_rules *rules)
{
    struct encoder encoder = {.L = L, .out = out, .rules = rules};
    encode(&encoder, lua_absindex(L, index), rules->depth, NULL);
}

void value_push_object_function(lua_State *L)
{
    push_object_metatable(L);
    lua_pop(L, 1);
    lua_pushcfunction(L, object);
}

bool value_is_object(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &object_key);
    bool is_object = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is_object;
}

/* ---- marked maps ---- */

static int object(lua_State *L)
{
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_getmetatable(L, 1) && !value_is_object(L, 1)) return luaL_error(L, "the table has a metatable already");
    push_object_metatable(L);
    lua_setmetatable(L, 1);
    lua_settop(L, 1);
    return 1;
}

static void push_object_metatable(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &object_key) == LUA_TTABLE) return;
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "moonclave.object");
    lua_setfield(L, -2, "__metatable");
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &object_key);
}

/* ---- bytes to Lua ---- */

static bool push_array(lua_State *L, struct mp_reader *reader, uint32_t count, int depth);
static bool push_map(lua_State *L, struct mp_reader *reader, uint32_t count, int depth);

static bool push_value(lua_State *L, struct mp_reader *reader, int depth)
{
    struct mp_item item;
    if (!lua_checkstack(L, 4) || !mp_read(reader, &item)) return false;
    switch (item.type) {
    case MP_NIL:
        lua_pushnil(L);
        return true;
    case MP_BOOLEAN:
        lua_pushboolean(L, item.boolean);
        return true;
    case MP_INTEGER:
        lua_pushinteger(L, item.integer);
        return true;
    case MP_UNSIGNED:
        lua_pushnumber(L, (lua_Number)item.unsigned_integer);
        return true;
    case MP_FLOAT:
        lua_pushnumber(L, item.number);
        return true;
    case MP_STRING:
        lua_pushlstring(L, (const char *)item.string.data, item.string.size);
        return true;
    case MP_ARRAY:
        return depth < VALUE_DEPTH_MAX && push_array(L, reader, item.count, depth);
    case MP_MAP:
        return depth < VALUE_DEPTH_MAX && push_map(L, reader, item.count, depth);
    }
    return false;
}

static int table_hint(uint32_t count)
{
    return count < TABLE_HINT_MAX ? (int)count : TABLE_HINT_MAX;
}

static bool push_array(lua_State *L, struct mp_reader *reader, uint32_t count, int depth)
{
    lua_createtable(L, table_hint(count), 0);
    for (uint32_t i = 1; i <= count; i++) {
        if (!push_value(L, reader, depth + 1)) return false;
        lua_rawseti(L, -2, i);
    }
    return true;
}

static bool push_map(lua_State *L, struct mp_reader *reader, uint32_t count, int depth)
{
    lua_createtable(L, 0, table_hint(count));
    for (uint32_t i = 0; i < count; i++) {
        if (!push_value(L, reader, VALUE_DEPTH_MAX)) return false; /* no container is a key */
        if (!lua_isinteger(L, -1) && lua_type(L, -1) != LUA_TSTRING) return false;
        if (!push_value(L, reader, depth + 1)) return false;
        lua_rawset(L, -3);
    }
    if (count == 0) {
        push_object_metatable(L);
        lua_setmetatable(L, -2);
    }
    return true;
}

/* ---- Lua to bytes ---- */

static void encode_table(struct encoder *encoder, int index, int depth, const struct step *where);
static void encode_array(struct encoder *encoder, int index, lua_Integer count, int depth, const struct step *where);
static void encode_map(struct encoder *encoder, int index, size_t count, int depth, const struct step *where);
static _Noreturn void refuse(struct encoder *encoder, const struct step *where, const char *format, const char *what);

static void encode(struct encoder *encoder, int index, int depth, const struct step *where)
{
    lua_State *L = encoder->L;
    const struct value_rules *rules = encoder->rules;
    int type = lua_type(L, index);
    size_t size = 0;
    const char *text = type == LUA_TSTRING ? lua_tolstring(L, index, &size) : NULL;
    if (rules->bytes_max > 0 && encoder->out->size + size > rules->bytes_max) {
        refuse(encoder, where, "the value is too large", NULL);
    }
    if (type == LUA_TSTRING) {
        if (size > UINT32_MAX) refuse(encoder, where, "a string of over 4 GiB is too large", NULL);
        mp_write_string(encoder->out, slice_of(text, size));
    } else if (type == LUA_TNUMBER) {
        if (lua_isinteger(L, index)) {
            mp_write_integer(encoder->out, lua_tointeger(L, index));
        } else {
            mp_write_float(encoder->out, lua_tonumber(L, index));
        }
    } else if (type == LUA_TTABLE) {
        encode_table(encoder, index, depth, where);
    } else if (type == LUA_TBOOLEAN) {
        mp_write_boolean(encoder->out, lua_toboolean(L, index));
    } else if (type == LUA_TNIL) {
        mp_write_nil(encoder->out);
    } else if (!rules->foreign || !rules->foreign(L, index, encoder->out, depth)) {
        refuse(encoder, where, "a %s is not plain data", lua_typename(L, type));
    }
}

/* One walk counts the keys and finds the largest: exactly 1..n when both agree and all are positive integers. */
static void encode_table(struct encoder *encoder, int index, int depth, const struct step *where)
{
    lua_State *L = encoder->L;
    if (depth >= VALUE_DEPTH_MAX) refuse(encoder, where, "nested too deep, or within itself", NULL);
    luaL_checkstack(L, 8, "in a nested value");
    if (encoder->rules->refuse_metatables && lua_getmetatable(L, index)) {
        lua_pop(L, 1);
        if (!value_is_object(L, index)) refuse(encoder, where, "a table with a metatable is not plain data", NULL);
    }
    lua_Integer count = 0, last = 0;
    bool array = true;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        count++;
        if (!array) continue;
        lua_Integer key = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        if (key < 1) array = false;
        if (key > last) last = key;
    }
    if (count > UINT32_MAX) refuse(encoder, where, "a table of over 2^32 keys is too large", NULL);
    if (array && last == count && !value_is_object(L, index)) {
        encode_array(encoder, index, count, depth, where);
    } else {
        encode_map(encoder, index, (size_t)count, depth, where);
    }
}

static void encode_array(struct encoder *encoder, int index, lua_Integer count, int depth, const struct step *where)
{
    lua_State *L = encoder->L;
    mp_write_array(encoder->out, (uint32_t)count);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, index, i);
        struct step step = {.up = where, .position = i};
        encode(encoder, lua_gettop(L), depth + 1, &step);
        lua_pop(L, 1);
    }
}

static void gather_keys(struct encoder *encoder, int index, struct key *keys, size_t count, const struct step *where);
static int compare_keys(const void *a, const void *b);

static void encode_map(struct encoder *encoder, int index, size_t count, int depth, const struct step *where)
{
    lua_State *L = encoder->L;
    struct key few[FEW_KEYS], *keys = few;
    int top = lua_gettop(L);
    if (count > FEW_KEYS) keys = lua_newuserdatauv(L, count * sizeof *keys, 0);
    gather_keys(encoder, index, keys, count, where);
    if (count > 1) qsort(keys, count, sizeof *keys, compare_keys);
    mp_write_map(encoder->out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const struct key *key = &keys[i];
        if (key->is_string) {
            mp_write_string(encoder->out, key->string);
            lua_pushlstring(L, (const char *)key->string.data, key->string.size);
            lua_rawget(L, index);
        } else {
            mp_write_integer(encoder->out, key->integer);
            lua_rawgeti(L, index, key->integer);
        }
        struct step step = {.up = where, .key = key};
        encode(encoder, lua_gettop(L), depth + 1, &step);
        lua_pop(L, 1);
    }
    lua_settop(L, top);
}

static void gather_keys(struct encoder *encoder, int index, struct key *keys, size_t count, const struct step *where)
{
    lua_State *L = encoder->L;
    size_t found = 0;
    lua_pushnil(L);
    while (found < count && lua_next(L, index)) {
        lua_pop(L, 1);
        struct key *key = &keys[found++];
        key->is_string = lua_type(L, -1) == LUA_TSTRING;
        if (key->is_string) {
            size_t size;
            const char *text = lua_tolstring(L, -1, &size);
            key->string = slice_of(text, size);
        } else if (lua_isinteger(L, -1)) {
            key->integer = lua_tointeger(L, -1);
        } else {
            refuse(encoder, where, "a key is a string or an integer, nothing else", NULL);
        }
    }
    lua_pop(L, 1); /* the last key: the walk ends with the count, not with lua_next */
}

static int compare_keys(const void *a, const void *b)
{
    const struct key *left = a, *right = b;
    if (left->is_string != right->is_string) return left->is_string ? 1 : -1;
    if (left->is_string) return slice_compare(left->string, right->string);
    return (left->integer > right->integer) - (left->integer < right->integer);
}

static void add_path(luaL_Buffer *text, const struct step *where);

static _Noreturn void refuse(struct encoder *encoder, const struct step *where, const char *format, const char *what)
{
    lua_State *L = encoder->L;
    luaL_Buffer text;
    luaL_where(L, 1);
    lua_pushfstring(L, format, what);
    luaL_buffinit(L, &text);
    add_path(&text, where);
    if (where) luaL_addstring(&text, ": ");
    luaL_pushresult(&text);
    lua_insert(L, -2);
    lua_concat(L, 3);
    lua_error(L);
    abort(); /* lua_error does not return; its prototype does not say so */
}

/* From the outside in: ".items[3]". A step's key may be any bytes, so only names are shown as they are. */
static void add_path(luaL_Buffer *text, const struct step *where)
{
    if (!where) return;
    add_path(text, where->up);
    lua_State *L = text->L;
    if (!where->key) {
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)where->position);
    } else if (!where->key->is_string) {
        lua_pushfstring(L, "[%I]", (LUAI_UACINT)where->key->integer);
    } else if (utf8_valid(where->key->string) && where->key->string.size <= 64) {
        lua_pushfstring(L, ".%s", (const char *)where->key->string.data);
    } else {
        lua_pushliteral(L, "[...]");
    }
    luaL_addvalue(text);
}
