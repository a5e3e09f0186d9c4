/*
 * Lua values into the state tree. A table is copied in as a whole: first built beside the tree,
 * then put, so that a refused one leaves nothing. Building walks the table in the order the VM
 * happens to have; when there is anything wrong, the walk is done again in key order
 * (value_encode_with) to say what, so that the text is the same on every node.
 */
#include "script/fsm_internal.h"

#include "script/values.h"

#include <lauxlib.h>
#include <stdlib.h>

#define ITEM_STEPS 8 /* for each element, beside its bytes */

struct builder {
    lua_State *L;
    uint64_t steps, steps_max;
};

static struct state_table *build(struct builder *builder, int at, unsigned room);
static _Noreturn void explain(lua_State *L, int at, unsigned depth);

void fsm_assign(lua_State *L, struct state_table *table, struct state_key key, int at)
{
    struct fsm *fsm = fsm_of(L);
    struct state_value value;
    size_t size = 0;
    const char *text;
    switch (lua_type(L, at)) {
    case LUA_TNIL:
        value = state_nil();
        break;
    case LUA_TBOOLEAN:
        value = state_boolean(lua_toboolean(L, at));
        break;
    case LUA_TNUMBER:
        value = lua_isinteger(L, at) ? state_integer(lua_tointeger(L, at))
                                     : state_float(lua_tonumber(L, at));
        break;
    case LUA_TSTRING:
        text = lua_tolstring(L, at, &size);
        value = state_string(slice_of(text, size));
        break;
    default:
        if (fsm_is_handle(L, at) && fsm_check_table(L, at) == state_get_table(table, key)) return;
        value = state_of_table(fsm_build(L, at, state_depth(table) + 1));
        break;
    }
    uint64_t before = state_written(fsm->state);
    state_put(fsm->state, table, key, value); /* never too deep: fsm_build saw to it */
    budget_charge_bytes(L, state_written(fsm->state) - before);
    if (state_written(fsm->state) > fsm->budget.memory_max) budget_end(L, BUDGET_MEMORY);
}

struct state_table *fsm_build(lua_State *L, int at, unsigned depth)
{
    struct budget *budget = budget_of(L);
    struct builder builder = {
        .L = L, .steps_max = budget->steps_left > 0 ? (uint64_t)budget->steps_left : 0};
    if (depth > VALUE_DEPTH_MAX) explain(L, at, depth);
    struct state_table *built = build(&builder, at, VALUE_DEPTH_MAX - depth + 1);
    if (!built) explain(L, at, depth);
    budget_take(budget, builder.steps);
    return built;
}

/* ---- building, without ever raising ---- */

static bool build_value(struct builder *builder, int at, unsigned room, struct state_value *value);
static bool spend(struct builder *builder, size_t bytes);

/* Null: something is wrong. `room` is how many containers deep it may be. */
static struct state_table *build(struct builder *builder, int at, unsigned room)
{
    lua_State *L = builder->L;
    if (fsm_is_handle(L, at)) {
        const struct fsm_handle *handle = lua_touserdata(L, at);
        if (!handle->table || !state_table_alive(handle->table) ||
            state_height(handle->table) > room) {
            return NULL;
        }
        return state_copy(handle->table);
    }
    if (lua_type(L, at) != LUA_TTABLE || room == 0 || !lua_checkstack(L, 4)) return NULL;
    bool object = value_is_object(L, at);
    if (!object && lua_getmetatable(L, at)) {
        lua_pop(L, 1);
        return NULL;
    }
    struct state_table *table = state_build(object);
    int top = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, at)) {
        struct state_key key;
        struct state_value value;
        bool good = fsm_to_key(L, -2, &key) &&
                    spend(builder, key.is_string ? key.string.size : 0) &&
                    build_value(builder, lua_gettop(L), room - 1, &value);
        if (!good) {
            lua_settop(L, top);
            state_discard(table);
            return NULL;
        }
        state_put(NULL, table, key, value);
        lua_pop(L, 1);
    }
    return table;
}

static bool build_value(struct builder *builder, int at, unsigned room, struct state_value *value)
{
    lua_State *L = builder->L;
    size_t size;
    const char *text;
    switch (lua_type(L, at)) {
    case LUA_TBOOLEAN:
        *value = state_boolean(lua_toboolean(L, at));
        return true;
    case LUA_TNUMBER:
        *value = lua_isinteger(L, at) ? state_integer(lua_tointeger(L, at))
                                      : state_float(lua_tonumber(L, at));
        return true;
    case LUA_TSTRING:
        text = lua_tolstring(L, at, &size);
        *value = state_string(slice_of(text, size));
        return spend(builder, size);
    default:
        value->type = STATE_TABLE;
        value->table = build(builder, at, room);
        return value->table != NULL;
    }
}

/* A table within itself many times over is small in Lua and large in the tree. */
static bool spend(struct builder *builder, size_t bytes)
{
    builder->steps += ITEM_STEPS + bytes / BYTES_PER_STEP;
    return builder->steps <= builder->steps_max;
}

/* What value_encode_with finds nothing wrong with was only too much. */
static _Noreturn void explain(lua_State *L, int at, unsigned depth)
{
    struct fsm *fsm = fsm_of(L);
    struct value_rules rules = {
        .foreign = fsm_encode_handle,
        .depth = (int)depth - 1,
        .bytes_max = fsm->budget.block_max,
        .refuse_metatables = true,
    };
    buffer_clear(&fsm->scratch);
    value_encode_with(L, at, &fsm->scratch, &rules);
    budget_end(L, BUDGET_STEPS);
    abort(); /* budget_end raises */
}
