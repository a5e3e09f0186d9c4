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
 *
 * A blank node with --join asks a member instead, who asks the leader. Let in, it stores the cluster's first
 * configuration, which does not name it, and gets the log from there on. Asked again after a crash in between, the
 * leader finds it a member already and says so.
 */
#include "host/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"
#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum error_code parse_peers(struct host *host, const char *const *list, size_t count);
static enum error_code parse_peer(const char *flag, struct candidate *candidate, const char *text,
                                  struct error *error);
static enum error_code check_peers(struct host *host);
static int compare_candidates(const void *a, const void *b);
static uint64_t hash_of_list(const struct bootstrap *bootstrap);
static struct candidate *find_candidate(struct bootstrap *bootstrap, const char *address);
static enum error_code adopt(struct host *host, const struct hello *hello, struct error *error);
static struct candidate *add_candidate(struct bootstrap *bootstrap, const char *address);
static void try_another(struct bootstrap *bootstrap);
static enum error_code meet(struct host *host, const struct hello *hello, struct error *error);
static enum error_code count_peer(struct host *host, const struct hello *hello,
                                  struct error *error);
static enum error_code complain(struct host *host, struct candidate *candidate,
                                const struct error *error);
static void tell_candidates(struct host *host);
static bool follow_leader(struct host *host, struct slice body);
static void describe_list(const struct bootstrap *bootstrap, struct buffer *out);
static void store_when_complete(struct host *host);
static void store(struct host *host);

void bootstrap_init(struct host *host, const struct host_options *options)
{
    bool joins = options->join_count > 0; /* a member's lists are never looked at */
    size_t count = joins ? options->join_count : options->peer_count;
    host->bootstrap.joining = joins;
    buffer_append_slice(&host->bootstrap.labels, options->labels);
    if (count == 0) return;
    if (parse_peers(host, joins ? options->join : options->peers, count) != ERROR_OK || joins) return;
    check_peers(host);
    host->bootstrap.peers_hash = hash_of_list(&host->bootstrap);
}

void bootstrap_deinit(struct host *host)
{
    memory_free(host->bootstrap.candidates);
    buffer_deinit(&host->bootstrap.labels);
}

/* ---- the list ---- */

static enum error_code parse_peers(struct host *host, const char *const *list, size_t count)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    const char *flag = bootstrap->joining ? "--join" : "--peers";
    bootstrap->candidates = memory_zero(count, sizeof *bootstrap->candidates);
    for (size_t i = 0; i < count; i++) {
        struct candidate *candidate = &bootstrap->candidates[bootstrap->count++];
        if (parse_peer(flag, candidate, list[i], &bootstrap->error) != ERROR_OK)
            return bootstrap->error.code;
    }
    qsort(bootstrap->candidates, bootstrap->count, sizeof *bootstrap->candidates,
          compare_candidates);
    return ERROR_OK;
}

/* "addr" or "id=addr" */
static enum error_code parse_peer(const char *flag, struct candidate *candidate, const char *text,
                                  struct error *error)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    const char *address = strchr(text, '=') != NULL ? strchr(text, '=') + 1 : text;
    if (!raft_address_split(address, host, &port) || port == 0) {
        return error_set(error, ERROR_USAGE, "%s: '%s' is not host:port", flag, address);
    }
    memcpy(candidate->address, address, strlen(address)); /* ADDRESS_MAX at most, or it is none */
    if (address == text) return ERROR_OK;
    char id[ID_MAX + 1] = "";
    size_t length = (size_t)(address - 1 - text);
    if (length <= ID_MAX) snprintf(id, sizeof id, "%.*s", (int)length, text);
    if (!id_valid(id)) {
        return error_set(error, ERROR_USAGE,
                         "%s: '%.*s' is not an id: 1 to %d of letters, digits, - _ .", flag,
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
    if (bootstrap->count == 0) {
        error_set(&bootstrap->error, ERROR_USAGE,
                  "the data folder is blank: --peers has to name the first members (this node "
                  "alone is one, too), or --join a member of the cluster it is to join");
    }
    if (bootstrap->error.code != ERROR_OK) {
        host_fatal(host, &bootstrap->error);
        return;
    }
    bootstrap->stage = bootstrap->joining ? BOOTSTRAP_JOINING : BOOTSTRAP_GATHERING;
    if (bootstrap->joining)
        host_log(host, LOG_LEVEL_INFO, "blank: asks to join the cluster of --join");
    else if (bootstrap->count > 1)
        host_log(host, LOG_LEVEL_INFO, "blank: waits for the %zu other nodes of --peers", bootstrap->count - 1);
    tell_candidates(host);
    if (!bootstrap->joining) store_when_complete(host);
}

static void tell_candidates(struct host *host)
{
    const struct bootstrap *bootstrap = &host->bootstrap;
    struct host_peer *peers = memory_zero(bootstrap->count, sizeof *peers);
    size_t count = 0;
    for (size_t i = 0; i < bootstrap->count; i++) {
        if (strcmp(bootstrap->candidates[i].address, host->address) == 0) continue;
        memcpy(peers[count++].address, bootstrap->candidates[i].address, sizeof peers->address);
    }
    host->ports.peers(host->ports.context, peers, count);
    memory_free(peers);
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
    if (host_cluster_of(hello->configuration) != hello->identity.cluster ||
        raft_configuration_decode(hello->configuration, &first, NULL) != ERROR_OK) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "the first configuration in the hello of %s is not one",
                         hello->identity.id);
    }
    struct raft_id own = raft_id_of(id);
    const struct raft_server *found = raft_configuration_find(&first, &own);
    bool member = found != NULL;
    bool joins = host->bootstrap.joining;
    bool same = member && GUARD(WIPED_BELIEVED,
                                found->incarnation == host->identity.incarnation);
    raft_configuration_deinit(&first);
    if (joins && !same) return meet(host, hello, error); /* who is a member now, the leader knows */
    if (!member) {
        return error_set(error, ERROR_FOREIGN, "%s is not a member of the cluster of %s", id,
                         hello->identity.id);
    }
    if (!same) {
        host_lost_its_data(host, hello->identity.id);
        return error_set(error, ERROR_FOREIGN, /* WIPED would say that the other one is */
                         "%s lost its data: remove it from the cluster and let it join again", id);
    }
    bool blank = host->bootstrap.stage == BOOTSTRAP_GATHERING ||
                 host->bootstrap.stage == BOOTSTRAP_JOINING;
    if (!blank || host->wiped) return ERROR_OK;
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

