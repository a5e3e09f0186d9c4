/*
 * Backups restored through the log, by operators, in the middle of everything. A backup is any snapshot that anybody
 * has taken. Whoever restores it asks nodes for one step after the other, asks again where a step was not answered,
 * gives up somewhere, or goes away without a word; sometimes a byte of it is another.
 *
 * What must hold: a machine switches to what was asked for, whole and sound, at one index, and all machines to the
 * same; its state is then the backup's, and goes on from there (what clients are told is judged by that: workload.c);
 * sessions end (once.c); until then, and for good where it is given up, nothing is another than without it. That all
 * agree after every entry is checked where it always is (invariants.c).
 */
#include "sim/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "raft/snapshot_meta.h"

#include <inttypes.h>
#include <string.h>

enum { STEP_BEGIN, STEP_CHUNK, STEP_COMMIT, STEP_ABORT };

#define TRIES      10
#define CONSIDER   0 /* an event's number */
#define GO_ON      1
#define AT_ONCE_US 1000

static void push(struct sim *sim, uint64_t delay_us, uint64_t number);
static void consider(struct sim *sim);
static void choose(struct sim *sim, const struct sim_taken *taken);
static void go_on(struct sim *sim);
static void note(struct sim *sim);
static void over(struct sim *sim);
static bool told(const struct reply *reply, const char *key, uint64_t *value);

void restores_begin(struct sim *sim)
{
    if (!sim->options.restores || sim->options.workload) return;
    push(sim, draw(sim, STREAM_RESTORES, sim->plan.safety_us / 4 + 1), CONSIDER);
}

void restores_end(struct sim *sim)
{
    over(sim);
    memory_free(sim->restores.asked);
    sim->restores.asked = NULL;
}

void restores_on_event(struct sim *sim, struct sim_event *event)
{
    if (event->number == GO_ON) {
        go_on(sim);
        return;
    }
    if (sim->phase != PHASE_SAFETY) return;
    consider(sim);
    push(sim, draw_between(sim, STREAM_RESTORES, sim->plan.election_us, sim->plan.election_us * 12), CONSIDER);
}

static void push(struct sim *sim, uint64_t delay_us, uint64_t number)
{
    world_push(&sim->world, delay_us, EVENT_RESTORE, 0)->number = number;
}

static void consider(struct sim *sim)
{
    const struct sim_ledger *ledger = &sim->ledger;
    if (sim->restores.active || ledger->taken_count == 0) return;
    choose(sim, &ledger->taken[draw(sim, STREAM_RESTORES, ledger->taken_count)]);
    note(sim);
    COVER(sim, restores_begun);
    TRACE(sim, NULL, "somebody restores the backup of %" PRIu64 "%s", sim->restores.meta.index,
          sim->restores.damaged ? ", which is damaged" : "");
    push(sim, 0, GO_ON);
}

static void choose(struct sim *sim, const struct sim_taken *taken)
{
    struct sim_restores *it = &sim->restores;
    it->active = true;
    it->meta = meta_copy(&taken->meta);
    buffer_clear(&it->bytes);
    buffer_append_slice(&it->bytes, buffer_slice(&taken->bytes));
    it->nonce++;
    it->id = 0;
    it->step = STEP_BEGIN;
    it->offset = 0;
    it->tries = 0;
    it->piece = 1 + it->bytes.size / (size_t)draw_between(sim, STREAM_RESTORES, 1, 12);
    bool leaves = chance(sim, STREAM_RESTORES, 250);
    it->leaves_at = (size_t)draw(sim, STREAM_RESTORES, it->bytes.size + 1);
    if (!leaves) it->leaves_at = SIZE_MAX;
    it->aborts = chance(sim, STREAM_RESTORES, 500);
    it->damaged = chance(sim, STREAM_RESTORES, 120);
    size_t more = sim->plan.deploys_us > 0 ? 3 : 1;
    size_t weak = 3 + 9 * (3 * SIM_KEYS + more); /* what the C machine's own hash does not cover all of */
    size_t at = (size_t)draw(sim, STREAM_RESTORES, it->bytes.size > weak ? it->bytes.size - weak : 1);
    if (it->damaged) it->bytes.data[at] ^= (uint8_t)(1u << draw(sim, STREAM_RESTORES, 8));
}

