/*
 * Applying: committed entries to the replicated machine, in order, in slices of a turn. What is not
 * in the core's memory (after a restart) is read from the disk, a piece ahead of what is being
 * applied.
 *
 * The answer to a waiting command is what its own entry, found by index and term, gave. An entry of
 * another term at a waiter's index means that the waiter's entry can never be committed: certainly
 * not done.
 */
#include "host/internal.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define READ_AHEAD_BYTES 1048576

static const struct raft_entry *next_entry(struct host *host);
static void ask_log(struct host *host);
static void hold(struct host *host, const struct raft_entry *entry);
static void make_room(struct apply *apply);
static void let_go(struct apply *apply, raft_index applied);
static void apply_entry(struct host *host, const struct raft_entry *entry);
static enum error_code apply_new(struct host *host, const struct raft_entry *entry);
static void applied(struct host *host, const struct raft_entry *entry, enum error_code code);
static enum error_code apply_nothing(struct host *host, const struct raft_entry *entry);
static enum error_code apply_configuration(struct host *host, const struct raft_entry *entry);
static enum error_code apply_init(struct host *host, const struct raft_entry *entry);
static enum error_code apply_command(struct host *host, const struct raft_entry *entry);
static enum error_code apply_session(struct host *host, const struct raft_entry *entry);
static void load_app(struct host *host, const struct machine_entry *stamps,
                     const struct init_payload *init);
static void warn_of_another_app(struct host *host);
static void answer_index(struct host *host, const struct raft_entry *entry, enum error_code code);

/* A type without a row is of a later program: to go on without applying it would be to diverge. */
static enum error_code (*const type_rows[RAFT_ENTRY_TYPES])(struct host *host,
                                                            const struct raft_entry *entry) = {
    [RAFT_NOOP] = apply_nothing,
    [RAFT_CONFIGURATION] = apply_configuration,
    [RAFT_INIT] = apply_init,
    [RAFT_DEPLOY] = apply_deploy,
    [RAFT_COMMAND] = apply_command,
    [RAFT_SESSION] = apply_session,
    [RAFT_SETTINGS] = settings_applied,
    [RAFT_SKIP] = apply_skip,
    [RAFT_RESTORE] = restore_apply,
};

bool apply_run(struct host *host, uint64_t until_us)
{
    struct apply *apply = &host->apply;
    bool over = false;
    bool timed = until_us > 0;
    if (timed && apply->applied < apply->committed) host_now(host);
    while (apply->applied < apply->committed && !over && !host->dead && !restoring(host) &&
           host->stop.stage < STOP_DRAINING) {
        const struct raft_entry *entry = next_entry(host);
        if (entry == NULL || !skip_lets_apply(host, entry)) break;
        uint64_t began_us = host->now_us;
        raft_index index = entry->index;
        apply_entry(host, entry);
        over = timed ? host_now(host) >= until_us : deploying(host); /* a slice of it a turn, at least */
        if (timed) watch_applied(host, index, host->now_us - began_us);
    }
    if (apply->applied > apply->reported && host_runs(host)) {
        apply->reported = apply->applied;
        host_step(host,
                  &(struct raft_event){.type = RAFT_EVENT_APPLIED, .applied = apply->applied});
    }
    return over && apply->applied < apply->committed;
}

/* ---- where entries come from ---- */

/* Null: it is being read, or the core takes no more events. */
static const struct raft_entry *next_entry(struct host *host)
{
    struct apply *apply = &host->apply;
    raft_index index = apply->applied + 1;
    const struct raft_entry *entry = raft_entry_at(host->raft, index);
    if (entry != NULL) return entry;
    bool held = apply->held_count > 0;
    if (apply->token == 0 && apply->held_bytes < READ_AHEAD_BYTES / 2) ask_log(host);
    if (!held) return NULL;
    assert(apply->held[apply->held_at].index == index);
    return &apply->held[apply->held_at];
}

