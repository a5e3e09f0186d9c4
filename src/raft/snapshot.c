/*
 * Snapshots of one's own: which there are, and what they make needless.
 *
 * The owner takes a snapshot at an applied index and says so when it is complete and synced. Then the
 * log before it may go: all but a few entries, kept so that a follower that is a little slow needs no
 * snapshot, and all but what follows a snapshot on its way to someone: it is kept until that follower
 * has caught up by appends, or is gone, for else the next snapshot would be due before the last one has
 * served. A snapshot on its way stays readable until it has arrived or is given up, however many newer ones
 * are taken: a transfer under load ends (bug 32).
 */
#include "raft/snapshot_meta.h"

#include "base/memory.h"
#include "base/mutant.h"
#include "raft/core.h"

#include <assert.h>
#include <string.h>

static bool on_its_way(const struct raft *raft, raft_index index);

void raft_snapshots_load(struct raft *raft, const struct raft_snapshot_meta *meta)
{
    if (meta->index > 0) raft_snapshots_add(raft, meta);
    raft->told.snapshot_from = meta->index; /* older ones are deleted by whoever opened the disk */
}

void raft_snapshots_deinit(struct raft_snapshots *snapshots)
{
    for (size_t i = 0; i < snapshots->count; i++) {
        memory_free((void *)(uintptr_t)snapshots->metas[i].configuration.data);
    }
    memory_free(snapshots->metas);
    *snapshots = (struct raft_snapshots){0};
}

/* One that has been overtaken by an install is no news. */
enum error_code raft_snapshot_taken(struct raft *raft, const struct raft_event *event,
                                    struct error *error)
{
    (void)error;
    const struct raft_snapshot_meta *meta = event->snapshot;
    const struct raft_snapshot_meta *newest = raft_snapshots_newest(raft);
    if (newest && meta->index <= newest->index) return ERROR_OK;
    assert(meta->index > 0 && meta->index <= raft->told.applied);
    assert(meta->term == raft_log_term_at(&raft->log, meta->index));
    raft_log_snapshot(&raft->log, meta);
    raft_snapshots_add(raft, meta);
    raft->snapshots.keep_from = event->keep_from;
    return ERROR_OK;
}

void raft_snapshots_add(struct raft *raft, const struct raft_snapshot_meta *meta)
{
    struct raft_snapshots *snapshots = &raft->snapshots;
    if (snapshots->count == snapshots->capacity) {
        snapshots->capacity = snapshots->capacity ? 2 * snapshots->capacity : 4;
        snapshots->metas =
            memory_resize(snapshots->metas, snapshots->capacity, sizeof *snapshots->metas);
    }
    snapshots->metas[snapshots->count++] = raft_snapshot_meta_copy(meta);
}

const struct raft_snapshot_meta *raft_snapshots_newest(const struct raft *raft)
{
    const struct raft_snapshots *snapshots = &raft->snapshots;
    return snapshots->count > 0 ? &snapshots->metas[snapshots->count - 1] : NULL;
}

const struct raft_snapshot_meta *raft_snapshots_find(const struct raft *raft, raft_index index)
{
    const struct raft_snapshots *snapshots = &raft->snapshots;
    size_t i = snapshots->count;
    do {
        assert(i > 0);
    } while (snapshots->metas[--i].index != index);
    return &snapshots->metas[i];
}

/* At the start of a step: what effects of the last one pointed to is not needed any more. */
void raft_snapshots_sweep(struct raft *raft)
{
    struct raft_snapshots *snapshots = &raft->snapshots;
    size_t kept = 0;
    for (size_t i = 0; i < snapshots->count; i++) {
        struct raft_snapshot_meta *meta = &snapshots->metas[i];
        if (i + 1 == snapshots->count || on_its_way(raft, meta->index)) {
            snapshots->metas[kept++] = *meta;
        } else {
            memory_free((void *)(uintptr_t)meta->configuration.data);
        }
    }
    snapshots->count = kept;
}

/* What is applied is durable, so no write that is outstanding is compacted away. */
void raft_compact(struct raft *raft)
{
    const struct raft_snapshot_meta *newest = raft_snapshots_newest(raft);
    if (!newest) return;
    raft_index trailing = raft->settings.trailing_entries;
    raft_index keep_from = raft->snapshots.keep_from;
    raft_index up_to = newest->index > trailing ? newest->index - trailing : 0;
    if (keep_from > up_to + 1) up_to = raft_least(keep_from - 1, newest->index);
    raft_index from = newest->index;
    for (size_t i = 0; i < raft->peers.count; i++) {
        struct raft_peer *peer = &raft->peers.peers[i];
        if (peer->progress == RAFT_SNAPSHOT) {
            up_to = raft_least(up_to, peer->transfer.index);
            if (!FAULT(SENT_SNAPSHOT_FORGOTTEN)) from = raft_least(from, peer->transfer.index);
        }
        if (peer->match >= newest->index || raft_peer_gone(raft, peer)) peer->returning = false;
        if (peer->returning) up_to = raft_least(up_to, peer->match);
    }
    if (FAULT(COMPACTED_PAST_SNAPSHOT)) up_to = raft->told.applied;
    bool shorter = up_to > raft->log.base.index;
    if (shorter) raft_log_compact(&raft->log, up_to);
    if (!shorter && from <= raft->told.snapshot_from) return;
    raft->told.snapshot_from = raft_most(raft->told.snapshot_from, from);
    struct raft_effect *effect = raft_emit(raft, RAFT_EFFECT_COMPACT);
    effect->compact.up_to = raft->log.base.index;
    effect->compact.snapshot_from = raft->told.snapshot_from;
}

void raft_snapshot_prepare(const struct raft *raft, raft_index index,
                           struct raft_snapshot_meta *meta, struct buffer *configuration)
{
    const struct raft_log *log = &raft->log;
    assert(index > 0 && index >= log->base.index && index <= raft->told.applied);
    *meta = (struct raft_snapshot_meta){.index = index, .term = raft_log_term_at(log, index)};
    uint64_t chain;
    if (raft_log_chain_at(log, index, &chain)) meta->chain = chain;
    buffer_clear(configuration);
    raft_configuration_encode(raft_log_configuration_at(log, index, &meta->configuration_index),
                              configuration);
    meta->configuration = buffer_slice(configuration);
}

struct raft_snapshot_meta raft_snapshot_meta_copy(const struct raft_snapshot_meta *meta)
{
    struct raft_snapshot_meta copy = *meta;
    uint8_t *bytes = memory_alloc(meta->configuration.size);
    if (meta->configuration.size) {
        memcpy(bytes, meta->configuration.data, meta->configuration.size);
    }
    copy.configuration.data = bytes;
    return copy;
}

static bool on_its_way(const struct raft *raft, raft_index index)
{
    for (size_t i = 0; i < raft->peers.count; i++) {
        const struct raft_peer *peer = &raft->peers.peers[i];
        if (peer->progress == RAFT_SNAPSHOT && peer->transfer.index == index) return true;
    }
    return false;
}
