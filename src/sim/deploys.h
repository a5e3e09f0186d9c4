/*
 * What versions of the app add to the simulator: those that there are, people who deploy them (as orders, operators.h),
 * and which one runs at each index by rules of our own. Shared by the files of this folder, like internal.h, which
 * includes it.
 */
#ifndef MOONCLAVE_SIM_DEPLOYS_H
#define MOONCLAVE_SIM_DEPLOYS_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/machine.h"
#include "raft/types.h"

struct sim;
struct sim_event;
struct sim_node;
struct sim_order;
struct reply;

/* ---- versions.c: the bundles ---- */

enum sim_version_kind {
    VERSION_SOUND,
    VERSION_ONE_WAY, /* knows no way back from a later one */
    VERSION_BROKEN,  /* does not load */
    VERSION_FAILS,   /* its migrate does half of its work, and fails */
    VERSION_PICKY,   /* ... where the state is that of an odd index */
    VERSION_FOREIGN, /* somebody's own: what it does is not known here */
};

struct sim_bundle {
    struct buffer bytes;
    uint64_t hash;
    int64_t number; /* the version it gives itself; 0 where that is not known */
    enum sim_version_kind kind;
};

/* The bundle that the nodes are started with, and, where they may be deployed, what may follow it. */
void versions_begin(struct sim *sim);
void versions_end(struct sim *sim);
unsigned versions_add(struct sim *sim, struct slice bytes); /* copies; its place + 1 */
unsigned versions_find(const struct sim *sim, struct slice bytes); /* place + 1; 0: nobody has made it */
const struct sim_bundle *versions_at(const struct sim *sim, unsigned version); /* by place + 1 */

/* ---- deploys.c ---- */

struct sim_deploy { /* what is asked for, and what an entry says */
    unsigned version; /* its place + 1 */
    bool any;         /* whatever there is, it is replaced */
    uint64_t replaces;
};

struct sim_deploy_seen { /* a DEPLOY entry that was seen */
    raft_index index;
    raft_term term;
    struct sim_deploy what;
};

struct sim_switch { /* a machine was given code at this index: the first one to get there */
    raft_index index;
    raft_term term;
    unsigned version;
    enum error_code code;
    struct machine_versions numbers;
    struct machine_entry stamps;
    uint64_t state_hash; /* behind it */
    raft_index backup;   /* of a restore: the index whose code it brought; 0: of INIT and DEPLOY */
    bool told;           /* to whoever has deployed it */
};

struct sim_running { /* from this index on, until the next one, along the one history that is applied */
    raft_index index;
    unsigned version;
    struct machine_entry stamps; /* that it was loaded by */
};

struct sim_deploys {
    struct sim_bundle *bundles;
    size_t bundle_count;
    struct sim_deploy_seen *seen;
    size_t seen_count, seen_capacity;
    struct sim_switch *switches;
    size_t switch_count, switch_capacity;
    struct sim_running *running;
    size_t running_count, running_capacity;
    raft_index begun;       /* the newest restore that was begun, and not done since: one may be under way; 0: none */
    struct sim_deploy last; /* that somebody asked for */
    bool unsure;            /* and does not know what became of it */
    bool pending, done;     /* of an app's next version: it is being asked for; it runs */
    struct buffer reply;    /* to the newest one by hand */
};

void deploys_begin(struct sim *sim);
void deploys_end(struct sim *sim);
void deploys_on_event(struct sim *sim, struct sim_event *event); /* EVENT_DEPLOY: somebody deploys something */
bool deploys_wanting(const struct sim *sim); /* an app's next version is to be deployed, and is not yet */

void deploys_entry_seen(struct sim *sim, const struct raft_entry *entry); /* for the first time */
/* The next entry that is applied. */
void deploys_follow(struct sim_node *node, raft_index index, raft_term term, unsigned type);
/* What runs behind the entry at `index`; null: nothing yet. */
const struct sim_running *deploys_behind(const struct sim *sim, raft_index index);

/* A machine has loaded INIT's bundle, or was given another: OK, or SCRIPT. */
void check_loaded(struct sim_node *node, const struct machine_entry *entry, unsigned version, enum error_code code,
                  const struct machine_versions *numbers, uint64_t state_hash);
/* DEPLOY has done what it was to do. */
void check_deployed(struct sim_node *node, const struct machine_entry *entry, uint64_t state_hash);
/* ... or a backup's; false: that of `index` had another. */
bool check_backup(const struct sim *sim, raft_index index, unsigned version, const struct machine_entry *stamps);
void check_brought(struct sim_node *node, const struct machine_entry *last, unsigned version, raft_index backup);
/* It begins to restore a snapshot. */
void check_snapshot_code(struct sim_node *node, const struct machine_entry *stamps, unsigned version);
void check_code(const struct sim_node *node, raft_index index);       /* of the machine, for the entry it is given */
void check_running(const struct sim_node *node, raft_index applied); /* of a host that has applied that */

void deploys_write(const struct sim *sim, const struct sim_order *order, struct buffer *out); /* the arguments */
void deploys_judge(struct sim_node *node, struct sim_order *order, const struct reply *reply);
void deploys_settled(struct sim *sim, const struct sim_order *order);
void deploys_judge_end(struct sim *sim);

#endif
