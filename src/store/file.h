/*
 * The store's files, through SQLite's VFS. What SQLite itself writes, what the store writes beside
 * it (lock, mark) and what it reads before SQLite does (the WAL) all goes the same way, so that one
 * test VFS sees every call there is.
 */
#ifndef MOONCLAVE_STORE_FILE_H
#define MOONCLAVE_STORE_FILE_H

#include "base/error.h"

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What to do about a node whose data is damaged. */
#define STORE_REBUILD "remove this node, move its data folder away and let it join again"

/* A VFS lists no folders: snapshots have these names and no others. One is current, one is being
 * taken, one comes in, the rest may be on their way to others. */
#define STORE_SNAPSHOT_SLOTS 8

/* Names are made once and outlive every open file: a VFS keeps pointers to them. */
struct store_names {
    char *folder;         /* as the VFS resolves it */
    const char *database; /* FOLDER/moonclave.db */
    const char *wal;      /* FOLDER/moonclave.db-wal; within `database`, as SQLite wants it */
    const char *lock;     /* FOLDER/lock */
    const char *mark;     /* FOLDER/acknowledged */
    const char *snapshots[STORE_SNAPSHOT_SLOTS]; /* FOLDER/snapshot-0 ... */
};

/* OK, or IO when the folder cannot be resolved. */
enum error_code store_names_init(struct store_names *names, sqlite3_vfs *vfs, const char *folder,
                                 struct error *error);
void store_names_deinit(struct store_names *names);
/* May this process read and write them? Else IO, and why not. Only the system's own file system has such rules. */
enum error_code store_names_check(const struct store_names *names, struct error *error);

/* Makes the folder and its parent where they are missing, durably. Only the system's own file
 * system has folders. */
enum error_code store_folder_make(const char *folder, struct error *error);

struct store_file {
    sqlite3_file *handle; /* null: not open */
    const char *name;     /* borrowed from store_names */
};

/* `flags` are SQLITE_OPEN_*, with the type that gives the file its treatment (what is locked, whose
 * first sync covers the folder too). All return OK or what store_error_of says, with a text that
 * names the file. */
enum error_code store_file_open(struct store_file *file, sqlite3_vfs *vfs, const char *name,
                                int flags, struct error *error);
void store_file_close(struct store_file *file); /* harmless when it is not open */
enum error_code store_file_size(struct store_file *file, uint64_t *size, struct error *error);
/* Bytes past the end read as zeros. */
enum error_code store_file_read(struct store_file *file, uint64_t at, void *data, size_t size,
                                struct error *error);
enum error_code store_file_write(struct store_file *file, uint64_t at, const void *data,
                                 size_t size, struct error *error);
enum error_code store_file_sync(struct store_file *file, struct error *error);
enum error_code store_file_exists(sqlite3_vfs *vfs, const char *name, bool *exists,
                                  struct error *error);
enum error_code store_file_delete(sqlite3_vfs *vfs, const char *name, struct error *error);
/* UNAVAILABLE: another process (or another store of this one) holds it. */
enum error_code store_file_lock(struct store_file *file, const char *folder, struct error *error);

/* What one of SQLite's result codes means here. */
enum error_code store_error_of(int result);

#endif
