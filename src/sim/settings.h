/*
 * What settings that change add to the simulator: people who change them (as orders, operators.h), and what must be in
 * force at each index by rules of our own. Shared by the files of this folder, like internal.h, which includes it.
 */
#ifndef MOONCLAVE_SIM_SETTINGS_H
#define MOONCLAVE_SIM_SETTINGS_H

#include "base/settings.h"
#include "raft/types.h"

struct sim;
struct sim_event;
struct sim_node;
struct sim_order;
struct buffer;
struct reply;

#define SIM_CHANGES 2 /* settings that one order changes at most */

struct sim_wish { /* of an order: which settings, and what they are to be */
    const struct setting_row *rows[SIM_CHANGES];
    uint64_t values[SIM_CHANGES];
    unsigned count;
};

struct sim_change { /* a SETTINGS entry that was seen */
    raft_index index;
    raft_term term;
    struct settings_change change;
};

struct sim_in_force { /* the cluster's settings behind the entry at `index`, until the next one */
    raft_index index;
    struct settings settings;
};

struct sim_settings {
    struct sim_change *seen;
    size_t seen_count, seen_capacity;
    struct sim_in_force *moments; /* along the one history that is applied; none: as the plan has them */
    size_t moment_count, moment_capacity;
};

void settings_begin_orders(struct sim *sim);
void settings_on_order(struct sim *sim, struct sim_event *event); /* EVENT_SETTINGS: somebody changes something */
void settings_deinit(struct sim *sim);

void settings_entry_seen(struct sim *sim, const struct raft_entry *entry); /* for the first time */
void settings_follow(struct sim *sim, raft_index index, raft_term term);   /* the next entry that is applied */
/* The cluster's as they are in force behind the entry at `index`; the others are the plan's. */
const struct settings *settings_behind(const struct sim *sim, raft_index index);

void check_settings(const struct sim_node *node, raft_index applied); /* of a host that has applied that */
/* The machine of a node goes by what is in force for the entry that it is given. */
void check_budget(const struct sim_node *node, raft_index index);

void settings_write_wish(const struct sim_wish *wish, struct buffer *out); /* the arguments of an order */
void settings_judge(struct sim_node *node, struct sim_order *order, const struct reply *reply); /* said to be done */
void settings_judge_end(struct sim *sim, const struct sim_order *order);

#endif
