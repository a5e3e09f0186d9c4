/*
 * The host's door: every call from outside comes in here, and host_turn, where what has gathered is
 * done. See host.h for the contract and internal.h for who has which part.
 */
#include "host/internal.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool enter(struct host *host);
static void leave(struct host *host);
static void update_ready(struct host *host);
static void arm_timer(struct host *host);
static void report_disk(struct host *host, uint64_t sequence);
static void refuse_disk(struct host *host, uint64_t sequence);
static void check_durable(struct host *host, const struct raft_durable *durable);

struct host *host_new(const struct host_options *options, const struct settings *settings,
                      const struct host_ports *ports, const struct machine *machine)
{
    struct host *host = memory_zero(1, sizeof *host);
    assert(id_valid(options->identity.id) && options->identity.incarnation != 0);
    assert(options->address != NULL && options->lua_release != NULL);
    host->identity = options->identity;
    snprintf(host->address, sizeof host->address, "%s", options->address);
    snprintf(host->lua_release, sizeof host->lua_release, "%s", options->lua_release);
    buffer_append_slice(&host->first_configuration, options->first_configuration);
    buffer_append_slice(&host->bundle, options->bundle);
    buffer_append_slice(&host->config, options->config);
    host->settings = host->started = *settings;
    host->ports = *ports;
    host->machine = *machine;
    host->apply_slice_us = options->apply_slice_us;
    settings_begin(host, options->sources);
    random_init(&host->random, options->seed);
    host->ticket = random_next(&host->random); /* an answer to a former life finds nothing */
    waiters_init(&host->waiters);
    system_init(&host->system);
    skips_init(host, &options->deaths);
    bootstrap_init(host, options);
    return host;
}

void host_free(struct host *host)
{
    if (host == NULL) return;
    watch_deinit(host);
    reads_deinit(host);
    waiters_deinit(&host->waiters);
    snapshot_deinit(host);
    restore_drop(host);
    apply_deinit(host);
    skips_deinit(host);
    system_deinit(&host->system);
    bootstrap_deinit(host);
    if (host->raft != NULL) raft_free(host->raft);
    blob_drop(host->intake);
    memory_free(host->batch);
    memory_free(host->members);
    buffer_deinit(&host->bundle);
    buffer_deinit(&host->config);
    buffer_deinit(&host->first_configuration);
    buffer_deinit(&host->scratch);
    memory_free(host);
}

void host_start(struct host *host, const struct raft_durable *durable)
{
    if (!enter(host)) return;
    assert(host->raft == NULL && host->bootstrap.stage == BOOTSTRAP_NONE);
    if (durable->snapshot.configuration.size == 0) {
        bootstrap_begin(host);
    } else {
        check_durable(host, durable);
        if (!host->dead) turnstile_start(host, durable);
    }
    arm_timer(host);
    leave(host);
}

static void check_durable(struct host *host, const struct raft_durable *durable)
{
    struct error error;
    if (durable->snapshot.format_level > FORMAT_LEVEL) {
        error_set(&error, ERROR_VERSION,
                  "the data folder holds a snapshot of a newer program: use that one");
        host_fatal(host, &error);
    } else if (host_cluster_of(buffer_slice(&host->first_configuration)) != host->identity.cluster) {
        error_set(&error, ERROR_CORRUPT,
                  "the first configuration is not the one this cluster was named after");
        host_fatal(host, &error);
    }
}

/*
 * The order is for speed: what the disk and the others are to do leaves before this thread spends
 * its time on applying; and what became durable goes first, so that what leaves carries the newest
 * commit index.
 */
