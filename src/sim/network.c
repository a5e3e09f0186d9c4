/*
 * The network: packets between hosts, and the connections they need.
 *
 * A connection joins two lifetimes after a hello in each direction; a refused hello keeps them
 * apart. Raft's messages are treated worse than TCP would: they may be lost, doubled, overtake each
 * other and outlive the process that sent them or the one they were sent to, as long as the
 * receiver has accepted a hello of the sender's incarnation. Forwarded requests and their replies
 * are what TCP makes of them: at most once, and only to the process at the other end.
 *
 * A packet is a deep copy, but payloads are immutable and travel by reference.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

enum packet_kind { PACKET_MESSAGE, PACKET_FORWARD, PACKET_REPLY };

struct sim_packet {
    unsigned references;
    enum packet_kind kind;
    unsigned from, to;
    uint32_t from_lifetime, to_lifetime;
    uint64_t incarnation; /* of the sender */
    bool trickles; /* held up on the way to a stranded node: a cut does not stop it any more */
    uint64_t ticket;
    uint64_t number; /* in the record */
    struct request request;
    struct reply reply;
    struct buffer body;
    struct raft_message message;
    struct raft_entry entries[];
};

static struct sim_link *link_of(struct sim *sim, unsigned a, unsigned b);
static bool connected(struct sim *sim, unsigned a, unsigned b);
static struct sim_packet *packet_new(struct sim_node *from, unsigned to, enum packet_kind kind,
                                     size_t entries);
static void keep_chunk(struct sim_packet *packet);
static bool has_chunk(const struct sim_packet *packet);
static void dispatch(struct sim *sim, struct sim_packet *packet);
static void push_packet(struct sim *sim, struct sim_packet *packet, bool calm);
static bool strands(const struct sim *sim, const struct sim_packet *packet);
static bool receivable(struct sim *sim, const struct sim_packet *packet);
static void trace_packet(struct sim *sim, const struct sim_packet *packet, bool sent);
static void record_way(struct sim *sim, const struct sim_packet *packet, enum sim_moment_kind kind, const char *text);
static void record_unsent(struct sim_node *node, unsigned to, const struct raft_message *message, const char *text);
static void dial(struct sim_node *node, unsigned to, uint64_t delay_us);
static void hello_later(struct sim_node *node, unsigned to);
static bool handshake(struct sim *sim, struct sim_node *a, struct sim_node *b);
static bool say_hello(struct sim_node *from, struct sim_node *to);
static void tell_lost(struct sim_node *node, unsigned other);
static void owe_notice(struct sim *sim, unsigned node, unsigned other);

/* ---- the host's ports ---- */

void network_send(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    const struct sim_node *to = node_find(sim, &message->to);
    assert(to && to != node);
    COVER(sim, messages);
    size_t count = message->type == RAFT_APPEND ? message->append.entry_count : 0;
    sim->result->coverage.message_entries += count;
    if (!connected(sim, node->number, to->number)) {
        COVER(sim, dropped);
        record_unsent(node, to->number, message, NULL);
        return;
    }
    struct sim_packet *packet = packet_new(node, to->number, PACKET_MESSAGE, count);
    packet->message = *message;
    for (size_t i = 0; i < count; i++) {
        packet->entries[i] = message->append.entries[i];
        raft_entry_take(&packet->entries[i]);
    }
    if (message->type == RAFT_APPEND) packet->message.append.entries = packet->entries;
    if (message->type == RAFT_INSTALL_SNAPSHOT) keep_chunk(packet);
    dispatch(sim, packet);
}

void network_forward(struct sim_node *node, const struct raft_id *to, uint64_t ticket,
                     const struct request *request)
{
    struct sim *sim = node->sim;
    const struct sim_node *peer = node_find(sim, to);
    assert(peer && peer != node);
    COVER(sim, forwards);
    if (!connected(sim, node->number, peer->number)) {
        record_unsent(node, peer->number, NULL, "forward");
        return;
    }
    struct sim_packet *packet = packet_new(node, peer->number, PACKET_FORWARD, 0);
    packet->ticket = ticket;
    packet->request = *request;
    buffer_append_slice(&packet->body, request->body);
    packet->request.body = buffer_slice(&packet->body);
    dispatch(sim, packet);
}

