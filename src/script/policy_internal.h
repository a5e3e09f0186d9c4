/* What the policy VM's files share: policy.c (life, language, loading), policy_decide.c (from a view to actions). */
#ifndef MOONCLAVE_SCRIPT_POLICY_INTERNAL_H
#define MOONCLAVE_SCRIPT_POLICY_INTERNAL_H

#include "script/fsm_internal.h" /* the language: sandbox_*, budget */
#include "script/policy.h"

enum { ADMIT, PROMOTE, DEMOTE, EVICT, PREFER_LEADER, FUNCTIONS };
extern const char *const policy_functions[FUNCTIONS];

struct policy_vm {
    struct budget budget; /* first: budget_of */
    lua_State *L;
    struct buffer bundle;  /* where require looks */
    struct buffer scratch; /* actions, while they are gathered */
    int modules;           /* places in the registry */
    int functions[FUNCTIONS];
    struct error problem; /* why it did not load; code OK: it did */
    void (*log)(void *context, const char *text);
    void *log_context;
};

/* What one protected call is to do. */
struct policy_call {
    struct slice view;
    uint32_t count; /* of actions in the VM's scratch */
};

static inline struct policy_vm *policy_vm_of(lua_State *L)
{
    return *(struct policy_vm **)lua_getextraspace(L);
}

/* In a protected call, with a struct policy_call as light userdata: writes the actions into the VM's scratch. */
int policy_decide(lua_State *L);

#endif
