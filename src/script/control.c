/*
 * Serving: a matching request becomes a coroutine; it runs until it returns, fails, or waits for a
 * ticket; the reply to that ticket lets it run on. Each exchange is answered once, or cancelled.
 */
#include "script/control_internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "script/bundle.h"

#include <assert.h>
#include <lauxlib.h>
#include <string.h>

static void retire(struct vm *vm);
static void leave(struct vm *vm);
static void run(struct control *control, struct exchange *exchange, int values);
static void respond_error(struct control *control, uint64_t id, enum error_code code,
                          const char *message);

struct control *control_new(const struct control_ports *ports)
{
    struct control *control = memory_zero(1, sizeof *control);
    control->ports = *ports;
    return control;
}

void control_free(struct control *control)
{
    if (!control) return;
    struct exchange *exchange;
    while ((exchange = exchange_any(&control->exchanges)) != NULL)
        control_cancel(control, exchange->id);
    if (control->vm) retire(control->vm);
    exchanges_deinit(&control->exchanges);
    buffer_deinit(&control->scratch);
    memory_free(control);
}

enum error_code control_load(struct control *control, struct slice bundle, struct slice config,
                             struct error *error)
{
    assert(!control->running);
    struct vm *vm = NULL, *before = control->vm;
    struct slice unused;
    if (bundle_file(bundle, "api.lua", &unused)) {
        vm = vm_new(control, bundle, config, error);
        if (!vm) return ERROR_SCRIPT;
    }
    control->vm = vm;
    if (before) retire(before);
    return ERROR_OK;
}

bool control_serve(struct control *control, uint64_t id, const struct http_request *request,
                   bool *path_known)
{
    assert(!control->running);
    struct vm *vm = control->vm;
    struct slice params[ROUTE_SEGMENTS_MAX];
    *path_known = false;
    if (!vm) return false;
    const struct route *route =
        routes_match(&vm->routes, request->method, request->path, params, path_known);
    if (!route) return false;
    struct thread thread = vm_take_thread(vm);
    if (request_push(vm, thread.L, route, request, params)) {
        vm_give_thread(vm, thread);
        respond_error(control, id, ERROR_BAD_REQUEST,
                      "the path or the query has a broken escape (%XX)");
        return true;
    }
    struct slice key;
    struct error error;
    if (http_idempotency_key(request, &key, &error) != ERROR_OK) {
        vm_give_thread(vm, thread);
        respond_error(control, id, ERROR_BAD_REQUEST, error.text);
        return true;
    }
    struct exchange *exchange = exchange_add(&control->exchanges, id);
    exchange->key_size = key.size;
    if (key.size > 0) memcpy(exchange->key, key.data, key.size);
    exchange->vm = vm;
    exchange->thread = thread;
    exchange->route = route;
    vm->exchanges++;
    run(control, exchange, 2);
    return true;
}

void control_reply(struct control *control, uint64_t ticket, const struct reply *reply)
{
    assert(!control->running);
    struct exchange *exchange = exchange_by_ticket(&control->exchanges, ticket);
    if (!exchange) return; /* it was cancelled */
    exchange->ticket = 0;
    run(control, exchange, cluster_push_reply(exchange->thread.L, reply));
}

void control_cancel(struct control *control, uint64_t id)
{
    assert(!control->running);
    struct exchange *exchange = exchange_by_id(&control->exchanges, id);
    if (!exchange) return;
    struct vm *vm = exchange->vm;
    struct thread thread = exchange->thread;
    exchange_remove(&control->exchanges, exchange);
    vm_close_thread(vm, thread, false);
    leave(vm);
}

bool control_hears_events(const struct control *control)
{
    return control->vm != NULL && control->vm->on_event != LUA_NOREF;
}

void control_event(struct control *control, struct slice event)
{
    assert(!control->running);
    if (control_hears_events(control)) vm_event(control->vm, event);
}

void control_log(struct control *control, enum log_level level, const char *text)
{
    control->ports.log(control->ports.context, level, text);
}

