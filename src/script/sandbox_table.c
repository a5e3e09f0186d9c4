/*
 * The table library, over Lua tables and tables of the state alike. Work on many elements is
 * charged. Sorting is a stable merge sort: the stock quicksort picks its pivot by the clock. On
 * tables of the state insert, remove and sort move what is there (state_permute), so that nested
 * tables keep their identity.
 */
#include "script/fsm_internal.h"

#include <lauxlib.h>
#include <string.h>

#define UNPACK_MAX 100000

static int table_insert(lua_State *L);
static int table_remove(lua_State *L);
static int table_concat(lua_State *L);
static int table_unpack(lua_State *L);
static int table_pack(lua_State *L);
static int table_move(lua_State *L);
static int table_sort(lua_State *L);

void sandbox_table_functions(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"insert", table_insert}, {"remove", table_remove},
        {"concat", table_concat}, {"unpack", table_unpack},
        {"pack", table_pack},     {"move", table_move},
        {"sort", table_sort},     {NULL, NULL},
    };
    luaL_setfuncs(L, functions, 0);
}

/* A table or a handle at `at`; its length. Metamethods of Lua tables are respected. */
static lua_Integer check_list(lua_State *L, int at)
{
    if (fsm_is_handle(L, at)) return state_length(fsm_check_table(L, at));
    luaL_checktype(L, at, LUA_TTABLE);
    return luaL_len(L, at);
}

/* ---- insert and remove ---- */

/* Takes the element `from` (counted from 1) of a list of the state out of its place and puts it in
 * at `to`. */
static void rotate(lua_State *L, struct state_table *table, lua_Integer from, lua_Integer to)
{
    if (from == to) return;
    uint32_t count = (uint32_t)(from > to ? from : to);
    budget_charge(L, count);
    uint32_t *order = lua_newuserdatauv(L, count * sizeof *order, 0);
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    if (from > to) {
        for (uint32_t i = count - 1; i >= (uint32_t)to; i--) order[i] = i - 1;
    } else {
        for (uint32_t i = (uint32_t)from - 1; i + 1 < count; i++) order[i] = i + 1;
    }
    order[to - 1] = (uint32_t)from - 1;
    uint64_t before = state_written(fsm_of(L)->state);
    state_permute(fsm_of(L)->state, table, order, count);
    budget_charge_bytes(L, state_written(fsm_of(L)->state) - before);
    lua_pop(L, 1);
}

static int table_insert(lua_State *L)
{
    lua_Integer length = check_list(L, 1), at = length + 1;
    int arguments = lua_gettop(L);
    if (arguments != 2 && arguments != 3) {
        return luaL_error(L, "wrong number of arguments to 'insert'");
    }
    if (arguments == 3) {
        at = luaL_checkinteger(L, 2);
        luaL_argcheck(L, (lua_Unsigned)at - 1u < (lua_Unsigned)length + 1u, 2,
                      "position out of bounds");
    }
    if (fsm_is_handle(L, 1)) {
        struct state_table *table = fsm_check_writable(L, 1);
        if (lua_isnil(L, arguments)) return 0;
        fsm_assign(L, table, state_key_integer(length + 1), arguments);
        rotate(L, table, length + 1, at);
        return 0;
    }
    budget_charge(L, (uint64_t)(length + 1 - at));
    for (lua_Integer i = length + 1; i > at; i--) {
        lua_geti(L, 1, i - 1);
        lua_seti(L, 1, i);
    }
    lua_seti(L, 1, at);
    return 0;
}

/* What a removed element was: of a table that leaves the state, a copy. */
static int remove_from_state(lua_State *L, lua_Integer length, lua_Integer at)
{
    struct state_table *table = fsm_check_writable(L, 1);
    struct state_value value = state_get(table, state_key_integer(at));
    if (value.type == STATE_TABLE) {
        fsm_copy_out(L, value.table);
    } else {
        fsm_push_value(fsm_of(L), value);
    }
    if (value.type == STATE_NIL) return 1;
    if (at <= length) {
        rotate(L, table, at, length);
        at = length;
    }
    state_put(fsm_of(L)->state, table, state_key_integer(at), state_nil());
    return 1;
}

static int table_remove(lua_State *L)
{
    lua_Integer length = check_list(L, 1);
    lua_Integer at = luaL_optinteger(L, 2, length);
    luaL_argcheck(L, at == length || (lua_Unsigned)at - 1u <= (lua_Unsigned)length, 2,
                  "position out of bounds");
    if (fsm_is_handle(L, 1)) return remove_from_state(L, length, at);
    lua_geti(L, 1, at);
    if (at < length) budget_charge(L, (uint64_t)(length - at));
    for (; at < length; at++) {
        lua_geti(L, 1, at + 1);
        lua_seti(L, 1, at);
    }
    lua_pushnil(L);
    lua_seti(L, 1, at);
    return 1;
}

/* ---- many at once ---- */

static int table_concat(lua_State *L)
{
    lua_Integer last = check_list(L, 1);
    size_t separator_size;
    const char *separator = luaL_optlstring(L, 2, "", &separator_size);
    lua_Integer first = luaL_optinteger(L, 3, 1);
    last = luaL_optinteger(L, 4, last);
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (lua_Integer i = first; i <= last; i++) {
        budget_charge(L, 1 + separator_size / BYTES_PER_STEP);
        lua_geti(L, 1, i);
        if (!lua_isstring(L, -1)) {
            return luaL_error(L, "invalid value (at index %I) in table for 'concat'",
                              (LUAI_UACINT)i);
        }
        luaL_addvalue(&text);
        if (i == last) break; /* last may be the largest integer there is */
        luaL_addlstring(&text, separator, separator_size);
    }
    luaL_pushresult(&text);
    return 1;
}

