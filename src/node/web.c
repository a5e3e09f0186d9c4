/*
 * HTTP connections: one request at a time each, in order, so that pipelined answers cannot overtake
 * each other.
 *
 * What bounds a client: its next request is looked at only once the last answer has gone to the
 * system (but for ANSWERS_AHEAD), and reading stops while more than INPUT_AHEAD bytes wait. A
 * connection that brings no whole request, or takes no answer, for http_idle_ms is closed; one
 * sweep over all of them looks for those.
 */
#include "node/web.h"

#include "base/memory.h"
#include "base/mp.h"
#include "http/http.h"

#include <assert.h>
#include <string.h>

#define INPUT_AHEAD   (64 * 1024)
#define ANSWERS_AHEAD (64 * 1024)
#define EVENTS_AHEAD  (256 * 1024) /* of a stream of events */
#define SWEEP_MS_MIN  20
#define SWEEP_MS_MAX  1000

struct web_connection {
    struct node *node;
    struct net_stream *stream; /* null: gone, to be freed when it is no longer pumped */
    struct http_connection *parser;
    struct web_connection *next, *previous;
    struct later later;
    struct ticket_list tickets;
    bool busy; /* a request is being answered */
    bool pumping;
    bool ended;              /* the client sends no more */
    const struct web_download_events *download_events; /* null: no answer is on its way in pieces */
    void *download_context;
    uint64_t quiet_since_ms; /* no whole request since then */
    uint64_t began_us;       /* the request being answered, and what it is about */
    enum metrics_route route;
    struct events_reader *events; /* it is a stream of events; else null */
};

struct web {
    struct net_listener *listener;
    struct web_connection *connections;
    uv_timer_t sweep;
    bool sweeping;
};

static void accepted(void *context, struct net_stream *stream);
static void received(void *context);
static void ended(void *context);
static void drained(void *context);
static void closed(void *context, const char *why);
static void pump(struct web_connection *connection);
static bool take_request(struct web_connection *connection);
static void pump_later(struct later *later);
static void refuse(struct web_connection *connection, enum error_code code,
                   const struct error *error);
static void send_response(struct web_connection *connection, const struct http_response *response);
static void answered(struct web_connection *connection);
static void done_with(struct web_connection *connection);
static void drop(struct web_connection *connection);
static void sweep(uv_timer_t *timer);
static void web_free(uv_handle_t *sweep_timer);
static bool overdue(const struct web_connection *connection, uint64_t now_ms);

static const struct net_stream_events stream_events = {received, ended, drained, closed};

enum error_code web_open(struct node *node, struct error *error)
{
    struct web *web = memory_zero(1, sizeof *web);
    node->web = web;
    uv_timer_init(&node->loop, &web->sweep);
    web->sweep.data = node;
    if (node->options->http == NULL) return ERROR_OK;
    return door_listen(node, node->options->http, "--http", accepted, &web->listener, error);
}

void web_shut(struct node *node)
{
    net_listener_close(node->web->listener);
    node->web->listener = NULL;
}

void web_close(struct node *node)
{
    web_shut(node);
    while (node->web->connections != NULL) {
        struct web_connection *connection = node->web->connections;
        net_stream_close(connection->stream);
        drop(connection);
    }
    node->web->sweep.data = node->web;
    uv_close((uv_handle_t *)&node->web->sweep, web_free);
    node->web = NULL;
}

static void web_free(uv_handle_t *sweep_timer)
{
    memory_free(sweep_timer->data);
}

/* ---- bytes in ---- */

