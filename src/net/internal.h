/* What the files of net/ share with each other and with nobody else. */
#ifndef MOONCLAVE_NET_INTERNAL_H
#define MOONCLAVE_NET_INTERNAL_H

#include "net/net.h"

#define NET_NAME_MAX     64
#define NET_SCRATCH_SIZE (256 * 1024)

/* How long turns take. Microseconds; those of the loop's clock. */
struct net_pace {
    uint64_t end_us, slept_us;    /* at the end of the last turn; slept: of all time */
    uint64_t window_us;           /* when the present window began */
    uint64_t longest_us, before_us; /* turns of this window, of the one before */
};

struct net {
    uv_loop_t *loop;
    struct net_hooks hooks;
    uv_prepare_t prepare;
    uv_idle_t idle;
    uv_async_t async;
    struct net_stream
        *dirty; /* streams with something to flush: a ring through dirty_next, dirty_previous */
    struct net_counters counters;
    struct net_pace pace;
    bool again;       /* net_again */
    uint8_t *scratch; /* every stream without a rest reads here: an idle connection holds no input
                         memory */
};

struct net_stream {
    uv_tcp_t tcp;
    uv_write_t write;
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    uv_timer_t *linger; /* only while lingering */
    struct net *net;
    struct net_stream *dirty_next, *dirty_previous; /* null: not in the ring */
    const struct net_stream_events *events;
    void *context;

    struct buffer rest; /* received and not consumed, from rest_start on */
    size_t rest_start;
    struct slice fresh; /* within `received`: not consumed of what was read into the scratch */

    struct buffer output; /* gathered in this turn */
    struct buffer flight; /* with the system, which could not take it at once */
    bool writing;         /* flight is under way */
    bool reading;
    bool want_drained;
    bool ended;     /* the other side sends no more */
    bool finishing; /* close when everything is sent */
    bool lingering; /* ... it is; reading on for a moment */
    bool closing;

    uint64_t moved_ms;
    uint64_t written_turn; /* for writes_per_turn_max */
    uint64_t written_in_turn;
    char name[NET_NAME_MAX];
};

struct net_stream *stream_new(struct net *net);
/* Once connected or accepted: names it, sets options, reads. */
int stream_begin(struct net_stream *stream);
void stream_flush(struct net_stream *stream);

/* "host:port" of a socket address. */
void net_address_name(const struct sockaddr *address, char *name, size_t size);
/* A numeric host at once, without the resolver's thread; false: it is a name. */
bool net_address_numeric(const char *host, uint16_t port, struct sockaddr_storage *address);

#endif
