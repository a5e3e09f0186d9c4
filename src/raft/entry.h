/*
 * An entry's bytes, the same on disk, on the wire and for the hash chain. Little-endian, 72 bytes and the payload:
 *
 *    0  u8   version (1)         24  u64  time_ms
 *    1  u8   type                32  u64  seed
 *    2  u16  flags               40  u64  session
 *    4  u32  payload size        48  u64  sequence
 *    8  u64  term                56  u64  chain
 *   16  u64  index               64  u64  checksum
 *   72  payload
 *
 * digest = XXH3(payload); chain = XXH3(previous chain, bytes 0..55, digest); checksum = XXH3(bytes 0..63, digest).
 * So the payload is hashed once, the checksum covers every byte, and the chain binds the whole log before it.
 */
#ifndef MOONCLAVE_RAFT_ENTRY_H
#define MOONCLAVE_RAFT_ENTRY_H

#include "base/error.h"
#include "raft/types.h"

#define RAFT_ENTRY_VERSION 1
#define RAFT_ENTRY_HEADER_SIZE 72

/* The chain value of `entry` behind an entry with chain `previous` (0 before the first entry of a log). */
uint64_t raft_entry_chain(const struct raft_entry *entry, uint64_t previous);

size_t raft_entry_size(const struct raft_entry *entry); /* header and payload */
/* Writes header (with checksum) only: RAFT_ENTRY_HEADER_SIZE bytes. The payload follows as it is. */
void raft_entry_encode_header(const struct raft_entry *entry, uint8_t *out);
void raft_entry_encode(const struct raft_entry *entry, struct buffer *out); /* appends header and payload */

/* Reads one entry from the start of `bytes`; *size is what it took. The payload points into `bytes` (blob null).
 * OK; CORRUPT: checksum or length wrong; VERSION: unknown version or type (the text says which). */
enum error_code raft_entry_decode(struct slice bytes, struct raft_entry *entry, size_t *size, struct error *error);

const char *raft_entry_type_name(unsigned type); /* "command"; "?" if unknown */

#endif
