/*
 * moonclave.base: the base layer, for the specs: values, limits, tables of errors and settings,
 * bytes, hashes, numbers. Functions that can fail answer nil, the error's code and its text.
 */
#include "base/event.h"
#include "base/hash.h"
#include "base/histogram.h"
#include "base/identity.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/random.h"
#include "base/request.h"
#include "base/settings.h"
#include "module/values.h"

#include <string.h>

#define BUFFER_METATABLE "moonclave.base.buffer"

/* histogram(durations) -> { counts =, bounds =, sum =, max =, count =, median =, p999 = }, in microseconds. No bound
 * is -1. */
static int histogram_of(lua_State *L)
{
    struct histogram histogram = {0};
    for (lua_Integer i = 1; lua_geti(L, 1, i) == LUA_TNUMBER; i++) {
        histogram_observe(&histogram, (uint64_t)lua_tointeger(L, -1));
        lua_pop(L, 1);
    }
    lua_newtable(L);
    lua_newtable(L);
    lua_newtable(L);
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        lua_pushinteger(L, (lua_Integer)histogram.counts[i]);
        lua_seti(L, -3, (lua_Integer)i + 1);
        lua_pushinteger(L, (lua_Integer)histogram_bound_us(i));
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -3, "bounds");
    lua_setfield(L, -2, "counts");
    set_u64(L, "sum", histogram.sum_us);
    set_u64(L, "max", histogram.max_us);
    set_u64(L, "count", histogram_count(&histogram));
    set_u64(L, "median", histogram_quantile_us(&histogram, 500));
    set_u64(L, "p999", histogram_quantile_us(&histogram, 999));
    return 1;
}

/* histogram_recent(list, now) -> { count =, max =, median =, p99 = }: of a list of { at, duration }, as it is read at
 * `now`; medians are guesses (histogram_guess_us). Microseconds. */
static int histogram_recent_of(lua_State *L)
{
    struct histogram_recent recent = {0};
    for (lua_Integer i = 1; lua_geti(L, 1, i) == LUA_TTABLE; i++) {
        lua_geti(L, -1, 1);
        lua_geti(L, -2, 2);
        histogram_recent_observe(&recent, (uint64_t)lua_tointeger(L, -2), (uint64_t)lua_tointeger(L, -1));
        lua_pop(L, 3);
    }
    struct histogram read = histogram_recent_read(&recent, (uint64_t)luaL_checkinteger(L, 2));
    lua_newtable(L);
    set_u64(L, "count", histogram_count(&read));
    set_u64(L, "max", read.max_us);
    set_u64(L, "median", histogram_guess_us(&read, 500));
    set_u64(L, "p99", histogram_guess_us(&read, 990));
    return 1;
}

/* event_types(list) -> the names it selects, in order; or nil and the one that is wrong */
static int event_types(lua_State *L)
{
    struct slice wrong;
    uint64_t types;
    if (!event_types_of(check_slice(L, 1), &types, &wrong)) {
        lua_pushnil(L);
        push_slice(L, wrong);
        return 2;
    }
    lua_newtable(L);
    for (int i = 0; i < EVENT_TYPES; i++) {
        if (!(types & UINT64_C(1) << i)) continue;
        lua_pushstring(L, event_name((enum event_type)i));
        lua_seti(L, -2, luaL_len(L, -2) + 1);
    }
    return 1;
}

/* ---- values ---- */

static int pack(lua_State *L)
{
    struct buffer out = {0};
    lua_settop(L, 1);
    pack_value(L, &out);
    return push_buffer(L, &out);
}

/* value, bytes taken */
static int unpack(lua_State *L)
{
    struct slice bytes = check_slice(L, 1);
    struct mp_reader reader = mp_reader_of(bytes);
    unpack_value(L, &reader);
    lua_pushinteger(L, (lua_Integer)(reader.at - bytes.data));
    return 2;
}

/* object(table): a map even when it is empty or has the keys 1 ... n. */
static int object(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_setmetatable(L, OBJECT_METATABLE);
    return 1;
}

