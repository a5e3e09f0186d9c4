/*
 * moonclave.state: the state tree for specs. A tree is a userdata with begin, commit, rollback,
 * root, put_root, hash, encode, written; a table of it is a userdata with get, put, count, length,
 * alive, scan and so on, which holds a reference. Lua tables go in through msgpack, as they do when
 * a command brings them.
 *
 *   tree:snapshot() -> snapshot     snapshot:step(work) -> bytes, more    :hash()   :saved()   :finish()
 *   restore() -> restore            restore:feed(bytes)    :finish(hash, tree)    true, or nil and why
 *                                   :free()                what it holds
 *   process_us()                    processor time of this process
 */
#include "script/values.h"
#include "state/state.h"

#include <lauxlib.h>
#include <lua.h>
#include <time.h>

#define TREE  "moonclave.state.tree"
#define TABLE "moonclave.state.table"
#define SNAPSHOT "moonclave.state.snapshot"
#define RESTORE "moonclave.state.restore"

int luaopen_moonclave_state(lua_State *L) __attribute__((visibility("default")));

static struct state *to_tree(lua_State *L, int at)
{
    return *(struct state **)luaL_checkudata(L, at, TREE);
}

static struct state_table *to_table(lua_State *L, int at)
{
    return *(struct state_table **)luaL_checkudata(L, at, TABLE);
}

/* The tree is the table's user value: it lives at least as long. */
static void push_table(lua_State *L, int tree, struct state_table *table)
{
    tree = lua_absindex(L, tree);
    struct state_table **held = lua_newuserdatauv(L, sizeof *held, 1);
    *held = state_table_take(table);
    luaL_setmetatable(L, TABLE);
    lua_pushvalue(L, tree);
    lua_setiuservalue(L, -2, 1);
}

static void push_value(lua_State *L, int tree, struct state_value value)
{
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
        push_table(L, tree, value.table);
        break;
    }
}

static struct state_key check_key(lua_State *L, int at)
{
    if (lua_type(L, at) == LUA_TNUMBER) return state_key_integer(luaL_checkinteger(L, at));
    size_t size;
    const char *text = luaL_checklstring(L, at, &size);
    return state_key_string(slice_of(text, size));
}

static void push_key(lua_State *L, struct state_key key)
{
    if (key.is_string) {
        lua_pushlstring(L, (const char *)key.string.data, key.string.size);
    } else {
        lua_pushinteger(L, key.integer);
    }
}

/* An error in the value leaks the bytes: specs only. */
static struct state_table *build_table(lua_State *L, int at)
{
    struct buffer bytes = {0};
    value_encode(L, at, &bytes);
    struct state_table *built;
    struct error error;
    enum error_code code = state_decode(buffer_slice(&bytes), &built, &error);
    buffer_deinit(&bytes);
    if (code) luaL_error(L, "%s: %s", error_name(code), error.text);
    return built;
}

static struct state_value check_value(lua_State *L, int at)
{
    size_t size;
    const char *text;
    switch (lua_type(L, at)) {
    case LUA_TNIL:
        return state_nil();
    case LUA_TBOOLEAN:
        return state_boolean(lua_toboolean(L, at));
    case LUA_TNUMBER:
        return lua_isinteger(L, at) ? state_integer(lua_tointeger(L, at))
                                    : state_float(lua_tonumber(L, at));
    case LUA_TSTRING:
        text = lua_tolstring(L, at, &size);
        return state_string(slice_of(text, size));
    case LUA_TTABLE:
        return state_of_table(build_table(L, at));
    default:
        return state_of_table(state_copy(to_table(L, at)));
    }
}

/* ---- a table ---- */

static struct state *tree_of(lua_State *L, int at)
{
    lua_getiuservalue(L, at, 1);
    return to_tree(L, -1);
}

static int table_get(lua_State *L)
{
    struct state_value value = state_get(to_table(L, 1), check_key(L, 2));
    lua_getiuservalue(L, 1, 1);
    push_value(L, -1, value);
    return 1;
}

