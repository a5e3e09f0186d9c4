/*
 * `state` as a script sees it: a table of the tree is a userdata, a handle, with the manners of a
 * Lua table. One handle per table and command, so that == works; all of them die with the command,
 * and one whose table was deleted says so. The table's tag remembers which handle is its own.
 */
#include "script/fsm_internal.h"

#include "base/memory.h"

#include <lauxlib.h>

#define ANCHORS_KEPT 64

static int handle_index(lua_State *L);
static int handle_newindex(lua_State *L);
static int handle_length(lua_State *L);
static void anchor(struct fsm *fsm, struct fsm_handle *handle);

void fsm_state_open(struct fsm *fsm)
{
    static const luaL_Reg events[] = {
        {"__index", handle_index},
        {"__newindex", handle_newindex},
        {"__len", handle_length},
        {NULL, NULL},
    };
    lua_State *L = fsm->L;
    lua_newtable(L);
    luaL_setfuncs(L, events, 0);
    lua_pushliteral(L, "table");
    lua_setfield(L, -2, "__name");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    fsm->handle_metatable = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_newtable(L);
    fsm->handle_anchors = luaL_ref(L, LUA_REGISTRYINDEX);
}

bool fsm_is_handle(lua_State *L, int at)
{
    return lua_type(L, at) == LUA_TUSERDATA;
}

struct state_table *fsm_check_table(lua_State *L, int at)
{
    if (!fsm_is_handle(L, at)) luaL_typeerror(L, at, "a table of the state");
    const struct fsm_handle *handle = lua_touserdata(L, at);
    if (!handle->table) fsm_raise(L, "a table of the state was kept after its command had ended");
    if (!state_table_alive(handle->table)) {
        fsm_raise(L, "this table is no part of the state any more: it was deleted or replaced");
    }
    return handle->table;
}

struct state_table *fsm_check_writable(lua_State *L, int at)
{
    struct state_table *table = fsm_check_table(L, at);
    if (fsm_of(L)->mode == FSM_QUERY) fsm_raise(L, "a query cannot change the state");
    return table;
}

/* ---- values out ---- */

void fsm_push_table(struct fsm *fsm, struct state_table *table)
{
    lua_State *L = fsm->L;
    uint32_t tag = state_table_tag(table);
    if (tag > 0 && tag <= fsm->handle_count && fsm->handles[tag - 1]->table == table) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, fsm->handle_anchors);
        lua_rawgeti(L, -1, tag);
        lua_remove(L, -2);
        return;
    }
    struct fsm_handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    handle->table = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fsm->handle_metatable);
    lua_setmetatable(L, -2);
    anchor(fsm, handle);
    handle->table = state_table_take(table);
    state_table_set_tag(table, fsm->handle_count);
}

/* The handle on top is kept from collection until the command ends. */
static void anchor(struct fsm *fsm, struct fsm_handle *handle)
{
    lua_State *L = fsm->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fsm->handle_anchors);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, (lua_Integer)fsm->handle_count + 1);
    lua_pop(L, 1);
    if (fsm->handle_count == fsm->handle_capacity) {
        fsm->handle_capacity = fsm->handle_capacity ? fsm->handle_capacity * 2 : 16;
        fsm->handles =
            memory_resize(fsm->handles, fsm->handle_capacity, sizeof(struct fsm_handle *));
    }
    fsm->handles[fsm->handle_count++] = handle;
}

static int drop_anchors(lua_State *L)
{
    struct fsm *fsm = lua_touserdata(L, 1);
    lua_newtable(L);
    lua_rawseti(L, LUA_REGISTRYINDEX, fsm->handle_anchors);
    return 0;
}

/* Outside any protected call: only the rare large case allocates, and that is done in one of its
 * own. */
void fsm_end_handles(struct fsm *fsm)
{
    for (uint32_t i = 0; i < fsm->handle_count; i++) {
        struct fsm_handle *handle = fsm->handles[i];
        if (!handle->table) continue;
        state_table_drop(handle->table);
        handle->table = NULL;
    }
    if (fsm->handle_count > ANCHORS_KEPT) {
        lua_pushcfunction(fsm->L, drop_anchors);
        lua_pushlightuserdata(fsm->L, fsm);
        if (lua_pcall(fsm->L, 1, 0, 0) != LUA_OK) lua_pop(fsm->L, 1);
    }
    fsm->handle_count = 0;
}

void fsm_push_value(struct fsm *fsm, struct state_value value)
{
    lua_State *L = fsm->L;
    switch (value.type) {
    case STATE_NIL:
        lua_pushnil(L);
        break;
    case STATE_BOOLEAN:
        lua_pushboolean(L, value.boolean);
        break;
    case STATE_INTEGER:
        lua_pushinteger(L, value.integer);
        break;
    case STATE_FLOAT:
        lua_pushnumber(L, value.number);
        break;
    case STATE_STRING:
        lua_pushlstring(L, (const char *)value.string.data, value.string.size);
        break;
    case STATE_TABLE:
        fsm_push_table(fsm, value.table);
        break;
    }
}

void fsm_push_key(lua_State *L, struct state_key key)
{
    if (key.is_string) {
        lua_pushlstring(L, (const char *)key.string.data, key.string.size);
    } else {
        lua_pushinteger(L, key.integer);
    }
}

void fsm_copy_out(lua_State *L, struct state_table *table)
{
    luaL_checkstack(L, 4, "in a nested table");
    bool list = !state_is_object(table);
    int hint = state_count(table) < 65536 ? (int)state_count(table) : 65536;
    lua_createtable(L, list ? hint : 0, list ? 0 : hint);
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    state_scan(&cursor, table, NULL);
    while (state_scan_next(&cursor, &key, &value)) {
        budget_charge(L, 4);
        fsm_push_key(L, key);
        if (value.type == STATE_TABLE) {
            fsm_copy_out(L, value.table);
        } else {
            fsm_push_value(fsm_of(L), value);
        }
        lua_rawset(L, -3);
    }
}

