/*
 * A snapshot's file, for snapshot.c and snapshot_write.c only. FOLDER/snapshot-N, little-endian:
 *
 *    0  u32  "mcS1"
 *    4  u8   version (1)
 *    5  u8   kind: 0 taken here, 1 came in
 *    6  u16  0
 *    8  u32  block size: data bytes in a block
 *   12  u32  meta size
 *   16  u64  checksum = XXH3(meta, seed XXH3(bytes 0..15))
 *   24  meta: raft/snapshot_meta.h
 *       blocks, each: u64 checksum (raft_chunk_checksum of its place in the data), data; the last one
 *       is as long as meta's size leaves it
 *
 * A snapshot taken here gets its head last, when its size is known: without a whole head it is an
 * orphan. One that comes in has its head first, and is there as far as its blocks are whole. Which
 * file is the node's own is nowhere but in the log's database: its meta is the pointer.
 */
#ifndef MOONCLAVE_STORE_SNAPSHOT_FILE_H
#define MOONCLAVE_STORE_SNAPSHOT_FILE_H

#include "store/file.h"
#include "store/snapshot.h"

#define STORE_SNAPSHOT_MAGIC   0x3153636d /* "mcS1" */
#define STORE_SNAPSHOT_VERSION 1
#define STORE_SNAPSHOT_HEAD    24
#define STORE_SNAPSHOT_BLOCK   65536
/* What is written without a sync is bounded, so that the log's next sync does not wait for it. */
#define STORE_SNAPSHOT_SYNC_BYTES (512u << 10)

enum snapshot_kind { SNAPSHOT_TAKEN = 0, SNAPSHOT_CAME_IN = 1 };

enum snapshot_use { SLOT_FREE, SLOT_TAKING, SLOT_INCOMING, SLOT_COMPLETE };

struct snapshot_slot {
    const char *name;
    enum snapshot_use use;
    struct store_file file; /* open, unless the slot is free */
    struct buffer head;     /* with the meta's bytes */
    struct raft_snapshot_meta meta; /* its configuration is within head */
    uint32_t block;
    bool looked;        /* incoming: what was there at open has been read */
    uint64_t size;      /* data bytes taken so far */
    struct buffer rest; /* those that do not fill a block yet */
    uint64_t unsynced;
};

struct store_snapshots {
    sqlite3_vfs *vfs;
    uint32_t block; /* of new ones */
    struct snapshot_slot slots[STORE_SNAPSHOT_SLOTS];
    struct buffer scratch;
    struct error failure; /* code OK: none */
};

/* ---- snapshot.c ---- */
/* Breaks the handle on IO and CORRUPT. Returns the code, with the text in *error. */
enum error_code snapshots_fail(struct store_snapshots *snapshots, const struct error *failure,
                               struct error *error);
enum error_code snapshots_check(const struct store_snapshots *snapshots, struct error *error);
struct snapshot_slot *snapshots_slot(struct store_snapshots *snapshots, enum snapshot_use use);
/* Makes the file of a free slot, with a head in memory. UNAVAILABLE: none is free. */
enum error_code snapshots_take_slot(struct store_snapshots *snapshots, enum snapshot_use use,
                                    const struct raft_snapshot_meta *meta,
                                    struct snapshot_slot **slot, struct error *error);
enum error_code snapshots_free_slot(struct store_snapshots *snapshots, struct snapshot_slot *slot,
                                    struct error *error); /* deletes the file */
void snapshot_encode_head(struct snapshot_slot *slot, const struct raft_snapshot_meta *meta,
                          enum snapshot_kind kind);
uint64_t snapshot_block_at(const struct snapshot_slot *slot, uint64_t number); /* in the file */
/* One block, checked. CORRUPT: it is not what was written; only then may the caller go on. */
enum error_code snapshot_read_block(struct snapshot_slot *slot, uint64_t number, size_t size,
                                    uint8_t *out, struct error *error);

#endif
