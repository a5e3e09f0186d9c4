/* The generated endpoints: what every app has without writing an api.lua. One row per path. */
#include "base/mp.h"
#include "base/uri.h"
#include "http/http.h"
#include "http/json.h"
#include "node/call.h"
#include "node/health.h"
#include "node/web.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void route_handler(struct node *node, struct web_connection *connection,
                           const struct http_request *request, struct slice name);

static void serve_command(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name);
static void serve_query(struct node *node, struct web_connection *connection,
                        const struct http_request *request, struct slice name);
static void serve_sessions(struct node *node, struct web_connection *connection,
                           const struct http_request *request, struct slice name);
static void serve_session(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name);
static void serve_status(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name);
static void serve_members(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name);
static void serve_remove(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name);
static void serve_admin(struct node *node, struct web_connection *connection,
                        const struct http_request *request, struct slice name);
static void serve_transfer(struct node *node, struct web_connection *connection,
                           const struct http_request *request, struct slice name);
static void serve_snapshot(struct node *node, struct web_connection *connection,
                           const struct http_request *request, struct slice name);
static void serve_config(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name);
static void serve_backup(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name);
static void serve_health(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name);
static void serve_cluster_health(struct node *node, struct web_connection *connection,
                                 const struct http_request *request, struct slice name);
static void serve_events(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name);
static void serve_metrics(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name);
static void serve_ready(struct node *node, struct web_connection *connection,
                        const struct http_request *request, struct slice name);

/* A path that ends in '/' has a name behind it. */
static const struct route {
    const char *path;
    const char *methods;
    route_handler *handler;
} routes[] = {
    {"/v1/command/", "POST", serve_command},   {"/v1/query/", "GET, HEAD, POST", serve_query},
    {"/v1/sessions", "POST", serve_sessions},  {"/v1/sessions/", "POST, DELETE", serve_session},
    {"/v1/status", "GET, HEAD", serve_status}, {"/v1/members", "GET, HEAD, POST", serve_members},
    {"/v1/members/", "DELETE", serve_remove},  {"/v1/admin/", "POST", serve_admin},
    {"/v1/leader/transfer", "POST", serve_transfer}, {"/v1/snapshot", "POST", serve_snapshot},
    {"/v1/config", "GET, HEAD, PATCH, PUT", serve_config},
    {"/v1/backup", "GET", serve_backup},
    {"/healthz", "GET, HEAD", serve_health},   {"/readyz", "GET, HEAD", serve_ready},
    {"/v1/health", "GET, HEAD", serve_cluster_health}, {"/v1/events", "GET", serve_events},
    {"/metrics", "GET, HEAD", serve_metrics},
};

static const struct route *find_route(struct slice path, struct slice *name);
static bool method_allowed(const char *methods, struct slice method);
static void submit(struct node *node, struct web_connection *connection, struct request *request,
                   const struct call *call, struct slice body);
static void post(struct node *node, struct web_connection *connection,
                 const struct http_request *request, enum request_kind kind, struct slice name);
static void submit_session(struct node *node, struct web_connection *connection, uint64_t session,
                           enum session_action action, uint64_t acknowledged,
                           const struct call *call);
static bool read_acknowledged(struct slice json, uint64_t *acknowledged);
static bool begin_body(struct buffer *body, struct slice encoded_name);
static enum error_code read_options(const struct http_request *request, struct call *call,
                                    struct buffer *arguments, struct error *error);
static enum error_code read_option(struct slice key, struct slice value, struct call *call,
                                   bool *taken, struct error *error);
static void fail(struct web_connection *connection, enum error_code code, const char *message);

void route_request(struct node *node, struct web_connection *connection,
                   const struct http_request *request)
{
    bool path_known = false;
    uint64_t exchange = web_wait(connection, TICKET_EXCHANGE);
    if (control_serve(node->control, exchange, request, &path_known)) return;
    web_stop_waiting(connection, exchange);

    struct slice name;
    const struct route *route = find_route(request->path, &name);
    if (route != NULL && method_allowed(route->methods, request->method)) {
        route->handler(node, connection, request, name);
    } else if (route != NULL) {
        web_not_allowed(connection, route->methods);
    } else if (!node->loaded) {
        fail(connection, ERROR_UNAVAILABLE, "this node does not have the app yet: try again");
    } else if (path_known) {
        web_fail(connection, ERROR_BAD_REQUEST, 405, "this path does not answer to this method");
    } else {
        fail(connection, ERROR_NOT_FOUND, "no such path");
    }
}

