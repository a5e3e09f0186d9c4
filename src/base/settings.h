/*
 * Every setting, in one table: name, default, least, most, unit, scope, whether it changes while running, and its help.
 * Command-line flags (--election-timeout-ms), the Lua config file (election_timeout_ms = ...), `moonclave config` and
 * the documentation are made from it: adding a setting is adding a row.
 *
 * Scope NODE is this node's own; REPLICATED is the cluster's, stored by INIT and changed through the log
 * (host/settings.c). What does not change while running has its reason in settings.c, and so has what may only grow.
 *
 * Which values and combinations of REPLICATED settings are refused is decided by every node for itself as it applies an
 * entry: those limits and rules are as frozen as the bytes. A change of them is a new format level.
 */
#ifndef MOONCLAVE_BASE_SETTINGS_H
#define MOONCLAVE_BASE_SETTINGS_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* clang-format off */
#define SETTINGS_TABLE(X) \
    /* name, default, least, most, unit, scope, live, help */ \
    X(election_timeout_ms,     1000, 20, 600000, "ms", NODE, false, "a follower that hears no leader for this long, up to twice this long, campaigns") \
    X(heartbeat_ms,            100, 1, 60000, "ms", NODE, false, "how often an idle leader speaks; at most a third of election_timeout_ms") \
    X(append_bytes_max,        1048576, 1024, 67108864, "bytes", NODE, false, "entries in one append message") \
    X(append_window,           128, 1, 4096, "messages", NODE, true, "append messages in flight to one follower") \
    X(uncommitted_bytes_max,   67108864, 4096, 1073741824, "bytes", NODE, true, "proposals not yet committed; past it they are refused") \
    X(tail_bytes_max,          67108864, 0, 1073741824, "bytes", NODE, true, "newest entries kept in memory for followers") \
    X(leases,                  0, 0, 1, "0 or 1", NODE, false, "1: reads that ask for it are answered by the leader's lease; the same on every node") \
    X(clock_drift_ppm,         10000, 0, 500000, "millionths", NODE, false, "how far any node's clock rate may be off: shortens leases") \
    X(follower_reads,          0, 0, 1, "0 or 1", NODE, true, "1: a follower asks the leader for an index and answers queries itself") \
    X(snapshot_log_bytes,      67108864, 1, 1099511627776, "bytes", NODE, true, "a snapshot is taken once the log behind the last one is this long, and as long as that one") \
    X(trailing_entries,        10000, 0, 1000000000, "entries", NODE, true, "kept in the log before a snapshot's end, so that a slow follower needs no snapshot") \
    X(trailing_bytes,          67108864, 0, 1099511627776, "bytes", NODE, true, "of those entries at most, about") \
    X(snapshot_chunk_bytes,    262144, 1, 8388608, "bytes", NODE, true, "of a snapshot in one message to a follower") \
    X(snapshot_window,         8, 1, 1024, "messages", NODE, true, "pieces of a snapshot in flight to one follower") \
    X(disk_retry_ms,           500, 1, 60000, "ms", NODE, true, "how often a write refused by a full disk is tried again") \
    X(slow_disk_ms,            250, 1, 600000, "ms", NODE, true, "a write to disk that takes this long is told as an event") \
    X(slow_apply_ms,           100, 1, 600000, "ms", NODE, true, "the same of applying one entry") \
    X(events_max,              1024, 16, 65536, "events", NODE, false, "the newest events kept for those who listen") \
    X(request_timeout_ms,      5000, 1, 600000, "ms", NODE, true, "how long a request waits before its outcome is said to be unknown") \
    X(stop_timeout_ms,         10000, 1, 600000, "ms", NODE, true, "how long a graceful stop may take") \
    X(entry_bytes_max,         2097152, 1024, 15728640, "bytes", NODE, false, "one command, encoded") \
    X(waiting_max,             100000, 1, 10000000, "requests", NODE, true, "requests waiting on this node; past it they are refused") \
    X(waiting_bytes_max,       268435456, 65536, 4294967296, "bytes", NODE, true, "bytes of requests waiting on this node; past it they are refused") \
    X(clients_max,             10000, 1, 1000000, "connections", NODE, true, "client connections; past it new ones are closed") \
    X(client_queue_bytes_max,  67108864, 65536, 1073741824, "bytes", NODE, true, "unsent answers to one client; past it its requests are not read") \
    X(peer_queue_bytes_max,    67108864, 65536, 1073741824, "bytes", NODE, true, "unsent messages to one node; past it they are dropped (Raft sends them again)") \
    X(frame_bytes_max,         16777216, 65536, 1073741824, "bytes", NODE, false, "one frame or RPC message") \
    X(http_head_bytes_max,     65536, 1024, 1048576, "bytes", NODE, true, "the request line and headers of one HTTP request") \
    X(http_body_bytes_max,     8388608, 1024, 1073741824, "bytes", NODE, true, "the body of one HTTP request") \
    X(policy_interval_ms,      1000, 0, 600000, "ms", NODE, false, "how often a leader asks the membership policy about its servers; 0: there is no policy, and who joins votes once it has caught up") \
    X(policy_stable_ms,        10000, 0, 86400000, "ms", NODE, false, "the default policy: a learner votes once it has been healthy for this long") \
    X(policy_lag_max,          1000, 0, 1000000000, "entries", NODE, false, "the default policy: a learner that lacks more is not ready to vote") \
    X(policy_dead_ms,          86400000, 1, 2592000000, "ms", NODE, false, "the default policy: a server that is silent for this long is dead, and goes once enough healthy voters stay") \
    X(policy_voters_min,       3, 1, 100, "voters", NODE, false, "no policy takes a vote away where fewer voters than this would be left") \
    X(http_idle_ms,            60000, 100, 3600000, "ms", NODE, true, "an HTTP connection that sends no request for this long is closed") \
    X(command_steps_max,       50000000, 1000, 100000000000, "VM instructions", REPLICATED, true, "budget of one command or query") \
    X(command_memory_max,      268435456, 1048576, 17179869184, "bytes", REPLICATED, true, "Lua memory one command may have in use") \
    X(migrate_steps_max,       2000000000, 1000, 100000000000, "VM instructions", REPLICATED, true, "budget of a new version's migrate") \
    X(migrate_memory_max,      1073741824, 1048576, 17179869184, "bytes", REPLICATED, true, "Lua memory migrate may have in use, and bytes of the state it may write") \
    X(block_bytes_max,         16777216, 65536, 1073741824, "bytes", REPLICATED, true, "one block of Lua memory, and so one string") \
    X(session_timeout_ms,      3600000, 1000, 2592000000, "ms", REPLICATED, true, "a session that nobody uses for this long, by the replicated clock, expires") \
    X(session_window,          128, 1, 4096, "replies", REPLICATED, true, "newest replies kept for each session, and so commands it may have under way") \
    X(sessions_max,            10000, 1, 1000000, "sessions", REPLICATED, true, "sessions open at once; past it opening one is refused") \
    X(session_bytes_max,       268435456, 65536, 17179869184, "bytes", REPLICATED, true, "replies kept in sessions; past it their new commands are refused") \
    X(idempotency_timeout_ms,  86400000, 1000, 2592000000, "ms", REPLICATED, true, "how long an idempotency key is kept at least, by the replicated clock") \
    X(idempotency_keys_max,    250000, 1, 10000000, "keys", REPLICATED, true, "idempotency keys kept at once; past it new ones are refused") \
    X(idempotency_bytes_max,   67108864, 65536, 17179869184, "bytes", REPLICATED, true, "keys and replies kept for them; past it new ones are refused")
