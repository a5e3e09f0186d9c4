/* What a node knows of the health of its cluster: its own problems, and, where it leads, those of the others. */
#ifndef MOONCLAVE_NODE_HEALTH_H
#define MOONCLAVE_NODE_HEALTH_H

#include "node/verdict.h"

struct node;

/* Appends one msgpack map (verdict.h); the health it tells. */
enum health health_write(struct node *node, struct buffer *out);

#endif
