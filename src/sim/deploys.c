/*
 * Another version of the app, deployed while everything else happens. In a quarter of the seeds of the own workload
 * somebody deploys one now and then: any of versions.c, through any node that is up; meant to follow the one that runs,
 * or one that does not any more, or whichever; the same again, most of all where nobody said what became of it.
 *
 * With options.next an app's next version is deployed instead: once, at a drawn moment, asked for until it runs. That
 * the cluster refuses it is a violation then.
 *
 * What must run is told a second time here, along the one history of applied entries: INIT's bundle; what a DEPLOY
 * brings, unless it is that already, or was meant to follow another, or its code says no; what a backup brings. Every
 * machine is given just that, everywhere with the same outcome, and runs it from that index on; a snapshot brings the
 * code of its index, by the stamps that it was loaded by; what somebody is told has happened, once and not before he
 * asked, and what he is told is refused has not.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TWICE  300 /* permille: two at once, perhaps through two nodes */
#define AGAIN  250 /* ... the last one again */
#define UNSURE 600 /* ... the last one again, where its outcome is not known */

static void choose(struct sim *sim, struct sim_deploy *what);
static void ask(struct sim *sim, const struct sim_deploy *what);
static struct sim_switch *switch_at(struct sim *sim, raft_index index);
static void add_switch(struct sim *sim, const struct sim_switch *made);
static void run_from(struct sim *sim, raft_index index, unsigned version, const struct machine_entry *stamps);
static const struct sim_deploy_seen *seen_at(const struct sim *sim, raft_index index, raft_term term);
static void follow_deploy(struct sim_node *node, raft_index index, raft_term term);
static bool same_stamps(const struct machine_entry *a, const struct machine_entry *b);
static bool same_deploy(const struct sim_deploy *a, const struct sim_deploy *b);
static uint64_t hash_behind(const struct sim *sim, raft_index index);
static void judge_done(struct sim_node *node, struct sim_order *order, const struct reply *reply);
static bool may_be_first(const struct sim *sim, const struct sim_deploy *what);
static bool told_hash(const struct reply *reply, uint64_t hash);
static bool told_u64(const struct reply *reply, const char *key, uint64_t *value);

/* One more at the end of an array. */
static void *grown(void *items, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity) return items;
    *capacity = *capacity ? *capacity * 2 : 16;
    return memory_resize(items, *capacity, size);
}

/* ---- who deploys ---- */

void deploys_begin(struct sim *sim)
{
    uint64_t delay_us = sim->plan.deploys_us;
    if (delay_us == 0) return;
    sim->deploys.pending = sim->options.next.size > 0;
    if (!sim->deploys.pending) delay_us = draw(sim, STREAM_DEPLOYS, delay_us);
    world_push(&sim->world, delay_us, EVENT_DEPLOY, 0);
}

void deploys_end(struct sim *sim)
{
    struct sim_deploys *deploys = &sim->deploys;
    versions_end(sim);
    memory_free(deploys->seen);
    memory_free(deploys->switches);
    memory_free(deploys->running);
    buffer_deinit(&deploys->reply);
    *deploys = (struct sim_deploys){0};
}

bool deploys_wanting(const struct sim *sim)
{
    return sim->deploys.pending && !sim->deploys.done;
}

void deploys_on_event(struct sim *sim, struct sim_event *event)
{
    struct sim_deploy what = {.version = 2, .any = true};
    (void)event;
    if (sim->deploys.pending) {
        if (!sim->deploys.done) ask(sim, &what);
        return;
    }
    if (sim->phase != PHASE_SAFETY) return;
    bool twice = chance(sim, STREAM_DEPLOYS, TWICE);
    for (unsigned i = 0; i < 1u + twice; i++) {
        choose(sim, &what);
        ask(sim, &what);
    }
    world_push(&sim->world, draw(sim, STREAM_DEPLOYS, sim->plan.deploys_us), EVENT_DEPLOY, 0);
}

