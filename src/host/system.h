/*
 * The system tree: what is replicated beside the user's state. The app's bundle and configuration,
 * the replicated settings, the clock and the chain of results; and beside it the sessions
 * (host/sessions.h). Everything in it is a pure function of the entries applied.
 *
 * INIT's payload, canonical msgpack: {"bundle": bytes, "config": value, "format_level": n,
 * "settings": {name: n}}, with every REPLICATED setting of base/settings.h.
 */
#ifndef MOONCLAVE_HOST_SYSTEM_H
#define MOONCLAVE_HOST_SYSTEM_H

#include "base/error.h"
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

struct system {
    struct state *tree; /* app {bundle, config, hash, index}, settings, format_level; clock_ms and
                           chain as of system_seal */
    bool initialised;   /* an INIT was applied */
    uint64_t clock_ms;  /* the replicated clock: the greatest stamp applied */
    uint64_t chain;     /* hash(chain before, index, result, state hash, sessions' hash) */
    uint64_t app_hash;
    raft_index app_index; /* of the INIT */
    struct sessions sessions; /* beside the tree: with bytes and a hash of its own */
};

void system_init(struct system *system);
void system_deinit(struct system *system);

/* The first INIT counts; false: there was one, this one is ignored. */
bool system_apply_init(struct system *system, raft_index index, const struct init_payload *init);
struct slice system_bundle(const struct system *system); /* borrowed; empty before INIT */
struct slice system_config(const struct system *system);

/* The clock never goes back; sessions and keys that are due are forgotten. `settings`: the cluster's. */
void system_advance(struct system *system, const struct settings *settings, uint64_t time_ms);
void system_chain(struct system *system, raft_index index, enum error_code code, struct slice reply,
                  uint64_t state_hash);
/* Writes clock, chain and the sessions' hash into the tree, which then is all of it but for the
 * sessions' own bytes (sessions_encode), and answers its hash. Not for every entry. */
uint64_t system_seal(struct system *system);

/* The hash a bundle says it has (script/bundle.h); of all its bytes where it says none. */
uint64_t bundle_name(struct slice bundle);

#endif
