/*
 * The store's files: file.h. Everything is a call of the VFS's own table; only folders, which
 * SQLite has no notion of, are made by the system.
 */
#include "store/file.h"

#include "base/buffer.h"
#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *resolve(sqlite3_vfs *vfs, const char *folder);
static const char *name_in(const char *folder, const char *file);
static enum error_code make_one(const char *folder, struct error *error);
static char *parent_of(const char *folder);
static enum error_code failure(const struct store_file *file, const char *doing, int result,
                               struct error *error);

/* ---- names and folders ---- */

enum error_code store_names_init(struct store_names *names, sqlite3_vfs *vfs, const char *folder,
                                 struct error *error)
{
    *names = (struct store_names){0};
    names->folder = resolve(vfs, folder);
    if (!names->folder)
        return error_set(error, ERROR_IO, "%s: this path cannot be resolved", folder);
    names->database = name_in(names->folder, "moonclave.db");
    names->lock = name_in(names->folder, "lock");
    names->mark = name_in(names->folder, "acknowledged");
    names->wal = sqlite3_filename_wal(names->database);
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS; i++) {
        char name[] = "snapshot-0";
        name[sizeof name - 2] = (char)('0' + i);
        names->snapshots[i] = name_in(names->folder, name);
    }
    return ERROR_OK;
}

void store_names_deinit(struct store_names *names)
{
    memory_free(names->folder);
    sqlite3_free_filename((char *)(uintptr_t)names->database);
    sqlite3_free_filename((char *)(uintptr_t)names->lock);
    sqlite3_free_filename((char *)(uintptr_t)names->mark);
    for (int i = 0; i < STORE_SNAPSHOT_SLOTS; i++) {
        sqlite3_free_filename((char *)(uintptr_t)names->snapshots[i]);
    }
    *names = (struct store_names){0};
}

enum error_code store_folder_make(const char *folder, struct error *error)
{
    char *parent = parent_of(folder);
    enum error_code code = make_one(parent, error);
    if (!code) code = make_one(folder, error);
    memory_free(parent);
    return code;
}