static int table_put(lua_State *L)
{
    struct state_table *table = to_table(L, 1);
    struct state *state = tree_of(L, 1);
    struct state_key key = check_key(L, 2);
    if (!state_table_alive(table)) return luaL_error(L, "the table is not part of the tree");
    if (!state_is_open(state)) return luaL_error(L, "no transaction");
    struct state_value value = check_value(L, 3);
    bool done = state_put(state, table, key, value);
    if (!done) state_discard(value.table);
    lua_pushboolean(L, done);
    return 1;
}

static int table_make(lua_State *L)
{
    struct state_table *made = state_make_table(tree_of(L, 1), to_table(L, 1), check_key(L, 2));
    if (!made) return 0;
    lua_getiuservalue(L, 1, 1);
    push_table(L, -1, made);
    return 1;
}

static int table_permute(lua_State *L)
{
    struct state_table *table = to_table(L, 1);
    lua_Unsigned count = lua_rawlen(L, 2);
    uint32_t *from = lua_newuserdatauv(L, (count + 1) * sizeof *from, 0);
    for (lua_Unsigned i = 0; i < count; i++) {
        lua_rawgeti(L, 2, (lua_Integer)i + 1);
        from[i] = (uint32_t)(luaL_checkinteger(L, -1) - 1);
        lua_pop(L, 1);
    }
    state_permute(tree_of(L, 1), table, from, (uint32_t)count);
    return 0;
}

static int table_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)state_count(to_table(L, 1)));
    return 1;
}

static int table_length(lua_State *L)
{
    lua_pushinteger(L, state_length(to_table(L, 1)));
    return 1;
}

static int table_depth(lua_State *L)
{
    lua_pushinteger(L, state_depth(to_table(L, 1)));
    return 1;
}

static int table_alive(lua_State *L)
{
    lua_pushboolean(L, state_table_alive(to_table(L, 1)));
    return 1;
}

static int table_is_object(lua_State *L)
{
    lua_pushboolean(L, state_is_object(to_table(L, 1)));
    return 1;
}

static int table_encode(lua_State *L)
{
    struct buffer out = {0};
    state_encode(to_table(L, 1), &out);
    lua_pushlstring(L, (const char *)out.data, out.size);
    buffer_deinit(&out);
    return 1;
}

static bool optional_key(lua_State *L, int range, const char *name, struct state_key *key)
{
    if (!lua_istable(L, range) || lua_getfield(L, range, name) == LUA_TNIL) return false;
    *key = check_key(L, -1);
    return true;
}

/* scan({from=, to=, prefix=, reverse=}): an iterator. The range's strings are user values of the
 * cursor. */
struct scan {
    struct state_cursor cursor;
    struct state_key from, to;
};

static int scan_next(lua_State *L)
{
    struct scan *scan = lua_touserdata(L, lua_upvalueindex(1));
    struct state_key key;
    struct state_value value;
    if (!state_scan_next(&scan->cursor, &key, &value)) return 0;
    push_key(L, key);
    push_value(L, lua_upvalueindex(2), value);
    return 2;
}

static int table_scan(lua_State *L)
{
    lua_settop(L, 2);
    struct state_table *table = to_table(L, 1);
    struct scan *scan = lua_newuserdatauv(L, sizeof *scan, 1);
    *scan = (struct scan){0};
    struct state_range range = {0};
    if (optional_key(L, 2, "from", &scan->from)) range.from = &scan->from;
    if (optional_key(L, 2, "to", &scan->to)) range.to = &scan->to;
    struct state_key prefix;
    if (optional_key(L, 2, "prefix", &prefix)) range.prefix = prefix.string;
    if (lua_istable(L, 2)) {
        lua_getfield(L, 2, "reverse");
        range.reverse = lua_toboolean(L, -1);
    }
    state_scan(&scan->cursor, table, &range);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 3, 1);
    lua_pushvalue(L, 3);
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, scan_next, 3);
    return 1;
}

