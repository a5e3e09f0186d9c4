/* What the files of `moonclave doctor` share: what was found, who was asked, what is to be done. */
#ifndef MOONCLAVE_CLI_DOCTOR_H
#define MOONCLAVE_CLI_DOCTOR_H

#include "cli/survey.h"

#define DOCTOR_PEERS_MAX 32
#define DOCTOR_STEPS_MAX 8
#define DOCTOR_TEXT      1024

/* Another member, asked for its status. */
struct doctor_peer {
    char address[ADDRESS_MAX + 1];
    char id[ID_MAX + 1]; /* "" : not known */
    bool answered, of_this_cluster, leads, knows_leader;
    uint64_t term, last_index, applied;
    char leader_address[ADDRESS_MAX + 1];
    struct error error; /* why it did not answer */
};

struct doctor {
    struct survey survey;
    struct store_finding *findings;
    size_t count;
    bool damaged; /* a node does not start with what was found */
    bool newer;   /* a part of that looks as if a later program had written it */
    struct doctor_peer peers[DOCTOR_PEERS_MAX];
    size_t peer_count;
    char steps[DOCTOR_STEPS_MAX][DOCTOR_TEXT];
    size_t step_count;
};

/* doctor_peers.c: asks each of a list "ADDR,ADDR", or (null) each other member that is known. USAGE: too many. */
enum error_code doctor_ask(struct doctor *doctor, const char *list, struct error *error);
const struct doctor_peer *doctor_leader(const struct doctor *doctor); /* one that is known to lead; null: none */

/* doctor_advice.c: what the findings mean, as lines; and the steps, each a command to type or a sentence. */
void doctor_explain(const struct doctor *doctor, struct buffer *out);
void doctor_advise(struct doctor *doctor);

/* doctor_report.c */
void doctor_print(const struct doctor *doctor);
void doctor_print_json(const struct doctor *doctor);

#endif
