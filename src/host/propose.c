/* Proposals: all commands of a turn become one event of the core, stamped with the clock and a
 * seed; and a new leader's INIT, which brings the app into a new cluster. */
#include "host/internal.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>

static void propose_init(struct host *host);
static void propose_commands(struct host *host);
static size_t gather(struct host *host);
static void describe(struct raft_entry *entry, const struct waiter *waiter);
static void refuse_rest(struct host *host);
static void refuse_all(struct host *host);
static void refuse(struct host *host, struct waiter *waiter, enum error_code code);
static void batch_refused(struct host *host, size_t count, enum error_code code);
static void batch_accepted(struct host *host, size_t count);
static struct raft_entry *batch_entry(struct host *host, size_t i);
static enum error_code propose_batch(struct host *host, size_t count);
static void proposed(struct host *host, struct waiter *waiter, const struct raft_entry *entry);

void propose_turn(struct host *host)
{
    if (!host_runs(host)) return;
    bool own_term_applied =
        host->role == RAFT_LEADER && GUARD(INIT_TWICE, host->apply.term == host->term);
    if (own_term_applied && !host->system.initialised && host->init_term != host->term &&
        host->bundle.size > 0 && host->stop.stage == STOP_NONE) {
        propose_init(host);
    }
    if (skip_halted(host)) refuse_all(host);
    while (host->waiters.lists[WAITER_COMMAND].count > 0 && host_runs(host)) propose_commands(host);
}

/* Whoever cannot apply could not tell what became of commands, nor come to what a majority has committed, which queries
 * want. To let them wait would fill what may wait here, and keep out the operator who asks for the skip. */
static void refuse_all(struct host *host)
{
    static const enum waiter_state refused[] = {WAITER_COMMAND, WAITER_QUERY};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct waiter_list *list = &host->waiters.lists[refused[i]];
        while (list->first != NULL) skip_refuse(host, list->first);
    }
}

/* Once in a term. A leader without an app of its own hands over nothing and cannot serve: all nodes
 * of a new cluster are to be started with the app. */
static void propose_init(struct host *host)
{
    struct init_payload init = {
        .format_level = FORMAT_LEVEL,
        .bundle = buffer_slice(&host->bundle),
        .config = buffer_slice(&host->config),
        .settings = host->settings,
    };
    struct buffer bytes = {0};
    init_payload_encode(&init, &bytes);
    struct blob *blob = blob_new(bytes.data, bytes.size);
    struct raft_entry *entry = batch_entry(host, 0);
    entry->type = RAFT_INIT;
    entry->payload = (struct raft_payload){blob, slice_of(blob->data, blob->size)};
    if (propose_batch(host, 1) == ERROR_OK) host->init_term = host->term;
    blob_drop(blob);
    buffer_deinit(&bytes);
}

void propose_for(struct host *host, struct waiter *waiter, enum raft_entry_type type, struct slice payload)
{
    struct blob *blob = blob_new(payload.data, payload.size);
    struct raft_entry *entry = batch_entry(host, 0);
    entry->type = (uint8_t)type;
    entry->payload = (struct raft_payload){blob, slice_of(blob->data, blob->size)};
    enum error_code code = propose_batch(host, 1);
    blob_drop(blob);
    if (host->dead) return;
    if (code == ERROR_OK) {
        waiter_drop_body(waiter);
        proposed(host, waiter, &host->batch[0]);
    } else if (code == ERROR_NOT_LEADER || code == ERROR_UNAVAILABLE) {
        park(host, waiter, retry_at(host));
    } else {
        answer_error(host, waiter, code, NULL);
    }
}

static void proposed(struct host *host, struct waiter *waiter, const struct raft_entry *entry)
{
    waiter_move(&host->waiters, waiter, WAITER_PROPOSED);
    waiter->number = entry->index;
    waiter->term = entry->term;
    waiter_index_add(&host->waiters, WAITERS_BY_NUMBER, waiter->number, waiter);
}

