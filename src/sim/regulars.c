/*
 * Regulars: clients that are not content with "unknown". Some open a session and number their commands, several under
 * way at once; some give each command a key. While they do not know what became of one (it timed out, its node died,
 * the answer got lost) they ask again, any node, in the same words, until they are told. They acknowledge, pause for
 * longer than their session lives, close it, and make the mistakes that clients make: they overrun the window,
 * acknowledge what they do not have, use a number twice, ask again what was answered.
 *
 * What they are told is judged as for any client (judge.c), an operation spanning from its first attempt to its answer,
 * and by the rules of sessions and keys (once.c).
 */
#include "sim/internal.h"

#include "base/memory.h"
#include "base/mp.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define RENEWS    40  /* permille of turns */
#define CLOSES    6
#define RASH      100 /* permille of acknowledgements: of what is not known, too */
#define OVERRUNS  60  /* permille of turns with a full window */
#define MISTAKES  15  /* permille of commands: a number or key that was used before */
#define ONCE_MORE 150 /* permille of answers after which it is asked again */
#define GIVES_UP  500 /* permille of refusals after which nothing can have been done */
#define KEY_PARTS 4   /* of a key's time: after that it is not used again */

static bool is_busy(const struct sim *sim, unsigned client);
static bool run_errand(struct sim *sim, unsigned client, unsigned node);
static uint64_t unresolved(const struct sim_regular *regular);
static void ask_new(struct sim *sim, unsigned client, unsigned node, struct sim_call *call);
static bool number_it(struct sim *sim, struct sim_regular *regular, struct sim_call *call);
static void ask(struct sim *sim, unsigned client, unsigned node, struct sim_call *call);
static uint32_t draw_timeout(struct sim *sim);
static void errand_settled(struct sim_regular *regular, enum sim_outcome outcome, const struct reply *reply);
static void refused(struct sim *sim, struct sim_regular *regular, struct sim_call *call, enum error_code code);
static void cover_answer(struct sim *sim, const struct sim_call *call);
static void call_over(struct sim_call *call);

void regulars_begin(struct sim *sim)
{
    for (unsigned client = 0; client < sim->plan.clients; client++) {
        struct sim_regular *regular = &sim->regulars[client];
        bool is_one = chance(sim, STREAM_ONCE, sim->plan.once.regulars);
        bool by_key = chance(sim, STREAM_ONCE, sim->plan.once.by_key);
        regular->way = !is_one ? WAY_PLAIN : by_key ? WAY_KEYS : WAY_SESSION;
    }
}

void regulars_deinit(struct sim *sim)
{
    for (unsigned client = 0; client < SIM_CLIENTS_MAX; client++) {
        for (unsigned i = 0; i < SIM_CALLS; i++) call_over(&sim->regulars[client].calls[i]);
    }
}

bool regulars_has(const struct sim *sim, unsigned client)
{
    return sim->regulars[client].way != WAY_PLAIN;
}

uint64_t regulars_ticket(const struct sim *sim, unsigned client, unsigned place)
{
    const struct sim_regular *regular = &sim->regulars[client];
    return place < SIM_CALLS ? regular->calls[place].ticket : regular->errand;
}

/* ---- asking ---- */

uint64_t regulars_turn(struct sim *sim, unsigned client, unsigned node)
{
    struct sim_regular *regular = &sim->regulars[client];
    const struct sim_plan *plan = &sim->plan;
    bool safety = sim->phase == PHASE_SAFETY;
    unsigned most = safety ? plan->once.calls_most : 1, begin = (unsigned)draw(sim, STREAM_ONCE, SIM_CALLS), busy = 0;
    if (operators_hush(sim) || (!safety && is_busy(sim, client))) return 0;
    if (regular->way == WAY_SESSION && run_errand(sim, client, node)) return 0;
    struct sim_call *idle = NULL, *waits = NULL;
    for (unsigned i = 0; i < SIM_CALLS; i++) {
        struct sim_call *call = &regular->calls[(begin + i) % SIM_CALLS];
        if (call->first && !call->ticket && sim->world.now_us >= call->until_us) call_over(call);
        if (!call->first)
            idle = call;
        else if (!call->ticket)
            waits = call;
        busy += call->first != 0;
    }
    if (busy >= most) idle = NULL;
    if (waits && (!idle || chance(sim, STREAM_ONCE, 500)))
        ask(sim, client, node, waits);
    else if (idle)
        ask_new(sim, client, node, idle);
    bool pauses = safety && chance(sim, STREAM_ONCE, plan->once.pauses);
    return pauses ? plan->settings.session_timeout_ms * draw_between(sim, STREAM_ONCE, 800, 1600) : 0;
}

