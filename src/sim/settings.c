/*
 * Settings that change while everything else happens. In a quarter of the seeds somebody changes some of them now and
 * then: the cluster's, or those of one node, through any node that is up, one order or two at the same moment.
 *
 * What must be in force is told a second time here, along the one history of applied entries: what a SETTINGS entry
 * says, unless the block is larger than the memory or keys are to be kept for a shorter time. Every node has just that
 * at every index, its machine goes by it, and a snapshot brings it.
 */
#include "sim/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "host/system.h"

#include <assert.h>
#include <inttypes.h>

#define TWICE 500 /* permille: two orders at once, perhaps to two nodes */

/* What a setting is made: one of these, or so many halves of what the plan has. */
static const struct option {
    const char *name;
    bool halves;
    uint64_t values[4];
} options[] = {
    {"command_steps_max", true, {2, 3, 4, 20}},
    {"command_memory_max", true, {1, 2, 2, 4}},
    {"block_bytes_max", false, {16 << 20, 32 << 20, 200 << 20, 300 << 20}},
    {"block_bytes_max", false, {16 << 20, 100 << 20, 256 << 20, 300 << 20}},
    {"session_timeout_ms", true, {1, 2, 2, 4}},
    {"session_window", false, {1, 3, 8, 128}},
    {"sessions_max", false, {2, 10000, 10000, 10000}},
    {"session_bytes_max", false, {65536, 268435456, 268435456, 268435456}},
    {"idempotency_timeout_ms", true, {1, 2, 3, 4}},
    {"idempotency_keys_max", false, {10, 60, 250000, 250000}},
    {"idempotency_bytes_max", false, {65536, 67108864, 67108864, 67108864}},
    {"snapshot_log_bytes", false, {1, 500, 2000, 50000}},
    {"trailing_entries", false, {0, 1, 20, 1000}},
    {"trailing_bytes", false, {0, 300, 2000, 67108864}},
    {"snapshot_chunk_bytes", true, {2, 2, 3, 8}},
    {"snapshot_window", false, {1, 2, 8, 64}},
    {"append_window", false, {1, 2, 4, 128}},
    {"tail_bytes_max", false, {0, 400, 5000, 67108864}},
    {"uncommitted_bytes_max", false, {4096, 8388608, 67108864, 67108864}},
    {"follower_reads", false, {0, 1, 0, 1}},
    {"waiting_max", false, {2, 1000, 100000, 100000}},
    {"heartbeat_ms", true, {1, 2, 2, 4}}, /* which needs a restart */
};
#define OPTIONS (sizeof options / sizeof *options)

static void order_one(struct sim *sim);
static void wish(struct sim *sim, struct sim_wish *wish);
static bool lawful(const struct settings *before, const struct settings *after);
static const struct sim_change *seen_at(const struct sim *sim, raft_index index, raft_term term);
static bool has(const struct settings *settings, const struct sim_wish *wish);
static const struct setting_row *differing(const struct settings *a, const struct settings *b);

/* ---- who changes them ---- */

void settings_begin_orders(struct sim *sim)
{
    if (sim->plan.settings_us == 0) return;
    world_push(&sim->world, draw(sim, STREAM_SETTINGS, sim->plan.settings_us), EVENT_SETTINGS, 0);
}

void settings_on_order(struct sim *sim, struct sim_event *event)
{
    (void)event;
    if (sim->phase != PHASE_SAFETY) return;
    bool twice = chance(sim, STREAM_SETTINGS, TWICE);
    order_one(sim);
    if (twice) order_one(sim);
    settings_begin_orders(sim);
}

static void order_one(struct sim *sim)
{
    unsigned up[SIM_NODES_MAX], count = 0;
    uint64_t election_ms = sim->plan.election_us / 1000;
    struct sim_order order = {.action = ACTION_CONFIG, .subject = NOBODY};
    wish(sim, &order.wish);
    order.timeout_ms = (uint32_t)draw_between(sim, STREAM_SETTINGS, election_ms, election_ms * 8);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (node_up(&sim->nodes[n])) up[count++] = n;
    }
    uint64_t at = draw(sim, STREAM_SETTINGS, count);
    if (count == 0) return;
    order.node = up[at];
    order_give(sim, &order);
}

