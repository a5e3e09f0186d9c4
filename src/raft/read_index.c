/*
 * Reads between servers (Ongaro §6.4): one who does not lead asks its leader for an index, and
 * answers from its own state once that has got so far.
 *
 * One request is out at a time; reads that come meanwhile go with the next. A request that stays
 * without an answer is sent again as *another* request, for all that wait: so whatever is answered
 * was asked after the reads it serves, and an answer that comes late is about nothing, as is one of
 * another term: with its term a request is over. Identities are drawn at random, for a number could
 * be used again by this server's next life. Another leader, or an election timeout, ends the waiting.
 */
#include "raft/core.h"

#include "base/memory.h"
#include "base/mutant.h"

static void ask(struct raft *raft);
static void refuse(struct raft *raft, const struct raft_message *request);

/* ---- the side that asks ---- */

void raft_ask_for_index(struct raft *raft, uint64_t context, enum raft_read_mode mode)
{
    struct raft_asking *asking = &raft->asking;
    if (asking->identity == 0) asking->since_us = raft->now_us;
    raft_push_context(&asking->waiting, context, NULL);
    if (mode != RAFT_READ_LEASE) asking->waiting_for_round = true;
    if (asking->identity == 0) ask(raft);
}

void raft_fail_asking(struct raft *raft)
{
    struct raft_asking *asking = &raft->asking;
    raft_read_failed(raft, &asking->asked);
    raft_read_failed(raft, &asking->waiting);
    asking->asked.count = asking->waiting.count = 0;
    asking->asked_for_round = asking->waiting_for_round = false;
    asking->identity = 0;
}

void raft_asking_timer(struct raft *raft)
{
    const struct raft_asking *asking = &raft->asking;
    if (asking->identity == 0) return;
    if (raft->now_us >= asking->since_us + raft->settings.election_timeout_us) {
        raft_fail_asking(raft);
    } else if (raft->now_us >= asking->again_us) {
        ask(raft);
    }
}

uint64_t raft_asking_deadline(const struct raft *raft)
{
    const struct raft_asking *asking = &raft->asking;
    if (asking->identity == 0) return 0;
    return raft_least(asking->again_us, asking->since_us + raft->settings.election_timeout_us);
}

void raft_asking_deinit(struct raft_asking *asking)
{
    memory_free(asking->asked.contexts);
    memory_free(asking->waiting.contexts);
    *asking = (struct raft_asking){0};
}

enum error_code raft_receive_read_index_result(struct raft *raft,
                                               const struct raft_message *message,
                                               struct error *error)
{
    (void)error;
    struct raft_asking *asking = &raft->asking;
    const struct raft_read_index_result *result = &message->read_index_result;
    if (!GUARD(OLD_READ_INDEX, result->identity == asking->identity)) return ERROR_OK;
    if (!result->success) {
        raft_fail_asking(raft);
        return ERROR_OK;
    }
    for (size_t i = 0; i < asking->asked.count; i++) {
        raft_read_ready(raft, &asking->asked.contexts[i], result->index);
    }
    asking->asked.count = 0;
    asking->asked_for_round = false;
    asking->identity = 0;
    asking->since_us = raft->now_us;
    if (asking->waiting.count > 0) ask(raft);
    return ERROR_OK;
}

/* As a new request, for all that wait. */
static void ask(struct raft *raft)
{
    struct raft_asking *asking = &raft->asking;
    for (size_t i = 0; i < asking->waiting.count; i++) {
        raft_push_context(&asking->asked, asking->waiting.contexts[i].number, NULL);
    }
    asking->waiting.count = 0;
    asking->asked_for_round |= asking->waiting_for_round;
    asking->waiting_for_round = false;
    asking->identity = random_next(&raft->random) | 1; /* never 0 */
    asking->again_us = raft->now_us + raft->settings.heartbeat_us;
    struct raft_message message = raft_message_to(raft, RAFT_READ_INDEX, &raft->leader);
    message.read_index.identity = asking->identity;
    message.read_index.lease = !asking->asked_for_round;
    raft_gate_hold(raft, &message);
}

/* ---- the side that is asked ---- */

enum error_code raft_receive_read_index(struct raft *raft, const struct raft_message *message,
                                        struct error *error)
{
    (void)error;
    const struct raft_read_index *request = &message->read_index;
    if (message->term != raft->hard_state.term || raft->role != RAFT_LEADER) {
        refuse(raft, message);
    } else if (request->lease && raft->now_us < raft_lease_until(raft)) {
        struct raft_context context = {request->identity, message->from};
        raft_read_ready(raft, &context, raft->commit_index);
    } else {
        raft_push_context(&raft->reads.waiting, request->identity, &message->from);
        raft_advance_reads(raft);
    }
    return ERROR_OK;
}

static void refuse(struct raft *raft, const struct raft_message *request)
{
    struct raft_message message = raft_message_to(raft, RAFT_READ_INDEX_RESULT, &request->from);
    message.read_index_result.identity = request->read_index.identity;
    raft_gate_hold(raft, &message);
}
