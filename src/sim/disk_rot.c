/*
 * Bit rot: something durable is not what was written, and nobody has been told.
 *
 * In the model an entry or the hard state is damaged: whoever reads it notices, the next start at the latest. With the
 * real store bytes of one of its files change. It may notice at once, at a read or at the next open, or the bytes may
 * not mean anything; what it may not do is go on without something that it has said was durable. What cannot be told
 * even so is listed in src/store/README.md, and judged here, no wider: such a node must not go on either (the leader
 * of its term is the only one who could know), and counts as lost.
 */
#include "sim/disk.h"

#include "base/hash.h"

#include <inttypes.h>
#include <string.h>

#define DATABASE "/data/moonclave.db"
#define WAL      "/data/moonclave.db-wal"
#define MARK     "/data/acknowledged"

static bool damage_file(struct sim_node *node);
static const char *any_snapshot(struct sim_node *node);
static bool draw_damage(struct sim_node *node, struct slice content, struct sim_damage *damage);
static bool untold_in_wal(const struct sim_node *node, const struct sim_print *found);
static unsigned untold_tail(const struct sim_real *real, struct slice bad);
static bool allows(const struct sim_real *real, const struct sim_print *found, unsigned gone);
static bool untold_in_database(const struct sim_real *real, const struct sim_print *found);

bool disk_rot(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    if (disk->real) {
        if (!damage_file(node)) return false;
    } else if (disk->snapshots.meta.index > 0 && chance(sim, STREAM_SNAPSHOTS, 400) && snapshots_rot(node)) {
        disk->rot_index = 0;
    } else {
        size_t base = disk->snapshots.base;
        bool hard_state = disk->log.count == base || chance(sim, STREAM_FAULTS, 200);
        disk->rot_index = hard_state ? 0 : base + 1 + draw(sim, STREAM_FAULTS, disk->log.count - base);
        TRACE(sim, node, "its disk rots: entry %" PRIu64 " (0: the hard state)", disk->rot_index);
    }
    disk->rotten = true;
    trace_event(sim, TRACE_ROT, node->number, 0, disk->rot_index);
    return true;
}

/* The mark is the witness: a store whose mark vouches for more than is there does not open. */
bool disk_lose_tail(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_disk *disk = &node->disk;
    struct sim_real *real = disk->real;
    if (real) {
        struct slice wal;
        struct sim_damage damage = {.kind = DAMAGE_TAIL, .file = WAL};
        if (!vfs_lossy_file_read(real->vfs, WAL, &wal) || !wal_read(wal, &damage.wal)) return false;
        if (damage.wal.frames == 0) return false;
        uint32_t lost = 1 + (uint32_t)draw(sim, STREAM_FAULTS, damage.wal.frames < 8 ? damage.wal.frames : 8);
        damage.at = wal_frame_at(&damage.wal, damage.wal.frames + 1 - lost);
        buffer_clear(&real->tail);
        buffer_append(&real->tail, wal.data + damage.at, wal.size - damage.at);
        struct buffer left = {0};
        buffer_append(&left, wal.data, damage.at);
        vfs_lossy_file_write(real->vfs, WAL, buffer_slice(&left)); /* nothing is on its way: the node is down */
        buffer_deinit(&left);
        real->damage = damage;
        TRACE(sim, node, "its disk loses the last %u frames of the WAL", lost);
    } else if (disk->log.count == disk->snapshots.base) {
        return false;
    }
    disk->rotten = true;
    disk->rot_index = disk->log.count;
    trace_event(sim, TRACE_ROT, node->number, DAMAGE_TAIL, disk->rot_index);
    return true;
}

void disk_settle(struct sim_node *node)
{
    struct sim_disk *disk = &node->disk;
    if (!disk->rotten) return;
    if (node->host) node_crash(node);
    disk_heal(node);
    if (!disk->real) {
        disk_wreck(node);
    } else if (real_begin(node, false)) {
        real_crash(node, 0);
        if (disk->snapshots.lost) disk_wreck(node);
    }
}

/* ---- the real store ---- */