static const struct route *find_route(struct slice path, struct slice *name)
{
    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++) {
        size_t size = strlen(routes[i].path);
        bool named = routes[i].path[size - 1] == '/';
        if (path.size < size || memcmp(path.data, routes[i].path, size) != 0) continue;
        if (named ? path.size == size : path.size != size) continue;
        *name = slice_of(path.data + size, path.size - size);
        return &routes[i];
    }
    return NULL;
}

static bool method_allowed(const char *methods, struct slice method)
{
    while (*methods != 0) {
        size_t size = strcspn(methods, ",");
        if (size == method.size && memcmp(methods, method.data, size) == 0) return true;
        methods += size;
        methods += strspn(methods, ", ");
    }
    return false;
}

/* ---- commands and queries ---- */

static void serve_command(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name)
{
    post(node, connection, request, REQUEST_COMMAND, name);
}

/* [name, the body's JSON], a command or an action. */
static void post(struct node *node, struct web_connection *connection,
                 const struct http_request *request, enum request_kind kind, struct slice name)
{
    struct call call = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct request once = {.kind = REQUEST_COMMAND};
    struct buffer body = {0}, ignored = {0};
    struct error error;
    enum error_code code = read_options(request, &call, &ignored, &error);
    if (code == ERROR_OK && kind != REQUEST_ADMIN)
        code = call_once_from_headers(request, &once, &error);
    if (code == ERROR_OK && !begin_body(&body, name)) {
        code = error_set(&error, ERROR_BAD_REQUEST, "the name of the %s is not valid",
                         kind == REQUEST_ADMIN ? "action" : "command");
    }
    if (code == ERROR_OK && request->body.size == 0) {
        mp_write_array(&body, 0);
    } else if (code == ERROR_OK) {
        code = json_to_value(request->body, &body, &error);
    }
    if (code == ERROR_OK) {
        once.kind = kind == REQUEST_ADMIN ? kind : once.kind;
        submit(node, connection, &once, &call, buffer_slice(&body));
    } else {
        fail(connection, code, error.text);
    }
    buffer_deinit(&ignored);
    buffer_deinit(&body);
}

static void serve_query(struct node *node, struct web_connection *connection,
                        const struct http_request *request, struct slice name)
{
    struct call call = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct buffer body = {0}, arguments = {0};
    struct error error;
    enum error_code code = read_options(request, &call, &arguments, &error);
    if (code == ERROR_OK && !begin_body(&body, name)) {
        code = error_set(&error, ERROR_BAD_REQUEST, "the name of the query is not valid");
    }
    if (code == ERROR_OK && request->body.size > 0) {
        code = json_to_value(request->body, &body, &error);
    } else if (code == ERROR_OK) {
        mp_write_raw(&body, buffer_slice(&arguments));
    }
    if (code == ERROR_OK) {
        struct request query = {.kind = REQUEST_QUERY};
        submit(node, connection, &query, &call, buffer_slice(&body));
    } else {
        fail(connection, code, error.text);
    }
    buffer_deinit(&arguments);
    buffer_deinit(&body);
}

/* `request` says what kind, and whether it is to be done once. */
static void submit(struct node *node, struct web_connection *connection, struct request *request,
                   const struct call *call, struct slice body)
{
    request->consistency = call->consistency;
    request->timeout_ms = call->timeout_ms;
    request->body = body;
    host_submit(node->host, web_wait(connection, TICKET_HTTP), request);
}

/* ---- sessions ---- */

static void serve_sessions(struct node *node, struct web_connection *connection,
                           const struct http_request *request, struct slice name)
{
    (void)name;
    struct call call = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct buffer ignored = {0};
    struct error error;
    enum error_code code = read_options(request, &call, &ignored, &error);
    if (code == ERROR_OK) {
        submit_session(node, connection, 0, SESSION_OPEN, 0, &call);
    } else {
        fail(connection, code, error.text);
    }
    buffer_deinit(&ignored);
}

/* POST renews it, DELETE closes it. */
static void serve_session(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name)
{
    struct call call = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct buffer ignored = {0};
    struct error error;
    uint64_t session, acknowledged = 0;
    bool closes = slice_equal(request->method, slice_text("DELETE"));
    enum error_code code = read_options(request, &call, &ignored, &error);
    if (code == ERROR_OK && !call_number(name, &session))
        code = error_set(&error, ERROR_BAD_REQUEST, "a session is named by its number");
    if (code == ERROR_OK && !closes && !read_acknowledged(request->body, &acknowledged)) {
        code = error_set(&error, ERROR_BAD_REQUEST,
                         "the body is {\"acknowledged\": the newest sequence whose reply, and all "
                         "before it, the client has}, or empty");
    }
    if (code == ERROR_OK) {
        enum session_action action = closes ? SESSION_CLOSE : SESSION_RENEW;
        submit_session(node, connection, session, action, acknowledged, &call);
    } else {
        fail(connection, code, error.text);
    }
    buffer_deinit(&ignored);
}

