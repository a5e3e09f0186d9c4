/* The bodies of what is not Raft: hello, its refusal, forwarded requests and their replies. */
#include "wire/body.h"

/* ---- writing ---- */

void body_write_hello(const struct wire_frame *frame, struct buffer *out)
{
    const struct hello *hello = &frame->hello;
    mp_write_array(out, 11);
    mp_write_text(out, hello->identity.id);
    mp_write_u64(out, hello->identity.incarnation);
    mp_write_u64(out, hello->identity.cluster);
    mp_write_text(out, hello->address);
    mp_write_u64(out, hello->protocol_min);
    mp_write_u64(out, hello->protocol_max);
    mp_write_u64(out, hello->format_level);
    mp_write_text(out, hello->lua_release);
    mp_write_u64(out, hello->peers_hash);
    mp_write_boolean(out, hello->joining);
    mp_write_u64(out, hello->member_until);
    buffer_append_slice(out, hello->configuration);
}

void body_write_refused(const struct wire_frame *frame, struct buffer *out)
{
    mp_write_array(out, 2);
    mp_write_u64(out, (uint64_t)frame->refused.code);
    mp_write_string(out, frame->refused.text);
}

void body_write_forward(const struct wire_frame *frame, struct buffer *out)
{
    const struct request *request = &frame->forward.request;
    mp_write_array(out, 6);
    mp_write_u64(out, frame->forward.ticket);
    mp_write_u64(out, (uint64_t)request->kind);
    mp_write_u64(out, (uint64_t)request->consistency);
    mp_write_u64(out, request->session);
    mp_write_u64(out, request->sequence);
    mp_write_u64(out, request->timeout_ms);
    buffer_append_slice(out, request->body);
}

void body_write_forward_reply(const struct wire_frame *frame, struct buffer *out)
{
    mp_write_array(out, 2);
    mp_write_u64(out, frame->forward_reply.ticket);
    mp_write_u64(out, (uint64_t)frame->forward_reply.reply.code);
    buffer_append_slice(out, frame->forward_reply.reply.body);
}

/* ---- reading ---- */

static enum error_code error_number(struct body_reader *body);
static struct slice one_value(struct body_reader *body, struct slice bytes);
static void nothing_behind(struct body_reader *body);

void body_read_hello(struct body_reader *body, struct wire_frame *frame)
{
    struct hello *hello = &frame->hello;
    body_id(body, hello->identity.id);
    hello->identity.incarnation = body_u64(body);
    body_require(body, hello->identity.incarnation != 0);
    hello->identity.cluster = body_u64(body);
    body_text(body, hello->address, sizeof hello->address);
    hello->protocol_min = (uint32_t)body_up_to(body, UINT32_MAX);
    hello->protocol_max = (uint32_t)body_up_to(body, UINT32_MAX);
    body_require(body, hello->protocol_min <= hello->protocol_max);
    hello->format_level = (uint32_t)body_up_to(body, UINT32_MAX);
    body_text(body, hello->lua_release, sizeof hello->lua_release);
    hello->peers_hash = body_u64(body);
    hello->joining = body_boolean(body);
    hello->member_until = body_u64(body);
    hello->configuration = body_end(body);
}

void body_read_refused(struct body_reader *body, struct wire_frame *frame)
{
    frame->refused.code = error_number(body);
    frame->refused.text = body_string(body);
    nothing_behind(body);
}

void body_read_forward(struct body_reader *body, struct wire_frame *frame)
{
    struct request *request = &frame->forward.request;
    frame->forward.ticket = body_u64(body);
    request->kind = (enum request_kind)body_up_to(body, REQUEST_ADMIN);
    request->consistency = (enum consistency)body_up_to(body, CONSISTENCY_STALE);
    request->session = body_u64(body);
    request->sequence = body_u64(body);
    request->timeout_ms = (uint32_t)body_up_to(body, UINT32_MAX);
    request->body = one_value(body, body_end(body));
}

void body_read_forward_reply(struct body_reader *body, struct wire_frame *frame)
{
    frame->forward_reply.ticket = body_u64(body);
    frame->forward_reply.reply.code = error_number(body);
    struct slice rest = body_end(body);
    frame->forward_reply.reply.body = rest.size ? one_value(body, rest) : rest;
}

/* A newer peer may know errors that we do not: to us they are the worst, outcome unknown. */
static enum error_code error_number(struct body_reader *body)
{
    enum error_code code;
    uint64_t number = body_up_to(body, UINT32_MAX);
    return error_from_number((unsigned)number, &code) ? code : ERROR_INTERNAL;
}

/* What other layers will read without looking again must be one value of bearable depth. */
static struct slice one_value(struct body_reader *body, struct slice bytes)
{
    struct mp_limits limits = {
        .depth = MP_SCAN_DEPTH_MAX, .elements = bytes.size, .bytes = bytes.size};
    if (!body->failed) body_require(body, mp_check(bytes, &limits, NULL) == ERROR_OK);
    return bytes;
}

static void nothing_behind(struct body_reader *body)
{
    struct slice rest = body_end(body);
    body_require(body, rest.size == 0);
}
