/* The bodies of Raft's messages. Each begins with from, to and term. */
#include "wire/body.h"

#include "raft/snapshot_meta.h"

/* ---- writing ---- */

static void write_envelope(const struct raft_message *message, uint32_t more, struct buffer *out);

void body_write_request_vote(const struct wire_frame *frame, struct buffer *out)
{
    const struct raft_request_vote *request = &frame->message.request_vote;
    write_envelope(&frame->message, 4, out);
    mp_write_boolean(out, request->pre);
    mp_write_boolean(out, request->transfer);
    mp_write_u64(out, request->last_index);
    mp_write_u64(out, request->last_term);
}

void body_write_vote(const struct wire_frame *frame, struct buffer *out)
{
    write_envelope(&frame->message, 2, out);
    mp_write_boolean(out, frame->message.vote.pre);
    mp_write_boolean(out, frame->message.vote.granted);
}

void body_write_append(const struct wire_frame *frame, struct buffer *out)
{
    const struct raft_append *append = &frame->message.append;
    write_envelope(&frame->message, 7, out);
    mp_write_u64(out, append->prev_index);
    mp_write_u64(out, append->prev_term);
    mp_write_u64(out, append->commit);
    mp_write_u64(out, append->round);
    mp_write_u64(out, append->state_index);
    mp_write_u64(out, append->state_chain);
    mp_write_u64(out, append->entry_count);
}

void body_write_append_result(const struct wire_frame *frame, struct buffer *out)
{
    const struct raft_append_result *result = &frame->message.append_result;
    write_envelope(&frame->message, 9, out);
    mp_write_boolean(out, result->success);
    mp_write_u64(out, result->prev_index);
    mp_write_u64(out, result->match);
    mp_write_u64(out, result->last_index);
    mp_write_u64(out, result->conflict_term);
    mp_write_u64(out, result->conflict_index);
    mp_write_u64(out, result->round);
    mp_write_u64(out, result->state_index);
    mp_write_u64(out, result->state_chain);
}

void body_write_timeout_now(const struct wire_frame *frame, struct buffer *out)
{
    write_envelope(&frame->message, 0, out);
}

void body_write_read_index(const struct wire_frame *frame, struct buffer *out)
{
    const struct raft_read_index *request = &frame->message.read_index;
    write_envelope(&frame->message, 2, out);
    mp_write_u64(out, request->identity);
    mp_write_boolean(out, request->lease);
}

void body_write_read_index_result(const struct wire_frame *frame, struct buffer *out)
{
    const struct raft_read_index_result *result = &frame->message.read_index_result;
    write_envelope(&frame->message, 3, out);
    mp_write_u64(out, result->identity);
    mp_write_boolean(out, result->success);
    mp_write_u64(out, result->index);
}

void body_write_install_snapshot(const struct wire_frame *frame, struct buffer *out)
{
    const struct raft_install_snapshot *install = &frame->message.install_snapshot;
    struct buffer meta = {0};
    raft_snapshot_meta_encode(&install->meta, &meta);
    write_envelope(&frame->message, 5, out);
    mp_write_u64(out, install->attempt);
    mp_write_u64(out, install->offset);
    mp_write_u64(out, install->checksum);
    mp_write_boolean(out, install->last);
    mp_write_string(out, buffer_slice(&meta));
    buffer_append_slice(out, install->chunk.bytes);
    buffer_deinit(&meta);
}

void body_write_snapshot_result(const struct wire_frame *frame, struct buffer *out)
{
    const struct raft_snapshot_result *result = &frame->message.snapshot_result;
    write_envelope(&frame->message, 6, out);
    mp_write_u64(out, result->index);
    mp_write_u64(out, result->term);
    mp_write_u64(out, result->attempt);
    mp_write_u64(out, result->status);
    mp_write_u64(out, result->offset);
    mp_write_u64(out, result->match);
}

static void write_envelope(const struct raft_message *message, uint32_t more, struct buffer *out)
{
    mp_write_array(out, 3 + more);
    mp_write_text(out, message->from.text);
    mp_write_text(out, message->to.text);
    mp_write_u64(out, message->term);
}

