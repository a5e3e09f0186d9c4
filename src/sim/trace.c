/*
 * The trace: a running hash of everything that happens, compared between two runs of a seed, and
 * for people a line each. What goes into the hash is every field that a decision can rest on, never
 * an address, never padding.
 */
#include "sim/internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static void mix_message(struct sim *sim, const struct raft_message *message);
static void describe(const struct raft_message *message, char *out, size_t size);
static const char *message_name(enum raft_message_type type);

/* One multiplication and a fold: order matters, every bit spreads, and it costs little beside a
 * step. */
void trace_mix(struct sim *sim, uint64_t value)
{
    uint64_t hash = (sim->world.trace_hash ^ value) * 0x9e3779b97f4a7c15;
    sim->world.trace_hash = hash ^ (hash >> 29);
}

void trace_event(struct sim *sim, enum sim_trace what, unsigned node, uint64_t a, uint64_t b)
{
    trace_mix(sim, sim->world.now_us);
    trace_mix(sim, (uint64_t)what << 32 | node);
    trace_mix(sim, a);
    trace_mix(sim, b);
}

void trace_line(struct sim *sim, const struct sim_node *node, const char *format, ...)
{
    char line[1024];
    uint64_t now = sim->world.now_us;
    int size = snprintf(line, sizeof line, "%6" PRIu64 ".%06" PRIu64 " %-3s ", now / 1000000,
                        now % 1000000, node ? node->id.text : "");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line + size, sizeof line - (size_t)size, format, arguments);
    va_end(arguments);
    sim->options.trace(sim->options.trace_context, line);
}

void trace_message(struct sim *sim, const struct sim_node *from, const struct sim_node *to,
                   const struct raft_message *message, bool sent)
{
    trace_event(sim, TRACE_MESSAGE, from->number << 8 | to->number,
                (uint64_t)message->type << 1 | sent, message->term);
    mix_message(sim, message);
    if (!sim->options.trace) return;
    char text[256];
    describe(message, text, sizeof text);
    trace_line(sim, sent ? from : to, "%s %s %s t%" PRIu64 " %s",
               sent ? "sends to" : "receives from", sent ? to->id.text : from->id.text,
               message_name(message->type), message->term, text);
}

static void mix_message(struct sim *sim, const struct raft_message *message)
{
    const struct raft_append *append = &message->append;
    const struct raft_append_result *result = &message->append_result;
    switch (message->type) {
    case RAFT_REQUEST_VOTE:
        trace_mix(sim, message->request_vote.last_index << 1 | message->request_vote.pre);
        trace_mix(sim, message->request_vote.last_term);
        break;
    case RAFT_VOTE:
        trace_mix(sim, (uint64_t)message->vote.granted << 1 | message->vote.pre);
        break;
    case RAFT_APPEND:
        trace_mix(sim, append->prev_index);
        trace_mix(sim, append->prev_term);
        trace_mix(sim, append->commit);
        trace_mix(sim, append->round);
        for (size_t i = 0; i < append->entry_count; i++) trace_mix(sim, append->entries[i].chain);
        break;
    case RAFT_APPEND_RESULT:
        trace_mix(sim, result->match << 1 | result->success);
        trace_mix(sim, result->last_index);
        trace_mix(sim, result->conflict_index);
        trace_mix(sim, result->round);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    case RAFT_READ_INDEX:
        trace_mix(sim, message->read_index.identity);
        break;
    case RAFT_READ_INDEX_RESULT:
        trace_mix(sim, message->read_index_result.identity);
        trace_mix(sim, message->read_index_result.index << 1 | message->read_index_result.success);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        trace_mix(sim, message->install_snapshot.meta.index);
        trace_mix(sim, message->install_snapshot.attempt);
        trace_mix(sim, message->install_snapshot.offset);
        trace_mix(sim, message->install_snapshot.checksum);
        break;
    case RAFT_SNAPSHOT_RESULT:
        trace_mix(sim, message->snapshot_result.index);
        trace_mix(sim, message->snapshot_result.status);
        trace_mix(sim, message->snapshot_result.offset);
        trace_mix(sim, message->snapshot_result.match);
        break;
    }
}

static void describe(const struct raft_message *message, char *out, size_t size)
{
    const struct raft_append *append = &message->append;
    const struct raft_append_result *result = &message->append_result;
    switch (message->type) {
    case RAFT_REQUEST_VOTE:
        snprintf(out, size, "%slast %" PRIu64 ":%" PRIu64, message->request_vote.pre ? "pre " : "",
                 message->request_vote.last_index, message->request_vote.last_term);
        break;
    case RAFT_VOTE:
        snprintf(out, size, "%s%s", message->vote.pre ? "pre " : "",
                 message->vote.granted ? "granted" : "refused");
        break;
    case RAFT_APPEND:
        snprintf(out, size, "prev %" PRIu64 ":%" PRIu64 " +%zu commit %" PRIu64 " round %" PRIu64,
                 append->prev_index, append->prev_term, append->entry_count, append->commit,
                 append->round);
        break;
    case RAFT_APPEND_RESULT:
        snprintf(out, size,
                 "%s prev %" PRIu64 " match %" PRIu64 " last %" PRIu64 " conflict %" PRIu64
                 ":%" PRIu64 " round %" PRIu64,
                 result->success ? "ok" : "no", result->prev_index, result->match,
                 result->last_index, result->conflict_index, result->conflict_term, result->round);
        break;
    case RAFT_TIMEOUT_NOW:
        snprintf(out, size, "campaign at once");
        break;
    case RAFT_READ_INDEX:
        snprintf(out, size, "#%" PRIx64, message->read_index.identity);
        break;
    case RAFT_READ_INDEX_RESULT:
        snprintf(out, size, "#%" PRIx64 " %s %" PRIu64, message->read_index_result.identity,
                 message->read_index_result.success ? "ok" : "no", message->read_index_result.index);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        snprintf(out, size, "of %" PRIu64 " attempt %" PRIu64 " offset %" PRIu64 " +%zu",
                 message->install_snapshot.meta.index, message->install_snapshot.attempt,
                 message->install_snapshot.offset, message->install_snapshot.chunk.bytes.size);
        break;
    case RAFT_SNAPSHOT_RESULT:
        snprintf(out, size, "of %" PRIu64 " status %u offset %" PRIu64 " match %" PRIu64,
                 message->snapshot_result.index, (unsigned)message->snapshot_result.status,
                 message->snapshot_result.offset, message->snapshot_result.match);
        break;
    }
}

static const char *message_name(enum raft_message_type type)
{
    switch (type) {
#define X(name, number, text) \
    case RAFT_##name:         \
        return text;
        RAFT_MESSAGE_TABLE(X)
#undef X
    }
    return "?";
}
