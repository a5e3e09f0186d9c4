/*
 * The world: one heap of events ordered by virtual time, then by the order in which they were
 * pushed; the seeded streams of randomness.
 *
 * Streams are separate so that, say, a request more or less does not change what the disk draws.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>

static bool before(const struct sim_event *a, const struct sim_event *b);
static void sift_down(struct sim_world *world, size_t hole, const struct sim_event *event);

void world_init(struct sim_world *world, uint64_t seed)
{
    for (int i = 0; i < STREAMS; i++) random_init(&world->random[i], hash_pair(seed, (uint64_t)i));
    world->trace_hash = hash_pair(seed, 0x6d6f6f6e);
}

void world_deinit(struct sim_world *world)
{
    assert(world->count == 0);
    memory_free(world->heap);
    world->heap = NULL;
}

/* The caller may fill lifetime, number and data of what is returned, before it pushes again: the
 * key is set. */
struct sim_event *world_push(struct sim_world *world, uint64_t delay_us, enum sim_event_kind kind,
                             unsigned node)
{
    struct sim_event event = {
        .at_us = world->now_us + delay_us,
        .order = world->order++,
        .kind = (uint16_t)kind,
        .node = (uint16_t)node,
    };
    if (world->count == world->capacity) {
        world->capacity = world->capacity ? world->capacity * 2 : 256;
        world->heap = memory_resize(world->heap, world->capacity, sizeof event);
    }
    size_t at = world->count++;
    while (at > 0 && before(&event, &world->heap[(at - 1) / 4])) {
        world->heap[at] = world->heap[(at - 1) / 4];
        at = (at - 1) / 4;
    }
    world->heap[at] = event;
    return &world->heap[at];
}

/* False: nothing is due by then, and it is that time now (unless that is never). */
bool world_pop(struct sim_world *world, uint64_t until_us, struct sim_event *event)
{
    if (world->count == 0 || world->heap[0].at_us > until_us) {
        if (until_us != UINT64_MAX && until_us > world->now_us) world->now_us = until_us;
        return false;
    }
    *event = world->heap[0];
    struct sim_event last = world->heap[--world->count];
    if (world->count > 0) sift_down(world, 0, &last);
    assert(event->at_us >= world->now_us);
    world->now_us = event->at_us;
    return true;
}

/* An event whose node is paused comes again when it goes on, behind nothing that was pushed after
 * it for then. */
void world_defer(struct sim_world *world, const struct sim_event *event, uint64_t until_us)
{
    assert(until_us > world->now_us);
    struct sim_event *again = world_push(world, until_us - world->now_us, event->kind, event->node);
    again->data = event->data;
    again->number = event->number;
    again->lifetime = event->lifetime;
}

uint64_t draw(struct sim *sim, enum sim_stream stream, uint64_t limit)
{
    return limit == 0 ? 0 : random_below(&sim->world.random[stream], limit);
}

uint64_t draw_between(struct sim *sim, enum sim_stream stream, uint64_t least, uint64_t most)
{
    assert(least <= most);
    return least + random_below(&sim->world.random[stream], most - least + 1);
}

bool chance(struct sim *sim, enum sim_stream stream, unsigned permille)
{
    return permille > 0 && random_below(&sim->world.random[stream], 1000) < permille;
}

/* ---- the heap: four children to a node, which keeps it flat ---- */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void sift_down(struct sim_world *world, size_t hole, const struct sim_event *event)
{
    for (;;) {
        size_t first = hole * 4 + 1;
        if (first >= world->count) break;
        size_t least = first;
        for (size_t i = first + 1; i < first + 4 && i < world->count; i++) {
            if (before(&world->heap[i], &world->heap[least])) least = i;
        }
        if (!before(&world->heap[least], event)) break;
        world->heap[hole] = world->heap[least];
        hole = least;
    }
    world->heap[hole] = *event;
}
