/* Listening sockets. Running out of descriptors is weather, not an error: it is counted, and
 * accepting goes on. */
#include "net/internal.h"

#include "base/memory.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 1024

struct net_listener {
    uv_tcp_t tcp;
    struct net *net;
    net_accept accept;
    void *context;
};

static int resolve(uv_loop_t *loop, const char *host, uint16_t port,
                   struct sockaddr_storage *address);
static struct net_listener *listener_new(struct net *net, net_accept accept, void *context);
static int local_socket(const char *path);
static int listen_on(struct net_listener *listener, const struct sockaddr_storage *address);
static void incoming(uv_stream_t *tcp, int status);
static void listener_free(uv_handle_t *handle);
static const char *advice(int status);

enum error_code net_listen(struct net *net, const char *host, uint16_t port, net_accept accept,
                           void *context, struct net_listener **listener, struct error *error)
{
    struct sockaddr_storage address;
    int status = resolve(net->loop, host, port, &address);
    if (status != 0) {
        return error_set(error, ERROR_UNAVAILABLE,
                         "cannot resolve %s: %s: give a name or address of this machine", host,
                         uv_strerror(status));
    }
    struct net_listener *made = listener_new(net, accept, context);
    status = listen_on(made, &address);
    if (status != 0) {
        net_listener_close(made);
        return error_set(error, ERROR_UNAVAILABLE, "cannot listen on %s:%u: %s: %s", host,
                         (unsigned)port, uv_strerror(status), advice(status));
    }
    *listener = made;
    return ERROR_OK;
}

enum error_code net_listen_local(struct net *net, const char *path, net_accept accept, void *context,
                                 struct net_listener **listener, struct error *error)
{
    int descriptor = local_socket(path);
    if (descriptor < 0)
        return error_set(error, ERROR_UNAVAILABLE, "cannot listen on %s: %s", path, strerror(errno));
    struct net_listener *made = listener_new(net, accept, context);
    int status = uv_tcp_open(&made->tcp, descriptor); /* any stream socket will do */
    if (status != 0) {
        close(descriptor);
    } else {
        status = uv_listen((uv_stream_t *)&made->tcp, BACKLOG, incoming);
    }
    if (status != 0) {
        net_listener_close(made);
        return error_set(error, ERROR_UNAVAILABLE, "cannot listen on %s: %s", path, uv_strerror(status));
    }
    *listener = made;
    return ERROR_OK;
}

uint16_t net_listener_port(const struct net_listener *listener)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    if (uv_tcp_getsockname(&listener->tcp, (struct sockaddr *)&address, &size) != 0) return 0;
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

void net_listener_close(struct net_listener *listener)
{
    if (listener == NULL || uv_is_closing((uv_handle_t *)&listener->tcp)) return;
    uv_close((uv_handle_t *)&listener->tcp, listener_free);
}

static struct net_listener *listener_new(struct net *net, net_accept accept, void *context)
{
    struct net_listener *made = memory_zero(1, sizeof *made);
    made->net = net;
    made->accept = accept;
    made->context = context;
    made->tcp.data = made;
    uv_tcp_init(net->loop, &made->tcp);
    return made;
}

/* Bound, and never usable by others, not even for a moment. -1 with errno. */
static int local_socket(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) return -1;
    (void)unlink(path);
    mode_t before = umask(0177);
    int status = bind(descriptor, (const struct sockaddr *)&address, sizeof address);
    int reason = errno;
    umask(before);
    if (status == 0) return descriptor;
    close(descriptor);
    errno = reason;
    return -1;
}

/* Only at start: a resolver that blocks then blocks nobody. */
static int resolve(uv_loop_t *loop, const char *host, uint16_t port,
                   struct sockaddr_storage *address)
{
    if (net_address_numeric(host, port, address)) return 0;
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    uv_getaddrinfo_t request;
    int status = uv_getaddrinfo(loop, &request, NULL, host, service, &hints);
    if (status != 0) return status;
    memcpy(address, request.addrinfo->ai_addr, request.addrinfo->ai_addrlen);
    uv_freeaddrinfo(request.addrinfo);
    return 0;
}

static int listen_on(struct net_listener *listener, const struct sockaddr_storage *address)
{
    int status = uv_tcp_bind(&listener->tcp, (const struct sockaddr *)address, 0);
    return status != 0 ? status : uv_listen((uv_stream_t *)&listener->tcp, BACKLOG, incoming);
}

/* Without descriptors libuv accepts with one that it keeps in reserve and closes at once, so that
 * the loop does not spin on a socket that stays ready. */
static void incoming(uv_stream_t *tcp, int status)
{
    struct net_listener *listener = tcp->data;
    struct net *net = listener->net;
    if (status != 0) {
        net->counters.accepts_failed++;
        return;
    }
    struct net_stream *stream = stream_new(net);
    if (uv_accept(tcp, (uv_stream_t *)&stream->tcp) != 0 || stream_begin(stream) != 0) {
        net->counters.accepts_failed++;
        net_stream_close(stream);
        return;
    }
    listener->accept(listener->context, stream);
}

static void listener_free(uv_handle_t *handle)
{
    memory_free(handle->data);
}

static const char *advice(int status)
{
    switch (status) {
    case UV_EADDRINUSE:
        return "another process uses it: stop that one or choose another port";
    case UV_EADDRNOTAVAIL:
        return "it is not an address of this machine";
    case UV_EACCES:
        return "ports below 1024 need privileges";
    default:
        return "choose another address";
    }
}