static void accepted(void *context, struct net_stream *stream)
{
    struct node *node = context;
    struct web *web = node->web;
    if (!door_has_room(node)) {
        net_stream_close(stream);
        return;
    }
    struct http_parser_limits limits = {
        .head_bytes_max = node->options->settings.http_head_bytes_max,
        .body_bytes_max = node->options->settings.http_body_bytes_max,
    };
    struct web_connection *connection = memory_zero(1, sizeof *connection);
    connection->node = node;
    connection->stream = stream;
    connection->parser = http_connection_new(&limits);
    connection->later.run = pump_later;
    connection->quiet_since_ms = net_turn_ms(node->net);
    connection->next = web->connections;
    if (connection->next != NULL) connection->next->previous = connection;
    web->connections = connection;
    node->clients++;
    net_stream_bind(stream, &stream_events, connection);
    if (!web->sweeping) {
        uint64_t every_ms = node->options->settings.http_idle_ms / 8;
        if (every_ms < SWEEP_MS_MIN) every_ms = SWEEP_MS_MIN;
        if (every_ms > SWEEP_MS_MAX) every_ms = SWEEP_MS_MAX;
        uv_timer_start(&web->sweep, sweep, every_ms, every_ms);
        web->sweeping = true;
    }
}

static void received(void *context)
{
    pump(context);
}

static void ended(void *context)
{
    struct web_connection *connection = context;
    connection->ended = true;
    if (!connection->busy) done_with(connection);
}

static void drained(void *context)
{
    struct web_connection *connection = context;
    if (connection->download_events != NULL) {
        connection->download_events->wanted(connection->download_context);
        return;
    }
    if (connection->events != NULL) {
        events_ready(connection->node);
        return;
    }
    node_later(connection->node, &connection->later);
}

static void closed(void *context, const char *why)
{
    struct web_connection *connection = context;
    log_write(LOG_LEVEL_DEBUG, "http", "a client left: %s", why);
    drop(connection);
}

static void pump_later(struct later *later)
{
    pump((struct web_connection *)((char *)later - offsetof(struct web_connection, later)));
}

static void pump(struct web_connection *connection)
{
    if (connection->pumping) return;
    connection->pumping = true;
    while (take_request(connection)) continue;
    connection->pumping = false;
    if (connection->stream == NULL) {
        http_connection_free(connection->parser);
        memory_free(connection);
        return;
    }
    if (connection->busy && net_stream_input(connection->stream).size > INPUT_AHEAD) {
        net_stream_pause(connection->stream);
    } else {
        net_stream_resume(connection->stream);
    }
}

/* One request, or as much of it as has come. true: look again. */
static bool take_request(struct web_connection *connection)
{
    struct net_stream *stream = connection->stream;
    if (stream == NULL || connection->busy) return false;
    if (net_stream_queued(stream) > ANSWERS_AHEAD) {
        net_stream_want_drained(stream);
        return false;
    }
    struct slice input = net_stream_input(stream);
    if (input.size == 0) {
        if (connection->ended) done_with(connection);
        return false;
    }
    size_t consumed;
    const struct http_request *request;
    struct error error;
    enum error_code code = http_feed(connection->parser, input, &consumed, &request, &error);
    if (code != ERROR_OK) {
        refuse(connection, code, &error);
        return false;
    }
    if (request != NULL) {
        connection->busy = true;
        connection->began_us = net_now_us();
        connection->route = metrics_route_of(request->path);
        route_request(connection->node, connection, request);
    } else if (http_expects_continue(connection->parser)) {
        buffer_append_text(net_stream_output(stream), HTTP_CONTINUE);
    }
    /* The request may point into the input: it is given back only now. */
    if (connection->stream != NULL) net_stream_consume(stream, consumed);
    return consumed > 0;
}

/* After bytes that are no HTTP nothing on this connection can be understood. */
static void refuse(struct web_connection *connection, enum error_code code,
                   const struct error *error)
{
    int status = http_error_status(connection->parser, code);
    log_write(LOG_LEVEL_DEBUG, "http", "refused a request of %s: %s",
              net_stream_name(connection->stream), error->text);
    http_write_error(net_stream_output(connection->stream), code, status, error->text, false);
    done_with(connection);
}

/* ---- answers out ---- */

