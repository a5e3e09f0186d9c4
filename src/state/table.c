/*
 * One table: the run 1..length in an array, the other keys as items in two trees. This file keeps
 * the run exact and knows nothing of transactions or hashes. See internal.h.
 */
#include "state/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

#define ARRAY_FIRST 4

static bool in_run(const struct state_table *table, struct state_key key);
static void insert_string(struct state_table *table, struct state_item *item);
static void note_point(struct state_table *table, struct state_item *item, uint32_t announced);
static void forget_point(struct state_table *table, const struct state_item *item);
static void count_nested(struct state_table *table, const struct state_slot *gone,
                         const struct state_slot *come);
static void append_to_run(struct state_table *table, struct state_slot slot);
static void extend_run(struct state_table *table, uint64_t *moved);
static void cut_run(struct state_table *table, uint32_t length, uint64_t *moved);

struct state_table *table_new(bool object)
{
    struct state_table *table = memory_zero(1, sizeof *table);
    table->place = TABLE_LOOSE;
    table->object = object;
    return table;
}

/* Recursion is bounded by VALUE_DEPTH_MAX. */
void table_free(struct state_table *table)
{
    for (uint32_t i = 0; i < table->length; i++) slot_deinit(&table->array[i]);
    memory_free(table->array);
    order_free(table->integers, item_free);
    order_free(table->strings, item_free);
    points_free(table->points);
    if (table->references > 0) {
        *table = (struct state_table){
            .references = table->references, .tag = table->tag, .place = TABLE_GONE};
    } else {
        memory_free(table);
    }
}

struct state_slot *table_find(const struct state_table *table, struct state_key key)
{
    if (in_run(table, key)) return &table->array[key.integer - 1];
    struct state_item *item;
    if (table->points && key.is_string) {
        item = points_find(table->points, key.string);
    } else {
        item = order_find(key.is_string ? table->strings : table->integers, key);
    }
    return item ? &item->slot : NULL;
}

struct state_item *table_put(struct state_table *table, struct state_key key,
                             struct state_slot slot, struct state_slot *old, uint64_t *moved)
{
    assert(slot.type != STATE_NIL);
    struct state_slot *there = table_find(table, key);
    *old = there ? *there : (struct state_slot){.type = STATE_NIL};
    count_nested(table, old, &slot);
    if (there) {
        *there = slot;
        return key.is_string ? (struct state_item *)there
                             : NULL; /* a slot is the first thing in its item */
    }
    table->count++;
    table->revision++;
    if (!key.is_string && key.integer == (int64_t)table->length + 1) {
        append_to_run(table, slot);
        extend_run(table, moved);
        return NULL;
    }
    struct state_item *item = item_new(key, slot);
    if (key.is_string) {
        insert_string(table, item);
        return item;
    }
    order_insert(&table->integers, item);
    return NULL;
}

struct state_item *table_remove(struct state_table *table, struct state_key key,
                                struct state_slot *old, uint64_t *moved)
{
    static const struct state_slot nothing = {.type = STATE_NIL};
    struct state_item *item = NULL;
    table->count--;
    table->revision++;
    if (table->count == 0) table->object = key.is_string || key.integer != 1;
    if (in_run(table, key)) {
        *old = table->array[key.integer - 1];
        cut_run(table, (uint32_t)(key.integer - 1), moved);
    } else {
        item = order_remove(key.is_string ? &table->strings : &table->integers, key);
        *old = item->slot;
        if (key.is_string) {
            forget_point(table, item);
        } else {
            memory_free(item);
            item = NULL;
        }
    }
    count_nested(table, old, &nothing);
    return item;
}

void table_restore_item(struct state_table *table, struct state_item *item)
{
    static const struct state_slot nothing = {.type = STATE_NIL};
    insert_string(table, item);
    table->count++;
    table->revision++;
    count_nested(table, &nothing, &item->slot);
}

void table_append(struct state_table *table, struct state_key key, struct state_slot slot, uint32_t announced)
{
    static const struct state_slot nothing = {.type = STATE_NIL};
    count_nested(table, &nothing, &slot);
    table->count++;
    table->revision++;
    if (!key.is_string && key.integer == (int64_t)table->length + 1) {
        append_to_run(table, slot);
        return;
    }
    struct state_item *item = item_new(key, slot);
    order_append(key.is_string ? &table->strings : &table->integers, item);
    if (key.is_string) note_point(table, item, announced);
}

