/* From a view to actions: the policy's functions are asked about every server, and what they return is looked at. What
 * is no answer raises, at the line where the function stands. */
#include "script/policy_internal.h"

#include "base/mp.h"
#include "script/values.h"

#include <lauxlib.h>
#include <string.h>

static void open_view(lua_State *L, int view);
static void decide_admission(lua_State *L, int view, struct policy_call *call);
static void decide_servers(lua_State *L, int view, const char *list, int function, const char *verb,
                           struct policy_call *call);
static void decide_leader(lua_State *L, int view, struct policy_call *call);

int policy_decide(lua_State *L)
{
    struct policy_call *call = lua_touserdata(L, 1);
    struct mp_reader reader = mp_reader_of(call->view);
    if (!value_push(L, &reader) || !lua_istable(L, -1)) return luaL_error(L, "the view is no table");
    int view = lua_gettop(L);
    open_view(L, view);
    if (lua_getfield(L, view, "server") != LUA_TNIL) {
        decide_admission(L, view, call);
        return 0;
    }
    lua_settop(L, view);
    decide_servers(L, view, "learners", PROMOTE, "promote", call);
    decide_servers(L, view, "voters", EVICT, "evict", call);
    decide_servers(L, view, "learners", EVICT, "evict", call);
    decide_servers(L, view, "voters", DEMOTE, "demote", call);
    decide_leader(L, view, call);
    return 0;
}

/* server.zone is its label of that name. */
static void add_zone(lua_State *L, int server)
{
    if (lua_getfield(L, server, "labels") == LUA_TTABLE) {
        lua_getfield(L, -1, "zone");
        lua_setfield(L, server, "zone");
    }
    lua_pop(L, 1);
}

/* view.voters and view.learners: the same servers again, by their role. */
static void open_view(lua_State *L, int view)
{
    lua_Integer counts[2] = {0, 0};
    lua_newtable(L);
    lua_newtable(L);
    if (lua_getfield(L, view, "servers") != LUA_TTABLE) luaL_error(L, "the view has no servers");
    for (lua_Integer i = 1; lua_geti(L, view + 3, i) == LUA_TTABLE; i++) {
        add_zone(L, view + 4);
        lua_getfield(L, view + 4, "role");
        bool learner = strcmp(luaL_optstring(L, -1, ""), "learner") == 0;
        lua_pop(L, 1);
        lua_seti(L, view + 1 + learner, ++counts[learner]);
    }
    lua_settop(L, view + 2);
    lua_setfield(L, view, "learners");
    lua_setfield(L, view, "voters");
    if (lua_getfield(L, view, "server") == LUA_TTABLE) add_zone(L, view + 1);
    lua_settop(L, view);
}

static void write_action(lua_State *L, struct policy_call *call, const char *verb, struct slice text)
{
    struct buffer *out = &policy_vm_of(L)->scratch;
    mp_write_array(out, 2);
    mp_write_text(out, verb);
    mp_write_string(out, text);
    call->count++;
}

/* What it returned is at `at`: raises where that function is defined. */
static int nonsense(lua_State *L, int function, const char *what, int at)
{
    lua_Debug where;
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy_vm_of(L)->functions[function]);
    lua_getinfo(L, ">S", &where);
    const char *got = lua_type(L, at) == LUA_TSTRING
                          ? lua_pushfstring(L, "\"%s\"", lua_tostring(L, at))
                          : lua_pushfstring(L, "%s%s", lua_isnil(L, at) ? "" : "a ", luaL_typename(L, at));
    return luaL_error(L, "%s:%d: %s must return %s; it returned %s", where.short_src, where.linedefined,
                      policy_functions[function], what, got);
}

/* admit(server, view) -> "learner", "voter", or nil and why not */
static void decide_admission(lua_State *L, int view, struct policy_call *call)
{
    static const char *const what = "\"learner\", \"voter\", or nil and a reason";
    int server = lua_gettop(L);
    size_t size = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy_vm_of(L)->functions[ADMIT]);
    lua_pushvalue(L, server);
    lua_pushvalue(L, view);
    lua_call(L, 2, 2);
    int verdict = server + 1;
    if (!lua_toboolean(L, verdict)) {
        if (lua_type(L, verdict + 1) != LUA_TSTRING) nonsense(L, ADMIT, what, verdict + 1);
        const char *reason = lua_tolstring(L, verdict + 1, &size);
        write_action(L, call, "refuse", slice_of(reason, size));
        return;
    }
    const char *role = lua_type(L, verdict) == LUA_TSTRING ? lua_tolstring(L, verdict, &size) : "";
    if (strcmp(role, "learner") != 0 && strcmp(role, "voter") != 0) nonsense(L, ADMIT, what, verdict);
    write_action(L, call, "admit", slice_of(role, size));
}

/* function(server, view) -> is it to be done? Of every server in that list of the view, but for the leader: it is what
 * runs this. And of learners only those are promoted that came by the policy. */
static void decide_servers(lua_State *L, int view, const char *list, int function, const char *verb,
                           struct policy_call *call)
{
    lua_getfield(L, view, list);
    for (lua_Integer i = 1; lua_geti(L, view + 1, i) == LUA_TTABLE; i++) {
        int server = view + 2;
        lua_getfield(L, server, "leader");
        lua_getfield(L, server, "promotable");
        bool asked = !lua_toboolean(L, -2) && (function != PROMOTE || lua_toboolean(L, -1));
        if (asked) {
            lua_rawgeti(L, LUA_REGISTRYINDEX, policy_vm_of(L)->functions[function]);
            lua_pushvalue(L, server);
            lua_pushvalue(L, view);
            lua_call(L, 2, 1);
            if (!lua_isnoneornil(L, -1) && !lua_isboolean(L, -1))
                nonsense(L, function, "true or false", lua_gettop(L));
            if (lua_toboolean(L, -1)) {
                size_t size = 0;
                lua_getfield(L, server, "id");
                const char *id = luaL_checklstring(L, -1, &size);
                write_action(L, call, verb, slice_of(id, size));
            }
        }
        lua_settop(L, view + 1);
    }
    lua_settop(L, view);
}

/* prefer_leader(view) -> a server's id, or nil */
static void decide_leader(lua_State *L, int view, struct policy_call *call)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, policy_vm_of(L)->functions[PREFER_LEADER]);
    lua_pushvalue(L, view);
    lua_call(L, 1, 1);
    if (lua_toboolean(L, -1)) {
        size_t size;
        if (lua_type(L, -1) != LUA_TSTRING) nonsense(L, PREFER_LEADER, "a server's id or nil", lua_gettop(L));
        const char *id = lua_tolstring(L, -1, &size);
        write_action(L, call, "leader", slice_of(id, size));
    }
    lua_settop(L, view);
}
