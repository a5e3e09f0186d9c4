/*
 * What a process dies of: one page in the data folder that says which entry is being applied, kept in the page cache.
 *
 * A store into memory for each command, and no call of the system: a process that is killed, or kills itself, leaves it
 * for the next one. A power loss may leave an older page or none, which costs an attempt: whoever believes that an
 * entry was its death only halts before it, and a graceful stop takes half of that back.
 *
 * FOLDER/applying, little-endian, 4096 bytes:
 *
 *    0  u64  "mcD1" and version 1      16  u64  suspect: the entry that former lives died at
 *    8  u64  being applied; 0: none    24  u64  how many of them in a row
 */
#ifndef MOONCLAVE_NODE_DEATHS_H
#define MOONCLAVE_NODE_DEATHS_H

#include "host/host.h"

struct deaths;

/* Opens the page, or makes it, and counts: *found is for host_options. Null, with *error set, where there is none to be
 * had (a full disk): the node does without. */
struct deaths *deaths_open(const char *folder, struct host_deaths *found, struct error *error);
/* host_ports.applying; null is allowed. */
void deaths_applying(struct deaths *deaths, raft_index index);
/* `graceful`: the process ends well, and the next one may try an entry once that this one has halted at. Null is
 * allowed. */
void deaths_close(struct deaths *deaths, bool graceful);

#endif
