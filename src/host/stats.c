/*
 * The status under the names that hashicorp/raft's Stats gave them, for dashboards that know those: `raft` in
 * the status map. README.md has the table of what corresponds to what.
 */
#include "host/internal.h"

#include "base/mp.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t contact_ms(const struct host *host);
static void write_servers(const struct raft_configuration *configuration, struct buffer *out);
static const char *state_of(const struct host *host);
static void write_u64(struct buffer *out, const char *key, uint64_t value);
static void write_text(struct buffer *out, const char *key, const char *value);

#define NEVER UINT64_MAX
#define FORMAT_LEVEL_LEAST 1 /* that this program reads */

void stats_write_configuration(const struct raft_status *status, struct buffer *out)
{
    mp_write_text(out, "configuration");
    write_servers(status->configuration, out);
}

/* Milliseconds since the leader was heard: 0 at the leader, null where none has been. */
void stats_write_contact(const struct host *host, struct buffer *out)
{
    mp_write_text(out, "last_contact_ms");
    if (contact_ms(host) == NEVER) {
        mp_write_nil(out);
    } else {
        mp_write_u64(out, contact_ms(host));
    }
}

/* 0 where this server does not vote itself. */
uint64_t stats_other_voters(const struct host *host, const struct raft_status *status)
{
    uint64_t others = 0;
    bool votes = false;
    size_t count = status->configuration != NULL ? status->configuration->server_count : 0;
    for (size_t i = 0; i < count; i++) {
        const struct raft_server *server = &status->configuration->servers[i];
        if (server->role != RAFT_VOTER) continue;
        bool own = strcmp(server->id.text, host->identity.id) == 0;
        votes = votes || own;
        others += !own;
    }
    return votes ? others : 0;
}

void stats_write_raft(const struct host *host, const struct raft_status *status, struct buffer *out)
{
    char contact[32];
    uint64_t heard_ms = contact_ms(host);
    snprintf(contact, sizeof contact, heard_ms == 0 ? "0" : "%" PRIu64 "ms", heard_ms);
    mp_write_text(out, "raft");
    mp_write_map(out, 18);
    write_u64(out, "applied_index", host->apply.applied);
    write_u64(out, "commit_index", status->commit_index);
    write_u64(out, "fsm_pending", host->apply.committed - host->apply.applied);
    write_text(out, "last_contact", heard_ms == NEVER ? "never" : contact);
    write_u64(out, "last_log_index", status->last_index);
    write_u64(out, "last_log_term", status->last_term);
    write_u64(out, "last_snapshot_index", status->snapshot_index);
    write_u64(out, "last_snapshot_term", status->snapshot_term);
    mp_write_text(out, "latest_configuration");
    write_servers(status->configuration, out);
    write_u64(out, "latest_configuration_index", status->configuration_index);
    write_u64(out, "num_peers", stats_other_voters(host, status));
    write_u64(out, "protocol_version", FORMAT_LEVEL);
    write_u64(out, "protocol_version_max", FORMAT_LEVEL);
    write_u64(out, "protocol_version_min", FORMAT_LEVEL_LEAST);
    write_u64(out, "snapshot_version_max", FORMAT_LEVEL);
    write_u64(out, "snapshot_version_min", FORMAT_LEVEL_LEAST);
    write_text(out, "state", state_of(host));
    write_u64(out, "term", host->term);
}

static uint64_t contact_ms(const struct host *host)
{
    uint64_t now_us = host->ports.now_us(host->ports.context);
    if (host->role == RAFT_LEADER) return 0;
    if (host->heard_us == 0) return NEVER;
    uint64_t ms = now_us > host->heard_us ? (now_us - host->heard_us) / 1000 : 0;
    return ms > 0 ? ms : 1; /* 0 is the leader's */
}

static void write_servers(const struct raft_configuration *configuration, struct buffer *out)
{
    static const char *const roles[] = {
        [RAFT_VOTER] = "voter", [RAFT_LEARNER] = "learner", [RAFT_LEAVING] = "leaving"};
    size_t count = configuration != NULL ? configuration->server_count : 0;
    mp_write_array(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        const struct raft_server *server = &configuration->servers[i];
        char address[ADDRESS_MAX + 1] = "";
        raft_server_address(server, "node", address);
        mp_write_map(out, 3);
        write_text(out, "address", address);
        write_text(out, "id", server->id.text);
        write_text(out, "role", roles[server->role]);
    }
}

static const char *state_of(const struct host *host)
{
    static const char *const names[] = {
        [RAFT_FOLLOWER] = "Follower",
        [RAFT_PRE_CANDIDATE] = "Candidate",
        [RAFT_CANDIDATE] = "Candidate",
        [RAFT_LEADER] = "Leader",
    };
    return host->frozen || host->dead ? "Shutdown" : names[host->role];
}

static void write_u64(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}

static void write_text(struct buffer *out, const char *key, const char *value)
{
    mp_write_text(out, key);
    mp_write_text(out, value);
}
