/* What this node says of itself and of the cluster, in Raft's names. README.md lists the keys. */
#include "host/internal.h"

#include "base/mp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void write_app(const struct host *host, struct buffer *out);
static void write_counters(const struct host *host, struct buffer *out);
static void write_peers(const struct raft_status *status, struct buffer *out);
static void write_member(const struct host *host, const struct raft_status *status,
                         const struct raft_server *server, struct buffer *out);
static const struct raft_peer_status *find_peer(const struct raft_status *status,
                                                const struct raft_id *id);
static void write_u64(struct buffer *out, const char *key, uint64_t value);
static void write_known(struct buffer *out, const char *key, bool known, uint64_t value);
static void write_sessions(const struct sessions *sessions, struct buffer *out);
static void write_snapshot(const struct host *host, const struct raft_status *status,
                           struct buffer *out);
static void write_text(struct buffer *out, const char *key, const char *value);
static void write_hex(struct buffer *out, const char *key, uint64_t value);
static void write_boolean(struct buffer *out, const char *key, bool value);

const struct raft *host_raft(const struct host *host)
{
    return host->raft;
}

const struct sessions *host_sessions(const struct host *host)
{
    return &host->system.sessions;
}

bool host_is_leader(const struct host *host)
{
    return host_runs(host) && host->role == RAFT_LEADER;
}

bool host_ready(const struct host *host)
{
    return host->ready && host->stop.stage == STOP_NONE && !host->dead;
}

struct host_counters host_counters(const struct host *host)
{
    return host->counters;
}

/* Every list is canonical: keys in order. */
void host_status(const struct host *host, struct buffer *out)
{
    struct raft_status status = {0};
    const struct member *leader = member_find(host, host->leader.text);
    if (host->raft != NULL) raft_status(host->raft, &status);
    mp_write_map(out, 43);
    write_text(out, "address", host->address);
    write_app(host, out);
    write_u64(out, "applied_index", host->apply.applied);
    write_hex(out, "chain", host->system.chain);
    write_hex(out, "cluster", host->identity.cluster);
    write_u64(out, "commit_index", status.commit_index);
    mp_write_text(out, "commit_latency");
    watch_write_commits(host, out);
    stats_write_configuration(&status, out);
    write_u64(out, "configuration_index", status.configuration_index);
    write_counters(host, out);
    write_u64(out, "deploying_at", host->deploy.index);
    write_boolean(out, "disk_full", host->disk_full);
    write_u64(out, "durable_index", status.durable_index);
    write_u64(out, "first_index", status.first_index);
    write_u64(out, "format_level", FORMAT_LEVEL);
    write_u64(out, "fsm_pending", host->apply.committed - host->apply.applied);
    write_u64(out, "halted_at", host_halted(host));
    write_text(out, "id", host->identity.id);
    write_hex(out, "incarnation", host->identity.incarnation);
    stats_write_contact(host, out);
    write_u64(out, "last_index", status.last_index);
    write_u64(out, "last_term", status.last_term);
    write_text(out, "leader", host->leader.text);
    write_text(out, "leader_address", leader != NULL ? leader->address : "");
    write_text(out, "lua", host->lua_release);
    write_u64(out, "num_peers", stats_other_voters(host, &status));
    write_peers(&status, out);
    mp_write_text(out, "policy");
    policy_write_status(host, out);
    stats_write_raft(host, &status, out);
    write_boolean(out, "ready", host_ready(host));
    write_text(out, "role", host->raft != NULL ? raft_role_name(host->role) : "blank");
    write_sessions(&host->system.sessions, out);
    write_snapshot(host, &status, out);
    write_hex(out, "state_hash", host_applied(host).state_hash);
    write_boolean(out, "stopping", host->stop.stage != STOP_NONE);
    write_u64(out, "term", host->term);
    write_u64(out, "time_ms", host->system.clock_ms);
    write_u64(out, "uncommitted_bytes", status.uncommitted_bytes);
    write_text(out, "version", MOONCLAVE_VERSION);
    write_text(out, "voted_for", status.vote.text);
    write_u64(out, "waiting", host->waiters.count);
    write_u64(out, "waiting_bytes", host->waiters.bytes);
    write_boolean(out, "wiped", host->wiped);
}

static void write_app(const struct host *host, struct buffer *out)
{
    mp_write_text(out, "app");
    mp_write_map(out, host->apply.app_error.code != ERROR_OK ? 4 : 3);
    if (host->apply.app_error.code != ERROR_OK)
        write_text(out, "error", host->apply.app_error.text);
    write_hex(out, "hash", host->system.app_hash);
    write_boolean(out, "loaded", host->apply.app_loaded);
    write_u64(out, "version", host->system.app_index);
}

static void write_counters(const struct host *host, struct buffer *out)
{
    const struct host_counters *counters = &host->counters;
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"append_entries", counters->append_entries},
        {"append_messages", counters->append_messages},
        {"applied", counters->applied},
        {"forwards", counters->forwards},
        {"handovers", counters->handovers},
        {"proposals", counters->proposals},
        {"propose_steps", counters->propose_steps},
        {"read_rounds", counters->read_rounds},
        {"reads", counters->reads},
        {"slow_applies", counters->slow_applies},
        {"slow_writes", counters->slow_writes},
        {"steps", counters->steps},
    };
    mp_write_text(out, "counters");
    mp_write_map(out, sizeof rows / sizeof *rows);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        write_u64(out, rows[i].key, rows[i].value);
}

