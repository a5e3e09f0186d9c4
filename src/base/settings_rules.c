/*
 * Which settings are unsafe together, which may only grow, and which cannot change while running: tables beside the one
 * in settings.h. Rules between REPLICATED settings are frozen (see there).
 */
#include "base/settings.h"

#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* What a frame holds beside the entry or request it carries: its head, ids, terms and indexes. */
#define FRAME_ROOM 4096
/* And beside a piece of a snapshot: its meta, with the configuration of a large cluster. */
#define CHUNK_ROOM 32768

/* `large` must be at least `factor` times `small`, and `room` more. */
static const struct rule {
    const char *large, *small;
    uint64_t factor, room;
    const char *why; /* behind "it must be at least N" */
} rules[] = {
    {"election_timeout_ms", "heartbeat_ms", 3, 0, NULL},
    {"frame_bytes_max", "entry_bytes_max", 1, FRAME_ROOM, "to hold one entry of entry_bytes_max"},
    {"frame_bytes_max", "append_bytes_max", 1, FRAME_ROOM, "to hold one append of append_bytes_max"},
    {"frame_bytes_max", "snapshot_chunk_bytes", 1, CHUNK_ROOM,
     "to hold one piece of a snapshot of snapshot_chunk_bytes"},
    {"peer_queue_bytes_max", "entry_bytes_max", 1, FRAME_ROOM,
     "to hold one message to another node (entry_bytes_max), or it would always be dropped"},
    {"peer_queue_bytes_max", "append_bytes_max", 1, FRAME_ROOM,
     "to hold one message to another node (append_bytes_max), or it would always be dropped"},
    {"peer_queue_bytes_max", "snapshot_chunk_bytes", 1, CHUNK_ROOM,
     "to hold one message to another node (snapshot_chunk_bytes), or it would always be dropped"},
    {"uncommitted_bytes_max", "entry_bytes_max", 1, FRAME_ROOM,
     "to hold one entry of entry_bytes_max, or it would always be refused"},
    {"waiting_bytes_max", "entry_bytes_max", 1, FRAME_ROOM,
     "to hold one request of entry_bytes_max, or it would always be refused"},
    {"command_memory_max", "block_bytes_max", 1, 0, "to hold one block of block_bytes_max"},
    {"session_timeout_ms", "request_timeout_ms", 1, 0,
     "(request_timeout_ms), or a session may expire while a request waits in it"},
    {"idempotency_timeout_ms", "request_timeout_ms", 2, 0,
     "(twice request_timeout_ms): only within half of it is a command under a key sent again"},
};
#define RULES (sizeof rules / sizeof *rules)

/* Less of these would break what was promised before. */
static const struct { const char *name, *why; } growing[] = {
    {"idempotency_timeout_ms", "who was promised more sends the same key again, and its command would be done twice"},
};

/* Those that are not live, with the reason. */
static const struct { const char *name, *why; } fixed[] = {
    {"election_timeout_ms", "what voters have promised a leader, and its lease, go by it"},
    {"heartbeat_ms", "it goes with election_timeout_ms"},
    {"append_bytes_max", "frame_bytes_max of every other node must hold it"},
    {"leases", "it must be the same on every node, and a voter's promise outlives its restart"},
    {"clock_drift_ppm", "leases that were given go by it"},
    {"entry_bytes_max", "frame_bytes_max of every other node must hold it"},
    {"frame_bytes_max", "messages that are on their way were made by it"},
};

static enum error_code broken(const struct rule *rule, const struct settings *settings, struct error *error);
static uint64_t value_of(const struct settings *settings, const char *name);
static uint64_t needed(const struct rule *rule, const struct settings *settings);
static bool is_replicated(const char *name);

enum error_code settings_check(const struct settings *settings, struct error *error)
{
    for (size_t i = 0; i < RULES; i++) {
        enum error_code code = broken(&rules[i], settings, error);
        if (code != ERROR_OK) return code;
    }
    return ERROR_OK;
}

enum error_code settings_check_change(const struct settings *before, const struct settings *after, bool replicated,
                                      struct error *error)
{
    for (size_t i = 0; i < sizeof growing / sizeof *growing; i++) {
        const char *name = growing[i].name;
        if (value_of(after, name) >= value_of(before, name)) continue;
        return error_set(error, ERROR_USAGE, "%s is %" PRIu64 " and can only grow while the cluster runs: %s", name,
                         value_of(before, name), growing[i].why);
    }
    for (size_t i = 0; i < RULES; i++) {
        const struct rule *rule = &rules[i];
        bool changes = value_of(before, rule->large) != value_of(after, rule->large) ||
                       value_of(before, rule->small) != value_of(after, rule->small);
        if (!changes || (replicated && !(is_replicated(rule->large) && is_replicated(rule->small)))) continue;
        enum error_code code = broken(rule, after, error);
        if (code != ERROR_OK) return code;
    }
    return ERROR_OK;
}

const char *settings_why_fixed(const struct setting_row *row)
{
    if (row->live) return NULL;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (strcmp(fixed[i].name, row->name) == 0) return fixed[i].why;
    }
    return "it is read at the start only";
}

static enum error_code broken(const struct rule *rule, const struct settings *settings, struct error *error)
{
    uint64_t large = value_of(settings, rule->large), least = needed(rule, settings);
    if (large >= least) return ERROR_OK;
    if (rule->why == NULL) {
        return error_set(error, ERROR_USAGE,
                         "heartbeat_ms is %" PRIu64 " and election_timeout_ms %" PRIu64
                         ": a heartbeat may take at most a third of the election timeout, or one lost message starts "
                         "an election",
                         settings->heartbeat_ms, settings->election_timeout_ms);
    }
    return error_set(error, ERROR_USAGE, "%s is %" PRIu64 ": it must be at least %" PRIu64 " %s", rule->large, large,
                     least, rule->why);
}

static uint64_t needed(const struct rule *rule, const struct settings *settings)
{
    return value_of(settings, rule->small) * rule->factor + rule->room; /* far below 2^64 within the limits */
}

static uint64_t value_of(const struct settings *settings, const char *name)
{
    return settings_get(settings, settings_find(name));
}

static bool is_replicated(const char *name)
{
    return settings_find(name)->scope == SETTING_REPLICATED;
}
