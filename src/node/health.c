/*
 * A node's own view: GET /v1/health and the RPC method `health`. What only others know is put together by `moonclave
 * health`, which asks them all.
 *
 * Its own problems are rows of a table over the status map, so that whatever the host comes to say of itself there can
 * be one: a row more.
 */
#include "node/health.h"

#include "base/memory.h"
#include "base/mp.h"
#include "node/internal.h"
#include "script/config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SILENT_TIMEOUTS    2       /* election timeouts */
#define PENDING_ENTRIES    10000   /* not applied: a note */

static void add_servers(struct verdict *verdict, const struct raft_configuration *configuration);
static void add_own_problems(struct node *node, struct verdict *verdict);
static void add_text(struct verdict *verdict, struct slice status, const char *in, const char *key, const char *what);
static bool is_so(struct slice value);
static void add_waits(struct node *node, struct verdict *verdict);
static void add_peers(struct node *node, const struct raft_status *status, struct verdict *verdict);
static void add_peer(struct node *node, const struct raft_status *status, const struct raft_peer_status *peer,
                     struct verdict *verdict);

/* Flags of the status map (src/host/README.md). `in`: the map within it; null: the status itself. */
static const struct {
    const char *in, *key, *code, *text;
    bool disables;
} own_rows[] = {
    {NULL, "wiped", "wiped", "has lost its data: remove it and let it join again", true},
    {NULL, "disk_full", "disk_full", "has a full disk: make room, it goes on by itself", true},
    {NULL, "halted_at", "apply_stopped", "died of the next entry twice, applies nothing: `moonclave help skip`", true},
    {NULL, "deploying_at", "deploying", "goes over to another version of the app: commands and queries wait", false},
    {NULL, "stopping", "stopping", "is stopping", true},
    {"snapshot", "restoring", "restoring", "restores its state from a snapshot", true},
};

enum health health_write(struct node *node, struct buffer *out)
{
    struct verdict *verdict = memory_zero(1, sizeof *verdict);
    struct raft_status status = {0};
    struct timespec now;
    const struct raft *raft = host_raft(node->host);
    if (raft != NULL) raft_status(raft, &status);
    clock_gettime(CLOCK_REALTIME, &now);
    verdict->wall_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    verdict->leaderless_ms = host_load(node->host).leaderless_us / 1000;
    verdict->leads = host_is_leader(node->host);
    snprintf(verdict->id, sizeof verdict->id, "%s", node->options->id);
    snprintf(verdict->leader, sizeof verdict->leader, "%s", status.leader.text);
    snprintf(verdict->lua, sizeof verdict->lua, "%s", config_lua_release());
    snprintf(verdict->version, sizeof verdict->version, "%s", MOONCLAVE_VERSION);
    if (status.configuration != NULL) add_servers(verdict, status.configuration);
    const struct verdict_server *leader = verdict_server(verdict, verdict->leader);
    if (leader != NULL) snprintf(verdict->leader_address, sizeof verdict->leader_address, "%s", leader->address);
    if (raft == NULL)
        verdict_add_problem(verdict, "blank", verdict->id, true, false,
                            "is no member yet: it waits for the others of --peers, or to be let in");
    add_own_problems(node, verdict);
    add_waits(node, verdict);
    if (verdict->leads) add_peers(node, &status, verdict);
    verdict_judge(verdict);
    verdict_write(verdict, out);
    enum health health = verdict->health;
    memory_free(verdict);
    return health;
}

static void add_servers(struct verdict *verdict, const struct raft_configuration *configuration)
{
    for (size_t i = 0; i < configuration->server_count && i < VERDICT_SERVERS_MAX; i++) {
        const struct raft_server *server = &configuration->servers[i];
        struct verdict_server *to = &verdict->servers[verdict->server_count++];
        memcpy(to->id, server->id.text, sizeof to->id);
        raft_server_address(server, "node", to->address);
        to->votes = raft_configuration_is_voter(configuration, &server->id);
        to->good = true;
    }
    if (raft_configuration_joint(configuration))
        verdict_add_problem(verdict, "joint", "", false, true, "a change of several voters is under way");
}

static void add_own_problems(struct node *node, struct verdict *verdict)
{
    struct buffer status = {0};
    struct slice inner, value;
    host_status(node->host, &status);
    for (size_t i = 0; i < sizeof own_rows / sizeof *own_rows; i++) {
        inner = buffer_slice(&status);
        if (own_rows[i].in != NULL && !mp_map_get(buffer_slice(&status), own_rows[i].in, &inner)) continue;
        if (!mp_map_get(inner, own_rows[i].key, &value) || !is_so(value)) continue;
        verdict_add_problem(verdict, own_rows[i].code, verdict->id, own_rows[i].disables, false, "%s",
                            own_rows[i].text);
    }
    add_text(verdict, buffer_slice(&status), "app", "error", "the app does not load");
    add_text(verdict, buffer_slice(&status), "policy", "problem", "the membership policy fails");
    buffer_deinit(&status);
}

