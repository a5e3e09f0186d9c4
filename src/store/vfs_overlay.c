/* The overlay: vfs_overlay.h. Methods of version 1 (no shared memory): a WAL works with an exclusive lock only, which
 * is how the store uses one. */
#include "store/vfs_overlay.h"

#include "base/memory.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#define PAGE      4096u
#define LOCK_NAME "/lock"

/* An open file. What lies below it follows the struct, in the room that szOsFile asks for. */
struct layer {
    sqlite3_file base;
    sqlite3_file *below; /* null: there is no such file, it lives in memory */
    bool locks;          /* the folder's lock: that is real */
    uint64_t size;
    uint8_t **pages; /* those that were written; null: as below */
    size_t page_count;
};

static int layer_close(sqlite3_file *base);
static int layer_read(sqlite3_file *base, void *out, int size, sqlite3_int64 at);
static int layer_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 at);
static int layer_truncate(sqlite3_file *base, sqlite3_int64 size);
static int layer_sync(sqlite3_file *base, int flags);
static int layer_size(sqlite3_file *base, sqlite3_int64 *size);
static int layer_lock(sqlite3_file *base, int level);
static int layer_unlock(sqlite3_file *base, int level);
static int layer_check_reserved(sqlite3_file *base, int *result);
static int layer_control(sqlite3_file *base, int operation, void *argument);
static int layer_sector_size(sqlite3_file *base);
static int layer_characteristics(sqlite3_file *base);
static int read_below(struct layer *layer, uint8_t *out, size_t size, uint64_t at);
static int page_for_writing(struct layer *layer, size_t number, uint8_t **page);

static const sqlite3_io_methods methods = {
    .iVersion = 1,
    .xClose = layer_close,
    .xRead = layer_read,
    .xWrite = layer_write,
    .xTruncate = layer_truncate,
    .xSync = layer_sync,
    .xFileSize = layer_size,
    .xLock = layer_lock,
    .xUnlock = layer_unlock,
    .xCheckReservedLock = layer_check_reserved,
    .xFileControl = layer_control,
    .xSectorSize = layer_sector_size,
    .xDeviceCharacteristics = layer_characteristics,
};

static bool hides_wal;

/* ---- the file system's calls ---- */

void store_overlay_hide_wal(bool hide)
{
    hides_wal = hide;
}

static sqlite3_vfs *below(sqlite3_vfs *vfs)
{
    return vfs->pAppData;
}

static bool is_lock(const char *name)
{
    size_t size = strlen(name), tail = sizeof LOCK_NAME - 1;
    return size >= tail && strcmp(name + size - tail, LOCK_NAME) == 0;
}

/* Whoever asks to write is told that it may. Is there a file? The VFS below says no of an empty one. */
static int overlay_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *base, int flags, int *out_flags)
{
    struct layer *layer = (struct layer *)base;
    struct stat found;
    int result = SQLITE_OK, ignored;
    base->pMethods = NULL;
    if (!name) return SQLITE_CANTOPEN; /* temporary files: they are kept in memory */
    *layer = (struct layer){.locks = is_lock(name)};
    bool hidden = hides_wal && (flags & SQLITE_OPEN_WAL);
    bool exists = !hidden && stat(name, &found) == 0;
    if (!exists && !(flags & SQLITE_OPEN_CREATE)) return SQLITE_CANTOPEN;
    if (exists) {
        sqlite3_file *file = (sqlite3_file *)(layer + 1);
        sqlite3_int64 size = 0;
        /* A plain file, whatever it is to SQLite; but for the lock, which only a database's file can have. */
        int how = layer->locks ? SQLITE_OPEN_READWRITE | SQLITE_OPEN_MAIN_DB
                               : SQLITE_OPEN_READONLY | SQLITE_OPEN_SUPER_JOURNAL;
        memset(file, 0, (size_t)below(vfs)->szOsFile);
        result = below(vfs)->xOpen(below(vfs), name, file, how, &ignored);
        if (result == SQLITE_OK) result = file->pMethods->xFileSize(file, &size);
        if (result != SQLITE_OK) {
            if (file->pMethods) file->pMethods->xClose(file);
            return result;
        }
        layer->below = file;
        layer->size = (uint64_t)size;
    }
    base->pMethods = &methods;
    if (out_flags) *out_flags = flags;
    return SQLITE_OK;
}

