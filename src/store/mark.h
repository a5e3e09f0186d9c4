/*
 * The mark: a side file of one sector that says how far the WAL has been acknowledged.
 *
 * A torn last transaction and a damaged last transaction look the same in a WAL. The mark tells
 * them apart: it is written after a commit is synced and before it is reported, and it is itself
 * not synced. So it is exact as long as the page cache lives (a clean stop, a killed process: where
 * only a lying disk can damage what was written), and after a power loss it may lag, never lead.
 * What it then no longer covers is said in this folder's README.
 *
 * Bytes, little-endian:
 *
 *    0  u32  "mcA1"        16  u32  frames
 *    4  u32  sequence      20  u32  0
 *    8  u32  salt 1        24  u64  XXH3(bytes 0..23)
 *   12  u32  salt 2
 *
 * A mark that is missing or damaged says nothing: it is a second witness, not the deed.
 */
#ifndef MOONCLAVE_STORE_MARK_H
#define MOONCLAVE_STORE_MARK_H

#include "store/file.h"

/* One filling of the WAL: it is filled, checkpointed, and filled again from its start. */
struct store_wal_generation {
    uint32_t sequence; /* counts up by one each time */
    uint32_t salt[2];
};

struct store_mark {
    struct store_wal_generation generation;
    uint32_t frames; /* acknowledged; 0: nothing was, or nothing is known */
};

bool store_generation_equal(const struct store_wal_generation *a,
                            const struct store_wal_generation *b);

/* Opens the file, making it durably where it is missing, and reads it. */
enum error_code store_mark_open(struct store_file *file, sqlite3_vfs *vfs, const char *name,
                                struct store_mark *mark, struct error *error);
/* Is what the file holds a mark? For those who look; store_mark_open takes what is none for nothing. */
enum error_code store_mark_check(struct store_file *file, bool *sound, struct error *error);
enum error_code store_mark_write(struct store_file *file, const struct store_mark *mark,
                                 struct error *error);

#endif