/* Of one scope, mostly: what is of two is refused. */
static void wish(struct sim *sim, struct sim_wish *wish)
{
    unsigned wanted = 1 + (unsigned)draw(sim, STREAM_SETTINGS, SIM_CHANGES);
    bool mixed = chance(sim, STREAM_SETTINGS, 50);
    for (unsigned tries = 0; wish->count < wanted && tries < 20; tries++) {
        const struct option *option = &options[draw(sim, STREAM_SETTINGS, OPTIONS)];
        const struct setting_row *row = settings_find(option->name);
        uint64_t value = option->values[draw(sim, STREAM_SETTINGS, 4)];
        assert(row != NULL);
        if (option->halves) value = value * settings_get(&sim->plan.settings, row) / 2;
        if (value < row->least) value = row->least;
        if (wish->count > 0 && (row == wish->rows[0] || (row->scope != wish->rows[0]->scope && !mixed))) continue;
        wish->rows[wish->count] = row;
        wish->values[wish->count++] = value;
    }
}

/* {name: value}; that keys are in order nobody asks of a client. */
void settings_write_wish(const struct sim_wish *wish, struct buffer *out)
{
    mp_write_map(out, wish->count);
    for (unsigned i = 0; i < wish->count; i++) {
        mp_write_text(out, wish->rows[i]->name);
        mp_write_u64(out, wish->values[i]);
    }
}

void settings_deinit(struct sim *sim)
{
    memory_free(sim->settings.seen);
    memory_free(sim->settings.moments);
    sim->settings = (struct sim_settings){0};
}

/* ---- what is in force ---- */

void settings_entry_seen(struct sim *sim, const struct raft_entry *entry)
{
    struct sim_settings *settings = &sim->settings;
    struct error error;
    if (settings->seen_count == settings->seen_capacity) {
        settings->seen_capacity = settings->seen_capacity ? settings->seen_capacity * 2 : 16;
        settings->seen = memory_resize(settings->seen, settings->seen_capacity, sizeof *settings->seen);
    }
    struct sim_change *seen = &settings->seen[settings->seen_count++];
    *seen = (struct sim_change){.index = entry->index, .term = entry->term};
    if (settings_payload_decode(entry->payload.bytes, &seen->change, &error) != ERROR_OK || seen->change.count == 0)
        violate(sim, NULL, "settings_sound", "index %" PRIu64 " changes settings and says nothing", entry->index);
}

void settings_follow(struct sim *sim, raft_index index, raft_term term)
{
    struct sim_settings *settings = &sim->settings;
    const struct sim_change *seen = seen_at(sim, index, term);
    struct settings before = *settings_behind(sim, index), after = before;
    assert(seen != NULL); /* promises_see_entry has seen it */
    settings_change_make(&seen->change, &after);
    if (!lawful(&before, &after)) {
        COVER(sim, settings_refused);
        return;
    }
    COVER(sim, settings_changed);
    if (settings->moment_count == settings->moment_capacity) {
        settings->moment_capacity = settings->moment_capacity ? settings->moment_capacity * 2 : 16;
        settings->moments = memory_resize(settings->moments, settings->moment_capacity, sizeof *settings->moments);
    }
    settings->moments[settings->moment_count++] = (struct sim_in_force){index, after};
}

static bool lawful(const struct settings *before, const struct settings *after)
{
    bool touched = before->block_bytes_max != after->block_bytes_max ||
                   before->command_memory_max != after->command_memory_max;
    return after->idempotency_timeout_ms >= before->idempotency_timeout_ms &&
           (!touched || after->block_bytes_max <= after->command_memory_max);
}

