/* Snapshots' files: finding them at open, reading, forgetting. The bytes are in snapshot_file.h,
 * writing is snapshot_write.c. */
#include "store/snapshot_file.h"

#include "base/hash.h"
#include "base/memory.h"
#include "raft/snapshot_meta.h"
#include "store/internal.h"

#include <assert.h>
#include <inttypes.h>

enum { AT_MAGIC = 0, AT_VERSION = 4, AT_KIND = 5, AT_BLOCK = 8, AT_META_SIZE = 12, AT_CHECKSUM = 16 };

#define META_SIZE_MAX (16u << 20) /* what a damaged head may not make us read */

static enum error_code look_at(struct store *store, struct snapshot_slot *slot, bool *found,
                               struct error *error);
static enum error_code delete_orphans(struct store_snapshots *snapshots, struct error *error);
static enum error_code read_head(struct snapshot_slot *slot, enum snapshot_kind *kind, bool *whole,
                                 struct error *error);
static uint64_t head_checksum(const uint8_t *head, struct slice meta);
static uint64_t file_size_of(const struct snapshot_slot *slot);
static enum error_code adopt_found(struct store *store, struct snapshot_slot *slot, bool *found,
                                   struct error *error);
static enum error_code delete_complete(struct store_snapshots *snapshots, raft_index from,
                                       raft_index to, const raft_index *kept, size_t count,
                                       struct error *error);
static void close_slot(struct snapshot_slot *slot);

struct store_snapshots *store_snapshots(struct store *store)
{
    return store->snapshots;
}

/* ---- at open ---- */

enum error_code store_snapshots_open(struct store *store, const struct store_options *options,
                                     struct error *error)
{
    struct store_snapshots *snapshots = memory_zero(1, sizeof *snapshots);
    store->snapshots = snapshots;
    snapshots->vfs = store->vfs;
    snapshots->block = options->snapshot_block ? options->snapshot_block : STORE_SNAPSHOT_BLOCK;
    bool found = store->durable.snapshot.index == 0;
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS; i++) {
        snapshots->slots[i].name = store->names.snapshots[i];
        enum error_code code = look_at(store, &snapshots->slots[i], &found, error);
        if (code) return code;
    }
    if (found) return delete_orphans(snapshots, error);
    return error_set(error, ERROR_CORRUPT,
                     "%s: the snapshot at %" PRIu64 " is missing or cut short, and the log begins "
                     "behind it: " STORE_REBUILD,
                     store->names.folder, store->durable.snapshot.index);
}

void store_snapshots_close(struct store_snapshots *snapshots)
{
    if (!snapshots) return;
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS; i++) close_slot(&snapshots->slots[i]);
    buffer_deinit(&snapshots->scratch);
    memory_free(snapshots);
}

static enum error_code look_at(struct store *store, struct snapshot_slot *slot, bool *found,
                               struct error *error)
{
    struct store_snapshots *snapshots = store->snapshots;
    bool exists, whole;
    enum snapshot_kind kind;
    enum error_code code = store_file_exists(store->vfs, slot->name, &exists, error);
    if (code || !exists) return code;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_SUPER_JOURNAL;
    if ((code = store_file_open(&slot->file, store->vfs, slot->name, flags, error))) return code;
    slot->use = SLOT_TAKING; /* an orphan, unless it turns out to be more */
    if ((code = read_head(slot, &kind, &whole, error))) return code;
    if (whole && (code = adopt_found(store, slot, found, error))) return code;
    bool later = whole && slot->use == SLOT_TAKING && kind == SNAPSHOT_CAME_IN &&
                 slot->meta.index > store->durable.snapshot.index;
    if (later && !snapshots_slot(snapshots, SLOT_INCOMING)) slot->use = SLOT_INCOMING;
    return ERROR_OK;
}

/* Only once the node's own has been found: what is damaged is not made worse. */
static enum error_code delete_orphans(struct store_snapshots *snapshots, struct error *error)
{
    struct snapshot_slot *orphan;
    enum error_code code = ERROR_OK;
    while (!code && (orphan = snapshots_slot(snapshots, SLOT_TAKING))) {
        code = snapshots_free_slot(snapshots, orphan, error);
    }
    return code;
}

/* The node's own: its blocks answer for themselves when they are read. */
static enum error_code adopt_found(struct store *store, struct snapshot_slot *slot, bool *found,
                                   struct error *error)
{
    uint64_t size;
    if (*found || !raft_snapshot_meta_equal(&slot->meta, &store->durable.snapshot)) return ERROR_OK;
    enum error_code code = store_file_size(&slot->file, &size, error);
    if (code || size < file_size_of(slot)) return code;
    slot->use = SLOT_COMPLETE;
    slot->size = slot->meta.size;
    *found = true;
    return ERROR_OK;
}

/* VERSION: it is whole, but of another version. A head that is damaged, or was never written, is not
 * whole: whether it was needed is not for it to say. */