/* The first row is what the nodes were started with: back to it, too. */
static void choose(struct sim *sim, struct sim_deploy *what)
{
    struct sim_deploys *deploys = &sim->deploys;
    uint64_t now = hash_behind(sim, sim->ledger.applied);
    bool again = chance(sim, STREAM_DEPLOYS, deploys->unsure ? UNSURE : AGAIN);
    unsigned version = 1 + (unsigned)draw(sim, STREAM_DEPLOYS, deploys->bundle_count);
    unsigned other = 1 + (unsigned)draw(sim, STREAM_DEPLOYS, deploys->bundle_count);
    uint64_t way = draw(sim, STREAM_DEPLOYS, 10);
    if (again && deploys->last.version != 0) {
        COVER(sim, deploys_again);
        *what = deploys->last;
        return;
    }
    *what = (struct sim_deploy){.version = version, .any = way < 4};
    if (!what->any) what->replaces = way < 8 ? now : versions_at(sim, other)->hash;
}

static void ask(struct sim *sim, const struct sim_deploy *what)
{
    unsigned up[SIM_NODES_MAX], count = 0;
    uint64_t election_ms = sim->plan.election_us / 1000;
    struct sim_order order = {.action = ACTION_DEPLOY, .subject = NOBODY, .deploy = *what};
    order.timeout_ms = (uint32_t)draw_between(sim, STREAM_DEPLOYS, election_ms, election_ms * 8);
    for (unsigned n = 0; n < sim->plan.nodes; n++) {
        if (node_up(&sim->nodes[n])) up[count++] = n;
    }
    uint64_t at = draw(sim, STREAM_DEPLOYS, count);
    if (count == 0 && sim->deploys.pending) world_push(&sim->world, sim->plan.election_us, EVENT_DEPLOY, 0);
    if (count == 0) return;
    order.node = up[at];
    sim->deploys.last = *what;
    sim->deploys.unsure = false;
    COVER(sim, deploys_asked);
    order_give(sim, &order);
}

void deploys_write(const struct sim *sim, const struct sim_order *order, struct buffer *out)
{
    const struct sim_deploy *what = &order->deploy;
    mp_write_map(out, what->any ? 1 : 2);
    mp_write_text(out, "bundle");
    mp_write_string(out, buffer_slice(&versions_at(sim, what->version)->bytes));
    if (what->any) return;
    char hash[17];
    snprintf(hash, sizeof hash, "%016" PRIx64, what->replaces);
    mp_write_text(out, "replaces");
    mp_write_text(out, hash);
}

/* An app's next version is asked for until it runs. */
void deploys_settled(struct sim *sim, const struct sim_order *order)
{
    struct sim_deploys *deploys = &sim->deploys;
    if (order->outcome == OUTCOME_UNKNOWN) deploys->unsure = true;
    if (!deploys->pending || deploys->done || sim->over) return;
    deploys->done = order->outcome == OUTCOME_ANSWERED;
    if (!deploys->done) world_push(&sim->world, 1 + sim->plan.election_us / 4, EVENT_DEPLOY, 0);
}

/* ---- what is to run ---- */

void deploys_entry_seen(struct sim *sim, const struct raft_entry *entry)
{
    struct sim_deploys *deploys = &sim->deploys;
    struct sim_deploy what = {0};
    struct slice found, bundle = {0};
    struct mp_item item = {.type = MP_NIL};
    if (mp_map_get(entry->payload.bytes, "bundle", &found))
        mp_read_string(&(struct mp_reader){found.data, found.data + found.size}, &bundle);
    if (mp_map_get(entry->payload.bytes, "replaces", &found))
        mp_read(&(struct mp_reader){found.data, found.data + found.size}, &item);
    what.version = versions_find(sim, bundle);
    what.any = item.type == MP_NIL;
    if (!what.any) what.replaces = item.type == MP_UNSIGNED ? item.unsigned_integer : (uint64_t)item.integer;
    bool asked = false;
    for (size_t i = 0; i < sim->operators.count && !asked; i++) {
        const struct sim_order *order = &sim->operators.orders[i];
        asked = order->action == ACTION_DEPLOY && order->submitted && same_deploy(&order->deploy, &what);
    }
    if (!asked) violate(sim, NULL, "deploy_asked", "index %" PRIu64 " deploys what nobody asked for", entry->index);
    deploys->seen = grown(deploys->seen, deploys->seen_count, &deploys->seen_capacity, sizeof *deploys->seen);
    deploys->seen[deploys->seen_count++] = (struct sim_deploy_seen){entry->index, entry->term, what};
}