/* Only what somebody has asked for may ever be switched to. */
static void note(struct sim *sim)
{
    struct sim_restores *it = &sim->restores;
    if (it->asked_count == it->asked_capacity) {
        it->asked_capacity = it->asked_capacity ? 2 * it->asked_capacity : 8;
        it->asked = memory_resize(it->asked, it->asked_capacity, sizeof *it->asked);
    }
    it->asked[it->asked_count++] = (struct sim_asked_for){it->meta.index, it->meta.state_hash, it->damaged};
}

static void over(struct sim *sim)
{
    struct sim_restores *it = &sim->restores;
    if (it->active) meta_free(&it->meta);
    buffer_deinit(&it->bytes);
    it->active = false;
}

/* ---- one step ---- */

static void go_on(struct sim *sim)
{
    struct sim_restores *it = &sim->restores;
    unsigned up[SIM_NODES_MAX], count = 0;
    if (!it->active) return;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        const struct sim_node *node = &sim->nodes[n];
        if (node_up(node) && node->disk.configuration && !node->wiped) up[count++] = n;
    }
    if (it->step < STEP_COMMIT && it->leaves_at <= it->offset && it->id != 0) {
        it->step = STEP_ABORT;
        if (!it->aborts) COVER(sim, restores_left);
        if (!it->aborts) over(sim);
        if (!it->active) return;
    }
    if (count == 0 || it->tries > TRIES || sim->phase >= PHASE_CONVERGENCE) {
        COVER(sim, restores_left);
        over(sim);
        return;
    }
    uint64_t election_ms = sim->plan.election_us / 1000;
    size_t left = it->bytes.size - it->offset;
    struct sim_order order = {.action = ACTION_RESTORE, .subject = NOBODY};
    order.node = up[draw(sim, STREAM_RESTORES, count)];
    order.timeout_ms = (uint32_t)draw_between(sim, STREAM_RESTORES, election_ms, election_ms * 4);
    order.restore[0] = it->step;
    order.restore[1] = it->offset;
    order.restore[2] = left < it->piece ? left : it->piece;
    order_give(sim, &order);
}

void restores_write(const struct sim *sim, const struct sim_order *order, struct buffer *out)
{
    static const char *const names[] = {"begin", "chunk", "commit", "abort"};
    const struct sim_restores *it = &sim->restores;
    uint64_t step = order->restore[0];
    mp_write_array(out, 2);
    mp_write_text(out, "restore");
    mp_write_array(out, step <= STEP_CHUNK ? 4 : 2);
    mp_write_text(out, names[step]);
    mp_write_u64(out, step == STEP_BEGIN ? it->nonce : it->id);
    if (step == STEP_BEGIN) {
        struct buffer meta = {0};
        raft_snapshot_meta_encode(&it->meta, &meta);
        mp_write_u64(out, 1);
        mp_write_string(out, buffer_slice(&meta));
        buffer_deinit(&meta);
    } else if (step == STEP_CHUNK) {
        mp_write_u64(out, order->restore[1]);
        mp_write_string(out, slice_of(it->bytes.data + order->restore[1], order->restore[2]));
    }
}

/* ---- what is said, and is it true? ---- */

void restores_judge(struct sim_node *node, struct sim_order *order, const struct reply *reply)
{
    static const char *const keys[] = {"id", "bytes", "index", "id"};
    struct sim *sim = node->sim;
    struct sim_restores *it = &sim->restores;
    uint64_t step = order->restore[0], value = 0;
    if (judge_is_passing(reply->code)) return;
    switch (reply->code) {
    case ERROR_OK:
        break;
    case ERROR_CONFLICT:
    case ERROR_NOT_FOUND:
        return;
    case ERROR_SCRIPT:
    case ERROR_BAD_REQUEST:
        if (it->damaged) return;
        /* fall through */
    default:
        violate(sim, node, "restores_sound", "a step of restoring a sound backup is answered %s",
                error_name(reply->code));
        return;
    }
    bool sound = told(reply, keys[step], &value);
    if (step == STEP_BEGIN) it->id = value;
    if (step == STEP_CHUNK) sound = sound && value >= order->restore[1] + order->restore[2];
    if (step == STEP_COMMIT) sound = sound && !it->damaged && ledger_record(&sim->ledger, value)->restored;
    if (!sound || value == 0)
        violate(sim, node, "order_true", "a step of restoring a backup is answered with %" PRIu64, value);
}