bool host_turn(struct host *host)
{
    if (!enter(host)) return false;
    uint64_t now_us = host_now(host);
    uint64_t until_us = host->apply_slice_us > 0 ? now_us + host->apply_slice_us : 0;
    host->arrivals_us = 0;
    turnstile_persisted(host);
    bootstrap_turn(host);
    submit_expire(host);
    submit_route(host);
    propose_turn(host);
    admin_turn(host);
    policy_turn(host);
    reads_ask(host);
    bool more = apply_run(host, until_us);
    more = reads_run(host, until_us) || more;
    more = snapshot_turn(host) || more;
    more = restore_sweep(host) || more;
    members_leave(host);
    members_reintroduce(host);
    stop_turn(host);
    admin_transfers(host);
    submit_tell(host);
    update_ready(host);
    watch_turn(host);
    arm_timer(host);
    /* Whom admin_turn() sends elsewhere has arrived after submit_route(). */
    more = more || host->route_again || host->waiters.lists[WAITER_ARRIVED].count > 0;
    leave(host);
    return more && !host->dead;
}

void host_timer(struct host *host)
{
    if (!enter(host)) return;
    host->timer_us = 0;
    uint64_t now_us = host_now(host);
    if (host_runs(host) && host->raft_deadline_us > 0 && now_us >= host->raft_deadline_us) {
        host->raft_deadline_us = 0;
        turnstile_persisted(host);
        host_step(host, &(struct raft_event){.type = RAFT_EVENT_TIMER});
    }
    bootstrap_timer(host);
    leave(host);
}

/* ---- the disk ---- */

void host_persisted(struct host *host, uint64_t sequence, enum error_code code,
                    const struct error *error)
{
    if (!enter(host)) return;
    assert(sequence <= host->persist_given);
    if (code == ERROR_OK || (code != ERROR_DISK_FULL && FAULT(FAILED_WRITE_IGNORED))) {
        report_disk(host, sequence);
    } else if (code == ERROR_DISK_FULL) {
        refuse_disk(host, sequence);
    } else {
        host_fatal(host, error);
    }
    leave(host);
}

/* The core is told at the end of the turn: many completions, one step, one acknowledgement. */
static void report_disk(struct host *host, uint64_t sequence)
{
    if (sequence <= host->persist_done) return; /* was rolled back with an earlier one */
    host->persist_done = host->persist_noted = sequence;
    watch_completed(host);
    if (!host->disk_full) return;
    host->disk_full = false;
    watch_room(host, false);
    host_log(host, LOG_LEVEL_INFO, "there is room on the disk again");
}

/* Before anything else is told to the core: no step may give out a write that follows one rolled
 * back. What became durable before (persist_noted) is told at the end of the turn as ever. */
static void refuse_disk(struct host *host, uint64_t sequence)
{
    if (sequence <= host->persist_done) return;
    if (!host->disk_full) {
        host_log(host, LOG_LEVEL_WARN,
                 "the disk is full: nothing can be stored until there is room again");
        watch_room(host, true);
    }
    host->disk_full = true;
    host->persist_done = host->persist_given;
    watch_completed(host);
    if (!host_runs(host)) return;
    host_step(host,
              &(struct raft_event){.type = RAFT_EVENT_PERSIST_REFUSED, .persisted = sequence});
    assert(host->persist_done ==
           host->persist_given); /* else a write would go out ahead of those rolled back */
}

void host_bootstrapped(struct host *host, enum error_code code, const struct error *error)
{
    if (!enter(host)) return;
    assert(host->bootstrap.stage == BOOTSTRAP_STORING);
    if (code == ERROR_OK) {
        bootstrap_stored(host);
    } else if (code == ERROR_DISK_FULL) {
        host_log(host, LOG_LEVEL_WARN,
                 "the disk is full: the first configuration cannot be stored; trying on");
        host->bootstrap.stage = BOOTSTRAP_REFUSED;
        host->bootstrap.retry_us = host_now(host) + host->settings.disk_retry_ms * 1000;
    } else {
        host_fatal(host, error);
    }
    leave(host);
}

void host_log_read(struct host *host, uint64_t token, const struct raft_entry *entries,
                   size_t count, enum error_code code, const struct error *error)
{
    if (!enter(host)) return;
    if (code != ERROR_OK) {
        host_fatal(host, error);
    } else if (token & APPLY_TOKEN) {
        bool wanted = token == host->apply.token; /* else of the log before a snapshot was installed */
        if (wanted) apply_log_read(host, entries, count);
    } else if (host_runs(host)) {
        struct raft_event event = {.type = RAFT_EVENT_LOG_READ};
        event.log_read.token = token;
        event.log_read.entries = entries;
        event.log_read.entry_count = count;
        host_step(host, &event);
    }
    leave(host);
}

