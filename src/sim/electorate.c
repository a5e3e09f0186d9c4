/*
 * Configurations, as the ledger has seen them, and who has to be there.
 *
 * In force is the newest configuration that is committed, and may be whatever stands behind it: an entry of its term or
 * a later one, at a higher index. Nothing else can decide anything any more, for no log without the committed one wins
 * an election. What operators have asked for may turn any of these into another, and a spare that was started becomes a
 * voter when it has caught up. Each of these electorates must keep a majority that has its disks: whoever takes a disk
 * away, or gives an order, asks here first, and so does the phase that heals a majority.
 */
#include "sim/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

static struct sim_configuration *push(struct sim_ledger *ledger);
static void add_configuration(struct sim *sim, const struct raft_configuration *configuration,
                              struct sim_electorates *out);
static void add(struct sim_electorates *electorates, struct sim_electorate electorate);
static struct sim_electorate after(const struct sim_order *order, struct sim_electorate electorate);
static uint32_t bit(const struct sim *sim, const struct raft_id *id);

/* ---- what was seen ---- */

void configuration_first(struct sim *sim, struct slice bytes)
{
    struct sim_ledger *ledger = &sim->ledger;
    if (ledger->configuration_count > 0) return;
    struct sim_configuration *first = push(ledger);
    first->committed = true;
    enum error_code code = raft_configuration_decode(bytes, &first->parsed, NULL);
    assert(code == ERROR_OK);
    (void)code;
}

void configuration_seen(struct sim *sim, const struct raft_entry *entry)
{
    struct raft_configuration parsed = {0};
    struct error error;
    if (raft_configuration_decode(entry->payload.bytes, &parsed, &error) != ERROR_OK) {
        violate(sim, NULL, "configuration_sound", "the configuration at %llu is malformed: %s",
                (unsigned long long)entry->index, error.text);
        return;
    }
    struct sim_configuration *seen = push(&sim->ledger);
    seen->index = entry->index;
    seen->term = entry->term;
    seen->parsed = parsed;
}

void configuration_decided(struct sim *sim, raft_index index, raft_term term)
{
    struct sim_ledger *ledger = &sim->ledger;
    for (size_t i = 0; i < ledger->configuration_count; i++) {
        struct sim_configuration *it = &ledger->configurations[i];
        if (it->index != index || it->term != term) continue;
        it->committed = true;
        if (index >= ledger->configurations[ledger->configuration_committed].index)
            ledger->configuration_committed = i;
    }
}

void configurations_deinit(struct sim_ledger *ledger)
{
    for (size_t i = 0; i < ledger->configuration_count; i++)
        raft_configuration_deinit(&ledger->configurations[i].parsed);
    memory_free(ledger->configurations);
}

const struct sim_configuration *configuration_at(const struct sim *sim, raft_index index, raft_term term)
{
    const struct sim_ledger *ledger = &sim->ledger;
    for (size_t i = ledger->configuration_count; i-- > 0;) {
        const struct sim_configuration *it = &ledger->configurations[i];
        if (it->index == index && (index == 0 || it->term == term)) return it;
    }
    return NULL;
}

const struct sim_configuration *configuration_now(const struct sim *sim)
{
    const struct sim_ledger *ledger = &sim->ledger;
    return ledger->configuration_count > 0 ? &ledger->configurations[ledger->configuration_committed]
                                           : NULL;
}

const struct sim_configuration *configuration_before(const struct sim *sim, const struct raft *raft,
                                                     raft_index index)
{
    const struct sim_configuration *newest = NULL;
    for (size_t i = 0; i < sim->ledger.configuration_count; i++) {
        const struct sim_configuration *it = &sim->ledger.configurations[i];
        bool in_log = it->index == 0 || ledger_term_of(&sim->ledger, raft, it->index) == it->term;
        if (it->index < index && in_log && (!newest || it->index > newest->index)) newest = it;
    }
    return newest;
}

const struct raft_server *configuration_names(const struct raft_configuration *configuration,
                                              const struct sim_node *node)
{
    const struct raft_server *server = raft_configuration_find(configuration, &node->id);
    return server && server->incarnation == node->disk.incarnation ? server : NULL;
}

/* ---- electorates ---- */