/* From behind what is held. The core may come to hold the rest meanwhile: its word goes first. */
static void ask_log(struct host *host)
{
    struct apply *apply = &host->apply;
    raft_index first = apply->applied + 1 + apply->held_count;
    if (first > apply->committed || raft_entry_at(host->raft, first) != NULL) return;
    apply->token = APPLY_TOKEN | ++apply->tokens;
    apply->asked_first = first;
    host->ports.log_read(host->ports.context, apply->token, first, apply->committed,
                         READ_AHEAD_BYTES);
}

void apply_log_read(struct host *host, const struct raft_entry *entries, size_t count)
{
    struct apply *apply = &host->apply;
    struct error error;
    apply->token = 0;
    for (size_t i = 0; i < count; i++) {
        raft_index index = apply->asked_first + i;
        if (index <= apply->applied) continue; /* came from memory, and may be compacted by now */
        if (entries[i].index != index || entries[i].term != raft_log_term(host->raft, index)) {
            error_set(&error, ERROR_CORRUPT,
                      "the log on the disk holds another entry at %" PRIu64 " than was committed",
                      index);
            host_fatal(host, &error);
            return;
        }
        bool needed = index == apply->applied + 1 +
                                   apply->held_count; /* else it came from memory meanwhile */
        if (needed) hold(host, &entries[i]);
    }
    if (count > 0) return;
    error_set(&error, ERROR_CORRUPT,
              "entry %" PRIu64 " is committed, but the log on the disk does not hold it",
              apply->asked_first);
    host_fatal(host, &error);
}

/* The reader's memory ends with the call; its payloads are counted. */
static void hold(struct host *host, const struct raft_entry *entry)
{
    struct apply *apply = &host->apply;
    make_room(apply);
    struct raft_entry *kept = &apply->held[apply->held_at + apply->held_count++];
    *kept = *entry;
    apply->held_bytes += raft_entry_size(entry);
    assert(entry->payload.blob != NULL || entry->payload.bytes.size == 0);
    raft_entry_take(kept);
}

static void make_room(struct apply *apply)
{
    if (apply->held_at + apply->held_count < apply->held_capacity) return;
    if (apply->held_at > apply->held_capacity / 2) {
        memmove(apply->held, apply->held + apply->held_at, apply->held_count * sizeof *apply->held);
        apply->held_at = 0;
        return;
    }
    apply->held_capacity = apply->held_capacity == 0 ? 64 : apply->held_capacity * 2;
    apply->held = memory_resize(apply->held, apply->held_capacity, sizeof *apply->held);
}

/* Drops what is held up to an index. */
static void let_go(struct apply *apply, raft_index applied)
{
    while (apply->held_count > 0 && apply->held[apply->held_at].index <= applied) {
        struct raft_entry *entry = &apply->held[apply->held_at++];
        apply->held_bytes -= raft_entry_size(entry);
        apply->held_count--;
        raft_entry_drop(entry);
    }
    if (apply->held_count == 0) apply->held_at = 0;
}

void apply_forget(struct host *host)
{
    let_go(&host->apply, UINT64_MAX);
}

void apply_deinit(struct host *host)
{
    apply_forget(host);
    memory_free(host->apply.held);
    buffer_deinit(&host->apply.reply);
}

/* ---- one entry ---- */

/* Or goes on with it, where it is one that takes many turns: it is applied when it has ended. */
static void apply_entry(struct host *host, const struct raft_entry *entry)
{
    if (deploying(host) && deploy_skipped(host, entry->index)) deploy_abandon(host);
    enum error_code code = deploying(host) ? deploy_step(host, entry) : apply_new(host, entry);
    if (!host->dead && !deploying(host)) applied(host, entry, code);
}

