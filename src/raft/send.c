/*
 * The leader's side of replication, outward: what each peer is sent at the end of a step (§5.3).
 *
 * Probing: one append, then silence until it is answered or a heartbeat is. Replicating: appends
 * follow each other while the window (in messages and in bytes) is open; what gathers behind a
 * closed window leaves as one append.
 *
 * A heartbeat is an append without entries at the end of what was sent: a follower that lost some
 * of it refuses, and tells where to go on from. That is how a lost window, the last one of a burst
 * even, is found.
 *
 * Entries that are no longer in memory are asked of the disk, once at a time for each peer.
 */
#include "raft/core.h"
#include "raft/entry.h"

#include "base/mutant.h"

#include <assert.h>

#define WINDOW_FULL_APPENDS 16 /* the window in bytes, as appends of append_bytes_max */

static void send_entries(struct raft *raft, struct raft_peer *peer);
static bool sendable(const struct raft *raft, const struct raft_peer *peer);
static void send_run(struct raft *raft, struct raft_peer *peer, const struct raft_entry *entries,
                     size_t count);
static void send_heartbeat(struct raft *raft, struct raft_peer *peer);
static void send_append(struct raft *raft, struct raft_peer *peer, const struct raft_entry *entries,
                        size_t count);
static void ask_disk(struct raft *raft, struct raft_peer *peer);
static struct raft_peer *reader_of(struct raft *raft, uint64_t token);

void raft_replicate(struct raft *raft)
{
    if (raft->role != RAFT_LEADER) return;
    for (size_t i = 0; i < raft->peers.count; i++) {
        struct raft_peer *peer = &raft->peers.peers[i];
        raft_catch_up_begin(raft, peer);
        raft_transfer(raft, peer);
        send_entries(raft, peer);
        if (peer->speak) send_heartbeat(raft, peer);
    }
}

void raft_speak_to_all(struct raft *raft)
{
    for (size_t i = 0; i < raft->peers.count; i++) raft->peers.peers[i].speak = true;
}

/* LOG_READ. Much may have happened since it was asked for: the answer is used only where it is
 * exactly what would be sent now. None: a snapshot has taken their place on this disk; the peer is
 * left alone until it speaks. */
enum error_code raft_log_was_read(struct raft *raft, const struct raft_event *event,
                                  struct error *error)
{
    const struct raft_entry *entries = event->log_read.entries;
    size_t count = event->log_read.entry_count;
    struct raft_peer *peer = reader_of(raft, event->log_read.token);
    if (!peer) return ERROR_OK;
    peer->log_read_token = 0;
    if (count == 0) {
        peer->paused = true;
        return ERROR_OK;
    }
    if (entries[0].index != peer->next || !sendable(raft, peer)) return ERROR_OK;
    for (size_t i = 0; i < count; i++) {
        raft_index index = peer->next + i;
        if (entries[i].index == index && raft_log_term_at(&raft->log, index) == entries[i].term) {
            continue;
        }
        return error_set(error, ERROR_CORRUPT,
                         "the disk gave entry %llu of term %llu where %llu of term %llu is stored",
                         (unsigned long long)entries[i].index, (unsigned long long)entries[i].term,
                         (unsigned long long)index,
                         (unsigned long long)raft_log_term_at(&raft->log, index));
    }
    send_run(raft, peer, raft_arena_entries(&raft->arena, entries, count), count);
    return ERROR_OK;
}

/* What is on its way may be lost. Nothing is sent into the dark but heartbeats. */
enum error_code raft_unreachable(struct raft *raft, const struct raft_event *event,
                                 struct error *error)
{
    (void)error;
    struct raft_peer *peer = raft_peers_find(&raft->peers, &event->peer);
    if (!peer || raft->role != RAFT_LEADER) return ERROR_OK;
    if (peer->progress == RAFT_SNAPSHOT) {
        raft_transfer_interrupted(raft, peer);
        return ERROR_OK;
    }
    raft_peer_probe(peer, peer->match + 1);
    peer->paused = true;
    return ERROR_OK;
}

static void send_entries(struct raft *raft, struct raft_peer *peer)
{
    while (peer->log_read_token == 0 && sendable(raft, peer)) {
        assert(peer->next > raft->log.base.index); /* else a transfer has begun, or it is paused */
        if (peer->next < raft_log_tail_first(&raft->log)) {
            ask_disk(raft, peer);
            return;
        }
        size_t count;
        const struct raft_entry *entries = raft_log_slice(
            &raft->log, peer->next, raft->log.last_index, raft->settings.append_bytes_max, &count);
        send_run(raft, peer, entries, count);
    }
}

/* The paused flag is a probing peer's; a replicating one has its window. Either may be paused for
 * want of an entry that the disk has no longer. */
static bool sendable(const struct raft *raft, const struct raft_peer *peer)
{
    if (peer->paused || peer->next > raft->log.last_index) return false;
    if (peer->progress == RAFT_PROBE) return true;
    if (peer->progress == RAFT_SNAPSHOT) return false;
    return peer->flight_count < raft->settings.append_window &&
           (peer->flight_count == 0 ||
            peer->flight_bytes < WINDOW_FULL_APPENDS * raft->settings.append_bytes_max);
}

static void send_run(struct raft *raft, struct raft_peer *peer, const struct raft_entry *entries,
                     size_t count)
{
    assert(count > 0 && entries[0].index == peer->next);
    send_append(raft, peer, entries, count);
    if (peer->progress == RAFT_PROBE) {
        peer->paused = true;
        return;
    }
    struct raft_flight flight = {entries[count - 1].index, 0};
    for (size_t i = 0; i < count; i++) flight.bytes += raft_entry_size(&entries[i]);
    raft_peer_flight_push(peer, flight);
    peer->next += count;
}

static void send_heartbeat(struct raft *raft, struct raft_peer *peer)
{
    peer->speak = false;
    send_append(raft, peer, NULL, 0);
}

/* The commit index goes no further than what the receiver can verify by this message. */
static void send_append(struct raft *raft, struct raft_peer *peer, const struct raft_entry *entries,
                        size_t count)
{
    struct raft_message message = raft_message_to(raft, RAFT_APPEND, &peer->id);
    raft_index prev = raft_most(peer->next - 1, raft->log.base.index);
    if (count == 0 && FAULT(HEARTBEAT_AT_MATCH)) prev = peer->match;
    bool unbounded =
        count > 0 ? FAULT(COMMIT_PAST_APPEND) : FAULT(COMMIT_PAST_MATCH);
    message.append = (struct raft_append){
        .prev_index = prev,
        .prev_term = raft_log_term_at(&raft->log, prev),
        .commit = unbounded ? raft->commit_index : raft_least(raft->commit_index, prev + count),
        .round = raft->reads.round,
        .entries = entries,
        .entry_count = count,
    };
    peer->commit_sent = raft_most(peer->commit_sent, message.append.commit);
    raft_send(raft, &message);
}

static void ask_disk(struct raft *raft, struct raft_peer *peer)
{
    peer->log_read_token = ++raft->log_read_token;
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_READ_LOG);
    effect->read_log.token = peer->log_read_token;
    effect->read_log.first = peer->next;
    effect->read_log.last = raft_log_tail_first(&raft->log) - 1;
    effect->read_log.max_bytes = raft->settings.append_bytes_max;
}

static struct raft_peer *reader_of(struct raft *raft, uint64_t token)
{
    if (raft->role != RAFT_LEADER || token == 0) return NULL;
    for (size_t i = 0; i < raft->peers.count; i++) {
        if (raft->peers.peers[i].log_read_token == token) return &raft->peers.peers[i];
    }
    return NULL;
}
