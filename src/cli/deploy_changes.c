/*
 * What became of a state: both trees are walked side by side in key order, so that each key is met once and a
 * difference is known where it stands. Nothing is gathered but what will be shown.
 */
#include "cli/deploy.h"

#include "cli/show.h"

#include "base/mp.h"

#include <inttypes.h>
#include <string.h>

#define RECORD_DEPTH 3      /* the root's is 1 */
#define TEXT_MOST 40        /* of a string that is shown, as bytes */
#define ITEMS_MOST 8
#define SHOWN_BYTES_MOST 100
#define ENCODED_MOST 8192   /* a larger table is said to be large */
#define STRING_MOST 65536   /* a longer string is said to be long */

const char *const deploy_kind_names[] = {"added", "removed", "changed"};

struct comparing {
    struct deploy_changes *changes;
    struct buffer path;
};

static void compare_tables(struct comparing *comparing, const struct state_table *before,
                           const struct state_table *after, unsigned depth);
static void compare_values(struct comparing *comparing, const struct state_value *before,
                           const struct state_value *after, unsigned depth);
static bool equal(const struct state_value *a, const struct state_value *b, unsigned depth);
static bool tables_equal(const struct state_table *a, const struct state_table *b, unsigned depth);
static bool is_item(const struct state_value *value, unsigned depth);
static uint64_t count_items(const struct state_value *value, unsigned depth);
static void note(struct comparing *comparing, enum deploy_kind kind, uint64_t items, const struct state_value *before,
                 const struct state_value *after);
static size_t push_key(struct buffer *path, struct state_key key);
static void show(const struct state_value *value, const struct state_value *other, struct buffer *out);

void deploy_changes_find(const struct state *before, const struct state *after, struct deploy_changes *changes)
{
    struct comparing comparing = {.changes = changes};
    compare_tables(&comparing, state_root(before), state_root(after), 1);
    buffer_deinit(&comparing.path);
}

void deploy_changes_deinit(struct deploy_changes *changes)
{
    for (size_t i = 0; i < changes->shown; i++) {
        buffer_deinit(&changes->first[i].path);
        buffer_deinit(&changes->first[i].before);
        buffer_deinit(&changes->first[i].after);
    }
}

/* ---- side by side ---- */

/* One side of the walk: where it stands. */
struct side {
    struct state_cursor cursor;
    struct state_key key;
    struct state_value value;
    bool there;
};

static void begin(struct side *side, const struct state_table *table)
{
    state_scan(&side->cursor, table, &(struct state_range){0});
    side->there = state_scan_next(&side->cursor, &side->key, &side->value);
}

static void go_on(struct side *side)
{
    side->there = state_scan_next(&side->cursor, &side->key, &side->value);
}

/* Which of two sides has the lesser key: below 0, 0, above 0. One that has ended comes last. */
static int order(const struct side *a, const struct side *b)
{
    if (a->there && b->there) return state_key_compare(a->key, b->key);
    return a->there ? -1 : 1;
}

static void compare_tables(struct comparing *comparing, const struct state_table *before,
                           const struct state_table *after, unsigned depth)
{
    struct side old, new;
    begin(&old, before);
    begin(&new, after);
    while (old.there || new.there) {
        int which = order(&old, &new);
        size_t size = push_key(&comparing->path, which <= 0 ? old.key : new.key);
        compare_values(comparing, which <= 0 ? &old.value : NULL, which >= 0 ? &new.value : NULL, depth + 1);
        comparing->path.size = size;
        if (which <= 0) go_on(&old);
        if (which >= 0) go_on(&new);
    }
}

/* Null: there is none. `depth`: where the values stand. */
static void compare_values(struct comparing *comparing, const struct state_value *before,
                           const struct state_value *after, unsigned depth)
{
    if (before == NULL) {
        note(comparing, DEPLOY_ADDED, count_items(after, depth), NULL, after);
    } else if (after == NULL) {
        note(comparing, DEPLOY_REMOVED, count_items(before, depth), before, NULL);
    } else if (is_item(before, depth) || is_item(after, depth)) {
        /* A map that has just become too large for a record is no other thing for that. */
        bool both_tables = before->type == STATE_TABLE && after->type == STATE_TABLE;
        bool grown = both_tables && !(is_item(before, depth) && is_item(after, depth));
        if (grown)
            compare_tables(comparing, before->table, after->table, depth);
        else if (!equal(before, after, depth))
            note(comparing, DEPLOY_CHANGED, 1, before, after);
    } else {
        compare_tables(comparing, before->table, after->table, depth);
    }
}

