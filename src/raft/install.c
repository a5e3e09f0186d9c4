/*
 * A snapshot that comes in: the follower's side (§7).
 *
 * What is already here needs no snapshot: one that ends within what is committed, or at an entry that
 * this log has with the same term, is answered as installed, and what is behind it stays. So an
 * install always finds a log that lacks the snapshot's last entry or has another in its place, and
 * nothing of that log may remain: neither an entry nor a configuration.
 *
 * The disk knows what it holds of a snapshot, across restarts: an offer asks it. Chunks are taken in
 * their order and acknowledged once written. When all is written the log stands still: appends are
 * not taken and there is no campaign, until the writes before it are done and then the install is.
 * So the owner's transaction and this memory change the same log in the same way.
 */
#include "raft/core.h"
#include "raft/snapshot_meta.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>

static bool well_formed(const struct raft_message *message);
static bool is_here(const struct raft *raft, const struct raft_snapshot_meta *meta);
static void answer_installed(struct raft *raft, const struct raft_id *to,
                             const struct raft_snapshot_meta *meta);
static enum error_code begin(struct raft *raft, const struct raft_message *message,
                             struct error *error);
static void take_offer(struct raft *raft, const struct raft_install_snapshot *install);
static void take_chunk(struct raft *raft, const struct raft_install_snapshot *install);
static void write_chunk(struct raft *raft, const struct raft_install_snapshot *install);
static void written(struct raft *raft);
static void adopt(struct raft *raft, const struct raft_snapshot_meta *meta);
static void answer(struct raft *raft, enum raft_snapshot_status status, uint64_t offset);
static void refuse(struct raft *raft, const struct raft_message *message);
static void forget(struct raft_incoming *incoming);

enum error_code raft_receive_install_snapshot(struct raft *raft, const struct raft_message *message,
                                              struct error *error)
{
    const struct raft_install_snapshot *install = &message->install_snapshot;
    struct raft_incoming *incoming = &raft->incoming;
    if (message->term < raft->hard_state.term) {
        refuse(raft, message);
        return ERROR_OK;
    }
    if (!well_formed(message)) return ERROR_OK;
    bool present = message->term == raft->hard_state.term;
    bool known = raft_id_equal(&raft->leader, &message->from);
    if (present && !known && !raft_id_none(&raft->leader)) {
        return error_set(error, ERROR_CORRUPT, "a second leader in term %llu sends a snapshot: %s",
                         (unsigned long long)message->term, message->from.text);
    }
    if (!present || !known) raft_become_follower(raft, message->term, &message->from);
    raft->heard_us = raft->waiting_since_us = raft->now_us;
    if (raft_log_stands(raft)) return ERROR_OK; /* answered when that is over, or by a new offer */
    if (is_here(raft, &install->meta)) {
        forget(incoming);
        answer_installed(raft, &message->from, &install->meta);
        return ERROR_OK;
    }
    if (incoming->leader_term != message->term || /* and so from another leader, or another life of it */
        !raft_snapshot_meta_equal(&incoming->meta, &install->meta)) {
        enum error_code code = begin(raft, message, error);
        if (code) return code;
    }
    if (install->chunk.bytes.size == 0) {
        take_offer(raft, install);
    } else {
        take_chunk(raft, install);
    }
    return ERROR_OK;
}

/* CHUNK_WRITTEN. The answer to the newest offer says from where chunks are taken; those before it
 * say nothing any more, nor does any once all is written. The answer to what was given out last says
 * how much is there: chunks go on from there. */
enum error_code raft_chunk_was_written(struct raft *raft, const struct raft_event *event,
                                       struct error *error)
{
    (void)error;
    struct raft_incoming *incoming = &raft->incoming;
    uint64_t token = event->chunk.token, offset = event->chunk.offset;
    if (incoming->meta.index == 0 || incoming->complete || token < incoming->offer_token) {
        return ERROR_OK;
    }
    assert(offset <= incoming->meta.size);
    if (token == incoming->offer_token) incoming->asking = false;
    if (token == raft->snapshots.token) incoming->given = offset;
    if (offset < incoming->meta.size) {
        answer(raft, RAFT_SNAPSHOT_WANTED, offset);
    } else {
        written(raft);
    }
    return ERROR_OK;
}

