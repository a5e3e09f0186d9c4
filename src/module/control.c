/*
 * moonclave.control: the control VM for the specs. The spec plays the node: its functions are the
 * ports, and it brings the replies. Values are msgpack bytes. An error within a port is kept, and
 * raised when the control VM has returned.
 */
#include "script/control.h"

#include "http/json.h"
#include "module/fields.h"

#define CONTROL_METATABLE "moonclave.control"

struct fixture {
    struct control *control;
    lua_State *L; /* who called last: the ports call back there */
    int ports;    /* the spec's table of functions */
    int failure;  /* what a port raised, or LUA_NOREF */
};

static struct fixture *check_fixture(lua_State *L)
{
    struct fixture *fixture = luaL_checkudata(L, 1, CONTROL_METATABLE);
    luaL_argcheck(L, fixture->control != NULL, 1, "closed");
    fixture->L = L;
    return fixture;
}

/* After each call: what a port raised, and `results` values else. */
static int leave(lua_State *L, struct fixture *fixture, int results)
{
    if (fixture->failure == LUA_NOREF) return results;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fixture->failure);
    luaL_unref(L, LUA_REGISTRYINDEX, fixture->failure);
    fixture->failure = LUA_NOREF;
    return lua_error(L);
}

/* ---- the ports ---- */

static void push_port(struct fixture *fixture, const char *name)
{
    luaL_checkstack(fixture->L, 10, "ports");
    lua_rawgeti(fixture->L, LUA_REGISTRYINDEX, fixture->ports);
    lua_getfield(fixture->L, -1, name);
    lua_remove(fixture->L, -2);
}

static bool call_port(struct fixture *fixture, int arguments, int results)
{
    if (lua_pcall(fixture->L, arguments, results, 0) == LUA_OK) return true;
    if (fixture->failure == LUA_NOREF) {
        fixture->failure = luaL_ref(fixture->L, LUA_REGISTRYINDEX);
    } else {
        lua_pop(fixture->L, 1);
    }
    return false;
}

/* submit(ticket, {kind=, consistency=, timeout_ms=, session=, sequence=, body=}) */
static void submit(void *context, uint64_t ticket, const struct request *request)
{
    static const char *const kinds[] = {"command", "query", "session", "keyed", "admin"};
    static const char *const levels[] = {"linearizable", "lease", "stale"};
    struct fixture *fixture = context;
    lua_State *L = fixture->L;
    push_port(fixture, "submit");
    lua_pushinteger(L, (lua_Integer)ticket);
    lua_newtable(L);
    set_text(L, "kind", kinds[request->kind]);
    set_text(L, "consistency", levels[request->consistency]);
    set_u64(L, "timeout_ms", request->timeout_ms);
    set_u64(L, "session", request->session);
    set_u64(L, "sequence", request->sequence);
    set_slice(L, "body", request->body);
    call_port(fixture, 2, 0);
}

/* respond(exchange, {status=, kind=, body=, headers={{name=, value=}}}) */
static void respond(void *context, uint64_t exchange, const struct http_response *response)
{
    static const char *const kinds[] = {"none", "bytes", "value"};
    struct fixture *fixture = context;
    lua_State *L = fixture->L;
    push_port(fixture, "respond");
    lua_pushinteger(L, (lua_Integer)exchange);
    lua_newtable(L);
    set_u64(L, "status", (uint64_t)response->status);
    set_text(L, "kind", kinds[response->kind]);
    set_slice(L, "body", response->body);
    lua_newtable(L);
    for (size_t i = 0; i < response->header_count; i++) {
        lua_newtable(L);
        set_slice(L, "name", response->headers[i].name);
        set_slice(L, "value", response->headers[i].value);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "headers");
    call_port(fixture, 2, 0);
}

static void fill(struct fixture *fixture, const char *port, struct buffer *out)
{
    push_port(fixture, port);
    if (!call_port(fixture, 0, 1)) return;
    if (lua_isstring(fixture->L, -1)) buffer_append_slice(out, check_slice(fixture->L, -1));
    lua_pop(fixture->L, 1);
}

static void status(void *context, struct buffer *out)
{
    fill(context, "status", out);
}

static void members(void *context, struct buffer *out)
{
    fill(context, "members", out);
}

static void config(void *context, struct buffer *out)
{
    fill(context, "config", out);
}

