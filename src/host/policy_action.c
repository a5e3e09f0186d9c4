/*
 * One action that a membership policy wants: is it safe, and doing it.
 *
 * Safe, for what takes a vote away: policy_voters_min are left, a majority of those that are left has been heard
 * within an election timeout, and it is not the leader's; and an answer that would take more than a minority of the
 * votes loses all of that. For a new voter: it joined by the policy, has caught up, and with it a majority is heard.
 */
#include "host/internal.h"

#include "base/mp.h"
#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MOVED_TIMEOUTS 16 /* election timeouts from one handover by a policy to the next */

/* One action of an answer, being judged. Texts are borrowed from it. */
struct action {
    struct host *host;
    struct slice text;
    const struct raft_server *server; /* of host->status; null: there is none of that id */
    struct raft_id id;                /* its */
    char why[ERROR_TEXT_MAX];         /* it is not safe; "": it is */
    bool later;                       /* it may be right, but not now: nobody needs to be told */
};

static bool takes_vote(struct slice actions, const char *id);
static const struct raft_server *server_named(const struct host *host, struct slice text);
static void judge_promote(struct action *action);
static void judge_demote(struct action *action);
static void judge_evict(struct action *action);
static void judge_leader(struct action *action);
static void judge_loss(struct action *action);
static enum error_code do_promote(struct action *action);
static enum error_code do_demote(struct action *action);
static enum error_code do_evict(struct action *action);
static enum error_code do_leader(struct action *action);

static const struct {
    const char *verb;
    const char *does, *more; /* for the log, around the id */
    bool takes_vote;  /* of a voter */
    void (*judge)(struct action *action);
    enum error_code (*run)(struct action *action);
} verbs[] = {
    {"promote", "makes", " a voter", false, judge_promote, do_promote},
    {"evict", "removes", "", true, judge_evict, do_evict},
    {"demote", "makes", " a learner", true, judge_demote, do_demote},
    {"leader", "hands leadership to", "", false, judge_leader, do_leader},
};
#define VERBS (sizeof verbs / sizeof *verbs)

bool policy_acts(struct slice verb)
{
    for (size_t v = 0; v < VERBS; v++) {
        if (slice_equal(verb, slice_text(verbs[v].verb))) return true;
    }
    return false;
}

/* true: it is done, as far as this leader can. */
bool policy_act(struct host *host, struct slice verb, struct slice text, bool too_many)
{
    struct action action = {.host = host, .text = text};
    char line[ERROR_TEXT_MAX + 128];
    size_t v = 0;
    while (v < VERBS && !slice_equal(verb, slice_text(verbs[v].verb))) v++;
    action.server = server_named(host, text);
    if (v == VERBS) {
        snprintf(action.why, sizeof action.why, "it was not asked to let anybody in");
    } else if (action.server == NULL) {
        snprintf(action.why, sizeof action.why, "there is no such server");
    } else {
        action.id = action.server->id;
        verbs[v].judge(&action);
    }
    if (action.why[0] == 0 && too_many && verbs[v].takes_vote && action.server->role == RAFT_VOTER)
        snprintf(action.why, sizeof action.why, "it would take more than a minority of the votes at once");
    if (action.later) return false;
    if (action.why[0] != 0) {
        int length = (int)(text.size < 80 ? text.size : 80);
        host->counters.policy_refused++;
        error_set(&host->policy.refusal, ERROR_REFUSED, "%.*s %.*s: %.350s", (int)verb.size, (const char *)verb.data,
                  length, (const char *)text.data, action.why);
        snprintf(line, sizeof line, "refuses what the membership policy wants: %s", host->policy.refusal.text);
        policy_say_once(host, LOG_LEVEL_WARN, line);
        return false;
    }
    if (verbs[v].run(&action) != ERROR_OK) return false; /* not now: the next view is soon */
    host->counters.policy_done++;
    error_set(&host->policy.done, ERROR_OK, "%s %s", verbs[v].verb, action.id.text);
    host_log(host, LOG_LEVEL_INFO, "the policy %s %s%s", verbs[v].does, action.id.text, verbs[v].more);
    return true;
}

/* Of what it wants to remove or demote, how many are voters? Who is named twice is one. */
bool policy_takes_too_many(const struct host *host, struct slice actions)
{
    const struct raft_configuration *now = host->status.configuration;
    size_t voters = 0, taken = 0;
    for (size_t i = 0; i < now->server_count; i++) {
        if (now->servers[i].role != RAFT_VOTER) continue;
        voters++;
        if (takes_vote(actions, now->servers[i].id.text)) taken++;
    }
    return !GUARD(POLICY_BELIEVED, taken <= (voters - 1) / 2);
}

static bool takes_vote(struct slice actions, const char *id)
{
    struct mp_reader reader = mp_reader_of(actions);
    struct slice verb, text;
    uint32_t count = 0;
    mp_read_array(&reader, &count);
    while (policy_read_action(&reader, &verb, &text)) {
        bool takes = slice_equal(verb, slice_text("evict")) || slice_equal(verb, slice_text("demote"));
        if (takes && slice_equal(text, slice_text(id))) return true;
    }
    return false;
}

/* All of the text counts: "n1\0x" is nobody. */
static const struct raft_server *server_named(const struct host *host, struct slice text)
{
    const struct raft_configuration *now = host->status.configuration;
    for (size_t i = 0; i < now->server_count; i++) {
        if (slice_equal(text, slice_text(now->servers[i].id.text))) return &now->servers[i];
    }
    return NULL;
}

