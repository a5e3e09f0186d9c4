/* struct host_ports on libuv: what the host asks for, noted or handed on. Nothing here calls the
 * host back. */
#include "node/events.h"
#include "node/internal.h"

#include <inttypes.h>
#include <time.h>

static uint64_t now_us(void *context)
{
    (void)context;
    return net_now_us();
}

static uint64_t wall_ms(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- disk ---- */

static void persist(void *context, const struct raft_persist *write)
{
    struct node *node = context;
    disk_persist(node->disk, write);
}

static void bootstrap(void *context, struct slice configuration, uint64_t cluster)
{
    struct node *node = context;
    disk_bootstrap(node->disk, configuration, cluster);
}

static void log_read(void *context, uint64_t token, raft_index first, raft_index last,
                     size_t max_bytes)
{
    struct node *node = context;
    disk_read(node->disk, token, first, last, max_bytes);
}

static void snapshot(void *context, const struct host_snapshot_job *job)
{
    struct node *node = context;
    files_give(node->files, job);
}

/* ---- network ---- */

static void send_message(void *context, const struct raft_message *message)
{
    peers_send(context, message);
}

static void forward(void *context, const struct raft_id *to, uint64_t ticket,
                    const struct request *request)
{
    peers_forward(context, to, ticket, request);
}

static void forward_reply(void *context, const struct raft_id *to, uint64_t ticket,
                          const struct reply *reply)
{
    peers_forward_reply(context, to, ticket, reply);
}

static void peers(void *context, const struct host_peer *list, size_t count)
{
    peers_want(context, list, count);
}

static void applying(void *context, raft_index index)
{
    struct node *node = context;
    deaths_applying(node->deaths, index);
}

/* ---- time ---- */

/*
 * The host moves its deadline at nearly every step, mostly into the future. A timer that fires too
 * early only looks again, so it is set anew only when the deadline comes nearer.
 */
static void arm(struct node *node)
{
    if (node->deadline_us == 0 || (node->armed_us != 0 && node->armed_us <= node->deadline_us))
        return;
    uint64_t now = net_now_us();
    uint64_t wait_ms = node->deadline_us <= now ? 0 : (node->deadline_us - now + 999) / 1000;
    node->armed_us = node->deadline_us;
    uv_timer_start(&node->timer, ports_timer_fired, wait_ms, 0);
}

static void timer(void *context, uint64_t at_us)
{
    struct node *node = context;
    node->deadline_us = at_us;
    arm(node);
}

void ports_timer_fired(uv_timer_t *handle)
{
    struct node *node = handle->data;
    node->armed_us = 0;
    if (node->deadline_us != 0 && node->deadline_us <= net_now_us()) {
        node->deadline_us = 0;
        host_timer(node->host);
    }
    arm(node);
}

/* ---- answers and news ---- */

static void reply(void *context, uint64_t number, const struct reply *answer)
{
    struct node *node = context;
    struct ticket ticket;
    if (!tickets_take(node->tickets, number, &ticket)) return;
    switch (ticket.kind) {
    case TICKET_RPC:
        metrics_rpc_ends(node, &ticket);
        client_reply(ticket.owner, ticket.id, answer);
        break;
    case TICKET_HTTP:
        web_reply(ticket.owner, answer);
        break;
    case TICKET_CONTROL:
        app_reply(node, ticket.id, answer);
        break;
    case TICKET_BACKUP:
        backup_reply(ticket.owner, answer);
        break;
    case TICKET_EXCHANGE:
    case TICKET_EVENTS:
    case TICKET_KINDS:
        break; /* not the host's to answer */
    }
}

/* The host logs who leads; this is every step on the way there. */
static void role(void *context, enum raft_role now, raft_term term, const struct raft_id *leader)
{
    (void)context;
    log_note_role(raft_role_name(now), term);
    log_write(LOG_LEVEL_DEBUG, "raft", "%s in term %" PRIu64 ", %s%s", raft_role_name(now), term,
              raft_id_none(leader) ? "no leader known" : "the leader is ", leader->text);
}

/* Loading runs the app's own code, which may ask the host: at the turn's end. */
static void loaded(void *context, struct slice bundle, struct slice config)
{
    struct node *node = context;
    buffer_clear(&node->bundle);
    buffer_append_slice(&node->bundle, bundle);
    buffer_clear(&node->config);
    buffer_append_slice(&node->config, config);
    node->load_due = true;
    net_again(node->net);
}

static void settings_changed(void *context, const struct settings *settings)
{
    node_settings(context, settings);
}

static void policy(void *context, uint64_t ticket, struct slice view)
{
    policy_ask(context, ticket, view);
}

static void stopped(void *context)
{
    struct node *node = context;
    node->stopped = true;
    net_again(node->net);
}

static void fatal(void *context, const struct error *error)
{
    node_fatal(context, error);
}

static void log_line(void *context, enum log_level level, const char *text)
{
    (void)context;
    log_write(level, "host", "%s", text);
}

static void event(void *context, enum event_type type, struct slice data)
{
    events_note(context, type, data);
}

void ports_fill(struct node *node, struct host_ports *ports)
{
    *ports = (struct host_ports){
        .context = node,
        .now_us = now_us,
        .wall_ms = wall_ms,
        .persist = persist,
        .bootstrap = bootstrap,
        .log_read = log_read,
        .snapshot = snapshot,
        .send = send_message,
        .forward = forward,
        .forward_reply = forward_reply,
        .peers = peers,
        .applying = applying,
        .timer = timer,
        .reply = reply,
        .role = role,
        .loaded = loaded,
        .settings = settings_changed,
        .policy = policy,
        .stopped = stopped,
        .fatal = fatal,
        .log = log_line,
        .event = event,
    };
}

/* ---- what the disk reports ---- */

static void persisted(void *context, uint64_t sequence, enum error_code code,
                      const struct error *error)
{
    struct node *node = context;
    host_persisted(node->host, sequence, code, error);
}

static void bootstrapped(void *context, enum error_code code, const struct error *error)
{
    struct node *node = context;
    host_bootstrapped(node->host, code, error);
    if (code == ERROR_OK) peers_hello_again(node); /* it belongs to a cluster now */
}

static void log_was_read(void *context, uint64_t token, const struct raft_entry *entries,
                         size_t count, enum error_code code, const struct error *error)
{
    struct node *node = context;
    host_log_read(node->host, token, entries, count, code, error);
}

static void disk_failed(void *context, const struct error *error)
{
    node_fatal(context, error);
}

const struct disk_events ports_disk_events = {
    .persisted = persisted,
    .bootstrapped = bootstrapped,
    .log_read = log_was_read,
    .failed = disk_failed,
};

/* ---- what the snapshots' thread reports ---- */

static void snapshot_done(void *context, const struct host_snapshot_report *report)
{
    struct node *node = context;
    if (backups_own(report->token)) {
        backups_read(node, report);
    } else {
        host_snapshot_done(node->host, report);
    }
    blob_drop(report->bytes.blob); /* whoever wants to keep it has taken a reference */
}

const struct files_events ports_files_events = {
    .done = snapshot_done,
    .failed = disk_failed,
};
