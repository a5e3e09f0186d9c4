/*
 * The hash of the tree: the sum, modulo 2^64, of one term for each value that is no table, and one
 * for each table that says it is there (and of which kind it is while it is empty). A term depends
 * on the way from the root, the key and the value, on nothing else: a change costs the terms it
 * touches, and equal trees have equal sums.
 */
#include "state/internal.h"

#include "base/hash.h"

#include <assert.h>
#include <string.h>

/* Arbitrary odd numbers that keep the kinds of things apart. */
#define INTEGER_KEY 0x9e3779b97f4a7c15u
#define TABLE_PATH  0xc2b2ae3d27d4eb4fu
static const uint64_t type_marks[] = {
    [STATE_NIL] = 0,
    [STATE_BOOLEAN] = 0x165667b19e3779f9u,
    [STATE_INTEGER] = 0x27d4eb2f165667c5u,
    [STATE_FLOAT] = 0x85ebca77c2b2ae63u,
    [STATE_STRING] = 0x9fb21c651e98df25u,
    [STATE_TABLE] = 0xd6e8feb86659fd93u,
};

static uint64_t place_of(const struct state_table *table, struct state_key key);

uint64_t term_of(const struct state_table *table, struct state_key key,
                 const struct state_slot *slot)
{
    assert(slot->type != STATE_NIL && slot->type != STATE_TABLE);
    uint64_t mark = place_of(table, key) ^ type_marks[slot->type];
    uint64_t bits = 0;
    switch ((enum state_type)slot->type) {
    case STATE_BOOLEAN:
        bits = slot->boolean;
        break;
    case STATE_INTEGER:
        bits = (uint64_t)slot->integer;
        break;
    case STATE_FLOAT:
        memcpy(&bits, &slot->number, sizeof bits);
        break;
    case STATE_STRING:
        return hash_seeded(slot->text->bytes, slot->text->size, mark);
    case STATE_NIL:
    case STATE_TABLE:
        break;
    }
    return hash_pair(mark, bits);
}

uint64_t term_of_table(const struct state_table *table)
{
    uint64_t kind = table->count > 0 ? 0 : table->object ? 1 : 2;
    return hash_pair(table->path ^ type_marks[STATE_TABLE], kind);
}

uint64_t path_of(const struct state_table *table, struct state_key key)
{
    return place_of(table, key) * TABLE_PATH;
}

static uint64_t place_of(const struct state_table *table, struct state_key key)
{
    if (key.is_string) return hash_seeded(key.string.data, key.string.size, table->path);
    return hash_pair(table->path ^ INTEGER_KEY, (uint64_t)key.integer);
}

/* ---- whole subtrees ---- */

struct walk {
    struct state_table *table;
    uint64_t *sum;
    enum table_place place;
};

static void visit_attach(struct state_key key, struct state_slot *slot, void *context)
{
    struct walk *walk = context;
    struct state_table *table = walk->table;
    if (slot->type == STATE_TABLE) {
        terms_attach(slot->table, path_of(table, key), table->depth + 1u, walk->sum);
    } else {
        table->sum += term_of(table, key, slot);
    }
}

void terms_attach(struct state_table *table, uint64_t path, unsigned depth, uint64_t *sum)
{
    assert(depth <= VALUE_DEPTH_MAX);
    table->path = path;
    table->depth = (uint8_t)depth;
    table->place = TABLE_ATTACHED;
    table->sum = 0;
    struct walk walk = {.table = table, .sum = sum};
    table_each(table, visit_attach, &walk);
    *sum += table->sum + term_of_table(table);
}

static void visit_detach(struct state_key key, struct state_slot *slot, void *context)
{
    (void)key;
    struct walk *walk = context;
    if (slot->type == STATE_TABLE) terms_detach(slot->table, walk->place, walk->sum);
}

/* Only tables are walked: each knows the sum of the rest. */
void terms_detach(struct state_table *table, enum table_place place, uint64_t *sum)
{
    assert(table->place == TABLE_ATTACHED);
    *sum -= table->sum + term_of_table(table);
    table->place = (uint8_t)place;
    table->depth = 0;
    struct walk walk = {.table = table, .sum = sum, .place = place};
    if (table->nested > 0) table_each(table, visit_detach, &walk);
}
