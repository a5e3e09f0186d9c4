/* Values at rest: a slot owns what it refers to. Items: a key and its slot in one allocation. See
 * internal.h. */
#include "state/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

static const uint64_t sign_bit = (uint64_t)1 << 63;

struct state_slot slot_of(struct state_value value)
{
    struct state_slot slot = {.type = (uint8_t)value.type};
    switch (value.type) {
    case STATE_NIL:
        break;
    case STATE_BOOLEAN:
        slot.boolean = value.boolean;
        break;
    case STATE_INTEGER:
        slot.integer = value.integer;
        break;
    case STATE_FLOAT:
        slot.number = value.number;
        if (value.number != value.number) {
            static const uint64_t one_nan = 0x7ff8000000000000;
            memcpy(&slot.number, &one_nan, sizeof slot.number);
        }
        break;
    case STATE_STRING:
        assert(value.string.size <= UINT32_MAX);
        slot.text = memory_alloc(sizeof *slot.text + value.string.size);
        slot.text->size = (uint32_t)value.string.size;
        if (value.string.size) memcpy(slot.text->bytes, value.string.data, value.string.size);
        break;
    case STATE_TABLE:
        slot.table = value.table;
        break;
    }
    return slot;
}

struct state_value slot_value(const struct state_slot *slot)
{
    struct state_value value = {.type = (enum state_type)slot->type};
    switch (value.type) {
    case STATE_NIL:
        break;
    case STATE_BOOLEAN:
        value.boolean = slot->boolean;
        break;
    case STATE_INTEGER:
        value.integer = slot->integer;
        break;
    case STATE_FLOAT:
        value.number = slot->number;
        break;
    case STATE_STRING:
        value.string = slice_of(slot->text->bytes, slot->text->size);
        break;
    case STATE_TABLE:
        value.table = slot->table;
        break;
    }
    return value;
}

void slot_deinit(struct state_slot *slot)
{
    if (slot->type == STATE_STRING) memory_free(slot->text);
    if (slot->type == STATE_TABLE) table_free(slot->table);
    slot->type = STATE_NIL;
}

size_t slot_bytes(const struct state_slot *slot)
{
    return slot->type == STATE_STRING ? slot->text->size : 0;
}

struct state_item *item_new(struct state_key key, struct state_slot slot)
{
    size_t size = key.is_string ? key.string.size : sizeof(uint64_t);
    assert(size <= UINT32_MAX);
    struct state_item *item = memory_alloc(sizeof *item + size);
    item->slot = slot;
    item->size = (uint32_t)size;
    item->is_string = key.is_string;
    if (!key.is_string) {
        integer_key_write(item->key, key.integer);
    } else if (size) {
        memcpy(item->key, key.string.data, size);
    }
    return item;
}

void item_free(struct state_item *item)
{
    slot_deinit(&item->slot);
    memory_free(item);
}

struct state_key item_key(const struct state_item *item)
{
    if (item->is_string) return state_key_string(slice_of(item->key, item->size));
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits = bits << 8 | item->key[i];
    return state_key_integer((int64_t)(bits ^ sign_bit));
}

/* Highest byte first, the sign turned over: bytewise order is then the order of the integers. */
void integer_key_write(uint8_t bytes[8], int64_t integer)
{
    uint64_t bits = (uint64_t)integer ^ sign_bit;
    for (int i = 7; i >= 0; i--, bits >>= 8) bytes[i] = (uint8_t)bits;
}

int state_key_compare(struct state_key a, struct state_key b)
{
    if (a.is_string != b.is_string) return a.is_string ? 1 : -1;
    if (a.is_string) return slice_compare(a.string, b.string);
    return (a.integer > b.integer) - (a.integer < b.integer);
}