enum error_code raft_snapshot_was_installed(struct raft *raft, const struct raft_event *event,
                                            struct error *error)
{
    (void)error;
    struct raft_incoming *incoming = &raft->incoming;
    assert(incoming->token != 0 && incoming->token == event->chunk.token);
    raft_log_install(&raft->log, &incoming->meta);
    adopt(raft, &incoming->meta);
    if (!raft_id_none(&raft->leader)) answer_installed(raft, &raft->leader, &incoming->meta);
    forget(incoming);
    return ERROR_OK;
}

/* The log goes on as it was. What was written may still be there: the next offer finds out. */
enum error_code raft_snapshot_failed(struct raft *raft, const struct raft_event *event,
                                     struct error *error)
{
    (void)error;
    struct raft_incoming *incoming = &raft->incoming;
    if (event->chunk.token < incoming->offer_token) return ERROR_OK;
    if (incoming->complete && event->chunk.token != incoming->token) return ERROR_OK;
    answer(raft, RAFT_SNAPSHOT_REFUSED, 0);
    forget(incoming);
    return ERROR_OK;
}

/* At the end of a step, for the writes of the log must be done. */
void raft_install(struct raft *raft)
{
    struct raft_incoming *incoming = &raft->incoming;
    if (!incoming->complete || incoming->token != 0) return;
    if (!GUARD(INSTALL_OVERTAKES, raft_gate_log_still(raft))) return;
    assert(raft->told.applied == raft->commit_index);
    incoming->token = ++raft->snapshots.token;
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_SNAPSHOT_INSTALL);
    effect->chunk.token = incoming->token;
    effect->chunk.snapshot = incoming->meta;
}

bool raft_log_stands(const struct raft *raft)
{
    return raft->incoming.complete && !FAULT(LOG_MOVES);
}

void raft_incoming_deinit(struct raft_incoming *incoming)
{
    forget(incoming);
}

/* ---- what has come ---- */

static bool well_formed(const struct raft_message *message)
{
    const struct raft_install_snapshot *install = &message->install_snapshot;
    const struct raft_snapshot_meta *meta = &install->meta;
    struct slice bytes = install->chunk.bytes;
    if (meta->index == 0 || meta->term == 0 || meta->term > message->term) return false;
    if (install->offset > meta->size || bytes.size > meta->size - install->offset) return false;
    if (bytes.size == 0 && install->offset != 0) return false;
    return raft_chunk_checksum(install->offset, bytes) == install->checksum;
}

/* By what is committed, or by the entry itself: then all before it is the leader's too. An index past
 * the log's end has no term, and the log begins within what is committed. */
static bool is_here(const struct raft *raft, const struct raft_snapshot_meta *meta)
{
    if (!GUARD(OLDER_SNAPSHOT_INSTALLED, meta->index > raft->commit_index)) return true;
    return GUARD(CONFLICT_KEPT, raft_log_term_at(&raft->log, meta->index) == meta->term);
}

/* What a snapshot covers is committed. Nothing is said before all of it is durable here: the leader
 * asks again. */
static void answer_installed(struct raft *raft, const struct raft_id *to,
                             const struct raft_snapshot_meta *meta)
{
    struct raft_following *following = &raft->following;
    following->verified = raft_most(following->verified, meta->index);
    raft->commit_index = raft_most(raft->commit_index, meta->index);
    raft_index match = raft_least(following->verified, raft->gate.durable.index);
    if (match < meta->index) return;
    struct raft_message message = raft_message_to(raft, RAFT_SNAPSHOT_RESULT, to);
    message.snapshot_result = (struct raft_snapshot_result){
        .index = meta->index,
        .term = meta->term,
        .status = RAFT_SNAPSHOT_INSTALLED,
        .match = match,
    };
    raft_gate_hold(raft, &message);
}

/* Its configuration must make sense before anything is given up for it. */
static enum error_code begin(struct raft *raft, const struct raft_message *message,
                             struct error *error)
{
    struct raft_incoming *incoming = &raft->incoming;
    struct raft_configuration configuration = {0};
    enum error_code code = raft_configuration_decode(
        message->install_snapshot.meta.configuration, &configuration, error);
    raft_configuration_deinit(&configuration);
    if (code) return code;
    forget(incoming);
    incoming->meta = raft_snapshot_meta_copy(&message->install_snapshot.meta);
    incoming->from = message->from;
    incoming->leader_term = message->term;
    incoming->asking = true; /* by an offer that is yet to come */
    incoming->offer_token = raft->snapshots.token + 1;
    return ERROR_OK;
}