/* ---- joining ---- */

/* A member of the cluster to join: it will be asked. Its first configuration is to be stored once that is granted. */
static enum error_code meet(struct host *host, const struct hello *hello, struct error *error)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    if (bootstrap->cluster != 0 && bootstrap->cluster != hello->identity.cluster) {
        return error_set(error, ERROR_FOREIGN,
                         "%s belongs to cluster %016" PRIx64 ", another one of --join to %016" PRIx64,
                         hello->identity.id, hello->identity.cluster, bootstrap->cluster);
    }
    bootstrap->cluster = hello->identity.cluster;
    buffer_clear(&host->first_configuration);
    buffer_append_slice(&host->first_configuration, hello->configuration);
    /* It may be the leader, who calls because it was asked on our behalf: it will not say hello again. */
    struct candidate *candidate = find_candidate(bootstrap, hello->address);
    if (candidate == NULL && (candidate = add_candidate(bootstrap, hello->address)) != NULL) tell_candidates(host);
    bool leads = false;
    if (candidate != NULL) {
        candidate->id = raft_id_of(hello->identity.id);
        leads = candidate->leads;
        candidate->leads = false;
    }
    if (raft_id_none(&bootstrap->door) || leads) {
        bootstrap->door = raft_id_of(hello->identity.id);
        bootstrap->ticket = 0;
        bootstrap->ask_us = host_now(host);
    }
    return ERROR_OK;
}

/* Null: there are too many. The others move. */
static struct candidate *add_candidate(struct bootstrap *bootstrap, const char *address)
{
    if (bootstrap->count >= CONTACTS_MAX * 4) return NULL;
    bootstrap->candidates =
        memory_resize(bootstrap->candidates, bootstrap->count + 1, sizeof *bootstrap->candidates);
    struct candidate *candidate = &bootstrap->candidates[bootstrap->count++];
    *candidate = (struct candidate){0};
    snprintf(candidate->address, sizeof candidate->address, "%s", address);
    return candidate;
}

/* Who was asked last has not answered: the next one that has said hello. */
static void try_another(struct bootstrap *bootstrap)
{
    size_t at = 0;
    while (at < bootstrap->count && !raft_id_equal(&bootstrap->candidates[at].id, &bootstrap->door)) at++;
    for (size_t i = 1; i <= bootstrap->count; i++) {
        const struct candidate *candidate = &bootstrap->candidates[(at + i) % bootstrap->count];
        if (raft_id_none(&candidate->id)) continue;
        bootstrap->door = candidate->id;
        return;
    }
}

