/*
 * Writing snapshots: one that is taken here, one that comes in. snapshot.h says what is promised.
 *
 * Both gather blocks and write each once, with its checksum. What came in before this process was
 * started is read again block by block, as far as it is whole, and each is written once more: after a
 * failed sync that killed the process before, the page cache would call it clean, and the sync at the
 * end would not cover it.
 */
#include "store/snapshot_file.h"

#include "base/mutant.h"
#include "raft/snapshot_meta.h"

#include <assert.h>

static struct snapshot_slot *complete_of(struct store_snapshots *snapshots,
                                         const struct raft_snapshot_meta *meta);
static enum error_code gather(struct snapshot_slot *slot, struct slice bytes,
                              struct error *failure);
static enum error_code write_block(struct snapshot_slot *slot, uint64_t number, struct slice data,
                                   struct error *failure);
static enum error_code sync_if_due(struct snapshot_slot *slot, struct error *failure);
static enum error_code finish(struct snapshot_slot *slot, struct error *failure);
static enum error_code give_up_taking(struct store_snapshots *snapshots,
                                      const struct error *failure, struct error *error);
static enum error_code forget_progress(struct store_snapshots *snapshots,
                                       struct snapshot_slot *slot, const struct error *failure,
                                       struct error *error);
static enum error_code look_again(struct store_snapshots *snapshots, struct snapshot_slot *slot,
                                  struct error *failure);

/* ---- taken here ---- */

enum error_code store_snapshot_begin(struct store_snapshots *snapshots,
                                     const struct raft_snapshot_meta *meta, struct error *error)
{
    enum error_code code = snapshots_check(snapshots, error);
    if (code) return code;
    assert(!snapshots_slot(snapshots, SLOT_TAKING));
    struct snapshot_slot *slot;
    return snapshots_take_slot(snapshots, SLOT_TAKING, meta, &slot, error);
}

enum error_code store_snapshot_write(struct store_snapshots *snapshots, struct slice bytes,
                                     struct error *error)
{
    enum error_code code = snapshots_check(snapshots, error);
    if (code) return code;
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_TAKING);
    assert(slot);
    struct error failure;
    code = gather(slot, bytes, &failure);
    return code ? give_up_taking(snapshots, &failure, error) : ERROR_OK;
}

/* The head last: it says how long the data is. */
enum error_code store_snapshot_finish(struct store_snapshots *snapshots,
                                      struct raft_snapshot_meta *meta, struct error *error)
{
    enum error_code code = snapshots_check(snapshots, error);
    if (code) return code;
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_TAKING);
    assert(slot);
    struct error failure;
    meta->size = slot->size;
    size_t head_size = slot->head.size;
    snapshot_encode_head(slot, meta, SNAPSHOT_TAKEN);
    assert(slot->head.size == head_size);
    code = store_file_write(&slot->file, 0, slot->head.data, slot->head.size, &failure);
    if (!code) code = finish(slot, &failure);
    return code ? give_up_taking(snapshots, &failure, error) : ERROR_OK;
}

void store_snapshot_abort(struct store_snapshots *snapshots)
{
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_TAKING);
    if (slot) snapshots_free_slot(snapshots, slot, NULL);
}

/* ---- came in ---- */

enum error_code store_incoming_begin(struct store_snapshots *snapshots,
                                     const struct raft_snapshot_meta *meta, uint64_t *have,
                                     struct error *error)
{
    *have = 0;
    enum error_code code = snapshots_check(snapshots, error);
    if (code) return code;
    struct error failure;
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_INCOMING);
    if (slot && !raft_snapshot_meta_equal(&slot->meta, meta)) {
        if ((code = snapshots_free_slot(snapshots, slot, error))) return code;
        slot = NULL;
    }
    if (!slot) slot = complete_of(snapshots, meta);
    if (!slot) {
        code = snapshots_take_slot(snapshots, SLOT_INCOMING, meta, &slot, error);
        if (code) return code;
        code = store_file_write(&slot->file, 0, slot->head.data, slot->head.size, &failure);
    } else if (!slot->looked) {
        code = look_again(snapshots, slot, &failure);
    }
    if (code) return forget_progress(snapshots, slot, &failure, error);
    *have = slot->size;
    return ERROR_OK;
}

/* One that had come in whole, and was not made the node's own: it goes on from there. */
static struct snapshot_slot *complete_of(struct store_snapshots *snapshots,
                                         const struct raft_snapshot_meta *meta)
{
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS; i++) {
        struct snapshot_slot *slot = &snapshots->slots[i];
        if (slot->use != SLOT_COMPLETE || !raft_snapshot_meta_equal(&slot->meta, meta)) continue;
        slot->use = SLOT_INCOMING;
        return slot;
    }
    return NULL;
}

