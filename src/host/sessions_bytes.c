/*
 * Sessions and keys as bytes, for a snapshot: a canonical msgpack map {age_ms, clock_ms, keys,
 * open, version}. Reading believes nothing: every shape and bound is looked at, and what was read
 * must write the same bytes again.
 */
#include "host/sessions.h"

#include "base/memory.h"
#include "base/mp.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A session or a key that was read, to be put into the order of its age. */
struct found {
    uint64_t time_ms;
    uint64_t id;
    struct state_table *table;
    uint8_t name[KEY_NAME_SIZE];
    size_t reply_size;
};

struct found_list {
    struct found *items;
    size_t count;
};

static bool take_root(struct sessions *sessions);
static bool take_integer(struct state *tree, const char *key, uint64_t *value);
static void put_integer(struct state *tree, const char *key, struct state_value value);
static bool take_open(struct sessions *sessions);
static bool read_session(const struct sessions *sessions, struct state_key key,
                         struct state_value value, struct found *found);
static bool take_keys(struct sessions *sessions);
static int by_time(const void *a, const void *b);
static enum error_code corrupt(struct sessions *sessions, struct error *error);

void sessions_encode(const struct sessions *sessions, struct buffer *out)
{
    mp_write_map(out, 5);
    mp_write_text(out, "age_ms");
    mp_write_integer(out, (int64_t)sessions->age_ms);
    mp_write_text(out, "clock_ms");
    mp_write_integer(out, (int64_t)sessions->clock_ms);
    mp_write_text(out, "keys");
    state_encode(sessions->keys, out);
    mp_write_text(out, "open");
    state_encode(sessions->open, out);
    mp_write_text(out, "version");
    mp_write_integer(out, SESSIONS_LEVEL);
}

/* The numbers are in the tree while the snapshot begins, and no longer. */
struct state_snapshot *sessions_snapshot(struct sessions *sessions)
{
    struct state *tree = sessions->tree;
    state_begin(tree);
    put_integer(tree, "age_ms", state_integer((int64_t)sessions->age_ms));
    put_integer(tree, "clock_ms", state_integer((int64_t)sessions->clock_ms));
    put_integer(tree, "version", state_integer(SESSIONS_LEVEL));
    state_commit(tree);
    struct state_snapshot *snapshot = state_snapshot_begin(tree);
    state_begin(tree);
    put_integer(tree, "age_ms", state_nil());
    put_integer(tree, "clock_ms", state_nil());
    put_integer(tree, "version", state_nil());
    state_commit(tree);
    return snapshot;
}

static void put_integer(struct state *tree, const char *key, struct state_value value)
{
    bool fits = state_put(tree, state_root(tree), state_key_text(key), value);
    assert(fits);
    (void)fits;
}

enum error_code sessions_decode(struct sessions *sessions, struct slice bytes, struct error *error)
{
    static const struct mp_limits limits = {
        .depth = 5, .elements = UINT32_MAX, .bytes = SIZE_MAX};
    struct state_table *root;
    if (mp_check(bytes, &limits, NULL) != ERROR_OK || state_decode(bytes, &root, NULL) != ERROR_OK)
        return corrupt(sessions, error);
    state_begin(sessions->tree);
    state_put_root(sessions->tree, root);
    state_commit(sessions->tree);
    enum error_code code = sessions_restored(sessions, error);
    if (code != ERROR_OK) return code;
    struct buffer again = {0};
    sessions_encode(sessions, &again);
    bool same = slice_equal(buffer_slice(&again), bytes);
    buffer_deinit(&again);
    return same ? ERROR_OK : corrupt(sessions, error);
}

enum error_code sessions_restored(struct sessions *sessions, struct error *error)
{
    struct state_value version =
        state_get(state_root(sessions->tree), state_key_text("version"));
    assert(sessions->count == 0 && sessions->ring_count == 0);
    if (version.type != STATE_INTEGER) return corrupt(sessions, error);
    if (version.integer != SESSIONS_LEVEL) {
        corrupt(sessions, error); /* makes it fresh */
        return error_set(error, ERROR_VERSION,
                         "the sessions were written in version %lld, this program knows version %d",
                         (long long)version.integer, SESSIONS_LEVEL);
    }
    if (!take_root(sessions) || !take_open(sessions) || !take_keys(sessions))
        return corrupt(sessions, error);
    return ERROR_OK;
}

static enum error_code corrupt(struct sessions *sessions, struct error *error)
{
    sessions_deinit(sessions);
    sessions_init(sessions);
    return error_set(error, ERROR_CORRUPT, "the sessions are not readable: their bytes are damaged");
}

/* The tree is the two tables; the numbers live beside it. */
static bool take_root(struct sessions *sessions)
{
    struct state *tree = sessions->tree;
    struct state_table *root = state_root(tree);
    uint64_t version;
    bool map = state_is_object(root) && state_count(root) == 5;
    state_begin(tree);
    bool numbers = map && take_integer(tree, "age_ms", &sessions->age_ms) &&
                   take_integer(tree, "clock_ms", &sessions->clock_ms) &&
                   take_integer(tree, "version", &version);
    state_commit(tree);
    sessions->keys = state_get_table(root, state_key_text("keys"));
    sessions->open = state_get_table(root, state_key_text("open"));
    return numbers && sessions->keys != NULL && sessions->open != NULL;
}

