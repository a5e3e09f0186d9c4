/*
 * The bodies of frames, for wire.c only: one writer and one reader per type, found through its
 * table. The array's elements are in the order of wire.h's table.
 */
#ifndef MOONCLAVE_WIRE_BODY_H
#define MOONCLAVE_WIRE_BODY_H

#include "base/mp.h"
#include "wire/wire.h"

/* Takes the elements of one array in order. The first that does not fit makes it fail for good:
 * everything taken after that is 0, so that a reader is written as a plain list of fields and asked
 * once, at the end, whether it went well. */
struct body_reader {
    struct mp_reader mp;
    uint32_t left;  /* elements not yet taken */
    unsigned taken; /* for the error text: which element it was */
    bool failed;
};

void body_begin(struct body_reader *body, struct slice bytes);
uint64_t body_u64(struct body_reader *body);
uint64_t body_up_to(struct body_reader *body, uint64_t most);
bool body_boolean(struct body_reader *body);
struct slice body_string(struct body_reader *body);
/* Into zero-ended text; fails when it does not fit or holds a zero byte. */
void body_text(struct body_reader *body, char *out, size_t capacity);
void body_id(struct body_reader *body, char out[ID_MAX + 1]); /* a valid id */
void body_require(struct body_reader *body, bool holds);      /* fails unless it does */
/* Skips the elements a newer writer added. The bytes behind the array, when nothing failed. */
struct slice body_end(struct body_reader *body);

void body_write_hello(const struct wire_frame *frame, struct buffer *out);
void body_write_refused(const struct wire_frame *frame, struct buffer *out);
void body_write_forward(const struct wire_frame *frame, struct buffer *out);
void body_write_forward_reply(const struct wire_frame *frame, struct buffer *out);
void body_write_request_vote(const struct wire_frame *frame, struct buffer *out);
void body_write_vote(const struct wire_frame *frame, struct buffer *out);
void body_write_append(const struct wire_frame *frame, struct buffer *out); /* the array only */
void body_write_append_result(const struct wire_frame *frame, struct buffer *out);
void body_write_timeout_now(const struct wire_frame *frame, struct buffer *out);
void body_write_read_index(const struct wire_frame *frame, struct buffer *out);
void body_write_read_index_result(const struct wire_frame *frame, struct buffer *out);
void body_write_install_snapshot(const struct wire_frame *frame, struct buffer *out);
void body_write_snapshot_result(const struct wire_frame *frame, struct buffer *out);

void body_read_hello(struct body_reader *body, struct wire_frame *frame);
void body_read_refused(struct body_reader *body, struct wire_frame *frame);
void body_read_forward(struct body_reader *body, struct wire_frame *frame);
void body_read_forward_reply(struct body_reader *body, struct wire_frame *frame);
void body_read_request_vote(struct body_reader *body, struct wire_frame *frame);
void body_read_vote(struct body_reader *body, struct wire_frame *frame);
/* The array only; entry_count is not yet checked. */
void body_read_append(struct body_reader *body, struct wire_frame *frame);
void body_read_append_result(struct body_reader *body, struct wire_frame *frame);
void body_read_timeout_now(struct body_reader *body, struct wire_frame *frame);
void body_read_read_index(struct body_reader *body, struct wire_frame *frame);
void body_read_read_index_result(struct body_reader *body, struct wire_frame *frame);
/* The meta is not yet decoded: its bytes are left in meta.configuration. */
void body_read_install_snapshot(struct body_reader *body, struct wire_frame *frame);
void body_read_snapshot_result(struct body_reader *body, struct wire_frame *frame);

#endif