void host_snapshot_done(struct host *host, const struct host_snapshot_report *report)
{
    if (!enter(host)) return;
    host_snapshot_reported(host, report);
    leave(host);
}

/* ---- the network ---- */

void host_hello(struct host *host, struct hello *hello)
{
    *hello = (struct hello){
        .identity = host->identity,
        .protocol_min = PROTOCOL_MIN,
        .protocol_max = PROTOCOL_MAX,
        .format_level = FORMAT_LEVEL,
        .peers_hash = host->bootstrap.peers_hash,
        .joining = host->bootstrap.joining && host->identity.cluster == 0,
        .member_until = host->member_until,
    };
    memcpy(hello->address, host->address, sizeof hello->address);
    memcpy(hello->lua_release, host->lua_release, sizeof hello->lua_release);
    if (host->identity.cluster != 0)
        hello->configuration = buffer_slice(&host->first_configuration);
}

enum error_code host_receive_hello(struct host *host, const struct hello *hello,
                                   struct error *error)
{
    if (!enter(host)) return error_set(error, ERROR_UNAVAILABLE, "this node is stopping");
    enum error_code code = hello_check(host, hello, error);
    if (code == ERROR_OK && host->identity.cluster == 0) code = bootstrap_hello(host, hello, error);
    struct member *member = member_find(host, hello->identity.id);
    if (code == ERROR_OK && member != NULL && member->lost_until_us != 0) {
        member->lost_until_us = 0;
        host->route_again = true;
    }
    bool known = member != NULL && member->incarnation == hello->identity.incarnation;
    if (known) member->guest = hello->joining;
    bool speaks = host->identity.cluster != 0 || hello->identity.cluster != 0; /* not both blank */
    if (code == ERROR_OK && !known && speaks) contact_note(host, hello);
    leave(host);
    return code;
}

void host_refused(struct host *host, const struct raft_id *by, enum error_code code,
                  const char *text)
{
    if (!enter(host)) return;
    (void)text;                               /* the transport has logged it */
    bool blank = host->identity.cluster == 0; /* a member knows better than one that refuses it */
    if (code == ERROR_REMOVED && host->member_until > 0) host_removed(host, by->text);
    /* One that asks to join asks on: whoever refuses it may not have heard yet that its former self was removed. */
    if (code == ERROR_WIPED && blank && !host->bootstrap.joining)
        host_lost_its_data(host, raft_id_none(by) ? "another node" : by->text);
    leave(host);
}

void host_receive(struct host *host, const struct identity *from,
                  const struct raft_message *message)
{
    if (!enter(host)) return;
    bool for_us = strcmp(message->to.text, host->identity.id) == 0 &&
                  strcmp(message->from.text, from->id) == 0;
    if (for_us && host_runs(host) && member_says(host, from, message->type)) {
        contact_heard(host, from->id);
        host_step(host, &(struct raft_event){.type = RAFT_EVENT_RECEIVE, .message = message});
        if (message->type == RAFT_APPEND) host->heard_us = host->now_us;
    }
    leave(host);
}

void host_forwarded(struct host *host, const struct identity *from, uint64_t ticket,
                    const struct request *request)
{
    if (!enter(host)) return;
    struct raft_id id = raft_id_of(from->id);
    if (member_speaks(host, from) || contact_may_ask(host, from, request)) {
        contact_heard(host, from->id);
        submit_admit(host, ticket, request, &id);
    }
    leave(host);
}

void host_forward_reply(struct host *host, const struct identity *from, uint64_t ticket,
                        const struct reply *reply)
{
    if (!enter(host)) return;
    host_now(host); /* "again soon" counts from now, however long this node was idle */
    if (!bootstrap_answered(host, from, ticket, reply)) forward_answered(host, from, ticket, reply);
    leave(host);
}

