/*
 * What a host measures of itself (host_load, host_timings), as tables for the specs. Only host.c includes it.
 */
#ifndef MOONCLAVE_MODULE_HOST_MEASURES_H
#define MOONCLAVE_MODULE_HOST_MEASURES_H

#include "host/host.h"
#include "module/fields.h"

/* host:load(): the fields of struct host_load by their names */
static inline int push_load(lua_State *L, const struct host *host)
{
    struct host_load load = host_load(host);
    lua_createtable(L, 0, 16);
    set_u64(L, "waiting", load.waiting);
    set_u64(L, "waiting_bytes", load.waiting_bytes);
    set_u64(L, "apply_pending", load.apply_pending);
    set_u64(L, "sessions", load.sessions);
    set_u64(L, "session_bytes", load.session_bytes);
    set_u64(L, "keys", load.keys);
    set_u64(L, "key_bytes", load.key_bytes);
    set_u64(L, "snapshot_bytes", load.snapshot_bytes);
    set_u64(L, "log_bytes", load.log_bytes);
    set_boolean(L, "snapshot_taking", load.snapshot_taking);
    set_boolean(L, "restoring", load.restoring);
    set_u64(L, "disk_waits_us", load.disk_waits_us);
    set_u64(L, "leaderless_us", load.leaderless_us);
    set_u64(L, "clock_ms", load.clock_ms);
    set_boolean(L, "disk_slow", load.disk_slow);
    set_boolean(L, "apply_slow", load.apply_slow);
    return 1;
}

static inline void set_histogram(lua_State *L, const char *name, const struct histogram *histogram)
{
    lua_createtable(L, 0, 3);
    set_u64(L, "count", histogram_count(histogram));
    set_u64(L, "sum_us", histogram->sum_us);
    set_u64(L, "max_us", histogram->max_us);
    lua_setfield(L, -2, name);
}

/* host:timings(): {proposal = {count=, sum_us=, max_us=}, commit=, apply=, read_round=} */
static inline int push_timings(lua_State *L, const struct host *host)
{
    const struct host_timings *timings = host_timings(host);
    lua_createtable(L, 0, 4);
    set_histogram(L, "proposal", &timings->proposal);
    set_histogram(L, "commit", &timings->commit);
    set_histogram(L, "apply", &timings->apply);
    set_histogram(L, "read_round", &timings->read_round);
    return 1;
}

#endif
