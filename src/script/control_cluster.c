/*
 * moonclave.cluster: what api.lua asks of the cluster. propose and query hand the request to the
 * host and yield; the reply resumes them (cluster_push_reply). Misuse raises; what can go wrong at
 * run time is nil and an error value: a table with code and message. lua/moonclave/meta/cluster.lua
 * documents every function for scripts.
 */
#include "script/control_internal.h"

#include "base/mp.h"
#include "script/values.h"

#include <lauxlib.h>
#include <math.h>

/* Ours, and the app's own (REJECTED): an app's "timeout" says nothing about whether its command was
 * done. */
#define ERROR_METATABLE     "moonclave.error"
#define REJECTION_METATABLE "moonclave.rejection"

static int propose(lua_State *L);
static int query(lua_State *L);
static int admin(lua_State *L);
static int status(lua_State *L);
static int members(lua_State *L);
static int config(lua_State *L);
static int http_status(lua_State *L);
static int write_log(lua_State *L);
static int error_text(lua_State *L);
static void new_error_metatable(lua_State *L, const char *name);

int cluster_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"propose", propose},         {"query", query},   {"status", status}, {"members", members},
        {"admin", admin},             {"config", config},
        {"http_status", http_status}, {"log", write_log}, {NULL, NULL},
    };
    new_error_metatable(L, ERROR_METATABLE);
    new_error_metatable(L, REJECTION_METATABLE);
    luaL_newlib(L, functions);
    session_open(L);
    return 1;
}

static void new_error_metatable(lua_State *L, const char *name)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, error_text);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}

/* ---- asking ---- */

static bool read_options(lua_State *L, struct request *request);
static bool read_once(lua_State *L, struct request *request);
static int submit(lua_State *L, enum request_kind kind, const char *name);
static void check_waiting(lua_State *L, const char *name);

/* propose(name, arguments [, {timeout=, key=, session=, sequence=}]) -> result; or nil, err */
static int propose(lua_State *L)
{
    return submit(L, REQUEST_COMMAND, "propose");
}

/* query(name, arguments [, {consistency=, timeout=}]) -> result; or nil, err */
static int query(lua_State *L)
{
    return submit(L, REQUEST_QUERY, "query");
}

/* admin(action, arguments [, {timeout=}]) -> result; or nil, err */
static int admin(lua_State *L)
{
    return submit(L, REQUEST_ADMIN, "admin");
}

static int submit(lua_State *L, enum request_kind kind, const char *name)
{
    struct control *control = vm_of(L)->control;
    struct request request = {.kind = kind};
    size_t size;
    const char *target = luaL_checklstring(L, 1, &size);
    lua_settop(L, 3);
    check_waiting(L, name);
    if (!read_options(L, &request)) return 2;
    if (kind == REQUEST_COMMAND && !read_once(L, &request)) return 2;
    struct buffer *body = &control->scratch;
    buffer_clear(body);
    mp_write_array(body, 2);
    mp_write_string(body, slice_of(target, size));
    if (lua_isnil(L, 2)) {
        mp_write_array(body, 0); /* an empty table, for the command to index */
    } else {
        value_encode(L, 2, body);
    }
    request.body = buffer_slice(body);
    return cluster_submit(L, &request, name);
}

int cluster_submit(lua_State *L, struct request *request, const char *name)
{
    struct control *control = vm_of(L)->control;
    check_waiting(L, name);
    uint64_t ticket = exchange_wait(&control->exchanges, control->running);
    control->ports.submit(control->ports.context, ticket, request);
    return vm_wait(L);
}

static void check_waiting(lua_State *L, const char *name)
{
    if (vm_of(L)->control->running && lua_isyieldable(L)) return;
    luaL_error(L, "cluster.%s waits: it can only be called while a request is handled", name);
}

static uint64_t integer_option(lua_State *L, const char *name);
static bool consistency_option(lua_State *L, struct request *request);

/* false: nil and an error are pushed, for what a client may have given. */
static bool read_options(lua_State *L, struct request *request)
{
    if (lua_isnil(L, 3)) return true;
    luaL_checktype(L, 3, LUA_TTABLE);
    if (lua_getfield(L, 3, "timeout") != LUA_TNIL) {
        lua_Number seconds = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : 0;
        luaL_argcheck(L, seconds > 0 && isfinite(seconds), 3, "timeout is a number of seconds");
        double milliseconds = ceil(seconds * 1000);
        request->timeout_ms = milliseconds < UINT32_MAX ? (uint32_t)milliseconds : UINT32_MAX;
    }
    return consistency_option(L, request);
}

/* How often it may be done: in a session, under a key, or, where the HTTP request has a key, under
 * that one, each of its commands by its number. `key = false`: as often as it is proposed. */
static bool read_once(lua_State *L, struct request *request)
{
    struct exchange *exchange = vm_of(L)->control->running;
    int type = LUA_TNIL;
    if (!lua_isnil(L, 3)) {
        request->session = integer_option(L, "session");
        request->sequence = integer_option(L, "sequence");
        type = lua_getfield(L, 3, "key");
    }
    bool never = type == LUA_TBOOLEAN && !lua_toboolean(L, -1);
    if (type != LUA_TNIL && type != LUA_TSTRING && !never)
        luaL_error(L, "key is a string, or false");
    bool in_session = request->session != 0 || request->sequence != 0;
    if (in_session && type == LUA_TSTRING)
        luaL_error(L, "a command is in a session or under a key, not both");
    if (never || in_session || (type == LUA_TNIL && exchange->key_size == 0)) return true;
    struct slice key = slice_of(exchange->key, exchange->key_size);
    if (type == LUA_TSTRING) key.data = (const uint8_t *)lua_tolstring(L, -1, &key.size);
    uint64_t nth = type == LUA_TSTRING ? 0 : exchange->keyed++;
    struct error error;
    if (request_key(request, key, nth, &error) == ERROR_OK) return true;
    lua_pushnil(L);
    cluster_push_error(L, ERROR_BAD_REQUEST, error.text);
    return false;
}