/* SQLite says no more than that it cannot open, or lock, a file. One that is not there yet is no objection. */
enum error_code store_names_check(const struct store_names *names, struct error *error)
{
    const char *const files[] = {names->lock, names->database, names->wal, names->mark};
    struct stat found;
    if (stat(names->folder, &found) == 0 && !S_ISDIR(found.st_mode))
        return error_set(error, ERROR_IO, "%s: this is a file: a data folder is wanted", names->folder);
    int reason = faccessat(AT_FDCWD, names->folder, R_OK | W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
    const char *which = names->folder;
    for (size_t i = 0; i < sizeof files / sizeof *files && (reason == 0 || reason == ENOENT); i++) {
        reason = faccessat(AT_FDCWD, which = files[i], R_OK | W_OK, AT_EACCESS) == 0 ? 0 : errno;
    }
    if (reason != EACCES && reason != EPERM && reason != EROFS) return ERROR_OK;
    return error_set(error, ERROR_IO, "%s: may not be read and written: %s%s", which, strerror(reason),
                     reason == EROFS ? "" : ": it belongs to the user that runs the node: be that one");
}

/* ---- files ---- */

enum error_code store_file_open(struct store_file *file, sqlite3_vfs *vfs, const char *name,
                                int flags, struct error *error)
{
    *file = (struct store_file){memory_zero(1, (size_t)vfs->szOsFile), name};
    int result = vfs->xOpen(vfs, name, file->handle, flags, NULL);
    if (result == SQLITE_OK) return ERROR_OK;
    enum error_code code = failure(file, "cannot be opened", result, error);
    store_file_close(file);
    return code;
}

void store_file_close(struct store_file *file)
{
    if (!file->handle) return;
    if (file->handle->pMethods) file->handle->pMethods->xClose(file->handle);
    memory_free(file->handle);
    *file = (struct store_file){0};
}

enum error_code store_file_size(struct store_file *file, uint64_t *size, struct error *error)
{
    sqlite3_int64 found = 0;
    int result = file->handle->pMethods->xFileSize(file->handle, &found);
    *size = (uint64_t)found;
    return failure(file, "cannot be measured", result, error);
}

enum error_code store_file_read(struct store_file *file, uint64_t at, void *data, size_t size,
                                struct error *error)
{
    int result = file->handle->pMethods->xRead(file->handle, data, (int)size, (sqlite3_int64)at);
    if (result == SQLITE_IOERR_SHORT_READ) result = SQLITE_OK;
    return failure(file, "cannot be read", result, error);
}

enum error_code store_file_write(struct store_file *file, uint64_t at, const void *data,
                                 size_t size, struct error *error)
{
    int result = file->handle->pMethods->xWrite(file->handle, data, (int)size, (sqlite3_int64)at);
    return failure(file, "cannot be written", result, error);
}

enum error_code store_file_sync(struct store_file *file, struct error *error)
{
    int result = file->handle->pMethods->xSync(file->handle, SQLITE_SYNC_FULL);
    return failure(file, "cannot be synced", result, error);
}

enum error_code store_file_exists(sqlite3_vfs *vfs, const char *name, bool *exists,
                                  struct error *error)
{
    int found = 0;
    int result = vfs->xAccess(vfs, name, SQLITE_ACCESS_EXISTS, &found);
    *exists = found != 0;
    return failure(&(struct store_file){NULL, name}, "cannot be looked for", result, error);
}

/* Not durably: what comes back after a crash is found, and deleted again. */
enum error_code store_file_delete(sqlite3_vfs *vfs, const char *name, struct error *error)
{
    int result = vfs->xDelete(vfs, name, 0);
    if (result == SQLITE_IOERR_DELETE_NOENT) result = SQLITE_OK;
    return failure(&(struct store_file){NULL, name}, "cannot be deleted", result, error);
}

enum error_code store_file_lock(struct store_file *file, const char *folder, struct error *error)
{
    int result = file->handle->pMethods->xLock(file->handle, SQLITE_LOCK_SHARED);
    if (result == SQLITE_OK)
        result = file->handle->pMethods->xLock(file->handle, SQLITE_LOCK_EXCLUSIVE);
    if ((result & 0xff) == SQLITE_BUSY) {
        return error_set(error, ERROR_UNAVAILABLE,
                         "%s: in use by another process: stop it, or use another data folder",
                         folder);
    }
    return failure(file, "cannot be locked", result, error);
}

/* NOMEM and everything not named here is a surprise; ERROR means that the schema is not the one
 * that was created. */
enum error_code store_error_of(int result)
{
    static const struct {
        int result;
        enum error_code code;
    } rows[] = {
        {SQLITE_OK, ERROR_OK},
        {SQLITE_ROW, ERROR_OK},
        {SQLITE_DONE, ERROR_OK},
        {SQLITE_FULL, ERROR_DISK_FULL},
        {SQLITE_IOERR, ERROR_IO},
        {SQLITE_CANTOPEN, ERROR_IO},
        {SQLITE_READONLY, ERROR_IO},
        {SQLITE_PERM, ERROR_IO},
        {SQLITE_AUTH, ERROR_IO},
        {SQLITE_CORRUPT, ERROR_CORRUPT},
        {SQLITE_NOTADB, ERROR_CORRUPT},
        {SQLITE_ERROR, ERROR_CORRUPT},
        {SQLITE_SCHEMA, ERROR_CORRUPT},
        {SQLITE_CONSTRAINT, ERROR_CORRUPT},
        {SQLITE_MISMATCH, ERROR_CORRUPT},
        {SQLITE_BUSY, ERROR_UNAVAILABLE},
        {SQLITE_LOCKED, ERROR_UNAVAILABLE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (rows[i].result == (result & 0xff)) return rows[i].code;
    }
    return ERROR_INTERNAL;
}

/* ---- helpers ---- */

static char *resolve(sqlite3_vfs *vfs, const char *folder)
{
    size_t capacity = (size_t)vfs->mxPathname + 1;
    char *path = memory_zero(capacity, 1);
    int result = vfs->xFullPathname(vfs, folder, (int)capacity, path);
    if ((result & 0xff) == SQLITE_OK) return path; /* SQLITE_OK_SYMLINK too */
    memory_free(path);
    return NULL;
}

static const char *name_in(const char *folder, const char *file)
{
    struct buffer name = {0}, journal = {0}, wal = {0};
    buffer_append_format(&name, "%s/%s%c", folder, file, 0);
    buffer_append_format(&journal, "%s/%s-journal%c", folder, file, 0);
    buffer_append_format(&wal, "%s/%s-wal%c", folder, file, 0);
    const char *made =
        sqlite3_create_filename((char *)name.data, (char *)journal.data, (char *)wal.data, 0, NULL);
    if (!made) memory_on_failure(name.size + journal.size + wal.size);
    buffer_deinit(&name);
    buffer_deinit(&journal);
    buffer_deinit(&wal);
    return made;
}

/* The folder's own entry is durable only once its parent is synced. */
static enum error_code make_one(const char *folder, struct error *error)
{
    if (mkdir(folder, 0777) != 0) {
        if (errno == EEXIST || errno == EISDIR) return ERROR_OK;
        enum error_code code = errno == ENOSPC ? ERROR_DISK_FULL : ERROR_IO;
        return error_set(error, code, "%s: this folder cannot be made: %s", folder,
                         strerror(errno));
    }
    char *parent = parent_of(folder);
    int descriptor = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = descriptor >= 0 && fsync(descriptor) == 0;
    int why = errno;
    if (descriptor >= 0) close(descriptor);
    memory_free(parent);
    if (synced) return ERROR_OK;
    return error_set(error, ERROR_IO, "%s: the folder around it cannot be synced: %s", folder,
                     strerror(why));
}

static char *parent_of(const char *folder)
{
    char *parent = memory_copy_text(folder);
    size_t size = strlen(parent);
    while (size > 1 && parent[size - 1] == '/') size--;
    while (size > 0 && parent[size - 1] != '/') size--;
    while (size > 1 && parent[size - 1] == '/') size--;
    parent[size] = 0;
    if (size > 0) return parent;
    memory_free(parent);
    return memory_copy_text(".");
}

static enum error_code failure(const struct store_file *file, const char *doing, int result,
                               struct error *error)
{
    enum error_code code = store_error_of(result);
    if (!code) return ERROR_OK;
    return error_set(error, code, "%s: %s: %s (SQLite's code %d)", file->name, doing,
                     sqlite3_errstr(result), result);
}