enum error_code store_incoming_write(struct store_snapshots *snapshots, uint64_t offset,
                                     struct slice bytes, uint64_t *have, struct error *error)
{
    *have = 0;
    enum error_code code = snapshots_check(snapshots, error);
    if (code) return code;
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_INCOMING);
    if (!slot || !slot->looked) return ERROR_OK; /* nothing has begun */
    *have = slot->size;
    if (offset != slot->size || bytes.size > slot->meta.size - slot->size) return ERROR_OK;
    struct error failure;
    code = gather(slot, bytes, &failure);
    if (code) {
        *have = 0;
        return forget_progress(snapshots, slot, &failure, error);
    }
    *have = slot->size;
    return ERROR_OK;
}

enum error_code store_incoming_finish(struct store_snapshots *snapshots, struct error *error)
{
    enum error_code code = snapshots_check(snapshots, error);
    if (code) return code;
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_INCOMING);
    assert(slot && slot->looked && slot->size == slot->meta.size);
    struct error failure;
    code = finish(slot, &failure);
    return code ? forget_progress(snapshots, slot, &failure, error) : ERROR_OK;
}

void store_incoming_abort(struct store_snapshots *snapshots)
{
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_INCOMING);
    if (slot) snapshots_free_slot(snapshots, slot, NULL);
}

/* ---- blocks ---- */

static enum error_code gather(struct snapshot_slot *slot, struct slice bytes,
                              struct error *failure)
{
    while (bytes.size > 0) {
        size_t room = slot->block - slot->rest.size;
        size_t taken = bytes.size < room ? bytes.size : room;
        uint64_t number = slot->size / slot->block;
        enum error_code code = ERROR_OK;
        if (taken == slot->block) { /* a whole one, where it lies */
            code = write_block(slot, number, slice_of(bytes.data, taken), failure);
        } else {
            buffer_append(&slot->rest, bytes.data, taken);
            if (slot->rest.size == slot->block) {
                code = write_block(slot, number, buffer_slice(&slot->rest), failure);
                buffer_clear(&slot->rest);
            }
        }
        if (!code) code = sync_if_due(slot, failure);
        if (code) return code;
        slot->size += taken;
        bytes = slice_of(bytes.data + taken, bytes.size - taken);
    }
    return ERROR_OK;
}

static enum error_code write_block(struct snapshot_slot *slot, uint64_t number, struct slice data,
                                   struct error *failure)
{
    uint8_t checksum[8];
    uint64_t at = snapshot_block_at(slot, number);
    put_u64(checksum, raft_chunk_checksum(number * slot->block, data));
    slot->unsynced += data.size;
    enum error_code code = store_file_write(&slot->file, at, checksum, sizeof checksum, failure);
    if (code) return code;
    return store_file_write(&slot->file, at + sizeof checksum, data.data, data.size, failure);
}

static enum error_code sync_if_due(struct snapshot_slot *slot, struct error *failure)
{
    if (slot->unsynced < STORE_SNAPSHOT_SYNC_BYTES) return ERROR_OK;
    slot->unsynced = 0;
    return store_file_sync(&slot->file, failure);
}

static enum error_code finish(struct snapshot_slot *slot, struct error *failure)
{
    enum error_code code = ERROR_OK;
    if (slot->rest.size > 0) {
        uint64_t number = slot->size / slot->block;
        code = write_block(slot, number, buffer_slice(&slot->rest), failure);
    }
    if (!code && !FAULT(UNSYNCED_SNAPSHOT)) code = store_file_sync(&slot->file, failure);
    if (code) return code;
    buffer_deinit(&slot->rest);
    slot->use = SLOT_COMPLETE;
    return ERROR_OK;
}

/* What an earlier process left: whole blocks from the beginning on. */
static enum error_code look_again(struct store_snapshots *snapshots, struct snapshot_slot *slot,
                                  struct error *failure)
{
    enum error_code code =
        store_file_write(&slot->file, 0, slot->head.data, slot->head.size, failure);
    struct buffer *block = &snapshots->scratch;
    slot->size = 0;
    while (!code && slot->size < slot->meta.size) {
        uint64_t left = slot->meta.size - slot->size;
        size_t size = left < slot->block ? (size_t)left : slot->block;
        uint64_t number = slot->size / slot->block;
        buffer_clear(block);
        buffer_reserve(block, size);
        code = snapshot_read_block(slot, number, size, block->data, failure);
        if (code == ERROR_CORRUPT) { /* it had come no further */
            code = ERROR_OK;
            break;
        }
        if (!code) code = write_block(slot, number, slice_of(block->data, size), failure);
        if (!code) code = sync_if_due(slot, failure);
        slot->size += size;
    }
    slot->looked = code == ERROR_OK;
    return code;
}

/* ---- failing ---- */

static enum error_code give_up_taking(struct store_snapshots *snapshots,
                                      const struct error *failure, struct error *error)
{
    if (failure->code == ERROR_DISK_FULL) store_snapshot_abort(snapshots);
    return snapshots_fail(snapshots, failure, error);
}

/* What is whole in the file is found by the next beginning. */
static enum error_code forget_progress(struct store_snapshots *snapshots,
                                       struct snapshot_slot *slot, const struct error *failure,
                                       struct error *error)
{
    slot->looked = false;
    slot->size = 0;
    buffer_clear(&slot->rest);
    return snapshots_fail(snapshots, failure, error);
}
