/*
 * Who is who: the servers of the effective configuration, and what a stranger's or a friend's hello
 * is worth. An id that comes back with another incarnation has lost its disk and what it promised
 * with it: its votes and acknowledgements must not count.
 */
#include "host/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REINTRODUCE_TIMEOUTS 8 /* election timeouts without a leader */

static enum error_code check_program(struct host *host, const struct hello *hello,
                                     struct error *error);
static enum error_code check_member(struct host *host, const struct hello *hello,
                                    struct error *error);
static enum error_code refuse_cluster(const struct host *host, const struct hello *hello,
                                      struct error *error);
static uint64_t recovered_from(struct slice first_configuration);
static enum error_code check_removed(struct host *host, const struct hello *hello,
                                     struct error *error);
static bool succeeds(struct host *host, const struct hello *hello);
static size_t minor_length(const char *release);

struct member *member_find(const struct host *host, const char *id)
{
    for (size_t i = 0; i < host->member_count; i++) {
        if (strcmp(host->members[i].id.text, id) == 0) return &host->members[i];
    }
    return NULL;
}

/* Called often with what is known already: the transport is told only of a change. */
void members_set(struct host *host, const struct raft_configuration *configuration)
{
    size_t count = configuration->server_count;
    struct member *members = memory_zero(count, sizeof *members);
    bool same = count == host->member_count;
    size_t learners = 0;
    for (size_t i = 0; i < count; i++) {
        const struct raft_server *server = &configuration->servers[i];
        const struct member *before = member_find(host, server->id.text);
        members[i].id = server->id;
        members[i].incarnation = server->incarnation;
        if (server->role == RAFT_LEARNER) learners++;
        if (!raft_server_address(server, "node", members[i].address)) members[i].address[0] = 0;
        if (before == NULL || strcmp(before->address, members[i].address) != 0) same = false;
        if (before != NULL) members[i].lost_until_us = before->lost_until_us;
        if (before != NULL) members[i].release_warned = before->release_warned;
        members[i].since_us = host->now_us;
        const struct contact *contact = contact_find(host, server->id.text);
        members[i].guest = contact != NULL && contact->guest && contact->incarnation == server->incarnation;
        if (before != NULL && before->incarnation == server->incarnation) {
            members[i].guest = before->guest;
            members[i].since_us = before->since_us;
            members[i].healthy_us = before->healthy_us;
        }
    }
    for (size_t i = 0; i < host->member_count; i++) {
        const struct member *left = &host->members[i];
        if (raft_configuration_find(configuration, &left->id) == NULL) contact_keep(host, left);
    }
    memory_free(host->members);
    host->members = members;
    host->member_count = count;
    host->learner_count = learners;
    if (contacts_prune(host) || !same) members_tell(host);
}

void members_tell(struct host *host)
{
    size_t most = host->member_count + host->contact_count;
    struct host_peer *peers = memory_zero(most, sizeof *peers);
    size_t count = 0;
    for (size_t i = 0; i < host->member_count; i++) {
        const struct member *member = &host->members[i];
        if (strcmp(member->id.text, host->identity.id) == 0 || member->address[0] == 0) continue;
        if (contact_find(host, member->id.text) != NULL) continue; /* its successor */
        peers[count].id = member->id;
        memcpy(peers[count].address, member->address, sizeof peers[count].address);
        count++;
    }
    for (size_t i = 0; i < host->contact_count; i++, count++) {
        peers[count].id = host->contacts[i].id;
        memcpy(peers[count].address, host->contacts[i].address, sizeof peers[count].address);
    }
    host->ports.peers(host->ports.context, peers, count);
    memory_free(peers);
}

/* ---- this node ---- */

/* With the effective configuration as it has just been set. */
void members_look_for_self(struct host *host)
{
    const struct member *self = member_find(host, host->identity.id);
    host->named = self != NULL && self->incarnation == host->identity.incarnation;
    if (host->named) members_named_until(host, host->configuration_index);
}

/* It never goes back: who was let in again knows that before the log that it reads tells of it. */
void members_named_until(struct host *host, raft_index index)
{
    if (index + 1 > host->member_until) host->member_until = index + 1;
}

/* What the log says of former configurations: in which was this node last? */
void members_remember(struct host *host, const struct raft_durable *durable)
{
    struct raft_id own = raft_id_of(host->identity.id);
    for (size_t i = 0; i <= durable->configuration_count; i++) {
        struct raft_configuration configuration = {0};
        const struct raft_entry *entry = i > 0 ? &durable->configurations[i - 1] : NULL;
        raft_index index = entry != NULL ? entry->index : durable->snapshot.configuration_index;
        struct slice bytes =
            entry != NULL ? entry->payload.bytes : durable->snapshot.configuration;
        if (raft_configuration_decode(bytes, &configuration, NULL) != ERROR_OK) continue;
        const struct raft_server *found = raft_configuration_find(&configuration, &own);
        if (found != NULL && found->incarnation == host->identity.incarnation)
            members_named_until(host, index);
        raft_configuration_deinit(&configuration);
    }
}

