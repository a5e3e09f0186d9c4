/*
 * The replicated machine as the host sees it: a table of functions. `script` offers one that runs fsm.lua, the
 * simulator may bring its own in C. All calls are made from one thread and are synchronous; slices are borrowed for
 * the call; replies are appended to the buffer given.
 *
 * Everything here must be a pure function of the calls made so far: the same calls give the same bytes on every node.
 */
#ifndef MOONCLAVE_BASE_MACHINE_H
#define MOONCLAVE_BASE_MACHINE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/settings.h"

#include <stdbool.h>
#include <stdint.h>

/* The stamps of the entry being applied (formats.md). */
struct machine_entry {
    uint64_t index;
    uint64_t term;
    uint64_t time_ms;  /* the leader's clock, never less than the entry before */
    uint64_t seed;     /* for ctx.random() and math.random */
    uint64_t session;  /* 0: none */
    uint64_t sequence;
};

/* The numbers that an app's code gives itself; 0 where it gives none. */
struct machine_versions {
    int64_t from, to;
};

struct machine {
    void *context;

    /* Before load or restore_begin, and between any two entries after that: the settings from now on. The replicated
     * ones are the cluster's, from the log: whatever results depend on must come from these, not from this node's
     * command line. May be null: it needs none. */
    void (*configure)(void *context, const struct settings *settings);

    /* Loads the app's code from a bundle (script/bundle.h) and makes the first state by its init(config); config is
     * one msgpack value. OK, or SCRIPT with the reason: nothing is loaded, and it may be called again. */
    enum error_code (*load)(void *context, const struct machine_entry *entry, struct slice bundle, struct slice config,
                            struct error *error);

    /* Applies one command: body is [name, arguments]. OK: reply holds the result, one msgpack value. Else the state
     * is as before and reply holds an error body (base/request.h): REJECTED with the app's own error, COMMAND_FAILED,
     * NO_SUCH_COMMAND, BAD_REQUEST.
     *
     * INTERNAL, from this as from load and query, is never a result: this node alone has no memory left, others may
     * have had it. The machine cannot be used any more and the node must stop. */
    enum error_code (*apply)(void *context, const struct machine_entry *entry, struct slice body, struct buffer *reply);

    /* Other code over the state as it is, where one is loaded. begin loads `bundle` without its init, beside what runs:
     * OK, with both versions; SCRIPT, with the reason, where it does not load or cannot follow: nothing was begun. step
     * goes on for about work_max VM instructions of its migrate, which makes the state over; after OK without *more the
     * new code and state are in force; SCRIPT with the reason: all is as before, and *more is false. INTERNAL as above.
     * end gives up what is under way: all is as before; harmless where nothing is.
     *
     * Meanwhile nothing else is called but hash, which answers as before begin, and restore_begin, which gives it up.
     */
    enum error_code (*upgrade_begin)(void *context, const struct machine_entry *entry, struct slice bundle,
                                     struct machine_versions *versions, struct error *error);
    enum error_code (*upgrade_step)(void *context, uint64_t work_max, bool *more, struct error *error);
    void (*upgrade_end)(void *context);

    /* Answers one query on the state as it is; never changes it. Replies as apply does. */
    enum error_code (*query)(void *context, struct slice body, struct buffer *reply);

    /* A hash of the whole state, kept as it changes: cheap. */
    uint64_t (*hash)(void *context);

    /* Appends the canonical encoding of the whole state: for tests. */
    void (*encode)(void *context, struct buffer *out);

    /* A snapshot: the bytes that encode would give now, made in steps between other calls, whatever these change.
     * One at a time. begin answers the hash of what is to be written; step appends about work_max bytes' worth, and
     * says whether there is more; end is called once, written or not. */
    uint64_t (*snapshot_begin)(void *context);
    bool (*snapshot_step)(void *context, size_t work_max, struct buffer *out);
    void (*snapshot_end)(void *context);

    /* The way back, loaded before or not: begin forgets app and state and loads the app's code without its init;
     * `entry` is load's (SCRIPT, with the reason, where it does not load). It did load once, by the settings of then:
     * today's limits do not count for that. feed takes the state's bytes in pieces of
     * any size, and sets *used to how many of these belong to it. finish makes it the state, of which `entry` was the
     * last applied. CORRUPT: not what snapshot_step gave, or of another hash; INTERNAL as above. */
    enum error_code (*restore_begin)(void *context, const struct machine_entry *entry, struct slice bundle,
                                     struct error *error);
    enum error_code (*restore_feed)(void *context, struct slice bytes, size_t *used, struct error *error);
    enum error_code (*restore_finish)(void *context, const struct machine_entry *entry, uint64_t hash,
                                      struct error *error);

    /* An app and a state beside the current ones, out of a snapshot's bytes, to take their place at one index or never;
     * one at a time, and everything else goes on meanwhile. begin looks whether the code loads under `settings`
     * (SCRIPT, with the reason: nothing was begun); `entry` and `bundle` are restore_begin's. feed as restore_feed.
     * take makes them the app and the state, given the same again, and `last` as the entry applied last; CORRUPT:
     * not what snapshot_step gave, or of another hash: all is as before. INTERNAL as above. After CORRUPT and
     * INTERNAL, from any of them, and in any case in the end, end: it gives up what was not taken, and is harmless
     * where there is none. */
    enum error_code (*stage_begin)(void *context, const struct settings *settings, const struct machine_entry *entry,
                                   struct slice bundle, struct error *error);
    enum error_code (*stage_feed)(void *context, struct slice bytes, size_t *used, struct error *error);
    enum error_code (*stage_take)(void *context, const struct settings *settings, const struct machine_entry *entry,
                                  struct slice bundle, const struct machine_entry *last, uint64_t hash,
                                  struct error *error);
    void (*stage_end)(void *context);
    /* What taking has replaced may be large: a piece of it is freed by each call. true: there is more. May be null. */
    bool (*stage_sweep)(void *context);
};

/* All of an upgrade at once. */
static inline enum error_code machine_upgrade(const struct machine *machine, const struct machine_entry *entry,
                                              struct slice bundle, struct machine_versions *versions,
                                              struct error *error)
{
    bool more = true;
    enum error_code code = machine->upgrade_begin(machine->context, entry, bundle, versions, error);
    while (code == ERROR_OK && more) code = machine->upgrade_step(machine->context, UINT64_MAX, &more, error);
    return code;
}

#endif