void deploys_follow(struct sim_node *node, raft_index index, raft_term term, unsigned type)
{
    struct sim *sim = node->sim;
    const struct sim_switch *made;
    switch (type) {
    case RAFT_INIT:
        made = switch_at(sim, index);
        if (made && made->code == ERROR_OK) run_from(sim, index, made->version, &made->stamps);
        break;
    case RAFT_DEPLOY:
        follow_deploy(node, index, term);
        break;
    case RAFT_RESTORE:
        if (sim->deploys.begun == 0) sim->deploys.begun = index;
        if (!ledger_record(&sim->ledger, index)->restored) break;
        made = switch_at(sim, index);
        assert(made != NULL);
        sim->deploys.begun = 0;
        if (made->version != deploys_behind(sim, index)->version) COVER(sim, restores_versions);
        run_from(sim, index, made->version, &made->stamps);
        break;
    default:
        break;
    }
}

/* While a backup is being restored it is refused; whether one is only the machines can tell, which are asked below. */
static void follow_deploy(struct sim_node *node, raft_index index, raft_term term)
{
    struct sim *sim = node->sim;
    const struct sim_deploy_seen *seen = seen_at(sim, index, term);
    const struct sim_switch *made = switch_at(sim, index);
    const struct sim_running *before = deploys_behind(sim, index - 1);
    assert(seen != NULL); /* promises_see_entry has seen it */
    bool same = before && before->version == seen->what.version;
    bool stale = !seen->what.any && seen->what.replaces != hash_behind(sim, index - 1);
    bool wanted = before && !same && !stale && !poison_is(sim, index);
    bool may_wait = sim->deploys.begun != 0;
    const char *rule = !before ? "has none to follow" : same ? "runs already" : stale ? "follows another" : "is tried";
    TRACE(sim, node, "index %" PRIu64 " deploys version %u: it %s%s", index, seen->what.version, rule,
          made ? made->code == ERROR_OK ? ", and runs" : ", and refused" : ", and not tried");
    if (same) COVER(sim, deploys_same);
    if (stale && !same) COVER(sim, deploys_stale);
    if ((made != NULL) != wanted && !(may_wait && wanted)) {
        breach(sim, node, "deploy_by_rule", "version %u is %s at index %" PRIu64 "; by the rules it %s",
               seen->what.version, made ? "given to the machine" : "not tried", index, rule);
    } /* what was done is taken for what happened */
    if (!made) return;
    if (made->version != seen->what.version) {
        violate(sim, node, "deploy_by_rule", "index %" PRIu64 " deploys version %u; the machine was given version %u",
                index, seen->what.version, made->version);
    }
    if (made->code != ERROR_OK) COVER(sim, deploys_failed);
    if (made->code != ERROR_OK) return;
    COVER(sim, deploys_done);
    run_from(sim, index, made->version, &made->stamps);
}

const struct sim_running *deploys_behind(const struct sim *sim, raft_index index)
{
    for (size_t i = sim->deploys.running_count; i > 0; i--) {
        if (sim->deploys.running[i - 1].index <= index) return &sim->deploys.running[i - 1];
    }
    return NULL;
}

static void run_from(struct sim *sim, raft_index index, unsigned version, const struct machine_entry *stamps)
{
    struct sim_deploys *deploys = &sim->deploys;
    deploys->running =
        grown(deploys->running, deploys->running_count, &deploys->running_capacity, sizeof *deploys->running);
    deploys->running[deploys->running_count++] = (struct sim_running){index, version, *stamps};
}

/* ---- what machines are given ---- */

