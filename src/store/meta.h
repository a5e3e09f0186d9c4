/*
 * The bytes of the rows in `meta`. Each row is checked on its own, with its key as the seed, so
 * that one row's bytes under another's key are damage too. Little-endian:
 *
 *   identity    u8 version (1), u8 id size, id, u64 incarnation, u64 cluster, u64 checksum
 *   hard state  u8 version (1), u8 vote size, vote, u64 term, u64 checksum
 *   snapshot    raft/snapshot_meta.h, u64 checksum
 *   base        u8 version (1), u8 0, u64 index, u64 term, u64 chain, u64 checksum
 *   first       the first configuration (raft/configuration.h; nothing while blank), u64 checksum
 */
#ifndef MOONCLAVE_STORE_META_H
#define MOONCLAVE_STORE_META_H

#include "base/error.h"
#include "base/identity.h"
#include "raft/types.h"

/* Frozen numbers. */
enum store_meta_key {
    STORE_META_IDENTITY = 1,
    STORE_META_HARD_STATE = 2,
    STORE_META_SNAPSHOT = 3,
    STORE_META_BASE = 4,
    STORE_META_FIRST = 5,
};

/* Append one row's bytes. */
void store_meta_encode_identity(const struct identity *identity, struct buffer *out);
void store_meta_encode_hard_state(const struct raft_hard_state *hard_state, struct buffer *out);
void store_meta_encode_snapshot(const struct raft_snapshot_meta *snapshot, struct buffer *out);
void store_meta_encode_base(const struct raft_log_base *base, struct buffer *out);
void store_meta_encode_first(struct slice configuration, struct buffer *out);

/* OK, CORRUPT or VERSION with a text. */
enum error_code store_meta_decode_identity(struct slice bytes, struct identity *identity,
                                           struct error *error);
enum error_code store_meta_decode_hard_state(struct slice bytes, struct raft_hard_state *hard_state,
                                             struct error *error);
/* The configuration points into `bytes`. */
enum error_code store_meta_decode_snapshot(struct slice bytes, struct raft_snapshot_meta *snapshot,
                                           struct error *error);
enum error_code store_meta_decode_base(struct slice bytes, struct raft_log_base *base,
                                       struct error *error);
/* *configuration points into `bytes`; what is in it is not looked at. */
enum error_code store_meta_decode_first(struct slice bytes, struct slice *configuration,
                                        struct error *error);

#endif
