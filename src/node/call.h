/* What a client may say beside a command's or query's arguments, in any protocol. */
#ifndef MOONCLAVE_NODE_CALL_H
#define MOONCLAVE_NODE_CALL_H

#include "base/request.h"

struct call {
    enum consistency consistency;
    uint32_t timeout_ms; /* 0: the setting */
};

bool call_consistency(struct slice name, enum consistency *consistency); /* false: no such word */
bool call_timeout(double seconds, uint32_t *timeout_ms);                 /* false: out of range */

#endif
