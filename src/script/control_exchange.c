/*
 * Exchanges by two numbers: the caller's id (a hash), and the ticket that it waits for. A ticket
 * holds the exchange's slot and a count that is never used again, so a reply that comes too late
 * finds nothing.
 */
#include "script/control_internal.h"

#include "base/hash.h"
#include "base/memory.h"

#include <assert.h>

#define SLOT_BITS 24

static struct exchange **bucket_of(const struct exchanges *exchanges, uint64_t id);
static void grow(struct exchanges *exchanges);

struct exchange *exchange_add(struct exchanges *exchanges, uint64_t id)
{
    assert(!exchange_by_id(exchanges, id));
    struct exchange *exchange = exchanges->free;
    if (exchange) {
        exchanges->free = exchange->next;
    } else {
        if (exchanges->count == exchanges->capacity) grow(exchanges);
        exchange = memory_zero(1, sizeof *exchange);
        exchange->slot = exchanges->count;
        exchanges->slots[exchanges->count++] = exchange;
    }
    struct exchange **bucket = bucket_of(exchanges, id);
    exchange->id = id;
    exchange->next = *bucket;
    *bucket = exchange;
    return exchange;
}

void exchange_remove(struct exchanges *exchanges, struct exchange *exchange)
{
    struct exchange **link = bucket_of(exchanges, exchange->id);
    while (*link != exchange) link = &(*link)->next;
    *link = exchange->next;
    *exchange = (struct exchange){.slot = exchange->slot, .next = exchanges->free};
    exchanges->free = exchange;
}

uint64_t exchange_wait(struct exchanges *exchanges, struct exchange *exchange)
{
    exchange->ticket = ++exchanges->waits << SLOT_BITS | exchange->slot;
    return exchange->ticket;
}

struct exchange *exchange_by_id(const struct exchanges *exchanges, uint64_t id)
{
    if (exchanges->capacity == 0) return NULL;
    struct exchange *exchange = *bucket_of(exchanges, id);
    while (exchange && exchange->id != id) exchange = exchange->next;
    return exchange;
}

struct exchange *exchange_by_ticket(const struct exchanges *exchanges, uint64_t ticket)
{
    uint64_t slot = ticket & (((uint64_t)1 << SLOT_BITS) - 1);
    if (slot >= exchanges->count) return NULL;
    struct exchange *exchange = exchanges->slots[slot];
    return exchange->ticket == ticket ? exchange : NULL;
}

struct exchange *exchange_any(const struct exchanges *exchanges)
{
    for (uint32_t i = 0; i < exchanges->count; i++) {
        if (exchanges->slots[i]->vm) return exchanges->slots[i];
    }
    return NULL;
}

void exchanges_deinit(struct exchanges *exchanges)
{
    for (uint32_t i = 0; i < exchanges->count; i++) memory_free(exchanges->slots[i]);
    memory_free(exchanges->slots);
    memory_free(exchanges->buckets);
    *exchanges = (struct exchanges){0};
}

static struct exchange **bucket_of(const struct exchanges *exchanges, uint64_t id)
{
    return &exchanges->buckets[hash_pair(id, 0) & (exchanges->capacity - 1)];
}

/* Only called when no exchange is free, so every one has a bucket to go to. */
static void grow(struct exchanges *exchanges)
{
    exchanges->capacity = exchanges->capacity ? exchanges->capacity * 2 : 64;
    assert(exchanges->capacity <= (uint32_t)1 << SLOT_BITS);
    exchanges->slots =
        memory_resize(exchanges->slots, exchanges->capacity, sizeof *exchanges->slots);
    memory_free(exchanges->buckets);
    exchanges->buckets = memory_zero(exchanges->capacity, sizeof *exchanges->buckets);
    for (uint32_t i = 0; i < exchanges->count; i++) {
        struct exchange **bucket = bucket_of(exchanges, exchanges->slots[i]->id);
        exchanges->slots[i]->next = *bucket;
        *bucket = exchanges->slots[i];
    }
}
