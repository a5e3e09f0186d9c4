/*
 * One loop's sockets: streams that gather what is written and send it once per turn, listeners, and
 * outgoing connections that come back by themselves.
 *
 * A turn of the loop is: everything that waits on any socket is read and handled, timers run, then
 * `turn` is called once, then every stream with something to say makes one write call. Many small
 * messages to one peer become one packet because nothing is written before the turn ends; nothing
 * waits longer than the turn, because there is no timer in it.
 *
 * Bytes come in and go out at one place each (stream.c: stream_received, stream_flush): a record
 * layer such as TLS stands exactly there, and nobody above can tell.
 *
 * Ownership: a stream belongs to whoever got it, until net_stream_close or its `closed` event,
 * whichever is first; its memory goes away later by itself. No call here may come from another
 * thread, except net_wake.
 */
#ifndef MOONCLAVE_NET_NET_H
#define MOONCLAVE_NET_NET_H

#include "base/buffer.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct net;
struct net_stream;
struct net_listener;
struct net_peer;

/* ---- the loop ---- */

struct net_hooks {
    void *context;
    /* The end of each turn, before the streams are flushed. true: call again at once, without
     * sleeping. */
    bool (*turn)(void *context);
    /* net_wake was called, once or many times, by any thread. May be null. */
    void (*woken)(void *context);
};

struct net *net_new(uv_loop_t *loop, const struct net_hooks *hooks);
/* Everything made from it must have been closed or told to finish; closes its own handles. */
void net_close(struct net *net);
/* Behind net_close: runs the loop until nothing is left on it; what finishes sends its rest. */
void net_drain(struct net *net);
void net_free(struct net *net);

void net_wake(struct net *net);              /* from any thread */
void net_again(struct net *net);             /* the next turn follows without sleeping */
uint64_t net_now_us(void);                   /* monotonic, always fresh */
uint64_t net_turn_ms(const struct net *net); /* monotonic, as of the start of this turn: cheap */

/* Never reset. */
struct net_counters {
    uint64_t turns;               /* ends of turns */
    uint64_t turn_us_max;         /* the longest of the last ten to twenty seconds, without its sleep */
    uint64_t reads, read_bytes;   /* read events that brought bytes */
    uint64_t writes, write_bytes; /* write calls */
    uint64_t writes_per_turn_max; /* the most write calls that one stream made within one turn */
    uint64_t streams;             /* open now */
    uint64_t accepts_failed;      /* for want of descriptors, mostly */
};
struct net_counters net_counters(const struct net *net);

/* ---- streams ---- */

struct net_stream_events {
    /* Bytes have come: look at them with net_stream_input, take what is complete with
     * net_stream_consume. */
    void (*received)(void *context);
    /* The other side will send no more, but may still listen. Null: the stream is closed, as if by
     * `closed`. */
    void (*ended)(void *context);
    /* Everything queued has gone to the system: once after each net_stream_want_drained. May be
     * null. */
    void (*drained)(void *context);
    /* It broke. The stream is no longer the owner's. Never called after net_stream_close. */
    void (*closed)(void *context, const char *why);
};

void net_stream_bind(struct net_stream *stream, const struct net_stream_events *events,
                     void *context);

/* Received, not consumed; valid until consumed or the loop goes on. */
struct slice net_stream_input(const struct net_stream *stream);
void net_stream_consume(struct net_stream *stream, size_t size);
/* Reads no more: the sender will be slowed down. */
void net_stream_pause(struct net_stream *stream);
/* Idempotent, both; does not call `received` for what is there. */
void net_stream_resume(struct net_stream *stream);

/* Where to append what is to be sent; it goes out at the end of the turn. Not to be kept beyond the
 * current call. */
struct buffer *net_stream_output(struct net_stream *stream);
void net_stream_want_drained(struct net_stream *stream);
size_t net_stream_queued(const struct net_stream *stream); /* bytes not yet given to the system */
/* Net_turn_ms when bytes last went either way. */
uint64_t net_stream_moved_ms(const struct net_stream *stream);
/* "127.0.0.1:41234", the other side. */
const char *net_stream_name(const struct net_stream *stream);

/* The other side has closed both directions, as far as that can be told: of a unix socket; over TCP only after a reset.
 * For streams that are `ended`. Asks the system. */
bool net_stream_hung_up(const struct net_stream *stream);

/* Data that the other side does not acknowledge for this long breaks the stream, instead of waiting
 * for the system's many minutes: after a healed partition a new connection is faster than an old
 * one's retransmissions. */
void net_stream_give_up_after(struct net_stream *stream, unsigned ms);

/* At once; what is unsent is lost; null is allowed. */
void net_stream_close(struct net_stream *stream);
/* No more events; sends what is queued, then closes. */
void net_stream_finish(struct net_stream *stream);

/* ---- listeners ---- */

/* The stream is the callee's, bind it now. */
typedef void (*net_accept)(void *context, struct net_stream *stream);

/* `host` may be a name; port 0: any. UNAVAILABLE with a text (in use, not ours, no such host). */
enum error_code net_listen(struct net *net, const char *host, uint16_t port, net_accept accept,
                           void *context, struct net_listener **listener, struct error *error);
/* On a unix socket at `path`, which only its owner may use (mode 0600); one that is left there is replaced: whoever
 * calls has seen to it that nobody else listens. The file stays when the listener is closed. */
enum error_code net_listen_local(struct net *net, const char *path, net_accept accept, void *context,
                                 struct net_listener **listener, struct error *error);
uint16_t net_listener_port(const struct net_listener *listener);
void net_listener_close(struct net_listener *listener); /* null is allowed */

/* ---- outgoing connections ---- */

struct net_peer_events {
    /* Connected: the stream is the callee's. When it is gone, say so with net_peer_lost. */
    void (*connected)(void *context, struct net_stream *stream);
    /* One attempt failed; another follows by itself. */
    void (*failed)(void *context, const char *why);
};

/* Keeps trying, with exponential backoff and jitter; the name is resolved anew at every attempt. */
struct net_peer *net_peer_new(struct net *net, const char *host, uint16_t port, uint64_t seed,
                              const struct net_peer_events *events, void *context);
/* The stream given out is gone: connect again, later and later. */
void net_peer_lost(struct net_peer *peer);
void net_peer_good(struct net_peer *peer); /* it worked: the next backoff starts small again */
/* It is there, as we know otherwise: try now instead of later. */
void net_peer_hurry(struct net_peer *peer);
/* Null is allowed; a stream given out stays with its owner. */
void net_peer_close(struct net_peer *peer);

#endif