static int table_gc(lua_State *L)
{
    state_table_drop(to_table(L, 1));
    return 0;
}

/* ---- a tree ---- */

static int tree_begin(lua_State *L)
{
    state_begin(to_tree(L, 1));
    return 0;
}

static int tree_commit(lua_State *L)
{
    state_commit(to_tree(L, 1));
    return 0;
}

static int tree_rollback(lua_State *L)
{
    state_rollback(to_tree(L, 1));
    return 0;
}

static int tree_root(lua_State *L)
{
    push_table(L, 1, state_root(to_tree(L, 1)));
    return 1;
}

static int tree_put_root(lua_State *L)
{
    struct state *state = to_tree(L, 1);
    struct state_table *built = build_table(L, 2);
    bool done = state_put_root(state, built);
    if (!done) state_discard(built);
    lua_pushboolean(L, done);
    return 1;
}

static int tree_hash(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)state_hash(to_tree(L, 1)));
    return 1;
}

static int tree_written(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)state_written(to_tree(L, 1)));
    return 1;
}

static int tree_encode(lua_State *L)
{
    struct buffer out = {0};
    state_encode(state_root(to_tree(L, 1)), &out);
    lua_pushlstring(L, (const char *)out.data, out.size);
    buffer_deinit(&out);
    return 1;
}

/* Replaces everything by what the bytes say. */
static int tree_decode(lua_State *L)
{
    struct state *state = to_tree(L, 1);
    size_t size;
    const char *bytes = luaL_checklstring(L, 2, &size);
    struct state_table *built;
    struct error error;
    enum error_code code = state_decode(slice_of(bytes, size), &built, &error);
    if (code) {
        lua_pushnil(L);
        lua_pushfstring(L, "%s: %s", error_name(code), error.text);
        return 2;
    }
    if (!state_put_root(state, built)) {
        state_discard(built);
        return luaL_error(L, "too deep");
    }
    lua_pushboolean(L, true);
    return 1;
}

static int tree_gc(lua_State *L)
{
    struct state **state = luaL_checkudata(L, 1, TREE);
    state_free(*state);
    *state = NULL;
    return 0;
}

static int new_tree(lua_State *L)
{
    struct state **state = lua_newuserdatauv(L, sizeof *state, 0);
    *state = state_new();
    luaL_setmetatable(L, TREE);
    return 1;
}

/* ---- snapshots and back ---- */

/* The tree is its user value. A snapshot of a tree that is gone is gone with it. */
static int tree_snapshot(lua_State *L)
{
    struct state *state = to_tree(L, 1);
    if (state_is_open(state)) return luaL_error(L, "in a transaction");
    struct state_snapshot **snapshot = lua_newuserdatauv(L, sizeof(struct state_snapshot *), 1);
    *snapshot = state_snapshot_begin(state);
    luaL_setmetatable(L, SNAPSHOT);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

static struct state_snapshot *to_snapshot(lua_State *L)
{
    struct state_snapshot *snapshot = *(struct state_snapshot **)luaL_checkudata(L, 1, SNAPSHOT);
    luaL_argcheck(L, snapshot, 1, "it is finished");
    return snapshot;
}

static int snapshot_step(lua_State *L)
{
    struct buffer out = {0};
    size_t work = (size_t)luaL_optinteger(L, 2, 65536);
    bool more = state_snapshot_step(to_snapshot(L), work, &out);
    lua_pushlstring(L, out.size ? (const char *)out.data : "", out.size);
    buffer_deinit(&out);
    lua_pushboolean(L, more);
    return 2;
}

static int snapshot_hash(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)state_snapshot_hash(to_snapshot(L)));
    return 1;
}

static int snapshot_saved(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)state_snapshot_saved(to_snapshot(L)));
    return 1;
}

