/*
 * moonclave.sessions: the sessions and keys of the replicated machine alone, without a host around them.
 *
 *   sessions.new{setting = n}            -> sessions
 *   sessions.decode(bytes, {setting = n}) -> sessions; or nil, code, text
 *   s:advance(clock_ms)
 *   s:command{session=, sequence=, keyed=, body=, code=, reply=} -> code, reply, ran
 *        `code` and `reply`: what the machine would answer, where the command is run
 *   s:session{index=, session=, body=}   -> code, reply
 *   s:encode() -> bytes    s:hash() -> integer    s:figures() -> {open=, bytes=, keys=, key_bytes=}
 *   sessions.body(action[, acknowledged]) -> the body of a SESSION request
 *   sessions.key(text[, nth]) -> session, sequence; or nil, code, text
 *   sessions.mutant([name])   a build with mutants: switches that one on (module/mutants.h)
 */
#include "base/request.h"
#include "host/sessions.h"
#include "module/fields.h"
#include "module/mutants.h"

#include <string.h>

#define SESSIONS_TYPE "moonclave.sessions"

struct box {
    struct sessions sessions;
    struct settings settings;
    bool closed;
};

static struct box *check_box(lua_State *L)
{
    return luaL_checkudata(L, 1, SESSIONS_TYPE);
}

static struct box *box_new(lua_State *L, int settings)
{
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    memset(box, 0, sizeof *box);
    sessions_init(&box->sessions);
    settings_init(&box->settings);
    luaL_setmetatable(L, SESSIONS_TYPE);
    if (!lua_istable(L, settings)) return box;
    for (lua_pushnil(L); lua_next(L, settings); lua_pop(L, 1)) {
        struct error error;
        if (settings_set(&box->settings, luaL_checkstring(L, -2),
                         (uint64_t)luaL_checkinteger(L, -1), &error)) {
            luaL_error(L, "%s", error.text);
        }
    }
    return box;
}

static int new(lua_State *L)
{
    lua_settop(L, 1);
    box_new(L, 1);
    return 1;
}

static int decode(lua_State *L)
{
    lua_settop(L, 2);
    struct slice bytes = check_slice(L, 1);
    struct error error;
    struct box *box = box_new(L, 2);
    if (sessions_decode(&box->sessions, bytes, &error) != ERROR_OK) return push_failure(L, &error);
    return 1;
}

static int close(lua_State *L)
{
    struct box *box = check_box(L);
    if (!box->closed) sessions_deinit(&box->sessions);
    box->closed = true;
    return 0;
}

static int advance(lua_State *L)
{
    struct box *box = check_box(L);
    sessions_advance(&box->sessions, &box->settings, (uint64_t)luaL_checkinteger(L, 2));
    return 0;
}

static struct raft_entry check_entry(lua_State *L)
{
    return (struct raft_entry){
        .type = RAFT_COMMAND,
        .flags = field_boolean(L, 2, "keyed") ? RAFT_ENTRY_KEYED : 0,
        .index = field_u64(L, 2, "index"),
        .session = field_u64(L, 2, "session"),
        .sequence = field_u64(L, 2, "sequence"),
        .payload.bytes = field_slice(L, 2, "body"),
    };
}

static int push_answer(lua_State *L, enum error_code code, struct buffer *reply)
{
    lua_pushstring(L, error_name(code));
    push_buffer(L, reply);
    return 2;
}

static int command(lua_State *L)
{
    struct box *box = check_box(L);
    struct raft_entry entry = check_entry(L);
    struct slice name = slice_text(field_text(L, 2, "code")), answer = field_slice(L, 2, "reply");
    struct buffer reply = {0};
    enum error_code code = ERROR_OK;
    if (name.size > 0) error_from_name((const char *)name.data, name.size, &code);
    bool run = sessions_admit(&box->sessions, &box->settings, &entry, &code, &reply);
    if (run) {
        buffer_append_slice(&reply, answer);
        sessions_keep(&box->sessions, &box->settings, &entry, code, answer);
    }
    push_answer(L, code, &reply);
    lua_pushboolean(L, run);
    return 3;
}

static int session(lua_State *L)
{
    struct box *box = check_box(L);
    struct raft_entry entry = check_entry(L);
    struct buffer reply = {0};
    return push_answer(L, sessions_apply(&box->sessions, &box->settings, &entry, &reply), &reply);
}

static int encode(lua_State *L)
{
    struct buffer bytes = {0};
    sessions_encode(&check_box(L)->sessions, &bytes);
    return push_buffer(L, &bytes);
}

static int hash(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)sessions_hash(&check_box(L)->sessions));
    return 1;
}

static int figures(lua_State *L)
{
    const struct sessions *sessions = &check_box(L)->sessions;
    lua_createtable(L, 0, 4);
    set_u64(L, "open", sessions->count);
    set_u64(L, "bytes", sessions->bytes);
    set_u64(L, "keys", sessions->ring_count);
    set_u64(L, "key_bytes", sessions->key_bytes);
    return 1;
}

static int body(lua_State *L)
{
    static const char *const names[] = {"open", "renew", "close", NULL};
    struct buffer bytes = {0};
    enum session_action action = (enum session_action)luaL_checkoption(L, 1, NULL, names);
    session_body_write(&bytes, action, (uint64_t)luaL_optinteger(L, 2, 0));
    return push_buffer(L, &bytes);
}

static int key(lua_State *L)
{
    struct request request = {0};
    struct error error;
    if (request_key(&request, check_slice(L, 1), (uint64_t)luaL_optinteger(L, 2, 0), &error))
        return push_failure(L, &error);
    lua_pushinteger(L, (lua_Integer)request.session);
    lua_pushinteger(L, (lua_Integer)request.sequence);
    return 2;
}

/* Each module has the one variable of a mutant build for itself: this is this one's. */
static int switch_mutant(lua_State *L)
{
    return check_mutant(L, 1);
}

__attribute__((visibility("default"))) int luaopen_moonclave_sessions(lua_State *L);

int luaopen_moonclave_sessions(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"advance", advance}, {"command", command}, {"session", session}, {"encode", encode},
        {"hash", hash},       {"figures", figures}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"new", new}, {"decode", decode},       {"body", body},
        {"key", key}, {"mutant", switch_mutant}, {NULL, NULL},
    };
    luaL_newmetatable(L, SESSIONS_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, functions);
    return 1;
}