void network_forward_reply(struct sim_node *node, const struct raft_id *to, uint64_t ticket,
                           const struct reply *reply)
{
    struct sim *sim = node->sim;
    const struct sim_node *peer = node_find(sim, to);
    assert(peer && peer != node);
    COVER(sim, forward_replies);
    if (!connected(sim, node->number, peer->number)) {
        record_unsent(node, peer->number, NULL, "forward_reply");
        return;
    }
    struct sim_packet *packet = packet_new(node, peer->number, PACKET_REPLY, 0);
    packet->ticket = ticket;
    packet->reply = *reply;
    buffer_append_slice(&packet->body, reply->body);
    packet->reply.body = buffer_slice(&packet->body);
    dispatch(sim, packet);
}

/* While blank a host knows addresses only; ids come with the hellos. Called again, what a hello
 * says has changed: it is said again where a connection is open. */
void network_peers(struct sim_node *node, const struct host_peer *peers, size_t count)
{
    struct sim *sim = node->sim;
    memset(node->wants, 0, sizeof node->wants);
    for (size_t i = 0; i < count; i++) {
        for (unsigned n = 0; n < sim->plan.nodes; n++) {
            if (n == node->number) continue;
            bool by_id = raft_id_equal(&peers[i].id, &sim->nodes[n].id);
            if (by_id || strcmp(peers[i].address, sim->nodes[n].address) == 0)
                node->wants[n] = true;
        }
    }
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (n != node->number && connected(sim, node->number, n)) hello_later(node, n);
    }
    network_dial_soon(node);
}

/* ---- events ---- */

void network_on_deliver(struct sim *sim, struct sim_event *event)
{
    struct sim_packet *packet = event->data;
    struct sim_node *node = &sim->nodes[packet->to];
    if (strands(sim, packet)) {
        packet->trickles = true;
        uint64_t delay = draw(sim, STREAM_NETWORK, 3 * sim->plan.election_us);
        world_push(&sim->world, delay, EVENT_DELIVER, packet->to)->data = packet;
        return;
    }
    if (!receivable(sim, packet)) {
        COVER(sim, dropped);
        if (has_chunk(packet)) COVER(sim, chunks_lost);
        record_way(sim, packet, MOMENT_lost, "not taken in");
        network_packet_drop(packet);
        return;
    }
    trace_packet(sim, packet, false);
    record_way(sim, packet, MOMENT_receive, NULL);
    if (packet->to_lifetime != node->lifetime ||
        packet->from_lifetime != sim->nodes[packet->from].lifetime) {
        COVER(sim, across_restarts);
    }
    struct identity from = {.incarnation = packet->incarnation,
                            .cluster = node->heard_cluster[packet->from]};
    memcpy(from.id, sim->nodes[packet->from].id.text, sizeof from.id);
    struct sim_received before;
    node_enter(node);
    switch (packet->kind) {
    case PACKET_MESSAGE:
        cover_received(node, &packet->message);
        raft_term term = node->watch.term;
        bool stranger = check_is_stranger(node, &packet->message);
        check_receiving(node, &packet->message, &before);
        host_receive(node->host, &from, &packet->message);
        check_told(node, &packet->message, term, stranger);
        check_received(node, &packet->message, &before);
        break;
    case PACKET_FORWARD:
        host_forwarded(node->host, &from, packet->ticket, &packet->request);
        break;
    case PACKET_REPLY:
        host_forward_reply(node->host, &from, packet->ticket, &packet->reply);
        break;
    }
    node_leave(node);
    network_packet_drop(packet);
}

/* One try; another later where the other cannot be reached now. */
void network_on_connect(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    unsigned to = (unsigned)event->number;
    struct sim_node *peer = &sim->nodes[to];
    node->dialing[to] = false;
    if (!node->wants[to] || connected(sim, node->number, to)) return;
    uint64_t again = draw_between(sim, STREAM_NETWORK, 3000, 3000 + sim->plan.election_us / 2);
    bool reachable = node_up(peer) && !peer->stopping && !node_paused(peer) && !node_paused(node) &&
                     !sim->network.blocked[node->number][to] &&
                     !sim->network.blocked[to][node->number];
    if (reachable && handshake(sim, node, peer)) return;
    if (node_up(node) && node->lifetime == event->lifetime)
        dial(node, to, reachable ? again * 4 : again);
}

