/*
 * Entries that a process dies of.
 *
 * Around each call of the machine the owner is told which entry it is about (ports.applying), so that the next life
 * knows what its former ones died at. An entry that was the death of two in a row is not tried a third time: the node
 * halts before it. It stores, votes, and leads if it must, and applies nothing more; commands are refused, and so are
 * queries but stale ones, for whoever cannot apply can answer nobody. A halted follower sends both to the leader.
 *
 * An operator may then have it skipped, where it is a command or a DEPLOY. SKIP is an entry that names another's index:
 * wherever that one is applied it is refused, the same reply everywhere, and the state stays as it was. Two things make
 * it safe:
 *
 *   who takes it    only a leader that has itself halted before that entry. Whatever it led to was never told to a
 *                   client by this leader; `moonclave skip` asks the other members whether one of them has applied it.
 *   who knows it    SKIP stands behind the entry that it is about, and must be known before that one is applied:
 *                   whoever has it in the log waits with the entry until it is decided whether SKIP counts (is
 *                   committed) or is taken back. It is found in what is persisted, and at a start in what is durable.
 *
 * A node that meets SKIP and has applied the entry (it had more memory, or got the log in two pieces) has a state of
 * its own, and stops. If its snapshot is older than the entry, its next life has SKIP in its log, and skips. Which
 * entries were skipped is in the system tree: a snapshot between the two tells it.
 */
#include "host/internal.h"

#include "base/memory.h"
#include "base/mp.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DEATHS_MAX 2

static void note(struct host *host, const struct raft_entry *entry);
static bool read_payload(struct slice payload, raft_index *index);
static void halt(struct host *host, const struct raft_entry *entry);
static void diverged(struct host *host, const struct raft_entry *entry, raft_index index);

void skips_init(struct host *host, const struct host_deaths *deaths)
{
    if (deaths->count >= DEATHS_MAX) host->skips.deadly = deaths->index;
}

void skips_deinit(struct host *host)
{
    memory_free(host->skips.list);
}

/* ---- which SKIPs the log holds ---- */

void skips_remember(struct host *host, const struct raft_durable *durable)
{
    host->skips.count = 0;
    for (size_t i = 0; i < durable->skip_count; i++) note(host, &durable->skips[i]);
}

/* What is written behind an index replaces what was there, or what the disk had no room for. What comes behind a
 * truncation begins where that does. */
void skips_persisted(struct host *host, const struct raft_persist *persist)
{
    struct skips *skips = &host->skips;
    raft_index from = persist->entry_count > 0 ? persist->entries[0].index : persist->truncate_from;
    while (from > 0 && skips->count > 0 && skips->list[skips->count - 1].at >= from) skips->count--;
    for (size_t i = 0; i < persist->entry_count; i++) {
        if (persist->entries[i].type == RAFT_SKIP) note(host, &persist->entries[i]);
    }
}

void skips_forget(struct host *host)
{
    host->skips.count = 0;
}

static void note(struct host *host, const struct raft_entry *entry)
{
    struct skips *skips = &host->skips;
    struct skip skip = {.at = entry->index};
    if (!read_payload(entry->payload.bytes, &skip.index)) return; /* applying it says so */
    if (skips->count == skips->capacity) {
        skips->capacity = skips->capacity == 0 ? 4 : skips->capacity * 2;
        skips->list = memory_resize(skips->list, skips->capacity, sizeof *skips->list);
    }
    skips->list[skips->count++] = skip;
}

/* ---- before an entry is applied ---- */

bool skip_due(const struct host *host, raft_index index)
{
    for (size_t i = 0; i < host->skips.count; i++) {
        const struct skip *skip = &host->skips.list[i];
        if (skip->index == index && skip->at <= host->apply.committed) return true;
    }
    return false;
}

bool skip_lets_apply(struct host *host, const struct raft_entry *entry)
{
    struct skips *skips = &host->skips;
    if (skip_due(host, entry->index)) return true;
    for (size_t i = 0; i < skips->count; i++) {
        if (skips->list[i].index == entry->index) return false; /* not decided yet */
    }
    if (skips->deadly != entry->index) return true;
    halt(host, entry);
    return false;
}

static void halt(struct host *host, const struct raft_entry *entry)
{
    struct skips *skips = &host->skips;
    if (skips->halted) return;
    skips->halted = true;
    skips->deadly_type = entry->type;
    host_log(host, LOG_LEVEL_ERROR,
             "entry %" PRIu64 ", a %s, was the death of this node while it was applied, %d times in a row: it goes on "
             "without applying. Give it what it lacks (memory?) and restart it, which tries again; or, where every "
             "node dies of it, `moonclave skip %" PRIu64 "`",
             entry->index, raft_entry_type_name(entry->type), DEATHS_MAX, entry->index);
}

