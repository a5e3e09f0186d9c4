/*
 * A snapshot on its way to a follower that needs what the log no longer holds (§7): the leader's side.
 *
 * An attempt begins with an offer, a chunk without bytes; the follower answers from which offset on
 * it wants the snapshot, which is behind what an earlier attempt, leader or life has left there. Then
 * chunks follow each other, each read from the disk only when it is due, as many as the window holds
 * beyond what the follower says it has written. Whatever is lost shows as an answer that brings nothing
 * new, or as silence: a new attempt begins, and answers to the old one say nothing any more. So silence must
 * not be called what is a slow disk or line, or no answer would ever count: each attempt that fails makes the
 * next one more patient, and answers say how long they take.
 *
 * One transfer at a time to each peer, and always of the same snapshot, as long as some of it has
 * arrived. It ends when the follower's log reaches ours (by this snapshot or otherwise), with the
 * term of leadership, or when the follower has been silent for long: what is kept for its sake would
 * grow without limit. Heartbeats go on beside it.
 */
#include "raft/core.h"
#include "raft/snapshot_meta.h"

#include "base/mutant.h"

#include <assert.h>

#define PATIENCE_HEARTBEATS 2 /* without an answer: an attempt has failed */
#define PATIENCE_TIMEOUTS   2 /* election timeouts: but no more than that */
#define GIVEN_UP_TIMEOUTS   10 /* election timeouts of silence: the follower is thought gone */

static void begin(struct raft *raft, struct raft_peer *peer);
static void drive(struct raft *raft, struct raft_peer *peer);
static void offer(struct raft *raft, struct raft_peer *peer);
static void read_next(struct raft *raft, struct raft_peer *peer);
static void send_chunk(struct raft *raft, const struct raft_peer *peer,
                       const struct raft_payload *chunk);
static void learn_patience(const struct raft *raft, struct raft_transfer *transfer);
static void wanted(struct raft_transfer *transfer, uint64_t offset);
static void installed(struct raft *raft, struct raft_peer *peer, raft_index match);
static struct raft_peer *reader_of(struct raft *raft, uint64_t token);

void raft_transfer(struct raft *raft, struct raft_peer *peer)
{
    if (peer->progress != RAFT_SNAPSHOT) {
        if (peer->paused || peer->next > raft->log.base.index) return;
        begin(raft, peer);
    }
    if (raft_peer_gone(raft, peer)) {
        raft_peer_probe(peer, peer->match + 1);
        peer->paused = true; /* until it speaks (result.c) */
        return;
    }
    drive(raft, peer);
}

/* Nothing but offers goes out before it has answered one. */
void raft_transfer_interrupted(struct raft *raft, struct raft_peer *peer)
{
    struct raft_transfer *transfer = &peer->transfer;
    transfer->offered = transfer->broken_off = true;
    transfer->offer_due = false;
    transfer->read_token = 0;
    transfer->heard_us = raft->now_us;
}

void raft_transfers_end(struct raft *raft)
{
    for (size_t i = 0; i < raft->peers.count; i++) {
        struct raft_peer *peer = &raft->peers.peers[i];
        if (peer->progress == RAFT_SNAPSHOT) raft_peer_probe(peer, peer->match + 1);
        peer->returning = false;
    }
}

void raft_transfer_done(struct raft_peer *peer)
{
    raft_peer_replicate(peer);
    peer->returning = true;
}

bool raft_peer_gone(const struct raft *raft, const struct raft_peer *peer)
{
    uint64_t since_us = raft_most(peer->contact_us, peer->transfer.begun_us);
    return raft->now_us - since_us >= GIVEN_UP_TIMEOUTS * raft->settings.election_timeout_us;
}

/* CHUNK_READ. No bytes: this snapshot cannot be read; the next attempt is with the newest. */
enum error_code raft_chunk_was_read(struct raft *raft, const struct raft_event *event,
                                    struct error *error)
{
    (void)error;
    const struct raft_payload *chunk = &event->chunk.bytes;
    struct raft_peer *peer = reader_of(raft, event->chunk.token);
    if (!peer) return ERROR_OK;
    struct raft_transfer *transfer = &peer->transfer;
    transfer->read_token = 0;
    if (chunk->bytes.size == 0) {
        transfer->acked = 0;
        raft_transfer_interrupted(raft, peer);
        return ERROR_OK;
    }
    send_chunk(raft, peer, chunk);
    transfer->next += chunk->bytes.size;
    return ERROR_OK;
}

enum error_code raft_receive_snapshot_result(struct raft *raft, const struct raft_message *message,
                                             struct error *error)
{
    (void)error;
    const struct raft_snapshot_result *result = &message->snapshot_result;
    if (raft->role != RAFT_LEADER || message->term != raft->hard_state.term) return ERROR_OK;
    struct raft_peer *peer = raft_peers_find(&raft->peers, &message->from);
    if (!peer || result->match > raft->log.last_index) return ERROR_OK;
    peer->contact_us = raft->now_us;
    if (result->status == RAFT_SNAPSHOT_INSTALLED) {
        installed(raft, peer, result->match);
        return ERROR_OK;
    }
    struct raft_transfer *transfer = &peer->transfer;
    if (peer->progress != RAFT_SNAPSHOT || result->index != transfer->index ||
        result->attempt != transfer->attempt ||
        result->offset > raft_snapshots_find(raft, transfer->index)->size) {
        return ERROR_OK;
    }
    if (result->status == RAFT_SNAPSHOT_REFUSED) {
        raft_transfer_interrupted(raft, peer);
    } else {
        learn_patience(raft, transfer);
        transfer->heard_us = raft->now_us;
        wanted(transfer, result->offset);
    }
    return ERROR_OK;
}

