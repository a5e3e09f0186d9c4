/*
 * The control VM: ordinary Lua with coroutines, for api.lua. Each HTTP request that a route matches
 * runs as a coroutine; cluster.propose and cluster.query submit through the ports and yield; the
 * reply resumes it.
 *
 * A coroutine that computes for too long is interrupted (its budget: 50 ms of CPU time between two
 * waits), and no pcall of its can catch that; one bad handler never stops the node. A handler that
 * raises answers 500 with the message in the log.
 *
 * No call may be made from within a port, except control_serve, control_reply and control_cancel
 * from within respond.
 */
#ifndef MOONCLAVE_SCRIPT_CONTROL_H
#define MOONCLAVE_SCRIPT_CONTROL_H

#include "base/error.h"
#include "base/log.h"
#include "base/request.h"

struct control;

struct control_ports {
    void *context;
    /* To the host. The ticket comes back with control_reply. Never calls back from within. */
    void (*submit)(void *context, uint64_t ticket, const struct request *request);
    /* Answers the exchange that control_serve began, once; borrowed for the call. */
    void (*respond)(void *context, uint64_t exchange, const struct http_response *response);
    void (*status)(void *context, struct buffer *out);  /* host_status: one msgpack map */
    void (*members)(void *context, struct buffer *out); /* host_members: one msgpack array */
    void (*config)(void *context, struct buffer *out);  /* host_config: one msgpack map */
    /* JSON text to one msgpack value: BAD_REQUEST with position. */
    enum error_code (*json_decode)(void *context, struct slice json, struct buffer *out,
                                   struct error *error);
    void (*log)(void *context, enum log_level level, const char *text);
};

struct control *control_new(const struct control_ports *ports); /* copies */
/* Cancels all exchanges, calls api.stop(). Null is allowed. */
void control_free(struct control *control);

/* Loads api.lua from the bundle (none: no routes) into a Lua state of its own and calls its
 * start(config), one msgpack value; then stop() of the one before. Handlers under way end in the
 * state they began in. SCRIPT with file, line, reason: the routes loaded before stay. */
enum error_code control_load(struct control *control, struct slice bundle, struct slice config,
                             struct error *error);

/* Does a route match? Begins the handler and answers through ports.respond, maybe from within.
 * false: no route matches; *path_known: the path exists, with another method (405). `exchange` is
 * the caller's number, unique while it lasts. */
bool control_serve(struct control *control, uint64_t exchange, const struct http_request *request,
                   bool *path_known);
/* The host's answer to a ticket; ignored where its exchange was cancelled. */
void control_reply(struct control *control, uint64_t ticket, const struct reply *reply);
/* The client has gone: no respond any more. */
void control_cancel(struct control *control, uint64_t exchange);

/* Calls api.on_event(event), one msgpack value, where the app has one. It has a handler's budget and cannot wait; what
 * it raises is logged. */
bool control_hears_events(const struct control *control);
void control_event(struct control *control, struct slice event);

#endif
