/*
 * msgpack-RPC clients. Requests are pipelined and answered as they finish, in any order: the
 * message id tells.
 *
 *   NAME            the app's command of that name, or its query where there is no such command
 *   command/NAME, query/NAME   where both exist, or the name is one of ours
 *   status, members, health    about the node
 *   events                     what has happened to it: waits for news (README.md)
 *   app                        the app's commands and queries, and what its source says of them
 *   console/eval, console/cancel   Lua on this node: over its unix socket only (console.c)
 *   admin/ACTION               about the cluster: host/README.md lists the actions
 *   backup/open                a backup of this node's state (store/backup.h), one for a connection:
 *                              {"bytes", "checksum", "index"}; params [nil, options]
 *   backup/read                its next bytes; the empty string behind its end
 *   session/open               a session: {"session", "expires_ms", "timeout_ms", "window"}
 *   session/renew, session/close   params [{"session": n}]; renew may say "acknowledged": n, too
 *
 * params: [], [arguments] or [arguments, {"consistency": ..., "timeout": seconds}]. For a command
 * the options may say "session" and "sequence", or "key": it is then done once, however often it is
 * sent. An error is the map that every protocol of ours shows: {"code", "message", ...}. The app's own refusals have
 * "rejected": true besides, where HTTP has its status: their code may be called like one of ours.
 *
 * What bounds a client: it is not read while IN_FLIGHT_MAX of its requests wait or
 * client_queue_bytes_max of answers do.
 */
#include "node/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "node/call.h"
#include "node/events.h"
#include "node/health.h"
#include "wire/rpc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IN_FLIGHT_MAX 8192
#define NO_ANSWER     UINT64_MAX /* as an id: a notification */

struct client {
    struct node *node;
    struct net_stream *stream;
    struct rpc_parser parser;
    struct ticket_list tickets;
    struct later later;
    struct backup *backup; /* null: none is being made */
    uint64_t backup_id;    /* of the request about it that waits */
    bool backup_waits, backup_over;
    struct looker *looker; /* null: it has run no Lua here */
    struct client *next, *previous;
    bool local; /* it came by the unix socket */
    bool held;  /* stopped reading: too much waits */
    bool ended; /* sends no more */
};

static void received(void *context);
static void ended(void *context);
static void drained(void *context);
static void closed(void *context, const char *why);
static void go_on(struct later *later);
static void pump(struct client *client);
static bool must_wait(struct client *client);
static void call_method(struct client *client, const struct rpc_message *message);
static bool call_backup(struct client *client, uint64_t id, const struct rpc_message *message);
static void submit(struct client *client, uint64_t id, const struct request *request);
static void poll_events(struct client *client, uint64_t id, struct slice params);
static bool answer_about_node(struct client *client, uint64_t id, struct slice method);
static bool answer_about_app(struct client *client, uint64_t id, struct slice method);
static bool resolve(struct client *client, uint64_t id, struct slice method,
                    struct request *request, struct slice *name);
static bool resolve_session(struct slice method, enum session_action *action);
static void call_session(struct client *client, uint64_t id, enum session_action action,
                         struct slice params);
static bool read_params(struct slice params, struct slice *arguments, struct request *request,
                        struct error *error);
static bool read_options(struct slice options, struct request *request, struct error *error);
static void write_rejection(struct buffer *out, uint32_t id, struct slice body);
static void fail(struct client *client, uint64_t id, enum error_code code, const char *message);
static void client_drop(struct client *client);

static const struct net_stream_events stream_events = {received, ended, drained, closed};

void client_begin(struct node *node, struct net_stream *stream)
{
    if (!door_has_room(node) || node->stopping) {
        net_stream_close(stream);
        return;
    }
    struct client *client = memory_zero(1, sizeof *client);
    client->node = node;
    client->stream = stream;
    client->later.run = go_on;
    client->next = node->rpc_clients;
    if (client->next != NULL) client->next->previous = client;
    node->rpc_clients = client;
    node->clients++;
    net_stream_bind(stream, &stream_events, client);
    pump(client);
}

void client_begin_local(struct node *node, struct net_stream *stream)
{
    struct client *before = node->rpc_clients;
    client_begin(node, stream);
    if (node->rpc_clients != before) node->rpc_clients->local = true;
}

