/*
 * What happens to a node that an operator, or a program that looks after it, wants to hear of: one row per type. An
 * event is its type and one msgpack map; `node` gives it a number and a time and keeps the newest.
 */
#ifndef MOONCLAVE_BASE_EVENT_H
#define MOONCLAVE_BASE_EVENT_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define EVENT_TABLE(X) \
    /* name, text, what its data has */ \
    X(STARTED,             "started",             "the process has begun: {address, id, lua, version}") \
    X(READY,               "ready",               "it is worth sending requests here, or not any more: {ready}") \
    X(STOPPING,            "stopping",            "a graceful stop has begun: {}") \
    X(ROLE,                "role",                "this node's part has changed: {leader, role, term}") \
    X(TERM,                "term",                "a higher term is known: {leader, role, term}") \
    X(LEADER,              "leader",              "another leader is known, or none: {leader, role, term}") \
    X(CONFIGURATION,       "configuration",       "who is a member: {index, learners, voters}") \
    X(HANDOVER,            "handover",            "this leader hands leadership over by itself: {reason}") \
    X(SNAPSHOT_TAKEN,      "snapshot_taken",      "one of this node's own is complete: {index, size}") \
    X(SNAPSHOT_INSTALLING, "snapshot_installing", "the leader's has come in and takes this node's state's place: {index, size}") \
    X(SNAPSHOT_INSTALLED,  "snapshot_installed",  "it has: {index}") \
    X(PEER_SILENT,         "peer_lost",           "this leader has not heard from a server for two election timeouts: {id, silent_ms}") \
    X(PEER_HEARD,          "peer_regained",       "it hears from it again: {id, silent_ms}") \
    X(SLOW_DISK,           "slow_disk",           "a write takes, or has taken, longer than slow_disk_ms; said again when they have been quick for a while: {count, longest_ms, slow}") \
    X(SLOW_APPLY,          "slow_apply",          "the same of applying an entry and slow_apply_ms: {count, index, longest_ms, slow}") \
    X(DISK_FULL,           "disk_full",           "the disk has refused a write: {}") \
    X(DISK_ROOM,           "disk_room",           "there is room again: {}")
/* clang-format on */

enum event_type {
#define X(name, text, help) EVENT_##name,
    EVENT_TABLE(X)
#undef X
        EVENT_TYPES
};

const char *event_name(enum event_type type);
const char *event_help(enum event_type type);
/* A list of names behind commas as a set of bits, 1 << type. An empty one: all. false: *wrong is the first that is no
 * type's. */
bool event_types_of(struct slice list, uint64_t *types, struct slice *wrong);

#endif
