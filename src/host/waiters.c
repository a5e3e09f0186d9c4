/*
 * Pool, lists, tables and the heap of deadlines: see waiters.h. Nothing here depends on an address:
 * lists are in the order of moving, ties of deadlines in the order of arrival.
 */
#include "host/waiters.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

#define SLAB_WAITERS    32
#define INDEX_SLOTS_MIN 64

struct waiter_slab {
    struct waiter_slab *next;
    struct waiter waiters[SLAB_WAITERS];
};

static void pool_grow(struct waiters *waiters);
static void list_append(struct waiter_list *list, struct waiter *waiter);
static void list_remove(struct waiter *waiter);
static size_t slot_of(const struct waiter_index *index, uint64_t key);
static void index_grow(struct waiter_index *index, enum waiter_table table);
static void heap_add(struct waiters *waiters, struct waiter *waiter);
static void heap_remove(struct waiters *waiters, struct waiter *waiter);
static void heap_up(struct waiters *waiters, size_t place);
static void heap_down(struct waiters *waiters, size_t place);

void waiters_init(struct waiters *waiters)
{
    memset(waiters, 0, sizeof *waiters);
    for (int i = 0; i < WAITER_TABLES; i++) {
        waiters->tables[i].slot_count = INDEX_SLOTS_MIN;
        waiters->tables[i].slots = memory_zero(INDEX_SLOTS_MIN, sizeof(struct waiter *));
    }
}

void waiters_deinit(struct waiters *waiters)
{
    while (waiters->slabs != NULL) {
        struct waiter_slab *slab = waiters->slabs;
        waiters->slabs = slab->next;
        for (size_t i = 0; i < SLAB_WAITERS; i++) waiter_drop_body(&slab->waiters[i]);
        memory_free(slab);
    }
    for (int i = 0; i < WAITER_TABLES; i++) memory_free(waiters->tables[i].slots);
    memory_free(waiters->heap);
    memset(waiters, 0, sizeof *waiters);
}

struct waiter *waiter_new(struct waiters *waiters, uint64_t deadline_us)
{
    if (waiters->lists[WAITER_FREE].count == 0) pool_grow(waiters);
    struct waiter *waiter = waiters->lists[WAITER_FREE].first;
    list_remove(waiter);
    *waiter = (struct waiter){.state = WAITER_ARRIVED, .order = ++waiters->order};
    waiter->deadline_us = waiter->wake_us = deadline_us;
    list_append(&waiters->lists[WAITER_ARRIVED], waiter);
    heap_add(waiters, waiter);
    waiters->count++;
    return waiter;
}

void waiter_free(struct waiters *waiters, struct waiter *waiter)
{
    assert(waiter->state != WAITER_FREE);
    for (int i = 0; i < WAITER_TABLES; i++) {
        if (waiter->in_table[i]) waiter_index_remove(waiters, (enum waiter_table)i, waiter);
    }
    waiter_drop_body(waiter);
    heap_remove(waiters, waiter);
    assert(waiters->count > 0 && waiters->bytes >= waiter->size);
    waiters->count--;
    waiters->bytes -= waiter->size;
    waiter_move(waiters, waiter, WAITER_FREE);
}

static void pool_grow(struct waiters *waiters)
{
    struct waiter_slab *slab = memory_zero(1, sizeof *slab);
    slab->next = waiters->slabs;
    waiters->slabs = slab;
    for (size_t i = 0; i < SLAB_WAITERS; i++)
        list_append(&waiters->lists[WAITER_FREE], &slab->waiters[i]);
}

void waiter_move(struct waiters *waiters, struct waiter *waiter, enum waiter_state state)
{
    assert(state != WAITER_READING);
    waiter_move_to(waiters, waiter, state, &waiters->lists[state]);
}

/* Leaving PROPOSED or FORWARDED ends what its number meant. */
void waiter_move_to(struct waiters *waiters, struct waiter *waiter, enum waiter_state state,
                    struct waiter_list *list)
{
    if (waiter->in_table[WAITERS_BY_NUMBER])
        waiter_index_remove(waiters, WAITERS_BY_NUMBER, waiter);
    list_remove(waiter);
    waiter->state = state;
    list_append(list, waiter);
}

void waiter_drop_body(struct waiter *waiter)
{
    blob_drop(waiter->body.blob);
    waiter->body = (struct raft_payload){0};
}

bool waiter_is_deduplicated(const struct waiter *waiter)
{
    return waiter->kind == REQUEST_SESSION || waiter->kind == REQUEST_KEYED ||
           (waiter->kind == REQUEST_COMMAND && waiter->session != 0);
}

/* ---- lists ---- */

static void list_append(struct waiter_list *list, struct waiter *waiter)
{
    waiter->list = list;
    waiter->next = NULL;
    waiter->previous = list->last;
    if (list->last != NULL) {
        list->last->next = waiter;
    } else {
        list->first = waiter;
    }
    list->last = waiter;
    list->count++;
}

static void list_remove(struct waiter *waiter)
{
    struct waiter_list *list = waiter->list;
    assert(list->count > 0);
    if (waiter->previous != NULL) {
        waiter->previous->next = waiter->next;
    } else {
        list->first = waiter->next;
    }
    if (waiter->next != NULL) {
        waiter->next->previous = waiter->previous;
    } else {
        list->last = waiter->previous;
    }
    list->count--;
    waiter->list = NULL;
}

