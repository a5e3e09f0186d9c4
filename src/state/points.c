/*
 * Points: a hash of a table's string items beside the tree that orders them, once there are more
 * than one leaf of them. A lookup then costs one probe and one item instead of a way down the tree.
 * Open addressing with linear probing; a removal closes the gap, so there are no tombstones. The 32
 * bits of hash kept by each place spare most looks at items.
 *
 * It grows a little with every change, not all at once: with a million items that would be a pause of a
 * tenth of a second. Until all of the former places have been moved, an item that is not found among
 * the new ones may still be among those.
 *
 * Nothing here is visible: not the order, not the seed (the address, so that nobody can prepare
 * keys that collide).
 */
#include "state/internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>

#define PLACES_FIRST 128
#define BELIEVED     (1u << 21) /* places made for what is only announced: their memory is not touched yet */
#define MOVED        8 /* former places with each change; two are enough to be done before the next growth */

struct place {
    uint32_t hash;
    struct state_item *item; /* null: free */
};

struct places {
    uint32_t mask;
    struct place *places; /* mask + 1 of them */
};

struct state_points {
    uint32_t count;
    struct places now;
    struct places before; /* places null: all have been moved */
    uint32_t moved;       /* of those before */
};

/* Stands where an item was that has been removed before its place was moved. */
static struct state_item removed;

static uint32_t hash_of(const struct state_points *points, struct slice key);
static struct state_item *find(const struct places *in, uint32_t hash, struct slice key);
static struct place *place_of(const struct places *in, uint32_t hash, const struct state_item *item);
static void put(struct places *in, uint32_t hash, struct state_item *item);
static void close_gap(struct places *in, struct place *gap);
static void grow(struct state_points *points);
static void move_on(struct state_points *points);

struct state_points *points_new(const struct state_node *root, uint32_t announced)
{
    struct state_points *points = memory_zero(1, sizeof *points);
    size_t places = PLACES_FIRST;
    while (places < BELIEVED && announced >= places / 4 * 3) places *= 2;
    points->now = (struct places){(uint32_t)(places - 1), memory_zero(places, sizeof(struct place))};
    struct order_place at = order_seek(root, NULL, false, false);
    for (; at.leaf; at = order_step(at, false)) points_insert(points, order_item(at));
    return points;
}

void points_free(struct state_points *points)
{
    if (!points) return;
    memory_free(points->now.places);
    memory_free(points->before.places);
    memory_free(points);
}

struct state_item *points_find(const struct state_points *points, struct slice key)
{
    uint32_t hash = hash_of(points, key);
    struct state_item *item = find(&points->now, hash, key);
    return item || !points->before.places ? item : find(&points->before, hash, key);
}

void points_insert(struct state_points *points, struct state_item *item)
{
    if (points->count >= (points->now.mask + 1) / 4 * 3) grow(points);
    points->count++;
    put(&points->now, hash_of(points, slice_of(item->key, item->size)), item);
    move_on(points);
}

void points_remove(struct state_points *points, const struct state_item *item)
{
    uint32_t hash = hash_of(points, slice_of(item->key, item->size));
    struct place *now = place_of(&points->now, hash, item);
    struct place *before = points->before.places ? place_of(&points->before, hash, item) : NULL;
    assert(now || before);
    if (now) close_gap(&points->now, now);
    if (before) before->item = &removed;
    points->count--;
    move_on(points);
}

static uint32_t hash_of(const struct state_points *points, struct slice key)
{
    return (uint32_t)hash_seeded(key.data, key.size, (uintptr_t)points);
}

static struct state_item *find(const struct places *in, uint32_t hash, struct slice key)
{
    for (uint32_t i = hash & in->mask;; i = (i + 1) & in->mask) {
        const struct place *here = &in->places[i];
        if (!here->item) return NULL;
        if (here->hash != hash || here->item == &removed) continue;
        if (slice_equal(slice_of(here->item->key, here->item->size), key)) return here->item;
    }
}

/* Null: it is not among these. */
static struct place *place_of(const struct places *in, uint32_t hash, const struct state_item *item)
{
    for (uint32_t i = hash & in->mask; in->places[i].item; i = (i + 1) & in->mask) {
        if (in->places[i].item == item) return &in->places[i];
    }
    return NULL;
}

static void put(struct places *in, uint32_t hash, struct state_item *item)
{
    uint32_t i = hash & in->mask;
    while (in->places[i].item) i = (i + 1) & in->mask;
    in->places[i] = (struct place){hash, item};
}

/* What stands behind the gap moves into it unless it would then stand before the place its hash
 * names. */
static void close_gap(struct places *in, struct place *at)
{
    uint32_t gap = (uint32_t)(at - in->places);
    for (uint32_t i = (gap + 1) & in->mask; in->places[i].item; i = (i + 1) & in->mask) {
        uint32_t home = in->places[i].hash & in->mask;
        if (((i - home) & in->mask) < ((i - gap) & in->mask)) continue;
        in->places[gap] = in->places[i];
        gap = i;
    }
    in->places[gap].item = NULL;
}

static void grow(struct state_points *points)
{
    assert(!points->before.places && points->now.mask <= UINT32_MAX / 2);
    size_t places = ((size_t)points->now.mask + 1) * 2;
    points->before = points->now;
    points->moved = 0;
    points->now = (struct places){(uint32_t)(places - 1), memory_zero(places, sizeof(struct place))};
}

/* Those before stay where they are when they have been moved, so that what stands behind them is found. */
static void move_on(struct state_points *points)
{
    struct places *before = &points->before;
    if (!before->places) return;
    for (unsigned i = 0; i < MOVED && points->moved <= before->mask; i++) {
        const struct place *here = &before->places[points->moved++];
        if (here->item && here->item != &removed) put(&points->now, here->hash, here->item);
    }
    if (points->moved <= before->mask) return;
    memory_free(before->places);
    before->places = NULL;
}
