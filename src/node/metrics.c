/* The exposition: one function per subject, one row per metric. See metrics.h. */
#include "node/metrics.h"

#include "node/events.h"
#include "node/internal.h"
#include "script/config.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define DIGITS_US 6 /* behind the point of a second */

struct row {
    const char *name, *help;
    uint64_t value;
};

static void write_raft(struct node *node, struct buffer *out);
static void write_role(struct node *node, struct buffer *out);
static void write_peers(const struct raft_status *status, struct buffer *out);
static void write_host(struct node *node, struct buffer *out);
static void write_io(struct node *node, struct buffer *out);
static void write_process(struct node *node, struct buffer *out);
static void write_events(struct node *node, struct buffer *out);
static void write_requests(struct node *node, struct buffer *out);
static void write_timings(struct node *node, struct buffer *out);
static void family(struct buffer *out, const char *name, const char *type, const char *help);
static void gauges(struct buffer *out, const struct row *rows, size_t count);
static void counters(struct buffer *out, const struct row *rows, size_t count);
static void seconds(struct buffer *out, const char *name, const char *type, const char *help, uint64_t us);
static void histogram(struct buffer *out, const char *name, const char *label,
                      const struct histogram *histogram);

static const char *const route_names[METRICS_ROUTES] = {
    [METRICS_APP] = "app",         [METRICS_COMMAND] = "command", [METRICS_QUERY] = "query",
    [METRICS_SESSION] = "session", [METRICS_ADMIN] = "admin",     [METRICS_NODE] = "node",
};

/* ---- counting ---- */

enum metrics_route metrics_route_of(struct slice path)
{
    static const struct {
        const char *beginning;
        enum metrics_route route;
    } rows[] = {
        {"/v1/command/", METRICS_COMMAND}, {"/v1/query/", METRICS_QUERY}, {"/v1/sessions", METRICS_SESSION},
        {"/v1/members/", METRICS_ADMIN},   {"/v1/admin/", METRICS_ADMIN}, {"/v1/leader/", METRICS_ADMIN},
        {"/v1/snapshot", METRICS_ADMIN},   {"/v1/", METRICS_NODE},        {"/metrics", METRICS_NODE},
        {"/healthz", METRICS_NODE},        {"/readyz", METRICS_NODE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t size = strlen(rows[i].beginning);
        if (path.size >= size && memcmp(path.data, rows[i].beginning, size) == 0) return rows[i].route;
    }
    return METRICS_APP;
}

void metrics_http(struct node *node, enum metrics_route route, uint64_t began_us, int status)
{
    int class = status / 100;
    node->metrics.responses[class >= 1 && class <= 5 ? class : 0]++;
    histogram_observe(&node->metrics.http[route], net_now_us() - began_us);
}

void metrics_rpc_begins(struct node *node, uint64_t ticket, enum metrics_route route)
{
    tickets_time(node->tickets, ticket, (unsigned)route, net_now_us());
}

void metrics_rpc_ends(struct node *node, const struct ticket *ticket)
{
    if (ticket->began_us == 0) return;
    histogram_observe(&node->metrics.rpc[ticket->route], net_now_us() - ticket->began_us);
}

/* ---- telling ---- */

void metrics_write(struct node *node, struct buffer *out)
{
    family(out, "moonclave_info", "gauge", "which program this is, and which node");
    buffer_append_format(out, "moonclave_info{id=\"%s\",lua=\"%s\",version=\"%s\"} 1\n", node->options->id,
                         config_lua_release(), MOONCLAVE_VERSION);
    seconds(out, "moonclave_uptime_seconds", "gauge", "since the process has begun",
            (uv_now(&node->loop) - node->started_ms) * 1000);
    write_role(node, out);
    write_raft(node, out);
    write_host(node, out);
    write_io(node, out);
    write_process(node, out);
    write_events(node, out);
    write_requests(node, out);
    write_timings(node, out);
}

/* One series for each role there is, of which one is 1: so that graphs and alerts need no numbers. */
static void write_role(struct node *node, struct buffer *out)
{
    static const enum raft_role roles[] = {RAFT_FOLLOWER, RAFT_PRE_CANDIDATE, RAFT_CANDIDATE, RAFT_LEADER};
    const struct raft *raft = host_raft(node->host);
    struct raft_status status = {0};
    if (raft != NULL) raft_status(raft, &status);
    family(out, "moonclave_role", "gauge", "1 for the role that this node has; none while it is blank");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        buffer_append_format(out, "moonclave_role{role=\"%s\"} %d\n", raft_role_name(roles[i]),
                             raft != NULL && status.role == roles[i]);
    }
}

