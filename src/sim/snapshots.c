/*
 * What must hold of snapshots. One taken at an index is the same to the byte whoever takes it, and says what the ledger
 * knows of that index; nobody sends, installs or restores anything else. Nothing is given up that no snapshot covers,
 * nor one that is still being sent. That what was committed stays durable on a majority is judged where it always is
 * (membership.c): a durable snapshot counts for all that it covers.
 */
#include "sim/internal.h"

#include "base/memory.h"
#include "raft/snapshot_meta.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

static void check_begun(struct sim_node *node, const struct raft_snapshot_meta *meta);
static void check_true(struct sim_node *node, const struct raft_snapshot_meta *meta);
static void check_configured(struct sim_node *node, const struct raft_snapshot_meta *meta);
static void check_complete(struct sim_node *node, const struct raft_snapshot_meta *meta);
static void check_replaced(struct sim_node *node, const struct raft_snapshot_meta *meta);
static void check_compacted(struct sim_node *node, const struct host_snapshot_job *job);
static void keep(struct sim_ledger *ledger, const struct raft_snapshot_meta *meta, struct slice bytes);

void check_snapshot_job(struct sim_node *node, const struct host_snapshot_job *job)
{
    struct sim_snapshots *snapshots = &node->disk.snapshots;
    raft_index index = job->meta.index;
    switch (job->kind) {
    case HOST_SNAPSHOT_BEGIN:
        check_begun(node, &job->meta);
        snapshots->taking = true;
        break;
    case HOST_SNAPSHOT_FINISH:
        snapshots->taking = false;
        if (index <= snapshots->installing) {
            violate(node->sim, node, "own_given_up",
                    "finishes its snapshot at %" PRIu64 ", and has installed the one at %" PRIu64, index,
                    snapshots->installing);
        }
        check_complete(node, &job->meta);
        break;
    case HOST_SNAPSHOT_ABORT:
        snapshots->taking = false;
        break;
    case HOST_SNAPSHOT_INSTALL:
        if (snapshots->taking) {
            breach(node->sim, node, "own_given_up",
                   "installs the snapshot at %" PRIu64 " while it takes one of its own", index);
        }
        check_replaced(node, &job->meta);
        snapshots->installing = index;
        break;
    case HOST_SNAPSHOT_COMPACT:
        check_compacted(node, job);
        break;
    case HOST_SNAPSHOT_READ:
        if (job->max_bytes == 0) violate(node->sim, node, "snapshot_read", "asks for no bytes");
        break;
    case HOST_SNAPSHOT_WRITE:
    case HOST_SNAPSHOT_RECEIVE:
        break;
    }
}

void check_finished(struct sim_node *node, const struct raft_snapshot_meta *meta, struct slice bytes)
{
    struct sim_ledger *ledger = &node->sim->ledger;
    const struct sim_taken *taken = ledger_taken(ledger, meta->index);
    check_true(node, meta);
    if (!taken) {
        keep(ledger, meta, bytes);
        return;
    }
    if (!raft_snapshot_meta_equal(&taken->meta, meta) || !slice_equal(buffer_slice(&taken->bytes), bytes)) {
        violate(node->sim, node, "snapshot_agrees",
                "its snapshot at %" PRIu64 " (%zu bytes, state %016" PRIx64 ", system %016" PRIx64
                ") is another than was taken before (%zu bytes, state %016" PRIx64 ", system %016" PRIx64 ")",
                meta->index, bytes.size, meta->state_hash, meta->system_hash, taken->bytes.size,
                taken->meta.state_hash, taken->meta.system_hash);
    }
}

void check_snapshot_bytes(struct sim_node *node, raft_index index, uint64_t offset, struct slice bytes)
{
    const struct sim_taken *taken = ledger_taken(&node->sim->ledger, index);
    bool within = taken && offset <= taken->bytes.size && bytes.size <= taken->bytes.size - offset;
    if (within && slice_equal(bytes, slice_of(taken->bytes.data + offset, bytes.size))) return;
    violate(node->sim, node, "snapshot_bytes",
            "%zu bytes at %" PRIu64 " of the snapshot at %" PRIu64 " are not those that were taken", bytes.size,
            offset, index);
}

