/*
 * A store whose cluster is lost becomes the beginning of another: for one that was opened as ever, and is closed next.
 */
#ifndef MOONCLAVE_STORE_RECOVER_H
#define MOONCLAVE_STORE_RECOVER_H

#include "store/store.h"

struct store_recovery {
    uint64_t cluster;                 /* the new cluster's id */
    struct slice first_configuration; /* ... which is named after it */
    struct raft_hard_state hard_state;
    const struct raft_entry *entry;   /* continues the log: the configuration from now on */
};

/* All of it in one transaction, durable when it returns OK. Errors as store_persist. The incarnation stays. */
enum error_code store_recover(struct store *store, const struct store_recovery *recovery, struct error *error);

#endif