/* The newest one; what has gathered in the log since; what is on its way. */
static void write_snapshot(const struct host *host, const struct raft_status *status,
                           struct buffer *out)
{
    const struct snapshots *snapshots = &host->snapshots;
    mp_write_text(out, "snapshot");
    mp_write_map(out, 9);
    write_u64(out, "index", snapshots->index);
    write_u64(out, "installing", status->installing_index);
    write_u64(out, "log_bytes", snapshots->log_bytes);
    write_boolean(out, "restoring", restoring(host));
    write_u64(out, "size", snapshots->size);
    write_u64(out, "staged", host->staged.offset);
    write_u64(out, "taken", snapshots->taken);
    write_boolean(out, "taking", snapshots->stage != SNAPSHOT_NONE);
    write_u64(out, "term", status->snapshot_term);
}

/* What is kept for retries, alike on every node at the same index. */
static void write_sessions(const struct sessions *sessions, struct buffer *out)
{
    mp_write_text(out, "sessions");
    mp_write_map(out, 4);
    write_u64(out, "bytes", sessions->bytes);
    write_u64(out, "key_bytes", sessions->key_bytes);
    write_u64(out, "keys", sessions->ring_count);
    write_u64(out, "open", sessions->count);
}

/* A leader's view of the others: how replication to each stands. */
static void write_peers(const struct raft_status *status, struct buffer *out)
{
    mp_write_text(out, "peers");
    mp_write_array(out, (uint32_t)status->peer_count);
    for (size_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *peer = &status->peers[i];
        mp_write_map(out, 6);
        write_boolean(out, "forgot", peer->forgot);
        write_text(out, "id", peer->id.text);
        write_u64(out, "in_flight", peer->in_flight);
        write_u64(out, "match", peer->match);
        write_u64(out, "next", peer->next);
        write_text(out, "progress", peer->progress);
    }
}

/* ---- members ---- */

void host_members(const struct host *host, struct buffer *out)
{
    struct raft_status status = {0};
    if (host->raft != NULL) raft_status(host->raft, &status);
    const struct raft_configuration *configuration = status.configuration;
    size_t count = configuration != NULL ? configuration->server_count : 0;
    mp_write_array(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) write_member(host, &status, &configuration->servers[i], out);
}

/* The program's, about how a server became a member, are nobody else's. */
static bool is_own_label(const struct raft_label *label)
{
    return strncmp(label->name, HOST_OWN_LABELS, strlen(HOST_OWN_LABELS)) == 0;
}

static void write_labels(const struct raft_server *server, uint32_t count, struct buffer *out)
{
    mp_write_text(out, "labels");
    mp_write_map(out, count);
    for (size_t i = 0; i < server->label_count; i++) {
        if (!is_own_label(&server->labels[i])) write_text(out, server->labels[i].name, server->labels[i].value);
    }
}

/* What only a leader knows is null elsewhere. */
static void write_member(const struct host *host, const struct raft_status *status,
                         const struct raft_server *server, struct buffer *out)
{
    char address[ADDRESS_MAX + 1] = "";
    bool own = strcmp(server->id.text, host->identity.id) == 0;
    const struct raft_peer_status *peer = find_peer(status, &server->id);
    uint64_t now_us = host->ports.now_us(host->ports.context);
    uint64_t match = own ? status->durable_index : peer != NULL ? peer->match : 0;
    raft_server_address(server, "node", address);
    uint32_t labels = 0;
    for (size_t i = 0; i < server->label_count; i++) labels += !is_own_label(&server->labels[i]);
    mp_write_map(out, labels > 0 ? 9 : 8);
    write_text(out, "address", address);
    mp_write_text(out, "contact_ms");
    if (peer != NULL && peer->contact_us != 0 && now_us >= peer->contact_us) {
        mp_write_u64(out, (now_us - peer->contact_us) / 1000);
    } else {
        mp_write_nil(out);
    }
    write_text(out, "id", server->id.text);
    if (labels > 0) write_labels(server, labels, out);
    write_known(out, "lag", own || peer != NULL,
                status->last_index > match ? status->last_index - match : 0);
    write_known(out, "match", own || peer != NULL, match);
    write_u64(out, "priority", server->priority);
    write_text(out, "role", server->role == RAFT_VOTER ? "voter" : "learner");
    write_text(out, "state", raft_id_equal(&server->id, &host->leader) ? "leader" : "follower");
}

static const struct raft_peer_status *find_peer(const struct raft_status *status,
                                                const struct raft_id *id)
{
    for (size_t i = 0; i < status->peer_count; i++) {
        if (raft_id_equal(&status->peers[i].id, id)) return &status->peers[i];
    }
    return NULL;
}

/* ---- pairs ---- */

static void write_u64(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}

static void write_known(struct buffer *out, const char *key, bool known, uint64_t value)
{
    if (known) {
        write_u64(out, key, value);
        return;
    }
    mp_write_text(out, key);
    mp_write_nil(out);
}

static void write_text(struct buffer *out, const char *key, const char *value)
{
    mp_write_text(out, key);
    mp_write_text(out, value);
}

/* Hashes and random numbers, of 64 bits without a sign, which neither Lua nor JSON has. */
static void write_hex(struct buffer *out, const char *key, uint64_t value)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, value);
    write_text(out, key, text);
}

static void write_boolean(struct buffer *out, const char *key, bool value)
{
    mp_write_text(out, key);
    mp_write_boolean(out, value);
}