void clients_close(struct node *node)
{
    while (node->rpc_clients != NULL) {
        net_stream_close(node->rpc_clients->stream);
        client_drop(node->rpc_clients);
    }
}

void client_reply(void *context, uint64_t id, const struct reply *reply)
{
    struct client *client = context;
    if (id != NO_ANSWER) {
        struct buffer *out = net_stream_output(client->stream);
        if (reply->code == ERROR_OK) {
            rpc_write_result(out, (uint32_t)id, reply->body);
        } else if (reply->code == ERROR_REJECTED) {
            write_rejection(out, (uint32_t)id, reply->body);
        } else {
            rpc_write_error(out, (uint32_t)id, reply->body);
        }
    }
    if (client->held || client->ended) node_later(client->node, &client->later);
}

/* It sends no more, and does not read either: there is nobody to answer. */
bool client_is_gone(const struct client *client)
{
    return client->ended && net_stream_hung_up(client->stream);
}

/* What the app says by that name stays its own. */
static void write_rejection(struct buffer *out, uint32_t id, struct slice body)
{
    struct mp_reader reader = mp_reader_of(body);
    struct slice own;
    struct buffer marked = {0};
    uint32_t count;
    if (mp_map_get(body, "rejected", &own) || !mp_read_map(&reader, &count)) {
        rpc_write_error(out, id, body);
        return;
    }
    mp_write_map(&marked, count + 1);
    mp_write_raw(&marked, slice_of(reader.at, (size_t)(reader.end - reader.at)));
    mp_write_text(&marked, "rejected");
    mp_write_boolean(&marked, true);
    rpc_write_error(out, id, buffer_slice(&marked));
    buffer_deinit(&marked);
}

/* ---- bytes in ---- */

static void received(void *context)
{
    pump(context);
}

static void ended(void *context)
{
    struct client *client = context;
    client->ended = true;
    events_hurry(client->node, client);
    pump(client);
}

static void drained(void *context)
{
    struct client *client = context;
    node_later(client->node, &client->later);
}

static void closed(void *context, const char *why)
{
    (void)why;
    client_drop(context);
}

static void go_on(struct later *later)
{
    pump((struct client *)((char *)later - offsetof(struct client, later)));
}

static void pump(struct client *client)
{
    struct mp_limits limits = rpc_limits(client->node->options->settings.frame_bytes_max);
    struct rpc_message message;
    struct error error;
    for (;;) {
        client->held = must_wait(client);
        if (client->held) {
            net_stream_pause(client->stream);
            return;
        }
        size_t size;
        enum error_code code = rpc_next(&client->parser, net_stream_input(client->stream), &limits,
                                        &message, &size, &error);
        if (code == ERROR_OK && size > 0 && message.type == RPC_RESPONSE) {
            code = error_set(&error, ERROR_BAD_REQUEST,
                             "rpc: a client sends requests, this is a response");
        }
        if (code != ERROR_OK) {
            if (node_may_log(client->node, &client->node->bad_client)) {
                log_write(LOG_LEVEL_WARN, "rpc", "closed a client, %s: %s",
                          net_stream_name(client->stream), error.text);
            }
            net_stream_finish(client->stream);
            client_drop(client);
            return;
        }
        if (size == 0) break;
        call_method(client, &message);
        net_stream_consume(client->stream, size);
    }
    if (client->ended && client->tickets.count == 0 && !client->backup_waits && !local_runs(client->looker)) {
        net_stream_finish(client->stream);
        client_drop(client);
    } else {
        net_stream_resume(client->stream);
    }
}

static bool must_wait(struct client *client)
{
    if (client->tickets.count >= IN_FLIGHT_MAX) return true; /* an answer comes back here */
    if (net_stream_queued(client->stream) <= client->node->options->settings.client_queue_bytes_max)
        return false;
    net_stream_want_drained(client->stream);
    return true;
}

/* ---- calls ---- */