bool skip_halted(const struct host *host)
{
    return host->skips.halted;
}

raft_index host_halted(const struct host *host)
{
    return host->skips.halted ? host->skips.deadly : 0;
}

void skip_refuse(struct host *host, struct waiter *waiter)
{
    answer_later(host, waiter, ERROR_UNAVAILABLE, "this node has halted before an entry that it died of twice");
}

/* It has been applied, one way or the other. */
void skip_passed(struct host *host, raft_index index)
{
    struct skips *skips = &host->skips;
    if (skips->deadly == 0 || index < skips->deadly) return;
    say_applying(host, skips->deadly);
    say_applying(host, 0);
    if (skips->halted) {
        host_log(host, LOG_LEVEL_INFO, "entry %" PRIu64 " is %s: this node applies again", skips->deadly,
                 system_has_skipped(&host->system, skips->deadly) ? "skipped" : "in the snapshot that came");
        host->route_again = true;
    }
    skips->deadly = 0;
    skips->halted = false;
}

/* ---- SKIP itself ---- */

void skip_ask(struct host *host, struct waiter *waiter, raft_index index)
{
    const struct skips *skips = &host->skips;
    char text[256];
    if (system_has_skipped(&host->system, index)) {
        skip_answer(host, waiter, index);
        return;
    }
    for (size_t i = 0; i < skips->count; i++) {
        if (skips->list[i].index != index) continue;
        answer_error(host, waiter, ERROR_CONFLICT, "it is being skipped already");
        return;
    }
    if (!skips->halted || skips->deadly != index) {
        snprintf(text, sizeof text,
                 "only a leader that has halted before that entry can have it skipped: this one has applied up to "
                 "%" PRIu64 "%s", host->apply.applied, skips->halted ? ", and has halted there" : " and goes on");
        answer_error(host, waiter, ERROR_CONFLICT, text);
    } else if (skips->deadly_type != RAFT_COMMAND && skips->deadly_type != RAFT_DEPLOY) {
        snprintf(text, sizeof text, "only commands and deploys can be skipped: it is a %s",
                 raft_entry_type_name(skips->deadly_type));
        answer_error(host, waiter, ERROR_CONFLICT, text);
    } else {
        struct buffer bytes = {0};
        mp_write_map(&bytes, 1);
        mp_write_text(&bytes, "index");
        mp_write_u64(&bytes, index);
        propose_for(host, waiter, RAFT_SKIP, buffer_slice(&bytes));
        buffer_deinit(&bytes);
    }
}

void skip_answer(struct host *host, struct waiter *waiter, raft_index index)
{
    struct buffer body = {0};
    mp_write_map(&body, 1);
    mp_write_text(&body, "skipped");
    mp_write_u64(&body, index);
    answer(host, waiter, ERROR_OK, buffer_slice(&body));
    buffer_deinit(&body);
}

/* What was to be skipped has been, on every node that gets here. */
enum error_code apply_skip(struct host *host, const struct raft_entry *entry)
{
    raft_index index = 0;
    struct error error;
    if (!read_payload(entry->payload.bytes, &index) || index >= entry->index) {
        error_set(&error, ERROR_VERSION,
                  "entry %" PRIu64 " is a skip that this program does not know: a newer one does", entry->index);
        host_fatal(host, &error);
        return error.code;
    }
    if (!system_has_skipped(&host->system, index)) diverged(host, entry, index);
    mp_write_map(&host->apply.reply, 1);
    mp_write_text(&host->apply.reply, "skipped");
    mp_write_u64(&host->apply.reply, index);
    return ERROR_OK;
}

static void diverged(struct host *host, const struct raft_entry *entry, raft_index index)
{
    struct error error;
    bool covered = host->snapshots.index >= index;
    error_set(&error, ERROR_CORRUPT,
              "the cluster skips entry %" PRIu64 " (entry %" PRIu64 " says so), and this node has applied it: its "
              "state is not the others'. %s",
              index, entry->index,
              covered ? "Its snapshot holds it too: remove this node, move its data folder away and let it join again"
                      : "Start it again: it goes back to before that entry and skips it");
    host_fatal(host, &error);
}

/* {"index": n} */
static bool read_payload(struct slice payload, raft_index *index)
{
    static const struct mp_limits limits = {.depth = 1, .elements = 3, .bytes = 64};
    struct slice value = {0};
    return mp_check(payload, &limits, NULL) == ERROR_OK && mp_map_get(payload, "index", &value) &&
           mp_read_u64(&(struct mp_reader){value.data, value.data + value.size}, index);
}