void web_answer(struct web_connection *connection, int status, struct slice value)
{
    struct http_response response = {.status = status, .kind = HTTP_BODY_VALUE, .body = value};
    send_response(connection, &response);
}

void web_fail(struct web_connection *connection, enum error_code code, int status,
              const char *message)
{
    struct buffer body = {0};
    mp_write_map(&body, 1);
    mp_write_text(&body, "error");
    reply_write_error(&body, code, message);
    web_answer(connection, status, buffer_slice(&body));
    buffer_deinit(&body);
}

void web_not_allowed(struct web_connection *connection, const char *allowed)
{
    struct buffer body = {0}, message = {0};
    buffer_append_format(&message, "this path answers to %s only", allowed);
    buffer_append_byte(&message, 0);
    mp_write_map(&body, 1);
    mp_write_text(&body, "error");
    reply_write_error(&body, ERROR_BAD_REQUEST, (const char *)message.data);
    struct http_header header = {slice_text("allow"), slice_text(allowed)};
    struct http_response response = {405, &header, 1, HTTP_BODY_VALUE, buffer_slice(&body)};
    send_response(connection, &response);
    buffer_deinit(&message);
    buffer_deinit(&body);
}

void web_answer_bytes(struct web_connection *connection, const char *content_type, struct slice bytes)
{
    struct http_header header = {slice_text("content-type"), slice_text(content_type)};
    struct http_response response = {200, &header, 1, HTTP_BODY_BYTES, bytes};
    send_response(connection, &response);
}

/* ---- a stream of events ---- */

void web_stream(struct web_connection *connection, const struct events_ask *ask)
{
    assert(connection->busy && connection->stream != NULL);
    connection->events = events_stream(connection->node, connection, ask);
    if (connection->events == NULL) {
        web_fail(connection, ERROR_OVERLOADED, error_http_status(ERROR_OVERLOADED),
                 "too many listen to events already");
        return;
    }
    metrics_http(connection->node, connection->route, connection->began_us, 200);
    buffer_append_text(net_stream_output(connection->stream),
                       "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncache-control: no-store\r\n"
                       "connection: close\r\n\r\nretry: 1000\n\n");
}

struct buffer *web_stream_output(struct web_connection *connection)
{
    struct net_stream *stream = connection->stream;
    if (stream == NULL) return NULL;
    if (net_stream_queued(stream) <= EVENTS_AHEAD) return net_stream_output(stream);
    net_stream_want_drained(stream);
    return NULL;
}

uint64_t web_wait(struct web_connection *connection, enum ticket_kind kind)
{
    return tickets_add(connection->node->tickets, kind, connection, 0, &connection->tickets);
}

void web_stop_waiting(struct web_connection *connection, uint64_t number)
{
    struct ticket ticket;
    tickets_take(connection->node->tickets, number, &ticket);
}

void web_reply(void *context, const struct reply *reply)
{
    struct web_connection *connection = context;
    if (reply->code == ERROR_OK) {
        web_answer(connection, 200, reply->body);
        return;
    }
    struct buffer body = {0};
    mp_write_map(&body, 1);
    mp_write_text(&body, "error");
    mp_write_raw(&body, reply->body);
    web_answer(connection, error_http_status(reply->code), buffer_slice(&body));
    buffer_deinit(&body);
}

void web_respond(struct node *node, uint64_t exchange, const struct http_response *response)
{
    struct ticket ticket;
    if (tickets_take(node->tickets, exchange, &ticket)) send_response(ticket.owner, response);
}

static void send_response(struct web_connection *connection, const struct http_response *response)
{
    assert(connection->busy && connection->stream != NULL);
    struct node *node = connection->node;
    bool keep_alive = http_keep_alive(connection->parser) && !node->stopping;
    connection->download_events = NULL;
    http_write_response(net_stream_output(connection->stream), response, keep_alive,
                        http_head_only(connection->parser));
    metrics_http(node, connection->route, connection->began_us, response->status);
    answered(connection);
}

