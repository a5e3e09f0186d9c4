/* What the lossy disk keeps and what it loses: vfs_lossy.h. Content is replayed from changes,
 * sector by sector. */
#include "store/vfs_lossy_disk.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

#define SECTOR 512

static void note(struct lossy_file *file, struct lossy_change change, const void *bytes);
static void place(struct buffer *content, uint64_t at, const uint8_t *bytes, size_t size);
static void cut(struct buffer *content, uint64_t size);
static void replay_some(struct vfs_lossy *disk, struct lossy_file *file);
static void forget_changes(struct lossy_file *file);
static void lose_names(struct vfs_lossy *disk, enum vfs_lossy_loss loss);
static void drop_unlinked(struct vfs_lossy *disk);
static void overlay(uint8_t *data, uint64_t from, uint64_t size, uint64_t at, struct slice bytes);
static void copy_content(struct buffer *to, const struct buffer *from);
static void free_file(struct lossy_file *file);

/* ---- faults and crashes ---- */

void vfs_lossy_fail(struct vfs_lossy *disk, enum vfs_lossy_fault fault, uint64_t nth)
{
    disk->fault = fault;
    disk->fault_at = nth ? nth + (fault == VFS_LOSSY_READ_ERROR ? disk->reads : disk->calls) : 0;
}

void vfs_lossy_quota(struct vfs_lossy *disk, uint64_t bytes)
{
    disk->quota = bytes;
}

void vfs_lossy_power_cut(struct vfs_lossy *disk, enum vfs_lossy_loss loss)
{
    lose_names(disk, loss);
    for (size_t i = 0; i < disk->file_count; i++) {
        struct lossy_file *file = disk->files[i];
        if (loss == VFS_LOSSY_LOSE_SOME) replay_some(disk, file);
        forget_changes(file);
        copy_content(&file->content, &file->durable);
    }
    vfs_lossy_kill(disk);
}

void vfs_lossy_kill(struct vfs_lossy *disk)
{
    disk->epoch++;
    disk->crashed = false;
    disk->fault_at = 0;
    for (size_t i = 0; i < disk->file_count; i++) {
        disk->files[i]->lock = SQLITE_LOCK_NONE;
        disk->files[i]->locker = NULL;
    }
}

bool lossy_call(struct vfs_lossy *disk, bool write)
{
    disk->calls++;
    if (disk->fault == VFS_LOSSY_READ_ERROR || disk->calls != disk->fault_at) return false;
    if (disk->fault == VFS_LOSSY_FULL && !write) return false;
    if (disk->fault == VFS_LOSSY_CRASH) disk->crashed = true;
    return true;
}

bool lossy_read_fails(struct vfs_lossy *disk)
{
    disk->reads++;
    return disk->fault == VFS_LOSSY_READ_ERROR && disk->reads == disk->fault_at;
}

/* At a sector's edge: a sector is written whole or not at all. */
size_t lossy_cut(struct vfs_lossy *disk, uint64_t at, size_t size)
{
    uint64_t end = at + random_below(&disk->random, (uint64_t)size);
    uint64_t edge = end - end % SECTOR;
    return edge > at ? (size_t)(edge - at) : 0;
}

/* ---- names ---- */

struct lossy_file *lossy_find(const struct vfs_lossy *disk, const char *name)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        if (disk->files[i]->linked && strcmp(disk->files[i]->name, name) == 0)
            return disk->files[i];
    }
    return NULL;
}

struct lossy_file *lossy_make(struct vfs_lossy *disk, const char *name)
{
    if (disk->file_count == disk->file_capacity) {
        disk->file_capacity = disk->file_capacity ? disk->file_capacity * 2 : 8;
        disk->files = memory_resize(disk->files, disk->file_capacity, sizeof(struct lossy_file *));
    }
    struct lossy_file *file = memory_zero(1, sizeof *file);
    file->name = memory_copy_text(name);
    file->linked = true;
    disk->files[disk->file_count++] = file;
    return file;
}

