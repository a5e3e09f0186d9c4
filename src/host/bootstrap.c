/*
 * How a cluster begins. A blank node connects with every address of --peers and waits until all
 * have said hello: blank too, and with the same list. Each then stores the same sorted
 * configuration, with everyone's incarnation, at index 0; the cluster's id is its hash.
 *
 * Crashes: a node that has stored it says so in its hello, and a blank one that finds itself in
 * there, with its own incarnation, stores exactly that (the others had finished before it). Finding
 * itself with another incarnation, it was wiped since: it has to be removed and to join again.
 * Until a node has stored, the newest hello of each peer counts. Each node stores one configuration
 * only, and messages count within one cluster id only, so two clusters can never both have a
 * majority of the same list.
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

static enum error_code parse_peers(struct host *host, const struct host_options *options);
static enum error_code parse_peer(struct candidate *candidate, const char *text,
                                  struct error *error);
static enum error_code check_peers(struct host *host);
static int compare_candidates(const void *a, const void *b);
static uint64_t hash_of_list(const struct bootstrap *bootstrap);
static struct candidate *find_candidate(struct bootstrap *bootstrap, const char *address);
static enum error_code adopt(struct host *host, const struct hello *hello, struct error *error);
static enum error_code count_peer(struct host *host, const struct hello *hello,
                                  struct error *error);
static enum error_code complain(struct host *host, struct candidate *candidate,
                                const struct error *error);
static void describe_list(const struct bootstrap *bootstrap, struct buffer *out);
static void store_when_complete(struct host *host);
static void store(struct host *host);

void bootstrap_init(struct host *host, const struct host_options *options)
{
    if (options->peer_count == 0) return;
    if (parse_peers(host, options) != ERROR_OK) return;
    if (host->identity.cluster == 0 && check_peers(host) != ERROR_OK) return;
    host->bootstrap.peers_hash = hash_of_list(&host->bootstrap);
}

void bootstrap_deinit(struct host *host)
{
    memory_free(host->bootstrap.candidates);
}

/* ---- the list ---- */

static enum error_code parse_peers(struct host *host, const struct host_options *options)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    bootstrap->candidates = memory_zero(options->peer_count, sizeof *bootstrap->candidates);
    for (size_t i = 0; i < options->peer_count; i++) {
        struct candidate *candidate = &bootstrap->candidates[bootstrap->count++];
        if (parse_peer(candidate, options->peers[i], &bootstrap->error) != ERROR_OK)
            return bootstrap->error.code;
    }
    qsort(bootstrap->candidates, bootstrap->count, sizeof *bootstrap->candidates,
          compare_candidates);
    return ERROR_OK;
}

/* "addr" or "id=addr" */
static enum error_code parse_peer(struct candidate *candidate, const char *text,
                                  struct error *error)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    const char *address = strchr(text, '=') != NULL ? strchr(text, '=') + 1 : text;
    if (!raft_address_split(address, host, &port) || port == 0) {
        return error_set(error, ERROR_USAGE, "--peers: '%s' is not host:port", address);
    }
    memcpy(candidate->address, address, strlen(address)); /* ADDRESS_MAX at most, or it is none */
    if (address == text) return ERROR_OK;
    char id[ID_MAX + 1] = "";
    size_t length = (size_t)(address - 1 - text);
    if (length <= ID_MAX) snprintf(id, sizeof id, "%.*s", (int)length, text);
    if (!id_valid(id)) {
        return error_set(error, ERROR_USAGE,
                         "--peers: '%.*s' is not an id: 1 to %d of letters, digits, - _ .",
                         (int)length, text, ID_MAX);
    }
    candidate->expected = raft_id_of(id);
    return ERROR_OK;
}

static enum error_code check_peers(struct host *host)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    for (size_t i = 1; i < bootstrap->count; i++) {
        if (strcmp(bootstrap->candidates[i - 1].address, bootstrap->candidates[i].address) != 0)
            continue;
        return error_set(&bootstrap->error, ERROR_USAGE, "--peers names %s twice",
                         bootstrap->candidates[i].address);
    }
    struct candidate *own = find_candidate(bootstrap, host->address);
    if (own == NULL) {
        return error_set(&bootstrap->error, ERROR_USAGE,
                         "--peers must name every first member, this node (%s) included, as it is "
                         "told to the others",
                         host->address);
    }
    if (!raft_id_none(&own->expected) && strcmp(own->expected.text, host->identity.id) != 0) {
        return error_set(&bootstrap->error, ERROR_USAGE,
                         "--peers calls the node at %s %s, but this one is %s", own->address,
                         own->expected.text, host->identity.id);
    }
    own->id = raft_id_of(host->identity.id);
    own->incarnation = host->identity.incarnation;
    return ERROR_OK;
}

