/*
 * The node's address: other nodes and RPC clients knock on the same port, and the first byte tells
 * them apart. Whoever has said nothing yet waits at the door; when it gets crowded the one who has
 * been silent longest goes first, so that strangers who hold connections open cannot keep the other
 * nodes out.
 */
#include "node/internal.h"

#include "base/memory.h"
#include "wire/wire.h"

#include <string.h>

struct knock {
    struct node *node;
    struct net_stream *stream;
    struct knock *next, *previous; /* a ring from the longest waiting on */
};

struct door {
    struct net_listener *listener;
    struct knock *longest;
    size_t waiting;
    struct log_gate full, strange;
};

static void accepted(void *context, struct net_stream *stream);
static void received(void *context);
static void closed(void *context, const char *why);
static void turn_away(struct node *node, struct net_stream *stream, uint8_t first,
                      enum wire_language language);
static void knock_free(struct knock *knock);

static const struct net_stream_events stream_events = {.received = received, .closed = closed};

enum error_code door_open(struct node *node, struct error *error)
{
    node->door = memory_zero(1, sizeof *node->door);
    return door_listen(node, node->options->address, "--addr", accepted, &node->door->listener,
                       error);
}

void door_shut(struct node *node)
{
    net_listener_close(node->door->listener);
    node->door->listener = NULL;
}

void door_close(struct node *node)
{
    struct door *door = node->door;
    door_shut(node);
    while (door->longest != NULL) {
        net_stream_close(door->longest->stream);
        knock_free(door->longest);
    }
}

bool door_has_room(struct node *node)
{
    if (node->clients < node->clients_max) return true;
    if (node_may_log(node, &node->door->full)) {
        log_write(LOG_LEVEL_WARN, "net",
                  "closing new connections: there are already %zu clients (clients_max, "
                  "or fewer where the limit of open files is low)",
                  node->clients);
    }
    return false;
}

enum error_code door_listen(struct node *node, const char *address, const char *flag,
                            net_accept accept, struct net_listener **listener, struct error *error)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    if (!raft_address_split(address, host, &port)) {
        return error_set(error, ERROR_USAGE, "%s %s: an address is HOST:PORT", flag, address);
    }
    return net_listen(node->net, host, port, accept, node, listener, error);
}

static void accepted(void *context, struct net_stream *stream)
{
    struct node *node = context;
    struct door *door = node->door;
    if (node->clients + door->waiting >= node->clients_max && door->longest != NULL) {
        net_stream_close(door->longest->stream);
        knock_free(door->longest);
    }
    struct knock *knock = memory_zero(1, sizeof *knock);
    knock->node = node;
    knock->stream = stream;
    if (door->longest == NULL) {
        door->longest = knock->next = knock->previous = knock;
    } else {
        knock->next = door->longest;
        knock->previous = door->longest->previous;
        knock->previous->next = knock->next->previous = knock;
    }
    door->waiting++;
    net_stream_bind(stream, &stream_events, knock);
}

static void received(void *context)
{
    struct knock *knock = context;
    struct node *node = knock->node;
    struct net_stream *stream = knock->stream;
    uint8_t first = net_stream_input(stream).data[0];
    enum wire_language language = wire_language_of(first);
    knock_free(knock);
    switch (language) {
    case WIRE_LANGUAGE_NODE:
        peers_incoming(node, stream);
        break;
    case WIRE_LANGUAGE_RPC:
        client_begin(node, stream);
        break;
    case WIRE_LANGUAGE_TLS:
    case WIRE_LANGUAGE_UNKNOWN:
        turn_away(node, stream, first, language);
        break;
    }
}

static void closed(void *context, const char *why)
{
    (void)why;
    knock_free(context);
}

static void turn_away(struct node *node, struct net_stream *stream, uint8_t first,
                      enum wire_language language)
{
    if (node_may_log(node, &node->door->strange)) {
        const char *what = language == WIRE_LANGUAGE_TLS ? "TLS, which this node does not speak"
                           : first >= 'A' && first <= 'Z'
                               ? "HTTP, perhaps: HTTP has a port of its own (--http-port)"
                               : "no protocol of ours";
        log_write(LOG_LEVEL_WARN, "net", "closed a connection of %s: its first byte, 0x%02x, is %s",
                  net_stream_name(stream), first, what);
    }
    net_stream_close(stream);
}

static void knock_free(struct knock *knock)
{
    struct door *door = knock->node->door;
    knock->previous->next = knock->next;
    knock->next->previous = knock->previous;
    if (door->longest == knock) door->longest = knock->next == knock ? NULL : knock->next;
    door->waiting--;
    memory_free(knock);
}