static void write_raft(struct node *node, struct buffer *out)
{
    const struct raft *raft = host_raft(node->host);
    struct raft_status status = {0};
    if (raft != NULL) raft_status(raft, &status);
    const struct raft_configuration *configuration = status.configuration;
    uint64_t voters = 0, members = configuration != NULL ? configuration->server_count : 0;
    for (uint64_t i = 0; i < members; i++) voters += configuration->servers[i].role == RAFT_VOTER;
    const struct row rows[] = {
        {"term", "the newest term it knows", status.term},
        {"leader_known", "1: it knows who leads", !raft_id_none(&status.leader)},
        {"log_first_index", "the first entry in its log", status.first_index},
        {"log_last_index", "the last entry in its log", status.last_index},
        {"log_last_term", "of that entry", status.last_term},
        {"commit_index", "the last entry it knows to be committed", status.commit_index},
        {"durable_index", "the last entry that is on its disk", status.durable_index},
        {"applied_index", "the last entry its state machine has applied", host_applied(node->host).index},
        {"snapshot_index", "what its newest snapshot holds; 0: it has none", status.snapshot_index},
        {"snapshot_installing", "1: a snapshot of the leader is coming in", status.installing_index != 0},
        {"configuration_index", "of the configuration in effect", status.configuration_index},
        {"voters", "servers that vote", voters},
        {"learners", "servers that do not", members - voters},
        {"uncommitted_bytes", "proposed by this leader, not yet committed", status.uncommitted_bytes},
        {"log_tail_bytes", "entries kept in memory", status.tail_bytes},
        {"disk_full", "1: its disk has refused a write, and not taken one since", status.disk_full},
    };
    gauges(out, rows, sizeof rows / sizeof *rows);
    write_peers(&status, out);
}

/* What a leader knows of the others. */
static void write_peers(const struct raft_status *status, struct buffer *out)
{
    uint64_t now_us = net_now_us();
    static const struct {
        const char *name, *help;
    } rows[] = {
        {"peer_lag_entries", "entries of this leader's log that the server does not hold"},
        {"peer_match_index", "up to here it is known to hold it"},
        {"peer_in_flight_messages", "appends on their way there"},
        {"peer_contact_seconds", "since it has answered; none before it first has"},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        char name[64];
        snprintf(name, sizeof name, "moonclave_%s", rows[row].name);
        family(out, name, "gauge", rows[row].help);
        for (size_t i = 0; i < status->peer_count; i++) {
            const struct raft_peer_status *peer = &status->peers[i];
            uint64_t silent_us = now_us > peer->contact_us ? now_us - peer->contact_us : 0;
            const uint64_t values[] = {status->last_index - peer->match, peer->match, peer->in_flight};
            if (peer->standing == RAFT_STANDING_DEPARTED) continue;
            if (row < 3) {
                buffer_append_format(out, "%s{peer=\"%s\"} %" PRIu64 "\n", name, peer->id.text, values[row]);
            } else if (peer->contact_us != 0) {
                buffer_append_format(out, "%s{peer=\"%s\"} %" PRIu64 ".%06" PRIu64 "\n", name, peer->id.text,
                                     silent_us / 1000000, silent_us % 1000000);
            }
        }
    }
}