/* The next one may come. */
static void answered(struct web_connection *connection)
{
    struct node *node = connection->node;
    bool keep_alive = http_keep_alive(connection->parser) && !node->stopping;
    connection->busy = false;
    connection->quiet_since_ms = net_turn_ms(node->net);
    if (!keep_alive) {
        done_with(connection);
    } else if (!connection->pumping &&
               (connection->ended || net_stream_input(connection->stream).size > 0)) {
        node_later(node, &connection->later); /* we may be within the host */
    }
}

/* ---- an answer in pieces ---- */

void web_hold(struct web_connection *connection, const struct web_download_events *events, void *context)
{
    connection->download_events = events;
    connection->download_context = context;
}

void web_begin_download(struct web_connection *connection, const char *headers, uint64_t size)
{
    bool keep_alive = http_keep_alive(connection->parser) && !connection->node->stopping;
    assert(connection->busy && connection->download_events != NULL);
    buffer_append_format(net_stream_output(connection->stream), "HTTP/1.1 200 OK\r\n%s%scontent-length: %llu\r\n\r\n",
                         headers, keep_alive ? "" : "connection: close\r\n", (unsigned long long)size);
    net_stream_want_drained(connection->stream);
}

void web_give(struct web_connection *connection, struct slice bytes, bool last)
{
    assert(connection->busy && connection->download_events != NULL);
    buffer_append_slice(net_stream_output(connection->stream), bytes);
    if (!last) {
        net_stream_want_drained(connection->stream);
        return;
    }
    connection->download_events = NULL;
    answered(connection);
}

void web_break(struct web_connection *connection)
{
    net_stream_close(connection->stream);
    drop(connection);
}

/* ---- the end of a connection ---- */

/* What is queued still goes out. */
static void done_with(struct web_connection *connection)
{
    net_stream_finish(connection->stream);
    drop(connection);
}

/* The stream is gone, or no longer ours: so is everything that would have been answered on it. */
static void drop(struct web_connection *connection)
{
    struct node *node = connection->node;
    uint64_t number;
    struct ticket ticket;
    while (tickets_take_any(node->tickets, &connection->tickets, &number, &ticket)) {
        if (ticket.kind == TICKET_EXCHANGE) {
            control_cancel(node->control, number);
        } else {
            host_cancel(node->host, number);
        }
    }
    node_forget_later(node, &connection->later);
    const struct web_download_events *held = connection->download_events;
    connection->download_events = NULL;
    if (held != NULL) held->gone(connection->download_context);
    events_leave(node, connection->events);
    connection->events = NULL;
    if (connection->previous != NULL) {
        connection->previous->next = connection->next;
    } else {
        node->web->connections = connection->next;
    }
    if (connection->next != NULL) connection->next->previous = connection->previous;
    node->clients--;
    connection->stream = NULL;
    if (connection->pumping) return; /* pump frees it */
    http_connection_free(connection->parser);
    memory_free(connection);
}

static void sweep(uv_timer_t *timer)
{
    struct node *node = timer->data;
    uint64_t now_ms = net_turn_ms(node->net);
    struct web_connection *next;
    for (struct web_connection *at = node->web->connections; at != NULL; at = next) {
        next = at->next;
        if (!overdue(at, now_ms)) continue;
        net_stream_close(at->stream);
        drop(at);
    }
    if (node->web->connections != NULL) return;
    uv_timer_stop(timer);
    node->web->sweeping = false;
}

static bool overdue(const struct web_connection *connection, uint64_t now_ms)
{
    uint64_t idle_ms = connection->node->options->settings.http_idle_ms;
    if (net_stream_queued(connection->stream) > 0)
        return now_ms - net_stream_moved_ms(connection->stream) > idle_ms;
    return !connection->busy && now_ms - connection->quiet_since_ms > idle_ms;
}