void table_permute(struct state_table *table, const uint32_t *from, uint32_t count)
{
    assert(count <= table->length);
    struct state_slot *before = memory_alloc(count * sizeof *before);
    if (count) memcpy(before, table->array, count * sizeof *before);
    for (uint32_t i = 0; i < count; i++) {
        assert(from[i] < count);
        table->array[i] = before[from[i]];
    }
    memory_free(before);
}

static void visit_bytes(struct state_key key, struct state_slot *slot, void *context)
{
    uint64_t *bytes = context;
    *bytes += ITEM_BYTES + (key.is_string ? key.string.size : 0) + slot_bytes(slot);
    if (slot->type == STATE_TABLE) *bytes += table_bytes(slot->table);
}

uint64_t table_bytes(const struct state_table *table)
{
    uint64_t bytes = 0;
    table_each(table, visit_bytes, &bytes);
    return bytes;
}

struct height {
    unsigned most;
};

static void visit_height(struct state_key key, struct state_slot *slot, void *context)
{
    (void)key;
    struct height *height = context;
    if (slot->type != STATE_TABLE) return;
    unsigned below = table_height(slot->table);
    if (below > height->most) height->most = below;
}

unsigned table_height(const struct state_table *table)
{
    struct height height = {0};
    if (table->nested > 0) table_each(table, visit_height, &height);
    return height.most + 1;
}

void table_each(const struct state_table *table, table_visit *visit, void *context)
{
    for (uint32_t i = 0; i < table->length; i++) {
        visit(state_key_integer((int64_t)i + 1), &table->array[i], context);
    }
    const struct state_node *trees[] = {table->integers, table->strings};
    for (int t = 0; t < 2; t++) {
        struct order_place place = order_seek(trees[t], NULL, false, false);
        for (; place.leaf; place = order_step(place, false)) {
            struct state_item *item = order_item(place);
            visit(item_key(item), &item->slot, context);
        }
    }
}

static bool in_run(const struct state_table *table, struct state_key key)
{
    return !key.is_string && key.integer >= 1 && key.integer <= (int64_t)table->length;
}

static void insert_string(struct state_table *table, struct state_item *item)
{
    order_insert(&table->strings, item);
    note_point(table, item, 0);
}

/* Of an item that is in the tree already. */
static void note_point(struct state_table *table, struct state_item *item, uint32_t announced)
{
    if (table->points) {
        points_insert(table->points, item);
    } else if (table->strings->height > 0) {
        table->points = points_new(table->strings, announced);
    }
}

static void forget_point(struct state_table *table, const struct state_item *item)
{
    if (!table->points) return;
    points_remove(table->points, item);
    if (table->strings && table->strings->height > 0) return;
    points_free(table->points);
    table->points = NULL;
}

static void count_nested(struct state_table *table, const struct state_slot *gone,
                         const struct state_slot *come)
{
    if (gone->type == STATE_TABLE) table->nested--;
    if (come->type == STATE_TABLE) table->nested++;
}

static void append_to_run(struct state_table *table, struct state_slot slot)
{
    if (table->length == table->capacity) {
        assert(table->capacity <= UINT32_MAX / 2);
        table->capacity = table->capacity ? table->capacity * 2 : ARRAY_FIRST;
        table->array = memory_resize(table->array, table->capacity, sizeof *table->array);
    }
    table->array[table->length++] = slot;
}

/* What comes next may be in the tree already. */
static void extend_run(struct state_table *table, uint64_t *moved)
{
    while (table->integers) {
        struct state_key next = state_key_integer((int64_t)table->length + 1);
        if (!order_find(table->integers, next)) break;
        struct state_item *item = order_remove(&table->integers, next);
        append_to_run(table, item->slot);
        memory_free(item);
        ++*moved;
    }
}

/* The element behind `length` is gone; those behind it are no part of the run any more. */
static void cut_run(struct state_table *table, uint32_t length, uint64_t *moved)
{
    for (uint32_t i = length + 1; i < table->length; i++) {
        struct state_key key = state_key_integer((int64_t)i + 1);
        order_insert(&table->integers, item_new(key, table->array[i]));
        ++*moved;
    }
    table->length = length;
    if (length == 0) {
        memory_free(table->array);
        table->array = NULL;
        table->capacity = 0;
    } else if (length < table->capacity / 4) {
        table->capacity /= 2;
        table->array = memory_resize(table->array, table->capacity, sizeof *table->array);
    }
}