static bool damage_file(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_real *real = node->disk.real;
    struct sim_damage damage = {.kind = DAMAGE_NONE};
    static const char *const files[] = {DATABASE, DATABASE, WAL, WAL, WAL, MARK};
    damage.file = files[draw(sim, STREAM_FAULTS, sizeof files / sizeof *files)];
    struct slice content;
    const char *snapshot = any_snapshot(node);
    if (snapshot && chance(sim, STREAM_SNAPSHOTS, 300)) damage.file = snapshot;
    if (!vfs_lossy_file_read(real->vfs, damage.file, &content)) return false;
    if (strcmp(damage.file, WAL) == 0) wal_read(content, &damage.wal);
    if (!draw_damage(node, content, &damage)) return false;
    vfs_lossy_damage(real->vfs, damage.file, damage.at, slice_of(damage.after, damage.size));
    real->damage = damage;
    trace_event(sim, TRACE_ROT, node->number, (uint64_t)damage.kind, damage.at);
    TRACE(sim, node, "its disk rots: %s, %zu bytes at %" PRIu64 " (kind %d)", damage.file, damage.size, damage.at,
          (int)damage.kind);
    return true;
}

/* Whatever a snapshot's file holds, its own, one that comes in or one that nobody needs. Null: there is none. */
static const char *any_snapshot(struct sim_node *node)
{
    static const char *const files[SIM_FILES] = {
        "/data/snapshot-0", "/data/snapshot-1", "/data/snapshot-2", "/data/snapshot-3",
        "/data/snapshot-4", "/data/snapshot-5", "/data/snapshot-6", "/data/snapshot-7",
    };
    const char *there[SIM_FILES];
    size_t count = 0;
    struct slice content;
    for (size_t i = 0; i < SIM_FILES; i++) {
        bool is = vfs_lossy_file_read(node->disk.real->vfs, files[i], &content) && content.size > 0;
        if (is) there[count++] = files[i];
    }
    return count > 0 ? there[draw(node->sim, STREAM_SNAPSHOTS, count)] : NULL;
}

/* false: there is nothing, or it would stay as it is. */
static bool draw_damage(struct sim_node *node, struct slice content, struct sim_damage *damage)
{
    struct sim *sim = node->sim;
    static const enum sim_damage_kind kinds[] = {DAMAGE_BIT, DAMAGE_BIT, DAMAGE_BYTE, DAMAGE_ZEROS, DAMAGE_COPY};
    damage->kind = kinds[draw(sim, STREAM_FAULTS, sizeof kinds / sizeof *kinds)];
    if (content.size == 0) return false;
    damage->at = draw(sim, STREAM_FAULTS, content.size);
    if (damage->wal.frames > 1) { /* where it matters, and most of all at the end */
        uint64_t least = chance(sim, STREAM_FAULTS, 500) ? 0 : wal_frame_at(&damage->wal, damage->wal.frames - 1);
        damage->at = draw_between(sim, STREAM_FAULTS, least, wal_frame_at(&damage->wal, damage->wal.frames + 1) - 1);
    }
    uint64_t first_pages = 3 * (uint64_t)sim->plan.page_size; /* the schema, the log's root, and term and vote */
    if (strcmp(damage->file, DATABASE) == 0 && chance(sim, STREAM_FAULTS, 500))
        damage->at = draw(sim, STREAM_FAULTS, first_pages < content.size ? first_pages : content.size);
    damage->size = 1;
    if (damage->kind == DAMAGE_ZEROS || damage->kind == DAMAGE_COPY) {
        damage->at -= damage->at % SIM_SECTOR;
        uint64_t left = content.size - damage->at;
        damage->size = left < SIM_SECTOR ? (size_t)left : SIM_SECTOR;
    }
    memcpy(damage->before, content.data + damage->at, damage->size);
    memcpy(damage->after, damage->before, damage->size);
    switch (damage->kind) {
    case DAMAGE_BIT:
        damage->after[0] = (uint8_t)(damage->after[0] ^ 1U << draw(sim, STREAM_FAULTS, 8));
        break;
    case DAMAGE_BYTE:
        damage->after[0] = (uint8_t)draw(sim, STREAM_FAULTS, 256);
        break;
    case DAMAGE_ZEROS:
        memset(damage->after, 0, damage->size);
        break;
    case DAMAGE_COPY: { /* a write that went to the wrong place */
        uint64_t other = draw(sim, STREAM_FAULTS, content.size / SIM_SECTOR + 1) * SIM_SECTOR;
        if (other + damage->size > content.size) return false;
        memcpy(damage->after, content.data + other, damage->size);
        break;
    }
    case DAMAGE_NONE:
    case DAMAGE_TAIL:
        break;
    }
    return memcmp(damage->before, damage->after, damage->size) != 0;
}