static int compare_candidates(const void *a, const void *b)
{
    return strcmp(((const struct candidate *)a)->address, ((const struct candidate *)b)->address);
}

/* Of the addresses, so that lists with and without ids are the same list. */
static uint64_t hash_of_list(const struct bootstrap *bootstrap)
{
    struct buffer text = {0};
    describe_list(bootstrap, &text);
    uint64_t hash = hash_bytes(text.data, text.size);
    buffer_deinit(&text);
    return hash != 0 ? hash : 1;
}

static void describe_list(const struct bootstrap *bootstrap, struct buffer *out)
{
    for (size_t i = 0; i < bootstrap->count; i++) {
        buffer_append_format(out, "%s%s", i > 0 ? "," : "", bootstrap->candidates[i].address);
    }
}

static struct candidate *find_candidate(struct bootstrap *bootstrap, const char *address)
{
    for (size_t i = 0; i < bootstrap->count; i++) {
        if (strcmp(bootstrap->candidates[i].address, address) == 0)
            return &bootstrap->candidates[i];
    }
    return NULL;
}

/* ---- gathering ---- */

void bootstrap_begin(struct host *host)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    if (bootstrap->error.code == ERROR_OK && bootstrap->count == 0) {
        error_set(&bootstrap->error, ERROR_USAGE,
                  "the data folder is blank: --peers has to name the first members (this node "
                  "alone is one, too)");
    }
    if (bootstrap->error.code != ERROR_OK) {
        host_fatal(host, &bootstrap->error);
        return;
    }
    bootstrap->stage = BOOTSTRAP_GATHERING;
    struct host_peer *peers = memory_zero(bootstrap->count, sizeof *peers);
    size_t count = 0;
    for (size_t i = 0; i < bootstrap->count; i++) {
        if (strcmp(bootstrap->candidates[i].address, host->address) == 0) continue;
        memcpy(peers[count++].address, bootstrap->candidates[i].address, sizeof peers->address);
    }
    if (count > 0)
        host_log(host, LOG_LEVEL_INFO, "blank: waits for the %zu other nodes of --peers", count);
    host->ports.peers(host->ports.context, peers, count);
    memory_free(peers);
    store_when_complete(host);
}

/* This node is blank; the hello has passed hello_check. */
enum error_code bootstrap_hello(struct host *host, const struct hello *hello, struct error *error)
{
    if (hello->identity.cluster != 0) return adopt(host, hello, error);
    if (host->wiped || host->bootstrap.stage != BOOTSTRAP_GATHERING) return ERROR_OK;
    return count_peer(host, hello, error);
}

/* The other is a member already. */
static enum error_code adopt(struct host *host, const struct hello *hello, struct error *error)
{
    struct raft_configuration first = {0};
    const char *id = host->identity.id;
    if (hello->configuration.size == 0 ||
        cluster_of(hello->configuration) != hello->identity.cluster ||
        raft_configuration_decode(hello->configuration, &first, NULL) != ERROR_OK) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "the first configuration in the hello of %s is not one",
                         hello->identity.id);
    }
    struct raft_id own = raft_id_of(id);
    const struct raft_server *found = raft_configuration_find(&first, &own);
    bool member = found != NULL;
    bool same = member && GUARD(WIPED_BELIEVED,
                                found->incarnation == host->identity.incarnation);
    raft_configuration_deinit(&first);
    if (!member) {
        return error_set(error, ERROR_FOREIGN, "%s is not a member of the cluster of %s", id,
                         hello->identity.id);
    }
    if (!same) {
        host_lost_its_data(host, hello->identity.id);
        return error_set(error, ERROR_FOREIGN, /* WIPED would say that the other one is */
                         "%s lost its data: remove it from the cluster and let it join again", id);
    }
    if (host->bootstrap.stage != BOOTSTRAP_GATHERING || host->wiped) return ERROR_OK;
    host_log(host, LOG_LEVEL_INFO, "takes over the first configuration from %s",
             hello->identity.id);
    buffer_clear(&host->first_configuration);
    buffer_append_slice(&host->first_configuration, hello->configuration);
    store(host);
    return ERROR_OK;
}

