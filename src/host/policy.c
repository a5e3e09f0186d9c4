/*
 * The membership policy, as the host sees it: somebody outside who is shown the cluster and says what should become of
 * it. A leader asks every policy_interval_ms about all servers, and about each one that wants to be let in.
 *
 * Nothing of what the answer says is believed. It is about a view that may be out of date, and it comes from a script:
 * every action is judged (policy_action.c) against the configuration and the peers as they are now. The first one that
 * is safe is done, as an ordinary change through the log or an ordinary transfer; the rest waits for the next view,
 * which shows what that has changed. What is refused is logged with the reason, once. A policy that fails, or talks
 * nonsense, changes nothing.
 */
#include "host/internal.h"

#include "base/hash.h"
#include "base/mp.h"

#include <stdio.h>
#include <string.h>

#define PATIENCE_TIMEOUTS 4  /* election timeouts: an answer that has not come then is asked for again */
#define SETTLE_TIMEOUTS   4  /* ... that a leader has led before a policy may move it */
#define ACTIONS_MAX       1024

static void begin_reign(struct host *host);
static uint64_t timeouts_us(const struct host *host, uint64_t count);
static void note_health(struct host *host);
static bool can_ask(const struct host *host);
static void ask_review(struct host *host);
static void hear_review(struct host *host, struct slice actions, const struct error *problem);
static void hear_case(struct host *host, struct policy_case *one, struct slice actions,
                      const struct error *problem);
static struct policy_case *case_of(struct host *host, const struct raft_server *server);
static struct policy_case *find_case(struct policy *policy, uint64_t hash);
static void drop_old_cases(struct host *host);
static void drop_case(struct policy *policy, struct policy_case *one);
static uint64_t hash_of(const struct raft_server *server);
static bool is_sound(struct slice actions, uint32_t *count);
static void fail(struct host *host, const char *text);

bool policy_runs(const struct host *host)
{
    return host->ports.policy != NULL && host->settings.policy_interval_ms > 0;
}

/* ---- asking ---- */

void policy_turn(struct host *host)
{
    struct policy *policy = &host->policy;
    if (!policy_runs(host) || host->role != RAFT_LEADER || host->stop.stage != STOP_NONE) {
        policy->leads = false;
        policy->problem.code = ERROR_OK; /* another leader's, from now on */
        return;
    }
    if (!policy->leads) begin_reign(host);
    if (host->now_us < policy->review_us) return;
    policy->review_us = host->now_us + host->settings.policy_interval_ms * 1000;
    raft_status(host->raft, &host->status);
    note_health(host);
    bool waits = policy->ticket != 0 && host->now_us < policy->asked_us + timeouts_us(host, PATIENCE_TIMEOUTS);
    bool busy = host->status.configuration_pending || !raft_id_none(&host->status.transfer_target);
    if (!waits && !busy && can_ask(host)) ask_review(host);
}

uint64_t policy_wakes_us(const struct host *host)
{
    return host->policy.leads ? host->policy.review_us : 0;
}

/* A new leader knows nothing of how long who has been silent or well: it counts from now on. */
static void begin_reign(struct host *host)
{
    struct policy *policy = &host->policy;
    policy->leads = true;
    policy->led_us = host->now_us;
    policy->review_us = host->now_us + host->settings.policy_interval_ms * 1000;
    policy->transfer_us = host->now_us + timeouts_us(host, SETTLE_TIMEOUTS);
    policy->ticket = 0;
    policy->case_count = 0;
    for (size_t i = 0; i < host->member_count; i++) host->members[i].healthy_us = 0;
}

static uint64_t timeouts_us(const struct host *host, uint64_t count)
{
    return count * host->settings.election_timeout_ms * 1000;
}

static void note_health(struct host *host)
{
    for (size_t i = 0; i < host->member_count; i++) {
        struct member *member = &host->members[i];
        const struct raft_peer_status *peer = policy_peer(host, member->id.text);
        bool own = strcmp(member->id.text, host->identity.id) == 0;
        bool well = own || (policy_heard(host, member->id.text) && peer->caught_up);
        if (!well)
            member->healthy_us = 0;
        else if (member->healthy_us == 0)
            member->healthy_us = host->now_us;
    }
}

/* The policy comes with the app. One that does not load has none of its own: the default one decides. */
static bool can_ask(const struct host *host)
{
    return host->apply.app_loaded || host->apply.app_error.code != ERROR_OK;
}

