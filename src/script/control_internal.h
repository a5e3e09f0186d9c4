/*
 * What the control VM's files share.
 *
 *   control.c           serving: an exchange's life from control_serve to its one answer
 *   control_exchange.c  the table of exchanges, by the caller's number and by ticket
 *   control_vm.c        one loaded app: its Lua state, budgets, require, threads
 *   control_routes.c    patterns and matching
 *   control_request.c   the request as a handler sees it, and what it returns
 *   control_cluster.c   moonclave.cluster
 *   control_session.c   its sessions
 *
 * Each control_load makes a Lua state of its own, so that nothing of an older version is left in a
 * newer one; handlers under way finish in the state they began in, which is closed after the last
 * of them.
 */
#ifndef MOONCLAVE_SCRIPT_CONTROL_INTERNAL_H
#define MOONCLAVE_SCRIPT_CONTROL_INTERNAL_H

#include "script/control.h"
#include "script/control_routes.h"

#include <lua.h>

#include <stdint.h>

#define CONTROL_BUDGET_MS      50   /* of computing, between two waits of a handler */
#define CONTROL_LOAD_BUDGET_MS 2000 /* of loading an app and its start(); and of its stop() */
#define CONTROL_MEMORY_MAX     ((size_t)1 << 30)
#define CONTROL_HEADERS_MAX    64 /* in a response */
#define IDLE_THREADS_MAX       64
#define VM_INTERRUPTED         "interrupted: it computed for more than %d ms without waiting"

/* A coroutine and what keeps it from the garbage collector. */
struct thread {
    lua_State *L;
    int reference;
};

struct vm {
    struct control *control;
    lua_State *L;
    struct routes routes; /* a route's handler is a reference in the registry */
    struct buffer bundle; /* where require looks first */
    int stop;             /* a reference to api.stop, or LUA_NOREF */
    int on_event;         /* the same of api.on_event */
    size_t exchanges;     /* handlers under way */
    bool retired;         /* a newer one serves: to be freed after the last handler */
    struct thread idle[IDLE_THREADS_MAX];
    size_t idle_count;

    /* the budget of what runs now */
    bool entered;        /* scripts run: memory is limited */
    bool exhausted;      /* time is up: what runs is to end */
    uint64_t started_ns; /* CPU time at the first look; 0: not looked yet */
    uint64_t budget_ns;
    size_t memory_used;
};

struct exchange {
    uint64_t id;     /* the caller's */
    uint64_t ticket; /* waited for; 0: runs, or is free */
    struct vm *vm;
    struct thread thread;
    const struct route *route;
    char key[REQUEST_KEY_MAX]; /* the request's Idempotency-Key */
    size_t key_size;           /* 0: none */
    uint64_t keyed;            /* commands proposed under it so far */
    uint32_t slot;
    struct exchange *next; /* in its bucket, or in the list of free ones */
};

struct exchanges {
    struct exchange **slots;   /* every exchange ever made: they are used again */
    struct exchange **buckets; /* by id; as many as there are slots */
    struct exchange *free;
    uint32_t count, capacity;
    uint64_t waits;
};

struct control {
    struct control_ports ports;
    struct vm *vm; /* null: no api.lua */
    struct exchanges exchanges;
    struct exchange *running;
    struct buffer scratch; /* for the length of one call; a script's error leaves it to the next */
};

/* ---- control.c ---- */
void control_log(struct control *control, enum log_level level, const char *text);
/* All of the stack in one line, as print would show it. */
void control_log_values(lua_State *L, enum log_level level);

/* ---- control_exchange.c ---- */
struct exchange *exchange_add(struct exchanges *exchanges, uint64_t id);
void exchange_remove(struct exchanges *exchanges, struct exchange *exchange);
/* Gives it a new ticket. */
uint64_t exchange_wait(struct exchanges *exchanges, struct exchange *exchange);
struct exchange *exchange_by_id(const struct exchanges *exchanges, uint64_t id);
struct exchange *exchange_by_ticket(const struct exchanges *exchanges, uint64_t ticket);
struct exchange *exchange_any(const struct exchanges *exchanges); /* null: none is left */
void exchanges_deinit(struct exchanges *exchanges);

/* ---- control_vm.c ---- */
/* Loads api.lua and calls its start(config). Null: SCRIPT. */
struct vm *vm_new(struct control *control, struct slice bundle, struct slice config,
                  struct error *error);
void vm_stop(struct vm *vm); /* calls api.stop(); what it raises is logged */
void vm_event(struct vm *vm, struct slice event); /* the same of api.on_event(event) */
void vm_free(struct vm *vm);
struct vm *vm_of(lua_State *L);
void vm_enter(struct vm *vm, unsigned budget_ms); /* before scripts run */
void vm_leave(struct vm *vm);
struct thread vm_take_thread(struct vm *vm);
/* It has returned and is to be used again; or it has failed or is given up. */
void vm_give_thread(struct vm *vm, struct thread thread);
void vm_close_thread(struct vm *vm, struct thread thread, bool interrupted);
bool vm_is_wait(lua_State *L, int index); /* what vm_wait yielded */
int vm_wait(lua_State *L); /* yields to the host, through the script's own coroutines */
/* The error value on top of `from` as text on top of the VM's stack; pops it from `from`. */
const char *vm_error_text(struct vm *vm, lua_State *from);

/* ---- control_request.c ---- */
void request_open(lua_State *L); /* once for each Lua state */
/* Pushes what a thread is to run: the handler's frame and the request. BAD_REQUEST: a broken
 * escape. */
enum error_code request_push(struct vm *vm, lua_State *L, const struct route *route,
                             const struct http_request *request, const struct slice *params);
/* Reads what the thread has returned; borrowed from it and from `body`. */
struct response_headers {
    struct http_header list[CONTROL_HEADERS_MAX];
};
void response_read(lua_State *L, const struct buffer *body, struct response_headers *headers,
                   struct http_response *response);

/* ---- control_cluster.c ---- */
int cluster_open(lua_State *L); /* pushes the module */
/* Hands the request to the host and yields: the reply's values are what the function returns. Raises
 * where nobody can wait; `name` is what was called. */
int cluster_submit(lua_State *L, struct request *request, const char *name);
bool cluster_is_own_error(lua_State *L, int index); /* one of ours, not the app's */
/* Pushes what propose and query return for this reply; returns how many values. */
int cluster_push_reply(lua_State *L, const struct reply *reply);
void cluster_push_error(lua_State *L, enum error_code code, const char *message);

/* ---- control_session.c ---- */
/* cluster.session, for the module on top, whose propose it takes. */
void session_open(lua_State *L);

#endif