void lossy_sync_names(struct vfs_lossy *disk)
{
    for (size_t i = 0; i < disk->file_count; i++)
        disk->files[i]->linked_durably = disk->files[i]->linked;
    drop_unlinked(disk);
}

/* A name that is there again keeps its old file out. */
static void lose_names(struct vfs_lossy *disk, enum vfs_lossy_loss loss)
{
    for (size_t i = disk->file_count; i-- > 0;) {
        struct lossy_file *file = disk->files[i];
        bool changed = file->linked != file->linked_durably;
        if (changed && (loss == VFS_LOSSY_LOSE_ALL || random_below(&disk->random, 2)))
            file->linked = file->linked_durably;
        for (size_t j = i + 1; j < disk->file_count && file->linked; j++) {
            if (disk->files[j]->linked && strcmp(disk->files[j]->name, file->name) == 0)
                file->linked = false;
        }
        file->linked_durably = file->linked;
    }
    drop_unlinked(disk);
}

static void drop_unlinked(struct vfs_lossy *disk)
{
    size_t kept = 0;
    for (size_t i = 0; i < disk->file_count; i++) {
        struct lossy_file *file = disk->files[i];
        if (file->linked || file->linked_durably || file->handles) {
            disk->files[kept++] = file;
        } else {
            free_file(file);
        }
    }
    disk->file_count = kept;
}

/* ---- content ---- */

void lossy_write(struct lossy_file *file, uint64_t at, const void *bytes, size_t size)
{
    place(&file->content, at, bytes, size);
    note(file, (struct lossy_change){.at = at, .size = size}, bytes);
}

void lossy_truncate(struct lossy_file *file, uint64_t size)
{
    cut(&file->content, size);
    note(file, (struct lossy_change){.truncate = true, .at = size}, NULL);
}

void lossy_sync(struct lossy_file *file)
{
    for (size_t i = 0; i < file->change_count; i++) {
        const struct lossy_change *change = &file->changes[i];
        if (change->truncate) {
            cut(&file->durable, change->at);
        } else {
            place(&file->durable, change->at, file->unsynced.data + change->bytes_at, change->size);
        }
    }
    forget_changes(file);
}

/* The page cache keeps what was written and calls it clean: no later sync will write it. */
void lossy_sync_failed(struct vfs_lossy *disk, struct lossy_file *file)
{
    replay_some(disk, file);
    forget_changes(file);
}

uint64_t lossy_size(const struct vfs_lossy *disk)
{
    uint64_t size = 0;
    for (size_t i = 0; i < disk->file_count; i++)
        size += disk->files[i]->linked ? disk->files[i]->content.size : 0;
    return size;
}

static void note(struct lossy_file *file, struct lossy_change change, const void *bytes)
{
    if (file->change_count == file->change_capacity) {
        file->change_capacity = file->change_capacity ? file->change_capacity * 2 : 16;
        file->changes = memory_resize(file->changes, file->change_capacity, sizeof *file->changes);
    }
    change.bytes_at = file->unsynced.size;
    buffer_append(&file->unsynced, bytes, change.size);
    file->changes[file->change_count++] = change;
}

/* A gap behind the end reads as zeros. */
static void place(struct buffer *content, uint64_t at, const uint8_t *bytes, size_t size)
{
    size_t end = (size_t)at + size;
    if (end > content->size) {
        buffer_reserve(content, end - content->size);
        memset(content->data + content->size, 0, end - content->size);
        content->size = end;
    }
    if (size) memcpy(content->data + at, bytes, size);
}

static void cut(struct buffer *content, uint64_t size)
{
    if (size < content->size) content->size = (size_t)size;
}

