/*
 * Walking in key order: integers below 1 (tree), the run (array), integers behind it (tree),
 * strings (tree).
 *
 * A step looks where the last one ended; only when the set of keys has changed since, or at the
 * seams between tree and array, is the place sought again from the key given last.
 */
#include "state/internal.h"

#include "base/memory.h"

#include <string.h>

struct found {
    struct state_key key;
    const struct state_slot *slot; /* null: nothing there */
    struct order_place place;
};

static struct found first(const struct state_table *table, const struct state_range *range);
static struct found step(const struct state_cursor *cursor);
static struct found seek(const struct state_table *table, const struct state_key *key, bool beyond,
                         bool reverse);
static bool in_range(const struct state_range *range, struct state_key key);

void state_scan(struct state_cursor *cursor, const struct state_table *table,
                const struct state_range *range)
{
    *cursor = (struct state_cursor){.table = table};
    if (range) cursor->range = *range;
}

bool state_scan_next(struct state_cursor *cursor, struct state_key *key, struct state_value *value)
{
    if (cursor->ended) return false;
    struct found found = cursor->begun ? step(cursor) : first(cursor->table, &cursor->range);
    if (!found.slot || !in_range(&cursor->range, found.key)) {
        cursor->ended = true;
        return false;
    }
    cursor->begun = true;
    cursor->last = found.key;
    cursor->leaf = found.place.leaf;
    cursor->at = found.place.at;
    cursor->revision = cursor->table->revision;
    *key = found.key;
    *value = slot_value(found.slot);
    return true;
}

/* ---- where to begin ---- */

static struct found first_with_prefix(const struct state_table *table,
                                      const struct state_range *range);

static struct found first(const struct state_table *table, const struct state_range *range)
{
    if (range->prefix.size > 0) return first_with_prefix(table, range);
    return seek(table, range->reverse ? range->to : range->from, false, range->reverse);
}

/* Backward, the walk begins below the least string that is above all with the prefix: its last byte
 * that can grow, grown. */
static struct found first_with_prefix(const struct state_table *table,
                                      const struct state_range *range)
{
    struct state_key begin = state_key_string(range->prefix);
    if (!range->reverse) {
        if (range->from && state_key_compare(*range->from, begin) > 0) begin = *range->from;
        return seek(table, &begin, false, false);
    }
    size_t size = range->prefix.size;
    while (size > 0 && range->prefix.data[size - 1] == 0xff) size--;
    if (size == 0) return seek(table, range->to, false, true);
    uint8_t *above = memory_alloc(size);
    memcpy(above, range->prefix.data, size);
    above[size - 1]++;
    begin = state_key_string(slice_of(above, size));
    bool lower = range->to && state_key_compare(*range->to, begin) < 0;
    struct found found =
        lower ? seek(table, range->to, false, true) : seek(table, &begin, true, true);
    memory_free(above);
    return found;
}

static bool in_range(const struct state_range *range, struct state_key key)
{
    size_t prefix = range->prefix.size;
    if (prefix > 0) {
        if (!key.is_string || key.string.size < prefix) return false;
        if (memcmp(key.string.data, range->prefix.data, prefix) != 0) return false;
    }
    if (range->from && state_key_compare(key, *range->from) < 0) return false;
    return !range->to || state_key_compare(key, *range->to) <= 0;
}

/* ---- where to go on ---- */

static struct found in_tree(struct order_place place);
static struct found in_array(const struct state_table *table, int64_t at);
static struct found seek_integer(const struct state_table *table, const struct state_key *key,
                                 bool beyond, bool reverse);

static struct found step(const struct state_cursor *cursor)
{
    const struct state_table *table = cursor->table;
    bool reverse = cursor->range.reverse;
    struct state_key last = cursor->last;
    if (!last.is_string && last.integer >= 1 && last.integer <= (int64_t)table->length) {
        int64_t next = last.integer + (reverse ? -1 : 1);
        if (next >= 1 && next <= (int64_t)table->length) return in_array(table, next);
    } else if (cursor->leaf && cursor->revision == table->revision) {
        struct found found =
            in_tree(order_step((struct order_place){cursor->leaf, cursor->at}, reverse));
        if (found.slot && last.is_string) return found;
        if (found.slot && (found.key.integer < 1) == (last.integer < 1)) return found;
    }
    return seek(table, &last, true, reverse);
}

/* The first at or beyond the key in the walk's direction; null: from its beginning. */
static struct found seek(const struct state_table *table, const struct state_key *key, bool beyond,
                         bool reverse)
{
    if (!reverse) {
        struct found found = {.slot = NULL};
        if (!key || !key->is_string) {
            found = seek_integer(table, key, beyond, false);
            key = NULL;
        }
        return found.slot ? found : in_tree(order_seek(table->strings, key, beyond, false));
    }
    if (!key || key->is_string) {
        struct found found = in_tree(order_seek(table->strings, key, beyond, true));
        if (found.slot) return found;
        key = NULL;
    }
    return seek_integer(table, key, beyond, true);
}

/* The nearer of the tree's candidate and the run's. */
static struct found seek_integer(const struct state_table *table, const struct state_key *key,
                                 bool beyond, bool reverse)
{
    struct found tree = in_tree(order_seek(table->integers, key, beyond, reverse));
    int64_t length = table->length, at = reverse ? length : 1;
    if (key && !reverse && key->integer >= 1) {
        at = key->integer > length ? length + 1 : key->integer + beyond;
    }
    if (key && reverse && key->integer <= length) at = key->integer < 1 ? 0 : key->integer - beyond;
    if (at < 1 || at > length) return tree;
    if (tree.slot && (tree.key.integer < at) != reverse) return tree;
    return in_array(table, at);
}

static struct found in_tree(struct order_place place)
{
    struct state_item *item = order_item(place);
    if (!item) return (struct found){.slot = NULL};
    return (struct found){.key = item_key(item), .slot = &item->slot, .place = place};
}

static struct found in_array(const struct state_table *table, int64_t at)
{
    return (struct found){.key = state_key_integer(at), .slot = &table->array[at - 1]};
}