void check_loaded(struct sim_node *node, const struct machine_entry *entry, unsigned version, enum error_code code,
                  const struct machine_versions *numbers, uint64_t state_hash)
{
    struct sim *sim = node->sim;
    const struct sim_switch *made = switch_at(sim, entry->index);
    if (version == 0)
        violate(sim, node, "deploy_asked", "is given code at %" PRIu64 " that nobody has made", entry->index);
    if (!made) {
        add_switch(sim, &(struct sim_switch){.index = entry->index,
                                             .term = entry->term,
                                             .version = version,
                                             .code = code,
                                             .numbers = *numbers,
                                             .stamps = *entry,
                                             .state_hash = state_hash});
        return;
    }
    if (made->term == entry->term && made->version == version && made->code == code &&
        made->numbers.from == numbers->from && made->numbers.to == numbers->to &&
        same_stamps(&made->stamps, entry) && made->state_hash == state_hash)
        return;
    violate(sim, node, "state_agrees",
            "index %" PRIu64 " switches version %u from %" PRId64 " to %" PRId64 " (%s), with state %016" PRIx64
            "; elsewhere version %u from %" PRId64 " to %" PRId64 " (%s), with state %016" PRIx64,
            entry->index, version, numbers->from, numbers->to, error_name(code), state_hash, made->version,
            made->numbers.from, made->numbers.to, error_name(made->code), made->state_hash);
}

/* From here on it is the last that the machine has been given. */
void check_deployed(struct sim_node *node, const struct machine_entry *entry, uint64_t state_hash)
{
    struct sim *sim = node->sim;
    struct sim_record *record = ledger_record(&sim->ledger, entry->index);
    if (record->applied_term != 0) return; /* which check_loaded has compared */
    record->applied_term = entry->term;
    record->state_hash = state_hash;
    record->time_ms = entry->time_ms;
    if (entry->index > sim->ledger.applied) sim->ledger.applied = entry->index;
    if (!sim->options.workload) return;
    char what[64];
    snprintf(what, sizeof what, "at index %" PRIu64, entry->index);
    if (sim->options.deployed) sim->options.deployed(sim->options.deployed_context, sim->world.now_us, what);
    clients_look(node, entry->index);
}

/* What ran behind that index, with the stamps it was loaded by. */
bool check_backup(const struct sim *sim, raft_index index, unsigned version, const struct machine_entry *stamps)
{
    const struct sim_running *then = deploys_behind(sim, index);
    return then && then->version == version && same_stamps(&then->stamps, stamps);
}

void check_brought(struct sim_node *node, const struct machine_entry *last, unsigned version, raft_index backup)
{
    struct sim *sim = node->sim;
    const struct sim_switch *made = switch_at(sim, last->index);
    if (made && made->version == version) return;
    if (made) {
        violate(sim, node, "state_agrees", "index %" PRIu64 " restores version %u; elsewhere version %u", last->index,
                version, made->version);
        return;
    }
    struct sim_switch brought = {.index = last->index, .term = last->term, .version = version, .backup = backup};
    brought.stamps = deploys_behind(sim, backup)->stamps;
    add_switch(sim, &brought);
}

void check_snapshot_code(struct sim_node *node, const struct machine_entry *stamps, unsigned version)
{
    struct sim *sim = node->sim;
    raft_index index = node->disk.snapshots.meta.index;
    const struct sim_running *then = deploys_behind(sim, index);
    if (then && then->version == version && same_stamps(&then->stamps, stamps)) {
        if (then->index > 0 && version != 1) COVER(sim, deploys_restored);
        return;
    }
    bool other = !then || then->version != version;
    if (other) {
        violate(sim, node, "snapshot_code",
                "the snapshot at %" PRIu64 " brings version %u of the app; version %u ran there", index, version,
                then ? then->version : 0);
    }
    breach(sim, node, "snapshot_code",
           "the snapshot at %" PRIu64 " loads its app by the stamps of %" PRIu64 "; it was loaded by those of %" PRIu64,
           index, stamps->index, then ? then->stamps.index : 0);
}