static const struct sim_change *seen_at(const struct sim *sim, raft_index index, raft_term term)
{
    for (size_t i = sim->settings.seen_count; i > 0; i--) {
        const struct sim_change *seen = &sim->settings.seen[i - 1];
        if (seen->index == index && seen->term == term) return seen;
    }
    return NULL;
}

const struct settings *settings_behind(const struct sim *sim, raft_index index)
{
    for (size_t i = sim->settings.moment_count; i > 0; i--) {
        if (sim->settings.moments[i - 1].index <= index) return &sim->settings.moments[i - 1].settings;
    }
    return &sim->plan.settings;
}

/* ---- what must hold ---- */

/* The first replicated setting that is not the same; null: none. */
static const struct setting_row *differing(const struct settings *a, const struct settings *b)
{
    unsigned count;
    const struct setting_row *rows = settings_rows(&count);
    for (unsigned i = 0; i < count; i++) {
        if (rows[i].scope == SETTING_REPLICATED && settings_get(a, &rows[i]) != settings_get(b, &rows[i]))
            return &rows[i];
    }
    return NULL;
}

void check_settings(const struct sim_node *node, raft_index applied)
{
    const struct settings *own = host_settings(node->host), *wanted = settings_behind(node->sim, applied);
    const struct setting_row *row = differing(own, wanted);
    if (row == NULL) return;
    breach(node->sim, node, "settings_agree",
           "has %s = %" PRIu64 " at index %" PRIu64 "; the entries up to there say %" PRIu64, row->name,
           settings_get(own, row), applied, settings_get(wanted, row));
}

void check_budget(const struct sim_node *node, raft_index index)
{
    const struct settings *own = &node->machine.settings, *wanted = settings_behind(node->sim, index - 1);
    const struct setting_row *row = differing(own, wanted);
    if (row == NULL) return;
    breach(node->sim, node, "budget_agrees",
           "its machine applies index %" PRIu64 " by %s = %" PRIu64 "; in force is %" PRIu64, index, row->name,
           settings_get(own, row), settings_get(wanted, row));
}

static bool has(const struct settings *settings, const struct sim_wish *wish)
{
    for (unsigned i = 0; i < wish->count; i++) {
        if (settings_get(settings, wish->rows[i]) != wish->values[i]) return false;
    }
    return true;
}

/* A node's own is done when it is said to be; the cluster's, once the index that is told is applied somewhere. */
void settings_judge(struct sim_node *node, struct sim_order *order, const struct reply *reply)
{
    struct slice found;
    const struct sim_wish *wish = &order->wish;
    bool mixed = wish->count > 1 && wish->rows[1]->scope != wish->rows[0]->scope;
    bool own = wish->rows[0]->scope == SETTING_NODE, sound = !mixed && wish->count > 0;
    if (own) {
        sound = sound && mp_map_get(reply->body, "id", &found) && has(host_settings(node->host), wish);
        COVER(node->sim, settings_of_nodes);
    } else {
        sound = sound && mp_map_get(reply->body, "index", &found) &&
                mp_read_u64(&(struct mp_reader){found.data, found.data + found.size}, &order->taken_index);
    }
    if (sound) return;
    violate(node->sim, node, "order_true", "%s is said to be %" PRIu64 ", and is not", wish->rows[0]->name,
            wish->values[0]);
}

void settings_judge_end(struct sim *sim, const struct sim_order *order)
{
    if (order->outcome != OUTCOME_ANSWERED || order->wish.rows[0]->scope == SETTING_NODE) return;
    raft_index index = order->taken_index;
    raft_term term = index < sim->ledger.record_count ? sim->ledger.records[index].committed_term : 0;
    const struct sim_change *seen = seen_at(sim, index, term);
    bool same = seen != NULL && seen->change.count == order->wish.count && has(&seen->change.values, &order->wish) &&
                has(settings_behind(sim, index), &order->wish);
    if (same) return;
    violate(sim, NULL, "order_true", "%s is said to be %" PRIu64 " from index %" PRIu64 " on, and is not",
            order->wish.rows[0]->name, order->wish.values[0], index);
}