void host_peer_lost(struct host *host, const struct raft_id *id)
{
    if (!enter(host)) return;
    host_now(host);
    forward_lost(host, id);
    if (host_runs(host) && member_find(host, id->text) != NULL) {
        host_step(host, &(struct raft_event){.type = RAFT_EVENT_UNREACHABLE, .peer = *id});
    }
    leave(host);
}

/* ---- clients ---- */

void host_submit(struct host *host, uint64_t ticket, const struct request *request)
{
    if (!enter(host)) return;
    submit_admit(host, ticket, request, NULL);
    leave(host);
}

void host_cancel(struct host *host, uint64_t ticket)
{
    if (!enter(host)) return;
    struct waiter *waiter =
        waiter_index_find(&host->waiters, WAITERS_BY_TICKET, ticket, WAITER_STATES);
    if (waiter != NULL) waiter_free(&host->waiters, waiter);
    leave(host);
}

void host_policy_decided(struct host *host, uint64_t ticket, struct slice actions, const struct error *problem)
{
    if (!enter(host)) return;
    host_now(host);
    policy_hear(host, ticket, actions, problem);
    leave(host);
}

void host_stop(struct host *host)
{
    if (!enter(host)) return;
    stop_begin(host);
    leave(host);
}

/* ---- for all files ---- */

uint64_t host_now(struct host *host)
{
    uint64_t now_us = host->ports.now_us(host->ports.context);
    if (now_us > host->now_us) host->now_us = now_us;
    return host->now_us;
}

bool host_runs(const struct host *host)
{
    return host->raft != NULL && !host->frozen && !host->dead;
}

void host_log(struct host *host, enum log_level level, const char *format, ...)
{
    char text[LOG_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    host->ports.log(host->ports.context, level, text);
}

void host_fatal(struct host *host, const struct error *error)
{
    if (host->dead) return;
    host->dead = true;
    host->ports.fatal(host->ports.context, error);
}

/* ---- the turn's edges ---- */

static bool enter(struct host *host)
{
    assert(!host->inside); /* a port called back into the host */
    if (host->dead || host->stop.stage == STOP_DONE) return false;
    host->inside = true;
    return true;
}

static void leave(struct host *host)
{
    assert(host->inside && !host->stepping);
    host->inside = false;
}

/* Ready: a member, as far as it knows, that has applied what was committed when it first knew both a leader and the
 * app. */
static void update_ready(struct host *host)
{
    bool able = host_runs(host) && !raft_id_none(&host->leader) && host->apply.app_loaded &&
                host->named && host->stop.stage == STOP_NONE && !skip_halted(host);
    if (able && !host->ready_armed) host->ready_floor = host->apply.committed;
    host->ready_armed = able;
    host->ready = able && host->apply.applied >= host->ready_floor;
    if (host->ready && !host->settings_compared) settings_compare(host);
}

static void arm_timer(struct host *host)
{
    const struct waiter *due = waiters_first_due(&host->waiters);
    uint64_t wanted[] = {
        host_runs(host) ? host->raft_deadline_us : 0,
        due != NULL ? due->wake_us : 0,
        host->bootstrap.stage == BOOTSTRAP_REFUSED && !host->wiped ? host->bootstrap.retry_us : 0,
        host->bootstrap.stage == BOOTSTRAP_JOINING && !raft_id_none(&host->bootstrap.door) &&
                !host->wiped
            ? host->bootstrap.ask_us
            : 0,
        stop_wakes_us(host),
        host_runs(host) ? host->introduce_us : 0,
        host_runs(host) ? watch_wakes_us(host) : 0,
        policy_wakes_us(host),
    };
    uint64_t at_us = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        if (wanted[i] != 0 && (at_us == 0 || wanted[i] < at_us)) at_us = wanted[i];
    }
    if (host->stop.stage == STOP_DONE) at_us = 0;
    if (host->dead || at_us == host->timer_us) return;
    host->timer_us = at_us;
    host->ports.timer(host->ports.context, at_us);
}