static void call_method(struct client *client, const struct rpc_message *message)
{
    struct node *node = client->node;
    uint64_t id = message->type == RPC_NOTIFICATION ? NO_ANSWER : message->id;
    struct request request = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct slice name, arguments;
    struct error error;
    enum session_action action;
    if (answer_about_node(client, id, message->method)) return;
    if (call_backup(client, id, message)) return;
    if (answer_about_app(client, id, message->method)) return;
    if (client->local && local_call(node, client, &client->looker, id, message)) return;
    if (slice_equal(message->method, slice_text("console/eval"))) {
        fail(client, id, ERROR_UNAUTHORIZED, "Lua runs on a node only over the unix socket in its data folder");
        return;
    }
    if (slice_equal(message->method, slice_text("events"))) {
        poll_events(client, id, message->params);
        return;
    }
    if (resolve_session(message->method, &action)) {
        call_session(client, id, action, message->params);
        return;
    }
    if (!resolve(client, id, message->method, &request, &name)) return;
    if (!read_params(message->params, &arguments, &request, &error)) {
        fail(client, id, ERROR_BAD_REQUEST, error.text);
        return;
    }
    struct buffer *body = &node->scratch;
    buffer_clear(body);
    mp_write_array(body, 2);
    mp_write_string(body, name);
    mp_write_raw(body, arguments);
    request.body = buffer_slice(body);
    submit(client, id, &request);
}

static void submit(struct client *client, uint64_t id, const struct request *request)
{
    static const enum metrics_route routes[] = {
        [REQUEST_COMMAND] = METRICS_COMMAND, [REQUEST_QUERY] = METRICS_QUERY, [REQUEST_SESSION] = METRICS_SESSION,
        [REQUEST_KEYED] = METRICS_COMMAND,   [REQUEST_ADMIN] = METRICS_ADMIN,
    };
    struct node *node = client->node;
    uint64_t ticket = tickets_add(node->tickets, TICKET_RPC, client, id, &client->tickets);
    metrics_rpc_begins(node, ticket, routes[request->kind]);
    host_submit(node->host, ticket, request);
}

static void poll_events(struct client *client, uint64_t id, struct slice params)
{
    struct node *node = client->node;
    struct events_ask ask;
    struct error error;
    enum error_code code = events_read_params(params, &ask, &error);
    if (client->ended) ask.wait_ms = 0;
    uint64_t ticket = tickets_add(node->tickets, TICKET_EVENTS, client, id, &client->tickets);
    if (code == ERROR_OK) code = events_poll(node, client, ticket, &ask, &error);
    struct ticket unused;
    if (code == ERROR_OK || !tickets_take(node->tickets, ticket, &unused)) return;
    fail(client, id, code, error.text);
}

static bool resolve_session(struct slice method, enum session_action *action)
{
    static const char *const names[] = {
        [SESSION_OPEN] = "session/open",
        [SESSION_RENEW] = "session/renew",
        [SESSION_CLOSE] = "session/close",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!slice_equal(method, slice_text(names[i]))) continue;
        *action = (enum session_action)i;
        return true;
    }
    return false;
}

static void call_session(struct client *client, uint64_t id, enum session_action action,
                         struct slice params)
{
    struct node *node = client->node;
    struct request request = {.kind = REQUEST_SESSION};
    struct slice arguments, value;
    struct error error;
    uint64_t acknowledged = 0;
    bool valid = read_params(params, &arguments, &request, &error);
    if (!valid) {
        fail(client, id, ERROR_BAD_REQUEST, error.text);
        return;
    }
    if (action != SESSION_OPEN) {
        valid = mp_map_get(arguments, "session", &value) &&
                mp_read_u64(&(struct mp_reader){value.data, value.data + value.size},
                            &request.session);
    }
    if (valid && action == SESSION_RENEW && mp_map_get(arguments, "acknowledged", &value)) {
        valid = mp_read_u64(&(struct mp_reader){value.data, value.data + value.size},
                            &acknowledged);
    }
    if (!valid) {
        fail(client, id, ERROR_BAD_REQUEST, "params are [{\"session\": its number}]");
        return;
    }
    struct buffer *body = &node->scratch;
    buffer_clear(body);
    session_body_write(body, action, acknowledged);
    request.body = buffer_slice(body);
    submit(client, id, &request);
}

/* ---- backups ---- */

static void backup_answer(struct client *client, const struct buffer *body)
{
    struct reply reply = {ERROR_OK, buffer_slice(body)};
    client->backup_waits = false;
    client_reply(client, client->backup_id, &reply);
}

