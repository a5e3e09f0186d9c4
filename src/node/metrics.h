/*
 * GET /metrics: what a node counts and measures, as Prometheus reads it (text format 0.0.4). Names begin with
 * moonclave_, times are seconds, sizes bytes, what only grows ends in _total. README.md of this folder lists them.
 */
#ifndef MOONCLAVE_NODE_METRICS_H
#define MOONCLAVE_NODE_METRICS_H

#include "base/buffer.h"
#include "base/histogram.h"

struct node;
struct ticket;

/* What a request was about: one series of the histogram of its protocol each. */
enum metrics_route {
    METRICS_APP, /* a route of api.lua */
    METRICS_COMMAND,
    METRICS_QUERY,
    METRICS_SESSION,
    METRICS_ADMIN,
    METRICS_NODE, /* about the node itself */
    METRICS_ROUTES,
};

struct metrics {
    struct histogram http[METRICS_ROUTES], rpc[METRICS_ROUTES];
    uint64_t responses[6]; /* HTTP: by status / 100; 0: any other */
};

enum metrics_route metrics_route_of(struct slice path); /* of an HTTP path; METRICS_APP: none of ours */
void metrics_http(struct node *node, enum metrics_route route, uint64_t began_us, int status);
/* A request of msgpack-RPC under this ticket begins; the ticket is answered. */
void metrics_rpc_begins(struct node *node, uint64_t ticket, enum metrics_route route);
void metrics_rpc_ends(struct node *node, const struct ticket *ticket);
void metrics_write(struct node *node, struct buffer *out);

#endif
