/*
 * The poisoned command: poison.h. What must hold:
 *
 *   nobody gets past it but by a skip; then everybody does, alike (state_agrees and the chains say so of all behind it)
 *   it is never applied, nor told to a client as done: at most that it was skipped (command_failed)
 *   a node dies of it twice in a row at most, but for what a power cut has taken from its page
 *   a skip that nobody may have is refused
 */
#include "sim/internal.h"

#include "base/mp.h"

#include <inttypes.h>

#define DEATHS_MAX 2

static void ask(struct sim *sim, struct sim_node *node, raft_index index, bool bogus);
static bool die(struct sim_node *node, raft_index index);

void poison_begin(struct sim *sim)
{
    if (!sim->options.poison) return;
    if (sim->plan.deploys_us > 0) sim->poison.of_deploys = chance(sim, STREAM_DEPLOYS, 500);
    world_push(&sim->world, draw(sim, STREAM_POISON, sim->plan.safety_us / 2 + 1), EVENT_POISON, 0);
}

/* Operators look every election timeout. Now and then one is mistaken. */
void poison_on_event(struct sim *sim, struct sim_event *event)
{
    struct sim_poison *poison = &sim->poison;
    (void)event;
    poison->armed = sim->phase == PHASE_SAFETY;
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        struct sim_node *node = &sim->nodes[n];
        if (!node_up(node) || node->stopping || node_paused(node)) continue;
        raft_index halted = host_halted(node->host);
        if (halted > 0 && host_is_leader(node->host) && chance(sim, STREAM_POISON, 500)) ask(sim, node, halted, false);
        if (node_up(node) && sim->phase == PHASE_SAFETY && chance(sim, STREAM_POISON, 20))
            ask(sim, node, 1 + draw(sim, STREAM_POISON, sim->ledger.applied + 1), true);
    }
    world_push(&sim->world, sim->plan.election_us, EVENT_POISON, 0);
}

/* Of what is applied already, a skip is refused; but of the one that was skipped. */
static void ask(struct sim *sim, struct sim_node *node, raft_index index, bool bogus)
{
    struct buffer body = {0};
    uint64_t ticket = SIM_SKIPS + ++sim->poison.asked;
    if (bogus && (index > sim->ledger.applied || poison_is(sim, index))) return;
    if (bogus) sim->poison.bogus = ticket;
    mp_write_array(&body, 2);
    mp_write_text(&body, "skip");
    mp_write_map(&body, 1);
    mp_write_text(&body, "index");
    mp_write_u64(&body, index);
    const struct request request = {.kind = REQUEST_ADMIN, .body = buffer_slice(&body)};
    node_enter(node);
    host_submit(node->host, ticket, &request);
    node_leave(node);
    buffer_deinit(&body);
}

void poison_reply(struct sim_node *node, uint64_t ticket, const struct reply *reply)
{
    struct sim *sim = node->sim;
    trace_event(sim, TRACE_REPLY, node->number, ticket, (uint64_t)reply->code);
    if (reply->code != ERROR_OK) return;
    if (ticket == sim->poison.bogus)
        violate(sim, node, "skip_refused", "an entry that is applied is said to be skipped");
    if (sim->poison.number == 0) violate(sim, node, "skip_refused", "a skip is done, and nothing was poisoned");
    COVER(sim, poison_skips);
}

/* ---- deaths ---- */

struct host_deaths poison_deaths(struct sim_node *node)
{
    struct sim_page *page = &node->page;
    if (!node->sim->options.poison) return (struct host_deaths){0};
    if (page->applying != 0) {
        page->count = page->suspect == page->applying ? page->count + 1 : 1;
        page->suspect = page->applying;
        page->applying = 0;
    }
    return (struct host_deaths){page->suspect, page->count};
}

void poison_applying(struct sim_node *node, raft_index index)
{
    struct sim_page *page = &node->page;
    if (index == 0 && page->applying >= page->suspect) page->suspect = page->count = 0;
    page->applying = index;
}

/* A power cut may take what the page said last. */
void poison_buried(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct sim_page *page = &node->page;
    if (!sim->options.poison) return;
    if (node->stopped && page->count > 1) page->count = 1;
    if (chance(sim, STREAM_POISON, 100)) *page = (struct sim_page){0};
}

/* A command of a session or key is not chosen: it may be answered without being applied. */
bool poison_kills(struct sim_node *node, raft_index index, raft_term term, uint64_t number)
{
    struct sim *sim = node->sim;
    struct sim_poison *poison = &sim->poison;
    const struct sim_version *version = ledger_version(&sim->ledger, index, term);
    bool first = index <= sim->ledger.record_count ? ledger_record(&sim->ledger, index)->applied_term == 0 : true;
    bool armed = poison->armed && !poison->of_deploys;
    if (armed && poison->number == 0 && first && number != 0 && version && version->claim == 0) {
        poison->number = number;
        poison->index = index;
        COVER(sim, poison_strikes);
        TRACE(sim, node, "--- index %" PRIu64 " is poisoned", index);
    }
    if (poison->number == 0 || poison->number != number) return false;
    if (poison->index != index)
        violate(sim, node, "poison_once", "the poisoned command stands at %" PRIu64 " and at %" PRIu64, poison->index,
                index);
    return die(node, index);
}

bool poison_kills_deploy(struct sim_node *node, raft_index index)
{
    struct sim *sim = node->sim;
    struct sim_poison *poison = &sim->poison;
    if (poison->armed && poison->of_deploys && poison->number == 0 && index > sim->once.index) {
        poison->number = SIM_NO_COMMAND;
        poison->index = index;
        COVER(sim, poison_strikes);
        COVER(sim, poison_deploys);
        TRACE(sim, node, "--- index %" PRIu64 ", a deploy, is poisoned", index);
    }
    return poison->number == SIM_NO_COMMAND && poison->index == index && die(node, index);
}

static bool die(struct sim_node *node, raft_index index)
{
    struct sim *sim = node->sim;
    if (node->page.count >= DEATHS_MAX && node->page.suspect == index)
        violate(sim, node, "poison_halts", "tries index %" PRIu64 " after %u deaths in a row", index, node->page.count);
    COVER(sim, poison_deaths);
    return true;
}

/* ---- what others ask ---- */

bool poison_is(const struct sim *sim, raft_index index)
{
    return sim->poison.number != 0 && sim->poison.index == index;
}

bool poison_pending(struct sim *sim)
{
    const struct sim_node *leader = node_leading(sim);
    if (sim->poison.number == 0) return false;
    return !leader || host_applied(leader->host).index < sim->poison.index;
}

bool poison_judges(struct sim_node *node, uint64_t number, enum error_code code)
{
    const struct sim_poison *poison = &node->sim->poison;
    if (poison->number == 0 || poison->number != number || code != ERROR_COMMAND_FAILED) return false;
    if (host_applied(node->host).index + 1 < poison->index)
        violate(node->sim, node, "poison_told", "the poisoned command is said to be skipped before it was");
    return true;
}