void bootstrap_turn(struct host *host)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    bool due = bootstrap->stage == BOOTSTRAP_JOINING && !raft_id_none(&bootstrap->door) &&
               host->now_us >= bootstrap->ask_us;
    if (!due || host->stop.stage != STOP_NONE) return;
    if (bootstrap->ticket != 0) try_another(bootstrap);
    struct buffer body = {0};
    mp_write_array(&body, 2);
    mp_write_text(&body, "join");
    mp_write_map(&body, bootstrap->labels.size > 0 ? 4 : 3);
    mp_write_text(&body, "address");
    mp_write_text(&body, host->address);
    mp_write_text(&body, "id");
    mp_write_text(&body, host->identity.id);
    mp_write_text(&body, "incarnation");
    mp_write_u64(&body, host->identity.incarnation);
    if (bootstrap->labels.size > 0) {
        mp_write_text(&body, "labels");
        mp_write_raw(&body, buffer_slice(&bootstrap->labels));
    }
    uint64_t patience_ms = host->settings.election_timeout_ms * 4;
    struct request request = {.kind = REQUEST_ADMIN,
                              .timeout_ms = (uint32_t)patience_ms,
                              .body = buffer_slice(&body)};
    bootstrap->ticket = ++host->ticket;
    bootstrap->ask_us = host->now_us + patience_ms * 1000;
    host->ports.forward(host->ports.context, &bootstrap->door, bootstrap->ticket, &request);
    buffer_deinit(&body);
}

/* Refusals that time may mend are asked again; any other is the end of this process, which says why. */
bool bootstrap_answered(struct host *host, const struct identity *from, uint64_t ticket,
                        const struct reply *reply)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    if (ticket != bootstrap->ticket || ticket == 0) return false;
    bool ours = bootstrap->stage == BOOTSTRAP_JOINING && strcmp(from->id, bootstrap->door.text) == 0;
    if (!ours) return true;
    bootstrap->ticket = 0;
    if (reply->code == ERROR_OK) {
        struct slice index;
        uint64_t let_in;
        host_log(host, LOG_LEVEL_INFO, "%s lets this node in", from->id);
        if (mp_map_get(reply->body, "index", &index) &&
            mp_read_u64(&(struct mp_reader){index.data, index.data + index.size}, &let_in))
            members_named_until(host, let_in);
        store(host);
        return true;
    }
    struct error error;
    struct slice message = slice_text(error_help(reply->code));
    struct slice found;
    if (mp_map_get(reply->body, "message", &found))
        mp_read_string(&(struct mp_reader){found.data, found.data + found.size}, &message);
    error_set(&error, reply->code, "the cluster does not let %s in: %.*s", host->identity.id,
              (int)message.size, (const char *)message.data);
    bool for_now = reply->code == ERROR_NOT_LEADER || reply->code == ERROR_UNAVAILABLE ||
                   reply->code == ERROR_TIMEOUT || reply->code == ERROR_OVERLOADED ||
                   reply->code == ERROR_SHUTTING_DOWN || reply->code == ERROR_DISK_FULL;
    if (!for_now) {
        host_fatal(host, &error);
        return true;
    }
    bootstrap->ask_us = retry_at(host);
    bool told = follow_leader(host, reply->body);
    bool leads = reply->code == ERROR_OVERLOADED || reply->code == ERROR_DISK_FULL;
    if (!told && !leads) try_another(bootstrap); /* this one may be out of touch for good */
    bool passed_on = told && reply->code == ERROR_NOT_LEADER; /* no refusal: that is how a leader is found */
    uint64_t hash = hash_bytes(error.text, strlen(error.text));
    if (passed_on)
        host_log(host, LOG_LEVEL_INFO, "has asked one that does not lead, and asks the leader");
    else if (hash != bootstrap->refused)
        host_log(host, LOG_LEVEL_WARN, "%s; asks again", error.text);
    if (passed_on) return true;
    bootstrap->refused = hash;
    return true;
}

/* The one that was asked does not lead, and may know who does: false where it does not. */
static bool follow_leader(struct host *host, struct slice body)
{
    struct bootstrap *bootstrap = &host->bootstrap;
    struct slice found, text = slice_text("");
    char address[ADDRESS_MAX + 1] = "", name[ADDRESS_MAX + 1];
    uint16_t port = 0;
    if (mp_map_get(body, "leader_address", &found))
        mp_read_string(&(struct mp_reader){found.data, found.data + found.size}, &text);
    if (text.size > ADDRESS_MAX) return false;
    memcpy(address, text.data, text.size);
    if (!raft_address_split(address, name, &port) || port == 0) return false;
    struct candidate *candidate = find_candidate(bootstrap, address);
    if (candidate != NULL) {
        candidate->leads = raft_id_none(&candidate->id); /* it has not said hello yet */
        if (candidate->leads) return false;
        bootstrap->door = candidate->id;
        bootstrap->ask_us = host->now_us;
        return true;
    }
    candidate = add_candidate(bootstrap, address);
    if (candidate == NULL) return false;
    candidate->leads = true;
    tell_candidates(host);
    return true;
}

/* ---- storing ---- */

static void store(struct host *host)
{
    host->bootstrap.stage = BOOTSTRAP_STORING;
    host->bootstrap.cluster = host_cluster_of(buffer_slice(&host->first_configuration));
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