/* What the map `in` of the status says under `key`, if anything: a problem of the cluster, by the code `in`. */
static void add_text(struct verdict *verdict, struct slice status, const char *in, const char *key, const char *what)
{
    struct slice inner, value, text = {0};
    if (!mp_map_get(status, in, &inner) || !mp_map_get(inner, key, &value)) return;
    struct mp_reader reader = mp_reader_of(value);
    if (!mp_read_string(&reader, &text) || text.size == 0) return;
    verdict_add_problem(verdict, in, "", false, false, "%s: %.*s", what, (int)(text.size < 120 ? text.size : 120),
                        (const char *)text.data);
}

/* True, or a number that is not 0. */
static bool is_so(struct slice value)
{
    struct mp_reader reader = mp_reader_of(value);
    bool is = false;
    uint64_t number = 0;
    if (mp_read_boolean(&reader, &is)) return is;
    reader = mp_reader_of(value);
    return mp_read_u64(&reader, &number) && number != 0;
}

/* What takes too long here. */
static void add_waits(struct node *node, struct verdict *verdict)
{
    struct host_load load = host_load(node->host);
    struct raft_status status = {0};
    const struct raft *raft = host_raft(node->host);
    if (raft != NULL) raft_status(raft, &status);
    uint64_t timeout_us = node->options->settings.election_timeout_ms * 1000;
    if (load.disk_waits_us >= timeout_us) {
        verdict_add_problem(verdict, "disk_stalled", verdict->id, true, false,
                            "has a disk that has not answered for %.1f s", (double)load.disk_waits_us / 1e6);
    } else if (load.disk_slow) {
        verdict_add_problem(verdict, "slow_disk", verdict->id, false, false,
                            "has a slow disk: writes take %" PRIu64 " ms or longer",
                            node->options->settings.slow_disk_ms);
    }
    if (load.apply_slow)
        verdict_add_problem(verdict, "slow_apply", verdict->id, false, false,
                            "applies slowly: entries take %" PRIu64 " ms or longer",
                            node->options->settings.slow_apply_ms);
    if (load.apply_pending > PENDING_ENTRIES)
        verdict_add_problem(verdict, "apply_pending", verdict->id, false, true,
                            "has %" PRIu64 " entries to apply", load.apply_pending);
    if (status.installing_index != 0)
        verdict_add_problem(verdict, "installing", verdict->id, true, false,
                            "gets the leader's snapshot at index %" PRIu64, status.installing_index);
}

static void add_peers(struct node *node, const struct raft_status *status, struct verdict *verdict)
{
    for (size_t i = 0; i < status->peer_count; i++) {
        if (status->peers[i].standing != RAFT_STANDING_DEPARTED) add_peer(node, status, &status->peers[i], verdict);
    }
}

/* The worst of one, as its leader sees it. */
static void add_peer(struct node *node, const struct raft_status *status, const struct raft_peer_status *peer,
                     struct verdict *verdict)
{
    const char *id = peer->id.text;
    uint64_t now_us = net_now_us(), timeout_us = node->options->settings.election_timeout_ms * 1000;
    uint64_t silent_us = now_us > peer->contact_us ? now_us - peer->contact_us : 0;
    uint64_t lag = status->last_index - peer->match;
    if (peer->forgot) {
        verdict_add_problem(verdict, "forgot", id, true, false,
                            "has lost entries that it acknowledged: remove it and let it join again");
    } else if (peer->contact_us == 0) {
        verdict_add_problem(verdict, "silent", id, true, false, "has not answered in this term");
    } else if (silent_us >= SILENT_TIMEOUTS * timeout_us) {
        verdict_add_problem(verdict, "silent", id, true, false, "silent for %.1f s", (double)silent_us / 1e6);
    } else if (peer->snapshot_index != 0) {
        verdict_add_problem(verdict, "snapshot", id, true, false,
                            "gets a snapshot: %" PRIu64 " of %" PRIu64 " bytes", peer->snapshot_offset,
                            peer->snapshot_size);
    } else if (peer->stuck) {
        verdict_add_problem(verdict, "stuck", id, true, false,
                            "takes no entries: it is %" PRIu64 " behind (a full or slow disk?)", lag);
    } else if (!peer->caught_up && lag > 0) {
        verdict_add_problem(verdict, "lag", id, true, false, "is %" PRIu64 " entries behind", lag);
    } else if (peer->standing == RAFT_STANDING_LEARNER) {
        verdict_add_problem(verdict, "learner", id, false, true, "is a learner: it does not vote");
    }
}