static int overlay_delete(sqlite3_vfs *vfs, const char *name, int sync_folder)
{
    (void)vfs, (void)name, (void)sync_folder;
    return SQLITE_OK;
}

static int overlay_access(sqlite3_vfs *vfs, const char *name, int flags, int *result)
{
    size_t size = strlen(name);
    *result = 0;
    if (hides_wal && size > 4 && strcmp(name + size - 4, "-wal") == 0) return SQLITE_OK;
    return below(vfs)->xAccess(below(vfs), name, flags, result);
}

static int overlay_full_pathname(sqlite3_vfs *vfs, const char *name, int capacity, char *out)
{
    return below(vfs)->xFullPathname(below(vfs), name, capacity, out);
}

static int overlay_randomness(sqlite3_vfs *vfs, int size, char *out)
{
    return below(vfs)->xRandomness(below(vfs), size, out);
}

static int overlay_sleep(sqlite3_vfs *vfs, int microseconds)
{
    return below(vfs)->xSleep(below(vfs), microseconds);
}

static int overlay_current_time(sqlite3_vfs *vfs, double *days)
{
    return below(vfs)->xCurrentTime(below(vfs), days);
}

static int overlay_last_error(sqlite3_vfs *vfs, int capacity, char *out)
{
    return below(vfs)->xGetLastError(below(vfs), capacity, out);
}

sqlite3_vfs *store_overlay(void)
{
    static sqlite3_vfs vfs;
    if (vfs.zName) return &vfs;
    sqlite3_vfs *usual = sqlite3_vfs_find(NULL);
    vfs = (sqlite3_vfs){
        .iVersion = 1,
        .szOsFile = (int)sizeof(struct layer) + usual->szOsFile,
        .mxPathname = usual->mxPathname,
        .zName = "moonclave-overlay",
        .pAppData = usual,
        .xOpen = overlay_open,
        .xDelete = overlay_delete,
        .xAccess = overlay_access,
        .xFullPathname = overlay_full_pathname,
        .xRandomness = overlay_randomness,
        .xSleep = overlay_sleep,
        .xCurrentTime = overlay_current_time,
        .xGetLastError = overlay_last_error,
    };
    int result = sqlite3_vfs_register(&vfs, 0);
    assert(result == SQLITE_OK);
    (void)result;
    return &vfs;
}

/* ---- a file's calls ---- */

static int layer_close(sqlite3_file *base)
{
    struct layer *layer = (struct layer *)base;
    for (size_t i = 0; i < layer->page_count; i++) memory_free(layer->pages[i]);
    memory_free(layer->pages);
    int result = layer->below ? layer->below->pMethods->xClose(layer->below) : SQLITE_OK;
    *layer = (struct layer){0};
    return result;
}

static int layer_read(sqlite3_file *base, void *out, int size, sqlite3_int64 at)
{
    struct layer *layer = (struct layer *)base;
    uint8_t *to = out;
    uint64_t from = (uint64_t)at, end = from + (uint64_t)size;
    if (end > layer->size) memset(out, 0, (size_t)size);
    uint64_t stop = end < layer->size ? end : layer->size;
    while (from < stop) {
        uint64_t next = (from / PAGE + 1) * PAGE;
        size_t number = (size_t)(from / PAGE), part = (size_t)((next < stop ? next : stop) - from);
        const uint8_t *page = number < layer->page_count ? layer->pages[number] : NULL;
        int result = SQLITE_OK;
        if (page)
            memcpy(to, page + from % PAGE, part);
        else
            result = read_below(layer, to, part, from);
        if (result != SQLITE_OK) return result;
        to += part;
        from += part;
    }
    return end > layer->size ? SQLITE_IOERR_SHORT_READ : SQLITE_OK;
}