void check_code(const struct sim_node *node, raft_index index)
{
    const struct sim_running *now = deploys_behind(node->sim, index - 1);
    unsigned version = now ? now->version : 0;
    if (node->machine.code == version) return;
    violate(node->sim, node, "code_agrees",
            "applies index %" PRIu64 " by version %u of the app; the entries up to there say version %u", index,
            node->machine.code, version);
}

void check_running(const struct sim_node *node, raft_index applied)
{
    const struct sim_running *now = deploys_behind(node->sim, applied);
    unsigned version = now ? now->version : 0;
    bool agrees = node->machine.code == version && node->app == version;
    if (agrees || node->sim->over) return;
    violate(node->sim, node, "code_agrees",
            "at index %" PRIu64 " its machine runs version %u of the app, and its host version %u; the entries up to "
            "there say version %u",
            applied, node->machine.code, node->app, version);
}

/* ---- what is said ---- */

void deploys_judge(struct sim_node *node, struct sim_order *order, const struct reply *reply)
{
    struct sim *sim = node->sim;
    const struct sim_bundle *bundle = versions_at(sim, order->deploy.version);
    bool sound = true;
    if (sim->options.manual) {
        buffer_clear(&sim->deploys.reply);
        buffer_append_slice(&sim->deploys.reply, reply->body);
    }
    if (judge_is_passing(reply->code)) return;
    switch (reply->code) {
    case ERROR_OK:
        judge_done(node, order, reply);
        return;
    case ERROR_CONFLICT:
        sound = !order->deploy.any || sim->options.restores || may_be_first(sim, &order->deploy);
        break;
    case ERROR_SCRIPT:
        sound = bundle->kind != VERSION_SOUND;
        break;
    case ERROR_COMMAND_FAILED:
        sound = sim->poison.of_deploys && sim->poison.number != 0;
        break;
    default:
        sound = false;
    }
    if (sound) return;
    violate(sim, node, "reply_sound", "version %u, deployed, is answered %s", order->deploy.version,
            error_name(reply->code));
}

/* With versions: it was done by this very order, once, after it was asked, in the place of what it was to follow.
 * Without: it ran already. */
static void judge_done(struct sim_node *node, struct sim_order *order, const struct reply *reply)
{
    struct sim *sim = node->sim;
    uint64_t index = 0, number;
    once_look(node);
    bool fresh = told_u64(reply, "from", &number), told = told_u64(reply, "index", &index);
    const struct sim_running *now = deploys_behind(sim, index);
    struct sim_switch *made = switch_at(sim, index);
    told = told && told_hash(reply, versions_at(sim, order->deploy.version)->hash);
    order->taken_index = index;
    if (!told || !now || now->index != index || now->version != order->deploy.version) {
        violate(sim, node, "order_true", "version %u is said to run from %" PRIu64 " on, and does not",
                order->deploy.version, index);
        return;
    }
    if (!fresh) return;
    const struct sim_deploy *what = &order->deploy;
    bool follows = what->any || what->replaces == hash_behind(sim, index - 1);
    if (!follows) {
        violate(sim, node, "order_true",
                "version %u is said to run from %" PRIu64 " on in the place of another than it was to follow",
                what->version, index);
    }
    const struct sim_running *before = deploys_behind(sim, index - 1);
    bool again = before && before->version == what->version;
    if (!made || made->told || again || made->backup != 0 || index <= order->floor) {
        violate(sim, node, "deploy_once",
                "version %u is said to be deployed at %" PRIu64 ", which was told before, older than the order, or ran",
                what->version, index);
        return;
    }
    made->told = true;
}

