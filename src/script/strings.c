/*
 * The string functions of a state machine that the stock library cannot give: those that match
 * patterns (their work is charged, pattern.c), rep and format. Strings they make are charged where
 * their blocks are allocated (budget.h).
 */
#include "script/fsm_internal.h"
#include "script/pattern.h"

#include <lauxlib.h>
#include <lualib.h>
#include <string.h>

static int string_find(lua_State *L);
static int string_match(lua_State *L);
static int string_gmatch(lua_State *L);
static int string_gsub(lua_State *L);
static int string_rep(lua_State *L);
static int string_format(lua_State *L);
static int string_packed(lua_State *L);

void sandbox_string_functions(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"find", string_find}, {"match", string_match}, {"gmatch", string_gmatch},
        {"gsub", string_gsub}, {"rep", string_rep},     {NULL, NULL},
    };
    static const luaL_Reg over_stock[] = {
        {"format", string_format},
        {"pack", string_packed},
        {"packsize", string_packed},
        {"unpack", string_packed},
    };
    luaL_setfuncs(L, functions, 0);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, LUA_STRLIBNAME);
    lua_remove(L, -2);
    for (size_t i = 0; i < sizeof over_stock / sizeof *over_stock; i++) {
        lua_getfield(L, -1, over_stock[i].name);
        lua_pushcclosure(L, over_stock[i].func, 1);
        lua_setfield(L, -3, over_stock[i].name);
    }
    lua_pop(L, 1);
}

static struct slice check_slice(lua_State *L, int at)
{
    size_t size;
    const char *text = luaL_checklstring(L, at, &size);
    return slice_of(text, size);
}

/* A position as scripts give it: from 1, negative from the end. As an offset; past the end: size
 * + 1. */
static size_t start_offset(lua_State *L, int at, size_t size)
{
    lua_Integer start = luaL_optinteger(L, at, 1);
    if (start > 0) return (lua_Unsigned)start - 1 > size ? size + 1 : (size_t)start - 1;
    if (start == 0 || start < -(lua_Integer)size) return 0;
    return size - (size_t)-start;
}

/* ---- find and match ---- */

static bool has_specials(struct slice pattern)
{
    for (size_t i = 0; i < pattern.size; i++) {
        if (pattern.data[i] && strchr("^$*+?.([%-", pattern.data[i])) return true;
    }
    return false;
}

static int find_plain(lua_State *L, struct slice subject, struct slice text, size_t start)
{
    budget_charge_bytes(L, subject.size - start + text.size);
    const uint8_t *found =
        text.size == 0 ? subject.data + start
                       : memmem(subject.data + start, subject.size - start, text.data, text.size);
    if (!found) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushinteger(L, found - subject.data + 1);
    lua_pushinteger(L, found - subject.data + (lua_Integer)text.size);
    return 2;
}

static int find_or_match(lua_State *L, bool find)
{
    struct slice subject = check_slice(L, 1), text = check_slice(L, 2);
    size_t start = start_offset(L, 3, subject.size);
    if (start > subject.size) {
        lua_pushnil(L);
        return 1;
    }
    if (find && (lua_toboolean(L, 4) || !has_specials(text))) {
        return find_plain(L, subject, text, start);
    }
    struct pattern pattern;
    pattern_init(&pattern, L, subject, text);
    bool anchored = text.size > 0 && text.data[0] == '^';
    const uint8_t *at = subject.data + start, *end = NULL;
    for (;; at++) {
        end = pattern_match(&pattern, at, text.data + anchored);
        if (end || anchored || at == pattern.subject_end) break;
    }
    pattern_finish(&pattern);
    if (!end) {
        lua_pushnil(L);
        return 1;
    }
    if (!find) return pattern_push_captures(&pattern, at, end, true);
    lua_pushinteger(L, at - subject.data + 1);
    lua_pushinteger(L, end - subject.data);
    return 2 + pattern_push_captures(&pattern, at, end, false);
}

static int string_find(lua_State *L)
{
    return find_or_match(L, true);
}