static void write_host(struct node *node, struct buffer *out)
{
    struct host_load load = host_load(node->host);
    struct host_counters host = host_counters(node->host);
    const struct row now[] = {
        {"ready", "1: it is worth sending requests here", node->loaded && !node->stopping && host_ready(node->host)},
        {"waiting_requests", "that are not answered yet", load.waiting},
        {"waiting_bytes", "of their bodies", load.waiting_bytes},
        {"apply_pending_entries", "committed and durable here, not yet applied", load.apply_pending},
        {"sessions", "open", load.sessions},
        {"session_bytes", "replies kept in sessions", load.session_bytes},
        {"idempotency_keys", "kept", load.keys},
        {"idempotency_bytes", "keys and replies kept for them", load.key_bytes},
        {"snapshot_bytes", "of its newest snapshot", load.snapshot_bytes},
        {"snapshot_log_bytes", "applied since that snapshot", load.log_bytes},
        {"snapshot_taking", "1: one is being taken", load.snapshot_taking},
    };
    const struct row total[] = {
        {"proposals_total", "entries proposed here", host.proposals},
        {"proposal_batches_total", "times that it did so", host.propose_steps},
        {"reads_total", "queries confirmed by a round", host.reads},
        {"read_rounds_total", "of those rounds", host.read_rounds},
        {"entries_applied_total", "by the state machine", host.applied},
        {"append_messages_total", "sent to followers", host.append_messages},
        {"append_entries_total", "in those", host.append_entries},
        {"forwards_total", "requests passed on to the leader", host.forwards},
        {"steps_total", "of the core", host.steps},
        {"handovers_total", "of leadership, because the disk did not answer", host.handovers},
        {"slow_writes_total", "that took slow_disk_ms or longer", host.slow_writes},
        {"slow_applies_total", "entries that took slow_apply_ms or longer", host.slow_applies},
    };
    gauges(out, now, sizeof now / sizeof *now);
    counters(out, total, sizeof total / sizeof *total);
    seconds(out, "moonclave_disk_waits_seconds", "gauge", "the disk has completed nothing for so long, being asked",
            load.disk_waits_us);
    seconds(out, "moonclave_leaderless_seconds", "gauge", "it has known no leader for so long", load.leaderless_us);
    seconds(out, "moonclave_replicated_clock_seconds", "gauge", "the clock that state machines see",
            load.clock_ms * 1000);
}

static void write_io(struct node *node, struct buffer *out)
{
    struct net_counters net = net_counters(node->net);
    struct disk_counters disk = disk_counters(node->disk);
    struct files_counters files = files_counters(node->files);
    const struct row now[] = {
        {"clients", "connections of clients", node->clients},
        {"streams", "connections of any kind", net.streams},
        {"snapshot_jobs", "that wait", files.waiting},
    };
    const struct row total[] = {
        {"disk_commits_total", "transactions", disk.store.commits},
        {"disk_entries_total", "log entries written", disk.store.entries},
        {"disk_written_bytes_total", "of log entries", disk.store.bytes},
        {"disk_refusals_total", "writes refused by a full disk", disk.store.refusals},
        {"disk_checkpoints_total", "of the write-ahead log", disk.store.checkpoints},
        {"disk_rows_trimmed_total", "entries removed behind a snapshot", disk.store.trimmed},
        {"snapshots_taken_total", "by this node", files.taken},
        {"snapshots_installed_total", "that came from a leader", files.installed},
        {"snapshot_read_bytes_total", "for others, or to restore", files.read_bytes},
        {"snapshot_written_bytes_total", "its own and received", files.written_bytes},
        {"snapshot_refusals_total", "by a full disk", files.refusals},
        {"net_read_bytes_total", "from nodes and clients", net.read_bytes},
        {"net_written_bytes_total", "to them", net.write_bytes},
        {"net_reads_total", "that brought bytes", net.reads},
        {"net_writes_total", "write calls", net.writes},
        {"net_accept_failures_total", "connections that could not be taken", net.accepts_failed},
        {"turns_total", "of the event loop", net.turns},
    };
    gauges(out, now, sizeof now / sizeof *now);
    counters(out, total, sizeof total / sizeof *total);
    seconds(out, "moonclave_turn_longest_seconds", "gauge", "the longest turn of the last ten to twenty seconds",
            net.turn_us_max);
}

static uint64_t open_descriptors(void)
{
    uint64_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    if (folder == NULL) folder = opendir("/dev/fd");
    if (folder == NULL) return 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) count += entry->d_name[0] != '.';
    closedir(folder);
    return count > 0 ? count - 1 : 0; /* the folder's own */
}

static void write_process(struct node *node, struct buffer *out)
{
    (void)node;
    uv_rusage_t usage;
    size_t resident = 0;
    struct rlimit limit = {0};
    uv_getrusage(&usage);
    uv_resident_set_memory(&resident);
    getrlimit(RLIMIT_NOFILE, &limit);
    const struct row now[] = {
        {"process_resident_memory_bytes", "memory", resident},
        {"process_open_fds", "file descriptors", open_descriptors()},
        {"process_max_fds", "that it may have", (uint64_t)limit.rlim_cur},
        {"blobs", "payloads in memory", blob_count()},
    };
    gauges(out, now, sizeof now / sizeof *now);
    seconds(out, "moonclave_process_cpu_seconds_total", "counter", "of all its threads",
            (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec));
}

static void write_events(struct node *node, struct buffer *out)
{
    family(out, "moonclave_events_total", "counter", "what has happened, by type");
    for (int i = 0; i < EVENT_TYPES; i++) {
        buffer_append_format(out, "moonclave_events_total{type=\"%s\"} %" PRIu64 "\n",
                             event_name((enum event_type)i), events_count(node, (enum event_type)i));
    }
}

