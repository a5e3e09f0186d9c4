/*
 * The other nodes. Each pair has two connections: the one we opened carries what we have to say,
 * the one they opened carries theirs; only hellos cross. So every connection has one writer, and
 * its loss means one thing: what we sent to that node may not have arrived.
 *
 * A connection begins with WIRE_MAGIC and a HELLO from its opener, answered by the same or by
 * HELLO_REFUSED. Until the answer is accepted nothing else is sent on it: Raft sends again.
 * incoming.c has the other direction.
 */
#include "node/peers.h"

#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static void set_wanted(struct later *later);
static void set_peers(struct node *node, const struct host_peer *list, size_t count);
static struct outgoing *find_kept(struct peers *peers, const struct host_peer *peer);
static bool is_this_node(struct node *node, const struct host_peer *peer);
static struct outgoing *outgoing_new(struct node *node, const struct host_peer *peer);
static void outgoing_free(struct outgoing *peer);
static void connected(void *context, struct net_stream *stream);
static void attempt_failed(void *context, const char *why);
static void received(void *context);
static void closed(void *context, const char *why);
static bool frame_received(struct outgoing *peer, const struct wire_frame *frame);
static bool greeted(struct outgoing *peer, const struct hello *hello);
static void refused(struct outgoing *peer, const struct wire_frame *frame);
static void give_up(struct outgoing *peer, enum log_level level, const char *why);
static bool room_for(struct outgoing *peer);
static void tell_lost(struct later *later);
static void return_forwards(struct later *later);

static const struct net_peer_events peer_events = {connected, attempt_failed};
static const struct net_stream_events stream_events = {.received = received, .closed = closed};

void peers_open(struct node *node)
{
    node->peers = memory_zero(1, sizeof *node->peers);
    node->peers->node = node;
    node->peers->later.run = return_forwards;
    node->peers->set_later.run = set_wanted;
}

void peers_close(struct node *node)
{
    struct peers *peers = node->peers;
    set_peers(node, NULL, 0);
    incoming_close_all(node);
    node_forget_later(node, &peers->later);
    node_forget_later(node, &peers->set_later);
    memory_free(peers->outgoing);
    memory_free(peers->wanted);
    memory_free(peers->unsent);
    wire_entries_deinit(&peers->entries);
    memory_free(peers);
}

void peers_want(struct node *node, const struct host_peer *list, size_t count)
{
    struct peers *peers = node->peers;
    peers->wanted = memory_resize(peers->wanted, count + 1, sizeof *peers->wanted);
    memcpy(peers->wanted, list, count * sizeof *list);
    peers->wanted_count = count;
    node_later(node, &peers->set_later);
}

static void set_wanted(struct later *later)
{
    struct peers *peers = (struct peers *)((char *)later - offsetof(struct peers, set_later));
    set_peers(peers->node, peers->wanted, peers->wanted_count);
    peers_hello_again(peers->node); /* what made the host say so has changed its hello as well */
}

static void set_peers(struct node *node, const struct host_peer *list, size_t count)
{
    struct peers *peers = node->peers;
    struct outgoing **kept = memory_zero(count + 1, sizeof *kept);
    size_t kept_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_this_node(node, &list[i])) continue;
        struct outgoing *peer = find_kept(peers, &list[i]);
        kept[kept_count++] = peer != NULL ? peer : outgoing_new(node, &list[i]);
    }
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->outgoing[i] != NULL) outgoing_free(peers->outgoing[i]);
    }
    memory_free(peers->outgoing);
    peers->outgoing = kept;
    peers->count = kept_count;
}

/* Takes it out of the old list. */
static struct outgoing *find_kept(struct peers *peers, const struct host_peer *wanted)
{
    for (size_t i = 0; i < peers->count; i++) {
        struct outgoing *peer = peers->outgoing[i];
        if (peer == NULL || strcmp(peer->address, wanted->address) != 0) continue;
        if (!raft_id_none(&wanted->id)) {
            if (!raft_id_none(&peer->id) && !raft_id_equal(&peer->id, &wanted->id)) continue;
            peer->id = wanted->id;
        }
        peers->outgoing[i] = NULL;
        return peer;
    }
    return NULL;
}

static bool is_this_node(struct node *node, const struct host_peer *peer)
{
    if (raft_id_none(&peer->id)) return strcmp(peer->address, node->options->advertise) == 0;
    return strcmp(peer->id.text, node->options->id) == 0;
}

/* ---- what the host has to say ---- */

struct outgoing *peers_find(struct peers *peers, const struct raft_id *id)
{
    for (size_t i = 0; i < peers->count; i++) {
        if (raft_id_equal(&peers->outgoing[i]->id, id)) return peers->outgoing[i];
    }
    return NULL;
}

void peers_send(struct node *node, const struct raft_message *message)
{
    struct outgoing *peer = peers_find(node->peers, &message->to);
    if (peer == NULL || !peer->ready || !room_for(peer)) return;
    struct wire_frame frame = {.type = (enum wire_type)message->type, .message = *message};
    wire_encode(&frame, net_stream_output(peer->stream));
}

