/*
 * What membership adds to the simulator: operators and their orders, configurations and who has to be there for what,
 * one id with several disks. Shared by the files of this folder, like internal.h, which includes it.
 */
#ifndef MOONCLAVE_SIM_OPERATORS_H
#define MOONCLAVE_SIM_OPERATORS_H

#include "raft/raft.h"
#include "sim/deploys.h"
#include "sim/settings.h"
#include "sim/sim.h"

struct sim;
struct sim_disk;
struct sim_event;
struct machine_entry;
struct sim_history;
struct sim_ledger;
struct sim_node;

struct sim_configuration { /* as an entry; the first one is at index 0 */
    raft_index index;
    raft_term term;
    bool committed;
    struct raft_configuration parsed;
};

/* ---- membership.c: what must hold of leaders and configurations ---- */

void check_elected(struct sim_node *node, const struct raft *raft, const struct raft_status *status);
void check_standing(struct sim_node *node, const struct raft *raft, const struct raft_status *status);
bool check_is_durable(struct sim_node *node, const struct raft *raft, const struct raft_status *status,
                      raft_index index); /* on a quorum of the configuration that it was committed by */
bool check_may_be_committed(struct sim *sim, raft_index index, raft_term term); /* that configuration */
void check_removed(struct sim_node *node); /* it has stopped by itself */
void check_transfer(struct sim_node *node, const struct raft_status *status);
void check_changes(struct sim_node *node, const struct raft_entry *entry); /* written */
void check_timeout_now(struct sim_node *node, const struct raft_message *message); /* sent */
bool check_is_stranger(const struct sim_node *node, const struct raft_message *message); /* before it is received */
void check_told(struct sim_node *node, const struct raft_message *message, raft_term before, bool stranger);
bool check_stays_voter(const struct raft_configuration *configuration, const struct sim_node *node);

/* ---- lives.c: one id, several disks ---- */

/* It loses its disk, and what it promised with it; its next life has another incarnation. Its process is dead. */
void life_begin(struct sim_node *node, uint64_t incarnation);
void lives_deinit(struct sim_node *node);
/* The disk that a configuration means by this incarnation; null: nobody ever had it. */
const struct sim_disk *life_disk(const struct sim_node *node, uint64_t incarnation);
/* How much of a term's leader's log it has, or had durable while it was in that term. 0: the longest of all lives. */
raft_index life_match(const struct sim_node *node, uint64_t incarnation, raft_term term);
/* Whom it voted for in a term, durably: candidate + 1; 0: nobody. */
unsigned life_vote(const struct sim_node *node, uint64_t incarnation, raft_term term);

/* ---- electorate.c: configurations, and who must be there for what ---- */

void configuration_first(struct sim *sim, struct slice bytes);
void configuration_seen(struct sim *sim, const struct raft_entry *entry); /* for the first time */
void configuration_decided(struct sim *sim, raft_index index, raft_term term);
void configurations_deinit(struct sim_ledger *ledger);
/* Null: none was seen there. */
const struct sim_configuration *configuration_at(const struct sim *sim, raft_index index, raft_term term);
/* The newest that is committed; null: no node has a configuration yet. */
const struct sim_configuration *configuration_now(const struct sim *sim);
/* The one before the effective one, in that core's log; null: it is the first. */
const struct sim_configuration *configuration_before(const struct sim *sim, const struct raft *raft,
                                                     raft_index index);
const struct raft_server *configuration_names(const struct raft_configuration *configuration,
                                              const struct sim_node *node); /* by id and incarnation */

/* Bits by node: voters, all servers, and those that have lost the disk which this configuration means. */
struct sim_electorate {
    uint32_t voters, named, dead;
};
#define SIM_ELECTORATES 256
struct sim_electorates {
    struct sim_electorate items[SIM_ELECTORATES];
    size_t count;
};
struct sim_order;
/* Every electorate that may decide something from now on: those in force, and what they may become by what operators
 * have asked for so far, and `next` (or null). */
void electorates_draw_up(struct sim *sim, const struct sim_order *next, struct sim_electorates *out);
/* Are these nodes, as far as they have their disks, a majority of each? */
bool electorates_have(const struct sim_electorates *electorates, uint32_t nodes);

/* ---- operators.c, orders.c: operators, what they ask for and what they are told ---- */

enum sim_action {
    ACTION_ADD,
    ACTION_REMOVE,
    ACTION_PROMOTE,
    ACTION_DEMOTE,
    ACTION_SET,
    ACTION_TRANSFER,
    ACTION_PRIORITY,
    ACTION_SNAPSHOT,
    ACTION_CONFIG,
    ACTION_DEPLOY,
    ACTIONS,
    ACTION_RESTORE = ACTIONS /* beside the tables: restores.c */
};
const char *action_name(enum sim_action action);