static uint64_t integer_option(lua_State *L, const char *name)
{
    if (lua_getfield(L, 3, name) == LUA_TNIL) return 0;
    if (!lua_isinteger(L, -1)) luaL_error(L, "%s is an integer", name);
    return (uint64_t)lua_tointeger(L, -1);
}

static bool consistency_option(lua_State *L, struct request *request)
{
    static const struct {
        const char *name;
        enum consistency consistency;
    } levels[] = {
        {"linearizable", CONSISTENCY_LINEARIZABLE},
        {"lease", CONSISTENCY_LEASE},
        {"stale", CONSISTENCY_STALE},
    };
    if (lua_getfield(L, 3, "consistency") == LUA_TNIL) return true;
    if (lua_type(L, -1) != LUA_TSTRING) luaL_error(L, "consistency is a string");
    size_t size;
    const char *name = lua_tolstring(L, -1, &size);
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        if (!slice_equal(slice_of(name, size), slice_text(levels[i].name))) continue;
        request->consistency = levels[i].consistency;
        return true;
    }
    lua_pushnil(L);
    cluster_push_error(L, ERROR_BAD_REQUEST,
                       "consistency is \"linearizable\", \"lease\" or \"stale\"");
    return false;
}

/* ---- answers ---- */

int cluster_push_reply(lua_State *L, const struct reply *reply)
{
    int top = lua_gettop(L);
    struct mp_reader reader = mp_reader_of(reply->body);
    if (reply->code == ERROR_OK && value_push(L, &reader)) return 1;
    enum error_code code = reply->code ? reply->code : ERROR_INTERNAL;
    lua_pushnil(L);
    if (reply->code && value_push(L, &reader) && lua_istable(L, -1)) {
        luaL_setmetatable(L, code == ERROR_REJECTED ? REJECTION_METATABLE : ERROR_METATABLE);
    } else {
        lua_settop(L, top + 1);
        cluster_push_error(L, code, NULL);
    }
    return 2;
}

bool cluster_is_own_error(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (!lua_istable(L, index) || !lua_getmetatable(L, index)) return false;
    luaL_getmetatable(L, ERROR_METATABLE);
    bool own = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return own;
}

void cluster_push_error(lua_State *L, enum error_code code, const char *message)
{
    lua_createtable(L, 0, 2);
    lua_pushstring(L, error_name(code));
    lua_setfield(L, -2, "code");
    lua_pushstring(L, message ? message : error_help(code));
    lua_setfield(L, -2, "message");
    luaL_setmetatable(L, ERROR_METATABLE);
}

/* tostring(err): "conflict: the key has changed" */
static int error_text(lua_State *L)
{
    lua_settop(L, 1);
    lua_getfield(L, 1, "code");
    lua_getfield(L, 1, "message");
    if (!lua_isstring(L, 3)) lua_settop(L, 2);
    if (lua_gettop(L) == 2) {
        luaL_tolstring(L, 2, NULL);
    } else {
        lua_pushfstring(L, "%s: %s", luaL_tolstring(L, 2, NULL), lua_tostring(L, 3));
    }
    return 1;
}

/* http_status(err) -> the status of its code in the error table. An app's own code is 409, unless
 * it is the name of one of ours that blames the request: "not_found" is 404. */
static int http_status(lua_State *L)
{
    lua_settop(L, 1);
    bool rejection = false;
    if (lua_istable(L, 1)) {
        if (lua_getmetatable(L, 1)) {
            luaL_getmetatable(L, REJECTION_METATABLE);
            rejection = lua_rawequal(L, -1, -2);
        }
        lua_getfield(L, 1, "code");
    }
    size_t size = 0;
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &size) : "";
    enum error_code code;
    int answer = 409;
    if (error_from_name(name, size, &code) && code != ERROR_OK) {
        int own = error_http_status(code);
        if (!rejection || own < 500) answer = own;
    }
    lua_pushinteger(L, answer);
    return 1;
}

/* ---- the rest ---- */

static int push_from(lua_State *L, void (*port)(void *context, struct buffer *out))
{
    struct control *control = vm_of(L)->control;
    buffer_clear(&control->scratch);
    port(control->ports.context, &control->scratch);
    struct mp_reader reader = mp_reader_of(buffer_slice(&control->scratch));
    if (!value_push(L, &reader)) return luaL_error(L, "the node gave no answer");
    return 1;
}

/* status() -> what GET /v1/status shows */
static int status(lua_State *L)
{
    return push_from(L, vm_of(L)->control->ports.status);
}

/* members() -> what GET /v1/members shows */
static int members(lua_State *L)
{
    return push_from(L, vm_of(L)->control->ports.members);
}

/* config() -> what GET /v1/config shows; admin("config", {name = value}) changes it */
static int config(lua_State *L)
{
    return push_from(L, vm_of(L)->control->ports.config);
}

/* log(level, ...): one line of the node's log, the values with spaces between them */
static int write_log(lua_State *L)
{
    static const char *const names[] = {"debug", "info", "warn", "error", NULL};
    static const enum log_level levels[] = {LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN,
                                            LOG_LEVEL_ERROR};
    enum log_level level = levels[luaL_checkoption(L, 1, NULL, names)];
    lua_remove(L, 1);
    control_log_values(L, level);
    return 0;
}
