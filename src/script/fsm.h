/*
 * The fsm VM: runs an app's fsm.lua, sandboxed and deterministic, over the state tree, behind
 * base/machine.h.
 */
#ifndef MOONCLAVE_SCRIPT_FSM_H
#define MOONCLAVE_SCRIPT_FSM_H

#include "base/machine.h"
#include "base/settings.h"

struct fsm;
struct state;

/* `log` receives what the script's log(...) writes; may be null. Settings used: command_steps_max,
 * command_memory_max, block_bytes_max. Heap-owned until fsm_free. */
struct fsm *fsm_new(const struct settings *settings, void (*log)(void *context, const char *text),
                    void *log_context);
void fsm_free(struct fsm *fsm);
void fsm_machine(struct fsm *fsm,
                 struct machine *machine); /* fills the table; context is the fsm */

/* Which names the loaded app serves; false for both before it is loaded. */
bool fsm_has_command(const struct fsm *fsm, struct slice name);
bool fsm_has_query(const struct fsm *fsm, struct slice name);
/* Both as one msgpack map {"commands": [...], "queries": [...]}, sorted. */
void fsm_names(const struct fsm *fsm, struct buffer *out);

/* The same, and what the source in `bundle` says of them, as {"about": {"command": {NAME: its comment}, "query": ...},
 * "arguments": {"command": {NAME: [the fields it looks at]}, "query": ...}, "commands": [...], "queries": [...]}.
 * Runs nothing. */
void fsm_about(struct fsm *fsm, struct slice bundle, struct buffer *out);
/* What the scripts work on; another after a snapshot was installed. Read it between two calls of the machine only. */
const struct state *fsm_state(const struct fsm *fsm);

/* Where the error of the last call (load, upgrade, apply, query) was raised, a line for each frame, the innermost
 * first. Borrowed until the next call; empty: it was raised by no script. */
struct slice fsm_traceback(const struct fsm *fsm);

/* For tests: the system refuses the VM memory from its nth allocation on (1: the next; 0: not). */
void fsm_fail_allocation(struct fsm *fsm, uint64_t nth);
/* It has got no memory: every call since has answered INTERNAL, and will. */
bool fsm_exhausted(const struct fsm *fsm);

/* Compiles and runs the app's modules once in a throw-away VM, makes its first state from config:
 * SCRIPT with file, line and reason when that fails. For `start`, before anything is opened. */
enum error_code fsm_check(struct slice bundle, struct slice config, const struct settings *settings,
                          struct error *error);

#endif