struct sim_order { /* a REQUEST_ADMIN; its ticket is its place + 1 + SIM_ORDERS */
    enum sim_action action;
    unsigned subject;    /* the node it is about; NOBODY: none */
    uint32_t set;        /* SET: the voters, as bits */
    uint32_t priority;
    bool forced, learner, expects;
    raft_index expected;
    unsigned node;       /* asked there */
    uint32_t lifetime;
    uint32_t timeout_ms;
    enum sim_outcome outcome;
    bool submitted;
    uint64_t invoked_us;
    uint64_t due_us;     /* to be answered by then, on its node's clock */
    uint64_t until_us;   /* it may be carried out until then, whatever has been told */
    enum error_code code; /* of the answer */
    bool replied;
    uint64_t taken_index, taken_size; /* SNAPSHOT: what is said to be taken; CONFIG, DEPLOY: from where on it is so */
    struct sim_wish wish;             /* CONFIG */
    struct sim_deploy deploy;         /* DEPLOY */
    raft_index floor;                 /* ... what was applied when it was asked for */
    uint64_t restore[3]; /* RESTORE: its step, and what that names */
    size_t told;         /* the place + 1 of the configuration that is said to have done it; 0: none */
};
#define SIM_ORDERS ((uint64_t)1 << 62)

struct sim_operators {
    struct sim_order *orders;
    size_t count, capacity;
    uint64_t pending, submitting;
    uint64_t settled_us;   /* by then nothing that was asked for can be carried out any more */
    uint64_t holds_up_us;  /* for so long whoever is told to campaign next is paused; 0: not at all */
    unsigned asker;        /* + 1: when it asks for votes, everybody forgets what he promised the leader; 0: nobody */
    uint64_t hush_until_us; /* until then clients only ask */
    bool deafens;          /* when it campaigns, its leader hears nobody any more */
};

/* ---- restores.c: backups restored through the log ---- */

struct sim_restores {
    bool active, damaged; /* one byte of it is another */
    struct raft_snapshot_meta meta; /* of what is being restored; its configuration is owned */
    struct buffer bytes;
    uint64_t nonce, id;
    uint64_t step;       /* of host/restore_log.c */
    size_t offset, piece;
    size_t leaves_at;    /* its operator goes away there, ... */
    bool aborts;         /* ... or gives it up */
    unsigned tries;
    struct sim_asked_for { /* what anybody has begun to restore: nothing else may come */
        raft_index index;
        uint64_t state_hash;
        bool damaged;
    } *asked;
    size_t asked_count, asked_capacity;
};

void restores_begin(struct sim *sim);
void restores_end(struct sim *sim);
void restores_on_event(struct sim *sim, struct sim_event *event);
void restores_write(const struct sim *sim, const struct sim_order *order, struct buffer *out); /* its body */
void restores_judge(struct sim_node *node, struct sim_order *order, const struct reply *reply);
void restores_settled(struct sim *sim, const struct sim_order *order, enum sim_outcome outcome);
/* A machine has switched: to what, and is it what the others did? */
void check_switched(struct sim_node *node, const struct machine_entry *last, uint64_t hash, unsigned version,
                    const struct machine_entry *stamps);
/* It begins to take one in, by that version of the app and the stamps that it was loaded by. */
void check_staged(struct sim_node *node, unsigned version, const struct machine_entry *stamps);
/* A key's commands as of what was applied at `index`. */
const struct sim_history *workload_history(const struct sim *sim, raft_index index, uint64_t key);
void workload_restored(struct sim *sim, raft_index index, raft_index backup); /* at index, as it was at backup */

void strike_join(struct sim *sim);
void strike_rejoin(struct sim *sim);
void strike_remove(struct sim *sim);
void strike_promote(struct sim *sim);
void strike_demote(struct sim *sim);
void strike_replace(struct sim *sim);
void strike_transfer(struct sim *sim);
void strike_priority(struct sim *sim);
void strike_forget(struct sim *sim);
void strike_snapshot(struct sim *sim);
void operators_asks(struct sim_node *candidate); /* for a pre-vote */
bool operators_spare(struct sim *sim, const struct sim_node *node); /* may it lose its disk? */
bool operators_hush(const struct sim *sim); /* clients ask, and order nothing, for a while */
void operators_handover(struct sim_node *to);        /* it is told to campaign */
void operators_takeover(struct sim_node *candidate); /* it does so, having been told */
unsigned operators_doors(struct sim_node *node, const char **doors); /* 1 or 2 addresses for --join */
void operators_retire(struct sim_node *node); /* removed and stopped: an empty disk, and it is a spare again */

void order_give(struct sim *sim, const struct sim_order *order);
void order_on_submit(struct sim *sim, struct sim_event *event);
void order_on_overdue(struct sim *sim, struct sim_event *event);
void order_reply(struct sim_node *node, uint64_t ticket, const struct reply *reply);
void orders_node_died(struct sim_node *node);
void orders_check_end(struct sim *sim);
void orders_end(struct sim *sim);

#endif