static int layer_write(sqlite3_file *base, const void *bytes, int size, sqlite3_int64 at)
{
    struct layer *layer = (struct layer *)base;
    const uint8_t *from = bytes;
    uint64_t to = (uint64_t)at, end = to + (uint64_t)size;
    while (to < end) {
        uint64_t next = (to / PAGE + 1) * PAGE;
        size_t part = (size_t)((next < end ? next : end) - to);
        uint8_t *page;
        int result = page_for_writing(layer, (size_t)(to / PAGE), &page);
        if (result != SQLITE_OK) return result;
        memcpy(page + to % PAGE, from, part);
        from += part;
        to += part;
    }
    if (end > layer->size) layer->size = end;
    return SQLITE_OK;
}

static int layer_truncate(sqlite3_file *base, sqlite3_int64 size)
{
    struct layer *layer = (struct layer *)base;
    if ((uint64_t)size < layer->size) layer->size = (uint64_t)size;
    return SQLITE_OK;
}

static int layer_sync(sqlite3_file *base, int flags)
{
    (void)base, (void)flags;
    return SQLITE_OK;
}

static int layer_size(sqlite3_file *base, sqlite3_int64 *size)
{
    *size = (sqlite3_int64)((struct layer *)base)->size;
    return SQLITE_OK;
}

static int layer_lock(sqlite3_file *base, int level)
{
    struct layer *layer = (struct layer *)base;
    if (!layer->locks || !layer->below) return SQLITE_OK;
    return layer->below->pMethods->xLock(layer->below, level);
}

static int layer_unlock(sqlite3_file *base, int level)
{
    struct layer *layer = (struct layer *)base;
    if (!layer->locks || !layer->below) return SQLITE_OK;
    return layer->below->pMethods->xUnlock(layer->below, level);
}

static int layer_check_reserved(sqlite3_file *base, int *result)
{
    (void)base;
    *result = 0;
    return SQLITE_OK;
}

static int layer_control(sqlite3_file *base, int operation, void *argument)
{
    (void)base, (void)operation, (void)argument;
    return SQLITE_NOTFOUND;
}

static int layer_sector_size(sqlite3_file *base)
{
    struct layer *layer = (struct layer *)base;
    return layer->below ? layer->below->pMethods->xSectorSize(layer->below) : (int)PAGE;
}

static int layer_characteristics(sqlite3_file *base)
{
    struct layer *layer = (struct layer *)base;
    return layer->below ? layer->below->pMethods->xDeviceCharacteristics(layer->below) : 0;
}

/* ---- helpers ---- */

static int read_below(struct layer *layer, uint8_t *out, size_t size, uint64_t at)
{
    if (!layer->below) {
        memset(out, 0, size);
        return SQLITE_OK;
    }
    int result = layer->below->pMethods->xRead(layer->below, out, (int)size, (sqlite3_int64)at);
    return result == SQLITE_IOERR_SHORT_READ ? SQLITE_OK : result; /* it reads as zeros there */
}

static int page_for_writing(struct layer *layer, size_t number, uint8_t **page)
{
    if (number >= layer->page_count) {
        size_t count = number + 1 > 2 * layer->page_count ? number + 1 : 2 * layer->page_count;
        layer->pages = memory_resize(layer->pages, count, sizeof *layer->pages);
        memset(layer->pages + layer->page_count, 0, (count - layer->page_count) * sizeof *layer->pages);
        layer->page_count = count;
    }
    *page = layer->pages[number];
    if (*page) return SQLITE_OK;
    *page = memory_alloc(PAGE);
    int result = read_below(layer, *page, PAGE, (uint64_t)number * PAGE);
    if (result == SQLITE_OK)
        layer->pages[number] = *page;
    else
        memory_free(*page);
    return result;
}
