/*
 * The gate between the core and its disk: what has been given out to be written, what is durable,
 * and the messages that may only leave once something is.
 *
 * A stand is what the disk holds once a write is done: hard state, and how far its log agrees with
 * ours. The durable stand moves with PERSISTED; the newest stand is that of the last write given
 * out. What has to be written is always the difference between the core's memory and the newest
 * stand: there is no list of changes that could get out of step, and after a refusal (the refused
 * writes are forgotten) the difference covers everything again.
 *
 * A truncation lowers the index of every stand: a completion that arrives later can never vouch for
 * a replaced entry.
 *
 * Writes keep copies of their entries with references to the payloads, so that the log may change
 * beneath them.
 */
#ifndef MOONCLAVE_RAFT_GATE_H
#define MOONCLAVE_RAFT_GATE_H

#include "raft/types.h"

struct raft;

struct raft_stand {
    struct raft_hard_state hard_state;
    raft_index index; /* every entry up to here is ours */
    raft_index
        last; /* where the disk's log ends; past `index` it holds what was truncated here since */
};

struct raft_write {
    uint64_t sequence;
    struct raft_stand stand;
    struct raft_entry *entries;
    size_t entry_count, entry_capacity;
};

struct raft_held {
    struct raft_message message;
    raft_term own_term; /* the sender's when it was held: dropped if that has passed */
    bool fresh;        /* held in this step: `sequence` is still to be assigned */
    uint64_t sequence; /* leaves once this is durable */
};

struct raft_gate {
    struct raft_stand durable;
    struct raft_write *writes; /* a ring: outstanding ones, oldest at write_first */
    size_t write_first, write_count, write_capacity;
    uint64_t waiting_us;          /* while there are any: nothing has been reported since then */
    uint64_t stalled_us;          /* the disk has last stalled until then; 0: never */
    uint64_t sequence;            /* last given out */
    uint64_t persisted;           /* last reported */
    uint64_t hard_state_sequence; /* of the write that holds the present hard state */

    bool refused;      /* the disk is full: nothing is written but the retry */
    bool retry_due;    /* ... which the next flush gives out */
    bool retrying;     /* ... or which is outstanding */
    uint64_t retry_us; /* ... or which is given out then */

    struct raft_held *held;
    size_t held_count, held_capacity;
};

void raft_gate_init(struct raft_gate *gate);
void raft_gate_deinit(struct raft_gate *gate);

/* Holds a message until term and vote as they are now are durable: possibly no longer than this
 * step. Writes are carried out in order, so a candidate's log, being older than its term, is durable
 * with it. One message of each kind to each peer is held: a newer one takes the older one's place.
 * Appends are never held: a leader's term is durable before it leads. */
void raft_gate_hold(struct raft *raft, const struct raft_message *message);
/* At the end of a step: gives the difference out as one PERSIST, then sends what is held and may
 * leave. */
void raft_gate_flush(struct raft *raft);

void raft_gate_truncated(struct raft_gate *gate, raft_index from);
/* Nothing of the log is outstanding: the disk's is ours, entry by entry. */
bool raft_gate_log_still(const struct raft *raft);
/* The disk's log is now, with ours, the empty one behind `index`; no write of entries is outstanding. */
void raft_gate_installed(struct raft_gate *gate, raft_index index);
/* PERSISTED: false where it says nothing new. */
bool raft_gate_persisted(struct raft_gate *gate, uint64_t sequence, uint64_t now_us);
/* The disk has been asked, and has completed nothing for an election timeout. */
bool raft_gate_stalled(const struct raft *raft);
/* PERSIST_REFUSED: the same. The gate is shut until a retry succeeds. */
bool raft_gate_refused(struct raft_gate *gate, uint64_t sequence, uint64_t retry_us);
bool raft_gate_hard_state_durable(const struct raft *raft);

#endif