static enum error_code read_head(struct snapshot_slot *slot, enum snapshot_kind *kind, bool *whole,
                                 struct error *error)
{
    struct buffer *head = &slot->head;
    *whole = false;
    buffer_reserve(head, STORE_SNAPSHOT_HEAD);
    enum error_code code =
        store_file_read(&slot->file, 0, head->data, STORE_SNAPSHOT_HEAD, error);
    if (code || get_u32(head->data + AT_MAGIC) != STORE_SNAPSHOT_MAGIC) return code;
    if (head->data[AT_VERSION] != STORE_SNAPSHOT_VERSION) {
        return error_set(error, ERROR_VERSION,
                         "%s: version %u; this program (moonclave %s) knows version %d: a newer one "
                         "wrote it, or it is damaged",
                         slot->name, head->data[AT_VERSION], MOONCLAVE_VERSION,
                         STORE_SNAPSHOT_VERSION);
    }
    uint32_t size = get_u32(head->data + AT_META_SIZE);
    if (size > META_SIZE_MAX || head->data[AT_KIND] > SNAPSHOT_CAME_IN) return ERROR_OK;
    buffer_reserve(head, STORE_SNAPSHOT_HEAD + size);
    head->size = STORE_SNAPSHOT_HEAD + size;
    code = store_file_read(&slot->file, STORE_SNAPSHOT_HEAD, head->data + STORE_SNAPSHOT_HEAD, size,
                           error);
    if (code) return code;
    struct slice meta = slice_of(head->data + STORE_SNAPSHOT_HEAD, size);
    *kind = (enum snapshot_kind)head->data[AT_KIND];
    slot->block = get_u32(head->data + AT_BLOCK);
    if (slot->block == 0 || get_u64(head->data + AT_CHECKSUM) != head_checksum(head->data, meta)) {
        return ERROR_OK;
    }
    struct error failure;
    code = raft_snapshot_meta_decode(meta, &slot->meta, &failure);
    if (code == ERROR_VERSION) return error_set(error, code, "%s: %s", slot->name, failure.text);
    *whole = code == ERROR_OK;
    return ERROR_OK;
}

/* ---- reading ---- */

enum error_code store_snapshot_read(struct store_snapshots *snapshots, raft_index index,
                                    uint64_t offset, size_t max_bytes, struct buffer *out,
                                    struct error *error)
{
    enum error_code code = snapshots_check(snapshots, error);
    if (code) return code;
    struct snapshot_slot *slot = NULL;
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS; i++) {
        struct snapshot_slot *one = &snapshots->slots[i];
        if (one->use == SLOT_COMPLETE && one->meta.index == index) slot = one;
    }
    if (!slot) {
        return error_set(error, ERROR_NOT_FOUND, "there is no snapshot at %" PRIu64, index);
    }
    while (max_bytes > 0 && offset < slot->meta.size) {
        uint64_t number = offset / slot->block, from = number * slot->block;
        uint64_t left = slot->meta.size - from;
        size_t size = left < slot->block ? (size_t)left : slot->block;
        buffer_clear(&snapshots->scratch);
        buffer_reserve(&snapshots->scratch, size);
        struct error failure;
        code = snapshot_read_block(slot, number, size, snapshots->scratch.data, &failure);
        if (code) return snapshots_fail(snapshots, &failure, error);
        size_t skip = (size_t)(offset - from);
        size_t taken = size - skip < max_bytes ? size - skip : max_bytes;
        buffer_append(out, snapshots->scratch.data + skip, taken);
        offset += taken;
        max_bytes -= taken;
    }
    return ERROR_OK;
}

enum error_code snapshot_read_block(struct snapshot_slot *slot, uint64_t number, size_t size,
                                    uint8_t *out, struct error *error)
{
    uint8_t checksum[8];
    uint64_t at = snapshot_block_at(slot, number);
    enum error_code code = store_file_read(&slot->file, at, checksum, sizeof checksum, error);
    if (!code) code = store_file_read(&slot->file, at + sizeof checksum, out, size, error);
    if (code) return code;
    uint64_t offset = number * slot->block;
    if (raft_chunk_checksum(offset, slice_of(out, size)) == get_u64(checksum)) return ERROR_OK;
    return error_set(error, ERROR_CORRUPT,
                     "%s: offset %" PRIu64 ": its checksum does not match: " STORE_REBUILD,
                     slot->name, at);
}

enum error_code store_snapshots_forget(struct store_snapshots *snapshots, raft_index from,
                                       struct error *error)
{
    return delete_complete(snapshots, 0, from, NULL, 0, error);
}

enum error_code store_snapshot_discard(struct store_snapshots *snapshots, raft_index index,
                                       struct error *error)
{
    return delete_complete(snapshots, index, index + 1, NULL, 0, error);
}

enum error_code store_snapshots_forget_but(struct store_snapshots *snapshots, raft_index from,
                                           const raft_index *kept, size_t count,
                                           struct error *error)
{
    return delete_complete(snapshots, 0, from, kept, count, error);
}

