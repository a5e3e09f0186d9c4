/*
 * The VFS in front of the lossy disk: SQLite's tables of calls. Files have no shared memory
 * (version 1 of the methods): a WAL then works with an exclusive lock only, which is how the store
 * uses one.
 */
#include "store/vfs_lossy.h"

#include "base/memory.h"
#include "store/vfs_lossy_disk.h"

#include <assert.h>
#include <string.h>

/* An open file, as SQLite sees it. */
struct handle {
    sqlite3_file base;
    struct vfs_lossy *disk;
    struct lossy_file *file;
    uint64_t epoch;
    int lock;
    bool syncs_names; /* the next sync covers the folder */
};

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags,
                    int *out_flags);
static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder);
static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result);
static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int capacity, char *out);
static int vfs_randomness(sqlite3_vfs *vfs, int size, char *out);
static int vfs_sleep(sqlite3_vfs *vfs, int microseconds);
static int vfs_current_time(sqlite3_vfs *vfs, double *days);
static int vfs_last_error(sqlite3_vfs *vfs, int capacity, char *out);

static int file_close(sqlite3_file *base);
static int file_read(sqlite3_file *base, void *out, int size, sqlite3_int64 at);
static int file_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 at);
static int file_truncate(sqlite3_file *base, sqlite3_int64 size);
static int file_sync(sqlite3_file *base, int flags);
static int file_size(sqlite3_file *base, sqlite3_int64 *size);
static int file_lock(sqlite3_file *base, int level);
static int file_unlock(sqlite3_file *base, int level);
static int file_check_reserved(sqlite3_file *base, int *result);
static int file_control(sqlite3_file *base, int operation, void *argument);
static int file_sector_size(sqlite3_file *base);
static int file_characteristics(sqlite3_file *base);

static bool dead(const struct handle *handle);
static bool beyond_quota(const struct handle *handle, uint64_t end);

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_characteristics,
};

struct vfs_lossy *vfs_lossy_new(const char *name, uint64_t seed)
{
    struct vfs_lossy *disk = memory_zero(1, sizeof *disk);
    disk->name = memory_copy_text(name);
    random_init(&disk->random, seed);
    disk->vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = sizeof(struct handle),
        .mxPathname = 512,
        .zName = disk->name,
        .xOpen = vfs_open,
        .xDelete = vfs_delete,
        .xAccess = vfs_access,
        .xFullPathname = vfs_full_pathname,
        .xRandomness = vfs_randomness,
        .xSleep = vfs_sleep,
        .xCurrentTime = vfs_current_time,
        .xGetLastError = vfs_last_error,
    };
    int result = sqlite3_vfs_register(&disk->vfs, 0);
    assert(result == SQLITE_OK);
    (void)result;
    return disk;
}

/* SQLite's own words for it: after a call for no bytes the next one asks the default VFS for a new seed. */
void vfs_lossy_chance(struct vfs_lossy *disk)
{
    char first;
    sqlite3_vfs *usual = sqlite3_vfs_find(NULL);
    sqlite3_randomness(0, NULL);
    if (!disk) return;
    sqlite3_vfs_register(&disk->vfs, 1);
    sqlite3_randomness(1, &first);
    sqlite3_vfs_register(usual, 1);
}

uint64_t vfs_lossy_calls(const struct vfs_lossy *disk)
{
    return disk->calls;
}

uint64_t vfs_lossy_reads(const struct vfs_lossy *disk)
{
    return disk->reads;
}

uint64_t vfs_lossy_syncs(const struct vfs_lossy *disk)
{
    return disk->syncs;
}

/* ---- the file system's calls ---- */

static int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags,
                    int *out_flags)
{
    struct vfs_lossy *disk = (struct vfs_lossy *)vfs;
    struct handle *handle = (struct handle *)base;
    base->pMethods = NULL;
    if (disk->crashed || !name)
        return SQLITE_CANTOPEN; /* without a name: temporary files, which are kept in memory */
    struct lossy_file *file = lossy_find(disk, name);
    if (!file) {
        if (!(flags & SQLITE_OPEN_CREATE)) return SQLITE_CANTOPEN;
        if (lossy_call(disk, false)) return SQLITE_CANTOPEN;
        file = lossy_make(disk, name);
    }
    int covers = SQLITE_OPEN_MAIN_JOURNAL | SQLITE_OPEN_SUPER_JOURNAL | SQLITE_OPEN_WAL;
    file->handles++;
    *handle = (struct handle){
        .base = {&methods},
        .disk = disk,
        .file = file,
        .epoch = disk->epoch,
        .syncs_names = (flags & SQLITE_OPEN_CREATE) && (flags & covers),
    };
    if (out_flags) *out_flags = flags;
    return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    struct vfs_lossy *disk = (struct vfs_lossy *)vfs;
    if (disk->crashed) return SQLITE_IOERR_DELETE;
    struct lossy_file *file = lossy_find(disk, name);
    if (!file) return SQLITE_IOERR_DELETE_NOENT;
    bool fails = lossy_call(disk, false);
    if (fails && !disk->crashed) return SQLITE_IOERR_DELETE;
    file->linked = false;
    if (fails) return SQLITE_IOERR_DELETE;
    if (sync_folder) lossy_sync_names(disk);
    return SQLITE_OK;
}

static int vfs_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    struct vfs_lossy *disk = (struct vfs_lossy *)vfs;
    (void)flags;
    if (disk->crashed) return SQLITE_IOERR_ACCESS;
    *result = lossy_find(disk, name) != NULL;
    return SQLITE_OK;
}

static int vfs_full_pathname(sqlite3_vfs *vfs, const char *name, int capacity, char *out)
{
    (void)vfs;
    size_t size = strlen(name) + 1;
    if (size > (size_t)capacity) return SQLITE_CANTOPEN;
    memcpy(out, name, size);
    return SQLITE_OK;
}