void control_log_values(lua_State *L, enum log_level level)
{
    luaL_Buffer text;
    int count = lua_gettop(L);
    luaL_buffinit(L, &text);
    for (int i = 1; i <= count; i++) {
        if (i > 1) luaL_addchar(&text, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    control_log(vm_of(L)->control, level, lua_tostring(L, -1));
}

/* ---- apps come and go ---- */

static void retire(struct vm *vm)
{
    vm_stop(vm);
    vm->retired = true;
    vm->exchanges++; /* leave takes one */
    leave(vm);
}

static void leave(struct vm *vm)
{
    vm->exchanges--;
    if (vm->retired && vm->exchanges == 0) vm_free(vm);
}

/* ---- an exchange's life ---- */

static void finish(struct control *control, struct exchange *exchange);
static void fail(struct control *control, struct exchange *exchange);

/* Resumes with the values on top of its stack. */
static void run(struct control *control, struct exchange *exchange, int values)
{
    struct vm *vm = exchange->vm;
    lua_State *L = exchange->thread.L;
    int results;
    control->running = exchange;
    vm_enter(vm, CONTROL_BUDGET_MS);
    int status = lua_resume(L, vm->L, values, &results);
    vm_leave(vm);
    control->running = NULL;
    if (vm->exhausted) {
        fail(control, exchange);
        return;
    }
    if (status == LUA_YIELD && results == 1 && vm_is_wait(L, -1) && exchange->ticket) {
        lua_pop(L, 1);
        return;
    }
    if (status == LUA_OK) {
        finish(control, exchange);
        return;
    }
    if (status == LUA_YIELD) {
        lua_pop(L, results);
        lua_pushliteral(L, "a handler waits in cluster.propose and cluster.query, not by yielding");
    }
    fail(control, exchange);
}

/* The exchange is over before its answer is given: what the answer sets off may begin another. */
static void finish(struct control *control, struct exchange *exchange)
{
    struct vm *vm = exchange->vm;
    struct thread thread = exchange->thread;
    uint64_t id = exchange->id;
    struct buffer body = control->scratch;
    struct response_headers headers;
    struct http_response response;
    control->scratch = (struct buffer){0};
    exchange_remove(&control->exchanges, exchange);
    response_read(thread.L, &body, &headers, &response);
    control->ports.respond(control->ports.context, id, &response);
    vm_give_thread(vm, thread);
    leave(vm);
    buffer_deinit(&control->scratch);
    control->scratch = body;
}

static void log_failure(struct control *control, struct exchange *exchange, bool interrupted);

/* The client learns that it failed, not where: paths and code are for the log. */
static void fail(struct control *control, struct exchange *exchange)
{
    struct vm *vm = exchange->vm;
    struct thread thread = exchange->thread;
    uint64_t id = exchange->id;
    bool interrupted = vm->exhausted;
    log_failure(control, exchange, interrupted);
    exchange_remove(&control->exchanges, exchange);
    vm_close_thread(vm, thread, interrupted);
    leave(vm);
    respond_error(control, id, ERROR_INTERNAL,
                  "the handler failed: the node's log says where and why");
}

/* One line: "GET /kv/:key: api.lua:12: ... | stack traceback: | api.lua:12: in ...". The error is
 * on top of its thread. */
static void log_failure(struct control *control, struct exchange *exchange, bool interrupted)
{
    struct vm *vm = exchange->vm;
    lua_State *L = vm->L;
    const char *text = interrupted ? lua_pushfstring(L, VM_INTERRUPTED, CONTROL_BUDGET_MS)
                                   : vm_error_text(vm, exchange->thread.L);
    luaL_traceback(L, exchange->thread.L, text, 0);
    lua_pushfstring(L, "%s failed: %s", exchange->route->pattern, lua_tostring(L, -1));
    luaL_gsub(L, lua_tostring(L, -1), "\n\t", " | ");
    control_log(control, LOG_LEVEL_ERROR, luaL_gsub(L, lua_tostring(L, -1), "\n", " | "));
    lua_settop(L, 0);
}

static void respond_error(struct control *control, uint64_t id, enum error_code code,
                          const char *message)
{
    struct buffer body = {0};
    mp_write_map(&body, 1);
    mp_write_text(&body, "error");
    reply_write_error(&body, code, message);
    const struct http_response response = {
        .status = error_http_status(code),
        .kind = HTTP_BODY_VALUE,
        .body = buffer_slice(&body),
    };
    control->ports.respond(control->ports.context, id, &response);
    buffer_deinit(&body);
}