/* In order with nothing, but on the connection: it waits while the way is blocked, and is moot once
 * the connection breaks. */
void network_on_hello(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    unsigned to = (unsigned)event->number;
    if (!connected(sim, node->number, to)) return;
    if (sim->network.blocked[node->number][to] || node_paused(node) ||
        node_paused(&sim->nodes[to])) {
        hello_later(node, to);
        return;
    }
    if (!say_hello(node, &sim->nodes[to])) network_break(sim, node->number, to);
}

void network_on_peer_lost(struct sim *sim, struct sim_event *event)
{
    tell_lost(&sim->nodes[event->node], (unsigned)event->number);
}

void network_packet_drop(void *memory)
{
    struct sim_packet *packet = memory;
    if (--packet->references > 0) return;
    size_t count = packet->message.type == RAFT_APPEND ? packet->message.append.entry_count : 0;
    for (size_t i = 0; i < count; i++) raft_entry_drop(&packet->entries[i]);
    if (packet->kind == PACKET_MESSAGE && packet->message.type == RAFT_INSTALL_SNAPSHOT)
        blob_drop(packet->message.install_snapshot.chunk.blob);
    buffer_deinit(&packet->body);
    memory_free(packet);
}

/* ---- connections ---- */

void network_break(struct sim *sim, unsigned a, unsigned b)
{
    struct sim_link *link = link_of(sim, a, b);
    if (!link->open) return;
    COVER(sim, resets);
    link->open = false;
    owe_notice(sim, a, b);
    owe_notice(sim, b, a);
    network_dial_soon(&sim->nodes[a]);
    network_dial_soon(&sim->nodes[b]);
}

void network_node_died(struct sim_node *node)
{
    struct sim *sim = node->sim;
    memset(node->wants, 0, sizeof node->wants);
    memset(node->dialing, 0, sizeof node->dialing);
    memset(node->accepted, 0, sizeof node->accepted);
    memset(node->owed, 0, sizeof node->owed);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (n == node->number) continue;
        struct sim_link *link = link_of(sim, n, node->number);
        if (!link->open) continue;
        link->open = false;
        owe_notice(sim, n, node->number);
        network_dial_soon(&sim->nodes[n]);
    }
}

void network_heal(struct sim *sim, unsigned a, unsigned b)
{
    sim->network.blocked[a][b] = false;
    sim->network.blocked[b][a] = false;
}

void network_dial_soon(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (!node_up(node)) return;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (n == node->number || !node->wants[n] || connected(sim, node->number, n)) continue;
        dial(node, n, draw_between(sim, STREAM_NETWORK, 100, 2000));
    }
}

/* ---- helpers ---- */

static struct sim_link *link_of(struct sim *sim, unsigned a, unsigned b)
{
    assert(a != b);
    return a < b ? &sim->network.links[a][b] : &sim->network.links[b][a];
}

static bool connected(struct sim *sim, unsigned a, unsigned b)
{
    return link_of(sim, a, b)->open; /* the death of either closes it */
}

static struct sim_packet *packet_new(struct sim_node *from, unsigned to, enum packet_kind kind,
                                     size_t entries)
{
    struct sim_packet *packet = memory_alloc(sizeof *packet + entries * sizeof(struct raft_entry));
    *packet = (struct sim_packet){
        .references = 1,
        .kind = kind,
        .from = from->number,
        .to = to,
        .from_lifetime = from->lifetime,
        .to_lifetime = from->sim->nodes[to].lifetime,
        .incarnation = from->disk.incarnation,
        .number = record_message_number(from->sim),
    };
    return packet;
}

/* The meta's configuration is the core's, a chunk a reader's: the one is copied, the other shared. */
static void keep_chunk(struct sim_packet *packet)
{
    struct raft_install_snapshot *install = &packet->message.install_snapshot;
    buffer_append_slice(&packet->body, install->meta.configuration);
    install->meta.configuration = buffer_slice(&packet->body);
    struct raft_payload *chunk = &install->chunk;
    if (chunk->blob) {
        blob_take(chunk->blob);
    } else if (chunk->bytes.size > 0) {
        chunk->blob = blob_new(chunk->bytes.data, chunk->bytes.size);
        chunk->bytes = slice_of(chunk->blob->data, chunk->bytes.size);
    }
}

