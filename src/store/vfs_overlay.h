/*
 * A VFS to look through: files as they are, and nothing that is done to them stays.
 *
 * Reads go to the file, which is opened read-only; what is written is kept in memory, a page at a time, and forgotten
 * when the file is closed; what is deleted stays. So the store's own code, SQLite's recovery of a WAL and all, can run
 * over a folder that must not change. One file is an exception: the folder's lock is really taken, so that no node
 * starts on the folder meanwhile, and one that runs is noticed.
 */
#ifndef MOONCLAVE_STORE_VFS_OVERLAY_H
#define MOONCLAVE_STORE_VFS_OVERLAY_H

#include <sqlite3.h>
#include <stdbool.h>

/* Over SQLite's default VFS; registered under a name of its own at the first call. Not to be freed. */
sqlite3_vfs *store_overlay(void);

/* From now on, until told otherwise: a database is seen without its WAL, as of its last checkpoint. What SQLite makes
 * of a damaged WAL, a part of it over pages that may be newer, is no database. */
void store_overlay_hide_wal(bool hide);

#endif