/* Progress is asked for once the faults are over, and the impatient would drown it in retries where entries go one at a
 * time: then each has one request under way, and waits for it. */
static bool is_busy(const struct sim *sim, unsigned client)
{
    bool busy = sim->clients.waits_for[client] != 0;
    for (unsigned place = 0; place < SIM_TICKETS; place++) busy |= regulars_ticket(sim, client, place) != 0;
    return busy;
}

/* A request about the session itself is due. */
static bool run_errand(struct sim *sim, unsigned client, unsigned node)
{
    struct sim_regular *regular = &sim->regulars[client];
    if (regular->errand) return false;
    bool hoards = chance(sim, STREAM_ONCE, sim->plan.once.hoards); /* and leaves the one it has open */
    bool open = regular->session == 0 || hoards, renew = chance(sim, STREAM_ONCE, RENEWS);
    bool close = !open && sim->phase == PHASE_SAFETY && chance(sim, STREAM_ONCE, CLOSES);
    bool rash = sim->phase == PHASE_SAFETY && chance(sim, STREAM_ONCE, RASH);
    if (!open && !close && !renew) return false;
    struct sim_call call = {.session = open ? 0 : regular->session};
    struct buffer body = {0};
    regular->action = open ? SESSION_OPEN : close ? SESSION_CLOSE : SESSION_RENEW;
    session_body_write(&body, regular->action, rash ? regular->sequence : unresolved(regular) - 1);
    if (close) regular->session = 0; /* and what is under way in it is on its own */
    struct sim_ask ask = {
        .kind = REQUEST_SESSION, .timeout_ms = draw_timeout(sim), .body = buffer_slice(&body)};
    regular->errand = clients_send(sim, &ask, client, node, &call);
    buffer_deinit(&body);
    clients_dispatch(sim, regular->errand);
    return true;
}

/* The first sequence of the session that it still has to hear of. */
static uint64_t unresolved(const struct sim_regular *regular)
{
    uint64_t oldest = regular->sequence + 1;
    for (unsigned i = 0; i < SIM_CALLS; i++) {
        const struct sim_call *call = &regular->calls[i];
        if (call->first && call->session == regular->session && call->sequence < oldest) oldest = call->sequence;
    }
    return oldest;
}

static void ask_new(struct sim *sim, unsigned client, unsigned node, struct sim_call *call)
{
    struct sim_regular *regular = &sim->regulars[client];
    struct sim_ask made = {0};
    *call = (struct sim_call){.until_us = UINT64_MAX, .leader = NOBODY};
    if (!number_it(sim, regular, call)) return;
    workload_command(sim, &made);
    call->body = memory_alloc(made.body.size);
    call->body_size = made.body.size;
    memcpy(call->body, made.body.data, made.body.size);
    const struct sim_node *leader = node_leading(sim);
    if (leader) {
        call->leader = leader->number;
        call->leader_lifetime = leader->lifetime;
    }
    ask(sim, client, node, call);
}

/* Its sequence or key, a new one or by mistake one that was used before. false: it has to wait. */
static bool number_it(struct sim *sim, struct sim_regular *regular, struct sim_call *call)
{
    bool mistake = sim->phase == PHASE_SAFETY && chance(sim, STREAM_ONCE, MISTAKES);
    bool overruns = sim->phase == PHASE_SAFETY && chance(sim, STREAM_ONCE, OVERRUNS);
    if (regular->way == WAY_KEYS) {
        uint64_t kept_us = sim->plan.settings.idempotency_timeout_ms * 1000;
        if (!mistake || sim->once.key_count == 0) regular->place = once_new_key(sim);
        call->place = regular->place;
        call->session = sim->once.keys[call->place].hash[0];
        call->sequence = sim->once.keys[call->place].hash[1];
        call->until_us = sim->world.now_us + kept_us / KEY_PARTS;
        return true;
    }
    if (regular->session == 0) return false;
    uint64_t under_way = regular->sequence + 1 - unresolved(regular);
    if (under_way >= sim->plan.settings.session_window && !overruns) return false;
    call->session = regular->session;
    call->sequence = mistake && regular->sequence > 0 ? draw_between(sim, STREAM_ONCE, 1, regular->sequence)
                                                      : ++regular->sequence;
    return true;
}