/* Any of the sectors that each change touches, by the throw of a coin. */
static void replay_some(struct vfs_lossy *disk, struct lossy_file *file)
{
    for (size_t i = 0; i < file->change_count; i++) {
        const struct lossy_change *change = &file->changes[i];
        if (change->truncate && random_below(&disk->random, 2)) cut(&file->durable, change->at);
        for (size_t done = 0; done < change->size;) {
            uint64_t at = change->at + done;
            size_t size = SECTOR - (size_t)(at % SECTOR);
            if (size > change->size - done) size = change->size - done;
            if (random_below(&disk->random, 2)) {
                place(&file->durable, at, file->unsynced.data + change->bytes_at + done, size);
            }
            done += size;
        }
    }
}

static void forget_changes(struct lossy_file *file)
{
    file->change_count = 0;
    buffer_clear(&file->unsynced);
}

/* ---- files, for specs ---- */

size_t vfs_lossy_file_count(const struct vfs_lossy *disk)
{
    size_t count = 0;
    for (size_t i = 0; i < disk->file_count; i++) count += disk->files[i]->linked;
    return count;
}

const char *vfs_lossy_file_name(const struct vfs_lossy *disk, size_t number)
{
    for (size_t i = 0; i < disk->file_count; i++) {
        if (disk->files[i]->linked && number-- == 0) return disk->files[i]->name;
    }
    return NULL;
}

bool vfs_lossy_file_read(const struct vfs_lossy *disk, const char *name, struct slice *content)
{
    struct lossy_file *file = lossy_find(disk, name);
    if (file) *content = buffer_slice(&file->content);
    return file != NULL;
}

void vfs_lossy_file_write(struct vfs_lossy *disk, const char *name, struct slice content)
{
    struct lossy_file *file = lossy_find(disk, name);
    if (!file) file = lossy_make(disk, name);
    file->linked_durably = true;
    forget_changes(file);
    buffer_clear(&file->content);
    buffer_append_slice(&file->content, content);
    copy_content(&file->durable, &file->content);
}

bool vfs_lossy_damage(struct vfs_lossy *disk, const char *name, uint64_t at, struct slice bytes)
{
    struct lossy_file *file = lossy_find(disk, name);
    if (!file) return false;
    overlay(file->content.data, 0, file->content.size, at, bytes);
    overlay(file->durable.data, 0, file->durable.size, at, bytes);
    for (size_t i = 0; i < file->change_count; i++) {
        const struct lossy_change *change = &file->changes[i];
        uint8_t *data = file->unsynced.data;
        if (!change->truncate) overlay(data + change->bytes_at, change->at, change->size, at, bytes);
    }
    return true;
}

bool vfs_lossy_file_remove(struct vfs_lossy *disk, const char *name)
{
    struct lossy_file *file = lossy_find(disk, name);
    if (!file) return false;
    file->linked = file->linked_durably = false;
    drop_unlinked(disk);
    return true;
}

void vfs_lossy_free(struct vfs_lossy *disk)
{
    if (!disk) return;
    sqlite3_vfs_unregister(&disk->vfs);
    for (size_t i = 0; i < disk->file_count; i++) free_file(disk->files[i]);
    memory_free(disk->files);
    memory_free(disk->name);
    memory_free(disk);
}

/* `data` are the `size` bytes of a file from `from` on: those that `bytes` from `at` on covers are replaced. */
static void overlay(uint8_t *data, uint64_t from, uint64_t size, uint64_t at, struct slice bytes)
{
    uint64_t first = at > from ? at : from;
    uint64_t end = at + bytes.size < from + size ? at + bytes.size : from + size;
    if (first < end) memcpy(data + (first - from), bytes.data + (first - at), (size_t)(end - first));
}

static void copy_content(struct buffer *to, const struct buffer *from)
{
    buffer_clear(to);
    buffer_append_slice(to, buffer_slice(from));
}

static void free_file(struct lossy_file *file)
{
    assert(file->handles == 0);
    buffer_deinit(&file->content);
    buffer_deinit(&file->durable);
    buffer_deinit(&file->unsynced);
    memory_free(file->changes);
    memory_free(file->name);
    memory_free(file);
}