/* What was not sent certainly was not done: the host learns it, after it has returned. */
void peers_forward(struct node *node, const struct raft_id *to, uint64_t ticket,
                   const struct request *request)
{
    struct peers *peers = node->peers;
    struct outgoing *peer = peers_find(peers, to);
    if (peer != NULL && peer->ready && room_for(peer)) {
        struct wire_frame frame = {.type = WIRE_FORWARD, .forward = {ticket, *request}};
        wire_encode(&frame, net_stream_output(peer->stream));
        return;
    }
    if (peers->unsent_count == peers->unsent_capacity) {
        peers->unsent_capacity = peers->unsent_capacity == 0 ? 16 : peers->unsent_capacity * 2;
        peers->unsent = memory_resize(peers->unsent, peers->unsent_capacity, sizeof *peers->unsent);
    }
    peers->unsent[peers->unsent_count++] = (struct unsent_forward){*to, ticket};
    node_later(node, &peers->later);
}

void peers_forward_reply(struct node *node, const struct raft_id *to, uint64_t ticket,
                         const struct reply *reply)
{
    struct outgoing *peer = peers_find(node->peers, to);
    if (peer == NULL || !peer->ready || !room_for(peer))
        return; /* its client will hear that the outcome is unknown */
    struct wire_frame frame = {.type = WIRE_FORWARD_REPLY, .forward_reply = {ticket, *reply}};
    wire_encode(&frame, net_stream_output(peer->stream));
}

void peers_hello_again(struct node *node)
{
    struct peers *peers = node->peers;
    for (size_t i = 0; i < peers->count; i++) {
        /* Also where the first hello is not answered yet: what it said is no longer true. */
        struct outgoing *peer = peers->outgoing[i];
        if (peer->stream != NULL) peers_write_hello(node, net_stream_output(peer->stream));
    }
    incoming_hello_again(node);
}

void peers_write_hello(struct node *node, struct buffer *out)
{
    struct wire_frame frame = {.type = WIRE_HELLO};
    host_hello(node->host, &frame.hello);
    wire_encode(&frame, out);
}

void peers_hurry(struct node *node, const struct hello *hello)
{
    struct peers *peers = node->peers;
    for (size_t i = 0; i < peers->count; i++) {
        struct outgoing *peer = peers->outgoing[i];
        if (strcmp(peer->id.text, hello->identity.id) == 0 ||
            strcmp(peer->address, hello->address) == 0) {
            net_peer_hurry(peer->connection);
        }
    }
}

/* A node that does not take what we send is not to fill our memory: Raft sends it again. */
static bool room_for(struct outgoing *peer)
{
    struct node *node = peer->node;
    if (net_stream_queued(peer->stream) <= node->options->settings.peer_queue_bytes_max)
        return true;
    if (node_may_log(node, &peer->gate)) {
        log_write(LOG_LEVEL_WARN, "net", "%s at %s takes nothing: messages to it are dropped",
                  peer->id.text, peer->address);
    }
    node_later(node, &peer->later);
    return false;
}

static void tell_lost(struct later *later)
{
    struct outgoing *peer = (struct outgoing *)((char *)later - offsetof(struct outgoing, later));
    host_peer_lost(peer->node->host, &peer->id);
}

static void return_forwards(struct later *later)
{
    struct peers *peers = (struct peers *)((char *)later - offsetof(struct peers, later));
    struct unsent_forward *unsent = peers->unsent;
    size_t count = peers->unsent_count;
    peers->unsent = NULL;
    peers->unsent_count = peers->unsent_capacity = 0;
    struct buffer body = {0};
    reply_write_error(&body, ERROR_UNAVAILABLE,
                      "the leader cannot be reached from this node: try again");
    struct reply reply = {ERROR_UNAVAILABLE, buffer_slice(&body)};
    for (size_t i = 0; i < count; i++) {
        struct identity from = {0};
        snprintf(from.id, sizeof from.id, "%s", unsent[i].to.text);
        host_forward_reply(peers->node->host, &from, unsent[i].ticket, &reply);
    }
    buffer_deinit(&body);
    memory_free(unsent);
}

/* ---- one outgoing connection ---- */

static struct outgoing *outgoing_new(struct node *node, const struct host_peer *wanted)
{
    struct outgoing *peer = memory_zero(1, sizeof *peer);
    char host[ADDRESS_MAX + 1];
    uint16_t port = 0;
    bool valid = raft_address_split(wanted->address, host, &port);
    assert(valid); /* the host has looked */
    (void)valid;
    peer->node = node;
    peer->id = wanted->id;
    peer->later.run = tell_lost;
    snprintf(peer->address, sizeof peer->address, "%s", wanted->address);
    uint64_t seed = hash_seeded(wanted->address, strlen(wanted->address), net_now_us());
    peer->connection = net_peer_new(node->net, host, port, seed, &peer_events, peer);
    return peer;
}

static void outgoing_free(struct outgoing *peer)
{
    node_forget_later(peer->node, &peer->later);
    net_stream_close(peer->stream);
    net_peer_close(peer->connection);
    memory_free(peer);
}