bool rot_untold(const struct sim_node *node, const struct sim_print *found)
{
    const struct sim_real *real = node->disk.real;
    if (strcmp(real->damage.file, WAL) == 0) return untold_in_wal(node, found);
    if (strcmp(real->damage.file, DATABASE) == 0) return untold_in_database(real, found);
    return false;
}

/* After a power loss the mark may be old: then some of the last transactions may be gone. */
static bool untold_in_wal(const struct sim_node *node, const struct sim_print *found)
{
    const struct sim_real *real = node->disk.real;
    const struct sim_damage *damage = &real->damage;
    struct slice bad;
    struct sim_wal wal;
    if (!vfs_lossy_file_read(real->vfs, WAL, &bad) || !wal_read(bad, &wal)) return false;
    if (memcmp(wal.salt, damage->wal.salt, sizeof wal.salt) != 0) return false; /* it has been filled anew since */
    if (damage->kind == DAMAGE_TAIL) return allows(real, found, untold_tail(real, bad));
    uint64_t first = damage->at;
    for (size_t i = 0; damage->before[i] == damage->after[i]; i++) first++;
    if (first >= wal_frame_at(&damage->wal, damage->wal.frames + 1)) return false; /* nothing was there */

    struct buffer good = {0};
    buffer_append_slice(&good, bad);
    for (size_t i = 0; i < damage->size && damage->at + i < good.size; i++) {
        if (damage->at + i < wal_frame_at(&damage->wal, damage->wal.frames + 1))
            good.data[damage->at + i] = damage->before[i];
    }
    unsigned gone = wal_untold(buffer_slice(&good), bad, first, real->vouched);
    buffer_deinit(&good);
    return allows(real, found, gone);
}

static unsigned untold_tail(const struct sim_real *real, struct slice bad)
{
    struct buffer good = {0}, padded = {0};
    if (bad.size < real->damage.at) return 0;
    buffer_append(&good, bad.data, real->damage.at);
    buffer_append_slice(&padded, buffer_slice(&good));
    buffer_append_slice(&good, buffer_slice(&real->tail));
    while (padded.size < good.size) buffer_append_byte(&padded, 0);
    unsigned gone = wal_untold(buffer_slice(&good), buffer_slice(&padded), real->damage.at, real->vouched);
    buffer_deinit(&good);
    buffer_deinit(&padded);
    return gone;
}

/* Found is what was said before the last `gone` transactions, or some of them. */
static bool allows(const struct sim_real *real, const struct sim_print *found, unsigned gone)
{
    for (unsigned i = 0; i <= gone && gone > 0 && i < real->print_count; i++) {
        if (print_equal(found, &real->prints[real->print_count - 1 - i])) return true;
    }
    return false;
}

/* An old but intact page in the place of the one that was written: entries are chained, a hard state is not. */
static bool untold_in_database(const struct sim_real *real, const struct sim_print *found)
{
    if (real->damage.kind != DAMAGE_COPY || real->print_count == 0) return false;
    struct sim_print now = real->prints[real->print_count - 1];
    for (size_t i = 0; i < real->print_count; i++) {
        now.hard_state = real->prints[i].hard_state;
        if (print_equal(found, &now)) return true;
    }
    return false;
}

uint32_t rot_vouched(const struct sim_real *real)
{
    struct slice mark, wal;
    if (!vfs_lossy_file_read(real->vfs, MARK, &mark) || mark.size < 32) return 0;
    if (!vfs_lossy_file_read(real->vfs, WAL, &wal) || wal.size < 32) return 0;
    if (memcmp(mark.data, "mcA1", 4) != 0 || get_u64(mark.data + 24) != hash_bytes(mark.data, 24)) return 0;
    for (size_t i = 0; i < 3; i++) { /* sequence and salts: little-endian here, big-endian there */
        if (get_u32(mark.data + 4 + 4 * i) != __builtin_bswap32(get_u32(wal.data + 12 + 4 * i))) return 0;
    }
    return get_u32(mark.data + 16);
}
