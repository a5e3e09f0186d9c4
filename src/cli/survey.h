/*
 * A stopped node's folder as the offline tools see it: what it holds (store/inspect.h), and who its cluster's members
 * are as far as it knows.
 */
#ifndef MOONCLAVE_CLI_SURVEY_H
#define MOONCLAVE_CLI_SURVEY_H

#include "base/error.h"
#include "raft/configuration.h"
#include "store/inspect.h"

struct survey {
    struct store_inspection *inspection;
    const struct store_overview *overview;
    struct raft_configuration configuration; /* the newest in the log or in its snapshot that can be read */
    raft_index configuration_index;
    bool has_configuration;
    raft_index last_index; /* where its log ends: the entry, or the snapshot's end */
    raft_term last_term;
    uint64_t last_chain, last_time_ms;
};

/* As store_inspect_open. To be closed after OK. */
enum error_code survey_open(const char *folder, struct survey *survey, struct error *error);
void survey_close(struct survey *survey); /* harmless on one of zeros */

/* Of the configuration; null: it does not name this node, or who it is cannot be read. */
const struct raft_server *survey_self(const struct survey *survey);
size_t survey_voters(const struct survey *survey);

/* "node n2, cluster ..., term 7 (voted for n1), log 401 to 512, snapshot at 400, members n1 n2 n3", as far as known. */
void survey_print(const struct survey *survey);

/* Looks through the snapshot's trees, as a start does: each is canonical and has the hash that the meta says. OK also
 * where there is no snapshot. CORRUPT, VERSION. Takes the memory that the state takes. */
enum error_code survey_check_trees(const struct survey *survey, struct error *error);

#endif