static void ask(struct host *host, uint64_t ticket, const struct raft_server *candidate)
{
    struct buffer view = {0};
    policy_write_view(host, candidate, &view);
    host->counters.policy_asked++;
    host->ports.policy(host->ports.context, ticket, buffer_slice(&view));
    buffer_deinit(&view);
}

static void ask_review(struct host *host)
{
    struct policy *policy = &host->policy;
    policy->ticket = ++policy->tickets;
    policy->asked_us = host->now_us;
    ask(host, policy->ticket, NULL);
}

/* ---- one who wants to be let in ---- */

enum error_code policy_admit(struct host *host, const struct raft_server *server, bool *votes, bool *failed,
                             struct error *error)
{
    struct policy_case *one = host->policy.leads ? case_of(host, server) : NULL;
    if (one == NULL || one->verdict == POLICY_ASKED)
        return error_set(error, ERROR_UNAVAILABLE, "the membership policy has not answered yet");
    struct policy_case heard = *one;
    drop_case(&host->policy, one);
    *votes = heard.verdict == POLICY_VOTER;
    *failed = heard.verdict == POLICY_FAILED;
    if (heard.verdict == POLICY_FAILED)
        return error_set(error, ERROR_UNAVAILABLE, "the membership policy has failed, so nobody is let in: %.400s",
                         heard.error.text);
    if (heard.verdict == POLICY_REFUSED)
        return error_set(error, ERROR_REFUSED, "the membership policy refuses %s: %.400s", server->id.text,
                         heard.error.text);
    return ERROR_OK;
}

/* Asks, unless it has been asked. Null: not now. */
static struct policy_case *case_of(struct host *host, const struct raft_server *server)
{
    struct policy *policy = &host->policy;
    uint64_t hash = hash_of(server);
    drop_old_cases(host);
    struct policy_case *one = find_case(policy, hash);
    if (one != NULL || policy->case_count == POLICY_CASES || !can_ask(host)) return one;
    one = &policy->cases[policy->case_count++];
    *one = (struct policy_case){.hash = hash, .ticket = ++policy->tickets, .asked_us = host->now_us};
    ask(host, one->ticket, server);
    return one;
}

static struct policy_case *find_case(struct policy *policy, uint64_t hash)
{
    for (size_t i = 0; i < policy->case_count; i++) {
        if (policy->cases[i].hash == hash) return &policy->cases[i];
    }
    return NULL;
}

/* Not answered, or answered when nobody waited any more: out of date. */
static void drop_old_cases(struct host *host)
{
    struct policy *policy = &host->policy;
    uint64_t patience_us = timeouts_us(host, PATIENCE_TIMEOUTS);
    for (size_t i = policy->case_count; i-- > 0;) {
        if (host->now_us >= policy->cases[i].asked_us + patience_us) drop_case(policy, &policy->cases[i]);
    }
}

static void drop_case(struct policy *policy, struct policy_case *one)
{
    size_t at = (size_t)(one - policy->cases);
    policy->case_count--;
    memmove(one, one + 1, (policy->case_count - at) * sizeof *one);
}

/* Of the same server asked about in the same way. */
static uint64_t hash_of(const struct raft_server *server)
{
    char address[ADDRESS_MAX + 1] = "";
    raft_server_address(server, "node", address);
    uint64_t hash = hash_pair(hash_bytes(server->id.text, strlen(server->id.text)), server->incarnation);
    hash = hash_pair(hash, hash_bytes(address, strlen(address)));
    for (size_t i = 0; i < server->label_count; i++) {
        hash = hash_pair(hash, hash_bytes(server->labels[i].name, strlen(server->labels[i].name)));
        hash = hash_pair(hash, hash_bytes(server->labels[i].value, strlen(server->labels[i].value)));
    }
    return hash;
}

/* ---- hearing ---- */

void policy_hear(struct host *host, uint64_t ticket, struct slice actions, const struct error *problem)
{
    struct policy *policy = &host->policy;
    bool awaited =
        policy->leads && host->role == RAFT_LEADER && ticket != 0 && host->stop.stage == STOP_NONE;
    if (!awaited) return;
    if (ticket == policy->ticket) {
        policy->ticket = 0;
        hear_review(host, actions, problem);
        return;
    }
    for (size_t i = 0; i < policy->case_count; i++) {
        struct policy_case *one = &policy->cases[i];
        if (one->ticket != ticket || one->verdict != POLICY_ASKED) continue;
        hear_case(host, one, actions, problem);
        return;
    }
}