static bool has_chunk(const struct sim_packet *packet)
{
    return packet->kind == PACKET_MESSAGE && packet->message.type == RAFT_INSTALL_SNAPSHOT &&
           packet->message.install_snapshot.chunk.bytes.size > 0;
}

/* Takes the caller's reference. */
static void dispatch(struct sim *sim, struct sim_packet *packet)
{
    bool calm = sim->network.calm[packet->from] && sim->network.calm[packet->to];
    trace_packet(sim, packet, true);
    record_way(sim, packet, MOMENT_send, NULL);
    if (sim->network.blocked[packet->from][packet->to] ||
        (!calm && chance(sim, STREAM_NETWORK, sim->plan.drop))) {
        COVER(sim, dropped);
        if (has_chunk(packet)) COVER(sim, chunks_lost);
        record_way(sim, packet, MOMENT_lost,
                   sim->network.blocked[packet->from][packet->to] ? "cut off" : "dropped");
        network_packet_drop(packet);
        return;
    }
    if (!calm && packet->kind == PACKET_MESSAGE &&
        chance(sim, STREAM_NETWORK, sim->plan.duplicate)) {
        COVER(sim, duplicated);
        record_way(sim, packet, MOMENT_double, NULL);
        packet->references++;
        push_packet(sim, packet, calm);
    }
    push_packet(sim, packet, calm);
}

static void push_packet(struct sim *sim, struct sim_packet *packet, bool calm)
{
    uint64_t delay =
        draw_between(sim, STREAM_NETWORK, sim->plan.latency_least_us, sim->plan.latency_most_us);
    if (!calm && chance(sim, STREAM_NETWORK, sim->plan.late))
        delay += draw(sim, STREAM_NETWORK, sim->plan.late_most_us);
    if (delay > sim->plan.election_us) COVER(sim, late);
    world_push(&sim->world, delay, EVENT_DELIVER, packet->to)->data = packet;
}

static bool strands(const struct sim *sim, const struct sim_packet *packet)
{
    return sim->network.stranded == packet->to && !packet->trickles &&
           packet->kind == PACKET_MESSAGE && sim->network.blocked[packet->from][packet->to];
}

static bool receivable(struct sim *sim, const struct sim_packet *packet)
{
    const struct sim_node *node = &sim->nodes[packet->to];
    if (!node_up(node) || node->accepted[packet->from] != packet->incarnation) return false;
    if (sim->plan.cut_in_flight && !packet->trickles &&
        sim->network.blocked[packet->from][packet->to])
        return false;
    return packet->kind == PACKET_MESSAGE || packet->to_lifetime == node->lifetime;
}

static void trace_packet(struct sim *sim, const struct sim_packet *packet, bool sent)
{
    const struct sim_node *from = &sim->nodes[packet->from], *to = &sim->nodes[packet->to];
    if (packet->kind == PACKET_MESSAGE) {
        trace_message(sim, from, to, &packet->message, sent);
        return;
    }
    bool forward = packet->kind == PACKET_FORWARD;
    trace_event(sim, forward ? TRACE_FORWARD : TRACE_FORWARD_REPLY, from->number << 8 | to->number,
                packet->ticket, sent);
    trace_mix(sim, hash_bytes(packet->body.data, packet->body.size));
    TRACE(sim, sent ? from : to, "%s %s %s ticket %" PRIu64 ": %s",
          sent ? "sends to" : "receives from", sent ? to->id.text : from->id.text,
          forward ? "forward" : "reply", packet->ticket,
          forward ? (packet->request.kind == REQUEST_QUERY ? "query" : "command")
                  : error_name(packet->reply.code));
}

static void record_way(struct sim *sim, const struct sim_packet *packet, enum sim_moment_kind kind, const char *text)
{
    static const char *const names[] = {[PACKET_FORWARD] = "forward", [PACKET_REPLY] = "forward_reply"};
    bool message = packet->kind == PACKET_MESSAGE;
    record_packet(sim, kind, packet->from, packet->to, packet->number, message ? &packet->message : NULL,
                  kind == MOMENT_send && !message ? names[packet->kind] : text);
}

