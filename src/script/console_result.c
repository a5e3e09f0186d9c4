/*
 * What an evaluation gives, as bytes. A table of the state is copied as far as the limits go; what lies deeper, or
 * is too much, is left out, and the result says so. What is no plain data (a function, a table that contains
 * itself) appears as the text that tostring makes of it.
 */
#include "script/console_internal.h"

#include "base/mp.h"
#include "script/values.h"

#include <lauxlib.h>

#define DEPTH_MAX  8
#define ITEMS_MAX  10000            /* keys of state tables, in one result */
#define BYTES_MAX  ((size_t)4 << 20) /* of one result */

/* One being written: within a protected call. */
struct result {
    struct console *console;
    struct buffer *out;
    size_t items;
    bool cut;
};

static struct result *current; /* a value_foreign has no context; one result is written at a time */

static void write_table(struct result *result, const struct state_table *table, int depth);

static void write_value(struct result *result, struct state_value value, int depth)
{
    if (value.type == STATE_TABLE) {
        write_table(result, value.table, depth);
    } else if (value.type == STATE_STRING && result->out->size + value.string.size > BYTES_MAX) {
        result->cut = true;
        mp_write_text(result->out, "...");
    } else {
        state_encode_value(value, result->out);
    }
}

/* How many of its keys are written. */
static uint32_t admit(struct result *result, const struct state_table *table, int depth)
{
    uint64_t count = state_count(table);
    size_t room = depth >= DEPTH_MAX || result->out->size > BYTES_MAX ? 0 : ITEMS_MAX - result->items;
    if (count > room) {
        result->cut = true;
        count = room;
    }
    result->items += count;
    return (uint32_t)count;
}

static void write_table(struct result *result, const struct state_table *table, int depth)
{
    static const struct state_range everything = {0};
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    uint32_t count = admit(result, table, depth);
    bool object = state_is_object(table);
    if (object) {
        mp_write_map(result->out, count);
    } else {
        mp_write_array(result->out, count);
    }
    state_scan(&cursor, table, &everything);
    for (uint32_t i = 0; i < count && state_scan_next(&cursor, &key, &value); i++) {
        if (object) {
            if (key.is_string) {
                mp_write_string(result->out, key.string);
            } else {
                mp_write_integer(result->out, key.integer);
            }
        }
        write_value(result, value, depth + 1);
    }
}

/* A value_foreign: handles, and all that is no plain data. */
static bool write_foreign(lua_State *L, int at, struct buffer *out, int depth)
{
    (void)out;
    if (!console_is_handle(L, at)) return false;
    write_table(current, console_table(L, at), depth);
    return true;
}

/* Protected: the value is at 1. */
static int write_one(lua_State *L)
{
    struct value_rules rules = {.foreign = write_foreign, .bytes_max = BYTES_MAX};
    value_encode_with(L, 1, current->out, &rules);
    return 0;
}

static int write_as_text(lua_State *L)
{
    bool has_address = lua_isfunction(L, 1) || lua_isthread(L, 1); /* which says nothing to anybody */
    if (has_address) {
        lua_pushstring(L, luaL_typename(L, 1));
    } else {
        luaL_tolstring(L, 1, NULL);
    }
    mp_write_text(current->out, lua_tostring(L, -1));
    return 0;
}

static bool attempt(lua_State *L, lua_CFunction how)
{
    size_t before = current->out->size;
    lua_pushcfunction(L, how);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK) return true;
    lua_pop(L, 1);
    current->out->size = before;
    return false;
}

void console_write_result(struct console *console, lua_State *from, int first, struct buffer *out)
{
    struct buffer values = {0};
    struct result result = {.console = console, .out = &values};
    lua_State *L = console->L;
    int count = lua_gettop(from) - first + 1;
    current = &result;
    luaL_checkstack(L, 8, NULL);
    mp_write_array(&values, (uint32_t)count);
    for (int i = 0; i < count; i++) {
        lua_pushvalue(from, first + i);
        lua_xmove(from, L, 1);
        if (!attempt(L, write_one) && !attempt(L, write_as_text)) mp_write_nil(&values);
        lua_pop(L, 1);
    }
    current = NULL;
    mp_write_map(out, 4);
    mp_write_text(out, "count");
    mp_write_u64(out, (uint64_t)count);
    mp_write_text(out, "cut");
    mp_write_boolean(out, result.cut || console->output_cut);
    mp_write_text(out, "output");
    mp_write_string(out, buffer_slice(&console->output));
    mp_write_text(out, "values");
    mp_write_raw(out, buffer_slice(&values));
    buffer_deinit(&values);
}