static void submit_session(struct node *node, struct web_connection *connection, uint64_t session,
                           enum session_action action, uint64_t acknowledged,
                           const struct call *call)
{
    struct buffer body = {0};
    session_body_write(&body, action, acknowledged);
    struct request request = {.kind = REQUEST_SESSION, .session = session};
    submit(node, connection, &request, call, buffer_slice(&body));
    buffer_deinit(&body);
}

static bool read_acknowledged(struct slice json, uint64_t *acknowledged)
{
    struct buffer value = {0};
    struct slice found;
    bool valid = json.size == 0;
    if (!valid && json_to_value(json, &value, NULL) == ERROR_OK &&
        mp_map_get(buffer_slice(&value), "acknowledged", &found)) {
        struct mp_reader reader = mp_reader_of(found);
        valid = mp_read_u64(&reader, acknowledged);
    }
    buffer_deinit(&value);
    return valid;
}

/* [name, ... and its arguments are to follow. */
static bool begin_body(struct buffer *body, struct slice encoded_name)
{
    struct buffer name = {0};
    bool valid =
        uri_percent_decode(encoded_name, false, &name) == ERROR_OK && name.size <= NAME_MAX_BYTES;
    mp_write_array(body, 2);
    mp_write_string(body, buffer_slice(&name));
    buffer_deinit(&name);
    return valid;
}

/* Takes `consistency` and `timeout` out of the query string; what is left are the arguments, one
 * value. */
static enum error_code read_options(const struct http_request *request, struct call *call,
                                    struct buffer *arguments, struct error *error)
{
    struct buffer all = {0}, kept = {0};
    enum error_code code = uri_query_to_value(request->query, &all);
    if (code != ERROR_OK) error_set(error, code, "the query string is malformed");
    struct mp_reader reader = mp_reader_of(buffer_slice(&all));
    uint32_t count = 0, kept_count = 0;
    if (code == ERROR_OK && !mp_read_map(&reader, &count)) count = 0;
    for (uint32_t i = 0; code == ERROR_OK && i < count; i++) {
        struct slice key, value;
        bool taken = false;
        if (!mp_read_string(&reader, &key) || !mp_read_string(&reader, &value)) break;
        code = read_option(key, value, call, &taken, error);
        if (taken) continue;
        kept_count++;
        mp_write_string(&kept, key);
        mp_write_string(&kept, value);
    }
    if (kept_count == 0) {
        mp_write_array(arguments, 0); /* an empty table's canonical form */
    } else {
        mp_write_map(arguments, kept_count);
        buffer_append_slice(arguments, buffer_slice(&kept));
    }
    buffer_deinit(&kept);
    buffer_deinit(&all);
    return code;
}

static enum error_code read_option(struct slice key, struct slice value, struct call *call,
                                   bool *taken, struct error *error)
{
    char text[32];
    if (slice_equal(key, slice_text("consistency"))) {
        *taken = true;
        if (call_consistency(value, &call->consistency)) return ERROR_OK;
        return error_set(error, ERROR_BAD_REQUEST, "consistency is linearizable, lease or stale");
    }
    if (!slice_equal(key, slice_text("timeout"))) return ERROR_OK;
    *taken = true;
    snprintf(text, sizeof text, "%.*s", (int)(value.size < 31 ? value.size : 31),
             (const char *)value.data);
    char *end;
    double seconds = strtod(text, &end);
    if (*text == 0 || *end != 0 || !call_timeout(seconds, &call->timeout_ms)) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "timeout is a number of seconds, more than 0 and at most a day");
    }
    return ERROR_OK;
}

/* ---- about the node ---- */

static void serve_status(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name)
{
    (void)request, (void)name;
    struct buffer out = {0};
    status_write(node, &out);
    web_answer(connection, 200, buffer_slice(&out));
    buffer_deinit(&out);
}

static void serve_members(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name)
{
    (void)name;
    if (slice_equal(request->method, slice_text("POST"))) {
        post(node, connection, request, REQUEST_ADMIN, slice_text("add"));
        return;
    }
    struct buffer out = {0};
    host_members(node->host, &out);
    web_answer(connection, 200, buffer_slice(&out));
    buffer_deinit(&out);
}

