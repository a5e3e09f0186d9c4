/*
 * The system tree: what is replicated beside the user's state. The app's bundle and configuration,
 * the replicated settings, the clock and the chain of results; and beside it the sessions
 * (host/sessions.h). Everything in it is a pure function of the entries applied.
 *
 * INIT's payload, canonical msgpack: {"bundle": bytes, "config": value, "format_level": n,
 * "settings": {name: n}}, with every REPLICATED setting of base/settings.h.
 * DEPLOY's payload: host/deploy.c.
 * SETTINGS' payload, canonical msgpack: {name: n}, the REPLICATED settings that are to change.
 */
#ifndef MOONCLAVE_HOST_SYSTEM_H
#define MOONCLAVE_HOST_SYSTEM_H

#include "base/error.h"
#include "base/machine.h"
#include "base/settings.h"
#include "host/sessions.h"
#include "raft/types.h"
#include "state/state.h"

/* What an INIT says. Slices are borrowed from its bytes. */
struct init_payload {
    uint32_t format_level;
    struct slice bundle;
    struct slice config;      /* one msgpack value */
    struct settings settings; /* the replicated ones as given, their defaults where not; this node's own for the rest */
};

void init_payload_encode(const struct init_payload *init, struct buffer *out);
/* `own` gives the settings of scope NODE. CORRUPT; VERSION: a newer format level, or a setting not
 * known here. */
enum error_code init_payload_decode(struct slice bytes, const struct settings *own,
                                    struct init_payload *init, struct error *error);

/* The replicated ones of `change`, of which there is at least one. */
void settings_payload_encode(const struct settings_change *change, struct buffer *out);
/* CORRUPT; VERSION: a setting, or a value, that only a newer program knows. */
enum error_code settings_payload_decode(struct slice bytes, struct settings_change *change, struct error *error);

struct system {
    struct state *tree; /* app {bundle, config, hash, index, error?, entry}, settings, changed? (of those changed since
                           INIT: the entry's index), format_level, skipped?; the rest as of system_seal */
    bool initialised;   /* an INIT was applied */
    uint64_t clock_ms;  /* the replicated clock: the greatest stamp applied */
    uint64_t chain;     /* hash(chain before, index, result, state hash, sessions' hash) */
    uint64_t app_hash;
    raft_index app_index; /* of the entry that brought it: INIT, a DEPLOY, or a restore's commit */
    uint64_t restored_id; /* of the last backup restored through the log; 0: none was */
    raft_index restored_index; /* ... and where it was committed */
    struct machine_entry entry; /* the last one given to the machine */
    struct sessions sessions; /* beside the tree: with bytes and a hash of its own */
};

void system_init(struct system *system);
void system_deinit(struct system *system);

/* The first INIT counts; false: there was one, this one is ignored. `entry`: its stamps. */
bool system_apply_init(struct system *system, const struct machine_entry *entry,
                       const struct init_payload *init);
/* Another bundle in the place of INIT's, loaded by these stamps; an INIT was applied. */
void system_deploy(struct system *system, const struct machine_entry *entry, struct slice bundle);
/* SETTINGS; an INIT was applied. */
void system_apply_settings(struct system *system, const struct settings_change *change, raft_index index);
/* The SETTINGS entry that gave it its value; 0: INIT did. */
raft_index system_setting_index(const struct system *system, const char *name);
void system_note_app_error(struct system *system, const char *text); /* the app does not load, anywhere */
/* The commands that were skipped (skip.c), by their index: in the tree's `skipped`, which is not there without any. */
void system_note_skipped(struct system *system, raft_index index);
bool system_has_skipped(const struct system *system, raft_index index);
struct slice system_bundle(const struct system *system); /* borrowed; empty before INIT */
struct slice system_config(const struct system *system);

/* The clock never goes back; sessions and keys that are due are forgotten. `settings`: the cluster's. */
void system_advance(struct system *system, const struct settings *settings, uint64_t time_ms);
void system_chain(struct system *system, raft_index index, enum error_code code, struct slice reply,
                  uint64_t state_hash);
/* Writes clock, chain, the last entry and `sessions` (the hash of the sessions' own bytes, which stand
 * beside it in a snapshot) into the tree, which then is all of it, and answers its hash. */
uint64_t system_seal(struct system *system, uint64_t sessions);

/* A backup's takes this one's place, but for what is the log's and the cluster's own (host/restore_log.c): its app with
 * config, the idempotency keys, and the settings where there are none yet. `other`, which system_restored has filled,
 * keeps what is not taken. `entry`: the commit's stamps. */
void system_replace(struct system *system, struct system *other, const struct machine_entry *entry, uint64_t id);

/* What a tree that system_seal has completed says beside what becomes of `system`. Borrowed from it. */
struct system_restored {
    struct settings settings;
    struct machine_entry init; /* the stamps that the app was loaded by */
    uint64_t sessions;         /* the hash of their bytes */
    struct slice app_error;    /* empty: the app did load */
};
/* Into a freshly initialised one whose tree is what was read (state_restore_finish). `own` as above. CORRUPT: not what
 * system_seal wrote; VERSION: a newer program did. */
enum error_code system_restored(struct system *system, const struct settings *own,
                                struct system_restored *restored, struct error *error);

/* The hash a bundle says it has (script/bundle.h); of all its bytes where it says none. */
uint64_t bundle_name(struct slice bundle);

#endif
