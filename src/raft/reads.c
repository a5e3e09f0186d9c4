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

enum error_code raft_read(struct raft *raft, const struct raft_event *event, struct error *error)
{
    (void)error;
    struct raft_context context = {.number = event->read.context};
    if (raft->role == RAFT_LEADER) {
        if (event->read.mode == RAFT_READ_LEASE && raft->now_us < raft_lease_until(raft)) {
            raft_read_ready(raft, &context, raft->commit_index);
            return ERROR_OK;
        }
        bool late = raft->reads.asked.count > 0 && FAULT(READ_JOINS_ROUND);
        raft_push_context(late ? &raft->reads.asked : &raft->reads.waiting, context.number, NULL);
        raft_advance_reads(raft);
    } else if (event->read.ask && !raft_id_none(&raft->leader)) {
        raft_ask_for_index(raft, context.number, event->read.mode);
    } else {
        raft_read_failed(raft, &(struct raft_contexts){&context, 1, 1});
    }
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

/* Others who wait learn of it by the leader's silence, or its successor. */
void raft_fail_reads(struct raft *raft)
{
    raft_read_failed(raft, &raft->reads.asked);
    raft_read_failed(raft, &raft->reads.waiting);
    raft->reads.asked.count = raft->reads.waiting.count = 0;
}

void raft_reads_deinit(struct raft_reads *reads)
{
    memory_free(reads->asked.contexts);
    memory_free(reads->waiting.contexts);
    *reads = (struct raft_reads){0};
}

void raft_begin_round(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    reads->round++;
    reads->began_us[reads->round % RAFT_ROUNDS_KEPT] = raft->now_us;
}

void raft_push_context(struct raft_contexts *contexts, uint64_t number, const struct raft_id *from)
{
    if (contexts->count == contexts->capacity) {
        contexts->capacity = contexts->capacity ? 2 * contexts->capacity : 16;
        contexts->contexts =
            memory_resize(contexts->contexts, contexts->capacity, sizeof *contexts->contexts);
    }
    struct raft_context *context = &contexts->contexts[contexts->count++];
    *context = (struct raft_context){.number = number};
    if (from) context->from = *from;
}

void raft_read_ready(struct raft *raft, const struct raft_context *context, raft_index index)
{
    if (raft_id_none(&context->from)) {
        struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_READ_READY);
        effect->read.context = context->number;
        effect->read.index = index;
        return;
    }
    struct raft_message message = raft_message_to(raft, RAFT_READ_INDEX_RESULT, &context->from);
    message.read_index_result = (struct raft_read_index_result){
        .identity = context->number, .success = true, .index = index};
    raft_send(raft, &message); /* a leader's term is durable */
}

void raft_read_failed(struct raft *raft, const struct raft_contexts *contexts)
{
    for (size_t i = 0; i < contexts->count; i++) {
        if (!raft_id_none(&contexts->contexts[i].from)) continue;
        struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_READ_FAILED);
        effect->read.context = contexts->contexts[i].number;
        effect->read.index = 0;
    }
}

static bool confirmed(struct raft *raft)
{
    return GUARD(STALE_READ,
                 raft_quorum_index(raft_effective(raft), echoed, raft) >= raft->reads.asked_round);
}

static uint64_t echoed(void *context, const struct raft_id *id)
{
    const struct raft *raft = context;
    if (raft_is_self(raft, id)) return raft->reads.round;
    const struct raft_peer *peer = raft_peers_counted(&raft->peers, id);
    return peer ? peer->round : 0;
}

static void start_round(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    struct raft_contexts empty = reads->asked;
    reads->asked = reads->waiting;
    reads->waiting = empty;
    reads->index = raft->commit_index;
    raft_begin_round(raft);
    reads->asked_round = reads->round;
    raft_speak_to_all(raft);
}

static void answer_asked(struct raft *raft)
{
    struct raft_reads *reads = &raft->reads;
    for (size_t i = 0; i < reads->asked.count; i++) {
        raft_read_ready(raft, &reads->asked.contexts[i], reads->index);
    }
    reads->asked.count = 0;
}