bool fsm_encode_handle(lua_State *L, int at, struct buffer *out, int depth)
{
    if (!fsm_is_handle(L, at)) return false;
    const struct fsm *fsm = fsm_of(L);
    struct state_table *table = fsm_check_table(L, at);
    if ((unsigned)depth + state_height(table) > VALUE_DEPTH_MAX) luaL_error(L, "nested too deep");
    if (!state_encode_within(table, out, fsm->budget.block_max)) {
        luaL_error(L, "the value is too large");
    }
    return true;
}

/* ---- a table's manners ---- */

bool fsm_to_key(lua_State *L, int at, struct state_key *key)
{
    size_t size;
    const char *text;
    lua_Integer integer;
    switch (lua_type(L, at)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, at, &size);
        *key = state_key_string(slice_of(text, size));
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, at)) {
            *key = state_key_integer(lua_tointeger(L, at));
            return true;
        }
        if (!lua_numbertointeger(lua_tonumber(L, at), &integer)) return false;
        if ((lua_Number)integer != lua_tonumber(L, at)) return false;
        *key = state_key_integer(integer);
        return true;
    default:
        return false;
    }
}

static int handle_index(lua_State *L)
{
    struct state_table *table = fsm_check_table(L, 1);
    struct state_key key;
    if (!fsm_to_key(L, 2, &key)) return 0;
    fsm_push_value(fsm_of(L), state_get(table, key));
    return 1;
}

static int handle_newindex(lua_State *L)
{
    struct state_table *table = fsm_check_writable(L, 1);
    struct state_key key;
    if (!fsm_to_key(L, 2, &key)) {
        return luaL_error(L, "a key of the state is a string or an integer, not a %s",
                          lua_isnumber(L, 2) ? "float" : luaL_typename(L, 2));
    }
    fsm_assign(L, table, key, 3);
    return 0;
}

static int handle_length(lua_State *L)
{
    lua_pushinteger(L, state_length(fsm_check_table(L, 1)));
    return 1;
}

int fsm_count(lua_State *L)
{
    if (fsm_is_handle(L, 1)) {
        lua_pushinteger(L, (lua_Integer)state_count(fsm_check_table(L, 1)));
        return 1;
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Integer count = 0;
    lua_pushnil(L);
    while (lua_next(L, 1)) {
        lua_pop(L, 1);
        count++;
    }
    budget_charge(L, (uint64_t)count);
    lua_pushinteger(L, count);
    return 1;
}

/* ---- walks ---- */

/* Upvalues of the iterator: the walk, the handle, the range table whose strings the walk borrows.
 */
struct walk {
    struct state_cursor cursor;
    struct state_key from, to;
    lua_Integer left;
};

static int walk_next(lua_State *L)
{
    struct walk *walk = lua_touserdata(L, lua_upvalueindex(1));
    fsm_check_table(L, lua_upvalueindex(2));
    struct state_key key;
    struct state_value value;
    if (walk->left <= 0 || !state_scan_next(&walk->cursor, &key, &value)) {
        lua_pushnil(L);
        return 1;
    }
    walk->left--;
    fsm_push_key(L, key);
    fsm_push_value(fsm_of(L), value);
    return 2;
}

/* Stack: the handle at 1, nil or the range's table at 2, the walk at 3. */
static int push_walk(lua_State *L, struct walk *walk, const struct state_range *range)
{
    state_scan(&walk->cursor, fsm_check_table(L, 1), range);
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, walk_next, 3);
    return 1;
}

static struct walk *new_walk(lua_State *L)
{
    struct walk *walk = lua_newuserdatauv(L, sizeof *walk, 0);
    *walk = (struct walk){.left = LUA_MAXINTEGER};
    return walk;
}

int fsm_state_pairs(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushnil(L);
    return push_walk(L, new_walk(L), NULL);
}

static bool range_key(lua_State *L, const char *name, struct state_key *key)
{
    if (lua_getfield(L, 2, name) == LUA_TNIL) return false;
    if (!fsm_to_key(L, -1, key)) {
        luaL_error(L, "scan: %s is a string or an integer, not a %s", name, luaL_typename(L, -1));
    }
    return true;
}

/* The range is copied into a table of the walk's own: its strings must outlive what the script does
 * with its table. */
static void copy_range(lua_State *L)
{
    static const char *const names[] = {"from", "to", "prefix", "reverse", "limit"};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!lua_isnil(L, 2)) {
            lua_getfield(L, 2, names[i]);
            lua_setfield(L, -2, names[i]);
        }
    }
    lua_replace(L, 2);
}

int fsm_scan(lua_State *L)
{
    fsm_check_table(L, 1);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) luaL_checktype(L, 2, LUA_TTABLE);
    copy_range(L);
    struct walk *walk = new_walk(L);
    struct state_range range = {0};
    if (range_key(L, "from", &walk->from)) range.from = &walk->from;
    if (range_key(L, "to", &walk->to)) range.to = &walk->to;
    struct state_key prefix;
    if (range_key(L, "prefix", &prefix)) {
        if (!prefix.is_string) return luaL_error(L, "scan: prefix is a string");
        range.prefix = prefix.string;
    }
    lua_getfield(L, 2, "reverse");
    range.reverse = lua_toboolean(L, -1);
    if (lua_getfield(L, 2, "limit") != LUA_TNIL) {
        if (!lua_isinteger(L, -1)) return luaL_error(L, "scan: limit is an integer");
        walk->left = lua_tointeger(L, -1);
    }
    lua_settop(L, 3);
    return push_walk(L, walk, &range);
}
