/* Connections that other nodes opened: their hello is answered, their messages go to the host. See
 * peers.c. */
#include "node/peers.h"

#include "base/memory.h"

#include <string.h>

struct incoming {
    struct node *node;
    struct net_stream *stream; /* null: gone, to be freed when it is no longer read */
    struct identity from;      /* of its last accepted hello */
    bool accepted;
    bool magic_seen;
    bool reading;
    struct incoming *next, *previous;
};

static void received(void *context);
static void closed(void *context, const char *why);
static void read_frames(struct incoming *incoming);
static bool frame_received(struct incoming *incoming, const struct wire_frame *frame,
                           struct error *error);
static bool greeted(struct incoming *incoming, const struct hello *hello);
static void refuse(struct incoming *incoming, enum error_code code, const char *text);
static void replace_older(struct incoming *incoming);
static void incoming_drop(struct incoming *incoming);

static const struct net_stream_events stream_events = {.received = received, .closed = closed};

void peers_incoming(struct node *node, struct net_stream *stream)
{
    struct incoming *incoming = memory_zero(1, sizeof *incoming);
    incoming->node = node;
    incoming->stream = stream;
    incoming->next = node->peers->incoming;
    if (incoming->next != NULL) incoming->next->previous = incoming;
    node->peers->incoming = incoming;
    net_stream_bind(stream, &stream_events, incoming);
    received(incoming);
}

void incoming_close_all(struct node *node)
{
    while (node->peers->incoming != NULL) {
        net_stream_close(node->peers->incoming->stream);
        incoming_drop(node->peers->incoming);
    }
}

void incoming_hello_again(struct node *node)
{
    for (struct incoming *at = node->peers->incoming; at != NULL; at = at->next) {
        if (at->accepted) peers_write_hello(node, net_stream_output(at->stream));
    }
}

static void received(void *context)
{
    struct incoming *incoming = context;
    incoming->reading = true;
    read_frames(incoming);
    incoming->reading = false;
    if (incoming->stream == NULL) memory_free(incoming);
}

static void closed(void *context, const char *why)
{
    struct incoming *incoming = context;
    if (incoming->accepted) {
        log_write(LOG_LEVEL_DEBUG, "net", "%s no longer speaks to this node: %s", incoming->from.id,
                  why);
    }
    incoming_drop(incoming);
}

static void read_frames(struct incoming *incoming)
{
    struct node *node = incoming->node;
    struct frames frames = {
        .node = node, .stream = incoming->stream, .magic_seen = &incoming->magic_seen};
    struct wire_frame frame;
    struct error error;
    for (;;) {
        enum error_code code = frames_next(&frames, &frame, &error);
        if (code == ERROR_OK && !frames.whole) return;
        bool fine = code == ERROR_OK && frame_received(incoming, &frame, &error);
        if (incoming->stream == NULL) { /* refused, or replaced from within */
            frames_drop(&frames);
            return;
        }
        if (!fine) {
            frames_drop(&frames);
            if (node_may_log(node, &node->peers->gate)) {
                log_write(LOG_LEVEL_WARN, "net", "closed the connection of a node, %s%s%s: %s",
                          incoming->from.id, incoming->accepted ? " at " : "",
                          net_stream_name(incoming->stream), error.text);
            }
            net_stream_close(incoming->stream);
            incoming_drop(incoming);
            return;
        }
        frames_done(&frames);
    }
}

/* false: it may not say this, with the reason. */
static bool frame_received(struct incoming *incoming, const struct wire_frame *frame,
                           struct error *error)
{
    struct host *host = incoming->node->host;
    if (frame->type == WIRE_HELLO) return greeted(incoming, &frame->hello);
    if (!incoming->accepted) {
        error_set(error, ERROR_BAD_REQUEST, "it did not say who it is before it spoke");
        return false;
    }
    switch (frame->type) {
    case WIRE_FORWARD:
        host_forwarded(host, &incoming->from, frame->forward.ticket, &frame->forward.request);
        return true;
    case WIRE_FORWARD_REPLY:
        host_forward_reply(host, &incoming->from, frame->forward_reply.ticket,
                           &frame->forward_reply.reply);
        return true;
    default:
        break;
    }
    if (!wire_is_message(frame->type)) {
        error_set(error, ERROR_BAD_REQUEST, "it may not say %s here", wire_type_name(frame->type));
        return false;
    }
    const struct raft_message *message = &frame->message;
    if (strcmp(message->from.text, incoming->from.id) != 0 ||
        strcmp(message->to.text, incoming->node->options->id) != 0) {
        error_set(error, ERROR_BAD_REQUEST, "its message is from %s to %s", message->from.text,
                  message->to.text);
        return false;
    }
    host_receive(host, &incoming->from, message);
    return true;
}

static bool greeted(struct incoming *incoming, const struct hello *hello)
{
    struct node *node = incoming->node;
    struct error error;
    enum error_code code = ERROR_OK;
    if (strcmp(hello->identity.id, node->options->id) == 0) {
        code = error_set(&error, ERROR_FOREIGN,
                         "the node here has the same id, %s: ids must differ", node->options->id);
    } else {
        code = host_receive_hello(node->host, hello, &error);
    }
    if (code != ERROR_OK) {
        if (node_may_log(node, &node->peers->gate)) {
            log_write(LOG_LEVEL_WARN, "net", "refused %s at %s: %s", hello->identity.id,
                      hello->address, error.text);
        }
        refuse(incoming, code, error.text);
        return false;
    }
    bool first = !incoming->accepted;
    incoming->from = hello->identity;
    incoming->accepted = true;
    if (first) {
        replace_older(incoming);
        buffer_append_text(net_stream_output(incoming->stream), WIRE_MAGIC);
        peers_write_hello(node, net_stream_output(incoming->stream));
    }
    peers_hurry(node, hello);
    return true;
}

static void refuse(struct incoming *incoming, enum error_code code, const char *text)
{
    struct buffer *out = net_stream_output(incoming->stream);
    struct wire_frame frame = {.type = WIRE_HELLO_REFUSED, .refused = {code, slice_text(text)}};
    if (!incoming->accepted) buffer_append_text(out, WIRE_MAGIC);
    wire_encode(&frame, out);
    net_stream_finish(incoming->stream);
    incoming_drop(incoming);
}

/* A node that connects again has lost its former connection, also where we have not noticed. */
static void replace_older(struct incoming *incoming)
{
    struct incoming *next;
    for (struct incoming *at = incoming->node->peers->incoming; at != NULL; at = next) {
        next = at->next;
        if (at == incoming || !at->accepted || strcmp(at->from.id, incoming->from.id) != 0)
            continue;
        net_stream_close(at->stream);
        incoming_drop(at);
    }
}

static void incoming_drop(struct incoming *incoming)
{
    if (incoming->previous != NULL) {
        incoming->previous->next = incoming->next;
    } else {
        incoming->node->peers->incoming = incoming->next;
    }
    if (incoming->next != NULL) incoming->next->previous = incoming->previous;
    incoming->stream = NULL;
    if (!incoming->reading) memory_free(incoming);
}