void check_installed(struct sim_node *node, const struct raft_snapshot_meta *meta, struct slice bytes)
{
    const struct sim_taken *taken = ledger_taken(&node->sim->ledger, meta->index);
    if (taken && raft_snapshot_meta_equal(&taken->meta, meta) && slice_equal(buffer_slice(&taken->bytes), bytes))
        return;
    violate(node->sim, node, "snapshot_agrees", "installs a snapshot at %" PRIu64 " that nobody has taken",
            meta->index);
}

/* Sent: by a leader, of what was taken. */
void check_chunk(struct sim_node *node, const struct raft_message *message)
{
    struct sim *sim = node->sim;
    const struct raft_install_snapshot *install = &message->install_snapshot;
    const struct sim_taken *taken = ledger_taken(&sim->ledger, install->meta.index);
    if (install->chunk.bytes.size > 0)
        COVER(sim, chunks);
    else
        COVER(sim, snapshot_offers);
    if (!taken || !raft_snapshot_meta_equal(&taken->meta, &install->meta)) {
        violate(sim, node, "snapshot_agrees", "sends a snapshot at %" PRIu64 " that nobody has taken",
                install->meta.index);
        return;
    }
    check_snapshot_bytes(node, install->meta.index, install->offset, install->chunk.bytes);
}

/* That a snapshot is installed is an acknowledgement of all that it covers. */
void check_chunk_result(struct sim_node *node, const struct raft_message *message)
{
    const struct raft_snapshot_result *result = &message->snapshot_result;
    if (result->status != RAFT_SNAPSHOT_INSTALLED) return;
    raft_index held = life_match(node, node->disk.incarnation, message->term);
    if (node->disk.hard_state.term >= message->term && result->match <= held) return;
    breach(node->sim, node, "ack_durable",
           "says the snapshot at %" PRIu64 " is installed, up to %" PRIu64 " in term %" PRIu64
           "; its disk has term %" PRIu64 " and %" PRIu64 " of that term's log",
           result->index, result->match, message->term, node->disk.hard_state.term, held);
}

raft_index check_restored(struct sim_node *node, const struct machine_entry *entry, uint64_t hash)
{
    struct sim *sim = node->sim;
    raft_index index = node->disk.snapshots.meta.index, last = index;
    const struct sim_taken *taken = ledger_taken(&sim->ledger, index);
    while (last > 0 && ledger_record(&sim->ledger, last)->applied_term == 0) last--;
    if (!taken || (last > 0 && entry->index != last)) {
        violate(sim, node, "restores_own",
                "restores its machine as after command %" PRIu64 "; its snapshot at %" PRIu64 " is behind %" PRIu64,
                entry->index, index, last);
        return last;
    }
    uint64_t time_ms = last > 0 ? ledger_record(&sim->ledger, last)->time_ms : entry->time_ms;
    if (hash == taken->meta.state_hash && entry->time_ms == time_ms) return last;
    violate(sim, node, "state_agrees",
            "restored at %" PRIu64 " its state is %016" PRIx64 " at %" PRIu64 " ms; it was %016" PRIx64
            " at %" PRIu64 " ms",
            index, hash, entry->time_ms, taken->meta.state_hash, time_ms);
    return last;
}

/* ---- jobs ---- */

static void check_begun(struct sim_node *node, const struct raft_snapshot_meta *meta)
{
    struct sim *sim = node->sim;
    raft_index applied = host_applied(node->host).index;
    if (meta->index == 0 || meta->index != applied || meta->index <= node->disk.snapshots.meta.index) {
        violate(sim, node, "snapshot_applied",
                "takes a snapshot at %" PRIu64 ", has applied %" PRIu64 " and has one at %" PRIu64, meta->index,
                applied, node->disk.snapshots.meta.index);
    }
}

/* Looked at when it is complete: it may be begun in the very call that commits its end. And whoever committed that may
 * have died in it: then nobody knows. */
static void check_true(struct sim_node *node, const struct raft_snapshot_meta *meta)
{
    const struct sim_record *record = ledger_record(&node->sim->ledger, meta->index);
    if (record->committed_term == 0) return;
    if (record->committed_term != meta->term || record->committed_chain != meta->chain) {
        violate(node->sim, node, "snapshot_true",
                "says its snapshot at %" PRIu64 " ends in term %" PRIu64 ", chain %016" PRIx64
                "; committed there is term %" PRIu64 ", chain %016" PRIx64,
                meta->index, meta->term, meta->chain, record->committed_term, record->committed_chain);
    }
    check_configured(node, meta);
}

