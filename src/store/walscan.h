/*
 * The WAL, read before SQLite reads it.
 *
 * SQLite stops at the first frame whose checksum is wrong and silently forgets every commit behind
 * it. For a torn last transaction that is right: it was never acknowledged. For damage it loses
 * votes and acknowledged entries. The scan tells them apart and refuses the second.
 *
 * The file (as SQLite documents it; header fields are big-endian):
 *
 *   header, 32 bytes           frame, 24 bytes and a page
 *    0  u32  magic              0  u32  page number
 *    4  u32  version            4  u32  pages of the database after this commit; 0: no commit
 *    8  u32  page size          8  u32  salt 1
 *   12  u32  sequence          12  u32  salt 2
 *   16  u32  salt 1            16  u32  checksum, 2 words
 *   20  u32  salt 2            24  page
 *   24  u32  checksum, 2 words
 *
 * The header's checksum covers the 24 bytes before it. A frame's continues the stored checksum of
 * the frame before (at first: the header's) over its own first 8 bytes and its page. Frames with
 * other salts are left from an earlier filling and mean nothing.
 *
 * What is legal in a WAL: the committed frames; behind them anything, as long as none of it was
 * acknowledged: a torn transaction (any of its sectors may be missing, its commit frame may be
 * there without the others), or the remains of transactions that a full disk refused. SQLite begins
 * to write a transaction only after the one before is synced, so:
 *
 *   a frame that continues a commit frame which is not among the committed ones
 *   proves that an acknowledged commit is damaged,
 *
 * and no torn or refused write can look like that. "Continues" means: its own checksum agrees with
 * that frame's stored checksum, or with the checksum that frame should have had (SQLite's sum can
 * be run backwards). The last transaction has no successor; for that one the mark is the witness
 * (mark.h).
 */
#ifndef MOONCLAVE_STORE_WALSCAN_H
#define MOONCLAVE_STORE_WALSCAN_H

#include "store/mark.h"

struct store_walscan {
    bool valid; /* there is a WAL with a good header */
    struct store_wal_generation generation;
    uint32_t page_size;
    uint32_t frames; /* committed: what SQLite will recover */
    uint64_t damaged_at; /* after CORRUPT: the offset */
};

/* Reads all of `wal`. OK with what is in it, CORRUPT with the file and the offset, or the file's
 * own failure. */
enum error_code store_walscan(struct store_file *wal, const struct store_mark *mark,
                              struct store_walscan *scan, struct error *error);

/* Writes the committed frames that the mark does not vouch for once more, as they are, and syncs.
 * They may be in the page cache only: written by a process that was killed before its sync, or
 * whose sync failed (after which the cache calls them clean). From here on they are reported as
 * durable, so they must be. */
enum error_code store_wal_adopt(struct store_file *wal, const struct store_walscan *scan,
                                const struct store_mark *mark, struct error *error);

/* The generation in a WAL's header; false: no good header. */
bool store_wal_header(const uint8_t *header, struct store_wal_generation *generation,
                      uint32_t *page_size);

#define STORE_WAL_HEADER_SIZE 32

#endif
