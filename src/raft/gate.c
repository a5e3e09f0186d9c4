/* The gate: see gate.h. One PERSIST per step at most; numbers ascend by one and are never given out
 * twice. */
#include "raft/gate.h"

#include "base/memory.h"
#include "base/mutant.h"
#include "raft/core.h"

#include <assert.h>

#define ENTRIES_KEPT_MAX \
    4096 /* a write's memory is kept for the next one up to this many entries */

static bool behind(struct raft *raft);
static void give_out(struct raft *raft);
static void number_fresh(struct raft *raft);
static void release(struct raft *raft);
static bool may_leave(const struct raft_gate *gate, const struct raft_held *held);
static bool outlived(const struct raft *raft, const struct raft_held *held);
static struct raft_stand *newest_stand(struct raft_gate *gate);
static struct raft_write *write_at(const struct raft_gate *gate, size_t place);
static struct raft_write *push_write(struct raft_gate *gate);
static void fill_entries(struct raft_write *write, const struct raft_log *log, raft_index first);
static void drop_entries(struct raft_write *write);
static bool hard_state_equal(const struct raft_hard_state *a, const struct raft_hard_state *b);

void raft_gate_init(struct raft_gate *gate)
{
    *gate = (struct raft_gate){0};
}

void raft_gate_deinit(struct raft_gate *gate)
{
    for (size_t i = 0; i < gate->write_count; i++) drop_entries(write_at(gate, i));
    for (size_t i = 0; i < gate->write_capacity; i++) memory_free(gate->writes[i].entries);
    memory_free(gate->writes);
    memory_free(gate->held);
    raft_gate_init(gate);
}

void raft_gate_hold(struct raft *raft, const struct raft_message *message)
{
    struct raft_gate *gate = &raft->gate;
    assert(message->type != RAFT_APPEND);
    size_t place = 0;
    for (; place < gate->held_count; place++) {
        const struct raft_message *other = &gate->held[place].message;
        if (other->type == message->type && raft_id_equal(&other->to, &message->to)) break;
    }
    if (place == gate->held_capacity) {
        gate->held_capacity = place ? 2 * place : 8;
        gate->held = memory_resize(gate->held, gate->held_capacity, sizeof *gate->held);
    }
    if (place == gate->held_count) gate->held_count++;
    gate->held[place] = (struct raft_held){*message, raft->hard_state.term, true, 0};
}

void raft_gate_flush(struct raft *raft)
{
    struct raft_gate *gate = &raft->gate;
    assert(!gate->retry_due || behind(raft)); /* what was refused is still to be written */
    if (behind(raft) && (!gate->refused || gate->retry_due)) give_out(raft);
    number_fresh(raft);
    release(raft);
}

void raft_gate_truncated(struct raft_gate *gate, raft_index from)
{
    if (gate->durable.index >= from) gate->durable.index = from - 1;
    if (FAULT(OLD_WRITE_VOUCHES)) return;
    for (size_t i = 0; i < gate->write_count; i++) {
        struct raft_stand *stand = &write_at(gate, i)->stand;
        if (stand->index >= from) stand->index = from - 1;
    }
}

bool raft_gate_log_still(const struct raft *raft)
{
    const struct raft_gate *gate = &raft->gate;
    return gate->write_count == 0 && !gate->refused; /* else there would be a write: it was flushed */
}

/* What is outstanding carries a hard state only: it leaves the log as the snapshot made it. */
void raft_gate_installed(struct raft_gate *gate, raft_index index)
{
    gate->durable.index = gate->durable.last = index;
    for (size_t i = 0; i < gate->write_count; i++) {
        struct raft_write *write = write_at(gate, i);
        assert(write->entry_count == 0);
        write->stand.index = write->stand.last = index;
    }
}

bool raft_gate_persisted(struct raft_gate *gate, uint64_t sequence, uint64_t now_us)
{
    bool news = false;
    while (gate->write_count > 0 && write_at(gate, 0)->sequence <= sequence) {
        struct raft_write *write = write_at(gate, 0);
        assert(write->stand.index >= gate->durable.index);
        gate->durable = write->stand;
        gate->persisted = write->sequence;
        drop_entries(write);
        gate->write_first = (gate->write_first + 1) & (gate->write_capacity - 1);
        gate->write_count--;
        gate->waiting_us = now_us;
        news = true;
    }
    if (gate->retrying && gate->write_count == 0) gate->refused = gate->retrying = false;
    return news;
}

bool raft_gate_refused(struct raft_gate *gate, uint64_t sequence, uint64_t retry_us)
{
    bool news = false;
    while (gate->write_count > 0 && write_at(gate, gate->write_count - 1)->sequence >= sequence) {
        drop_entries(write_at(gate, gate->write_count - 1));
        gate->write_count--;
        news = true;
    }
    if (!news) return false;
    gate->refused = true;
    gate->retrying = false;
    gate->retry_us = retry_us;
    return true;
}

bool raft_gate_stalled(const struct raft *raft)
{
    const struct raft_gate *gate = &raft->gate;
    return gate->write_count > 0 &&
           raft->now_us - gate->waiting_us >= raft->settings.election_timeout_us;
}

bool raft_gate_hard_state_durable(const struct raft *raft)
{
    return hard_state_equal(&raft->gate.durable.hard_state, &raft->hard_state);
}

