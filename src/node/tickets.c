/* A slab of slots. A number is a slot and how often it has been used: finding it is one array
 * access. */
#include "node/tickets.h"

#include "base/memory.h"

#include <assert.h>

struct slot {
    struct ticket ticket;
    struct ticket_list *list;
    uint32_t next, previous; /* slot + 1 in the list; `next` also chains the free slots */
    uint32_t uses;           /* odd while taken */
};

struct tickets {
    struct slot *slots;
    uint32_t count, capacity; /* slots ever used, slots there are */
    uint32_t free;            /* slot + 1 */
    size_t taken;
};

static uint32_t take_slot(struct tickets *tickets);
static void unlink_slot(struct tickets *tickets, uint32_t slot);

struct tickets *tickets_new(void)
{
    return memory_zero(1, sizeof(struct tickets));
}

void tickets_free(struct tickets *tickets)
{
    if (tickets == NULL) return;
    memory_free(tickets->slots);
    memory_free(tickets);
}

size_t tickets_count(const struct tickets *tickets)
{
    return tickets->taken;
}

uint64_t tickets_add(struct tickets *tickets, enum ticket_kind kind, void *owner, uint64_t id,
                     struct ticket_list *list)
{
    uint32_t at = take_slot(tickets);
    struct slot *slot = &tickets->slots[at];
    slot->ticket = (struct ticket){.kind = kind, .owner = owner, .id = id};
    slot->list = list;
    slot->next = slot->previous = 0;
    slot->uses++;
    tickets->taken++;
    if (list != NULL) {
        slot->next = list->first;
        if (list->first != 0) tickets->slots[list->first - 1].previous = at + 1;
        list->first = at + 1;
        list->count++;
    }
    return (uint64_t)slot->uses << 32 | at;
}

void tickets_time(struct tickets *tickets, uint64_t number, unsigned route, uint64_t began_us)
{
    uint32_t at = (uint32_t)number;
    assert(at < tickets->count && tickets->slots[at].uses == (uint32_t)(number >> 32));
    tickets->slots[at].ticket.route = route;
    tickets->slots[at].ticket.began_us = began_us;
}

bool tickets_take(struct tickets *tickets, uint64_t number, struct ticket *ticket)
{
    uint32_t at = (uint32_t)number, uses = (uint32_t)(number >> 32);
    if (at >= tickets->count || tickets->slots[at].uses != uses || uses % 2 == 0) return false;
    *ticket = tickets->slots[at].ticket;
    unlink_slot(tickets, at);
    return true;
}

bool tickets_take_any(struct tickets *tickets, struct ticket_list *list, uint64_t *number,
                      struct ticket *ticket)
{
    if (list->first == 0) return false;
    uint32_t at = list->first - 1;
    *number = (uint64_t)tickets->slots[at].uses << 32 | at;
    return tickets_take(tickets, *number, ticket);
}

static uint32_t take_slot(struct tickets *tickets)
{
    if (tickets->free != 0) {
        uint32_t at = tickets->free - 1;
        tickets->free = tickets->slots[at].next;
        return at;
    }
    if (tickets->count == tickets->capacity) {
        tickets->capacity = tickets->capacity == 0 ? 64 : tickets->capacity * 2;
        tickets->slots = memory_resize(tickets->slots, tickets->capacity, sizeof *tickets->slots);
    }
    tickets->slots[tickets->count] = (struct slot){.uses = 0};
    return tickets->count++;
}

static void unlink_slot(struct tickets *tickets, uint32_t at)
{
    struct slot *slot = &tickets->slots[at];
    if (slot->list != NULL) {
        assert(slot->list->count > 0);
        slot->list->count--;
        if (slot->previous != 0) {
            tickets->slots[slot->previous - 1].next = slot->next;
        } else {
            slot->list->first = slot->next;
        }
        if (slot->next != 0) tickets->slots[slot->next - 1].previous = slot->previous;
    }
    slot->uses++;
    slot->next = tickets->free;
    tickets->free = at + 1;
    tickets->taken--;
}
