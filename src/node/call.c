/* See call.h. */
#include "node/call.h"

#define SECONDS_MAX 86400.0

bool call_consistency(struct slice name, enum consistency *consistency)
{
    static const char *const names[] = {
        [CONSISTENCY_LINEARIZABLE] = "linearizable",
        [CONSISTENCY_LEASE] = "lease",
        [CONSISTENCY_STALE] = "stale",
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!slice_equal(name, slice_text(names[i]))) continue;
        *consistency = (enum consistency)i;
        return true;
    }
    return false;
}

bool call_timeout(double seconds, uint32_t *timeout_ms)
{
    if (!(seconds > 0 && seconds <= SECONDS_MAX)) return false;
    double ms = seconds * 1000;
    *timeout_ms = ms < 1 ? 1 : (uint32_t)ms;
    return true;
}