/* What was told was decided; and no more was done than was asked for and not refused. */
void deploys_judge_end(struct sim *sim)
{
    const struct sim_deploys *deploys = &sim->deploys;
    for (size_t i = 0; i < deploys->switch_count; i++) {
        const struct sim_switch *made = &deploys->switches[i];
        const struct sim_deploy_seen *seen = seen_at(sim, made->index, made->term);
        if (!seen || made->code != ERROR_OK) continue;
        if (made->told && ledger_record(&sim->ledger, made->index)->committed_term != made->term) {
            violate(sim, NULL, "order_true", "version %u was said to run from %" PRIu64 " on, and never did",
                    made->version, made->index);
        }
        size_t done = 0, asked = 0;
        for (size_t j = 0; j < deploys->switch_count; j++) {
            const struct sim_switch *other = &deploys->switches[j];
            const struct sim_deploy_seen *it = seen_at(sim, other->index, other->term);
            if (it && other->code == ERROR_OK && same_deploy(&it->what, &seen->what)) done++;
        }
        for (size_t j = 0; j < sim->operators.count; j++) {
            const struct sim_order *order = &sim->operators.orders[j];
            bool may = order->action == ACTION_DEPLOY && order->submitted && order->outcome != OUTCOME_DEFINITE;
            if (may && same_deploy(&order->deploy, &seen->what)) asked++;
        }
        if (done <= asked) continue;
        violate(sim, NULL, "deploy_once",
                "version %u was deployed %zu times; %zu orders may have done that, the others were told that it was "
                "refused", made->version, done, asked);
    }
}

/* ---- helpers ---- */

static struct sim_switch *switch_at(struct sim *sim, raft_index index)
{
    for (size_t i = sim->deploys.switch_count; i > 0; i--) {
        if (sim->deploys.switches[i - 1].index == index) return &sim->deploys.switches[i - 1];
    }
    return NULL;
}

static void add_switch(struct sim *sim, const struct sim_switch *made)
{
    struct sim_deploys *deploys = &sim->deploys;
    deploys->switches =
        grown(deploys->switches, deploys->switch_count, &deploys->switch_capacity, sizeof *deploys->switches);
    deploys->switches[deploys->switch_count++] = *made;
}

static const struct sim_deploy_seen *seen_at(const struct sim *sim, raft_index index, raft_term term)
{
    for (size_t i = sim->deploys.seen_count; i > 0; i--) {
        const struct sim_deploy_seen *seen = &sim->deploys.seen[i - 1];
        if (seen->index == index && seen->term == term) return seen;
    }
    return NULL;
}

/* Of who proposed it nothing counts. */
static bool same_stamps(const struct machine_entry *a, const struct machine_entry *b)
{
    return a->index == b->index && a->term == b->term && a->time_ms == b->time_ms && a->seed == b->seed;
}

static bool same_deploy(const struct sim_deploy *a, const struct sim_deploy *b)
{
    return a->version == b->version && a->any == b->any && (a->any || a->replaces == b->replaces);
}

/* Of what runs behind that index; 0: nothing does. */
static uint64_t hash_behind(const struct sim *sim, raft_index index)
{
    const struct sim_running *now = deploys_behind(sim, index);
    return now ? versions_at(sim, now->version)->hash : 0;
}

/* An entry with it stands before INIT. */
static bool may_be_first(const struct sim *sim, const struct sim_deploy *what)
{
    for (size_t i = 0; i < sim->deploys.seen_count; i++) {
        const struct sim_deploy_seen *seen = &sim->deploys.seen[i];
        if (same_deploy(&seen->what, what) && !deploys_behind(sim, seen->index - 1)) return true;
    }
    return false;
}

/* As 16 hexadecimal digits. */
static bool told_hash(const struct reply *reply, uint64_t hash)
{
    struct slice found, text;
    char wanted[17];
    snprintf(wanted, sizeof wanted, "%016" PRIx64, hash);
    return mp_map_get(reply->body, "hash", &found) &&
           mp_read_string(&(struct mp_reader){found.data, found.data + found.size}, &text) &&
           slice_equal(text, slice_text(wanted));
}

static bool told_u64(const struct reply *reply, const char *key, uint64_t *value)
{
    struct slice found;
    struct mp_item item;
    if (!mp_map_get(reply->body, key, &found) ||
        !mp_read(&(struct mp_reader){found.data, found.data + found.size}, &item))
        return false;
    *value = item.type == MP_UNSIGNED ? item.unsigned_integer : (uint64_t)item.integer;
    return item.type == MP_INTEGER || item.type == MP_UNSIGNED;
}
