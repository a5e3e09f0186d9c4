/*
 * A snapshot meta's bytes. Little-endian, 80 bytes and the configuration:
 *
 *    0  u8   version (1)           40  u64  state_hash
 *    1  u24  0                     48  u64  size of the data
 *    4  u32  format_level          56  u64  configuration_index
 *    8  u64  index                 64  u32  configuration size
 *   16  u64  term                  68  u32  0
 *   24  u64  chain                 72  u64  checksum
 *   32  u64  system_hash           80  configuration (raft/configuration.h)
 *
 * checksum = XXH3(bytes 0..71, XXH3(configuration)), so that every byte is covered.
 */
#ifndef MOONCLAVE_RAFT_SNAPSHOT_META_H
#define MOONCLAVE_RAFT_SNAPSHOT_META_H

#include "base/error.h"
#include "raft/types.h"

#define RAFT_SNAPSHOT_META_VERSION 1
#define RAFT_SNAPSHOT_META_HEADER_SIZE 80

/* Appends. */
void raft_snapshot_meta_encode(const struct raft_snapshot_meta *meta, struct buffer *out);

/* All of `bytes` is one meta; meta->configuration points into it. OK; CORRUPT: damaged, cut short
 * or too long; VERSION: an unknown version, or a format level above FORMAT_LEVEL. */
enum error_code raft_snapshot_meta_decode(struct slice bytes, struct raft_snapshot_meta *meta,
                                          struct error *error);

/* All of both is equal: the bytes of one may be continued with those of the other. */
bool raft_snapshot_meta_equal(const struct raft_snapshot_meta *a, const struct raft_snapshot_meta *b);

/* Of the bytes at `offset` of a snapshot's data: a chunk that is taken for another is damage too. */
uint64_t raft_chunk_checksum(uint64_t offset, struct slice bytes);

#endif