/* The first time, or again: in the same words. */
static void ask(struct sim *sim, unsigned client, unsigned node, struct sim_call *call)
{
    bool keyed = sim->regulars[client].way == WAY_KEYS;
    struct sim_ask ask = {
        .kind = keyed ? REQUEST_KEYED : REQUEST_COMMAND,
        .timeout_ms = draw_timeout(sim),
        .body = slice_of(call->body, call->body_size),
    };
    call->ticket = clients_send(sim, &ask, client, node, call);
    if (!call->first) call->first = call->ticket;
    if (call->attempts++ > 0) COVER(sim, retries);
    if (keyed && call->attempts == 1) COVER(sim, keys);
    clients_dispatch(sim, call->ticket);
}

/* The less they wait, the less they know. */
static uint32_t draw_timeout(struct sim *sim)
{
    uint64_t election_ms = sim->plan.election_us / 1000;
    bool safety = sim->phase == PHASE_SAFETY;
    uint64_t least = safety ? election_ms / 4 + 1 : election_ms, most = election_ms * (safety ? 4 : 8);
    return (uint32_t)draw_between(sim, STREAM_ONCE, least, most);
}

/* ---- what becomes of it ---- */

void regulars_settled(struct sim *sim, uint64_t number, enum sim_outcome outcome, const struct reply *reply)
{
    struct sim_regular *regular = &sim->regulars[sim->clients.ops[number - 1].client];
    if (regular->errand == number) {
        regular->errand = 0;
        errand_settled(regular, outcome, reply);
        return;
    }
    struct sim_call *call = regular->calls;
    while (call->ticket != number) call++;
    assert(call < regular->calls + SIM_CALLS);
    call->ticket = 0;
    bool lost = reply && chance(sim, STREAM_ONCE, sim->plan.once.swallows);
    if (lost) COVER(sim, swallowed);
    if (lost || outcome == OUTCOME_UNKNOWN) {
        if (call->answered) call_over(call);
    } else if (outcome == OUTCOME_DEFINITE) {
        refused(sim, regular, call, reply ? reply->code : ERROR_UNAVAILABLE);
    } else if (call->answered || !chance(sim, STREAM_ONCE, ONCE_MORE)) {
        cover_answer(sim, call);
        call_over(call);
    } else {
        cover_answer(sim, call);
        call->answered = true;
    }
}

static void errand_settled(struct sim_regular *regular, enum sim_outcome outcome, const struct reply *reply)
{
    struct slice session;
    if (regular->action == SESSION_OPEN && outcome == OUTCOME_ANSWERED &&
        mp_map_get(reply->body, "session", &session)) {
        struct mp_reader reader = mp_reader_of(session);
        mp_read_u64(&reader, &regular->session);
        regular->sequence = 0;
    }
    if (regular->action == SESSION_RENEW && reply && reply->code == ERROR_SESSION_EXPIRED) regular->session = 0;
}

/* What only this attempt was refused may be asked again; what the session or key has no answer to, not. */
static void refused(struct sim *sim, struct sim_regular *regular, struct sim_call *call, enum error_code code)
{
    if (code == ERROR_SESSION_EXPIRED) {
        COVER(sim, told_expired);
        if (call->session == regular->session) regular->session = 0;
    } else if (code == ERROR_FORGOTTEN) {
        COVER(sim, told_forgotten);
    } else if (code == ERROR_REUSED) {
        COVER(sim, told_reused);
    } else {
        bool nothing_done = sim->clients.ops[call->first - 1].hopeful == 0;
        bool gives_up = nothing_done && chance(sim, STREAM_ONCE, GIVES_UP);
        if (!gives_up && !call->answered) return;
    }
    call_over(call);
}

static void cover_answer(struct sim *sim, const struct sim_call *call)
{
    const struct sim_op *root = &sim->clients.ops[call->first - 1];
    if (call->attempts < 2) return;
    COVER(sim, retries_answered);
    if (root->once.verdicts >> ONCE_again & 1) COVER(sim, kept_replies);
    if (call->leader == NOBODY) return;
    const struct sim_node *leader = &sim->nodes[call->leader];
    if (!leader->host || leader->lifetime != call->leader_lifetime) COVER(sim, retries_past_leader);
}

static void call_over(struct sim_call *call)
{
    memory_free(call->body);
    *call = (struct sim_call){0};
}
