/*
 * HTTP/1.1 as bytes in, requests out, and responses as bytes. Keep-alive and pipelining; chunked
 * bodies in. No sockets. What a URL carries is decoded by base/uri.h.
 */
#ifndef MOONCLAVE_HTTP_HTTP_H
#define MOONCLAVE_HTTP_HTTP_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/request.h"

struct http_parser_limits {
    size_t head_bytes_max;
    size_t body_bytes_max;
};

struct http_connection; /* the parser's state for one connection */

struct http_connection *http_connection_new(const struct http_parser_limits *limits);
void http_connection_free(struct http_connection *connection);

/*
 * Feeds received bytes. Consumes up to the end of the next whole request and reports it; call again
 * with what is left, after that request was answered (pipelining keeps order). *consumed says how
 * much was taken. OK with *request null: more bytes are needed. OK with *request: valid until the
 * next feed. Else the connection is done for: answer with the error's status and close.
 * BAD_REQUEST, TOO_LARGE (413 for the body, 431 for the head: see http_error_status), with a text.
 */
enum error_code http_feed(struct http_connection *connection, struct slice bytes, size_t *consumed,
                          const struct http_request **request, struct error *error);
/* Of the request last reported: may the connection stay open; was it a HEAD? */
bool http_keep_alive(const struct http_connection *connection);
bool http_head_only(const struct http_connection *connection);
/* Did the last feed complete a head that waits for HTTP_CONTINUE? Write it now. */
bool http_expects_continue(const struct http_connection *connection);
/* Bytes of a request have come, not all. */
bool http_mid_request(const struct http_connection *connection);
int http_error_status(const struct http_connection *connection, enum error_code code);

#define HTTP_CONTINUE "HTTP/1.1 100 Continue\r\n\r\n"

/* Appends the whole response. A VALUE body becomes JSON; content-type is added unless given
 * (application/json for values, application/octet-stream for bytes), content-length always,
 * connection: close when !keep_alive. Header values with control characters are dropped with the
 * header. */
void http_write_response(struct buffer *out, const struct http_response *response, bool keep_alive,
                         bool head_only);
/* {"error": {"code", "message"}} with the status of the code. */
void http_write_error(struct buffer *out, enum error_code code, int status, const char *message,
                      bool keep_alive);

#endif