static enum error_code json_decode(void *context, struct slice json, struct buffer *out,
                                   struct error *error)
{
    (void)context;
    return json_to_value(json, out, error);
}

/* log(level, text) */
static void write_log(void *context, enum log_level level, const char *text)
{
    struct fixture *fixture = context;
    push_port(fixture, "log");
    lua_pushstring(fixture->L, log_level_name(level));
    lua_pushstring(fixture->L, text);
    call_port(fixture, 2, 0);
}

/* ---- the calls ---- */

static int control_open(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct fixture *fixture = lua_newuserdatauv(L, sizeof *fixture, 0);
    *fixture = (struct fixture){.L = L, .failure = LUA_NOREF};
    luaL_setmetatable(L, CONTROL_METATABLE);
    lua_pushvalue(L, 1);
    fixture->ports = luaL_ref(L, LUA_REGISTRYINDEX);
    const struct control_ports ports = {
        .context = fixture,
        .submit = submit,
        .respond = respond,
        .status = status,
        .members = members,
        .config = config,
        .json_decode = json_decode,
        .log = write_log,
    };
    fixture->control = control_new(&ports);
    return 1;
}

static int control_close(lua_State *L)
{
    struct fixture *fixture = luaL_checkudata(L, 1, CONTROL_METATABLE);
    if (!fixture->control) return 0;
    fixture->L = L;
    control_free(fixture->control);
    fixture->control = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, fixture->ports);
    return leave(L, fixture, 0);
}

/* load(bundle, config) -> true; or nil, code, text */
static int load(lua_State *L)
{
    struct fixture *fixture = check_fixture(L);
    struct slice config = {0};
    if (!lua_isnoneornil(L, 3)) config = check_slice(L, 3);
    struct error error;
    enum error_code code = control_load(fixture->control, check_slice(L, 2), config, &error);
    if (fixture->failure != LUA_NOREF) return leave(L, fixture, 0);
    if (code) return push_failure(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

#define SPEC_HEADERS_MAX 16

/* serve(exchange, {method=, path=, query=, headers={{name=, value=}}, body=}) -> whether a route
 * matched, and the path */
static int serve(lua_State *L)
{
    struct fixture *fixture = check_fixture(L);
    struct http_header headers[SPEC_HEADERS_MAX];
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_settop(L, 3);
    struct http_request request = {
        .method = field_slice(L, 3, "method"),
        .path = field_slice(L, 3, "path"),
        .query = field_slice(L, 3, "query"),
        .body = field_slice(L, 3, "body"),
        .headers = headers,
    };
    lua_getfield(L, 3, "headers");
    for (lua_Integer i = 1; lua_istable(L, 4) && lua_geti(L, 4, i) == LUA_TTABLE; i++) {
        luaL_argcheck(L, i <= SPEC_HEADERS_MAX, 3, "too many headers");
        headers[request.header_count++] =
            (struct http_header){field_slice(L, 5, "name"), field_slice(L, 5, "value")};
        lua_settop(L, 4);
    }
    bool path_known;
    bool served =
        control_serve(fixture->control, (uint64_t)luaL_checkinteger(L, 2), &request, &path_known);
    lua_pushboolean(L, served);
    lua_pushboolean(L, path_known);
    return leave(L, fixture, 2);
}

/* reply(ticket, code, body) */
static int reply(lua_State *L)
{
    struct fixture *fixture = check_fixture(L);
    struct slice name = check_slice(L, 3);
    struct reply answer = {.body = check_slice(L, 4)};
    luaL_argcheck(L, error_from_name((const char *)name.data, name.size, &answer.code), 3,
                  "no such code");
    control_reply(fixture->control, (uint64_t)luaL_checkinteger(L, 2), &answer);
    return leave(L, fixture, 0);
}

static int cancel(lua_State *L)
{
    struct fixture *fixture = check_fixture(L);
    control_cancel(fixture->control, (uint64_t)luaL_checkinteger(L, 2));
    return leave(L, fixture, 0);
}

static const luaL_Reg methods[] = {
    {"load", load},           {"serve", serve},        {"reply", reply}, {"cancel", cancel},
    {"close", control_close}, {"__gc", control_close}, {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"new", control_open},
    {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_moonclave_control(lua_State *L);

int luaopen_moonclave_control(lua_State *L)
{
    luaL_newmetatable(L, CONTROL_METATABLE);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
