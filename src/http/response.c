/*
 * Responses as bytes. Scripts may give any headers but those that say where the body ends: these
 * are always ours, so that no script can make a client lose its place in the connection.
 */
#include "http/http.h"

#include "base/mp.h"
#include "http/json.h"

#include <string.h>

/* The ones that scripts and this program are likely to send; any other is sent with an empty
 * reason. */
static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
};

static void write_error(struct buffer *out, enum error_code code, int status, const char *message,
                        bool keep_alive, bool head_only);
static void write_status(struct buffer *out, int status);
static void write_headers(struct buffer *out, const struct http_response *response);
static bool may_have_body(int status);

void http_write_response(struct buffer *out, const struct http_response *response, bool keep_alive,
                         bool head_only)
{
    struct buffer json = {0};
    struct slice body = response->kind == HTTP_BODY_BYTES ? response->body : (struct slice){0};
    struct error error;
    if (response->kind == HTTP_BODY_VALUE) {
        if (json_from_value(response->body, &json, &error)) {
            buffer_deinit(&json);
            write_error(out, ERROR_INTERNAL, 500, error.text, keep_alive, head_only);
            return;
        }
        body = buffer_slice(&json);
    }
    write_status(out, response->status);
    write_headers(out, response);
    if (!keep_alive) buffer_append_text(out, "connection: close\r\n");
    if (may_have_body(response->status))
        buffer_append_format(out, "content-length: %zu\r\n", body.size);
    buffer_append_text(out, "\r\n");
    if (!head_only && may_have_body(response->status)) buffer_append_slice(out, body);
    buffer_deinit(&json);
}

void http_write_error(struct buffer *out, enum error_code code, int status, const char *message,
                      bool keep_alive)
{
    write_error(out, code, status, message, keep_alive, false);
}

static void write_error(struct buffer *out, enum error_code code, int status, const char *message,
                        bool keep_alive, bool head_only)
{
    struct buffer value = {0};
    mp_write_map(&value, 1);
    mp_write_text(&value, "error");
    reply_write_error(&value, code, message);
    const struct http_response response = {
        .status = status,
        .kind = HTTP_BODY_VALUE,
        .body = buffer_slice(&value),
    };
    http_write_response(out, &response, keep_alive, head_only);
    buffer_deinit(&value);
}

static void write_status(struct buffer *out, int status)
{
    const char *reason = "";
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) reason = reasons[i].reason;
    }
    buffer_append_format(out, "HTTP/1.1 %d %s\r\n", status, reason);
}

static bool header_is_sound(const struct http_header *header);
static bool is_ours(struct slice name);
static bool is_name(struct slice name, const char *text);

static void write_headers(struct buffer *out, const struct http_response *response)
{
    bool has_type = response->kind == HTTP_BODY_NONE;
    for (size_t i = 0; i < response->header_count; i++) {
        const struct http_header *header = &response->headers[i];
        if (!header_is_sound(header) || is_ours(header->name)) continue;
        has_type = has_type || is_name(header->name, "content-type");
        buffer_append_slice(out, header->name);
        buffer_append_text(out, ": ");
        buffer_append_slice(out, header->value);
        buffer_append_text(out, "\r\n");
    }
    if (has_type) return;
    bool value = response->kind == HTTP_BODY_VALUE;
    buffer_append_text(out, value ? "content-type: application/json\r\n"
                                  : "content-type: application/octet-stream\r\n");
}

/* A name is a token, a value has no control characters: nothing that a script passes on can begin a
 * line of its own. */
static bool header_is_sound(const struct http_header *header)
{
    for (size_t i = 0; i < header->name.size; i++) {
        uint8_t byte = header->name.data[i];
        if (byte <= ' ' || byte >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", byte)) return false;
    }
    for (size_t i = 0; i < header->value.size; i++) {
        uint8_t byte = header->value.data[i];
        if ((byte < ' ' && byte != '\t') || byte == 0x7f) return false;
    }
    return header->name.size > 0;
}

static bool is_ours(struct slice name)
{
    return is_name(name, "content-length") || is_name(name, "transfer-encoding") ||
           is_name(name, "connection");
}

static bool is_name(struct slice name, const char *text)
{
    return name.size == strlen(text) && strncasecmp((const char *)name.data, text, name.size) == 0;
}

/* RFC 9110, section 6.4.1. */
static bool may_have_body(int status)
{
    return status >= 200 && status != 204 && status != 304;
}
