/*
 * moonclave.policyvm: the policy VM (script/policy.h) for specs.
 *
 *   new([log]) -> vm; log(text) gets what the policy writes
 *   vm:load(bundle) -> true; or nil, code, text
 *   vm:decide(view) -> actions, bytes both; or nil, code, text
 *   check(bundle) -> true; or nil, code, text
 */
#include "module/fields.h"
#include "module/values.h"
#include "script/policy.h"

#define VM_TYPE "moonclave.policyvm"

struct box {
    struct policy_vm *vm;
    lua_State *L; /* of the call under way */
    int log;
};

static void write_log(void *context, const char *text)
{
    struct box *box = context;
    if (box->log == LUA_NOREF || !box->L) return;
    lua_rawgeti(box->L, LUA_REGISTRYINDEX, box->log);
    lua_pushstring(box->L, text);
    if (lua_pcall(box->L, 1, 0, 0) != LUA_OK) lua_pop(box->L, 1);
}

static struct box *check_box(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, VM_TYPE);
    box->L = L;
    return box;
}

static int new(lua_State *L)
{
    lua_settop(L, 1);
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (struct box){.log = LUA_NOREF};
    luaL_setmetatable(L, VM_TYPE);
    lua_pushvalue(L, 1);
    if (lua_isfunction(L, 1))
        box->log = luaL_ref(L, LUA_REGISTRYINDEX);
    else
        lua_pop(L, 1);
    box->vm = policy_vm_new(write_log, box);
    return 1;
}

static int close(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, VM_TYPE);
    box->L = NULL;
    policy_vm_free(box->vm);
    box->vm = NULL;
    luaL_unref(L, LUA_REGISTRYINDEX, box->log);
    box->log = LUA_NOREF;
    return 0;
}

static int load(lua_State *L)
{
    struct box *box = check_box(L);
    struct error error;
    if (policy_vm_load(box->vm, check_slice(L, 2), &error)) return push_failure(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

static int decide(lua_State *L)
{
    struct box *box = check_box(L);
    struct buffer actions = {0};
    struct error error;
    if (policy_vm_decide(box->vm, check_slice(L, 2), &actions, &error)) return push_failure(L, &error);
    push_buffer(L, &actions);
    return 1;
}

static int check(lua_State *L)
{
    struct error error;
    if (policy_check(check_slice(L, 1), &error)) return push_failure(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

__attribute__((visibility("default"))) int luaopen_moonclave_policyvm(lua_State *L);

int luaopen_moonclave_policyvm(lua_State *L)
{
    static const luaL_Reg methods[] = {{"load", load}, {"decide", decide}, {"close", close}, {NULL, NULL}};
    static const luaL_Reg functions[] = {{"new", new}, {"check", check}, {NULL, NULL}};
    luaL_newmetatable(L, OBJECT_METATABLE);
    luaL_newmetatable(L, VM_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, functions);
    return 1;
}
