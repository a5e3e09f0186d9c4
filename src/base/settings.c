/*
 * The settings table as functions. A setting is found by its row; its value lies in struct settings
 * at the same place in the order. Errors name the setting, what was given and what would do.
 */
#include "base/settings.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

/* What a frame holds beside the entry or request it carries: its head, ids, terms and indexes. */
#define FRAME_ROOM 4096
/* And beside a piece of a snapshot: its meta, with the configuration of a large cluster. */
#define CHUNK_ROOM 32768

#define NODE       SETTING_NODE
#define REPLICATED SETTING_REPLICATED
static const struct setting_row rows[] = {
#define X(name, initial, least, most, unit, scope, live, help) \
    {#name, initial, least, most, unit, scope, live, help},
    SETTINGS_TABLE(X)
#undef X
};
#undef NODE
#undef REPLICATED

static const size_t offsets[] = {
#define X(name, initial, least, most, unit, scope, live, help) offsetof(struct settings, name),
    SETTINGS_TABLE(X)
#undef X
};

#define ROW_COUNT (sizeof rows / sizeof rows[0])

static bool same_name(const char *given, const char *name);
static size_t offset_of(const struct setting_row *row);
static bool parse_number(const char *text, uint64_t *value);
static enum error_code too_small(struct error *error, const char *name, uint64_t value,
                                 uint64_t needed, const char *why);

void settings_init(struct settings *settings)
{
#define X(name, initial, least, most, unit, scope, live, help) settings->name = initial;
    SETTINGS_TABLE(X)
#undef X
}

const struct setting_row *settings_rows(unsigned *count)
{
    *count = ROW_COUNT;
    return rows;
}

const struct setting_row *settings_find(const char *name)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (same_name(name, rows[i].name)) return &rows[i];
    }
    return NULL;
}

uint64_t settings_get(const struct settings *settings, const struct setting_row *row)
{
    uint64_t value;
    memcpy(&value, (const char *)settings + offset_of(row), sizeof value);
    return value;
}

enum error_code settings_set(struct settings *settings, const char *name, uint64_t value,
                             struct error *error)
{
    const struct setting_row *row = settings_find(name);
    if (!row) return error_set(error, ERROR_USAGE, "there is no setting %s", name);
    if (value < row->least || value > row->most) {
        return error_set(error, ERROR_USAGE,
                         "%s is %" PRIu64 " %s: it must be from %" PRIu64 " to %" PRIu64, row->name,
                         value, row->unit, row->least, row->most);
    }
    memcpy((char *)settings + offset_of(row), &value, sizeof value);
    return ERROR_OK;
}

enum error_code settings_set_text(struct settings *settings, const char *name, const char *text,
                                  struct error *error)
{
    const struct setting_row *row = settings_find(name);
    if (!row) return error_set(error, ERROR_USAGE, "there is no setting %s", name);
    uint64_t value;
    if (!parse_number(text, &value)) {
        return error_set(error, ERROR_USAGE,
                         "%s is \"%s\": it must be a whole number from %" PRIu64 " to %" PRIu64
                         " (%s)",
                         row->name, text, row->least, row->most, row->unit);
    }
    return settings_set(settings, name, value, error);
}

enum error_code settings_check(const struct settings *s, struct error *error)
{
    if (s->heartbeat_ms * 3 > s->election_timeout_ms) {
        return error_set(error, ERROR_USAGE,
                         "heartbeat_ms is %" PRIu64 " and election_timeout_ms %" PRIu64
                         ": a heartbeat may take at most a third of the election timeout, or one "
                         "lost message starts "
                         "an election",
                         s->heartbeat_ms, s->election_timeout_ms);
    }
    uint64_t entry = s->entry_bytes_max + FRAME_ROOM;
    uint64_t append = s->append_bytes_max + FRAME_ROOM;
    uint64_t chunk = s->snapshot_chunk_bytes + CHUNK_ROOM;
    uint64_t largest = entry > append ? entry : append;
    if (chunk > largest) largest = chunk;
    if (s->frame_bytes_max < entry) {
        return too_small(error, "frame_bytes_max", s->frame_bytes_max, entry,
                         "one entry of entry_bytes_max");
    }
    if (s->frame_bytes_max < append) {
        return too_small(error, "frame_bytes_max", s->frame_bytes_max, append,
                         "one append of append_bytes_max");
    }
    if (s->frame_bytes_max < chunk) {
        return too_small(error, "frame_bytes_max", s->frame_bytes_max, chunk,
                         "one piece of a snapshot of snapshot_chunk_bytes");
    }
    if (s->peer_queue_bytes_max < largest) {
        return too_small(error, "peer_queue_bytes_max", s->peer_queue_bytes_max, largest,
                         "one message to another node, or it would always be dropped");
    }
    if (s->uncommitted_bytes_max < entry) {
        return too_small(error, "uncommitted_bytes_max", s->uncommitted_bytes_max, entry,
                         "one entry of entry_bytes_max, or it would always be refused");
    }
    if (s->waiting_bytes_max < entry) {
        return too_small(error, "waiting_bytes_max", s->waiting_bytes_max, entry,
                         "one request of entry_bytes_max, or it would always be refused");
    }
    if (s->command_memory_max < s->block_bytes_max) {
        return too_small(error, "command_memory_max", s->command_memory_max, s->block_bytes_max,
                         "one block of block_bytes_max");
    }
    return ERROR_OK;
}

static enum error_code too_small(struct error *error, const char *name, uint64_t value,
                                 uint64_t needed, const char *why)
{
    return error_set(error, ERROR_USAGE,
                     "%s is %" PRIu64 ": it must be at least %" PRIu64 " to hold %s", name, value,
                     needed, why);
}

static bool same_name(const char *given, const char *name)
{
    for (; *name; given++, name++) {
        if (*given != *name && !(*given == '-' && *name == '_')) return false;
    }
    return *given == 0;
}

static size_t offset_of(const struct setting_row *row)
{
    assert(row >= rows && row < rows + ROW_COUNT);
    return offsets[row - rows];
}

/* Digits only: strtoull would take blanks, signs and 0x, and wrap a minus around. */
static bool parse_number(const char *text, uint64_t *value)
{
    *value = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (*value > (UINT64_MAX - digit) / 10) return false;
        *value = *value * 10 + digit;
    }
    return true;
}