/* There is no connection: what is sent goes nowhere. */
static void record_unsent(struct sim_node *node, unsigned to, const struct raft_message *message, const char *text)
{
    uint64_t number = record_message_number(node->sim);
    record_packet(node->sim, MOMENT_send, node->number, to, number, message, text);
    record_packet(node->sim, MOMENT_lost, node->number, to, number, message, "no connection");
}

static void dial(struct sim_node *node, unsigned to, uint64_t delay_us)
{
    if (node->dialing[to]) return;
    node->dialing[to] = true;
    struct sim_event *event = world_push(&node->sim->world, delay_us, EVENT_CONNECT, node->number);
    event->number = to;
    event->lifetime = node->lifetime;
}

static void hello_later(struct sim_node *node, unsigned to)
{
    uint64_t delay = draw_between(node->sim, STREAM_NETWORK, 100, 5000);
    struct sim_event *event = world_push(&node->sim->world, delay, EVENT_HELLO, node->number);
    event->number = to;
    event->lifetime = node->lifetime;
}

/* Both say hello. A refusal by the second ends what the first has accepted, as does a connection
 * cut in between. */
static bool handshake(struct sim *sim, struct sim_node *a, struct sim_node *b)
{
    tell_lost(a, b->number);
    tell_lost(b, a->number);
    if (!node_up(a) || !node_up(b) || !say_hello(a, b)) return false;
    if (!node_up(a) || !node_up(b)) return false;
    bool calm = sim->network.calm[a->number] && sim->network.calm[b->number];
    bool cut = !calm && chance(sim, STREAM_NETWORK, sim->plan.reset_in_hello);
    if (cut || !say_hello(b, a)) {
        owe_notice(sim, b->number, a->number);
        return false;
    }
    if (!node_up(a) || !node_up(b)) return false;
    struct sim_link *link = link_of(sim, a->number, b->number);
    link->open = true;
    return true;
}

/* Was it accepted? */
static bool say_hello(struct sim_node *from, struct sim_node *to)
{
    struct sim *sim = from->sim;
    struct hello hello = {0};
    struct error error = {0};
    struct buffer configuration = {0};
    host_hello(from->host, &hello);
    buffer_append_slice(&configuration, hello.configuration);
    hello.configuration = buffer_slice(&configuration);
    COVER(sim, hellos);
    node_enter(to);
    enum error_code code = host_receive_hello(to->host, &hello, &error);
    if (code == ERROR_OK) {
        to->accepted[from->number] = hello.identity.incarnation;
        to->heard_cluster[from->number] = hello.identity.cluster;
    }
    node_leave(to);
    buffer_deinit(&configuration);
    trace_event(sim, TRACE_HELLO, from->number << 8 | to->number, hello.identity.cluster, code);
    TRACE(sim, to, "hears hello of %s cluster %" PRIx64 ": %s %s", from->id.text,
          hello.identity.cluster, error_name(code), code == ERROR_OK ? "" : error.text);
    record_pair(to, MOMENT_hello, from->number, code == ERROR_OK ? "accepted" : error.text);
    if (code == ERROR_OK) return true;
    COVER(sim, hellos_refused);
    if (node_up(from)) {
        node_enter(from);
        host_refused(from->host, &to->id, code, error.text);
        node_leave(from);
    }
    return false;
}

static void tell_lost(struct sim_node *node, unsigned other)
{
    struct sim *sim = node->sim;
    if (!node->owed[other] || !node_up(node)) return;
    node->owed[other] = false;
    trace_event(sim, TRACE_PEER_LOST, node->number, other, 0);
    TRACE(sim, node, "loses the connection to %s", sim->nodes[other].id.text);
    record_pair(node, MOMENT_parted, other, NULL);
    node_enter(node);
    host_peer_lost(node->host, &sim->nodes[other].id);
    node_leave(node);
}

static void owe_notice(struct sim *sim, unsigned number, unsigned other)
{
    struct sim_node *node = &sim->nodes[number];
    if (!node_up(node)) return;
    node->owed[other] = true;
    struct sim_event *event = world_push(&sim->world, draw_between(sim, STREAM_NETWORK, 100, 5000),
                                         EVENT_PEER_LOST, number);
    event->number = other;
    event->lifetime = node->lifetime;
}