static int vfs_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    struct vfs_lossy *disk = (struct vfs_lossy *)vfs;
    for (int i = 0; i < size; i++) out[i] = (char)random_below(&disk->random, 256);
    return size;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
    (void)vfs;
    return microseconds;
}

static int vfs_current_time(sqlite3_vfs *vfs, double *days)
{
    (void)vfs;
    *days = 2440587.5; /* the epoch, as a Julian day: nothing here depends on it */
    return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int capacity, char *out)
{
    (void)vfs;
    if (capacity > 0) out[0] = 0;
    return 0;
}

/* ---- a file's calls ---- */

static int file_close(sqlite3_file *base)
{
    struct handle *handle = (struct handle *)base;
    file_unlock(base, SQLITE_LOCK_NONE);
    assert(handle->file->handles > 0);
    handle->file->handles--;
    return SQLITE_OK;
}

static int file_read(sqlite3_file *base, void *out, int size, sqlite3_int64 at)
{
    struct handle *handle = (struct handle *)base;
    if (dead(handle) || lossy_read_fails(handle->disk)) return SQLITE_IOERR_READ;
    const struct buffer *content = &handle->file->content;
    size_t wanted = (size_t)size, from = (size_t)at;
    size_t there = from < content->size ? content->size - from : 0;
    if (there > wanted) there = wanted;
    if (there) memcpy(out, content->data + from, there);
    if (there == wanted) return SQLITE_OK;
    memset((char *)out + there, 0, wanted - there);
    return SQLITE_IOERR_SHORT_READ;
}

/* A write that crashes is among those the crash may keep; one that fails may have been done, in
 * part or (but for a full disk) in whole. */
static int file_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 at)
{
    struct handle *handle = (struct handle *)base;
    struct vfs_lossy *disk = handle->disk;
    if (dead(handle)) return SQLITE_IOERR_WRITE;
    bool fails = lossy_call(disk, true);
    bool full = (fails && disk->fault == VFS_LOSSY_FULL) ||
                beyond_quota(handle, (uint64_t)at + (uint64_t)size);
    bool whole = !full && (!fails || disk->crashed || random_below(&disk->random, 2));
    size_t done = whole ? (size_t)size : lossy_cut(disk, (uint64_t)at, (size_t)size);
    lossy_write(handle->file, (uint64_t)at, bytes, done);
    if (full) return SQLITE_FULL;
    return fails ? SQLITE_IOERR_WRITE : SQLITE_OK;
}

static int file_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct handle *handle = (struct handle *)base;
    if (dead(handle)) return SQLITE_IOERR_TRUNCATE;
    bool fails = lossy_call(handle->disk, false);
    if (fails && !handle->disk->crashed) return SQLITE_IOERR_TRUNCATE;
    lossy_truncate(handle->file, (uint64_t)size);
    return fails ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int file_sync(sqlite3_file *base, int flags)
{
    struct handle *handle = (struct handle *)base;
    struct vfs_lossy *disk = handle->disk;
    (void)flags;
    if (dead(handle)) return SQLITE_IOERR_FSYNC;
    if (lossy_call(disk, false)) {
        if (!disk->crashed) lossy_sync_failed(disk, handle->file);
        return SQLITE_IOERR_FSYNC;
    }
    disk->syncs++;
    lossy_sync(handle->file);
    if (handle->syncs_names) lossy_sync_names(disk);
    handle->syncs_names = false;
    return SQLITE_OK;
}

static int file_size(sqlite3_file *base, sqlite3_int64 *size)
{
    struct handle *handle = (struct handle *)base;
    if (dead(handle)) return SQLITE_IOERR_FSTAT;
    *size = (sqlite3_int64)handle->file->content.size;
    return SQLITE_OK;
}

/* One handle may hold anything; a second one nothing beside it. That is stricter than SQLite needs,
 * and enough. */
static int file_lock(sqlite3_file *base, int level)
{
    struct handle *handle = (struct handle *)base;
    if (dead(handle)) return SQLITE_IOERR_LOCK;
    if (handle->file->locker && handle->file->locker != handle) return SQLITE_BUSY;
    if (level <= handle->lock) return SQLITE_OK;
    handle->file->locker = handle;
    handle->file->lock = handle->lock = level;
    return SQLITE_OK;
}

static int file_unlock(sqlite3_file *base, int level)
{
    struct handle *handle = (struct handle *)base;
    if (handle->file->locker != handle || level >= handle->lock) return SQLITE_OK;
    handle->file->lock = handle->lock = level;
    if (level == SQLITE_LOCK_NONE) handle->file->locker = NULL;
    return SQLITE_OK;
}

static int file_check_reserved(sqlite3_file *base, int *result)
{
    struct handle *handle = (struct handle *)base;
    *result = handle->file->lock >= SQLITE_LOCK_RESERVED;
    return SQLITE_OK;
}

static int file_control(sqlite3_file *base, int operation, void *argument)
{
    (void)base;
    (void)operation;
    (void)argument;
    return SQLITE_NOTFOUND;
}

static int file_sector_size(sqlite3_file *base)
{
    (void)base;
    return 512;
}

static int file_characteristics(sqlite3_file *base)
{
    (void)base;
    return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

/* ---- helpers ---- */

static bool dead(const struct handle *handle)
{
    return handle->disk->crashed || handle->epoch != handle->disk->epoch;
}

static bool beyond_quota(const struct handle *handle, uint64_t end)
{
    const struct vfs_lossy *disk = handle->disk;
    uint64_t size = handle->file->content.size;
    return disk->quota && end > size && lossy_size(disk) + (end - size) > disk->quota;
}