/* ---- tables: chained, keys may repeat ---- */

void waiter_index_add(struct waiters *waiters, enum waiter_table table, uint64_t key,
                      struct waiter *waiter)
{
    struct waiter_index *index = &waiters->tables[table];
    assert(!waiter->in_table[table]);
    if (index->count == index->slot_count) index_grow(index, table);
    size_t slot = slot_of(index, key);
    waiter->links[table] = (struct waiter_link){key, index->slots[slot]};
    waiter->in_table[table] = true;
    index->slots[slot] = waiter;
    index->count++;
}

void waiter_index_remove(struct waiters *waiters, enum waiter_table table, struct waiter *waiter)
{
    struct waiter_index *index = &waiters->tables[table];
    struct waiter **at = &index->slots[slot_of(index, waiter->links[table].key)];
    while (*at != waiter) {
        assert(*at != NULL);
        at = &(*at)->links[table].next;
    }
    *at = waiter->links[table].next;
    waiter->in_table[table] = false;
    index->count--;
}

struct waiter *waiter_index_find(const struct waiters *waiters, enum waiter_table table,
                                 uint64_t key, enum waiter_state state)
{
    const struct waiter_index *index = &waiters->tables[table];
    struct waiter *waiter = index->slots[slot_of(index, key)];
    while (waiter != NULL) {
        bool fits = state == WAITER_STATES || waiter->state == state;
        if (waiter->links[table].key == key && fits) break;
        waiter = waiter->links[table].next;
    }
    return waiter;
}

/* Fibonacci hashing: tickets and log indexes mostly ascend by one, callers may choose other
 * tickets. */
static size_t slot_of(const struct waiter_index *index, uint64_t key)
{
    return (size_t)((key * UINT64_C(0x9E3779B97F4A7C15)) >> 32) & (index->slot_count - 1);
}

static void index_grow(struct waiter_index *index, enum waiter_table table)
{
    struct waiter_index grown = {.slot_count = index->slot_count * 2, .count = index->count};
    grown.slots = memory_zero(grown.slot_count, sizeof *grown.slots);
    for (size_t i = 0; i < index->slot_count; i++) {
        struct waiter *next;
        for (struct waiter *waiter = index->slots[i]; waiter != NULL; waiter = next) {
            struct waiter **slot = &grown.slots[slot_of(&grown, waiter->links[table].key)];
            next = waiter->links[table].next;
            waiter->links[table].next = *slot;
            *slot = waiter;
        }
    }
    memory_free(index->slots);
    *index = grown;
}

/* ---- the heap ---- */

struct waiter *waiters_first_due(const struct waiters *waiters)
{
    return waiters->heap_count > 0 ? waiters->heap[0] : NULL;
}

void waiter_wake_at(struct waiters *waiters, struct waiter *waiter, uint64_t wake_us)
{
    waiter->wake_us = wake_us < waiter->deadline_us ? wake_us : waiter->deadline_us;
    heap_up(waiters, waiter->heap_place);
    heap_down(waiters, waiter->heap_place);
}

static bool before(const struct waiter *a, const struct waiter *b)
{
    return a->wake_us != b->wake_us ? a->wake_us < b->wake_us : a->order < b->order;
}

static void heap_set(struct waiters *waiters, size_t place, struct waiter *waiter)
{
    waiters->heap[place] = waiter;
    waiter->heap_place = place;
}

static void heap_add(struct waiters *waiters, struct waiter *waiter)
{
    if (waiters->heap_count == waiters->heap_capacity) {
        waiters->heap_capacity =
            waiters->heap_capacity == 0 ? SLAB_WAITERS : waiters->heap_capacity * 2;
        waiters->heap = memory_resize(waiters->heap, waiters->heap_capacity, sizeof *waiters->heap);
    }
    heap_set(waiters, waiters->heap_count, waiter);
    heap_up(waiters, waiters->heap_count++);
}

static void heap_remove(struct waiters *waiters, struct waiter *waiter)
{
    size_t place = waiter->heap_place;
    assert(waiters->heap[place] == waiter);
    struct waiter *last = waiters->heap[--waiters->heap_count];
    if (last == waiter) return;
    heap_set(waiters, place, last);
    heap_up(waiters, place);
    heap_down(waiters, last->heap_place);
}

static void heap_up(struct waiters *waiters, size_t place)
{
    struct waiter *waiter = waiters->heap[place];
    while (place > 0 && before(waiter, waiters->heap[(place - 1) / 2])) {
        heap_set(waiters, place, waiters->heap[(place - 1) / 2]);
        place = (place - 1) / 2;
    }
    heap_set(waiters, place, waiter);
}

static void heap_down(struct waiters *waiters, size_t place)
{
    struct waiter *waiter = waiters->heap[place];
    for (;;) {
        size_t child = place * 2 + 1;
        if (child >= waiters->heap_count) break;
        if (child + 1 < waiters->heap_count &&
            before(waiters->heap[child + 1], waiters->heap[child]))
            child++;
        if (!before(waiters->heap[child], waiter)) break;
        heap_set(waiters, place, waiters->heap[child]);
        place = child;
    }
    heap_set(waiters, place, waiter);
}
