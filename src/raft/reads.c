/*
 * Linearizable reads without the log: ReadIndex (Ongaro §6.4), batched by rounds.
 *
 * A read is confirmed by a round that started after it: a quorum echoes the round's number, so no
 * newer leader had been elected when the round began, and the commit index of that moment covers
 * every write acknowledged before. While a round is under way new reads gather for the next one.
 * Lost messages are made good by heartbeats, which carry the same number.
 *
 * Nothing is answered before this term has committed an entry: until then a leader may not know all
 * that is committed (§8); a single server neither. An entry counts as committed only once it is
 * durable, so no crash forgets the index.
 */
#include "raft/core.h"

#include "base/memory.h"
#include "base/mutant.h"

static bool confirmed(struct raft *raft);
static uint64_t echoed(void *context, const struct raft_id *id);
static void start_round(struct raft *raft);
static void answer_asked(struct raft *raft);
static void push_context(struct raft_contexts *contexts, uint64_t context);
static void fail_all(struct raft *raft, struct raft_contexts *contexts);
static void fail(struct raft *raft, uint64_t context);

enum error_code raft_read(struct raft *raft, const struct raft_event *event, struct error *error)
{
    (void)error;
    if (raft->role != RAFT_LEADER) {
        fail(raft, event->read_context);
        return ERROR_OK;
    }
    bool late = raft->reads.asked.count > 0 && FAULT(READ_JOINS_ROUND);
    push_context(late ? &raft->reads.asked : &raft->reads.waiting, event->read_context);
    raft_advance_reads(raft);
    return ERROR_OK;
}

void raft_advance_reads(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    if (raft->role != RAFT_LEADER) return;
    if (!GUARD(READ_BEFORE_COMMIT, raft->commit_index >= raft->term_start)) return;
    for (;;) {
        if (reads->asked.count > 0 && confirmed(raft)) answer_asked(raft);
        if (reads->asked.count > 0 || reads->waiting.count == 0) return;
        start_round(raft);
    }
}

void raft_fail_reads(struct raft *raft)
{
    fail_all(raft, &raft->reads.asked);
    fail_all(raft, &raft->reads.waiting);
}

void raft_reads_deinit(struct raft_reads *reads)
{
    memory_free(reads->asked.contexts);
    memory_free(reads->waiting.contexts);
    *reads = (struct raft_reads){0};
}

static bool confirmed(struct raft *raft)
{
    return GUARD(STALE_READ,
                 raft_quorum_index(raft_effective(raft), echoed, raft) >= raft->reads.round);
}

static uint64_t echoed(void *context, const struct raft_id *id)
{
    const struct raft *raft = context;
    if (raft_is_self(raft, id)) return raft->reads.round;
    const struct raft_peer *peer = raft_peers_find(&raft->peers, id);
    return peer ? peer->round : 0;
}

static void start_round(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    struct raft_contexts empty = reads->asked;
    reads->asked = reads->waiting;
    reads->waiting = empty;
    reads->round++;
    reads->index = raft->commit_index;
    raft_speak_to_all(raft);
}

static void answer_asked(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    for (size_t i = 0; i < reads->asked.count; i++) {
        struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_READ_READY);
        effect->read.context = reads->asked.contexts[i];
        effect->read.index = reads->index;
    }
    reads->asked.count = 0;
}

static void push_context(struct raft_contexts *contexts, uint64_t context)
{
    if (contexts->count == contexts->capacity) {
        contexts->capacity = contexts->capacity ? 2 * contexts->capacity : 16;
        contexts->contexts =
            memory_resize(contexts->contexts, contexts->capacity, sizeof *contexts->contexts);
    }
    contexts->contexts[contexts->count++] = context;
}

static void fail_all(struct raft *raft, struct raft_contexts *contexts)
{
    for (size_t i = 0; i < contexts->count; i++) fail(raft, contexts->contexts[i]);
    contexts->count = 0;
}

static void fail(struct raft *raft, uint64_t context)
{
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_READ_FAILED);
    effect->read.context = context;
    effect->read.index = 0;
}
