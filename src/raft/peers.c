/* Peers: see peers.h. Small arrays, searched one by one: a cluster has a handful of servers. */
#include "raft/peers.h"

#include "base/memory.h"
#include "base/mutant.h"
#include "raft/configuration.h"
#include "raft/raft.h"

#include <assert.h>

static void keep_departed(struct raft_peers *peers, struct raft_peers *before, uint64_t until_us);
static void add_peer(struct raft_peers *peers, const struct raft_peers *before,
                     const struct raft_id *id, raft_index next);
static void clear_flights(struct raft_peer *peer);
static void grow_flights(struct raft_peer *peer);

const char *raft_progress_name(enum raft_progress progress)
{
    static const char *const names[] = {
        [RAFT_PROBE] = "probe", [RAFT_REPLICATE] = "replicate", [RAFT_SNAPSHOT] = "snapshot"};
    return names[progress];
}

void raft_peers_deinit(struct raft_peers *peers)
{
    for (size_t i = 0; i < peers->count; i++) memory_free(peers->peers[i].flights);
    memory_free(peers->peers);
    memory_free(peers->status);
    *peers = (struct raft_peers){0};
}

void raft_peers_follow(struct raft_peers *peers, const struct raft_configuration *configuration,
                       const struct raft_id *self, raft_index next, uint64_t departed_until_us)
{
    struct raft_peers before = *peers;
    size_t most = configuration->server_count + configuration->outgoing_count + before.count;
    peers->peers = memory_zero(most, sizeof *peers->peers);
    peers->count = 0;
    peers->status = memory_resize(peers->status, most, sizeof *peers->status);
    for (size_t i = 0; i < configuration->server_count; i++) {
        const struct raft_id *id = &configuration->servers[i].id;
        if (!raft_id_equal(id, self)) add_peer(peers, &before, id, next);
    }
    for (size_t i = 0; i < configuration->outgoing_count; i++) {
        const struct raft_id *id = &configuration->outgoing[i];
        if (!raft_id_equal(id, self) && !raft_peers_find(peers, id)) {
            add_peer(peers, &before, id, next);
        }
    }
    for (size_t i = 0; i < peers->count; i++) {
        peers->peers[i].voter = raft_configuration_is_voter(configuration, &peers->peers[i].id);
    }
    if (departed_until_us > 0) keep_departed(peers, &before, departed_until_us);
    for (size_t i = 0; i < before.count; i++) memory_free(before.peers[i].flights);
    memory_free(before.peers);
}

void raft_peers_drop_departed(struct raft_peers *peers, uint64_t until_us)
{
    while (peers->count > 0 && peers->peers[peers->count - 1].departed &&
           peers->peers[peers->count - 1].departed_until_us <= until_us) {
        memory_free(peers->peers[--peers->count].flights);
    }
}

struct raft_peer *raft_peers_find(const struct raft_peers *peers, const struct raft_id *id)
{
    for (size_t i = 0; i < peers->count; i++) {
        if (raft_id_equal(&peers->peers[i].id, id)) return &peers->peers[i];
    }
    return NULL;
}

const struct raft_peer *raft_peers_counted(const struct raft_peers *peers, const struct raft_id *id)
{
    const struct raft_peer *peer = raft_peers_find(peers, id);
    return peer && !peer->forgot ? peer : NULL;
}

void raft_peers_reset(struct raft_peers *peers, raft_index next)
{
    for (size_t i = 0; i < peers->count; i++) {
        struct raft_peer *peer = &peers->peers[i];
        if (FAULT(TRANSFER_OUTLIVES_TERM) && peer->progress == RAFT_SNAPSHOT) continue;
        if (!FAULT(PROGRESS_KEPT)) peer->match = 0;
        peer->speak = false;
        peer->round = 0;
        peer->contact_us = 0;
        peer->commit_sent = 0;
        peer->log_read_token = 0;
        peer->lease_us = 0;
        peer->catch_up = (struct raft_catch_up){0};
        peer->returning = false;
        peer->forgot = false;
        raft_peer_probe(peer, next);
    }
}

void raft_peer_probe(struct raft_peer *peer, raft_index next)
{
    assert(next > peer->match);
    peer->progress = RAFT_PROBE;
    peer->next = next;
    peer->paused = false;
    clear_flights(peer);
}

void raft_peer_replicate(struct raft_peer *peer)
{
    peer->progress = RAFT_REPLICATE;
    peer->next = peer->match + 1;
    peer->paused = false;
    clear_flights(peer);
}

void raft_peer_snapshot(struct raft_peer *peer, raft_index index)
{
    assert(index > peer->match);
    peer->progress = RAFT_SNAPSHOT;
    peer->next = index + 1;
    peer->paused = false;
    clear_flights(peer);
    peer->transfer = (struct raft_transfer){.index = index};
    peer->returning = false;
}

void raft_peer_flight_push(struct raft_peer *peer, struct raft_flight flight)
{
    if (peer->flight_count == peer->flight_capacity) grow_flights(peer);
    size_t place = (peer->flight_first + peer->flight_count++) & (peer->flight_capacity - 1);
    peer->flights[place] = flight;
    peer->flight_bytes += flight.bytes;
}

void raft_peer_flight_landed(struct raft_peer *peer, raft_index match)
{
    while (peer->flight_count > 0 && peer->flights[peer->flight_first].last <= match) {
        peer->flight_bytes -= peer->flights[peer->flight_first].bytes;
        peer->flight_first = (peer->flight_first + 1) & (peer->flight_capacity - 1);
        peer->flight_count--;
    }
}

static void add_peer(struct raft_peers *peers, const struct raft_peers *before,
                     const struct raft_id *id, raft_index next)
{
    struct raft_peer *peer = &peers->peers[peers->count++];
    struct raft_peer *known = raft_peers_find(before, id);
    if (known && GUARD(REJOINED_TRUSTED, !known->departed)) {
        *peer = *known;
        known->flights = NULL;
        peer->departed = false;
    } else {
        peer->id = *id;
        peer->speak = true; /* it has nothing yet, and says so */
        raft_peer_probe(peer, next);
    }
}

/* The newest to go come first, for those who went before them stand behind them already: so those
 * whose time is over are always at the end. */
static void keep_departed(struct raft_peers *peers, struct raft_peers *before, uint64_t until_us)
{
    for (size_t i = 0; i < before->count; i++) {
        struct raft_peer *gone = &before->peers[i];
        if (raft_peers_find(peers, &gone->id)) continue;
        struct raft_peer *peer = &peers->peers[peers->count++];
        *peer = *gone;
        gone->flights = NULL;
        peer->voter = false;
        if (!peer->departed) peer->departed_until_us = until_us;
        peer->departed = true;
    }
}

static void clear_flights(struct raft_peer *peer)
{
    peer->flight_first = peer->flight_count = 0;
    peer->flight_bytes = 0;
}

static void grow_flights(struct raft_peer *peer)
{
    size_t capacity = peer->flight_capacity ? 2 * peer->flight_capacity : 8;
    struct raft_flight *flights = memory_alloc(capacity * sizeof *flights);
    for (size_t i = 0; i < peer->flight_count; i++) {
        flights[i] = peer->flights[(peer->flight_first + i) & (peer->flight_capacity - 1)];
    }
    memory_free(peer->flights);
    peer->flights = flights;
    peer->flight_first = 0;
    peer->flight_capacity = capacity;
}