/* ---- what is safe ---- */

#define UNSAFE(action, ...) snprintf((action)->why, sizeof(action)->why, __VA_ARGS__)

/* Voters, but for `without`, and how many of them have been heard. */
static size_t count_voters(const struct host *host, const struct raft_server *without, size_t *heard)
{
    const struct raft_configuration *now = host->status.configuration;
    size_t voters = 0;
    *heard = 0;
    for (size_t i = 0; i < now->server_count; i++) {
        const struct raft_server *server = &now->servers[i];
        if (server->role != RAFT_VOTER || server == without) continue;
        voters++;
        if (policy_heard(host, server->id.text)) (*heard)++;
    }
    return voters;
}

/* A voter less. */
static void judge_loss(struct action *action)
{
    const struct host *host = action->host;
    size_t heard, left = count_voters(host, action->server, &heard);
    uint64_t least = host->settings.policy_voters_min;
    if (strcmp(action->id.text, host->identity.id) == 0) {
        UNSAFE(action, "it leads: leadership is to go elsewhere first");
    } else if (left < least) {
        UNSAFE(action, "%zu voters would be left, and policy_voters_min is %" PRIu64, left, least);
    } else if (!GUARD(POLICY_BELIEVED, heard >= left / 2 + 1)) {
        UNSAFE(action, "of the %zu voters that would be left %zu are heard: no majority", left, heard);
    }
}

static void judge_evict(struct action *action)
{
    if (action->server->role == RAFT_VOTER) judge_loss(action);
}

static void judge_demote(struct action *action)
{
    if (action->server->role == RAFT_VOTER)
        judge_loss(action);
    else
        UNSAFE(action, "it is no voter");
}

static void judge_promote(struct action *action)
{
    const struct host *host = action->host;
    const struct raft_peer_status *peer = policy_peer(host, action->id.text);
    const char *wants = server_wants(action->server);
    size_t heard, voters = count_voters(host, NULL, &heard);
    if (action->server->role == RAFT_VOTER) {
        UNSAFE(action, "it is a voter");
    } else if (strcmp(wants, WANTS_VOTER) == 0) {
        action->later = true; /* it is being done */
    } else if (strcmp(wants, WANTS_POLICY) != 0) {
        UNSAFE(action, "an operator wants it to be a learner");
    } else if (!peer->caught_up) {
        UNSAFE(action, "it has not caught up");
    } else if (heard + 1 < (voters + 1) / 2 + 1) {
        UNSAFE(action, "of the %zu voters that there would be %zu are heard: no majority", voters + 1, heard + 1);
    }
}

static void judge_leader(struct action *action)
{
    const struct host *host = action->host;
    const struct raft_peer_status *peer = policy_peer(host, action->id.text);
    if (strcmp(action->id.text, host->identity.id) == 0) {
        action->later = true; /* it leads */
    } else if (action->server->role != RAFT_VOTER) {
        UNSAFE(action, "only a voter can lead");
    } else if (!peer->caught_up || !policy_heard(host, action->id.text)) {
        UNSAFE(action, "it does not keep up, or is not heard");
    } else if (host->now_us < host->policy.transfer_us) {
        action->later = true;
    }
}

/* ---- doing it ---- */

static enum error_code configure(struct action *action, enum error_code (*edit)(struct raft_configuration *wanted,
                                                                               const char *id))
{
    struct host *host = action->host;
    struct raft_configuration wanted = {0};
    raft_configuration_copy(&wanted, host->status.configuration);
    enum error_code code = edit(&wanted, action->id.text);
    assert(code == ERROR_OK); /* the server is there */
    struct raft_configure change = {
        .expected = host->status.configuration_index,
        .wanted = &wanted,
        .time_ms = host->ports.wall_ms(host->ports.context),
    };
    struct raft_event event = {.type = RAFT_EVENT_CONFIGURE};
    event.configure = &change;
    code = host_step(host, &event);
    raft_configuration_deinit(&wanted);
    return code;
}

static enum error_code edit_promote(struct raft_configuration *wanted, const char *id)
{
    raft_configuration_set_label(wanted, id, WANTS, NULL, NULL);
    return raft_configuration_set_role(wanted, id, RAFT_VOTER, NULL);
}

static enum error_code edit_demote(struct raft_configuration *wanted, const char *id)
{
    raft_configuration_set_label(wanted, id, WANTS, WANTS_POLICY, NULL);
    return raft_configuration_set_role(wanted, id, RAFT_LEARNER, NULL);
}

static enum error_code edit_evict(struct raft_configuration *wanted, const char *id)
{
    return raft_configuration_remove(wanted, id, NULL);
}

static enum error_code do_promote(struct action *action)
{
    return configure(action, edit_promote);
}

static enum error_code do_demote(struct action *action)
{
    return configure(action, edit_demote);
}

static enum error_code do_evict(struct action *action)
{
    return configure(action, edit_evict);
}

/* Whatever becomes of it, it is not tried again soon: two policies that do not agree would pass it to and fro. */
static enum error_code do_leader(struct action *action)
{
    struct host *host = action->host;
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.target = action->id;
    host->policy.transfer_us = host->now_us + MOVED_TIMEOUTS * host->settings.election_timeout_ms * 1000;
    return host_step(host, &event);
}