static int string_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* ---- gmatch: upvalues are subject, pattern, where to look next, the end of the last match (or -1)
 * ---- */

static int gmatch_next(lua_State *L)
{
    struct slice subject = check_slice(L, lua_upvalueindex(1)),
                 text = check_slice(L, lua_upvalueindex(2));
    const uint8_t *at = subject.data + lua_tointeger(L, lua_upvalueindex(3));
    lua_Integer last_end = lua_tointeger(L, lua_upvalueindex(4));
    const uint8_t *last = last_end < 0 ? NULL : subject.data + last_end;
    struct pattern pattern;
    pattern_init(&pattern, L, subject, text);
    for (; at <= pattern.subject_end; at++) {
        const uint8_t *end = pattern_match(&pattern, at, text.data);
        if (!end || end == last) continue;
        pattern_finish(&pattern);
        lua_pushinteger(L, end - subject.data);
        lua_copy(L, -1, lua_upvalueindex(3));
        lua_copy(L, -1, lua_upvalueindex(4));
        return pattern_push_captures(&pattern, at, end, true);
    }
    pattern_finish(&pattern);
    lua_pushinteger(L, (lua_Integer)subject.size + 1);
    lua_copy(L, -1, lua_upvalueindex(3));
    return 0;
}

static int string_gmatch(lua_State *L)
{
    struct slice subject = check_slice(L, 1);
    check_slice(L, 2);
    size_t start = start_offset(L, 3, subject.size);
    lua_settop(L, 2);
    lua_pushinteger(L, (lua_Integer)start);
    lua_pushinteger(L, -1);
    lua_pushcclosure(L, gmatch_next, 4);
    return 1;
}

/* ---- gsub: stack is subject, pattern, replacement ---- */

static void add_expanded(struct pattern *pattern, luaL_Buffer *out, const uint8_t *start,
                         const uint8_t *end)
{
    lua_State *L = pattern->L;
    struct slice text = check_slice(L, 3);
    budget_charge_bytes(L, text.size);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c != '%') {
            luaL_addchar(out, (char)c);
            continue;
        }
        c = ++i < text.size ? text.data[i] : 0;
        if (c == '%') {
            luaL_addchar(out, '%');
        } else if (c == '0') {
            luaL_addlstring(out, (const char *)start, (size_t)(end - start));
        } else if (c >= '1' && c <= '9') {
            pattern_push_capture(pattern, c - '1', start, end);
            luaL_tolstring(L, -1, NULL);
            lua_remove(L, -2);
            luaL_addvalue(out);
        } else {
            luaL_error(L, "invalid use of '%%' in replacement string");
        }
    }
}

/* What a function or a table says to one match; nil and false leave it as it is. */
static void add_computed(struct pattern *pattern, luaL_Buffer *out, const uint8_t *start,
                         const uint8_t *end)
{
    lua_State *L = pattern->L;
    if (lua_type(L, 3) == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        int count = pattern_push_captures(pattern, start, end, true);
        lua_call(L, count, 1);
    } else {
        pattern_push_capture(pattern, 0, start, end);
        lua_gettable(L, 3);
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        luaL_addlstring(out, (const char *)start, (size_t)(end - start));
        return;
    }
    if (!lua_isstring(L, -1)) {
        luaL_error(L, "invalid replacement value (a %s)",
                   fsm_is_handle(L, -1) ? "table" : luaL_typename(L, -1));
    }
    luaL_addvalue(out);
}