static void backup_ready(void *context, uint64_t size, const struct backup_head *head)
{
    struct buffer body = {0};
    mp_write_map(&body, 3);
    mp_write_text(&body, "bytes");
    mp_write_u64(&body, size);
    char checksum[20];
    snprintf(checksum, sizeof checksum, "%016" PRIx64, head->checksum);
    mp_write_text(&body, "checksum");
    mp_write_text(&body, checksum);
    mp_write_text(&body, "index");
    mp_write_u64(&body, head->meta.index);
    backup_answer(context, &body);
    buffer_deinit(&body);
}

static void backup_piece(void *context, struct slice bytes, bool last)
{
    struct client *client = context;
    struct buffer body = {0};
    client->backup_over = last;
    mp_write_string(&body, bytes);
    backup_answer(client, &body);
    buffer_deinit(&body);
}

static void backup_failed(void *context, const struct reply *reply)
{
    struct client *client = context;
    client->backup_waits = false;
    client_reply(client, client->backup_id, reply);
}

/* false: it is about something else. */
static bool call_backup(struct client *client, uint64_t id, const struct rpc_message *message)
{
    static const struct backup_events events = {backup_ready, backup_piece, backup_failed};
    bool opens = slice_equal(message->method, slice_text("backup/open"));
    struct request request = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct slice arguments;
    struct error error;
    if (!opens && !slice_equal(message->method, slice_text("backup/read"))) return false;
    if (client->backup_waits) {
        fail(client, id, ERROR_BAD_REQUEST, "a backup is read one request at a time");
    } else if (!opens && client->backup == NULL) {
        fail(client, id, ERROR_BAD_REQUEST, "no backup is open on this connection: backup/open is first");
    } else if (!read_params(message->params, &arguments, &request, &error)) {
        fail(client, id, ERROR_BAD_REQUEST, error.text);
    } else if (opens) {
        backup_end(client->backup);
        client->backup_over = false;
        client->backup_id = id;
        client->backup =
            backup_begin(client->node, request.consistency, request.timeout_ms, &events, client);
        client->backup_waits = client->backup != NULL;
        if (client->backup == NULL)
            fail(client, id, ERROR_OVERLOADED, "two backups of this node are being made already: try again later");
    } else if (backup_is_ready(client->backup)) {
        client->backup_id = id;
        client->backup_waits = true;
        backup_next(client->backup);
    } else if (client->backup_over) {
        client->backup_id = id;
        backup_piece(client, slice_of(NULL, 0), true);
    } else {
        fail(client, id, ERROR_UNAVAILABLE, "this backup has failed: open another one");
    }
    return true;
}

/* For whoever types commands: what there are. */
static bool answer_about_app(struct client *client, uint64_t id, struct slice method)
{
    struct node *node = client->node;
    if (!slice_equal(method, slice_text("app"))) return false;
    if (id == NO_ANSWER) return true;
    struct buffer out = {0};
    fsm_about(node->fsm, buffer_slice(&node->bundle), &out);
    rpc_write_result(net_stream_output(client->stream), (uint32_t)id, buffer_slice(&out));
    buffer_deinit(&out);
    return true;
}

static bool answer_about_node(struct client *client, uint64_t id, struct slice method)
{
    struct node *node = client->node;
    bool status = slice_equal(method, slice_text("status")), config = slice_equal(method, slice_text("config"));
    bool health = slice_equal(method, slice_text("health"));
    if (!status && !config && !health && !slice_equal(method, slice_text("members"))) return false;
    if (id == NO_ANSWER) return true;
    struct buffer out = {0};
    if (status) {
        status_write(node, &out);
    } else if (config) {
        host_config(node->host, &out);
    } else if (health) {
        health_write(node, &out);
    } else {
        host_members(node->host, &out);
    }
    rpc_write_result(net_stream_output(client->stream), (uint32_t)id, buffer_slice(&out));
    buffer_deinit(&out);
    return true;
}

