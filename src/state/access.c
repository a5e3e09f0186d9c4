/* Reading tables, building them, and holding on to them. See state.h. */
#include "state/internal.h"

#include "base/memory.h"

#include <assert.h>

struct state_value state_get(const struct state_table *table, struct state_key key)
{
    const struct state_slot *slot = table_find(table, key);
    return slot ? slot_value(slot) : state_nil();
}

struct state_table *state_get_table(const struct state_table *table, struct state_key key)
{
    const struct state_slot *slot = table_find(table, key);
    return slot && slot->type == STATE_TABLE ? slot->table : NULL;
}

uint64_t state_count(const struct state_table *table)
{
    return table->count;
}

int64_t state_length(const struct state_table *table)
{
    return table->length;
}

bool state_is_object(const struct state_table *table)
{
    return table->count > 0 ? table->count > table->length : table->object;
}

unsigned state_depth(const struct state_table *table)
{
    return table->depth;
}

unsigned state_height(const struct state_table *table)
{
    return table_height(table);
}

/* ---- building ---- */

struct state_table *state_build(bool object)
{
    return table_new(object);
}

static void visit_copy(struct state_key key, struct state_slot *slot, void *context)
{
    struct state_table *copy = context;
    struct state_value value = slot_value(slot);
    struct state_slot old;
    uint64_t moved = 0;
    if (value.type == STATE_TABLE) {
        value.table = state_copy(value.table);
        value.table->place = TABLE_HELD;
    }
    table_put(copy, key, slot_of(value), &old, &moved);
}

struct state_table *state_copy(const struct state_table *table)
{
    struct state_table *copy = table_new(table->object);
    table_each(table, visit_copy, copy);
    return copy;
}

void state_discard(struct state_table *built)
{
    assert(built->place == TABLE_LOOSE);
    table_free(built);
}

/* ---- references ---- */

struct state_table *state_table_take(struct state_table *table)
{
    table->references++;
    return table;
}

void state_table_drop(struct state_table *table)
{
    assert(table->references > 0);
    table->references--;
    if (table->references == 0 && table->place == TABLE_GONE) memory_free(table);
}

bool state_table_alive(const struct state_table *table)
{
    return table->place == TABLE_ATTACHED;
}

uint32_t state_table_tag(const struct state_table *table)
{
    return table->tag;
}

void state_table_set_tag(struct state_table *table, uint32_t tag)
{
    table->tag = tag;
}