/* ---- writing ---- */

static bool behind(struct raft *raft)
{
    const struct raft_stand *given = newest_stand(&raft->gate);
    return !hard_state_equal(&given->hard_state, &raft->hard_state) ||
           given->index < raft->log.last_index || given->last > given->index;
}

static void give_out(struct raft *raft)
{
    struct raft_gate *gate = &raft->gate;
    struct raft_stand given = *newest_stand(gate);
    if (gate->write_count == 0) gate->waiting_us = raft->now_us;
    struct raft_write *write = push_write(gate);
    write->sequence = ++gate->sequence;
    write->stand =
        (struct raft_stand){raft->hard_state, raft->log.last_index, raft->log.last_index};
    fill_entries(write, &raft->log, given.index + 1);
    gate->retrying = gate->retry_due;
    gate->retry_due = false;

    bool has_hard_state = !hard_state_equal(&given.hard_state, &raft->hard_state);
    if (has_hard_state) gate->hard_state_sequence = gate->sequence;
    raft_emit(raft, RAFT_EFFECT_PERSIST)->persist = (struct raft_persist){
        .sequence = write->sequence,
        .has_hard_state = has_hard_state,
        .hard_state = raft->hard_state,
        .truncate_from = given.last > given.index ? given.index + 1 : 0,
        .entries = write->entries,
        .entry_count = write->entry_count,
    };
}

static struct raft_write *push_write(struct raft_gate *gate)
{
    if (gate->write_count == gate->write_capacity) {
        size_t capacity = gate->write_capacity ? 2 * gate->write_capacity : 8;
        struct raft_write *writes = memory_zero(capacity, sizeof *writes);
        for (size_t i = 0; i < gate->write_count; i++) writes[i] = *write_at(gate, i);
        memory_free(gate->writes);
        gate->writes = writes;
        gate->write_first = 0;
        gate->write_capacity = capacity;
    }
    return write_at(gate, gate->write_count++);
}

static void fill_entries(struct raft_write *write, const struct raft_log *log, raft_index first)
{
    write->entry_count = (size_t)(log->last_index + 1 - first);
    if (write->entry_capacity < write->entry_count) {
        write->entry_capacity = write->entry_count;
        write->entries =
            memory_resize(write->entries, write->entry_capacity, sizeof *write->entries);
    }
    for (size_t i = 0; i < write->entry_count; i++) {
        const struct raft_entry *entry = raft_log_entry(log, first + i);
        assert(entry); /* what is not durable is in the tail */
        write->entries[i] = *entry;
        raft_entry_take(entry);
    }
}

static void drop_entries(struct raft_write *write)
{
    for (size_t i = 0; i < write->entry_count; i++) raft_entry_drop(&write->entries[i]);
    write->entry_count = 0;
    if (write->entry_capacity <= ENTRIES_KEPT_MAX) return;
    memory_free(write->entries);
    write->entries = NULL;
    write->entry_capacity = 0;
}

/* ---- held messages ---- */

/* What is not yet given out (the disk is full) will be in the next write. */
static void number_fresh(struct raft *raft)
{
    struct raft_gate *gate = &raft->gate;
    bool given = hard_state_equal(&newest_stand(gate)->hard_state, &raft->hard_state);
    uint64_t sequence = given ? gate->hard_state_sequence : gate->sequence + 1;
    for (size_t i = 0; i < gate->held_count; i++) {
        if (gate->held[i].fresh) gate->held[i].sequence = sequence;
        gate->held[i].fresh = false;
    }
}

static void release(struct raft *raft)
{
    struct raft_gate *gate = &raft->gate;
    size_t kept = 0;
    for (size_t i = 0; i < gate->held_count; i++) {
        const struct raft_held *held = &gate->held[i];
        if (outlived(raft, held)) continue;
        if (may_leave(gate, held)) {
            raft_send(raft, &held->message);
        } else {
            gate->held[kept++] = *held;
        }
    }
    gate->held_count = kept;
}

static bool may_leave(const struct raft_gate *gate, const struct raft_held *held)
{
    bool durable = held->sequence <= gate->persisted;
    switch (held->message.type) {
    case RAFT_VOTE:
        return GUARD(UNGATED_VOTE, durable);
    case RAFT_REQUEST_VOTE:
        return GUARD(UNGATED_VOTE_REQUEST, durable);
    default:
        return durable;
    }
}

static bool outlived(const struct raft *raft, const struct raft_held *held)
{
    if (held->own_term != raft->hard_state.term) return true;
    if (held->message.type != RAFT_REQUEST_VOTE) return false;
    return raft->role != (held->message.request_vote.pre ? RAFT_PRE_CANDIDATE : RAFT_CANDIDATE);
}

/* ---- helpers ---- */

static struct raft_stand *newest_stand(struct raft_gate *gate)
{
    return gate->write_count > 0 ? &write_at(gate, gate->write_count - 1)->stand : &gate->durable;
}

static struct raft_write *write_at(const struct raft_gate *gate, size_t place)
{
    return &gate->writes[(gate->write_first + place) & (gate->write_capacity - 1)];
}

static bool hard_state_equal(const struct raft_hard_state *a, const struct raft_hard_state *b)
{
    return a->term == b->term && raft_id_equal(&a->vote, &b->vote);
}
