/*
 * Snapshots' files, apart from the log: a large snapshot never stands before a vote.
 *
 * struct store_snapshots is a handle of its own: everything here may run on another thread than the
 * store's calls, one thread at a time, from store_open until store_close. Only making a snapshot what
 * the node starts from is the store's business (store_adopt, store_install in store.h), once its file
 * is complete and synced. Each call does a bounded piece of work, with two exceptions: finishing syncs
 * what was written since the last sync (at most some megabytes), and store_incoming_begin after a
 * restart reads what is there of an unfinished snapshot.
 *
 * Errors: DISK_FULL: not done; a snapshot being taken is given up and its file deleted, one coming in
 * stays as far as it came. UNAVAILABLE: too many snapshots are kept for others, or there is none of
 * that index. CORRUPT: the file is damaged. After CORRUPT or IO everything here answers the same, and
 * the process must stop.
 */
#ifndef MOONCLAVE_STORE_SNAPSHOT_H
#define MOONCLAVE_STORE_SNAPSHOT_H

#include "base/buffer.h"
#include "base/error.h"
#include "raft/types.h"

struct store;
struct store_snapshots;

struct store_snapshots *store_snapshots(struct store *store); /* the store's */

/* ---- one of this node's own ---- */

/* Begins; one at a time. meta's hashes and size need not be known yet, its configuration must be.
 * Borrowed for the call. */
enum error_code store_snapshot_begin(struct store_snapshots *snapshots,
                                     const struct raft_snapshot_meta *meta, struct error *error);
enum error_code store_snapshot_write(struct store_snapshots *snapshots, struct slice bytes,
                                     struct error *error);
/* Complete and synced when it returns OK. meta as at the beginning, with hashes; its size is set. */
enum error_code store_snapshot_finish(struct store_snapshots *snapshots,
                                      struct raft_snapshot_meta *meta, struct error *error);
void store_snapshot_abort(struct store_snapshots *snapshots); /* harmless when none is being taken */
/* Deletes a complete one that store_adopt refused (a full disk): without this it would be kept until a
 * later one is adopted, and after some refusals there would be no room for that one. */
enum error_code store_snapshot_discard(struct store_snapshots *snapshots, raft_index index,
                                       struct error *error);

/* ---- one that comes in ---- */

/* Goes on with what is there of the same snapshot (all fields of the meta are equal), or begins one
 * and deletes what is there of any other. *have: the bytes that are there. */
enum error_code store_incoming_begin(struct store_snapshots *snapshots,
                                     const struct raft_snapshot_meta *meta, uint64_t *have,
                                     struct error *error);
/* Bytes that do not continue what is there are dropped; *have says what is. */
enum error_code store_incoming_write(struct store_snapshots *snapshots, uint64_t offset,
                                     struct slice bytes, uint64_t *have, struct error *error);
/* All bytes are there; complete and synced when it returns OK. */
enum error_code store_incoming_finish(struct store_snapshots *snapshots, struct error *error);
void store_incoming_abort(struct store_snapshots *snapshots); /* deletes what is there */

/* ---- reading ---- */

/* Appends to *out what a complete snapshot has from offset on: at most max_bytes, checked. NOT_FOUND:
 * there is none of that index. */
enum error_code store_snapshot_read(struct store_snapshots *snapshots, raft_index index,
                                    uint64_t offset, size_t max_bytes, struct buffer *out,
                                    struct error *error);
/* Deletes complete ones of a lower index. */
enum error_code store_snapshots_forget(struct store_snapshots *snapshots, raft_index from,
                                       struct error *error);
/* The same, but for those of the `count` indexes in `kept`. */
enum error_code store_snapshots_forget_but(struct store_snapshots *snapshots, raft_index from,
                                           const raft_index *kept, size_t count,
                                           struct error *error);

#endif