/* What a method's name stands for; false: answered with the reason why nothing. */
static bool resolve(struct client *client, uint64_t id, struct slice method,
                    struct request *request, struct slice *name)
{
    static const struct {
        const char *prefix;
        size_t size;
        enum request_kind kind;
    } explicit[] = {{"command/", 8, REQUEST_COMMAND}, {"query/", 6, REQUEST_QUERY}, {"admin/", 6, REQUEST_ADMIN}};
    struct node *node = client->node;
    *name = method;
    for (size_t i = 0; i < sizeof explicit / sizeof *explicit; i++) {
        if (method.size <= explicit[i].size ||
            memcmp(method.data, explicit[i].prefix, explicit[i].size) != 0)
            continue;
        request->kind = explicit[i].kind;
        *name = slice_of(method.data + explicit[i].size, method.size - explicit[i].size);
        return true;
    }
    if (!node->loaded) {
        fail(client, id, ERROR_UNAVAILABLE, "this node does not have the app yet: try again");
        return false;
    }
    if (fsm_has_command(node->fsm, method)) {
        request->kind = REQUEST_COMMAND;
    } else if (fsm_has_query(node->fsm, method)) {
        request->kind = REQUEST_QUERY;
    } else {
        char message[NAME_MAX_BYTES];
        snprintf(message, sizeof message, "the app has no command or query \"%.*s\"",
                 (int)(method.size < 64 ? method.size : 64), (const char *)method.data);
        fail(client, id, ERROR_NO_SUCH_COMMAND, message);
        return false;
    }
    return true;
}

static bool read_params(struct slice params, struct slice *arguments, struct request *request,
                        struct error *error)
{
    static const uint8_t empty_array = 0x90;
    struct mp_reader reader = mp_reader_of(params);
    uint32_t count;
    struct slice options;
    *arguments = slice_of(&empty_array, 1);
    if (!mp_read_array(&reader, &count) || count > 2 ||
        (count > 0 && !mp_skip(&reader, arguments))) {
        error_set(error, ERROR_BAD_REQUEST, "params are [arguments] or [arguments, options]");
        return false;
    }
    return count < 2 || (mp_skip(&reader, &options) && read_options(options, request, error));
}

static bool read_options(struct slice options, struct request *request, struct error *error)
{
    struct slice value;
    struct mp_item item;
    if (options.size > 0 && (options.data[0] == 0x90 || options.data[0] == 0xc0))
        return true; /* none, in any form */
    if (mp_map_get(options, "consistency", &value)) {
        struct mp_reader reader = mp_reader_of(value);
        if (!mp_read(&reader, &item) || item.type != MP_STRING ||
            !call_consistency(item.string, &request->consistency)) {
            error_set(error, ERROR_BAD_REQUEST, "consistency is linearizable, lease or stale");
            return false;
        }
    }
    if (mp_map_get(options, "timeout", &value)) {
        struct mp_reader reader = mp_reader_of(value);
        double seconds = !mp_read(&reader, &item)  ? -1
                         : item.type == MP_INTEGER ? (double)item.integer
                         : item.type == MP_FLOAT   ? item.number
                                                   : -1;
        if (!call_timeout(seconds, &request->timeout_ms)) {
            error_set(error, ERROR_BAD_REQUEST,
                      "timeout is a number of seconds, more than 0 and at most a day");
            return false;
        }
    }
    return request->kind != REQUEST_COMMAND ||
           call_once_from_options(options, request, error) == ERROR_OK;
}

static void fail(struct client *client, uint64_t id, enum error_code code, const char *message)
{
    if (id != NO_ANSWER)
        rpc_write_error_code(net_stream_output(client->stream), (uint32_t)id, code, message);
}

/* The stream is gone, or no longer ours. */
static void client_drop(struct client *client)
{
    struct node *node = client->node;
    uint64_t number;
    struct ticket ticket;
    while (tickets_take_any(node->tickets, &client->tickets, &number, &ticket)) {
        if (ticket.kind == TICKET_EVENTS) {
            events_forget(node, number);
        } else {
            host_cancel(node->host, number);
        }
    }
    node_forget_later(node, &client->later);
    backup_end(client->backup);
    local_end(client->looker);
    if (client->previous != NULL) {
        client->previous->next = client->next;
    } else {
        node->rpc_clients = client->next;
    }
    if (client->next != NULL) client->next->previous = client->previous;
    node->clients--;
    memory_free(client);
}
