/*
 * A command that kills whoever applies it: with the option `poison`, once a run, the first plain command that is about
 * to be applied anywhere after a drawn moment; in some runs with deploys, the first DEPLOY whose code is tried. From
 * then on it is the death of every node (the machine says INTERNAL), until the hosts halt before it and an operator has
 * it skipped. poison.c has what must hold.
 */
#ifndef MOONCLAVE_SIM_POISON_H
#define MOONCLAVE_SIM_POISON_H

#include "host/host.h"

struct sim;
struct sim_node;
struct sim_event;

#define SIM_NO_COMMAND UINT64_MAX
#define SIM_SKIPS ((uint64_t)3 << 62) /* tickets of operators' skips: from there on */

struct sim_poison {
    bool armed;
    bool of_deploys;  /* it is a DEPLOY, not a command */
    uint64_t number;  /* the command, SIM_NO_COMMAND for a DEPLOY; 0: none yet */
    raft_index index; /* where it stands */
    uint64_t asked;   /* skips */
    uint64_t bogus;   /* the ticket of the newest that must be refused */
};

/* The page of node/deaths.c. */
struct sim_page {
    raft_index applying, suspect;
    unsigned count;
};

void poison_begin(struct sim *sim);
void poison_on_event(struct sim *sim, struct sim_event *event);
struct host_deaths poison_deaths(struct sim_node *node); /* as a process that starts counts them */
void poison_applying(struct sim_node *node, raft_index index);
void poison_buried(struct sim_node *node); /* the process has ended: by itself, or not */
/* It is about to apply the command of that number: true, and it dies. */
bool poison_kills(struct sim_node *node, raft_index index, raft_term term, uint64_t number);
/* ... or the DEPLOY at that index. */
bool poison_kills_deploy(struct sim_node *node, raft_index index);
bool poison_is(const struct sim *sim, raft_index index); /* no command to those who look along the log */
bool poison_pending(struct sim *sim); /* whoever leads may yet die of it */
/* What its client is told: true where it is judged here. */
bool poison_judges(struct sim_node *node, uint64_t number, enum error_code code);
void poison_reply(struct sim_node *node, uint64_t ticket, const struct reply *reply);

#endif