/* This node was a member, and a later configuration that is committed and applied here names it no more: it goes. An
 * earlier one says nothing: the entry that let it in may not be committed, and may have been taken back. */
void members_leave(struct host *host)
{
    bool gone = host_runs(host) && host->member_until > 0 && host->configuration_index >= host->member_until &&
                host->apply.applied >= host->configuration_index;
    if (gone) host_removed(host, "the configuration");
}

/* Who hears no leader for long may have been removed while it was cut off. Over a connection that has lived through
 * that nobody would tell it so, and one without a vote does not even ask; but a hello is answered. */
void members_reintroduce(struct host *host)
{
    uint64_t patience_us = REINTRODUCE_TIMEOUTS * host->settings.election_timeout_ms * 1000;
    if (!host_runs(host) || host->role == RAFT_LEADER || host->stop.stage != STOP_NONE) {
        host->introduce_us = 0;
    } else if (host->introduce_us == 0) {
        host->introduce_us = host->now_us + patience_us;
    } else if (host->now_us >= host->introduce_us) {
        bool heard = host->heard_us + patience_us > host->now_us;
        host->introduce_us = (heard ? host->heard_us : host->now_us) + patience_us;
        if (!heard) members_tell(host);
    }
}

void host_removed(struct host *host, const char *by)
{
    if (host->stop.stage != STOP_NONE) return;
    host_log(host, LOG_LEVEL_WARN,
             "this node, %s, was removed from the cluster (%s says so): it stops. To come back it "
             "joins with an empty data folder",
             host->identity.id, by);
    stop_begin(host);
}

/*
 * Of one that has succeeded a server of the configuration here, under its id: what it asks and what it says as a leader
 * is heard, for the core takes that from anybody. What it answers counts for its former self's voice, and is not.
 */
bool member_says(struct host *host, const struct identity *from, enum raft_message_type type)
{
    if (member_speaks(host, from)) return true;
    const struct contact *contact = contact_find(host, from->id);
    bool answers = type == RAFT_VOTE || type == RAFT_APPEND_RESULT;
    return from->cluster == host->identity.cluster && !answers && contact != NULL &&
           contact->incarnation == from->incarnation;
}

/* A server that the configuration here does not know (yet) may speak: the core knows what it may
 * say. */
bool member_speaks(struct host *host, const struct identity *from)
{
    if (host->identity.cluster == 0 || from->cluster != host->identity.cluster) return false;
    const struct member *member = member_find(host, from->id);
    return member == NULL || GUARD(WIPED_BELIEVED, member->incarnation == from->incarnation);
}

uint64_t host_cluster_of(struct slice first_configuration)
{
    uint64_t cluster = hash_bytes(first_configuration.data, first_configuration.size);
    return cluster != 0 ? cluster : 1;
}

/* ---- hellos ---- */

enum error_code hello_check(struct host *host, const struct hello *hello, struct error *error)
{
    const struct identity *it = &hello->identity;
    if (!id_valid(it->id) || it->incarnation == 0) {
        return error_set(error, ERROR_BAD_REQUEST, "its hello is malformed");
    }
    if (strcmp(it->id, host->identity.id) == 0) {
        return error_set(error, ERROR_FOREIGN,
                         "%s at %s and the node at %s have the same id: ids must differ", it->id,
                         hello->address, host->address);
    }
    enum error_code code = check_program(host, hello, error);
    if (code != ERROR_OK || host->identity.cluster == 0) return code;
    return check_member(host, hello, error);
}

static enum error_code check_program(struct host *host, const struct hello *hello,
                                     struct error *error)
{
    if (hello->protocol_max < PROTOCOL_MIN || hello->protocol_min > PROTOCOL_MAX) {
        return error_set(
            error, ERROR_VERSION, "%s speaks node protocols %u to %u, %s speaks %u to %u",
            hello->identity.id, (unsigned)hello->protocol_min, (unsigned)hello->protocol_max,
            host->identity.id, (unsigned)PROTOCOL_MIN, (unsigned)PROTOCOL_MAX);
    }
    if (hello->format_level > FORMAT_LEVEL) {
        return error_set(error, ERROR_VERSION, "%s writes format level %u, %s reads up to %u",
                         hello->identity.id, (unsigned)hello->format_level, host->identity.id,
                         (unsigned)FORMAT_LEVEL);
    }
    size_t minor = minor_length(host->lua_release);
    if (minor != minor_length(hello->lua_release) ||
        strncmp(host->lua_release, hello->lua_release, minor) != 0) {
        return error_set(error, ERROR_VERSION, "%s runs Lua %s, %s runs Lua %s: results may differ",
                         hello->identity.id, hello->lua_release, host->identity.id,
                         host->lua_release);
    }
    struct member *member = member_find(host, hello->identity.id);
    if (strcmp(host->lua_release, hello->lua_release) != 0 && member != NULL &&
        !member->release_warned) {
        member->release_warned = true;
        host_log(host, LOG_LEVEL_WARN,
                 "%s runs Lua %s, this node runs Lua %s: finish the upgrade soon", member->id.text,
                 hello->lua_release, host->lua_release);
    }
    return ERROR_OK;
}

