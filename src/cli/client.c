/* The blocking msgpack-RPC client: see client.h. */
#include "cli/client.h"

#include "base/memory.h"
#include "base/mp.h"
#include "raft/configuration.h"
#include "wire/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (64u << 20)
#define READ_SIZE 65536

struct rpc_client {
    int socket;
    uint32_t id; /* of the last call */
    char address[ADDRESS_MAX + 1];
    struct rpc_parser parser;
    struct buffer output, input;
    size_t consumed; /* of the input: the last answer, which the caller has borrowed */
};

static int connect_any(const struct addrinfo *list, int64_t deadline_ms);
static int connect_one(const struct addrinfo *address, int64_t deadline_ms);
static enum error_code send_all(struct rpc_client *client, int64_t deadline_ms, struct error *error);
static enum error_code receive(struct rpc_client *client, int64_t deadline_ms, struct error *error);
static enum error_code next_answer(struct rpc_client *client, struct rpc_message *answer, bool *found,
                                   struct error *error);
static enum error_code answer_error(struct slice answer, struct error *error);
static enum error_code broken(const struct rpc_client *client, const char *why, struct error *error);
static enum error_code late(const struct rpc_client *client, struct error *error);
static bool wait_for(int socket, short events, int64_t deadline_ms);
static int64_t now_ms(void);

enum error_code rpc_client_open(struct rpc_client **client, const char *address, unsigned timeout_ms,
                                struct error *error)
{
    char host[ADDRESS_MAX + 1], service[8];
    uint16_t port;
    if (!raft_address_split(address, host, &port) || port == 0) {
        return error_set(error, ERROR_USAGE, "%s: not an address: it is HOST:PORT, as in 127.0.0.1:5001", address);
    }
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    int status = getaddrinfo(host, service, &hints, &list);
    if (status != 0) {
        return error_set(error, ERROR_UNAVAILABLE, "%s: the host is not known: %s", address, gai_strerror(status));
    }
    int found = connect_any(list, now_ms() + timeout_ms);
    int reason = errno;
    freeaddrinfo(list);
    if (found < 0) {
        return error_set(error, ERROR_UNAVAILABLE, "%s: nobody answers (%s): is a node running there? "
                         "--addr HOST:PORT names another", address, strerror(reason));
    }
    *client = memory_zero(1, sizeof **client);
    (*client)->socket = found;
    snprintf((*client)->address, sizeof (*client)->address, "%s", address);
    return ERROR_OK;
}

void rpc_client_close(struct rpc_client *client)
{
    if (client == NULL) return;
    close(client->socket);
    buffer_deinit(&client->output);
    buffer_deinit(&client->input);
    memory_free(client);
}

enum error_code rpc_client_call(struct rpc_client *client, const char *method, struct slice params,
                                unsigned timeout_ms, struct slice *result, struct error *error)
{
    static const uint8_t none = 0x90;
    int64_t deadline_ms = now_ms() + timeout_ms;
    struct rpc_message answer;
    bool found = false;
    client->id++;
    buffer_clear(&client->output);
    buffer_consume(&client->input, client->consumed);
    client->consumed = 0;
    rpc_write_request(&client->output, client->id, method, params.size > 0 ? params : slice_of(&none, 1));
    enum error_code code = send_all(client, deadline_ms, error);
    while (code == ERROR_OK && !found) {
        code = next_answer(client, &answer, &found, error);
        if (code == ERROR_OK && !found) code = receive(client, deadline_ms, error);
    }
    if (code != ERROR_OK) return code;
    *result = answer.result;
    bool failed = answer.error.size != 1 || answer.error.data[0] != 0xc0;
    return failed ? answer_error(answer.error, error) : ERROR_OK;
}

/* ---- connecting ---- */

/* -1: none could be reached; errno says why the last one could not. */
static int connect_any(const struct addrinfo *list, int64_t deadline_ms)
{
    int found = -1;
    for (const struct addrinfo *at = list; at != NULL && found < 0; at = at->ai_next) {
        found = connect_one(at, deadline_ms);
    }
    return found;
}

