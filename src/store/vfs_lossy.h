/*
 * A disk for tests: an SQLite VFS over memory that loses what was not synced, and fails where it is
 * told to.
 *
 * Each file has what is durable and what has been written since its last sync. A crash fails every
 * call from there on, and keeps of the unsynced writes nothing, or any seeded choice of their
 * 512-byte sectors (later ones without earlier ones too: torn, reordered writes). Within a sector,
 * bytes that were not written are never touched: SQLite calls that power-safe overwrite, and the
 * real VFS claims it too. The names of new and deleted files become durable with the first sync of
 * a file that SQLite's unix VFS syncs the folder for (journals, WAL), or a delete that asks for it.
 *
 * Calls are counted: each write, sync, truncate, delete and creation is one; reads are counted
 * apart. A disk is used by one thread. Paths are taken as they are; folders exist by themselves.
 */
#ifndef MOONCLAVE_STORE_VFS_LOSSY_H
#define MOONCLAVE_STORE_VFS_LOSSY_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

struct vfs_lossy;

/* Registers an SQLite VFS of that name (store_options.vfs). Freeing it unregisters: nothing may be
 * open on it. */
struct vfs_lossy *vfs_lossy_new(const char *name, uint64_t seed);
void vfs_lossy_free(struct vfs_lossy *disk);

enum vfs_lossy_fault {
    /* This call may be half done; every later one fails until a power cut or a kill. */
    VFS_LOSSY_CRASH,
    /* A write is refused, done in part. Nothing happens if that call is no write. */
    VFS_LOSSY_FULL,
    /* An I/O error, once. A failed sync loses what it should have synced; the next one succeeds. */
    VFS_LOSSY_ERROR,
    /* The same for a read; counts reads. */
    VFS_LOSSY_READ_ERROR,
};

/* Lets the nth call from now on (1: the next) fail that way. One fault at a time; n 0: none. */
void vfs_lossy_fail(struct vfs_lossy *disk, enum vfs_lossy_fault fault, uint64_t nth);
/* Refuses writes that would make all files together longer than this; 0: no limit. */
void vfs_lossy_quota(struct vfs_lossy *disk, uint64_t bytes);
uint64_t vfs_lossy_calls(const struct vfs_lossy *disk); /* since it was made */
uint64_t vfs_lossy_reads(const struct vfs_lossy *disk);
uint64_t vfs_lossy_syncs(const struct vfs_lossy *disk);

enum vfs_lossy_loss { VFS_LOSSY_LOSE_ALL, VFS_LOSSY_LOSE_SOME };

/* The power goes, now if it has not gone yet: open files are dead, unsynced writes are lost. Close
 * what was open on it, and use it again. */
void vfs_lossy_power_cut(struct vfs_lossy *disk, enum vfs_lossy_loss loss);
/* The process dies, the machine lives on: open files are dead, nothing is lost; after a crash fault
 * too. */
void vfs_lossy_kill(struct vfs_lossy *disk);

/* Files by their full names, for specs that damage and compare them. Contents as a process would
 * read them. */
size_t vfs_lossy_file_count(const struct vfs_lossy *disk);
const char *vfs_lossy_file_name(const struct vfs_lossy *disk, size_t number);
bool vfs_lossy_file_read(const struct vfs_lossy *disk, const char *name,
                         struct slice *content); /* borrowed */
/* Replaces a file's content, durably; makes it where it is missing. */
void vfs_lossy_file_write(struct vfs_lossy *disk, const char *name, struct slice content);
bool vfs_lossy_file_remove(struct vfs_lossy *disk, const char *name); /* durably */
/* Replaces bytes of a file wherever they are kept, on the platter and on their way there; nothing else becomes durable
 * by it. What lies past an end is left out. false: no such file. */
bool vfs_lossy_damage(struct vfs_lossy *disk, const char *name, uint64_t at, struct slice bytes);

/* What SQLite itself draws (salts, nonces) comes from one stream for the whole process, seeded by its default VFS.
 * Called before a call of the store: from here on it comes from this disk's seed, so that what is written depends on
 * nothing else. Null: from the system again. */
void vfs_lossy_chance(struct vfs_lossy *disk);

#endif
