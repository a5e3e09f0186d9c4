/* A core's status as a Lua table, for moonclave.core: names and units are those of raft/raft.h. */
#ifndef MOONCLAVE_MODULE_CORE_STATUS_H
#define MOONCLAVE_MODULE_CORE_STATUS_H

#include "module/fields.h"
#include "raft/raft.h"

static inline void push_members(lua_State *L, const struct raft_configuration *configuration,
                                enum raft_server_role role, const char *name)
{
    lua_newtable(L);
    for (size_t i = 0; i < configuration->server_count; i++) {
        if (configuration->servers[i].role != role) continue;
        lua_pushstring(L, configuration->servers[i].id.text);
        lua_seti(L, -2, luaL_len(L, -2) + 1);
    }
    lua_setfield(L, -2, name);
}

/* {voters = {id}, learners = {id}, leaving = {id}, outgoing = {id}, addresses = {id = first}}: what the
 * specs ask of one. */
static inline void push_configuration(lua_State *L, const struct raft_configuration *configuration)
{
    lua_createtable(L, 0, 6);
    set_u64(L, "previous", configuration->previous);
    push_members(L, configuration, RAFT_VOTER, "voters");
    push_members(L, configuration, RAFT_LEARNER, "learners");
    push_members(L, configuration, RAFT_LEAVING, "leaving");
    lua_newtable(L);
    for (size_t i = 0; i < configuration->server_count; i++) {
        char address[ADDRESS_MAX + 1] = "";
        raft_server_address(&configuration->servers[i], "node", address);
        set_text(L, configuration->servers[i].id.text, address);
    }
    lua_setfield(L, -2, "addresses");
    lua_newtable(L);
    for (size_t i = 0; i < configuration->outgoing_count; i++) {
        lua_pushstring(L, configuration->outgoing[i].text);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "outgoing");
}

static inline void push_peers(lua_State *L, const struct raft_status *status)
{
    lua_createtable(L, 0, (int)status->peer_count);
    for (size_t i = 0; i < status->peer_count; i++) {
        const struct raft_peer_status *peer = &status->peers[i];
        lua_createtable(L, 0, 14);
        set_text(L, "standing", raft_standing_name(peer->standing));
        set_u64(L, "rounds", peer->rounds);
        set_u64(L, "round_us", peer->round_us);
        set_boolean(L, "caught_up", peer->caught_up);
        set_boolean(L, "stuck", peer->stuck);
        set_boolean(L, "forgot", peer->forgot);
        set_text(L, "progress", peer->progress);
        set_u64(L, "match", peer->match);
        set_u64(L, "next", peer->next);
        set_u64(L, "in_flight", peer->in_flight);
        set_u64(L, "contact_us", peer->contact_us);
        set_u64(L, "snapshot_index", peer->snapshot_index);
        set_u64(L, "snapshot_offset", peer->snapshot_offset);
        set_u64(L, "snapshot_size", peer->snapshot_size);
        lua_setfield(L, -2, peer->id.text);
    }
}

static inline void push_status(lua_State *L, const struct raft_status *status)
{
    lua_createtable(L, 0, 27);
    set_text(L, "id", status->id.text);
    set_text(L, "role", raft_role_name(status->role));
    set_u64(L, "term", status->term);
    set_text(L, "vote", status->vote.text);
    set_text(L, "leader", status->leader.text);
    set_u64(L, "snapshot_index", status->snapshot_index);
    set_u64(L, "snapshot_term", status->snapshot_term);
    set_u64(L, "installing_index", status->installing_index);
    set_u64(L, "first_index", status->first_index);
    set_u64(L, "last_index", status->last_index);
    set_u64(L, "last_term", status->last_term);
    set_u64(L, "commit_index", status->commit_index);
    set_u64(L, "applied_index", status->applied_index);
    set_u64(L, "durable_index", status->durable_index);
    set_u64(L, "persist_sequence", status->persist_sequence);
    set_u64(L, "uncommitted_bytes", status->uncommitted_bytes);
    set_u64(L, "tail_bytes", status->tail_bytes);
    set_boolean(L, "disk_full", status->disk_full);
    set_boolean(L, "configuration_pending", status->configuration_pending);
    set_text(L, "transfer_target", status->transfer_target.text);
    set_u64(L, "lease_until_us", status->lease_until_us);
    set_u64(L, "configuration_index", status->configuration_index);
    push_configuration(L, status->configuration);
    lua_setfield(L, -2, "configuration");
    push_peers(L, status);
    lua_setfield(L, -2, "peers");
}

#endif