/* Asks the disk how much is there. One that comes twice is answered once. */
static void take_offer(struct raft *raft, const struct raft_install_snapshot *install)
{
    struct raft_incoming *incoming = &raft->incoming;
    if (install->attempt <= incoming->attempt) return;
    incoming->attempt = install->attempt;
    write_chunk(raft, install);
    incoming->offer_token = raft->snapshots.token;
    incoming->asking = true;
}

/* A chunk that leaves a gap is not taken, and the leader is told. One that has been taken before
 * says nothing new. */
static void take_chunk(struct raft *raft, const struct raft_install_snapshot *install)
{
    struct raft_incoming *incoming = &raft->incoming;
    if (incoming->asking || install->attempt != incoming->attempt) return;
    if (install->offset > incoming->given) {
        answer(raft, RAFT_SNAPSHOT_WANTED, incoming->given);
    } else if (install->offset == incoming->given) {
        incoming->given += install->chunk.bytes.size;
        write_chunk(raft, install);
    }
}

static void write_chunk(struct raft *raft, const struct raft_install_snapshot *install)
{
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_CHUNK_WRITE);
    effect->chunk.token = ++raft->snapshots.token;
    effect->chunk.snapshot = raft->incoming.meta;
    effect->chunk.offset = install->offset;
    effect->chunk.last = install->last;
    effect->chunk.bytes = (struct raft_payload){0};
    if (install->chunk.bytes.size) {
        effect->chunk.bytes = raft_arena_chunk(&raft->arena, &install->chunk);
    }
}

/* ---- what follows ---- */

/* All of it. A server that has begun to campaign must not lose its log to it: the leader, if there
 * still is one, offers again. An append that was long on its way may have brought its last entry. */
static void written(struct raft *raft)
{
    struct raft_incoming *incoming = &raft->incoming;
    if (raft->role != RAFT_FOLLOWER) {
        forget(incoming);
    } else if (is_here(raft, &incoming->meta)) {
        if (incoming->leader_term == raft->hard_state.term) {
            answer_installed(raft, &incoming->from, &incoming->meta);
        }
        forget(incoming);
    } else {
        incoming->complete = true;
    }
}

/* The machine's index moves with the log's: from here on entries behind the snapshot are applied. */
static void adopt(struct raft *raft, const struct raft_snapshot_meta *meta)
{
    raft_gate_installed(&raft->gate, meta->index);
    raft->commit_index = meta->index;
    raft->applied_index = raft->told.applied = meta->index;
    raft->following.verified = meta->index;
    raft->following.ack_due = false;
    raft_snapshots_add(raft, meta);
}

/* ---- answers ---- */

static void answer(struct raft *raft, enum raft_snapshot_status status, uint64_t offset)
{
    const struct raft_incoming *incoming = &raft->incoming;
    if (incoming->leader_term != raft->hard_state.term) return; /* nobody waits for it */
    struct raft_message message = raft_message_to(raft, RAFT_SNAPSHOT_RESULT, &incoming->from);
    message.snapshot_result = (struct raft_snapshot_result){
        .index = incoming->meta.index,
        .term = incoming->meta.term,
        .attempt = incoming->attempt,
        .status = status,
        .offset = offset,
    };
    raft_gate_hold(raft, &message);
}

/* Tells a leader of old that its time is over. */
static void refuse(struct raft *raft, const struct raft_message *request)
{
    const struct raft_install_snapshot *install = &request->install_snapshot;
    struct raft_message message = raft_message_to(raft, RAFT_SNAPSHOT_RESULT, &request->from);
    message.snapshot_result = (struct raft_snapshot_result){
        .index = install->meta.index,
        .term = install->meta.term,
        .attempt = install->attempt,
        .status = RAFT_SNAPSHOT_REFUSED,
    };
    raft_gate_hold(raft, &message);
}

static void forget(struct raft_incoming *incoming)
{
    memory_free((void *)(uintptr_t)incoming->meta.configuration.data);
    *incoming = (struct raft_incoming){0};
}