/* Ends: there are only so many sets of seven nodes. */
void electorates_draw_up(struct sim *sim, const struct sim_order *next, struct sim_electorates *out)
{
    const struct sim_ledger *ledger = &sim->ledger;
    const struct sim_configuration *now = configuration_now(sim);
    out->count = 0;
    if (!now) {
        uint32_t founders = (1u << sim->plan.founders) - 1;
        add(out, (struct sim_electorate){founders, founders, 0});
        return;
    }
    for (size_t i = 0; i < ledger->configuration_count; i++) {
        const struct sim_configuration *it = &ledger->configurations[i];
        bool may = it == now || (it->index > now->index && it->term >= now->term);
        if (may) add_configuration(sim, &it->parsed, out);
    }
    for (size_t i = 0; i < out->count; i++) {
        for (size_t o = 0; o < sim->operators.count; o++) {
            const struct sim_order *order = &sim->operators.orders[o];
            if (order->until_us > sim->world.now_us) add(out, after(order, out->items[i]));
        }
        if (next) add(out, after(next, out->items[i]));
        for (unsigned n = 0; n < sim->plan.nodes; n++) {
            struct sim_electorate grown = out->items[i];
            grown.voters |= 1u << n;
            grown.named |= 1u << n;
            if (sim->nodes[n].spare && !sim->nodes[n].idle) add(out, grown);
        }
    }
}

bool electorates_have(const struct sim_electorates *electorates, uint32_t nodes)
{
    for (size_t i = 0; i < electorates->count; i++) {
        const struct sim_electorate *it = &electorates->items[i];
        unsigned there = (unsigned)__builtin_popcount(it->voters & ~it->dead & nodes);
        if (there * 2 <= (unsigned)__builtin_popcount(it->voters)) return false;
    }
    return electorates->count < SIM_ELECTORATES; /* else some were left out */
}

/* Both halves, each as one of its own: whoever has a majority of each has one of the joint one. */
static void add_configuration(struct sim *sim, const struct raft_configuration *configuration,
                              struct sim_electorates *out)
{
    struct sim_electorate incoming = {0}, outgoing = {0};
    for (size_t i = 0; i < configuration->server_count; i++) {
        const struct raft_server *server = &configuration->servers[i];
        const struct sim_node *node = node_find(sim, &server->id);
        incoming.named |= 1u << node->number;
        if (server->role == RAFT_VOTER) incoming.voters |= 1u << node->number;
        bool lost = server->incarnation != node->disk.incarnation || node->disk.rotten || node->wrecked;
        if (lost) incoming.dead |= 1u << node->number;
    }
    add(out, incoming);
    outgoing.named = incoming.named;
    outgoing.dead = incoming.dead;
    for (size_t i = 0; i < configuration->outgoing_count; i++)
        outgoing.voters |= bit(sim, &configuration->outgoing[i]);
    if (outgoing.voters) add(out, outgoing);
}

static void add(struct sim_electorates *electorates, struct sim_electorate electorate)
{
    if (electorate.voters == 0) return; /* refused */
    for (size_t i = 0; i < electorates->count; i++) {
        const struct sim_electorate *it = &electorates->items[i];
        if (it->voters == electorate.voters && it->named == electorate.named &&
            it->dead == electorate.dead)
            return;
    }
    if (electorates->count < SIM_ELECTORATES) electorates->items[electorates->count++] = electorate;
}

/* What the order makes of it, if it is carried out. A removed server's id is free for another incarnation. */
static struct sim_electorate after(const struct sim_order *order, struct sim_electorate electorate)
{
    uint32_t subject = order->subject == NOBODY ? 0 : 1u << order->subject;
    uint32_t leave = 0;
    switch (order->action) {
    case ACTION_REMOVE:
        leave = subject;
        break;
    case ACTION_PROMOTE:
        electorate.voters |= subject & electorate.named;
        break;
    case ACTION_DEMOTE:
        electorate.voters &= ~subject;
        break;
    case ACTION_SET:
        if (order->set & ~electorate.named) break; /* refused */
        leave = electorate.voters & ~order->set;
        electorate.voters = order->set;
        break;
    case ACTION_ADD:
    case ACTION_TRANSFER:
    case ACTION_PRIORITY:
    case ACTION_SNAPSHOT:
    case ACTION_CONFIG:
    case ACTION_DEPLOY:
    case ACTIONS:
        break;
    }
    electorate.voters &= ~leave;
    electorate.named &= ~leave;
    electorate.dead &= ~leave;
    return electorate;
}

static uint32_t bit(const struct sim *sim, const struct raft_id *id)
{
    return 1u << node_find((struct sim *)(uintptr_t)sim, id)->number;
}

static struct sim_configuration *push(struct sim_ledger *ledger)
{
    if (ledger->configuration_count == ledger->configuration_capacity) {
        ledger->configuration_capacity = ledger->configuration_capacity ? ledger->configuration_capacity * 2 : 8;
        ledger->configurations = memory_resize(ledger->configurations, ledger->configuration_capacity,
                                               sizeof *ledger->configurations);
    }
    struct sim_configuration *it = &ledger->configurations[ledger->configuration_count++];
    *it = (struct sim_configuration){0};
    return it;
}
