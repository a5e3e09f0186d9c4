/*
 * HTTP/1.1 requests out of bytes, on http-parser: it finds where things begin and end, this file
 * decides what is acceptable, and keeps one request at a time.
 *
 * The head's texts lie in one buffer, the body in another; both are used again for the next request
 * of the connection. The parser is paused when a message is complete, so pipelined bytes stay with
 * the caller until the answer is out.
 *
 * Where two readers could disagree about where a request ends (RFC 9112, sections 6.1 and 6.3), it
 * is refused: both lengths given, two lengths, an encoding that is not exactly "chunked", a chunked
 * HTTP/1.0 request. The limits count what the head says, not how the bytes happened to be cut.
 */
#include "http/http.h"

#include "base/memory.h"

#include <assert.h>
#include <http_parser.h>
#include <string.h>

#define HEADERS_MAX 100
#define HEADER_COST 4 /* ": " and the line end */
#define BODY_RESERVE_MAX \
    (256 * 1024) /* a Content-Length is believed this far before its bytes have come */
#define KEEP_BYTES_MAX (64 * 1024) /* larger buffers are not kept for the next request */
#define RAW_HEAD_BYTES_MAX \
    (4 * 1024 * 1024) /* http-parser's own limit, which counts white space too */

/* Offsets into the head, which still moves while it grows. */
struct span {
    size_t name_at, value_at, end;
};

enum progress { PROGRESS_NONE, PROGRESS_HEAD, PROGRESS_BODY, PROGRESS_DONE };

struct http_connection {
    http_parser parser;
    struct http_parser_limits limits;
    enum progress progress;
    bool in_value; /* the header being read: its name is complete */
    bool keep_alive, head_only, expects_continue;
    bool head_too_large;
    struct error failure; /* code OK while the connection is sound; it stays once set */

    struct buffer head; /* target, then name and value of each header */
    size_t target_size;
    struct span spans[HEADERS_MAX];
    size_t span_count;
    struct http_header headers[HEADERS_MAX];
    struct buffer body;
    struct http_request request;
};

static const http_parser_settings callbacks;

static void begin_request(struct http_connection *connection);
static enum error_code parse_failure(struct http_connection *connection);
static void drop_large(struct buffer *buffer);

struct http_connection *http_connection_new(const struct http_parser_limits *limits)
{
    struct http_connection *connection = memory_zero(1, sizeof *connection);
    connection->limits = *limits;
    http_parser_set_max_header_size(RAW_HEAD_BYTES_MAX);
    http_parser_init(&connection->parser, HTTP_REQUEST);
    connection->parser.data = connection;
    return connection;
}

void http_connection_free(struct http_connection *connection)
{
    if (!connection) return;
    buffer_deinit(&connection->head);
    buffer_deinit(&connection->body);
    memory_free(connection);
}

enum error_code http_feed(struct http_connection *connection, struct slice bytes, size_t *consumed,
                          const struct http_request **request, struct error *error)
{
    *consumed = 0;
    *request = NULL;
    connection->expects_continue = false;
    if (connection->progress == PROGRESS_DONE) begin_request(connection);
    if (connection->failure.code == ERROR_OK && bytes.size > 0) {
        *consumed = http_parser_execute(&connection->parser, &callbacks, (const char *)bytes.data,
                                        bytes.size);
        if (connection->progress == PROGRESS_DONE) {
            *request = &connection->request;
            return ERROR_OK;
        }
        if (HTTP_PARSER_ERRNO(&connection->parser) != HPE_OK) parse_failure(connection);
    }
    if (connection->failure.code) connection->expects_continue = false;
    if (connection->failure.code && error) *error = connection->failure;
    return connection->failure.code;
}

bool http_keep_alive(const struct http_connection *connection)
{
    return connection->keep_alive;
}

bool http_expects_continue(const struct http_connection *connection)
{
    return connection->expects_continue;
}

bool http_head_only(const struct http_connection *connection)
{
    return connection->head_only;
}

bool http_mid_request(const struct http_connection *connection)
{
    return connection->progress == PROGRESS_HEAD || connection->progress == PROGRESS_BODY;
}

int http_error_status(const struct http_connection *connection, enum error_code code)
{
    if (code == ERROR_TOO_LARGE && connection->head_too_large) return 431;
    return error_http_status(code);
}

static void begin_request(struct http_connection *connection)
{
    http_parser_pause(&connection->parser, 0);
    connection->progress = PROGRESS_NONE;
    connection->in_value = false;
    connection->target_size = 0;
    connection->span_count = 0;
    drop_large(&connection->head);
    drop_large(&connection->body);
}

static void drop_large(struct buffer *buffer)
{
    if (buffer->capacity > KEEP_BYTES_MAX) buffer_deinit(buffer);
    buffer_clear(buffer);
}

