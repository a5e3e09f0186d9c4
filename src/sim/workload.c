/*
 * What is asked: by an app's workload, or by the simulator's own, which keeps to the contract of machine.c and so can
 * judge what its answers mean without a search.
 */
#include "sim/internal.h"

#include "base/memory.h"
#include "base/mp.h"

#include <inttypes.h>
#include <string.h>

static void own_next(struct sim *sim, struct sim_ask *ask);
static void own_ask(struct sim *sim, struct sim_ask *ask, bool query);
static void judge_append(struct sim_node *node, const struct sim_op *op, uint64_t number,
                         struct slice body, raft_index shown);
static void judge_get(struct sim_node *node, const struct sim_op *op, struct slice body);
static bool field(struct slice map, const char *key, uint64_t *value);

bool workload_next(struct sim *sim, unsigned client, struct sim_ask *ask)
{
    const struct sim_workload *workload = sim->options.workload;
    if (workload) {
        uint64_t random = random_next(&sim->world.random[STREAM_CLIENTS]);
        return workload->next(workload->context, client, random, ask);
    }
    own_next(sim, ask);
    return true;
}

/* The values are the operations' numbers: each is unique. */
static void own_next(struct sim *sim, struct sim_ask *ask)
{
    own_ask(sim, ask, chance(sim, STREAM_CLIENTS, sim->plan.queries) || operators_hush(sim));
}

void workload_command(struct sim *sim, struct sim_ask *ask)
{
    own_ask(sim, ask, false);
}

static void own_ask(struct sim *sim, struct sim_ask *ask, bool query)
{
    struct sim_clients *clients = &sim->clients;
    bool stale = chance(sim, STREAM_CLIENTS, sim->plan.stale);
    bool lease = chance(sim, STREAM_CLIENTS, sim->plan.lease);
    bool large = chance(sim, STREAM_CLIENTS, sim->plan.large);
    size_t most = large ? 2000 : sim->plan.padding_most;
    uint64_t key = draw(sim, STREAM_CLIENTS, SIM_KEYS);
    size_t padding = (size_t)draw(sim, STREAM_CLIENTS, most + 1);
    clients->drawn_key = key;
    buffer_clear(&clients->body);
    if (query)
        machine_write_get(&clients->body, key);
    else
        machine_write_append(&clients->body, clients->count + 1, key, padding);
    ask->kind = query ? REQUEST_QUERY : REQUEST_COMMAND;
    ask->consistency = !query  ? CONSISTENCY_LINEARIZABLE
                       : stale ? CONSISTENCY_STALE
                       : lease ? CONSISTENCY_LEASE
                               : CONSISTENCY_LINEARIZABLE;
    ask->body = buffer_slice(&clients->body);
}

void workload_applied(struct sim *sim, raft_index index, uint64_t number, uint64_t key)
{
    struct sim_history *history = &sim->clients.history[key];
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? history->capacity * 2 : 64;
        history->items = memory_resize(history->items, history->capacity, sizeof *history->items);
    }
    history->items[history->count++] = (struct sim_applied_value){index, number};
}

const struct sim_history *workload_history(const struct sim *sim, raft_index index, uint64_t key)
{
    size_t era = 0;
    while (era < sim->clients.era_count && sim->clients.eras[era].until <= index) era++;
    return era < sim->clients.era_count ? &sim->clients.eras[era].history[key] : &sim->clients.history[key];
}

/* What was is kept, for answers that are told late. */
void workload_restored(struct sim *sim, raft_index index, raft_index backup)
{
    struct sim_clients *clients = &sim->clients;
    struct sim_history now[SIM_KEYS] = {0};
    for (unsigned key = 0; key < SIM_KEYS; key++) {
        const struct sim_history *then = workload_history(sim, backup, key);
        while (now[key].count < then->count && then->items[now[key].count].index <= backup) now[key].count++;
        now[key].capacity = now[key].count + 1;
        now[key].items = memory_zero(now[key].capacity, sizeof *now[key].items);
        if (now[key].count > 0) memcpy(now[key].items, then->items, now[key].count * sizeof *now[key].items);
    }
    clients->eras = memory_resize(clients->eras, clients->era_count + 1, sizeof *clients->eras);
    struct sim_era *era = &clients->eras[clients->era_count++];
    era->until = index;
    memcpy(era->history, clients->history, sizeof era->history);
    memcpy(clients->history, now, sizeof now);
}

void workload_judge(struct sim_node *node, const struct sim_op *op, uint64_t number,
                    const struct reply *reply, raft_index shown)
{
    if (reply->code != ERROR_OK) {
        violate(node->sim, node, "reply_sound", "a sound request is answered %s",
                error_name(reply->code));
    } else if (op->kind != REQUEST_QUERY) {
        judge_append(node, op, number, reply->body, shown);
    } else {
        judge_get(node, op, reply->body);
    }
}

static void judge_append(struct sim_node *node, const struct sim_op *op, uint64_t number,
                         struct slice body, raft_index shown)
{
    uint64_t index = 0, count = 0;
    const struct sim_history *history = workload_history(node->sim, shown, op->key);
    bool told = field(body, "index", &index) && field(body, "count", &count);
    if (!told || index != shown || count == 0 || count > history->count ||
        history->items[count - 1].value != number) {
        violate(node->sim, node, "reply_true",
                "command %" PRIu64 ", applied at %" PRIu64 ", is told to be number %" PRIu64
                " of its key, at %" PRIu64,
                number, shown, count, index);
    }
}

static void judge_get(struct sim_node *node, const struct sim_op *op, struct slice body)
{
    struct sim *sim = node->sim;
    uint64_t version = 0, count = 0, last = 0;
    if (!field(body, "version", &version) || !field(body, "count", &count) ||
        !field(body, "last", &last)) {
        violate(sim, node, "reply_true", "an answer to a query is malformed");
        return;
    }
    const struct sim_history *history = workload_history(sim, sim->clients.shown_at, op->key);
    bool begins =
        count <= history->count && (count == 0 || (history->items[count - 1].index <= version &&
                                                   history->items[count - 1].value == last));
    bool ends = count == history->count ||
                (count < history->count && history->items[count].index > version);
    if (version > sim->ledger.applied || !begins || !ends) {
        violate(sim, node, "reply_true",
                "a query shows %" PRIu64 " commands up to version %" PRIu64
                "; that is not the state there",
                count, version);
    }
}

static bool field(struct slice map, const char *key, uint64_t *value)
{
    struct slice found;
    if (!mp_map_get(map, key, &found)) return false;
    struct mp_reader reader = mp_reader_of(found);
    return mp_read_u64(&reader, value);
}
