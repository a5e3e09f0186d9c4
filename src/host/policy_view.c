/* What a membership policy is shown: the cluster as its leader sees it, as one canonical value. README.md lists the
 * keys; lua/moonclave/meta/policy.lua says the same to those who write policies. */
#include "host/internal.h"

#include "base/mp.h"

#include <string.h>

static void write_server(const struct host *host, const struct raft_server *server, bool candidate,
                         struct buffer *out);
static void write_labels(const struct raft_server *server, struct buffer *out);
static bool is_own_label(const struct raft_label *label);
static void write_settings(const struct settings *settings, struct buffer *out);
static void write_text(struct buffer *out, const char *key, const char *value);
static void write_u64(struct buffer *out, const char *key, uint64_t value);
static void write_boolean(struct buffer *out, const char *key, bool value);
static void write_seconds_us(struct buffer *out, const char *key, uint64_t value_us);

/* Keys in order. */
void policy_write_view(const struct host *host, const struct raft_server *candidate, struct buffer *out)
{
    const struct raft_configuration *now = host->status.configuration;
    size_t voters = 0, heard = 0;
    for (size_t i = 0; i < now->server_count; i++) {
        if (now->servers[i].role != RAFT_VOTER) continue;
        voters++;
        if (policy_heard(host, now->servers[i].id.text)) heard++;
    }
    mp_write_map(out, candidate != NULL ? 8 : 7);
    write_text(out, "leader", host->identity.id);
    write_u64(out, "quorum", voters / 2 + 1);
    if (candidate != NULL) {
        mp_write_text(out, "server");
        write_server(host, candidate, true, out);
    }
    mp_write_text(out, "servers");
    mp_write_array(out, (uint32_t)now->server_count);
    for (size_t i = 0; i < now->server_count; i++) write_server(host, &now->servers[i], false, out);
    mp_write_text(out, "settings");
    write_settings(&host->settings, out);
    write_u64(out, "term", host->term);
    mp_write_text(out, "time");
    mp_write_float(out, (double)host->ports.wall_ms(host->ports.context) / 1000);
    mp_write_text(out, "tolerance");
    mp_write_integer(out, (int64_t)heard - (int64_t)(voters / 2 + 1));
}

bool policy_heard(const struct host *host, const char *id)
{
    if (strcmp(id, host->identity.id) == 0) return true;
    const struct raft_peer_status *peer = policy_peer(host, id);
    uint64_t limit_us = host->settings.election_timeout_ms * 1000;
    return !peer->forgot && peer->contact_us != 0 && host->now_us < peer->contact_us + limit_us;
}

const struct raft_peer_status *policy_peer(const struct host *host, const char *id)
{
    static const struct raft_peer_status nobody;
    for (size_t i = 0; i < host->status.peer_count; i++) {
        if (strcmp(host->status.peers[i].id.text, id) == 0) return &host->status.peers[i];
    }
    return &nobody;
}

/* Since when it is silent: of one that has not answered it yet a leader can say no more than that it has led, or that
 * it has been a member, for so long. */
static uint64_t silent_us(const struct host *host, const struct member *member, const struct raft_peer_status *peer)
{
    uint64_t last_us = host->policy.led_us;
    if (member->since_us > last_us) last_us = member->since_us;
    if (peer->contact_us != 0) last_us = peer->contact_us;
    return host->now_us - last_us;
}

static void write_server(const struct host *host, const struct raft_server *server, bool candidate,
                         struct buffer *out)
{
    char address[ADDRESS_MAX + 1] = "";
    const struct member *member = candidate ? NULL : member_find(host, server->id.text);
    const struct raft_peer_status *peer = policy_peer(host, server->id.text);
    bool own = strcmp(server->id.text, host->identity.id) == 0;
    uint64_t healthy_us = candidate ? 0 : member->healthy_us;
    raft_index last = host->status.last_index, match = own ? last : candidate ? 0 : peer->match;
    raft_server_address(server, "node", address);
    mp_write_map(out, 11);
    write_text(out, "address", address);
    write_boolean(out, "healthy", healthy_us != 0);
    write_text(out, "id", server->id.text);
    mp_write_text(out, "labels");
    write_labels(server, out);
    write_u64(out, "lag", last > match ? last - match : 0);
    write_boolean(out, "leader", own);
    write_u64(out, "priority", server->priority);
    write_boolean(out, "promotable", strcmp(server_wants(server), WANTS_POLICY) == 0);
    write_text(out, "role", server->role == RAFT_VOTER ? "voter" : "learner");
    write_seconds_us(out, "silent_for", own || candidate ? 0 : silent_us(host, member, peer));
    write_seconds_us(out, "stable_for", healthy_us != 0 ? host->now_us - healthy_us : 0);
}

/* But for the program's own. */
static void write_labels(const struct raft_server *server, struct buffer *out)
{
    uint32_t count = 0;
    for (size_t i = 0; i < server->label_count; i++) count += !is_own_label(&server->labels[i]);
    mp_write_map(out, count);
    for (size_t i = 0; i < server->label_count; i++) {
        if (!is_own_label(&server->labels[i])) write_text(out, server->labels[i].name, server->labels[i].value);
    }
}

static bool is_own_label(const struct raft_label *label)
{
    return strncmp(label->name, HOST_OWN_LABELS, strlen(HOST_OWN_LABELS)) == 0;
}

static void write_settings(const struct settings *settings, struct buffer *out)
{
    mp_write_map(out, 4);
    write_seconds_us(out, "dead_after", settings->policy_dead_ms * 1000);
    write_u64(out, "lag_max", settings->policy_lag_max);
    write_seconds_us(out, "stable_for", settings->policy_stable_ms * 1000);
    write_u64(out, "voters_min", settings->policy_voters_min);
}

/* What has become of what it said; keys in order. */
void policy_write_status(const struct host *host, struct buffer *out)
{
    const struct policy *policy = &host->policy;
    mp_write_map(out, 8);
    write_boolean(out, "active", policy->leads);
    write_u64(out, "asked", host->counters.policy_asked);
    write_u64(out, "done", host->counters.policy_done);
    write_text(out, "done_last", policy->done.text);
    write_u64(out, "failed", host->counters.policy_failed);
    write_text(out, "problem", policy->problem.code != ERROR_OK ? policy->problem.text : "");
    write_text(out, "refusal", policy->refusal.text);
    write_u64(out, "refused", host->counters.policy_refused);
}

/* ---- pairs ---- */

static void write_text(struct buffer *out, const char *key, const char *value)
{
    mp_write_text(out, key);
    mp_write_text(out, value);
}

static void write_u64(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}

static void write_boolean(struct buffer *out, const char *key, bool value)
{
    mp_write_text(out, key);
    mp_write_boolean(out, value);
}

static void write_seconds_us(struct buffer *out, const char *key, uint64_t value_us)
{
    mp_write_text(out, key);
    mp_write_float(out, (double)value_us / 1e6);
}