static void hear_case(struct host *host, struct policy_case *one, struct slice actions,
                      const struct error *problem)
{
    struct mp_reader reader = mp_reader_of(actions);
    struct slice verb = {0}, text = {0};
    uint32_t count = 0;
    if (is_sound(actions, &count) && count == 1) {
        mp_read_array(&reader, &count);
        policy_read_action(&reader, &verb, &text);
    }
    bool refuses = slice_equal(verb, slice_text("refuse"));
    bool admits = slice_equal(verb, slice_text("admit"));
    bool votes = slice_equal(text, slice_text("voter"));
    if (problem == NULL && refuses) {
        one->verdict = POLICY_REFUSED;
        error_set(&one->error, ERROR_REFUSED, "%.*s", (int)(text.size < 400 ? text.size : 400),
                  (const char *)text.data);
        host->counters.policy_done++;
        host->policy.problem.code = ERROR_OK;
    } else if (problem == NULL && admits && (votes || slice_equal(text, slice_text("learner")))) {
        one->verdict = votes ? POLICY_VOTER : POLICY_LEARNER;
        host->counters.policy_done++;
        host->policy.problem.code = ERROR_OK;
    } else {
        fail(host, problem != NULL ? problem->text : "it is to admit or to refuse one server, and does neither");
        one->verdict = POLICY_FAILED;
        one->error = host->policy.problem;
    }
}

/* The first action that is safe is done; what it changes is for the next view. */
static void hear_review(struct host *host, struct slice actions, const struct error *problem)
{
    uint32_t count = 0;
    if (problem != NULL || !is_sound(actions, &count)) {
        fail(host, problem != NULL ? problem->text : "its answer is no list of actions");
        return;
    }
    host->policy.problem.code = ERROR_OK;
    raft_status(host->raft, &host->status);
    bool busy = host->status.configuration_pending || !raft_id_none(&host->status.transfer_target);
    if (busy) return; /* something has changed since: the next view shows it */
    bool too_many = policy_takes_too_many(host, actions);
    struct mp_reader reader = mp_reader_of(actions);
    struct slice verb, text;
    mp_read_array(&reader, &count);
    while (policy_read_action(&reader, &verb, &text)) {
        if (policy_act(host, verb, text, too_many)) return;
    }
}

/* Every action is two texts, the first of them a word that is known here or that speaks of one server. */
static bool is_sound(struct slice actions, uint32_t *count)
{
    static const struct mp_limits limits = {.depth = 2, .elements = 3 * ACTIONS_MAX + 1, .bytes = 1 << 20};
    struct mp_reader reader = mp_reader_of(actions);
    struct slice verb = {0}, text = {0};
    if (mp_check(actions, &limits, NULL) != ERROR_OK || !mp_read_array(&reader, count)) return false;
    for (uint32_t i = 0; i < *count; i++) {
        if (!policy_read_action(&reader, &verb, &text)) return false;
        bool known = slice_equal(verb, slice_text("admit")) || slice_equal(verb, slice_text("refuse"));
        if (!known && !policy_acts(verb)) return false;
    }
    return true;
}

bool policy_read_action(struct mp_reader *reader, struct slice *verb, struct slice *text)
{
    uint32_t two = 0;
    return mp_read_array(reader, &two) && two == 2 && mp_read_string(reader, verb) && mp_read_string(reader, text);
}

static void fail(struct host *host, const char *text)
{
    char line[ERROR_TEXT_MAX + 64];
    host->counters.policy_failed++;
    error_set(&host->policy.problem, ERROR_SCRIPT, "%s", text);
    snprintf(line, sizeof line, "the membership policy has failed, and nothing is changed: %s", text);
    policy_say_once(host, LOG_LEVEL_ERROR, line);
}

/* A policy says the same at every view. */
void policy_say_once(struct host *host, enum log_level level, const char *text)
{
    struct policy *policy = &host->policy;
    uint64_t hash = hash_bytes(text, strlen(text));
    for (size_t i = 0; i < POLICY_SAID; i++) {
        if (policy->said[i] == hash) return;
    }
    policy->said[policy->said_at++ % POLICY_SAID] = hash;
    host_log(host, level, "%s", text);
}