static int string_gsub(lua_State *L)
{
    struct slice subject = check_slice(L, 1), text = check_slice(L, 2);
    int type = lua_type(L, 3);
    bool expanded = type == LUA_TSTRING || type == LUA_TNUMBER;
    if (!expanded && type != LUA_TFUNCTION && type != LUA_TTABLE && !fsm_is_handle(L, 3)) {
        return luaL_typeerror(L, 3, "string/function/table");
    }
    lua_Integer most = luaL_optinteger(L, 4, LUA_MAXINTEGER), done = 0;
    bool anchored = text.size > 0 && text.data[0] == '^';
    lua_settop(L, 3);
    if (type == LUA_TNUMBER) lua_tolstring(L, 3, NULL);
    struct pattern pattern;
    luaL_Buffer out;
    pattern_init(&pattern, L, subject, text);
    luaL_buffinit(L, &out);
    const uint8_t *at = subject.data, *last = NULL;
    while (done < most) {
        const uint8_t *end = pattern_match(&pattern, at, text.data + anchored);
        if (end && end != last) {
            done++;
            (expanded ? add_expanded : add_computed)(&pattern, &out, at, end);
            at = last = end;
        } else if (at < pattern.subject_end) {
            luaL_addchar(&out, (char)*at++);
        } else {
            break;
        }
        if (anchored) break;
    }
    pattern_finish(&pattern);
    luaL_addlstring(&out, (const char *)at, (size_t)(pattern.subject_end - at));
    luaL_pushresult(&out);
    lua_pushinteger(L, done);
    return 2;
}

/* ---- rep, format, pack ---- */

static int string_rep(lua_State *L)
{
    struct slice text = check_slice(L, 1), separator = {0};
    lua_Integer count = luaL_checkinteger(L, 2);
    if (!lua_isnoneornil(L, 3)) separator = check_slice(L, 3);
    if (count <= 0 || text.size + separator.size == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    uint64_t most = budget_of(L)->block_max / (text.size + separator.size);
    if ((lua_Unsigned)count > most) return luaL_error(L, "resulting string too large");
    luaL_Buffer out;
    luaL_buffinitsize(L, &out, (size_t)count * (text.size + separator.size));
    for (lua_Integer i = 0; i < count; i++) {
        if (i > 0) luaL_addlstring(&out, (const char *)separator.data, separator.size);
        luaL_addlstring(&out, (const char *)text.data, text.size);
    }
    luaL_pushresult(&out);
    return 1;
}

/* The argument at `at` as %s or %d is to see it: without an address, with one NaN. */
static void make_printable(lua_State *L, int at, int conversion)
{
    if (conversion == 's') {
        lua_pushcfunction(L, sandbox_tostring);
        lua_pushvalue(L, at);
        lua_call(L, 1, 1);
        lua_replace(L, at);
    } else if (lua_type(L, at) == LUA_TNUMBER && lua_tonumber(L, at) != lua_tonumber(L, at)) {
        static const uint64_t one_nan = 0x7ff8000000000000;
        double nan;
        memcpy(&nan, &one_nan, sizeof nan);
        lua_pushnumber(L, nan);
        lua_replace(L, at);
    }
}

/* The stock function (the upvalue, called in this frame: its errors name the script's line) behind
 * a look at the conversions. */
static int string_format(lua_State *L)
{
    struct slice format = check_slice(L, 1);
    int arguments = lua_gettop(L), at = 1;
    for (size_t i = 0; i < format.size; i++) {
        if (format.data[i] != '%') continue;
        if (++i < format.size && format.data[i] == '%') continue;
        while (i < format.size && format.data[i] && strchr("-+ #0123456789.", format.data[i])) i++;
        int conversion = i < format.size ? format.data[i] : 0;
        if (conversion == 'p' || conversion == 'a' || conversion == 'A') {
            return luaL_error(L, "string.format: %%%c is not available in a state machine: "
                                 "it differs between nodes", conversion);
        }
        if (++at <= arguments) make_printable(L, at, conversion);
    }
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}

/* pack, packsize, unpack: little-endian where the format does not say, on every machine. */
static int string_packed(lua_State *L)
{
    check_slice(L, 1);
    if (lua_type(L, 2) == LUA_TSTRING) budget_charge_bytes(L, lua_rawlen(L, 2));
    lua_pushliteral(L, "<");
    lua_pushvalue(L, 1);
    lua_concat(L, 2);
    lua_replace(L, 1);
    return lua_tocfunction(L, lua_upvalueindex(1))(L);
}
