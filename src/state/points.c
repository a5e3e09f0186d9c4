/*
 * Points: a hash of a table's string items beside the tree that orders them, once there are more
 * than one leaf of them. A lookup then costs one probe and one item instead of a way down the tree.
 * Open addressing with linear probing; a removal closes the gap, so there are no tombstones. The 32
 * bits of hash kept by each place spare most looks at items.
 *
 * Nothing here is visible: not the order, not the seed (the address, so that nobody can prepare
 * keys that collide).
 */
#include "state/internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>

#define PLACES_FIRST 128
#define BATCH        32

struct place {
    uint32_t hash;
    struct state_item *item; /* null: free */
};

struct state_points {
    uint32_t count, mask;
    struct place *places;
};

static uint32_t hash_of(const struct state_points *points, struct slice key);
static void place(struct state_points *points, uint32_t hash, struct state_item *item);
static void grow(struct state_points *points);

/* A few at a time: the memory of one place is on its way while the next one is looked for. */
struct state_points *points_new(const struct state_node *root, uint64_t count)
{
    struct state_points *points = memory_zero(1, sizeof *points);
    size_t places = PLACES_FIRST;
    while (count >= places / 4 * 3) places *= 2;
    assert(places <= (size_t)UINT32_MAX + 1);
    points->mask = (uint32_t)(places - 1);
    points->places = memory_zero(places, sizeof *points->places);
    struct place batch[BATCH];
    struct order_place at = order_seek(root, NULL, false, false);
    while (at.leaf) {
        unsigned taken = 0;
        for (; taken < BATCH && at.leaf; at = order_step(at, false)) {
            struct state_item *item = order_item(at);
            uint32_t hash = hash_of(points, slice_of(item->key, item->size));
            __builtin_prefetch(&points->places[hash & points->mask], 1);
            batch[taken++] = (struct place){hash, item};
        }
        for (unsigned i = 0; i < taken; i++) place(points, batch[i].hash, batch[i].item);
        points->count += taken;
    }
    return points;
}

void points_free(struct state_points *points)
{
    if (!points) return;
    memory_free(points->places);
    memory_free(points);
}

struct state_item *points_find(const struct state_points *points, struct slice key)
{
    uint32_t hash = hash_of(points, key);
    for (uint32_t i = hash & points->mask;; i = (i + 1) & points->mask) {
        const struct place *here = &points->places[i];
        if (!here->item) return NULL;
        if (here->hash != hash) continue;
        if (slice_equal(slice_of(here->item->key, here->item->size), key)) return here->item;
    }
}

void points_insert(struct state_points *points, struct state_item *item)
{
    if (points->count >= (points->mask + 1) / 4 * 3) grow(points);
    points->count++;
    place(points, hash_of(points, slice_of(item->key, item->size)), item);
}

/* What stands behind the gap moves into it unless it would then stand before the place its hash
 * names. */
void points_remove(struct state_points *points, const struct state_item *item)
{
    uint32_t gap = hash_of(points, slice_of(item->key, item->size)) & points->mask;
    while (points->places[gap].item != item) {
        assert(points->places[gap].item);
        gap = (gap + 1) & points->mask;
    }
    for (uint32_t i = (gap + 1) & points->mask; points->places[i].item;
         i = (i + 1) & points->mask) {
        uint32_t home = points->places[i].hash & points->mask;
        if (((i - home) & points->mask) < ((i - gap) & points->mask)) continue;
        points->places[gap] = points->places[i];
        gap = i;
    }
    points->places[gap].item = NULL;
    points->count--;
}

static uint32_t hash_of(const struct state_points *points, struct slice key)
{
    return (uint32_t)hash_seeded(key.data, key.size, (uintptr_t)points);
}

static void place(struct state_points *points, uint32_t hash, struct state_item *item)
{
    uint32_t i = hash & points->mask;
    while (points->places[i].item) i = (i + 1) & points->mask;
    points->places[i] = (struct place){hash, item};
}

static void grow(struct state_points *points)
{
    struct place *before = points->places;
    uint32_t places = points->mask + 1;
    assert(places <= UINT32_MAX / 2);
    points->places = memory_zero((size_t)places * 2, sizeof *points->places);
    points->mask = places * 2 - 1;
    for (uint32_t i = 0; i < places; i++) {
        if (before[i].item) place(points, before[i].hash, before[i].item);
    }
    memory_free(before);
}