static int table_unpack(lua_State *L)
{
    lua_Integer first = luaL_optinteger(L, 2, 1);
    lua_Integer last = lua_isnoneornil(L, 3) ? check_list(L, 1) : luaL_checkinteger(L, 3);
    if (first > last) return 0;
    lua_Unsigned count = (lua_Unsigned)last - (lua_Unsigned)first;
    if (count >= UNPACK_MAX || !lua_checkstack(L, (int)count + 1)) {
        return luaL_error(L, "too many results to unpack");
    }
    budget_charge(L, count);
    for (; first < last; first++) lua_geti(L, 1, first);
    lua_geti(L, 1, last);
    return (int)count + 1;
}

static int table_pack(lua_State *L)
{
    int count = lua_gettop(L);
    budget_charge(L, (uint64_t)count);
    lua_createtable(L, count, 1);
    lua_insert(L, 1);
    for (int i = count; i >= 1; i--) lua_rawseti(L, 1, i);
    lua_pushinteger(L, count);
    lua_setfield(L, 1, "n");
    return 1;
}

static int table_move(lua_State *L)
{
    lua_Integer first = luaL_checkinteger(L, 2), last = luaL_checkinteger(L, 3),
                to = luaL_checkinteger(L, 4);
    int target = lua_isnoneornil(L, 5) ? 1 : 5;
    check_list(L, 1);
    check_list(L, target);
    if (last >= first) {
        luaL_argcheck(L, first > 0 || last < LUA_MAXINTEGER + first, 3,
                      "too many elements to move");
        lua_Integer count = last - first + 1;
        luaL_argcheck(L, to <= LUA_MAXINTEGER - count + 1, 4, "destination wrap around");
        bool backward = to > first && to <= last && lua_compare(L, 1, target, LUA_OPEQ);
        for (lua_Integer i = 0; i < count; i++) {
            lua_Integer at = backward ? count - 1 - i : i;
            budget_charge(L, 2);
            lua_geti(L, 1, first + at);
            lua_seti(L, target, to + at);
        }
    }
    lua_pushvalue(L, target);
    return 1;
}

/* ---- sort ---- */

/* Stack: 1 the list, 2 the comparison or nil, 3 the elements as they were, in a Lua table. */
static bool comes_before(lua_State *L, uint32_t a, uint32_t b)
{
    if (lua_isnil(L, 2)) {
        lua_rawgeti(L, 3, (lua_Integer)a + 1);
        lua_rawgeti(L, 3, (lua_Integer)b + 1);
        bool before = lua_compare(L, -2, -1, LUA_OPLT);
        lua_pop(L, 2);
        return before;
    }
    lua_pushvalue(L, 2);
    lua_rawgeti(L, 3, (lua_Integer)a + 1);
    lua_rawgeti(L, 3, (lua_Integer)b + 1);
    lua_call(L, 2, 1);
    bool before = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return before;
}

/* Merges order[0..middle) and order[middle..count) by way of `spare`. Equal ones stay as they were.
 */
static void merge(lua_State *L, uint32_t *order, uint32_t middle, uint32_t count, uint32_t *spare)
{
    budget_charge(L, count * 2);
    memcpy(spare, order, middle * sizeof *order);
    uint32_t left = 0, right = middle, to = 0;
    while (left < middle && right < count) {
        order[to++] = comes_before(L, order[right], spare[left]) ? order[right++] : spare[left++];
    }
    while (left < middle) order[to++] = spare[left++];
}

static void merge_sort(lua_State *L, uint32_t *order, uint32_t count, uint32_t *spare)
{
    if (count < 2) return;
    uint32_t middle = count / 2;
    merge_sort(L, order, middle, spare);
    merge_sort(L, order + middle, count - middle, spare);
    merge(L, order, middle, count, spare);
}

static int table_sort(lua_State *L)
{
    lua_Integer length = check_list(L, 1);
    luaL_argcheck(L, length < INT32_MAX, 1, "array too big");
    if (!lua_isnoneornil(L, 2)) luaL_checktype(L, 2, LUA_TFUNCTION);
    if (fsm_is_handle(L, 1)) fsm_check_writable(L, 1);
    lua_settop(L, 2);
    uint32_t count = (uint32_t)length;
    budget_charge(L, (uint64_t)count * 4);
    lua_createtable(L, (int)count, 0);
    for (uint32_t i = 1; i <= count; i++) {
        lua_geti(L, 1, i);
        lua_rawseti(L, 3, i);
    }
    uint32_t *order = lua_newuserdatauv(L, (count + 1u) * 2 * sizeof *order, 0);
    for (uint32_t i = 0; i < count; i++) order[i] = i;
    merge_sort(L, order, count, order + count + 1);
    if (fsm_is_handle(L, 1)) {
        struct state_table *table = fsm_check_writable(L, 1);
        if (state_length(table) != length) {
            return luaL_error(L, "the list changed while it was sorted");
        }
        state_permute(fsm_of(L)->state, table, order, count);
        return 0;
    }
    for (uint32_t i = 0; i < count; i++) {
        lua_rawgeti(L, 3, (lua_Integer)order[i] + 1);
        lua_seti(L, 1, (lua_Integer)i + 1);
    }
    return 0;
}
