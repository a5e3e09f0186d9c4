/*
 * What the two files of `moonclave cluster` share: cluster.c plans (flags, ports, folders, what to tell people),
 * cluster_run.c runs the children.
 */
#ifndef MOONCLAVE_CLI_CLUSTER_H
#define MOONCLAVE_CLI_CLUSTER_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER_NODES_MAX 9
#define CLUSTER_ADDRESS_MAX 32 /* "127.0.0.1:65535" */

struct cluster_node {
    char id[8];
    char address[CLUSTER_ADDRESS_MAX];
    char *data;
    char **arguments; /* of `moonclave start`, the program's name first, null behind the last; each owned */
};

struct cluster_plan {
    struct cluster_node nodes[CLUSTER_NODES_MAX];
    size_t count;
    uint64_t stop_timeout_ms;        /* of the nodes */
    void (*ready)(void *context);    /* every node is: called once */
    void *context;
    bool repl;                       /* then a REPL has the terminal; when it ends, so do the nodes */
    const char *log;                 /* the file that has the nodes' lines from then on */
};

/* Starts the nodes and waits until all have ended: after Ctrl-C, SIGTERM or the REPL's end, or when one dies before all
 * are ready.
 * Leaves none running. Returns the exit code. */
int cluster_run(const struct cluster_plan *plan);

#endif
