/*
 * moonclave.http: the HTTP layer for the specs: requests out of bytes, responses as bytes, JSON,
 * URLs. Values are msgpack bytes here, as everywhere between folders; moonclave.base packs and
 * unpacks them.
 */
#include "base/uri.h"
#include "http/http.h"
#include "http/json.h"
#include "module/fields.h"

#include <lualib.h>

#define CONNECTION_METATABLE "moonclave.http.connection"

/* ---- requests ---- */

static struct http_connection *check_connection(lua_State *L)
{
    struct http_connection **box = luaL_checkudata(L, 1, CONNECTION_METATABLE);
    luaL_argcheck(L, *box != NULL, 1, "closed");
    return *box;
}

/* connection{head_bytes_max=, body_bytes_max=} */
static int connection_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const struct http_parser_limits limits = {
        .head_bytes_max = (size_t)field_u64(L, 1, "head_bytes_max"),
        .body_bytes_max = (size_t)field_u64(L, 1, "body_bytes_max"),
    };
    struct http_connection **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, CONNECTION_METATABLE);
    *box = http_connection_new(&limits);
    return 1;
}

static int connection_free(lua_State *L)
{
    struct http_connection **box = luaL_checkudata(L, 1, CONNECTION_METATABLE);
    http_connection_free(*box);
    *box = NULL;
    return 0;
}

static void push_request(lua_State *L, const struct http_connection *connection,
                         const struct http_request *request)
{
    lua_newtable(L);
    set_slice(L, "method", request->method);
    set_slice(L, "path", request->path);
    set_slice(L, "query", request->query);
    set_slice(L, "body", request->body);
    set_boolean(L, "keep_alive", http_keep_alive(connection));
    set_boolean(L, "head_only", http_head_only(connection));
    lua_newtable(L);
    for (size_t i = 0; i < request->header_count; i++) {
        lua_newtable(L);
        set_slice(L, "name", request->headers[i].name);
        set_slice(L, "value", request->headers[i].value);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "headers");
}

/* feed(bytes) -> consumed, request or nil; or consumed, nil, {code=, message=, status=} */
static int connection_feed(lua_State *L)
{
    struct http_connection *connection = check_connection(L);
    size_t consumed;
    const struct http_request *request;
    struct error error;
    enum error_code code = http_feed(connection, check_slice(L, 2), &consumed, &request, &error);
    lua_pushinteger(L, (lua_Integer)consumed);
    if (code) {
        lua_pushnil(L);
        lua_newtable(L);
        set_text(L, "code", error_name(code));
        set_text(L, "message", error.text);
        set_u64(L, "status", (uint64_t)http_error_status(connection, code));
        return 3;
    }
    if (!request) return 1;
    push_request(L, connection, request);
    return 2;
}

static int connection_expects_continue(lua_State *L)
{
    lua_pushboolean(L, http_expects_continue(check_connection(L)));
    return 1;
}

static int connection_mid_request(lua_State *L)
{
    lua_pushboolean(L, http_mid_request(check_connection(L)));
    return 1;
}

/* ---- responses ---- */

#define SPEC_HEADERS_MAX 16

/* response{status=, headers={{name=, value=}}, bytes= or value=, close=, head_only=} -> bytes */
static int response(lua_State *L)
{
    struct http_header headers[SPEC_HEADERS_MAX];
    luaL_checktype(L, 1, LUA_TTABLE);
    struct http_response answer = {.status = (int)field_u64(L, 1, "status"), .headers = headers};
    lua_getfield(L, 1, "headers");
    for (lua_Integer i = 1; lua_istable(L, 2) && lua_geti(L, 2, i) == LUA_TTABLE; i++) {
        luaL_argcheck(L, i <= SPEC_HEADERS_MAX, 1, "too many headers");
        int header = lua_gettop(L);
        headers[answer.header_count++] =
            (struct http_header){field_slice(L, header, "name"), field_slice(L, header, "value")};
        lua_settop(L, 2);
    }
    lua_settop(L, 2);
    bool bytes = lua_getfield(L, 1, "bytes") == LUA_TSTRING,
         value = lua_getfield(L, 1, "value") == LUA_TSTRING;
    if (bytes) answer.kind = HTTP_BODY_BYTES;
    if (value) answer.kind = HTTP_BODY_VALUE;
    if (bytes || value) answer.body = check_slice(L, bytes ? 3 : 4);
    struct buffer out = {0};
    http_write_response(&out, &answer, !field_boolean(L, 1, "close"),
                        field_boolean(L, 1, "head_only"));
    return push_buffer(L, &out);
}

/* error(code, status, message, close) -> bytes */
static int write_error(lua_State *L)
{
    struct slice name = check_slice(L, 1);
    enum error_code code;
    luaL_argcheck(L, error_from_name((const char *)name.data, name.size, &code), 1, "no such code");
    struct buffer out = {0};
    http_write_error(&out, code, (int)luaL_checkinteger(L, 2), luaL_optstring(L, 3, NULL),
                     !lua_toboolean(L, 4));
    return push_buffer(L, &out);
}

/* ---- JSON and URLs: the result's bytes, or nil, code, text ---- */

typedef enum error_code conversion(struct slice in, struct buffer *out, struct error *error);

static int convert(lua_State *L, conversion *function)
{
    struct buffer out = {0};
    struct error error;
    if (function(check_slice(L, 1), &out, &error) == ERROR_OK) return push_buffer(L, &out);
    buffer_deinit(&out);
    return push_failure(L, &error);
}

static int to_value(lua_State *L)
{
    return convert(L, json_to_value);
}

static int from_value(lua_State *L)
{
    return convert(L, json_from_value);
}

static enum error_code decode_path(struct slice in, struct buffer *out, struct error *error)
{
    return error_set(error, uri_percent_decode(in, false, out), "broken escape");
}

static enum error_code decode_form(struct slice in, struct buffer *out, struct error *error)
{
    return error_set(error, uri_percent_decode(in, true, out), "broken escape");
}

static enum error_code decode_query(struct slice in, struct buffer *out, struct error *error)
{
    return error_set(error, uri_query_to_value(in, out), "broken escape");
}

static int percent_decode(lua_State *L)
{
    return convert(L, lua_toboolean(L, 2) ? decode_form : decode_path);
}

static int query(lua_State *L)
{
    return convert(L, decode_query);
}

static const luaL_Reg methods[] = {
    {"feed", connection_feed},
    {"expects_continue", connection_expects_continue},
    {"mid_request", connection_mid_request},
    {"__gc", connection_free},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"connection", connection_new},
    {"response", response},
    {"error", write_error},
    {"json_to_value", to_value},
    {"json_from_value", from_value},
    {"percent_decode", percent_decode},
    {"query", query},
    {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_moonclave_http(lua_State *L);

int luaopen_moonclave_http(lua_State *L)
{
    luaL_newmetatable(L, CONNECTION_METATABLE);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