/* DELETE /v1/members/ID */
static void serve_remove(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name)
{
    struct call call = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct buffer body = {0}, id = {0}, ignored = {0};
    struct error error;
    enum error_code code = read_options(request, &call, &ignored, &error);
    if (code == ERROR_OK && uri_percent_decode(name, false, &id) != ERROR_OK)
        code = error_set(&error, ERROR_BAD_REQUEST, "the id is not valid");
    if (code == ERROR_OK) {
        mp_write_array(&body, 2);
        mp_write_text(&body, "remove");
        mp_write_map(&body, 1);
        mp_write_text(&body, "id");
        mp_write_string(&body, buffer_slice(&id));
        struct request removal = {.kind = REQUEST_ADMIN};
        submit(node, connection, &removal, &call, buffer_slice(&body));
    } else {
        fail(connection, code, error.text);
    }
    buffer_deinit(&ignored);
    buffer_deinit(&id);
    buffer_deinit(&body);
}

static void serve_admin(struct node *node, struct web_connection *connection,
                        const struct http_request *request, struct slice name)
{
    post(node, connection, request, REQUEST_ADMIN, name);
}

static void serve_transfer(struct node *node, struct web_connection *connection,
                           const struct http_request *request, struct slice name)
{
    (void)name;
    post(node, connection, request, REQUEST_ADMIN, slice_text("transfer"));
}

/* Of this node's own state, whoever leads. */
static void serve_snapshot(struct node *node, struct web_connection *connection,
                           const struct http_request *request, struct slice name)
{
    (void)name;
    post(node, connection, request, REQUEST_ADMIN, slice_text("snapshot"));
}

/* Settings: of the cluster, and of the node that is asked. */
static void serve_config(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name)
{
    (void)name;
    if (slice_equal(request->method, slice_text("PUT")) || slice_equal(request->method, slice_text("PATCH"))) {
        post(node, connection, request, REQUEST_ADMIN, slice_text("config"));
        return;
    }
    struct buffer out = {0};
    host_config(node->host, &out);
    web_answer(connection, 200, buffer_slice(&out));
    buffer_deinit(&out);
}

/* Of this node's own state, too. */
static void serve_backup(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name)
{
    (void)name;
    struct call call = {.consistency = CONSISTENCY_LINEARIZABLE};
    struct buffer ignored = {0};
    struct error error;
    enum error_code code = read_options(request, &call, &ignored, &error);
    if (code == ERROR_OK)
        download_begin(node, connection, &call);
    else
        fail(connection, code, error.text);
    buffer_deinit(&ignored);
}

/* The process lives and its loop turns. */
static void serve_health(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name)
{
    (void)node, (void)request, (void)name;
    struct buffer out = {0};
    mp_write_map(&out, 1);
    mp_write_text(&out, "healthy");
    mp_write_boolean(&out, true);
    web_answer(connection, 200, buffer_slice(&out));
    buffer_deinit(&out);
}

/* It is worth sending requests here. */
static void serve_ready(struct node *node, struct web_connection *connection,
                        const struct http_request *request, struct slice name)
{
    (void)request, (void)name;
    bool ready = node->loaded && !node->stopping && host_ready(node->host);
    struct buffer out = {0};
    mp_write_map(&out, 1);
    mp_write_text(&out, "ready");
    mp_write_boolean(&out, ready);
    web_answer(connection, ready ? 200 : 503, buffer_slice(&out));
    buffer_deinit(&out);
}

/* As far as this node can tell: the leader can tell most. */
static void serve_cluster_health(struct node *node, struct web_connection *connection,
                                 const struct http_request *request, struct slice name)
{
    (void)request, (void)name;
    struct buffer out = {0};
    enum health health = health_write(node, &out);
    web_answer(connection, health == HEALTH_UNAVAILABLE ? 503 : 200, buffer_slice(&out));
    buffer_deinit(&out);
}

static void serve_events(struct node *node, struct web_connection *connection,
                         const struct http_request *request, struct slice name)
{
    (void)node, (void)name;
    struct events_ask ask;
    struct slice last_id;
    struct error error;
    enum error_code code = http_single_header(request, "last-event-id", &last_id, &error);
    if (code == ERROR_OK) code = events_read_query(request->query, last_id, &ask, &error);
    if (code == ERROR_OK) {
        web_stream(connection, &ask);
    } else {
        fail(connection, code, error.text);
    }
}

static void serve_metrics(struct node *node, struct web_connection *connection,
                          const struct http_request *request, struct slice name)
{
    (void)request, (void)name;
    struct buffer out = {0};
    metrics_write(node, &out);
    web_answer_bytes(connection, "text/plain; version=0.0.4; charset=utf-8", buffer_slice(&out));
    buffer_deinit(&out);
}

static void fail(struct web_connection *connection, enum error_code code, const char *message)
{
    web_fail(connection, code, error_http_status(code), message);
}