static bool take_integer(struct state *tree, const char *key, uint64_t *value)
{
    struct state_value found = state_get(state_root(tree), state_key_text(key));
    if (found.type != STATE_INTEGER) return false;
    *value = (uint64_t)found.integer;
    put_integer(tree, key, state_nil());
    return true;
}

static bool take_open(struct sessions *sessions)
{
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    struct found_list list = {.items = memory_zero((size_t)state_count(sessions->open) + 1,
                                                   sizeof *list.items)};
    bool valid = true;
    state_scan(&cursor, sessions->open, &(struct state_range){0});
    while (valid && state_scan_next(&cursor, &key, &value))
        valid = read_session(sessions, key, value, &list.items[list.count++]);
    if (valid) {
        qsort(list.items, list.count, sizeof *list.items, by_time);
        for (size_t i = 0; i < list.count; i++) {
            const struct found *found = &list.items[i];
            sessions_attach(sessions, found->id, found->table)->active_ms = found->time_ms;
        }
    }
    memory_free(list.items);
    return valid;
}

static bool read_session(const struct sessions *sessions, struct state_key key,
                         struct state_value value, struct found *found)
{
    if (key.is_string || key.integer < 1 || value.type != STATE_TABLE) return false;
    struct state_table *table = value.table;
    struct state_value active = state_get(table, state_key_text("active"));
    struct state_value floor = state_get(table, state_key_text("floor"));
    struct state_table *replies = state_get_table(table, state_key_text("replies"));
    if (state_count(table) != 3 || active.type != STATE_INTEGER || floor.type != STATE_INTEGER ||
        floor.integer < 0 || replies == NULL || (uint64_t)active.integer > sessions->clock_ms)
        return false;
    struct state_cursor cursor;
    struct state_key sequence;
    struct state_value reply;
    struct kept kept;
    state_scan(&cursor, replies, &(struct state_range){0});
    while (state_scan_next(&cursor, &sequence, &reply)) {
        if (sequence.is_string || sequence.integer <= floor.integer ||
            reply.type != STATE_STRING || !kept_read(reply.string, &kept) || kept.age_ms != 0)
            return false;
    }
    *found = (struct found){
        .time_ms = (uint64_t)active.integer, .id = (uint64_t)key.integer, .table = table};
    return true;
}

static bool take_keys(struct sessions *sessions)
{
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    struct kept kept;
    struct found_list list = {.items = memory_zero((size_t)state_count(sessions->keys) + 1,
                                                   sizeof *list.items)};
    bool valid = true;
    state_scan(&cursor, sessions->keys, &(struct state_range){0});
    while (valid && state_scan_next(&cursor, &key, &value)) {
        valid = key.is_string && key.string.size == KEY_NAME_SIZE && value.type == STATE_STRING &&
                kept_read(value.string, &kept) && kept.age_ms <= sessions->age_ms;
        if (!valid) break;
        struct found *found = &list.items[list.count++];
        *found = (struct found){
            .time_ms = kept.age_ms, .id = list.count, .reply_size = kept.reply.size};
        memcpy(found->name, key.string.data, KEY_NAME_SIZE);
    }
    if (valid) {
        qsort(list.items, list.count, sizeof *list.items, by_time);
        for (size_t i = 0; i < list.count; i++) {
            const struct found *found = &list.items[i];
            sessions_attach_key(sessions, found->name, found->time_ms, found->reply_size);
        }
    }
    memory_free(list.items);
    return valid;
}

/* Those of one time go at the same entry: their order among each other changes nothing. */
static int by_time(const void *a, const void *b)
{
    const struct found *first = a, *second = b;
    if (first->time_ms != second->time_ms) return first->time_ms < second->time_ms ? -1 : 1;
    return first->id < second->id ? -1 : first->id > second->id;
}

/* ---- one kept reply ---- */

void kept_write(const struct kept *kept, struct buffer *out)
{
    uint8_t head[KEPT_HEAD];
    put_u64(head, kept->body_hash);
    put_u64(head + 8, kept->age_ms);
    put_u16(head + 16, (uint16_t)kept->code);
    buffer_append(out, head, sizeof head);
    buffer_append_slice(out, kept->reply);
}

bool kept_read(struct slice bytes, struct kept *kept)
{
    if (bytes.size < KEPT_HEAD || !error_from_number(get_u16(bytes.data + 16), &kept->code))
        return false;
    kept->body_hash = get_u64(bytes.data);
    kept->age_ms = get_u64(bytes.data + 8);
    kept->reply = slice_of(bytes.data + KEPT_HEAD, bytes.size - KEPT_HEAD);
    return true;
}