/* One batch, as large as the limit of uncommitted bytes allows; what does not fit is refused. */
static void propose_commands(struct host *host)
{
    size_t count = gather(host);
    if (count == 0) {
        refuse_rest(host);
        return;
    }
    enum error_code code = propose_batch(host, count);
    if (host->dead) return;
    if (code == ERROR_OK) {
        batch_accepted(host, count);
    } else {
        batch_refused(host, count, code);
    }
}

/* Entries for the first waiters in the list, as many as fit. */
static size_t gather(struct host *host)
{
    raft_status(host->raft, &host->status);
    size_t limit = host->settings.uncommitted_bytes_max, used = host->status.uncommitted_bytes;
    size_t count = 0;
    for (struct waiter *waiter = host->waiters.lists[WAITER_COMMAND].first; waiter != NULL;
         waiter = waiter->next) {
        struct raft_entry *entry = batch_entry(host, count);
        describe(entry, waiter);
        used += raft_entry_size(entry);
        if (used > limit && count > 0) break;
        if (used > limit && host->status.uncommitted_bytes > 0) break;
        count++;
    }
    return count;
}

static void describe(struct raft_entry *entry, const struct waiter *waiter)
{
    entry->type = waiter->kind == REQUEST_SESSION ? RAFT_SESSION : RAFT_COMMAND;
    entry->flags = waiter->kind == REQUEST_KEYED ? RAFT_ENTRY_KEYED : 0;
    entry->session = waiter->session;
    entry->sequence = waiter->sequence;
    entry->payload = waiter->body;
}

static struct raft_entry *batch_entry(struct host *host, size_t i)
{
    if (i == host->batch_capacity) {
        host->batch_capacity = host->batch_capacity == 0 ? 64 : host->batch_capacity * 2;
        host->batch = memory_resize(host->batch, host->batch_capacity, sizeof *host->batch);
    }
    host->batch[i] = (struct raft_entry){.seed = random_next(&host->random)};
    return &host->batch[i];
}

static enum error_code propose_batch(struct host *host, size_t count)
{
    struct raft_event event = {.type = RAFT_EVENT_PROPOSE};
    uint64_t time_ms = host->ports.wall_ms(host->ports.context);
    for (size_t i = 0; i < count; i++) host->batch[i].time_ms = time_ms;
    event.propose.entries = host->batch;
    event.propose.entry_count = count;
    enum error_code code = host_step(host, &event);
    if (code != ERROR_OK) return code;
    host->counters.propose_steps++;
    host->counters.proposals += count;
    watch_proposed(host, host->batch[count - 1].index);
    return code;
}

/* The log holds the bodies now; each waiter is found again by its entry's index and term. Who may be
 * proposed again keeps the same bytes. */
static void batch_accepted(struct host *host, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct waiter *waiter = host->waiters.lists[WAITER_COMMAND].first;
        if (!waiter_is_deduplicated(waiter)) waiter_drop_body(waiter);
        proposed(host, waiter, &host->batch[i]);
    }
}

/* Certainly not appended, so it may go elsewhere: a change of role has them looked at again at
 * once. */
static void batch_refused(struct host *host, size_t count, enum error_code code)
{
    for (size_t i = 0; i < count; i++) {
        struct waiter *waiter = host->waiters.lists[WAITER_COMMAND].first;
        if (code == ERROR_NOT_LEADER || code == ERROR_UNAVAILABLE) { /* handing over: the next leader does it */
            park(host, waiter, retry_at(host));
        } else {
            refuse(host, waiter, code);
        }
    }
}

/* Who cannot be told that nothing was done tries on: there may be room in a moment. */
static void refuse(struct host *host, struct waiter *waiter, enum error_code code)
{
    bool passes = code == ERROR_OVERLOADED || code == ERROR_DISK_FULL;
    if (waiter->uncertain && passes && may_ask_again(host, waiter)) {
        park(host, waiter, retry_at(host));
    } else {
        answer_later(host, waiter, code, NULL);
    }
}

static void refuse_rest(struct host *host)
{
    struct waiter_list *list = &host->waiters.lists[WAITER_COMMAND];
    while (list->first != NULL) refuse(host, list->first, ERROR_OVERLOADED);
}
