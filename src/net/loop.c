/*
 * The loop's turns. libuv runs timers before prepare, and prepare right before it sleeps in poll:
 * so prepare is the one moment when everything that waited has been handled and nothing has slept
 * since. That is the end of our turn.
 */
#include "net/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define WINDOW_US UINT64_C(10000000) /* of the longest turn */

static void turn_ends(uv_prepare_t *prepare);
static void measure(struct net *net);
static void nothing(uv_idle_t *idle);
static void woken(uv_async_t *async);
static void flush_all(struct net *net);

struct net *net_new(uv_loop_t *loop, const struct net_hooks *hooks)
{
    struct net *net = memory_zero(1, sizeof *net);
    net->loop = loop;
    net->hooks = *hooks;
    net->scratch = memory_alloc(NET_SCRATCH_SIZE);
    uv_loop_configure(loop, UV_METRICS_IDLE_TIME);
    uv_prepare_init(loop, &net->prepare);
    uv_idle_init(loop, &net->idle);
    int status = uv_async_init(loop, &net->async, woken);
    assert(status == 0);
    (void)status;
    net->prepare.data = net->idle.data = net->async.data = net;
    uv_prepare_start(&net->prepare, turn_ends);
    return net;
}

void net_close(struct net *net)
{
    uv_close((uv_handle_t *)&net->prepare, NULL);
    uv_close((uv_handle_t *)&net->idle, NULL);
    uv_close((uv_handle_t *)&net->async, NULL);
}

/* Streams that finish may still have something to say: their turns end here, the handle for that is closed. */
void net_drain(struct net *net)
{
    do flush_all(net);
    while (uv_run(net->loop, UV_RUN_ONCE) != 0);
    flush_all(net);
}

void net_free(struct net *net)
{
    assert(net->dirty == NULL);
    memory_free(net->scratch);
    memory_free(net);
}

void net_wake(struct net *net)
{
    uv_async_send(&net->async);
}

void net_again(struct net *net)
{
    net->again = true;
}

uint64_t net_now_us(void)
{
    return uv_hrtime() / 1000;
}

uint64_t net_turn_ms(const struct net *net)
{
    return uv_now(net->loop);
}

struct net_counters net_counters(const struct net *net)
{
    struct net_counters counters = net->counters;
    const struct net_pace *pace = &net->pace;
    counters.turn_us_max = pace->longest_us > pace->before_us ? pace->longest_us : pace->before_us;
    return counters;
}

static void turn_ends(uv_prepare_t *prepare)
{
    struct net *net = prepare->data;
    net->counters.turns++;
    net->again = false;
    if (net->hooks.turn != NULL && net->hooks.turn(net->hooks.context)) net->again = true;
    flush_all(net);
    /* An active idle handle keeps poll from sleeping; poll's timeout is computed after this. */
    if (net->again) {
        uv_idle_start(&net->idle, nothing);
    } else {
        uv_idle_stop(&net->idle);
    }
    measure(net);
}

/* What of the time since the last turn's end was not slept. */
static void measure(struct net *net)
{
    struct net_pace *pace = &net->pace;
    uint64_t now_us = net_now_us(), slept_us = uv_metrics_idle_time(net->loop) / 1000;
    uint64_t whole_us = now_us - pace->end_us, sleep_us = slept_us - pace->slept_us;
    uint64_t busy_us = whole_us > sleep_us ? whole_us - sleep_us : 0; /* the two are rounded apart */
    bool first = pace->end_us == 0;
    pace->end_us = now_us;
    pace->slept_us = slept_us;
    if (first) pace->window_us = now_us;
    if (now_us - pace->window_us >= WINDOW_US) {
        pace->before_us = pace->longest_us;
        pace->longest_us = 0;
        pace->window_us = now_us;
    }
    if (!first && busy_us > pace->longest_us) pace->longest_us = busy_us;
}

static void flush_all(struct net *net)
{
    while (net->dirty != NULL) stream_flush(net->dirty);
}

static void nothing(uv_idle_t *idle)
{
    (void)idle;
}

static void woken(uv_async_t *async)
{
    struct net *net = async->data;
    if (net->hooks.woken != NULL) net->hooks.woken(net->hooks.context);
}

void net_address_name(const struct sockaddr *address, char *name, size_t size)
{
    char host[NET_NAME_MAX - 16] = "?";
    if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const void *)address;
        uv_ip6_name(six, host, sizeof host);
        snprintf(name, size, "[%s]:%u", host, (unsigned)ntohs(six->sin6_port));
    } else if (address->sa_family == AF_UNIX) {
        snprintf(name, size, "a local socket");
    } else {
        const struct sockaddr_in *four = (const void *)address;
        uv_ip4_name(four, host, sizeof host);
        snprintf(name, size, "%s:%u", host, (unsigned)ntohs(four->sin_port));
    }
}

bool net_address_numeric(const char *host, uint16_t port, struct sockaddr_storage *address)
{
    memset(address, 0, sizeof *address);
    return uv_ip4_addr(host, port, (struct sockaddr_in *)address) == 0 ||
           uv_ip6_addr(host, port, (struct sockaddr_in6 *)address) == 0;
}
