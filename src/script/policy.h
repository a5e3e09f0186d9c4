/*
 * The policy VM: runs an app's policy.lua, or the default one (lua/moonclave/policy.lua), which says who may be a
 * member and who votes. One call takes a view of the cluster to actions, both as bytes (host/README.md).
 *
 * A policy knows what the view says and nothing else: there are no files, no clock, no network, and tables are walked
 * in order, so that equal views get equal answers, in the simulator too. What it does not define is the default's.
 * Budgets are counted: one that loops for ever is ended, and no pcall of its can catch that.
 */
#ifndef MOONCLAVE_SCRIPT_POLICY_H
#define MOONCLAVE_SCRIPT_POLICY_H

#include "base/buffer.h"
#include "base/error.h"

struct policy_vm;

/* `log` receives what the script's log(...) writes; may be null. Begins with the default policy. */
struct policy_vm *policy_vm_new(void (*log)(void *context, const char *text), void *log_context);
void policy_vm_free(struct policy_vm *vm); /* null is allowed */

/* The policy of this bundle; the default one where it has no policy.lua, or is empty. SCRIPT with file, line and
 * reason: every decision fails with that from then on, until another bundle is loaded. */
enum error_code policy_vm_load(struct policy_vm *vm, struct slice bundle, struct error *error);

/* What becomes of this view: appends one msgpack array of actions. SCRIPT with file, line and reason: it raised, spent
 * its budget or returned nonsense, and nothing was appended. */
enum error_code policy_vm_decide(struct policy_vm *vm, struct slice view, struct buffer *actions,
                                 struct error *error);

/* Loads it once in a throw-away VM, for `start`, before anything is opened. */
enum error_code policy_check(struct slice bundle, struct error *error);

#endif