static int snapshot_finish(lua_State *L)
{
    struct state_snapshot **snapshot = luaL_checkudata(L, 1, SNAPSHOT);
    lua_getiuservalue(L, 1, 1);
    struct state **state = luaL_checkudata(L, -1, TREE);
    if (*snapshot && *state) state_snapshot_end(*snapshot);
    *snapshot = NULL;
    return 0;
}

static int new_restore(lua_State *L)
{
    struct state_restore **restore = lua_newuserdatauv(L, sizeof(struct state_restore *), 0);
    *restore = state_restore_begin();
    luaL_setmetatable(L, RESTORE);
    return 1;
}

static int restore_answer(lua_State *L, enum error_code code, const struct error *error)
{
    lua_pushboolean(L, code == ERROR_OK);
    if (!code) return 1;
    lua_pushnil(L);
    lua_replace(L, -2);
    lua_pushfstring(L, "%s: %s", error_name(code), error->text);
    return 2;
}

static int restore_feed(lua_State *L)
{
    struct state_restore *restore = *(struct state_restore **)luaL_checkudata(L, 1, RESTORE);
    size_t size;
    const char *bytes = luaL_checklstring(L, 2, &size);
    struct error error;
    size_t used = 0;
    enum error_code code = state_restore_feed(restore, slice_of(bytes, size), &used, &error);
    if (code) return restore_answer(L, code, &error);
    lua_pushboolean(L, true);
    lua_pushinteger(L, (lua_Integer)used);
    return 2;
}

static int restore_finish(lua_State *L)
{
    struct state_restore *restore = *(struct state_restore **)luaL_checkudata(L, 1, RESTORE);
    uint64_t hash = (uint64_t)luaL_checkinteger(L, 2);
    struct error error;
    return restore_answer(L, state_restore_finish(restore, hash, to_tree(L, 3), &error), &error);
}

static int restore_gc(lua_State *L)
{
    struct state_restore **restore = luaL_checkudata(L, 1, RESTORE);
    state_restore_free(*restore);
    *restore = NULL;
    return 0;
}

static int process_us(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    return 1;
}

static void define(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction gc)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

int luaopen_moonclave_state(lua_State *L)
{
    static const luaL_Reg table_methods[] = {
        {"get", table_get},         {"put", table_put},     {"make", table_make},
        {"permute", table_permute}, {"count", table_count}, {"length", table_length},
        {"depth", table_depth},     {"alive", table_alive}, {"is_object", table_is_object},
        {"encode", table_encode},   {"scan", table_scan},   {NULL, NULL},
    };
    static const luaL_Reg tree_methods[] = {
        {"begin", tree_begin},       {"commit", tree_commit},
        {"rollback", tree_rollback}, {"root", tree_root},
        {"put_root", tree_put_root}, {"hash", tree_hash},
        {"written", tree_written},   {"encode", tree_encode},
        {"decode", tree_decode},     {"snapshot", tree_snapshot},
        {NULL, NULL},
    };
    static const luaL_Reg snapshot_methods[] = {
        {"step", snapshot_step},   {"hash", snapshot_hash}, {"saved", snapshot_saved},
        {"finish", snapshot_finish}, {NULL, NULL},
    };
    static const luaL_Reg restore_methods[] = {
        {"feed", restore_feed}, {"finish", restore_finish}, {"free", restore_gc}, {NULL, NULL}};
    define(L, SNAPSHOT, snapshot_methods, snapshot_finish);
    define(L, RESTORE, restore_methods, restore_gc);
    define(L, TABLE, table_methods, table_gc);
    define(L, TREE, tree_methods, tree_gc);
    lua_createtable(L, 0, 5);
    lua_pushcfunction(L, new_restore);
    lua_setfield(L, -2, "restore");
    lua_pushcfunction(L, process_us);
    lua_setfield(L, -2, "process_us");
    lua_pushcfunction(L, new_tree);
    lua_setfield(L, -2, "new");
    value_push_object_function(L);
    lua_setfield(L, -2, "object");
    lua_pushinteger(L, VALUE_DEPTH_MAX);
    lua_setfield(L, -2, "depth_max");
    return 1;
}
