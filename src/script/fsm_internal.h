/*
 * What the files of the fsm VM share.
 *
 *   fsm.c            the machine: load, apply, query
 *   fsm_load.c       loading an app
 *   fsm_snapshot.c   the state as bytes, and the way back
 *   fsm_about.c      what the source says about commands and queries
 *   fsm_stage.c      another app and state in place of these
 *   fsm_upgrade.c    another version of the app over the state as it is
 *   fsm_failure.c    what a failure says
 *   fsm_state.c      `state`: handles to tables of the tree
 *   fsm_assign.c     Lua values into the tree
 *   sandbox.c        what a state machine sees: globals, libraries, what is absent and why
 *   sandbox_base.c   pairs, next, type, tostring, pcall, load, require ...
 *   sandbox_table.c  the table library, over Lua tables and state tables alike
 *   strings.c        the string library; pattern.c its matcher
 *   budget.c         steps and memory
 *
 * The only userdata a script can ever hold is a handle: a value of that type is one.
 */
#ifndef MOONCLAVE_SCRIPT_FSM_INTERNAL_H
#define MOONCLAVE_SCRIPT_FSM_INTERNAL_H

#include "base/random.h"
#include "script/budget.h"
#include "script/fsm.h"
#include "state/state.h"

#include <lua.h>

enum fsm_mode { FSM_IDLE, FSM_LOADING, FSM_COMMAND, FSM_QUERY };

/* A userdata. The table is referenced while the command lasts; then it is null. */
struct fsm_handle {
    struct state_table *table;
};

struct fsm {
    struct budget budget; /* first: budget_of */
    uint64_t migrate_steps_max, migrate_memory_max;
    lua_State *L;
    struct state *state;
    struct state_snapshot *snapshot; /* being written; null: none */
    struct state_restore *restore;   /* being read; null: none */
    struct state_restore *stage;     /* being read beside it; null: none */
    struct fsm_upgrade *upgrade;     /* under way; null: none */
    struct state *replaced;          /* to be freed piece by piece; null: nothing */
    enum fsm_mode mode;
    bool loaded;
    bool restoring; /* while loading: without init */
    struct machine_entry entry; /* being applied, or applied last */
    struct random random;
    struct slice bundle;     /* while loading */
    struct buffer scratch;   /* what may be left over when an error is raised */
    struct buffer traceback; /* of the error raised last */
    struct buffer names;     /* what fsm_names gives */
    struct fsm_handle **handles;
    uint32_t handle_count, handle_capacity;
    /* Places in the registry; 0: none. */
    int handle_anchors, handle_metatable, context, commands, queries, migrate, modules;
    int64_t version; /* of the code; 0: it says none */
    void (*log)(void *context, const char *text);
    void *log_context;
};

static inline struct fsm *fsm_of(lua_State *L)
{
    return *(struct fsm **)lua_getextraspace(L);
}

/* One protected call: what the function in it is to do, and how it went. It gets this as a light
 * userdata. */
struct fsm_call {
    struct fsm *fsm;
    struct slice name;
    struct slice arguments; /* one msgpack value, or empty; of a load: the config */
    struct buffer *reply;
    enum error_code code;
};

/* ---- fsm.c ---- */
/* One protected call. OK; COMMAND_FAILED with the error on the Lua stack's top for fsm_failure_text; what the function
 * has set; or INTERNAL, with that error too: no memory, and never a result. */
enum error_code fsm_run(struct fsm *fsm, lua_CFunction function, struct fsm_call *call, enum fsm_mode mode);
enum error_code fsm_run_ended(struct fsm *fsm, int status); /* its part behind the call: OK: it has not failed */
struct fsm *fsm_new_beside(const struct fsm *fsm); /* with its log and its limits */
bool fsm_push_arguments(lua_State *L, struct slice bytes);
void fsm_reset(struct fsm *fsm); /* a VM and a state as new; the limits stay */
enum error_code fsm_load(struct fsm *fsm, const struct machine_entry *entry, struct slice bundle,
                         struct slice config, struct error *error);