/* ---- reading ---- */

static void read_envelope(struct body_reader *body, struct wire_frame *frame);
static void nothing_behind(struct body_reader *body);

void body_read_request_vote(struct body_reader *body, struct wire_frame *frame)
{
    struct raft_request_vote *request = &frame->message.request_vote;
    read_envelope(body, frame);
    request->pre = body_boolean(body);
    request->transfer = body_boolean(body);
    request->last_index = body_u64(body);
    request->last_term = body_u64(body);
    nothing_behind(body);
}

void body_read_vote(struct body_reader *body, struct wire_frame *frame)
{
    read_envelope(body, frame);
    frame->message.vote.pre = body_boolean(body);
    frame->message.vote.granted = body_boolean(body);
    nothing_behind(body);
}

void body_read_append(struct body_reader *body, struct wire_frame *frame)
{
    struct raft_append *append = &frame->message.append;
    read_envelope(body, frame);
    append->prev_index = body_u64(body);
    append->prev_term = body_u64(body);
    append->commit = body_u64(body);
    append->round = body_u64(body);
    append->state_index = body_u64(body);
    append->state_chain = body_u64(body);
    append->entry_count = (size_t)body_up_to(body, UINT32_MAX);
}

void body_read_append_result(struct body_reader *body, struct wire_frame *frame)
{
    struct raft_append_result *result = &frame->message.append_result;
    read_envelope(body, frame);
    result->success = body_boolean(body);
    result->prev_index = body_u64(body);
    result->match = body_u64(body);
    result->last_index = body_u64(body);
    result->conflict_term = body_u64(body);
    result->conflict_index = body_u64(body);
    result->round = body_u64(body);
    result->state_index = body_u64(body);
    result->state_chain = body_u64(body);
    nothing_behind(body);
}

void body_read_timeout_now(struct body_reader *body, struct wire_frame *frame)
{
    read_envelope(body, frame);
    nothing_behind(body);
}

void body_read_read_index(struct body_reader *body, struct wire_frame *frame)
{
    read_envelope(body, frame);
    frame->message.read_index.identity = body_u64(body);
    frame->message.read_index.lease = body_boolean(body);
    nothing_behind(body);
}

void body_read_read_index_result(struct body_reader *body, struct wire_frame *frame)
{
    struct raft_read_index_result *result = &frame->message.read_index_result;
    read_envelope(body, frame);
    result->identity = body_u64(body);
    result->success = body_boolean(body);
    result->index = body_u64(body);
    nothing_behind(body);
}

void body_read_install_snapshot(struct body_reader *body, struct wire_frame *frame)
{
    struct raft_install_snapshot *install = &frame->message.install_snapshot;
    read_envelope(body, frame);
    install->attempt = body_u64(body);
    install->offset = body_u64(body);
    install->checksum = body_u64(body);
    install->last = body_boolean(body);
    install->meta.configuration = body_string(body);
    install->chunk.bytes = body_end(body);
}

void body_read_snapshot_result(struct body_reader *body, struct wire_frame *frame)
{
    struct raft_snapshot_result *result = &frame->message.snapshot_result;
    read_envelope(body, frame);
    result->index = body_u64(body);
    result->term = body_u64(body);
    result->attempt = body_u64(body);
    result->status = (enum raft_snapshot_status)body_up_to(body, RAFT_SNAPSHOT_REFUSED);
    result->offset = body_u64(body);
    result->match = body_u64(body);
    nothing_behind(body);
}

static void read_envelope(struct body_reader *body, struct wire_frame *frame)
{
    frame->message.type = (enum raft_message_type)frame->type;
    body_id(body, frame->message.from.text);
    body_id(body, frame->message.to.text);
    frame->message.term = body_u64(body);
}

static void nothing_behind(struct body_reader *body)
{
    struct slice rest = body_end(body);
    body_require(body, rest.size == 0);
}