static void connected(void *context, struct net_stream *stream)
{
    struct outgoing *peer = context;
    struct node *node = peer->node;
    uint64_t patience_ms = node->options->settings.election_timeout_ms * 2;
    peer->stream = stream;
    peer->ready = peer->magic_seen = false;
    net_stream_bind(stream, &stream_events, peer);
    net_stream_give_up_after(stream,
                             patience_ms < GIVE_UP_MS_MIN ? GIVE_UP_MS_MIN : (unsigned)patience_ms);
    buffer_append_text(net_stream_output(stream), WIRE_MAGIC);
    peers_write_hello(node, net_stream_output(stream));
}

static void attempt_failed(void *context, const char *why)
{
    struct outgoing *peer = context;
    if (peer->failed_before) return; /* said once, until it has worked again */
    peer->failed_before = true;
    log_write(LOG_LEVEL_INFO, "net", "cannot reach %s%s%s: %s; trying on", peer->id.text,
              raft_id_none(&peer->id) ? "" : " at ", peer->address, why);
}

static void received(void *context)
{
    struct outgoing *peer = context;
    struct error error;
    struct frames frames = {
        .node = peer->node, .stream = peer->stream, .magic_seen = &peer->magic_seen};
    struct wire_frame frame;
    for (;;) {
        enum error_code code = frames_next(&frames, &frame, &error);
        if (code != ERROR_OK) {
            give_up(peer, LOG_LEVEL_WARN, error.text);
            return;
        }
        if (!frames.whole) return;
        if (!frame_received(peer, &frame)) {
            frames_drop(&frames);
            return;
        }
        frames_done(&frames);
    }
}

/* false: the connection is gone. */
static bool frame_received(struct outgoing *peer, const struct wire_frame *frame)
{
    if (frame->type == WIRE_HELLO) return greeted(peer, &frame->hello);
    if (frame->type == WIRE_HELLO_REFUSED) {
        refused(peer, frame);
    } else {
        give_up(peer, LOG_LEVEL_WARN, "it sent a message on a connection that is ours to speak on");
    }
    return false;
}

static bool greeted(struct outgoing *peer, const struct hello *hello)
{
    struct node *node = peer->node;
    struct error error = {.text = ""};
    if (strcmp(hello->identity.id, node->options->id) == 0) {
        give_up(peer, LOG_LEVEL_WARN,
                "it has our own id: either the address leads back here, or two nodes share an id");
        return false;
    }
    if (!raft_id_none(&peer->id) && strcmp(hello->identity.id, peer->id.text) != 0) {
        error_set(&error, ERROR_FOREIGN, "at its address another node answers: %s",
                  hello->identity.id);
        give_up(peer, LOG_LEVEL_WARN, error.text);
        return false;
    }
    if (host_receive_hello(node->host, hello, &error) != ERROR_OK) {
        give_up(peer, LOG_LEVEL_WARN, error.text);
        return false;
    }
    if (raft_id_none(&peer->id)) peer->id = raft_id_of(hello->identity.id);
    if (!peer->ready) {
        log_write(LOG_LEVEL_INFO, "net", "connected to %s at %s", peer->id.text, peer->address);
    }
    peer->ready = true;
    peer->failed_before = false;
    net_peer_good(peer->connection);
    return true;
}

static void refused(struct outgoing *peer, const struct wire_frame *frame)
{
    struct error why, told;
    enum error_code code = frame->refused.code;
    int size = (int)(frame->refused.text.size < ERROR_TEXT_MAX ? frame->refused.text.size
                                                               : ERROR_TEXT_MAX);
    error_set(&told, code, "%.*s", size, (const char *)frame->refused.text.data);
    error_set(&why, code, "it refuses this node: %s", told.text);
    give_up(peer, LOG_LEVEL_WARN, why.text);
    host_refused(peer->node->host, &peer->id, code, told.text);
}

static void closed(void *context, const char *why)
{
    struct outgoing *peer = context;
    bool was_ready = peer->ready;
    peer->stream = NULL;
    peer->ready = false;
    net_peer_lost(peer->connection);
    if (!was_ready) {
        attempt_failed(peer, why);
        return;
    }
    log_write(LOG_LEVEL_INFO, "net", "lost %s at %s: %s", peer->id.text, peer->address, why);
    host_peer_lost(peer->node->host, &peer->id);
}

/* The connection is of no use: close it, try again later, say why now and then. */
static void give_up(struct outgoing *peer, enum log_level level, const char *why)
{
    bool was_ready = peer->ready;
    if (node_may_log(peer->node, &peer->gate)) {
        log_write(level, "net", "no connection to %s%s%s: %s", peer->id.text,
                  raft_id_none(&peer->id) ? "" : " at ", peer->address, why);
    }
    net_stream_close(peer->stream);
    peer->stream = NULL;
    peer->ready = false;
    net_peer_lost(peer->connection);
    if (was_ready) host_peer_lost(peer->node->host, &peer->id);
}