/* ---- fsm_snapshot.c ---- */
void fsm_machine_snapshots(struct machine *machine); /* its part of the table */
void fsm_restore_abandon(struct fsm *fsm);

/* ---- fsm_stage.c ---- */
void fsm_machine_stage(struct machine *machine); /* its part of the table */
void fsm_stage_abandon(struct fsm *fsm);
void fsm_stage_deinit(struct fsm *fsm);
void fsm_limit(struct fsm *fsm, const struct settings *settings); /* fsm.c: what a command may use from now on */

/* ---- fsm_upgrade.c ---- */
void fsm_machine_upgrade(struct machine *machine); /* its part of the table */
void fsm_upgrade_abandon(struct fsm *fsm);
uint64_t fsm_upgrade_hash(const struct fsm *fsm); /* the state's before the one that is under way */

/* ---- fsm_load.c ---- */
int fsm_load_app(lua_State *L);

/* ---- fsm_failure.c ---- */
#define FSM_MESSAGE_MAX 4096 /* bytes of an error's text that travel */
int fsm_raise(lua_State *L, const char *text); /* at the innermost line of Lua */
int fsm_trace(lua_State *L); /* the message handler: notes the frames, lets the error pass */
/* Of the error on the Lua stack's top. */
const char *fsm_failure_text(struct fsm *fsm, char text[FSM_MESSAGE_MAX]);
void fsm_write_failure(struct fsm *fsm, struct buffer *reply);

/* ---- fsm_state.c ---- */
void fsm_state_open(struct fsm *fsm); /* makes the metatable */
void fsm_push_table(struct fsm *fsm, struct state_table *table);
void fsm_push_value(struct fsm *fsm, struct state_value value);
void fsm_push_key(lua_State *L, struct state_key key);
void fsm_end_handles(struct fsm *fsm); /* all handles are dead now */
bool fsm_is_handle(lua_State *L, int at);
struct state_table *fsm_check_table(lua_State *L, int at);    /* a handle that is alive; raises */
struct state_table *fsm_check_writable(lua_State *L, int at); /* and the state may change; raises */
bool fsm_encode_handle(lua_State *L, int at, struct buffer *out, int depth); /* a value_foreign */
bool fsm_to_key(lua_State *L, int at, struct state_key *key); /* false: no key of the state */
void fsm_copy_out(lua_State *L, struct state_table *table); /* pushes a Lua table of all in it */
int fsm_scan(lua_State *L);                                 /* scan(t, range) */
int fsm_count(lua_State *L);                                /* count(t) */
int fsm_state_pairs(lua_State *L);                          /* pairs of a handle at 1 */

/* ---- fsm_assign.c ---- */
/* table[key] = the Lua value at `at`; raises at the caller's line what is no plain data. */
void fsm_assign(lua_State *L, struct state_table *table, struct state_key key, int at);
/* The table at `at` as one that is not in the tree yet, to stand `depth` deep; raises. */
struct state_table *fsm_build(lua_State *L, int at, unsigned depth);

/* ---- sandbox*.c ---- */
void sandbox_open(struct fsm *fsm);   /* the globals, libraries and their guards */
void sandbox_freeze(struct fsm *fsm); /* after load: no global changes any more */
/* Compiles and calls it; pushes one result, returns 1. Raises. */
int sandbox_run_file(lua_State *L, const char *path, struct slice source);
/* require(name): a module of the bundle, run once; `modules` is the registry's number of the table of those that have
 * run. why_not: none runs now, and why; null: it may. */
int sandbox_require(lua_State *L, struct slice bundle, int modules, const char *why_not);
void sandbox_base_functions(lua_State *L); /* into the table on top */
void sandbox_table_functions(lua_State *L);
void sandbox_string_functions(lua_State *L);
void sandbox_charged_string(lua_State *L); /* stock ones that work for long: charged; the stock library is open */
void sandbox_charged_utf8(lua_State *L);
int sandbox_tostring(lua_State *L);
int sandbox_random(lua_State *L);

#endif
