/*
 * A backup's bytes: a snapshot as a file of its own, for people to carry away. It is the same to the byte
 * from whichever node it was made at that index. Little-endian:
 *
 *    0  u32  "mcB1"
 *    4  u8   version (1)
 *    5  u24  0
 *    8  u32  block size: data bytes in a block (65536)
 *   12  u32  meta size
 *   16  u64  cluster: the id of the one that it was made of
 *   24  u64  time_ms: the replicated clock at its index
 *   32  u64  the hash of the app's bundle
 *   40  u64  checksum = XXH3(meta, seed XXH3(bytes 0..39))
 *   48  meta: raft/snapshot_meta.h: index, term, members, the hashes of both trees, how much data there is
 *       blocks, each: u64 checksum (raft_chunk_checksum of its place in the data), data; the last one is as
 *       long as the size leaves it. The data is a snapshot's: host/restore.c
 *       trailer: u32 "mcBE", u32 0, u64 checksum: from the head's on, hash_pair(so far, the block's) for each
 *
 * So every byte is covered, damage is found where it is, and a file that is cut short is no backup.
 */
#ifndef MOONCLAVE_STORE_BACKUP_H
#define MOONCLAVE_STORE_BACKUP_H

#include "base/buffer.h"
#include "base/error.h"
#include "raft/types.h"

#define BACKUP_VERSION 1
#define BACKUP_BLOCK 65536

struct backup_head {
    uint64_t cluster;
    uint64_t time_ms;
    uint64_t app_hash;
    uint64_t checksum;              /* of the head; set by writing and by reading */
    struct raft_snapshot_meta meta; /* its configuration is borrowed */
};

/* ---- writing, piece by piece ---- */
struct backup_writer {
    uint64_t size;   /* of the data */
    uint64_t offset; /* given so far */
    uint64_t sum;
};

uint64_t backup_file_size(const struct backup_head *head);
/* Appends the head, and sets its checksum. Where there is no data the trailer follows at once. */
void backup_write_begin(struct backup_writer *writer, struct backup_head *head, struct buffer *out);
/* Appends the next bytes of the data, as blocks: a whole number of them, unless they end the data, and then
 * the trailer follows. */
void backup_write(struct backup_writer *writer, struct slice data, struct buffer *out);

/* ---- reading, in pieces of any size ---- */
enum backup_stage { BACKUP_FIXED, BACKUP_META, BACKUP_DATA, BACKUP_TRAILER, BACKUP_WHOLE };
struct backup_reader {
    enum backup_stage stage;
    struct backup_head head; /* from BACKUP_DATA on; its configuration is within `meta` */
    struct buffer meta;
    struct buffer part; /* what is being gathered */
    uint64_t position;  /* in the file: bytes taken */
    uint64_t offset;    /* in the data */
    uint64_t sum;
};

void backup_reader_init(struct backup_reader *reader);
void backup_reader_deinit(struct backup_reader *reader);
/* Takes bytes up to the end of the next part: *used says how many. A block's data is then in *data, which is
 * empty otherwise, and borrowed until the next call. CORRUPT, with where; VERSION, with what wrote it.
 * Afterwards the reader is good for nothing but deinit. */
enum error_code backup_reader_feed(struct backup_reader *reader, struct slice bytes, size_t *used,
                                   struct slice *data, struct error *error);
/* The file has ended: OK where that is its end. */
enum error_code backup_reader_end(const struct backup_reader *reader, struct error *error);

#endif