/* clang-format on */

enum setting_scope { SETTING_NODE, SETTING_REPLICATED };

struct settings {
#define X(name, initial, least, most, unit, scope, live, help) uint64_t name;
    SETTINGS_TABLE(X)
#undef X
};

enum {
#define X(name, initial, least, most, unit, scope, live, help) SETTING_PLACE_##name,
    SETTINGS_TABLE(X)
#undef X
    SETTINGS_COUNT
};

struct setting_row {
    const char *name;
    uint64_t initial, least, most;
    const char *unit;
    enum setting_scope scope;
    bool live;
    const char *help;
};

void settings_init(struct settings *settings);           /* every default */
const struct setting_row *settings_rows(unsigned *count); /* the table, in order */
const struct setting_row *settings_find(const char *name); /* `-` and `_` are alike; null: no such setting */
unsigned settings_place(const struct setting_row *row);    /* in the table, from 0 on */
/* The name that was meant by a mistyped one; null: none is near. */
const char *settings_nearest(const char *wrong);
uint64_t settings_get(const struct settings *settings, const struct setting_row *row);
/* USAGE: no such setting (and which one was meant), not within its limits. */
enum error_code settings_set(struct settings *settings, const char *name, uint64_t value, struct error *error);

/* As people write it, on the command line, in the config file and in requests: a whole number in the setting's own
 * unit; or with a unit behind it, B KiB MiB GiB TiB for bytes, ms s min h d for times; `default`; for 0 or 1 also true,
 * false, on, off. Nothing that could mean two things (KB, k, m). */
enum error_code settings_set_text(struct settings *settings, const char *name, const char *text, struct error *error);
/* And back, in the largest unit that is exact: "64MiB", "1500ms", "128". Returns out. */
#define SETTING_TEXT_MAX 32
const char *settings_format(const struct setting_row *row, uint64_t value, char out[SETTING_TEXT_MAX]);

/* ---- what is unsafe together ---- */

/* The combinations that are unsafe, with the reason: a heartbeat too slow for the election timeout, and so on. */
enum error_code settings_check(const struct settings *settings, struct error *error);
/* May `before` become `after` while all is running? USAGE with the reason. Of the rules of settings_check only those
 * are looked at that concern what changes; `replicated`: only those that replicated settings alone decide, which is the
 * same on every node. What may only grow does not shrink. Whether a setting is live is not looked at. */
enum error_code settings_check_change(const struct settings *before, const struct settings *after, bool replicated,
                                      struct error *error);
/* Why it cannot change while running, for people; null: it can. */
const char *settings_why_fixed(const struct setting_row *row);

/* ---- several at once ---- */

/* The settings of one scope, into others. */
void settings_take(struct settings *to, const struct settings *from, enum setting_scope scope);

/* Some settings and their values. Zero-initialise. */
struct settings_change {
    struct settings values; /* of those named */
    bool named[SETTINGS_COUNT];
    unsigned count;
};
/* As `text`; null: as `number`. USAGE: as above, or named twice. */
enum error_code settings_change_add(struct settings_change *change, const char *name, const char *text, uint64_t number,
                                    struct error *error);
void settings_change_make(const struct settings_change *change, struct settings *settings);

/* Where a value comes from. */
enum setting_source {
    SETTING_DEFAULT,
    SETTING_FILE,    /* the config file */
    SETTING_FLAG,    /* the command line */
    SETTING_CLUSTER, /* INIT: as the cluster was begun */
    SETTING_CHANGED, /* while running */
};
#define SETTING_SOURCES 5
const char *settings_source_name(enum setting_source source); /* "default", "file", ... */
struct setting_sources {
    uint8_t of[SETTINGS_COUNT]; /* by place */
};

#endif