static int pack_u64(lua_State *L)
{
    struct buffer out = {0};
    mp_write_u64(&out, (uint64_t)luaL_checkinteger(L, 1));
    return push_buffer(L, &out);
}

/* read_u64(bytes) -> number or nil */
static int read_u64(lua_State *L)
{
    struct mp_reader reader = mp_reader_of(check_slice(L, 1));
    uint64_t value;
    if (!mp_read_u64(&reader, &value)) return 0;
    lua_pushinteger(L, (lua_Integer)value);
    return 1;
}

static struct mp_limits check_limits(lua_State *L, int table)
{
    struct mp_limits limits = {VALUE_DEPTH_MAX, UINT64_MAX, SIZE_MAX};
    if (!lua_istable(L, table)) return limits;
    uint64_t elements = field_u64(L, table, "elements");
    uint64_t bytes = field_u64(L, table, "bytes");
    lua_getfield(L, table, "depth");
    if (!lua_isnil(L, -1)) limits.depth = (uint32_t)luaL_checkinteger(L, -1);
    lua_pop(L, 1);
    if (elements) limits.elements = elements;
    if (bytes) limits.bytes = (size_t)bytes;
    return limits;
}

/* check(bytes, {depth, elements, bytes}) -> true */
static int check(lua_State *L)
{
    struct mp_limits limits = check_limits(L, 2);
    struct error error;
    if (mp_check(check_slice(L, 1), &limits, &error)) return push_failure(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

/* measure(bytes, limits) -> size, 0 when more is needed */
static int measure(lua_State *L)
{
    struct mp_limits limits = check_limits(L, 2);
    struct error error;
    size_t size;
    if (mp_measure(check_slice(L, 1), &limits, &size, &error)) return push_failure(L, &error);
    lua_pushinteger(L, (lua_Integer)size);
    return 1;
}

/* scan(bytes, limits, step) -> the size found when the bytes come `step` at a time, 0 when they end
 * too early; and how many had come by then */
static int scan(lua_State *L)
{
    struct slice bytes = check_slice(L, 1);
    struct mp_limits limits = check_limits(L, 2);
    size_t step = (size_t)luaL_checkinteger(L, 3), size = 0, seen = 0;
    struct mp_scan state = {0};
    struct error error;
    while (size == 0 && seen < bytes.size) {
        seen = bytes.size - seen < step ? bytes.size : seen + step;
        if (mp_scan(&state, slice_of(bytes.data, seen), &limits, &size, &error)) {
            return push_failure(L, &error);
        }
    }
    lua_pushinteger(L, (lua_Integer)size);
    lua_pushinteger(L, (lua_Integer)seen);
    return 2;
}

/* skip(bytes) -> the first value's bytes, or nil */
static int skip(lua_State *L)
{
    struct mp_reader reader = mp_reader_of(check_slice(L, 1));
    struct slice value;
    if (!mp_skip(&reader, &value)) return 0;
    push_slice(L, value);
    return 1;
}

static int map_get(lua_State *L)
{
    struct slice value;
    if (!mp_map_get(check_slice(L, 1), luaL_checkstring(L, 2), &value)) return 0;
    push_slice(L, value);
    return 1;
}

static int is_utf8(lua_State *L)
{
    lua_pushboolean(L, utf8_valid(check_slice(L, 1)));
    return 1;
}

/* ---- tables ---- */

static int errors(lua_State *L)
{
    static const unsigned numbers[] = {
#define X(name, number, text, http, outcome, help) number,
        ERROR_TABLE(X)
#undef X
    };
    lua_newtable(L);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        enum error_code code = (enum error_code)numbers[i];
        lua_newtable(L);
        set_u64(L, "number", numbers[i]);
        set_text(L, "code", error_name(code));
        set_text(L, "help", error_help(code));
        set_u64(L, "http", (uint64_t)error_http_status(code));
        set_boolean(L, "definite", error_is_definite(code));
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* error_named(number or text) -> its text, or nil */
static int error_named(lua_State *L)
{
    enum error_code code;
    bool found;
    if (lua_isinteger(L, 1)) {
        found = error_from_number((unsigned)lua_tointeger(L, 1), &code);
    } else {
        struct slice name = check_slice(L, 1);
        found = error_from_name((const char *)name.data, name.size, &code);
    }
    if (!found) return 0;
    lua_pushstring(L, error_name(code));
    return 1;
}

/* error_of(number): what is said of a number, known or not: code, http, definite */
static int error_of(lua_State *L)
{
    enum error_code code = (enum error_code)luaL_checkinteger(L, 1);
    lua_pushstring(L, error_name(code));
    lua_pushinteger(L, error_http_status(code));
    lua_pushboolean(L, error_is_definite(code));
    return 3;
}

/* error_text(text): as error_set keeps it */
static int error_text(lua_State *L)
{
    struct error error;
    error_set(&error, ERROR_INTERNAL, "%s", luaL_checkstring(L, 1));
    lua_pushstring(L, error.text);
    return 1;
}

static int reply_error(lua_State *L)
{
    struct buffer out = {0};
    reply_write_error(&out, (enum error_code)luaL_checkinteger(L, 1), luaL_optstring(L, 2, NULL));
    return push_buffer(L, &out);
}

static int settings_table(lua_State *L)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    lua_newtable(L);
    for (unsigned i = 0; i < count; i++) {
        lua_newtable(L);
        set_text(L, "name", rows[i].name);
        set_u64(L, "initial", rows[i].initial);
        set_u64(L, "least", rows[i].least);
        set_u64(L, "most", rows[i].most);
        set_text(L, "unit", rows[i].unit);
        set_text(L, "scope", rows[i].scope == SETTING_NODE ? "node" : "replicated");
        set_boolean(L, "live", rows[i].live);
        set_text(L, "help", rows[i].help);
        if (settings_why_fixed(&rows[i]) != NULL) set_text(L, "fixed", settings_why_fixed(&rows[i]));
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

/* settings(values) -> every setting by name, from the defaults with these set (numbers, or texts as
 * from a command line) and the combination checked */
static int settings_with(lua_State *L)
{
    struct settings settings;
    struct error error;
    settings_init(&settings);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        const char *name = luaL_checkstring(L, -2);
        enum error_code code =
            lua_type(L, -1) == LUA_TSTRING
                ? settings_set_text(&settings, name, lua_tostring(L, -1), &error)
                : settings_set(&settings, name, (uint64_t)luaL_checkinteger(L, -1), &error);
        if (code) return push_failure(L, &error);
    }
    if (settings_check(&settings, &error)) return push_failure(L, &error);
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    lua_newtable(L);
    for (unsigned i = 0; i < count; i++) {
        set_u64(L, rows[i].name, settings_get(&settings, &rows[i]));
    }
    return 1;
}

/* setting_text(name, value) -> as people read it, and as settings() takes it */
static int setting_text(lua_State *L)
{
    char text[SETTING_TEXT_MAX];
    const struct setting_row *row = settings_find(luaL_checkstring(L, 1));
    luaL_argcheck(L, row != NULL, 1, "no such setting");
    lua_pushstring(L, settings_format(row, (uint64_t)luaL_checkinteger(L, 2), text));
    return 1;
}

static void check_values(lua_State *L, int at, struct settings *settings)
{
    settings_init(settings);
    for (lua_pushnil(L); lua_next(L, at); lua_pop(L, 1)) {
        uint64_t value = (uint64_t)luaL_checkinteger(L, -1);
        enum error_code code = settings_set(settings, luaL_checkstring(L, -2), value, NULL);
        luaL_argcheck(L, code == ERROR_OK, at, "not a setting, or not within its limits");
    }
}

/* settings_change(before, after, replicated) -> true; or nil, code, text: from the defaults with these set */
static int settings_change(lua_State *L)
{
    struct settings before, after;
    struct error error;
    check_values(L, 1, &before);
    check_values(L, 2, &after);
    if (settings_check_change(&before, &after, lua_toboolean(L, 3), &error)) return push_failure(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

static int is_id(lua_State *L)
{
    lua_pushboolean(L, id_valid(luaL_checkstring(L, 1)));
    return 1;
}

/* ---- hashes and numbers ---- */

static int hash(lua_State *L)
{
    struct slice bytes = check_slice(L, 1);
    uint64_t value = lua_isnoneornil(L, 2)
                         ? hash_bytes(bytes.data, bytes.size)
                         : hash_seeded(bytes.data, bytes.size, (uint64_t)luaL_checkinteger(L, 2));
    lua_pushinteger(L, (lua_Integer)value);
    return 1;
}

static int pair(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)hash_pair((uint64_t)luaL_checkinteger(L, 1),
                                              (uint64_t)luaL_checkinteger(L, 2)));
    return 1;
}

/* random(seed, count, [limit or "unit"]) -> a list */
static int random_list(lua_State *L)
{
    struct random random;
    random_init(&random, (uint64_t)luaL_checkinteger(L, 1));
    lua_Integer count = luaL_checkinteger(L, 2);
    lua_newtable(L);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_isnil(L, 3)) {
            lua_pushinteger(L, (lua_Integer)random_next(&random));
        } else if (lua_isinteger(L, 3)) {
            lua_pushinteger(L, (lua_Integer)random_below(&random, (uint64_t)lua_tointeger(L, 3)));
        } else {
            lua_pushnumber(L, random_unit(&random));
        }
        lua_seti(L, -2, i);
    }
    return 1;
}

static int random_numbers(lua_State *L)
{
    lua_settop(L, 3);
    return random_list(L);
}

/* ---- buffers: an object over struct buffer ---- */

static struct buffer *check_buffer(lua_State *L)
{
    return luaL_checkudata(L, 1, BUFFER_METATABLE);
}

static int buffer_make(lua_State *L)
{
    struct buffer *buffer = lua_newuserdatauv(L, sizeof *buffer, 0);
    *buffer = (struct buffer){0};
    luaL_setmetatable(L, BUFFER_METATABLE);
    return 1;
}

static int buffer_gc(lua_State *L)
{
    buffer_deinit(check_buffer(L));
    return 0;
}

static int buffer_add(lua_State *L)
{
    buffer_append_slice(check_buffer(L), check_slice(L, 2));
    return 0;
}

static int buffer_add_byte(lua_State *L)
{
    buffer_append_byte(check_buffer(L), (uint8_t)luaL_checkinteger(L, 2));
    return 0;
}

static int buffer_add_format(lua_State *L)
{
    buffer_append_format(check_buffer(L), "<%s>", luaL_checkstring(L, 2));
    return 0;
}

static int buffer_drop(lua_State *L)
{
    buffer_consume(check_buffer(L), (size_t)luaL_checkinteger(L, 2));
    return 0;
}

static int buffer_empty(lua_State *L)
{
    buffer_clear(check_buffer(L));
    return 0;
}

/* bytes, capacity */
static int buffer_bytes(lua_State *L)
{
    struct buffer *buffer = check_buffer(L);
    push_slice(L, buffer_slice(buffer));
    lua_pushinteger(L, (lua_Integer)buffer->capacity);
    return 2;
}

static const luaL_Reg buffer_methods[] = {
    {"append", buffer_add},        {"byte", buffer_add_byte},
    {"format", buffer_add_format}, {"consume", buffer_drop},
    {"clear", buffer_empty},       {"bytes", buffer_bytes},
    {"close", buffer_gc},          {NULL, NULL},
};

static int compare(lua_State *L)
{
    lua_pushinteger(L, slice_compare(check_slice(L, 1), check_slice(L, 2)));
    return 1;
}

/* blob(bytes, extra) -> how many blobs are alive after making one, after `extra` more references,
 * after dropping all but one, and after the last */
static int blob_story(lua_State *L)
{
    struct slice bytes = check_slice(L, 1);
    lua_Integer extra = luaL_checkinteger(L, 2);
    struct blob *blob = blob_new(bytes.data, bytes.size);
    lua_pushinteger(L, (lua_Integer)blob_count());
    for (lua_Integer i = 0; i < extra; i++) blob_take(blob);
    lua_pushinteger(L, (lua_Integer)blob_count());
    for (lua_Integer i = 0; i < extra; i++) blob_drop(blob);
    bool intact = blob->size == bytes.size &&
                  (bytes.size == 0 || memcmp(blob->data, bytes.data, bytes.size) == 0);
    lua_pushinteger(L, intact ? (lua_Integer)blob_count() : -1);
    blob_drop(blob);
    blob_drop(blob_take(NULL));
    lua_pushinteger(L, (lua_Integer)blob_count());
    return 4;
}

/* ---- log lines ---- */

static lua_State *captured; /* the list of lines is on top of its stack while log_captured runs */

static void capture(enum log_level level, const char *room, const char *text)
{
    lua_pushfstring(captured, "%s %s %s", log_level_name(level), room, text);
    lua_seti(captured, -2, luaL_len(captured, -2) + 1);
}

static enum log_level check_level(lua_State *L, int argument)
{
    enum log_level level;
    luaL_argcheck(L, log_level_from_name(luaL_checkstring(L, argument), &level), argument,
                  "no such level");
    return level;
}

/* log(threshold, level, room, text) -> the lines the sink got */
static int log_captured(lua_State *L)
{
    enum log_level threshold = check_level(L, 1), level = check_level(L, 2);
    const char *room = luaL_checkstring(L, 3), *text = luaL_checkstring(L, 4);
    void (*sink)(enum log_level, const char *, const char *) = log_sink;
    enum log_level before = log_threshold;
    lua_newtable(L);
    captured = L;
    log_sink = capture;
    log_threshold = threshold;
    log_write(level, room, "%s", text);
    log_sink = sink;
    log_threshold = before;
    return 1;
}

/* log_line(level, room, text): through the default sink */
static int log_line(lua_State *L)
{
    log_write(check_level(L, 1), luaL_checkstring(L, 2), "%s", luaL_checkstring(L, 3));
    return 0;
}

/* ---- memory ---- */

/* What cannot be had: ends the process. */
static int memory_exhaust(lua_State *L)
{
    if (lua_toboolean(L, 1)) {
        memory_free(memory_zero(SIZE_MAX / 2, 3)); /* the product wraps around */
    } else {
        memory_free(memory_alloc((size_t)PTRDIFF_MAX));
    }
    return 0;
}

static const luaL_Reg functions[] = {
    {"pack", pack},
    {"unpack", unpack},
    {"object", object},
    {"pack_u64", pack_u64},
    {"read_u64", read_u64},
    {"check", check},
    {"measure", measure},
    {"scan", scan},
    {"skip", skip},
    {"map_get", map_get},
    {"utf8_valid", is_utf8},
    {"errors", errors},
    {"error_named", error_named},
    {"error_of", error_of},
    {"error_text", error_text},
    {"reply_error", reply_error},
    {"settings_table", settings_table},
    {"settings", settings_with},
    {"settings_change", settings_change},
    {"setting_text", setting_text},
    {"id_valid", is_id},
    {"hash", hash},
    {"hash_pair", pair},
    {"random", random_numbers},
    {"buffer", buffer_make},
    {"compare", compare},
    {"blob", blob_story},
    {"log", log_captured},
    {"log_line", log_line},
    {"histogram", histogram_of},
    {"histogram_recent", histogram_recent_of},
    {"event_types", event_types},
    {"memory_exhaust", memory_exhaust},
    {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_moonclave_base(lua_State *L);
int luaopen_moonclave_base(lua_State *L)
{
    luaL_newmetatable(L, OBJECT_METATABLE);
    lua_pop(L, 1);
    luaL_newmetatable(L, BUFFER_METATABLE);
    lua_pushcfunction(L, buffer_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, buffer_methods);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}