static bool equal(const struct state_value *a, const struct state_value *b, unsigned depth)
{
    if (a->type != b->type) return false;
    switch (a->type) {
    case STATE_NIL: return true;
    case STATE_BOOLEAN: return a->boolean == b->boolean;
    case STATE_INTEGER: return a->integer == b->integer;
    case STATE_FLOAT: return memcmp(&a->number, &b->number, sizeof a->number) == 0; /* 0.0 and -0.0 are two */
    case STATE_STRING: return slice_equal(a->string, b->string);
    case STATE_TABLE: return tables_equal(a->table, b->table, depth);
    }
    return false;
}

/* Of items: they are small. */
static bool tables_equal(const struct state_table *a, const struct state_table *b, unsigned depth)
{
    struct side one, other;
    if (state_count(a) != state_count(b) || state_is_object(a) != state_is_object(b)) return false;
    begin(&one, a);
    begin(&other, b);
    while (one.there && other.there) {
        if (state_key_compare(one.key, other.key) != 0 || !equal(&one.value, &other.value, depth + 1)) return false;
        go_on(&one);
        go_on(&other);
    }
    return true;
}

/* ---- what counts ---- */

static bool is_item(const struct state_value *value, unsigned depth)
{
    if (value->type != STATE_TABLE) return true;
    uint64_t count = state_count(value->table);
    return count == 0 || (depth >= RECORD_DEPTH && count <= DEPLOY_RECORD_MAX && state_height(value->table) == 1);
}

static uint64_t count_items(const struct state_value *value, unsigned depth)
{
    uint64_t count = 0;
    struct side side;
    if (is_item(value, depth)) return 1;
    for (begin(&side, value->table); side.there; go_on(&side)) count += count_items(&side.value, depth + 1);
    return count;
}

static void note(struct comparing *comparing, enum deploy_kind kind, uint64_t items, const struct state_value *before,
                 const struct state_value *after)
{
    struct deploy_changes *changes = comparing->changes;
    changes->items[kind] += items;
    changes->more = changes->shown == DEPLOY_SHOWN;
    if (changes->more) return;
    struct deploy_difference *difference = &changes->first[changes->shown++];
    *difference = (struct deploy_difference){.kind = kind};
    buffer_append_slice(&difference->path, buffer_slice(&comparing->path));
    if (before != NULL) show(before, after, &difference->before);
    if (after != NULL) show(after, before, &difference->after);
}

/* ---- for people ---- */

/* As Lua writes it: items.k1, list[3], items["a b"]. Returns the path's size before. */
static size_t push_key(struct buffer *path, struct state_key key)
{
    size_t size = path->size;
    if (!key.is_string) {
        buffer_append_format(path, "[%" PRId64 "]", key.integer);
    } else if (show_is_name(key.string)) {
        if (size > 0) buffer_append_byte(path, '.');
        buffer_append_slice(path, key.string);
    } else {
        struct buffer bytes = {0};
        bool is_long = key.string.size > STRING_MOST;
        mp_write_string(&bytes, is_long ? slice_of(key.string.data, STRING_MOST) : key.string);
        buffer_append_byte(path, '[');
        show_value(buffer_slice(&bytes), TEXT_MOST, 0, path);
        buffer_append_byte(path, ']');
        buffer_deinit(&bytes);
    }
    return size;
}

/* `other`: what stands beside it, null for nothing. */
static void show(const struct state_value *value, const struct state_value *other, struct buffer *out)
{
    struct buffer bytes = {0};
    bool empty = value->type == STATE_TABLE && state_count(value->table) == 0;
    bool both_empty = empty && other != NULL && other->type == STATE_TABLE && state_count(other->table) == 0;
    if (both_empty) { /* all that can be different */
        buffer_append_text(out, state_is_object(value->table) ? "{} (as an object)" : "{} (as a list)");
        return;
    }
    if (value->type == STATE_TABLE && !state_encode_within(value->table, &bytes, ENCODED_MOST)) {
        buffer_append_format(out, "{ %" PRIu64 " keys }", state_count(value->table));
    } else if (value->type == STATE_STRING && value->string.size > STRING_MOST) {
        buffer_append_format(out, "a string of %zu bytes", value->string.size);
    } else {
        if (value->type != STATE_TABLE) state_encode_value(*value, &bytes);
        show_value(buffer_slice(&bytes), TEXT_MOST, ITEMS_MOST, out);
    }
    buffer_deinit(&bytes);
    if (out->size <= SHOWN_BYTES_MOST) return;
    out->size = utf8_cut(buffer_slice(out), SHOWN_BYTES_MOST);
    buffer_append_text(out, " ...");
}