static void write_requests(struct node *node, struct buffer *out)
{
    const struct metrics *metrics = &node->metrics;
    family(out, "moonclave_http_responses_total", "counter", "by the class of their status");
    for (int i = 1; i <= 5; i++) {
        buffer_append_format(out, "moonclave_http_responses_total{code=\"%dxx\"} %" PRIu64 "\n", i,
                             metrics->responses[i]);
    }
    static const struct {
        const char *name, *help;
        bool http;
    } rows[] = {
        {"moonclave_http_request_duration_seconds", "from a whole request to its answer", true},
        {"moonclave_rpc_request_duration_seconds", "from a request to its answer", false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        family(out, rows[i].name, "histogram", rows[i].help);
        for (int route = 0; route < METRICS_ROUTES; route++) {
            char label[32];
            if (!rows[i].http && route == METRICS_APP) continue;
            if (!rows[i].http && route == METRICS_NODE) continue; /* answered at once */
            snprintf(label, sizeof label, "route=\"%s\"", route_names[route]);
            histogram(out, rows[i].name, label, rows[i].http ? &metrics->http[route] : &metrics->rpc[route]);
        }
    }
}

static void write_timings(struct node *node, struct buffer *out)
{
    const struct host_timings *timings = host_timings(node->host);
    struct disk_counters disk = disk_counters(node->disk);
    const struct {
        const char *name, *help;
        const struct histogram *histogram;
    } rows[] = {
        {"moonclave_proposal_duration_seconds", "a command done for a client of this node, from arrival to answer",
         &timings->proposal},
        {"moonclave_commit_duration_seconds", "a batch proposed here, until it is committed and durable here",
         &timings->commit},
        {"moonclave_apply_duration_seconds", "one entry in the state machine", &timings->apply},
        {"moonclave_read_round_duration_seconds", "until a majority has confirmed a read", &timings->read_round},
        {"moonclave_disk_persist_duration_seconds", "one transaction, its sync included", &disk.persist},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        family(out, rows[i].name, "histogram", rows[i].help);
        histogram(out, rows[i].name, NULL, rows[i].histogram);
    }
}

/* ---- the format ---- */

static void family(struct buffer *out, const char *name, const char *type, const char *help)
{
    buffer_append_format(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_rows(struct buffer *out, const char *type, const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char name[96];
        snprintf(name, sizeof name, "moonclave_%s", rows[i].name);
        family(out, name, type, rows[i].help);
        buffer_append_format(out, "%s %" PRIu64 "\n", name, rows[i].value);
    }
}

static void gauges(struct buffer *out, const struct row *rows, size_t count)
{
    write_rows(out, "gauge", rows, count);
}

static void counters(struct buffer *out, const struct row *rows, size_t count)
{
    write_rows(out, "counter", rows, count);
}

static void seconds(struct buffer *out, const char *name, const char *type, const char *help, uint64_t us)
{
    family(out, name, type, help);
    buffer_append_format(out, "%s %" PRIu64 ".%0*" PRIu64 "\n", name, us / 1000000, DIGITS_US, us % 1000000);
}

/* Cumulative, as it is told. */
static void histogram(struct buffer *out, const char *name, const char *label,
                      const struct histogram *histogram)
{
    const char *before = label != NULL ? label : "", *comma = label != NULL ? "," : "";
    uint64_t count = 0;
    for (size_t i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        uint64_t bound_us = histogram_bound_us(i);
        count += histogram->counts[i];
        buffer_append_format(out, "%s_bucket{%s%sle=\"%" PRIu64 ".%06" PRIu64 "\"} %" PRIu64 "\n", name, before,
                             comma, bound_us / 1000000, bound_us % 1000000, count);
    }
    count += histogram->counts[HISTOGRAM_BUCKETS - 1];
    buffer_append_format(out, "%s_bucket{%s%sle=\"+Inf\"} %" PRIu64 "\n", name, before, comma, count);
    const char *open = label != NULL ? "{" : "", *close = label != NULL ? "}" : "";
    buffer_append_format(out, "%s_sum%s%s%s %" PRIu64 ".%06" PRIu64 "\n", name, open, before, close,
                         histogram->sum_us / 1000000, histogram->sum_us % 1000000);
    buffer_append_format(out, "%s_count%s%s%s %" PRIu64 "\n", name, open, before, close, count);
}