/* "5.4" of "5.4.6" */
static size_t minor_length(const char *release)
{
    const char *dot = strchr(release, '.');
    const char *second = dot != NULL ? strchr(dot + 1, '.') : NULL;
    return second != NULL ? (size_t)(second - release) : strlen(release);
}

/* This node is a member; is the other one, or may it become one? */
static enum error_code check_member(struct host *host, const struct hello *hello,
                                    struct error *error)
{
    const struct identity *it = &hello->identity;
    const struct member *member = member_find(host, it->id);
    if (it->cluster != 0 && it->cluster != host->identity.cluster) return refuse_cluster(host, hello, error);
    bool same = member == NULL || member->incarnation == it->incarnation;
    if (!same && !GUARD(WIPED_BELIEVED, succeeds(host, hello))) {
        return error_set(error, ERROR_WIPED,
                         "%s lost its data: this is not the %s that the cluster knows. Remove it "
                         "from the cluster and let "
                         "it join again",
                         it->id, it->id);
    }
    if (member == NULL && it->cluster == 0 && !hello->joining) {
        return error_set(error, ERROR_FOREIGN, "%s is not a member of the cluster of %s", it->id,
                         host->identity.id);
    }
    return member == NULL ? check_removed(host, hello, error) : ERROR_OK;
}

/* After `moonclave recover` there are two of one: the side that was lost must not speak to the one that goes on, and
 * both are to know why. Neither stops by itself: which of them is the wrong one, people decide. */
static enum error_code refuse_cluster(const struct host *host, const struct hello *hello,
                                      struct error *error)
{
    const struct identity *it = &hello->identity;
    bool its_end = recovered_from(buffer_slice(&host->first_configuration)) == it->cluster;
    bool our_end = recovered_from(hello->configuration) == host->identity.cluster &&
                   host_cluster_of(hello->configuration) == it->cluster;
    if (!its_end && !our_end) {
        return error_set(error, ERROR_FOREIGN,
                         "%s belongs to cluster %016" PRIx64 ", %s to %016" PRIx64, it->id,
                         it->cluster, host->identity.id, host->identity.cluster);
    }
    const char *old = its_end ? it->id : host->identity.id, *new = its_end ? host->identity.id : it->id;
    return error_set(error, ERROR_FOREIGN,
                     "the cluster was recovered without %s, which still belongs to the one that was (%016" PRIx64
                     "; %s is of %016" PRIx64 "): nothing that it says counts. Stop it, move its data folder away and "
                     "let it join again",
                     old, its_end ? it->cluster : host->identity.cluster, new,
                     its_end ? host->identity.cluster : it->cluster);
}

/* The cluster whose last survivor began this one; 0: none, or it cannot be read. */
static uint64_t recovered_from(struct slice first_configuration)
{
    struct raft_configuration first = {0};
    uint64_t from = 0;
    if (first_configuration.size == 0 || raft_configuration_decode(first_configuration, &first, NULL) != ERROR_OK)
        return 0;
    for (size_t i = 0; i < first.server_count; i++) {
        for (size_t j = 0; j < first.servers[i].label_count; j++) {
            const struct raft_label *label = &first.servers[i].labels[j];
            if (strcmp(label->name, HOST_RECOVERED_FROM) == 0) from = strtoull(label->value, NULL, 16);
        }
    }
    raft_configuration_deinit(&first);
    return from;
}

/* It was let in anew under that id: it finds itself in a configuration that is not known to be committed here, while
 * what is known here means its former self. It may even be the leader, from whom alone this node can learn of it. */
static bool succeeds(struct host *host, const struct hello *hello)
{
    if (hello->identity.cluster != host->identity.cluster) return false;
    raft_status(host->raft, &host->status); /* a member is known: there is a core */
    return hello->member_until > host->status.commit_index + 1;
}

/* A configuration that is committed here names it no more, and is newer than the last one that it finds itself in:
 * whatever it believes, it was removed. One that does not name it yet is older than that. */
static enum error_code check_removed(struct host *host, const struct hello *hello,
                                     struct error *error)
{
    if (hello->member_until == 0 || host->raft == NULL) return ERROR_OK;
    raft_status(host->raft, &host->status);
    raft_index index = host->status.configuration_index;
    if (index > host->status.commit_index || hello->member_until > index + 1) return ERROR_OK;
    return error_set(error, ERROR_REMOVED,
                     "%s was removed from the cluster: to come back it joins with an empty data "
                     "folder",
                     hello->identity.id);
}

void host_lost_its_data(struct host *host, const char *by)
{
    if (host->wiped) return;
    host->wiped = true;
    host_log(host, LOG_LEVEL_ERROR,
             "this node, %s, lost its data: %s knows it with another incarnation. It takes no part "
             "in the cluster and does "
             "not vote. Remove %s from the cluster and let it join again with an empty data folder",
             host->identity.id, by, host->identity.id);
}