/* Those of an index from `from` to before `to`, but for those kept. */
static enum error_code delete_complete(struct store_snapshots *snapshots, raft_index from,
                                       raft_index to, const raft_index *kept, size_t count,
                                       struct error *error)
{
    enum error_code code = snapshots_check(snapshots, error);
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS && !code; i++) {
        struct snapshot_slot *slot = &snapshots->slots[i];
        bool meant = slot->use == SLOT_COMPLETE && slot->meta.index >= from && slot->meta.index < to;
        for (size_t k = 0; k < count; k++) meant = meant && slot->meta.index != kept[k];
        if (meant) code = snapshots_free_slot(snapshots, slot, error);
    }
    return code;
}

/* ---- slots ---- */

struct snapshot_slot *snapshots_slot(struct store_snapshots *snapshots, enum snapshot_use use)
{
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS; i++) {
        if (snapshots->slots[i].use == use) return &snapshots->slots[i];
    }
    return NULL;
}

/* The type is that of a super-journal: a plain file whose first sync makes its name durable too. */
enum error_code snapshots_take_slot(struct store_snapshots *snapshots, enum snapshot_use use,
                                    const struct raft_snapshot_meta *meta,
                                    struct snapshot_slot **out, struct error *error)
{
    struct snapshot_slot *slot = snapshots_slot(snapshots, SLOT_FREE);
    if (!slot) {
        return error_set(error, ERROR_UNAVAILABLE,
                         "%d snapshots are kept for others: no room for one more",
                         STORE_SNAPSHOT_SLOTS);
    }
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_SUPER_JOURNAL;
    struct error failure;
    enum error_code code =
        store_file_open(&slot->file, snapshots->vfs, slot->name, flags, &failure);
    if (code) return snapshots_fail(snapshots, &failure, error);
    slot->use = use;
    slot->block = snapshots->block;
    slot->size = slot->unsynced = 0;
    slot->looked = true;
    snapshot_encode_head(slot, meta, use == SLOT_TAKING ? SNAPSHOT_TAKEN : SNAPSHOT_CAME_IN);
    *out = slot;
    return ERROR_OK;
}

enum error_code snapshots_free_slot(struct store_snapshots *snapshots, struct snapshot_slot *slot,
                                    struct error *error)
{
    close_slot(slot);
    struct error failure;
    enum error_code code = store_file_delete(snapshots->vfs, slot->name, &failure);
    return code ? snapshots_fail(snapshots, &failure, error) : ERROR_OK;
}

static void close_slot(struct snapshot_slot *slot)
{
    store_file_close(&slot->file);
    buffer_deinit(&slot->head);
    buffer_deinit(&slot->rest);
    *slot = (struct snapshot_slot){.name = slot->name};
}

/* ---- heads and places ---- */

void snapshot_encode_head(struct snapshot_slot *slot, const struct raft_snapshot_meta *meta,
                          enum snapshot_kind kind)
{
    struct buffer head = {0};
    uint8_t fixed[STORE_SNAPSHOT_HEAD] = {0};
    buffer_append(&head, fixed, sizeof fixed);
    raft_snapshot_meta_encode(meta, &head);
    struct slice bytes = slice_of(head.data + sizeof fixed, head.size - sizeof fixed);
    put_u32(head.data + AT_MAGIC, STORE_SNAPSHOT_MAGIC);
    head.data[AT_VERSION] = STORE_SNAPSHOT_VERSION;
    head.data[AT_KIND] = (uint8_t)kind;
    put_u32(head.data + AT_BLOCK, slot->block);
    put_u32(head.data + AT_META_SIZE, (uint32_t)bytes.size);
    put_u64(head.data + AT_CHECKSUM, head_checksum(head.data, bytes));
    buffer_deinit(&slot->head);
    slot->head = head;
    enum error_code code = raft_snapshot_meta_decode(bytes, &slot->meta, NULL);
    assert(code == ERROR_OK);
    (void)code;
}

static uint64_t head_checksum(const uint8_t *head, struct slice meta)
{
    return hash_seeded(meta.data, meta.size, hash_bytes(head, AT_CHECKSUM));
}

uint64_t snapshot_block_at(const struct snapshot_slot *slot, uint64_t number)
{
    return slot->head.size + number * (slot->block + 8u);
}

static uint64_t file_size_of(const struct snapshot_slot *slot)
{
    uint64_t blocks = slot->meta.size / slot->block + (slot->meta.size % slot->block > 0);
    return slot->head.size + slot->meta.size + 8 * blocks;
}

/* ---- failing ---- */

enum error_code snapshots_fail(struct store_snapshots *snapshots, const struct error *failure,
                               struct error *error)
{
    bool final = failure->code != ERROR_DISK_FULL && failure->code != ERROR_UNAVAILABLE;
    if (final && snapshots->failure.code == ERROR_OK) snapshots->failure = *failure;
    return error_set(error, failure->code, "%s", failure->text);
}

enum error_code snapshots_check(const struct store_snapshots *snapshots, struct error *error)
{
    if (snapshots->failure.code == ERROR_OK) return ERROR_OK;
    return error_set(error, snapshots->failure.code, "%s", snapshots->failure.text);
}