static enum error_code apply_new(struct host *host, const struct raft_entry *entry)
{
    struct apply *apply = &host->apply;
    if (entry->type >= RAFT_ENTRY_TYPES || type_rows[entry->type] == NULL) {
        struct error error;
        error_set(&error, ERROR_VERSION,
                  "entry %" PRIu64 " is a %s: this program cannot apply it, a newer one can",
                  entry->index, raft_entry_type_name(entry->type));
        host_fatal(host, &error);
        return error.code;
    }
    system_advance(&host->system, &host->settings, entry->time_ms);
    restore_expire(host);
    buffer_clear(&apply->reply);
    if (skip_due(host, entry->index)) system_note_skipped(&host->system, entry->index);
    return type_rows[entry->type](host, entry);
}

static void applied(struct host *host, const struct raft_entry *entry, enum error_code code)
{
    struct apply *apply = &host->apply;
    uint64_t state_hash = apply->app_loaded ? host->machine.hash(host->machine.context) : 0;
    system_chain(&host->system, entry->index, code, buffer_slice(&apply->reply), state_hash);
    apply->term = entry->term;
    apply->applied = entry->index;
    skip_passed(host, entry->index);
    apply->log_chain = entry->chain;
    snapshot_note(host, entry);
    host->counters.applied++;
    answer_index(host, entry, code);
    let_go(apply, apply->applied);
}

static enum error_code apply_nothing(struct host *host, const struct raft_entry *entry)
{
    (void)host;
    (void)entry;
    return ERROR_OK;
}

/* The core goes by it since it was appended. */
static enum error_code apply_configuration(struct host *host, const struct raft_entry *entry)
{
    admin_applied(entry, &host->apply.reply);
    return ERROR_OK;
}

static enum error_code apply_command(struct host *host, const struct raft_entry *entry)
{
    if (!host->apply.app_loaded) {
        reply_write_error(&host->apply.reply, ERROR_SCRIPT,
                          NULL); /* the same bytes on every node */
        return ERROR_SCRIPT;
    }
    struct sessions *sessions = &host->system.sessions;
    struct buffer *reply = &host->apply.reply;
    enum error_code code;
    if (!sessions_admit(sessions, &host->settings, entry, &code, reply)) return code;
    struct machine_entry stamps = stamps_of(host, entry);
    if (skip_due(host, entry->index)) {
        code = refuse_skipped(host);
    } else {
        host->system.entry = stamps;
        say_applying(host, entry->index);
        code = host->machine.apply(host->machine.context, &stamps, entry->payload.bytes, reply);
    }
    if (code == ERROR_INTERNAL) {
        machine_failed(host, entry->index);
    } else {
        say_applying(host, 0);
        sessions_keep(sessions, &host->settings, entry, code, buffer_slice(reply));
    }
    return code;
}