/* The newest configuration that the snapshot covers. */
static void check_configured(struct sim_node *node, const struct raft_snapshot_meta *meta)
{
    const struct sim_ledger *ledger = &node->sim->ledger;
    const struct sim_configuration *newest = NULL;
    for (size_t i = 0; i < ledger->configuration_count; i++) {
        const struct sim_configuration *it = &ledger->configurations[i];
        bool covered = it->committed && it->index <= meta->index;
        if (covered && (!newest || it->index > newest->index)) newest = it;
    }
    struct buffer encoded = {0};
    if (newest) raft_configuration_encode(&newest->parsed, &encoded);
    bool same = newest && newest->index == meta->configuration_index &&
                slice_equal(buffer_slice(&encoded), meta->configuration);
    buffer_deinit(&encoded);
    if (same) return;
    violate(node->sim, node, "snapshot_true",
            "says the configuration of %" PRIu64 " holds at %" PRIu64 "; it is the one of %" PRIu64,
            meta->configuration_index, meta->index, newest ? newest->index : 0);
}

static void check_complete(struct sim_node *node, const struct raft_snapshot_meta *meta)
{
    const struct sim_record *record = ledger_record(&node->sim->ledger, meta->index);
    if (record->host_chain == 0 || record->host_state == meta->state_hash) return;
    violate(node->sim, node, "snapshot_true",
            "says the state at %" PRIu64 " is %016" PRIx64 "; it was %016" PRIx64, meta->index, meta->state_hash,
            record->host_state);
}

/* Its log goes: nothing in it behind the snapshot may be committed (then it holds the snapshot's end, too). */
static void check_replaced(struct sim_node *node, const struct raft_snapshot_meta *meta)
{
    const struct sim_disk *disk = &node->disk;
    for (raft_index index = meta->index; index <= disk->intended_count; index++) {
        const struct sim_record *record = ledger_record(&node->sim->ledger, index);
        if (record->committed_term == 0 || record->committed_chain != disk->intended[index - 1].chain) continue;
        breach(node->sim, node, "keeps_committed",
               "gives up index %" PRIu64 ", which is committed, for the snapshot at %" PRIu64, index, meta->index);
        return;
    }
}

static void check_compacted(struct sim_node *node, const struct host_snapshot_job *job)
{
    struct sim *sim = node->sim;
    raft_index own = node->disk.snapshots.meta.index;
    if (job->up_to > own || job->meta.index > own) {
        violate(sim, node, "compacts_covered",
                "gives up its log up to %" PRIu64 " and snapshots before %" PRIu64 "; the one it has is at %" PRIu64,
                job->up_to, job->meta.index, own);
    }
    struct raft_status status;
    raft_status(host_raft(node->host), &status);
    for (size_t i = 0; i < status.peer_count; i++) {
        raft_index sent = status.peers[i].snapshot_index;
        if (sent == 0 || sent >= job->meta.index) continue;
        breach(sim, node, "keeps_sent", "gives up the snapshot at %" PRIu64 ", which %s is being sent", sent,
               status.peers[i].id.text);
    }
}

/* ---- the ledger's ---- */

const struct sim_taken *ledger_taken(const struct sim_ledger *ledger, raft_index index)
{
    size_t low = 0, high = ledger->taken_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (ledger->taken[middle].meta.index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low < ledger->taken_count && ledger->taken[low].meta.index == index ? &ledger->taken[low] : NULL;
}

static void keep(struct sim_ledger *ledger, const struct raft_snapshot_meta *meta, struct slice bytes)
{
    if (ledger->taken_count == ledger->taken_capacity) {
        ledger->taken_capacity = ledger->taken_capacity ? 2 * ledger->taken_capacity : 16;
        ledger->taken = memory_resize(ledger->taken, ledger->taken_capacity, sizeof *ledger->taken);
    }
    size_t at = ledger->taken_count++;
    for (; at > 0 && ledger->taken[at - 1].meta.index > meta->index; at--) ledger->taken[at] = ledger->taken[at - 1];
    ledger->taken[at] = (struct sim_taken){.meta = meta_copy(meta)};
    buffer_append_slice(&ledger->taken[at].bytes, bytes);
}

void snapshots_forget_taken(struct sim_ledger *ledger)
{
    for (size_t i = 0; i < ledger->taken_count; i++) {
        meta_free(&ledger->taken[i].meta);
        buffer_deinit(&ledger->taken[i].bytes);
    }
    memory_free(ledger->taken);
}
