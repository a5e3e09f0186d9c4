/* The effects of a step and what they point to: arrays that are emptied, not freed, from step to
 * step. */
#include "base/memory.h"
#include "raft/core.h"

#include <assert.h>

void raft_arena_reset(struct raft_arena *arena)
{
    for (size_t i = 0; i < arena->entry_count; i++) raft_entry_drop(&arena->entries[i]);
    arena->entry_count = 0;
    arena->count = 0;
    raft_entry_drop(&arena->chunk);
    arena->chunk.payload = (struct raft_payload){0};
}

void raft_arena_deinit(struct raft_arena *arena)
{
    raft_arena_reset(arena);
    memory_free(arena->effects);
    memory_free(arena->entries);
    *arena = (struct raft_arena){0};
}

struct raft_effect *raft_emit(struct raft *raft, enum raft_effect_type type)
{
    struct raft_arena *arena = &raft->arena;
    if (arena->count == arena->capacity) {
        arena->capacity = arena->capacity ? 2 * arena->capacity : 16;
        arena->effects = memory_resize(arena->effects, arena->capacity, sizeof *arena->effects);
    }
    struct raft_effect *effect = &arena->effects[arena->count++];
    effect->type = type;
    return effect;
}

void raft_send(struct raft *raft, const struct raft_message *message)
{
    assert(!raft_is_self(raft, &message->to));
    raft_emit(raft, RAFT_EFFECT_SEND)->message = *message;
}

struct raft_message raft_message_to(const struct raft *raft, enum raft_message_type type,
                                    const struct raft_id *to)
{
    return (struct raft_message){
        .type = type, .from = raft->id, .to = *to, .term = raft->hard_state.term};
}

const struct raft_entry *raft_arena_entries(struct raft_arena *arena,
                                            const struct raft_entry *entries, size_t count)
{
    assert(arena->entry_count == 0); /* growing would move what a message already points to */
    if (arena->entry_capacity < count) {
        arena->entry_capacity = count;
        arena->entries = memory_resize(arena->entries, count, sizeof *arena->entries);
    }
    for (size_t i = 0; i < count; i++) {
        arena->entries[i] = entries[i];
        raft_log_keep_payload(&arena->entries[i]);
    }
    arena->entry_count = count;
    return arena->entries;
}

struct raft_payload raft_arena_chunk(struct raft_arena *arena, const struct raft_payload *bytes)
{
    assert(!arena->chunk.payload.blob);
    arena->chunk.payload = *bytes;
    raft_log_keep_payload(&arena->chunk);
    return arena->chunk.payload;
}