/* A callback that stopped the parser has left its reason; else it is the parser's own. */
static enum error_code parse_failure(struct http_connection *connection)
{
    if (connection->failure.code) return connection->failure.code;
    enum http_errno number = HTTP_PARSER_ERRNO(&connection->parser);
    if (number == HPE_HEADER_OVERFLOW) {
        connection->head_too_large = connection->progress != PROGRESS_BODY;
        return error_set(&connection->failure, ERROR_TOO_LARGE,
                         "the request's head is larger than the limit");
    }
    return error_set(&connection->failure, ERROR_BAD_REQUEST, "not a valid HTTP request: %s",
                     http_errno_description(number));
}

/* ---- what http-parser reports ---- */

#define STOP (-1) /* not 1: after a head that means "this one has no body" */

static struct http_connection *connection_of(http_parser *parser)
{
    return parser->data;
}

static int refuse(struct http_connection *connection, const char *why)
{
    error_set(&connection->failure, ERROR_BAD_REQUEST, "%s", why);
    return STOP;
}

static int head_too_large(struct http_connection *connection)
{
    connection->head_too_large = true;
    error_set(&connection->failure, ERROR_TOO_LARGE,
              "the request's head is larger than %zu bytes or %d headers",
              connection->limits.head_bytes_max, HEADERS_MAX);
    return STOP;
}

static int append_to_head(struct http_connection *connection, const char *at, size_t size)
{
    size_t cost = connection->head.size + connection->span_count * HEADER_COST;
    if (cost + size > connection->limits.head_bytes_max) return head_too_large(connection);
    buffer_append(&connection->head, at, size);
    return 0;
}

static int on_begin(http_parser *parser)
{
    connection_of(parser)->progress = PROGRESS_HEAD;
    return 0;
}

static int on_target(http_parser *parser, const char *at, size_t size)
{
    struct http_connection *connection = connection_of(parser);
    if (append_to_head(connection, at, size)) return STOP;
    connection->target_size = connection->head.size;
    return 0;
}

/* After the body these are trailers: checked by http-parser for form, and not kept. */
static int on_name(http_parser *parser, const char *at, size_t size)
{
    struct http_connection *connection = connection_of(parser);
    if (connection->progress == PROGRESS_BODY) return 0;
    if (connection->span_count == 0 || connection->in_value) {
        if (connection->span_count == HEADERS_MAX) return head_too_large(connection);
        connection->spans[connection->span_count++].name_at = connection->head.size;
    }
    connection->in_value = false;
    return append_to_head(connection, at, size);
}

static int on_value(http_parser *parser, const char *at, size_t size)
{
    struct http_connection *connection = connection_of(parser);
    if (connection->progress == PROGRESS_BODY) return 0;
    struct span *span = &connection->spans[connection->span_count - 1];
    if (!connection->in_value) span->value_at = connection->head.size;
    connection->in_value = true;
    if (append_to_head(connection, at, size)) return STOP;
    span->end = connection->head.size;
    return 0;
}

static bool fill_target(struct http_connection *connection);
static const char *fill_headers(struct http_connection *connection);
static const char *check_head(struct http_connection *connection);
static int body_too_large(struct http_connection *connection);

static int on_head(http_parser *parser)
{
    struct http_connection *connection = connection_of(parser);
    const char *wrong = fill_headers(connection);
    if (!wrong) wrong = check_head(connection);
    if (wrong) return refuse(connection, wrong);
    parser->upgrade = 0; /* an offer to switch protocols is declined by answering as usual */
    const char *method = http_method_str((enum http_method)parser->method);
    connection->request.method = slice_text(method);
    connection->head_only = parser->method == HTTP_HEAD;
    connection->progress = PROGRESS_BODY;
    bool has_length = parser->flags & F_CONTENTLENGTH;
    if (has_length && parser->content_length > connection->limits.body_bytes_max)
        return body_too_large(connection);
    size_t length = has_length ? (size_t)parser->content_length : 0;
    buffer_reserve(&connection->body, length < BODY_RESERVE_MAX ? length : BODY_RESERVE_MAX);
    return 0;
}

static int on_chunk(http_parser *parser)
{
    struct http_connection *connection = connection_of(parser);
    size_t room = connection->limits.body_bytes_max - connection->body.size;
    return parser->content_length > room ? body_too_large(connection) : 0;
}

static int on_body(http_parser *parser, const char *at, size_t size)
{
    struct http_connection *connection = connection_of(parser);
    connection->expects_continue = false;
    if (size > connection->limits.body_bytes_max - connection->body.size)
        return body_too_large(connection);
    buffer_append(&connection->body, at, size);
    return 0;
}

