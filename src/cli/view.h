/*
 * What commands show of a node's answers: the table of members, single fields as text.
 */
#ifndef MOONCLAVE_CLI_VIEW_H
#define MOONCLAVE_CLI_VIEW_H

#include "base/buffer.h"
#include "base/identity.h"

#define CELL_MAX (ADDRESS_MAX + 1) /* no cell is longer */

/* A string or integer of a map as text, into out[size]; "" for anything else. Returns out. */
const char *view_text(struct slice map, const char *key, char *out, size_t size);

/* "p50 1.2 ms, p99 4.1 ms" of a leader's status: how long commits of the last seconds took; "" where it has none. */
#define LATENCY_MAX 64
const char *view_latency(struct slice status, char out[LATENCY_MAX]);

/* The members (an array of maps) as a table. */
void view_members(struct slice members);

#endif