/* ---- outward ---- */

static void begin(struct raft *raft, struct raft_peer *peer)
{
    const struct raft_snapshot_meta *newest = raft_snapshots_newest(raft);
    assert(newest && newest->index >= raft->log.base.index);
    assert(raft->settings.snapshot_chunk_bytes > 0 && raft->settings.snapshot_window > 0);
    raft_peer_snapshot(peer, newest->index);
    peer->transfer.begun_us = peer->transfer.heard_us = raft->now_us;
    peer->transfer.patience_us = PATIENCE_HEARTBEATS * raft->settings.heartbeat_us;
    peer->transfer.offer_due = true;
}

static void drive(struct raft *raft, struct raft_peer *peer)
{
    struct raft_transfer *transfer = &peer->transfer;
    const struct raft_snapshot_meta *meta = raft_snapshots_find(raft, transfer->index);
    bool quiet = raft->now_us - transfer->heard_us >= transfer->patience_us && transfer->read_token == 0;
    if (quiet && !transfer->broken_off) {
        uint64_t most_us = PATIENCE_TIMEOUTS * raft->settings.election_timeout_us;
        transfer->patience_us = raft_least(2 * transfer->patience_us, most_us);
    }
    if (transfer->offer_due || quiet) {
        offer(raft, peer);
    } else if (!transfer->offered && transfer->read_token == 0 && transfer->next < meta->size) {
        read_next(raft, peer);
    }
}

/* While nothing of it has arrived, the newest snapshot is the better one. */
static void offer(struct raft *raft, struct raft_peer *peer)
{
    static const struct raft_payload nothing = {0};
    struct raft_transfer *transfer = &peer->transfer;
    if (transfer->acked == 0) {
        transfer->index = raft_snapshots_newest(raft)->index;
        peer->next = transfer->index + 1;
    }
    transfer->attempt = ++raft->snapshots.attempt;
    transfer->offered = true;
    transfer->offer_due = transfer->broken_off = false;
    transfer->next = 0;
    transfer->heard_us = raft->now_us;
    send_chunk(raft, peer, &nothing);
}

static void read_next(struct raft *raft, struct raft_peer *peer)
{
    struct raft_transfer *transfer = &peer->transfer;
    const struct raft_settings *settings = &raft->settings;
    uint64_t window = (uint64_t)settings->snapshot_window * settings->snapshot_chunk_bytes;
    if (transfer->next - transfer->acked >= window) return;
    const struct raft_snapshot_meta *meta = raft_snapshots_find(raft, transfer->index);
    transfer->read_token = ++raft->snapshots.token;
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_CHUNK_READ);
    effect->chunk.token = transfer->read_token;
    effect->chunk.snapshot = *meta;
    effect->chunk.offset = transfer->next;
    effect->chunk.max_bytes =
        (size_t)raft_least(settings->snapshot_chunk_bytes, meta->size - transfer->next);
}

static void send_chunk(struct raft *raft, const struct raft_peer *peer,
                       const struct raft_payload *chunk)
{
    const struct raft_transfer *transfer = &peer->transfer;
    const struct raft_snapshot_meta *meta = raft_snapshots_find(raft, transfer->index);
    uint64_t end = transfer->next + chunk->bytes.size;
    assert(end <= meta->size);
    struct raft_message message = raft_message_to(raft, RAFT_INSTALL_SNAPSHOT, &peer->id);
    message.install_snapshot = (struct raft_install_snapshot){
        .meta = *meta,
        .attempt = transfer->attempt,
        .offset = transfer->next,
        .checksum = raft_chunk_checksum(transfer->next, chunk->bytes),
        .last = end == meta->size,
    };
    if (chunk->bytes.size) {
        message.install_snapshot.chunk = raft_arena_chunk(&raft->arena, chunk);
    }
    raft_send(raft, &message);
}

/* ---- inward ---- */

/* Twice what an answer has taken, or a little less than before. */
static void learn_patience(const struct raft *raft, struct raft_transfer *transfer)
{
    uint64_t twice_us = 2 * (raft->now_us - transfer->heard_us);
    uint64_t least_us = PATIENCE_HEARTBEATS * raft->settings.heartbeat_us;
    uint64_t most_us = PATIENCE_TIMEOUTS * raft->settings.election_timeout_us;
    uint64_t less_us = transfer->patience_us - transfer->patience_us / 8;
    transfer->patience_us = raft_least(raft_most(raft_most(twice_us, least_us), less_us), most_us);
}

/* Each chunk in its order moves the answer on. One that does not was about a gap, or came twice. */
static void wanted(struct raft_transfer *transfer, uint64_t offset)
{
    if (transfer->offered) {
        transfer->offered = false;
        transfer->acked = transfer->next = offset;
    } else if (offset > transfer->acked && offset <= transfer->next) {
        transfer->acked = offset;
    } else {
        transfer->offer_due = true;
        transfer->read_token = 0;
    }
}

static void installed(struct raft *raft, struct raft_peer *peer, raft_index match)
{
    if (peer->progress != RAFT_SNAPSHOT) return;
    raft_matched(raft, peer, match);
    if (peer->match < raft->log.base.index) return;
    raft_transfer_done(peer);
    raft_advance_commit(raft);
    raft_advance_reads(raft);
}

static struct raft_peer *reader_of(struct raft *raft, uint64_t token)
{
    for (size_t i = 0; i < raft->peers.count; i++) {
        struct raft_peer *peer = &raft->peers.peers[i];
        if (peer->progress == RAFT_SNAPSHOT && peer->transfer.read_token == token) return peer;
    }
    return NULL;
}
