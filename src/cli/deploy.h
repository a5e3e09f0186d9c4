/* What the files of `moonclave deploy` share. */
#ifndef MOONCLAVE_CLI_DEPLOY_H
#define MOONCLAVE_CLI_DEPLOY_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/machine.h"
#include "cli/archive.h"
#include "state/state.h"

/* ---- deploy_changes.c: two states ---- */
/*
 * An item is what is counted and shown: a value that is no table, an empty table, or a record: a table of at most
 * DEPLOY_RECORD_MAX plain values, two levels or deeper below the root. So `items.k1` is an item with all its fields,
 * and so is each key of a flat `settings`.
 */
#define DEPLOY_RECORD_MAX 8
#define DEPLOY_SHOWN 10

enum deploy_kind { DEPLOY_ADDED, DEPLOY_REMOVED, DEPLOY_CHANGED };
extern const char *const deploy_kind_names[]; /* "added", ... */

struct deploy_difference {
    enum deploy_kind kind;
    struct buffer path, before, after; /* for people: items.k1, { value = "a" } */
};

/* Zero-initialise. */
struct deploy_changes {
    uint64_t items[3];                             /* by kind */
    struct deploy_difference first[DEPLOY_SHOWN]; /* in key order; a table that is new or gone: itself, in one line */
    size_t shown;
    bool more; /* there are more than are shown */
};
/* In time linear in both, in memory for what is shown only. Neither may be in a transaction. */
void deploy_changes_find(const struct state *before, const struct state *after, struct deploy_changes *changes);
void deploy_changes_deinit(struct deploy_changes *changes);

/* ---- deploy_files.c: two bundles, and what two versions serve ---- */

/* The next file that is not the same in both, in the order of paths. `at`: zero-initialise. */
struct deploy_files {
    size_t before, after; /* the places that are looked at next */
};
struct deploy_file {
    enum deploy_kind kind;
    struct slice path; /* borrowed of a bundle */
    size_t lines_added, lines_removed;
};
bool deploy_files_next(struct deploy_files *at, struct slice before, struct slice after, struct deploy_file *file);

/* How many lines a text gains and loses to become another: the fewest that do, where that is not far. */
void deploy_lines(struct slice before, struct slice after, size_t *added, size_t *removed);

/* Appends one msgpack array: those of the sorted array `of` that are not in the sorted array `without`. */
void deploy_names_missing(struct slice of, struct slice without, struct buffer *out);

/* ---- deploy_try.c: the new version over a copy of the state ---- */
struct deploy_try {
    struct archive archive; /* what the cluster had, as of archive.reader.head.meta.index */
    struct fsm *fsm;
    bool had_app;           /* else INIT's did not load, and the new one begins as that would have */
    struct machine_versions versions;
    uint64_t bytes_before, bytes_after; /* of the state, in a snapshot */
    uint64_t took_us;                   /* loading it and migrate: what every node will stand still for */
    struct buffer names_before, names_after; /* fsm_names; empty: none */
    struct deploy_changes changes;
    struct buffer said; /* what its log(...) said meanwhile, a line each */
    /* What the cluster would say, and where it was raised; empty: it takes it. */
    struct buffer refusal, traceback;
};
void deploy_try_init(struct deploy_try *try);
void deploy_try_deinit(struct deploy_try *try);
/* From an archive that is whole. OK, also where the new version is refused; SCRIPT, CORRUPT, INTERNAL: it could not be
 * tried. */
enum error_code deploy_try_run(struct deploy_try *try, struct slice bundle, struct error *error);
/* Without a state to try it on: does fsm.lua load? SCRIPT with the reason. */
enum error_code deploy_try_load(struct slice bundle, struct error *error);
/* api.lua with its start(config), and policy.lua, as a node loads them: appends a line for each that does not load.
 * `status`, `members`, `settings`: what the scripts are told that ask. */
struct deploy_world {
    struct slice config; /* the app's, one msgpack value */
    struct slice status, members, settings;
};
void deploy_try_scripts(struct slice bundle, const struct deploy_world *world, struct buffer *problems);
/* What the rules of `moonclave check` find in the files: appends a line for each. SCRIPT: they could not be asked. */
enum error_code deploy_try_rules(struct slice bundle, struct buffer *findings, struct error *error);

/* ---- deploy_print.c: what was found, for people and as JSON ---- */
struct deploy_found {
    const char *app; /* its path */
    uint64_t hash, replaces;    /* of the new one, and of the one it follows */
    bool same;                  /* ... which is the same, and runs */
    struct slice before, after; /* bundles; `before` is empty where it was not fetched */
    const struct deploy_try *try; /* null: there was no dry run */
    struct buffer problems;     /* of api.lua and policy.lua, a line each */
    struct buffer findings;     /* of the rules of `moonclave check`, a line each */
};
/* What the cluster has answered. */
struct deploy_outcome {
    uint64_t index;
    bool again; /* that app was there already: by an earlier attempt */
    struct machine_versions versions; /* where it was not */
};
void deploy_print(const struct deploy_found *found);
/* One object; `outcome` null: it was not sent. */
void deploy_print_json(const struct deploy_found *found, const struct deploy_outcome *outcome);

#endif