static bool told(const struct reply *reply, const char *key, uint64_t *value)
{
    struct slice found;
    return mp_map_get(reply->body, key, &found) &&
           mp_read_u64(&(struct mp_reader){found.data, found.data + found.size}, value);
}

/* What comes next: the next step, the same once more, or nothing. */
void restores_settled(struct sim *sim, const struct sim_order *order, enum sim_outcome outcome)
{
    struct sim_restores *it = &sim->restores;
    if (!it->active || sim->over) return;
    if (outcome == OUTCOME_ANSWERED) {
        it->tries = 0;
        if (it->step == STEP_COMMIT) COVER(sim, restores_done);
        if (it->step == STEP_ABORT) COVER(sim, restores_aborted);
        if (it->step >= STEP_COMMIT) {
            over(sim);
            return;
        }
        if (it->step == STEP_CHUNK) it->offset += order->restore[2];
        it->step = it->offset < it->bytes.size ? STEP_CHUNK : STEP_COMMIT;
    } else if (order->code == ERROR_CONFLICT && it->step == STEP_BEGIN && chance(sim, STREAM_RESTORES, 600)) {
        it->step = STEP_ABORT; /* another one is in the way: whatever it is */
        it->id = 0;
    } else if (order->code == ERROR_CONFLICT || order->code == ERROR_NOT_FOUND) {
        COVER(sim, restores_lost);
        over(sim);
        return;
    } else if (order->code == ERROR_BAD_REQUEST || order->code == ERROR_SCRIPT) {
        COVER(sim, restores_refused);
        over(sim);
        return;
    } else {
        COVER(sim, restores_retried);
        it->tries++;
    }
    push(sim, draw_between(sim, STREAM_RESTORES, AT_ONCE_US, sim->plan.election_us / 4 + AT_ONCE_US), GO_ON);
}

/* ---- a machine switches ---- */

void check_staged(struct sim_node *node, unsigned version, const struct machine_entry *stamps)
{
    const struct sim_restores *it = &node->sim->restores;
    for (size_t i = 0; i < it->asked_count; i++) {
        if (check_backup(node->sim, it->asked[i].index, version, stamps)) return;
    }
    violate(node->sim, node, "restored_whole", "takes a backup in by a version of the app that none was taken with");
}

void check_switched(struct sim_node *node, const struct machine_entry *last, uint64_t hash, unsigned version,
                    const struct machine_entry *stamps)
{
    struct sim *sim = node->sim;
    struct sim_record *record = ledger_record(&sim->ledger, last->index);
    if (record->applied_term != 0) check_brought(node, last, version, 0);
    if (record->applied_term != 0) {
        if (record->restored && record->applied_term == last->term && record->state_hash == hash &&
            record->time_ms == last->time_ms)
            return;
        violate(sim, node, "state_agrees", "switches to another state at %" PRIu64 " than was switched to there",
                last->index);
        return;
    }
    const struct sim_asked_for *found = NULL;
    for (size_t i = 0; i < sim->restores.asked_count; i++) {
        const struct sim_asked_for *one = &sim->restores.asked[i];
        bool whole = one->state_hash == hash && check_backup(sim, one->index, version, stamps);
        if (whole && !one->damaged) found = one;
    }
    if (!found) {
        violate(sim, node, "restored_whole", "switches at %" PRIu64 " to what nobody has asked for", last->index);
        return;
    }
    *record = (struct sim_record){.versions = record->versions,
                                  .committed_term = record->committed_term,
                                  .committed_chain = record->committed_chain,
                                  .announced_in = record->announced_in,
                                  .applied_term = last->term,
                                  .state_hash = hash,
                                  .time_ms = last->time_ms,
                                  .restored = true};
    check_brought(node, last, version, found->index);
    if (last->index > sim->ledger.applied) sim->ledger.applied = last->index;
    workload_restored(sim, last->index, found->index);
}