static int connect_one(const struct addrinfo *address, int64_t deadline_ms)
{
    int made = socket(address->ai_family, address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
    if (made < 0) return -1;
    int problem = connect(made, address->ai_addr, address->ai_addrlen) == 0 ? 0 : errno;
    if (problem == EINPROGRESS) {
        socklen_t size = sizeof problem;
        if (!wait_for(made, POLLOUT, deadline_ms)) {
            problem = ETIMEDOUT;
        } else if (getsockopt(made, SOL_SOCKET, SO_ERROR, &problem, &size) != 0) {
            problem = errno;
        }
    }
    if (problem == 0) return made;
    close(made);
    errno = problem;
    return -1;
}

/* ---- one call ---- */

static enum error_code send_all(struct rpc_client *client, int64_t deadline_ms, struct error *error)
{
    size_t sent = 0;
    while (sent < client->output.size) {
        ssize_t size = send(client->socket, client->output.data + sent, client->output.size - sent, MSG_NOSIGNAL);
        if (size > 0) {
            sent += (size_t)size;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_for(client->socket, POLLOUT, deadline_ms)) return late(client, error);
        } else if (errno != EINTR) {
            return broken(client, strerror(errno), error);
        }
    }
    return ERROR_OK;
}

static enum error_code receive(struct rpc_client *client, int64_t deadline_ms, struct error *error)
{
    buffer_reserve(&client->input, READ_SIZE);
    for (;;) {
        ssize_t size = recv(client->socket, client->input.data + client->input.size, READ_SIZE, 0);
        if (size > 0) {
            client->input.size += (size_t)size;
            return ERROR_OK;
        }
        if (size == 0) return broken(client, "it closed the connection", error);
        if (errno == EAGAIN || errno == EWOULDBLOCK) {
            if (!wait_for(client->socket, POLLIN, deadline_ms)) return late(client, error);
        } else if (errno != EINTR) {
            return broken(client, strerror(errno), error);
        }
    }
}

/* The answer to the last call, if it is there whole. Answers to earlier calls, given up on, are passed over. */
static enum error_code next_answer(struct rpc_client *client, struct rpc_message *answer, bool *found,
                                   struct error *error)
{
    struct mp_limits limits = rpc_limits(ANSWER_BYTES_MAX);
    for (;;) {
        size_t size;
        struct error why;
        enum error_code code = rpc_next(&client->parser, buffer_slice(&client->input), &limits, answer, &size, &why);
        if (code != ERROR_OK || (size > 0 && answer->type != RPC_RESPONSE)) {
            return error_set(error, ERROR_BAD_REQUEST, "%s: what answers there does not speak msgpack-RPC: is it the "
                             "node's --addr, and not its HTTP port?", client->address);
        }
        if (size == 0) return ERROR_OK;
        *found = answer->id == client->id;
        if (*found) {
            client->consumed = size;
            return ERROR_OK;
        }
        buffer_consume(&client->input, size);
    }
}

/* An error as the protocol shows it, {"code", "message", ...}, in memory. */
static enum error_code answer_error(struct slice answer, struct error *error)
{
    struct slice value, name = slice_text("?"), message = {0};
    struct mp_reader reader;
    enum error_code code = ERROR_REJECTED;
    if (mp_map_get(answer, "code", &value)) {
        reader = mp_reader_of(value);
        if (mp_read_string(&reader, &name)) (void)error_from_name((const char *)name.data, name.size, &code);
    }
    if (mp_map_get(answer, "message", &value)) {
        reader = mp_reader_of(value);
        (void)mp_read_string(&reader, &message);
    }
    if (code == ERROR_OK) code = ERROR_REJECTED;
    return error_set(error, code, "%.*s: %.*s", (int)(name.size < 64 ? name.size : 64), (const char *)name.data,
                     (int)(message.size < 400 ? message.size : 400),
                     message.size > 0 ? (const char *)message.data : "");
}

static enum error_code broken(const struct rpc_client *client, const char *why, struct error *error)
{
    return error_set(error, ERROR_UNAVAILABLE, "%s: the connection was lost: %s: look at that node's log",
                     client->address, why);
}

static enum error_code late(const struct rpc_client *client, struct error *error)
{
    return error_set(error, ERROR_TIMEOUT, "%s: it accepts connections but does not answer: look at that node's log",
                     client->address);
}

/* ---- waiting ---- */

static bool wait_for(int socket, short events, int64_t deadline_ms)
{
    for (;;) {
        int64_t left_ms = deadline_ms - now_ms();
        struct pollfd one = {.fd = socket, .events = events};
        if (left_ms <= 0) return false;
        if (poll(&one, 1, (int)left_ms) > 0) return true;
    }
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