enum error_code apply_refuse(struct host *host, enum error_code code, const char *format, ...)
{
    char text[ERROR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    error_text_end(text);
    reply_write_error(&host->apply.reply, code, text);
    return code;
}

/* For a retry of it, too. */
enum error_code refuse_skipped(struct host *host)
{
    return apply_refuse(host, ERROR_COMMAND_FAILED, "an operator had it skipped: it was not done");
}

void say_applying(const struct host *host, raft_index index)
{
    if (host->ports.applying != NULL) host->ports.applying(host->ports.context, index);
}

/* Others may have had the memory: whatever this node could answer might differ from theirs. */
void machine_failed(struct host *host, raft_index index)
{
    struct error error;
    error_set(&error, ERROR_INTERNAL,
              "no memory for the state machine at index %" PRIu64 ": this node stops, nothing is "
              "lost: give the machine more memory or the state machine less to do",
              index);
    host_fatal(host, &error);
}

/* Where there is no app there are no replicated settings, and nobody to open a session for. */
static enum error_code apply_session(struct host *host, const struct raft_entry *entry)
{
    if (!host->apply.app_loaded) {
        reply_write_error(&host->apply.reply, ERROR_SCRIPT, NULL);
        return ERROR_SCRIPT;
    }
    enum error_code code = sessions_apply(&host->system.sessions, &host->settings, entry,
                                          &host->apply.reply);
    if (code == ERROR_VERSION) {
        struct error error;
        error_set(&error, code,
                  "entry %" PRIu64 " does with a session what this program does not know: a newer "
                  "one does",
                  entry->index);
        host_fatal(host, &error);
    }
    return code;
}

/* What is the hash of a key is no session to the app. */
struct machine_entry stamps_of(const struct host *host, const struct raft_entry *entry)
{
    bool keyed = entry->flags & RAFT_ENTRY_KEYED;
    return (struct machine_entry){
        .index = entry->index,
        .term = entry->term,
        .time_ms = host->system.clock_ms,
        .seed = entry->seed,
        .session = keyed ? 0 : entry->session,
        .sequence = keyed ? 0 : entry->sequence,
    };
}

/* Two leaders may both have proposed one: the first counts everywhere. */
static enum error_code apply_init(struct host *host, const struct raft_entry *entry)
{
    struct init_payload init;
    struct error error;
    if (init_payload_decode(entry->payload.bytes, &host->settings, &init, &error) != ERROR_OK) {
        host_fatal(host, &error);
        return error.code;
    }
    struct machine_entry stamps = stamps_of(host, entry);
    if (system_apply_init(&host->system, &stamps, &init)) load_app(host, &stamps, &init);
    return host->apply.app_error.code;
}

/* An app that does not load does so on every node: they stay up and say why. */
static void load_app(struct host *host, const struct machine_entry *stamps,
                     const struct init_payload *init)
{
    struct apply *apply = &host->apply;
    settings_adopt(host, &init->settings);
    host->route_again = true;
    warn_of_another_app(host);
    say_applying(host, stamps->index);
    enum error_code code = host->machine.load(host->machine.context, stamps, init->bundle,
                                              init->config, &apply->app_error);
    if (code == ERROR_INTERNAL) {
        machine_failed(host, stamps->index);
        return;
    }
    say_applying(host, 0);
    if (code != ERROR_OK) {
        apply->app_error.code = code;
        system_note_app_error(&host->system, apply->app_error.text);
        host_log(host, LOG_LEVEL_ERROR, "the cluster's app does not load: %s",
                 apply->app_error.text);
        return;
    }
    apply->app_error.code = ERROR_OK;
    apply->app_loaded = true;
    host->ports.loaded(host->ports.context, system_bundle(&host->system),
                       system_config(&host->system));
}

static void warn_of_another_app(struct host *host)
{
    uint64_t local = bundle_name(buffer_slice(&host->bundle));
    if (host->bundle.size == 0 || local == host->system.app_hash) return;
    host_log(host, LOG_LEVEL_WARN,
             "the local app (%016" PRIx64 ") differs from the cluster's (%016" PRIx64
             "): the cluster's is what runs",
             local, host->system.app_hash);
}

/* Everyone who waits at this index: the entry's own proposer, and those whose entry it has
 * superseded. */
static void answer_index(struct host *host, const struct raft_entry *entry, enum error_code code)
{
    if (host->waiters.lists[WAITER_PROPOSED].count == 0) return;
    struct waiter *waiter;
    while ((waiter = waiter_index_find(&host->waiters, WAITERS_BY_NUMBER, entry->index,
                                       WAITER_PROPOSED)) != NULL) {
        if (GUARD(ANSWER_BY_INDEX, waiter->term == entry->term)) {
            answer(host, waiter, code, buffer_slice(&host->apply.reply));
        } else if (waiter_is_deduplicated(waiter)) {
            arrive_again(host, waiter); /* certainly not done: so with whoever leads now */
        } else {
            answer_error(host, waiter, ERROR_UNAVAILABLE,
                         "another leader's entry took its place: it was not done");
        }
    }
}

struct host_applied host_applied(const struct host *host)
{
    return (struct host_applied){
        .index = host->apply.applied,
        .chain = host->system.chain,
        .state_hash = host->apply.app_loaded ? host->machine.hash(host->machine.context) : 0,
    };
}
