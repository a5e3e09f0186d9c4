/* What peers.c (connections we opened), incoming.c (theirs) and frames.c (bytes to frames) share.
 */
#ifndef MOONCLAVE_NODE_PEERS_H
#define MOONCLAVE_NODE_PEERS_H

#include "base/hash.h"
#include "node/internal.h"
#include "wire/wire.h"

/* What a node does not acknowledge for this long is sent on a new connection. */
#define GIVE_UP_MS_MIN 1000

struct outgoing {
    struct node *node;
    struct raft_id id; /* "" until it has said who it is */
    char address[ADDRESS_MAX + 1];
    struct net_peer *connection;
    struct net_stream *stream; /* null: not connected */
    bool magic_seen;
    bool ready; /* its hello was accepted: messages may be sent */
    bool failed_before;
    struct later later; /* messages were dropped: the host is to know */
    struct log_gate gate;
};

struct unsent_forward {
    struct raft_id to;
    uint64_t ticket;
};

struct incoming;

struct peers {
    struct node *node;
    struct outgoing **outgoing;
    size_t count;
    struct incoming *incoming;
    struct host_peer *wanted; /* by the host; taken up once it has returned */
    size_t wanted_count;
    struct later set_later;
    struct unsent_forward *unsent;
    size_t unsent_count, unsent_capacity;
    struct later later;          /* unsent forwards are to be returned */
    struct wire_entries entries; /* reused for every frame decoded */
    struct log_gate gate;
};

struct outgoing *peers_find(struct peers *peers, const struct raft_id *id);
void peers_write_hello(struct node *node, struct buffer *out);
void peers_hurry(struct node *node, const struct hello *hello); /* it spoke to us: it is there */

void incoming_close_all(struct node *node);
void incoming_hello_again(struct node *node);

/* ---- frames.c: a stream as a sequence of frames ---- */

struct frames {
    struct node *node;
    struct net_stream *stream;
    bool *magic_seen;  /* the connection's: it begins with WIRE_MAGIC */
    bool whole;        /* out: a frame was there */
    size_t size;       /* its size; frames_done consumes it */
    struct blob *blob; /* holds an APPEND's bytes; frames_done drops it */
};

/* The next frame. OK with `whole`: deal with it, then frames_done, or frames_drop when the stream
 * is gone. OK without: more bytes are needed. Else the stream is to be closed, with the text in the
 * log. */
enum error_code frames_next(struct frames *frames, struct wire_frame *frame, struct error *error);
void frames_done(struct frames *frames);
void frames_drop(struct frames *frames);

#endif
