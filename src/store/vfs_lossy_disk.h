/* The lossy disk behind its VFS: files, what of them is durable, and faults. Shared by vfs_lossy.c
 * and vfs_lossy_disk.c. */
#ifndef MOONCLAVE_STORE_VFS_LOSSY_DISK_H
#define MOONCLAVE_STORE_VFS_LOSSY_DISK_H

#include "base/random.h"
#include "store/vfs_lossy.h"

#include <sqlite3.h>

/* A write (or, with truncate, a new size) that no sync has covered yet. Its bytes are in the file's
 * `unsynced`. */
struct lossy_change {
    bool truncate;
    uint64_t at;
    size_t size;
    size_t bytes_at;
};

/* One file that a name stood for. A deleted one stays until its deletion is durable. */
struct lossy_file {
    char *name;
    bool linked;         /* the name is there */
    bool linked_durably; /* the name is there after a crash */
    struct buffer content;
    struct buffer durable;
    struct lossy_change *changes;
    size_t change_count, change_capacity;
    struct buffer unsynced;
    int lock;           /* SQLITE_LOCK_*: the highest that a handle holds */
    const void *locker; /* the handle */
    unsigned handles;
};

struct vfs_lossy {
    sqlite3_vfs vfs; /* first: SQLite hands this back */
    char *name;
    struct random random;
    struct lossy_file **files;
    size_t file_count, file_capacity;
    uint64_t calls, reads, syncs;
    enum vfs_lossy_fault fault;
    uint64_t fault_at; /* the call (or read) number; 0: none */
    uint64_t quota;
    uint64_t epoch; /* handles of an earlier one are dead */
    bool crashed;
};

struct lossy_file *lossy_find(const struct vfs_lossy *disk,
                              const char *name); /* linked; null: none */
struct lossy_file *lossy_make(struct vfs_lossy *disk, const char *name);

/* Counts one changing call. true: it is to fail by disk->fault (only writes can find a disk full).
 */
bool lossy_call(struct vfs_lossy *disk, bool write);
bool lossy_read_fails(struct vfs_lossy *disk);

void lossy_write(struct lossy_file *file, uint64_t at, const void *bytes, size_t size);
void lossy_truncate(struct lossy_file *file, uint64_t size);
void lossy_sync(struct lossy_file *file);
void lossy_sync_failed(struct vfs_lossy *disk, struct lossy_file *file);
void lossy_sync_names(struct vfs_lossy *disk);
uint64_t lossy_size(const struct vfs_lossy *disk); /* of all files */
/* How much is done of a write that is cut short. */
size_t lossy_cut(struct vfs_lossy *disk, uint64_t at, size_t size);

#endif