static int on_complete(http_parser *parser)
{
    struct http_connection *connection = connection_of(parser);
    connection->expects_continue = false;
    connection->request.body = buffer_slice(&connection->body);
    connection->keep_alive = http_should_keep_alive(parser);
    connection->progress = PROGRESS_DONE;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings callbacks = {
    .on_message_begin = on_begin,
    .on_url = on_target,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_chunk_header = on_chunk,
    .on_body = on_body,
    .on_message_complete = on_complete,
};

static int body_too_large(struct http_connection *connection)
{
    error_set(&connection->failure, ERROR_TOO_LARGE, "the request's body is larger than %zu bytes",
              connection->limits.body_bytes_max);
    return STOP;
}

/* ---- the head, complete: the buffer moves no more ---- */

static void trim_end(struct slice *value);
static bool fill_name(uint8_t *name, size_t size);
static bool value_is_clean(struct slice value);

/* Null: all is well; else what is wrong. */
static const char *fill_headers(struct http_connection *connection)
{
    uint8_t *head = connection->head.data;
    for (size_t i = 0; i < connection->span_count; i++) {
        const struct span *span = &connection->spans[i];
        struct http_header *header = &connection->headers[i];
        header->name = slice_of(head + span->name_at, span->value_at - span->name_at);
        header->value = slice_of(head + span->value_at, span->end - span->value_at);
        trim_end(&header->value);
        if (!fill_name(head + span->name_at, header->name.size))
            return "a header's name has invalid characters";
        if (!value_is_clean(header->value)) return "a header's value has control characters";
    }
    connection->request.headers = connection->headers;
    connection->request.header_count = connection->span_count;
    return fill_target(connection) ? NULL : "the request's target is malformed";
}

/* The white space before a value is http-parser's to skip, that behind it is left. */
static void trim_end(struct slice *value)
{
    while (value->size > 0 &&
           (value->data[value->size - 1] == ' ' || value->data[value->size - 1] == '\t')) {
        value->size--;
    }
}

/* RFC 9110, section 5.6.2: a token. Lower-cases it in place. */
static bool fill_name(uint8_t *name, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = name[i];
        if (byte >= 'A' && byte <= 'Z') {
            name[i] = (uint8_t)(byte | 0x20);
        } else if (!((byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
                     (byte != '\0' && strchr("!#$%&'*+-.^_`|~", byte)))) {
            return false;
        }
    }
    return size > 0;
}

static bool value_is_clean(struct slice value)
{
    for (size_t i = 0; i < value.size; i++) {
        uint8_t byte = value.data[i];
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) return false;
    }
    return true;
}

/* "/path?query", "http://host/path?query" or "*". A fragment has no business here and is cut off.
 */
static bool fill_target(struct http_connection *connection)
{
    struct slice target = slice_of(connection->head.data, connection->target_size);
    if (target.size == 0) return false;
    if (target.data[0] != '/' && !(target.size == 1 && target.data[0] == '*')) {
        const uint8_t *scheme = memmem(target.data, target.size, "://", 3);
        if (!scheme) return false;
        const uint8_t *end = target.data + target.size;
        const uint8_t *path = scheme + 3;
        while (path < end && *path != '/' && *path != '?' && *path != '#') path++;
        target = slice_of(path, (size_t)(end - path));
    }
    const uint8_t *fragment = target.size ? memchr(target.data, '#', target.size) : NULL;
    if (fragment) target.size = (size_t)(fragment - target.data);
    const uint8_t *mark = target.size ? memchr(target.data, '?', target.size) : NULL;
    size_t path_size = mark ? (size_t)(mark - target.data) : target.size;
    struct http_request *request = &connection->request;
    request->path = path_size ? slice_of(target.data, path_size) : slice_text("/");
    request->query = mark ? slice_of(mark + 1, target.size - path_size - 1) : (struct slice){0};
    return true;
}

static bool is_text(struct slice value, const char *text)
{
    return value.size == strlen(text) &&
           strncasecmp((const char *)value.data, text, value.size) == 0;
}

/* Everything that decides where the request ends, read once more from what was sent. */
static const char *check_head(struct http_connection *connection)
{
    const http_parser *parser = &connection->parser;
    if (parser->http_major != 1) return "the HTTP version is not 1.0 or 1.1";
    if (parser->method == HTTP_CONNECT) return "CONNECT: this is no proxy";
    unsigned hosts = 0, lengths = 0, encodings = 0;
    for (size_t i = 0; i < connection->span_count; i++) {
        const struct http_header *header = &connection->headers[i];
        if (is_text(header->name, "host")) {
            hosts++;
        } else if (is_text(header->name, "content-length")) {
            lengths++;
        } else if (is_text(header->name, "transfer-encoding")) {
            if (!is_text(header->value, "chunked"))
                return "only the transfer encoding \"chunked\" is understood";
            encodings++;
        } else if (is_text(header->name, "expect") && is_text(header->value, "100-continue")) {
            connection->expects_continue = parser->http_minor >= 1;
        }
    }
    if (hosts > 1) return "more than one Host header";
    if (lengths > 1) return "more than one Content-Length header";
    if (encodings > 1 || (encodings && lengths))
        return "more than one header says where the body ends";
    if (encodings && parser->http_minor == 0) return "HTTP/1.0 has no transfer encodings";
    if ((encodings == 1) != ((parser->flags & F_CHUNKED) != 0))
        return "the transfer encoding is malformed";
    return NULL;
}
