/*
 * Outgoing connections that come back: resolve, connect, give the stream out; when it is lost, wait
 * and begin again.
 *
 * The wait doubles from 20 ms to 1 s, each time shortened by a random part of its half, so that
 * nodes that lost each other together do not come back together. An attempt that takes longer than
 * 2 s is given up: the system would wait minutes.
 */
#include "net/internal.h"

#include "base/identity.h"
#include "base/memory.h"
#include "base/random.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define BACKOFF_MS_MIN 20
#define BACKOFF_MS_MAX 1000
#define ATTEMPT_MS_MAX 2000

enum peer_state { PEER_WAITING, PEER_RESOLVING, PEER_CONNECTING, PEER_UP, PEER_CLOSED };

struct net_peer {
    struct net *net;
    uv_timer_t timer; /* waiting: the backoff; trying: the end of patience */
    uv_getaddrinfo_t resolving;
    bool resolver_busy; /* its callback is still to come: memory must stay */
    bool timer_closed;
    struct net_stream *stream; /* while connecting */
    enum peer_state state;
    uint64_t backoff_ms;
    struct random random;
    const struct net_peer_events *events;
    void *context;
    char host[ADDRESS_MAX + 1];
    uint16_t port;
};

static void attempt(uv_timer_t *timer);
static void attempt_now(struct net_peer *peer);
static void out_of_patience(uv_timer_t *timer);
static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found);
static void connect_to(struct net_peer *peer, const struct sockaddr *address);
static void connected(uv_connect_t *request, int status);
static void attempt_failed(struct net_peer *peer, const char *why);
static void wait_and_retry(struct net_peer *peer);
static void timer_closed(uv_handle_t *handle);
static void maybe_free(struct net_peer *peer);

struct net_peer *net_peer_new(struct net *net, const char *host, uint16_t port, uint64_t seed,
                              const struct net_peer_events *events, void *context)
{
    struct net_peer *peer = memory_zero(1, sizeof *peer);
    peer->net = net;
    peer->events = events;
    peer->context = context;
    peer->port = port;
    peer->backoff_ms = BACKOFF_MS_MIN;
    snprintf(peer->host, sizeof peer->host, "%s", host);
    random_init(&peer->random, seed);
    uv_timer_init(net->loop, &peer->timer);
    peer->timer.data = peer->resolving.data = peer;
    /* Not from within the caller: the first attempt is an event like the others. */
    peer->state = PEER_WAITING;
    uv_timer_start(&peer->timer, attempt, 0, 0);
    return peer;
}

void net_peer_lost(struct net_peer *peer)
{
    assert(peer->state == PEER_UP);
    wait_and_retry(peer);
}

void net_peer_good(struct net_peer *peer)
{
    peer->backoff_ms = BACKOFF_MS_MIN;
}

void net_peer_hurry(struct net_peer *peer)
{
    if (peer->state != PEER_WAITING) return;
    peer->backoff_ms = BACKOFF_MS_MIN;
    uv_timer_start(&peer->timer, attempt, 0, 0);
}

void net_peer_close(struct net_peer *peer)
{
    if (peer == NULL) return;
    assert(peer->state != PEER_CLOSED);
    if (peer->state == PEER_CONNECTING) net_stream_close(peer->stream);
    if (peer->resolver_busy) uv_cancel((uv_req_t *)&peer->resolving);
    peer->state = PEER_CLOSED;
    uv_close((uv_handle_t *)&peer->timer, timer_closed);
}

static void attempt(uv_timer_t *timer)
{
    struct net_peer *peer = timer->data;
    assert(peer->state == PEER_WAITING);
    if (peer->resolver_busy) { /* a former resolution outlived its patience */
        wait_and_retry(peer);
        return;
    }
    attempt_now(peer);
}

static void attempt_now(struct net_peer *peer)
{
    uv_timer_start(&peer->timer, out_of_patience, ATTEMPT_MS_MAX, 0);
    struct sockaddr_storage address;
    if (net_address_numeric(peer->host, peer->port, &address)) {
        connect_to(peer, (struct sockaddr *)&address);
        return;
    }
    char service[8];
    snprintf(service, sizeof service, "%u", (unsigned)peer->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    peer->state = PEER_RESOLVING;
    int status =
        uv_getaddrinfo(peer->net->loop, &peer->resolving, resolved, peer->host, service, &hints);
    peer->resolver_busy = status == 0;
    if (status != 0) attempt_failed(peer, uv_strerror(status));
}

static void out_of_patience(uv_timer_t *timer)
{
    struct net_peer *peer = timer->data;
    if (peer->state == PEER_CONNECTING) net_stream_close(peer->stream);
    attempt_failed(peer, "no answer in time");
}

static void resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found)
{
    struct net_peer *peer = request->data;
    peer->resolver_busy = false;
    if (peer->state == PEER_RESOLVING) {
        if (status == 0) {
            connect_to(peer, found->ai_addr);
        } else {
            attempt_failed(peer, uv_strerror(status));
        }
    }
    uv_freeaddrinfo(found);
    maybe_free(peer);
}

static void connect_to(struct net_peer *peer, const struct sockaddr *address)
{
    peer->state = PEER_CONNECTING;
    peer->stream = stream_new(peer->net);
    peer->stream->context = peer;
    int status = uv_tcp_connect(&peer->stream->connect, &peer->stream->tcp, address, connected);
    if (status == 0) return;
    net_stream_close(peer->stream);
    attempt_failed(peer, uv_strerror(status));
}

/* Given up streams come here too, with UV_ECANCELED: then the peer has moved on, or is no more. */
static void connected(uv_connect_t *request, int status)
{
    struct net_stream *stream = request->data;
    if (stream->closing) return;
    struct net_peer *peer = stream->context;
    assert(peer->state == PEER_CONNECTING && peer->stream == stream);
    if (status == 0) status = stream_begin(stream);
    if (status != 0) {
        net_stream_close(stream);
        attempt_failed(peer, uv_strerror(status));
        return;
    }
    uv_timer_stop(&peer->timer);
    peer->state = PEER_UP;
    peer->stream = NULL;
    peer->events->connected(peer->context, stream);
}

static void attempt_failed(struct net_peer *peer, const char *why)
{
    peer->stream = NULL;
    wait_and_retry(peer);
    peer->events->failed(peer->context, why);
}

static void wait_and_retry(struct net_peer *peer)
{
    uint64_t wait_ms = peer->backoff_ms - random_below(&peer->random, peer->backoff_ms / 2 + 1);
    peer->backoff_ms *= 2;
    if (peer->backoff_ms > BACKOFF_MS_MAX) peer->backoff_ms = BACKOFF_MS_MAX;
    peer->state = PEER_WAITING;
    uv_timer_start(&peer->timer, attempt, wait_ms, 0);
}

static void timer_closed(uv_handle_t *handle)
{
    struct net_peer *peer = handle->data;
    peer->timer_closed = true;
    maybe_free(peer);
}

static void maybe_free(struct net_peer *peer)
{
    if (peer->state == PEER_CLOSED && peer->timer_closed && !peer->resolver_busy) memory_free(peer);
}
