/*
 * A request as a handler sees it, and a response as it returns it.
 *
 * A thread runs `handle`, which calls the script's handler and checks what came back while an error
 * can still be the handler's own: so a table that is no plain data is reported like any other
 * mistake, with a traceback.
 */
#include "script/control_internal.h"

#include "base/mp.h"
#include "base/uri.h"
#include "script/values.h"

#include <lauxlib.h>

#define REQUEST_METATABLE "moonclave.request"

static int request_json(lua_State *L);
static int handle(lua_State *L);
static enum error_code push_params(struct vm *vm, lua_State *L, const struct route *route,
                                   const struct slice *params);
static enum error_code push_query(struct vm *vm, lua_State *L, struct slice query);
static void push_headers(lua_State *L, const struct http_request *request);
static void set_string(lua_State *L, const char *name, struct slice value);

void request_open(lua_State *L)
{
    luaL_newmetatable(L, REQUEST_METATABLE);
    lua_newtable(L);
    lua_pushcfunction(L, request_json);
    lua_setfield(L, -2, "json");
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

enum error_code request_push(struct vm *vm, lua_State *L, const struct route *route,
                             const struct http_request *request, const struct slice *params)
{
    lua_pushcfunction(L, handle);
    lua_rawgeti(L, LUA_REGISTRYINDEX, route->handler);
    lua_createtable(L, 0, 6);
    set_string(L, "method", request->method);
    set_string(L, "path", request->path);
    set_string(L, "body", request->body);
    enum error_code code = push_params(vm, L, route, params);
    if (code) return code;
    lua_setfield(L, -2, "params");
    code = push_query(vm, L, request->query);
    if (code) return code;
    lua_setfield(L, -2, "query");
    push_headers(L, request);
    lua_setfield(L, -2, "headers");
    luaL_setmetatable(L, REQUEST_METATABLE);
    return ERROR_OK;
}

static void set_string(lua_State *L, const char *name, struct slice value)
{
    lua_pushlstring(L, value.size ? (const char *)value.data : "", value.size);
    lua_setfield(L, -2, name);
}

static enum error_code push_params(struct vm *vm, lua_State *L, const struct route *route,
                                   const struct slice *params)
{
    struct buffer *decoded = &vm->control->scratch;
    lua_newtable(L);
    for (size_t i = 0; i < route->segment_count; i++) {
        const struct segment *segment = &route->segments[i];
        if (segment->kind == SEGMENT_LITERAL) continue;
        buffer_clear(decoded);
        if (uri_percent_decode(*params++, false, decoded)) return ERROR_BAD_REQUEST;
        lua_pushlstring(L, (const char *)segment->text.data, segment->text.size);
        lua_pushlstring(L, decoded->size ? (const char *)decoded->data : "", decoded->size);
        lua_rawset(L, -3);
    }
    return ERROR_OK;
}

static enum error_code push_query(struct vm *vm, lua_State *L, struct slice query)
{
    if (query.size == 0) {
        lua_newtable(L);
        return ERROR_OK;
    }
    struct buffer *decoded = &vm->control->scratch;
    buffer_clear(decoded);
    if (uri_query_to_value(query, decoded)) return ERROR_BAD_REQUEST;
    struct mp_reader reader = mp_reader_of(buffer_slice(decoded));
    return value_push(L, &reader) ? ERROR_OK : ERROR_INTERNAL;
}

/* Equal names become one list, as RFC 9110, section 5.3, has it. */
static void push_headers(lua_State *L, const struct http_request *request)
{
    lua_createtable(L, 0, (int)request->header_count);
    for (size_t i = 0; i < request->header_count; i++) {
        const struct http_header *header = &request->headers[i];
        lua_pushlstring(L, (const char *)header->name.data, header->name.size);
        lua_pushvalue(L, -1);
        int before = lua_rawget(L, -3) == LUA_TNIL ? 0 : 2;
        if (before) {
            lua_pushliteral(L, ", ");
        } else {
            lua_pop(L, 1);
        }
        lua_pushlstring(L, header->value.size ? (const char *)header->value.data : "",
                        header->value.size);
        lua_concat(L, before + 1);
        lua_rawset(L, -3);
    }
}

/* request:json() -> value; or nil, err */
static int request_json(lua_State *L)
{
    struct control *control = vm_of(L)->control;
    luaL_checktype(L, 1, LUA_TTABLE);
    if (lua_getfield(L, 1, "body") != LUA_TSTRING)
        return luaL_error(L, "request.body is no string");
    size_t size;
    const char *body = lua_tolstring(L, -1, &size);
    struct error error = {.text = "null"};
    buffer_clear(&control->scratch);
    enum error_code code = control->ports.json_decode(control->ports.context, slice_of(body, size),
                                                      &control->scratch, &error);
    struct mp_reader reader = mp_reader_of(buffer_slice(&control->scratch));
    if (code == ERROR_OK && value_push(L, &reader) && !lua_isnil(L, -1)) return 1;
    const char *text =
        lua_pushfstring(L, "the body is not the JSON that was expected: %s", error.text);
    lua_pushnil(L);
    cluster_push_error(L, ERROR_BAD_REQUEST, text);
    return 2;
}

/* ---- what a handler returns ---- */

static int handled(lua_State *L, int status, lua_KContext context);
static void flatten_headers(lua_State *L);

static int handle(lua_State *L)
{
    lua_callk(L, 1, 3, 0, handled);
    return handled(L, LUA_OK, 0);
}

/* The results are status, body, headers; a body that is a value goes to the scratch buffer. */
static int handled(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct buffer *scratch = &vm_of(L)->control->scratch;
    lua_Integer answer = lua_isinteger(L, 1) ? lua_tointeger(L, 1) : 0;
    if (answer < 200 || answer > 599) {
        return luaL_error(L,
                          "a handler returns status, body, headers: its status is a number from "
                          "200 to 599, not %s",
                          luaL_tolstring(L, 1, NULL));
    }
    buffer_clear(scratch);
    if (!lua_isnil(L, 2) && lua_type(L, 2) != LUA_TSTRING) value_encode(L, 2, scratch);
    flatten_headers(L);
    return 3;
}

static void add_header(lua_State *L, int flat, int name, int value);

/* {name = value or {value, ...}} at 3 becomes {name, value, name, value ...} */
static void flatten_headers(lua_State *L)
{
    if (lua_isnil(L, 3)) return;
    if (!lua_istable(L, 3))
        luaL_error(L, "a handler's headers are a table, not a %s", luaL_typename(L, 3));
    lua_newtable(L);
    lua_pushnil(L);
    while (lua_next(L, 3)) {
        if (lua_type(L, 5) != LUA_TSTRING)
            luaL_error(L, "a header's name is a string, not a %s", luaL_typename(L, 5));
        if (lua_istable(L, 6)) {
            for (lua_Integer i = 1; lua_geti(L, 6, i) != LUA_TNIL; i++) {
                add_header(L, 4, 5, 7);
                lua_settop(L, 6);
            }
        } else {
            add_header(L, 4, 5, 6);
        }
        lua_settop(L, 5);
    }
    lua_settop(L, 4);
    lua_replace(L, 3);
}

static void add_header(lua_State *L, int flat, int name, int value)
{
    if (!lua_isstring(L, value)) {
        luaL_error(L, "the header %s is a string, not a %s", lua_tostring(L, name),
                   luaL_typename(L, value));
    }
    lua_Integer count = (lua_Integer)lua_rawlen(L, flat);
    if (count >= CONTROL_HEADERS_MAX * 2)
        luaL_error(L, "more than %d headers", CONTROL_HEADERS_MAX);
    lua_pushvalue(L, name);
    lua_rawseti(L, flat, count + 1);
    lua_pushvalue(L, value);
    lua_tostring(L, -1);
    lua_rawseti(L, flat, count + 2);
}

static struct slice string_at(lua_State *L, int table, lua_Integer i)
{
    size_t size;
    lua_rawgeti(L, table, i);
    const char *text = lua_tolstring(L, -1, &size);
    lua_pop(L, 1); /* the table holds it */
    return slice_of(text, size);
}

void response_read(lua_State *L, const struct buffer *body, struct response_headers *headers,
                   struct http_response *response)
{
    *response =
        (struct http_response){.status = (int)lua_tointeger(L, 1), .headers = headers->list};
    if (lua_type(L, 2) == LUA_TSTRING) {
        size_t size;
        const char *text = lua_tolstring(L, 2, &size);
        response->kind = HTTP_BODY_BYTES;
        response->body = slice_of(text, size);
    } else if (!lua_isnil(L, 2)) {
        response->kind = HTTP_BODY_VALUE;
        response->body = buffer_slice(body);
    }
    size_t count = lua_istable(L, 3) ? (size_t)lua_rawlen(L, 3) / 2 : 0;
    for (size_t i = 0; i < count; i++) {
        headers->list[i].name = string_at(L, 3, (lua_Integer)(2 * i + 1));
        headers->list[i].value = string_at(L, 3, (lua_Integer)(2 * i + 2));
    }
    response->header_count = count;
}