static enum error_code count_peer(struct host *host, const struct hello *hello, struct error *error)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    struct candidate *candidate = find_candidate(bootstrap, hello->address);
    struct error problem = {.code = ERROR_OK};
    if (hello->peers_hash != bootstrap->peers_hash || candidate == NULL) {
        buffer_clear(&host->scratch);
        describe_list(bootstrap, &host->scratch);
        error_set(&problem, ERROR_FOREIGN,
                  "%s at %s and %s at %s were started with --peers that differ (%s has %.*s): "
                  "start all with the same list",
                  hello->identity.id, hello->address, host->identity.id, host->address,
                  host->identity.id, (int)host->scratch.size, (const char *)host->scratch.data);
    } else if (!raft_id_none(&candidate->expected) &&
               strcmp(candidate->expected.text, hello->identity.id) != 0) {
        error_set(&problem, ERROR_FOREIGN,
                  "--peers of %s calls the node at %s %s, but it calls itself %s",
                  host->identity.id, candidate->address, candidate->expected.text,
                  hello->identity.id);
    }
    for (size_t i = 0; i < bootstrap->count && problem.code == ERROR_OK; i++) {
        const struct candidate *other = &bootstrap->candidates[i];
        if (other == candidate || strcmp(other->id.text, hello->identity.id) != 0) continue;
        error_set(&problem, ERROR_FOREIGN,
                  "the nodes at %s and %s both call themselves %s: ids must differ", other->address,
                  candidate->address, hello->identity.id);
    }
    if (problem.code != ERROR_OK) {
        *error = problem;
        return complain(host, candidate, &problem);
    }
    bool news = candidate->incarnation != hello->identity.incarnation;
    candidate->id = raft_id_of(hello->identity.id);
    candidate->incarnation = hello->identity.incarnation;
    if (news)
        host_log(host, LOG_LEVEL_INFO, "%s at %s is there, blank too", candidate->id.text,
                 candidate->address);
    store_when_complete(host);
    return ERROR_OK;
}

/* Connections are tried again and again; the log says the same thing once. */
static enum error_code complain(struct host *host, struct candidate *candidate,
                                const struct error *error)
{
    uint64_t hash = hash_bytes(error->text, strlen(error->text));
    uint64_t *said = candidate != NULL ? &candidate->complained : &host->bootstrap.complained;
    if (*said != hash) host_log(host, LOG_LEVEL_WARN, "%s", error->text);
    *said = hash;
    return error->code;
}

static void store_when_complete(struct host *host)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    struct raft_configuration first;
    for (size_t i = 0; i < bootstrap->count; i++) {
        if (raft_id_none(&bootstrap->candidates[i].id)) return;
    }
    raft_configuration_init(&first);
    for (size_t i = 0; i < bootstrap->count; i++) {
        const struct candidate *candidate = &bootstrap->candidates[i];
        enum error_code code =
            raft_configuration_add(&first, candidate->id.text, candidate->incarnation,
                                   candidate->address, RAFT_VOTER, NULL);
        assert(code == ERROR_OK); /* addresses and ids were checked, ids differ */
        (void)code;
    }
    buffer_clear(&host->first_configuration);
    raft_configuration_encode(&first, &host->first_configuration);
    raft_configuration_deinit(&first);
    store(host);
}

/* ---- storing ---- */

static void store(struct host *host)
{
    host->bootstrap.stage = BOOTSTRAP_STORING;
    host->bootstrap.cluster = cluster_of(buffer_slice(&host->first_configuration));
    host->ports.bootstrap(host->ports.context, buffer_slice(&host->first_configuration),
                          host->bootstrap.cluster);
}

void bootstrap_stored(struct host *host)
{
    host->bootstrap.stage = BOOTSTRAP_NONE;
    host->identity.cluster = host->bootstrap.cluster;
    host_log(host, LOG_LEVEL_INFO, "member of cluster %016" PRIx64, host->identity.cluster);
    struct raft_durable durable = {0};
    durable.snapshot.format_level = FORMAT_LEVEL;
    durable.snapshot.configuration = buffer_slice(&host->first_configuration);
    if (host->stop.stage == STOP_NONE && !host->wiped) turnstile_start(host, &durable);
}

void bootstrap_timer(struct host *host)
{
    if (host->bootstrap.stage != BOOTSTRAP_REFUSED || host->wiped) return;
    if (host_now(host) >= host->bootstrap.retry_us) store(host);
}
