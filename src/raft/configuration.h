/*
 * Configurations: bytes and questions. Pure.
 *
 * Bytes: a msgpack map {"version": 1, "previous": index, "servers": [...], "outgoing": [id, ...]}, each server a map
 * {"id", "incarnation", "role", "priority", "addresses": [[kind, host, port], ...], "labels": {name: value}}, canonical
 * (keys sorted, servers sorted by id), so that equal configurations have equal bytes. Unknown keys are VERSION.
 *
 * A joint configuration is one with outgoing voters. Whoever of them is to go stays among the servers as LEAVING until
 * the next one: its address and incarnation are needed for as long as its vote is.
 */
#ifndef MOONCLAVE_RAFT_CONFIGURATION_H
#define MOONCLAVE_RAFT_CONFIGURATION_H

#include "base/error.h"
#include "raft/types.h"

void raft_configuration_init(struct raft_configuration *configuration); /* empty */
void raft_configuration_deinit(struct raft_configuration *configuration);
/* `to` is initialised, zeroed, or a configuration: what it held is freed first. */
void raft_configuration_copy(struct raft_configuration *to, const struct raft_configuration *from);
/* Adds a server without labels at its sorted place, with one address of kind "node" (host:port text; IPv6 in
 * brackets). BAD_REQUEST: id taken, address malformed. */
enum error_code raft_configuration_add(struct raft_configuration *configuration, const char *id, uint64_t incarnation,
                                       const char *address, enum raft_server_role role, struct error *error);
/* A copy of `server` at its sorted place; its id must not be there yet. Valid until the next change. */
struct raft_server *raft_configuration_insert(struct raft_configuration *configuration,
                                              const struct raft_server *server);
void raft_server_deinit(struct raft_server *server); /* frees what it owns */

/* Changes of one server, to build the configuration that is wanted. NOT_FOUND: no such server; BAD_REQUEST: malformed.
 */
enum error_code raft_configuration_remove(struct raft_configuration *configuration, const char *id,
                                          struct error *error);
enum error_code raft_configuration_set_role(struct raft_configuration *configuration, const char *id,
                                            enum raft_server_role role, struct error *error);
enum error_code raft_configuration_set_priority(struct raft_configuration *configuration, const char *id,
                                                uint32_t priority, struct error *error);
/* A label more, another value for it, or (null) none any more. BAD_REQUEST: the name is empty. */
enum error_code raft_configuration_set_label(struct raft_configuration *configuration, const char *id,
                                             const char *name, const char *value, struct error *error);
/* Its first address of that kind, or one more of it: host:port. */
enum error_code raft_configuration_set_address(struct raft_configuration *configuration, const char *id,
                                               const char *kind, const char *address, struct error *error);

/* What is to be appended to come from `from` (at index `previous`, not joint) to `wanted`: `wanted` itself where at
 * most one voter differs, else the joint configuration of both. `next` is initialised or zeroed; the caller owns it. */
void raft_configuration_next(const struct raft_configuration *from, raft_index previous,
                             const struct raft_configuration *wanted, struct raft_configuration *next);
/* What a joint configuration at index `previous` is left for: without the outgoing and the leaving. */
void raft_configuration_settled(const struct raft_configuration *joint, raft_index previous,
                                struct raft_configuration *next);
bool raft_configuration_joint(const struct raft_configuration *configuration);
/* Equal but for `previous`. */
bool raft_configuration_same(const struct raft_configuration *a, const struct raft_configuration *b);

void raft_configuration_encode(const struct raft_configuration *configuration, struct buffer *out);
/* Into an initialised or zeroed one, owned by the caller after OK (what it held is freed then, and untouched after an
 * error). CORRUPT or VERSION with a text. */
enum error_code raft_configuration_decode(struct slice bytes, struct raft_configuration *configuration,
                                          struct error *error);

const struct raft_server *raft_configuration_find(const struct raft_configuration *configuration,
                                                  const struct raft_id *id); /* null: not in it */
/* Votes in the incoming half: when no second majority is needed any more, it is a voter still. */
bool raft_configuration_stays_voter(const struct raft_configuration *configuration, const struct raft_id *id);
/* Votes in the incoming or the outgoing half. */
bool raft_configuration_is_voter(const struct raft_configuration *configuration, const struct raft_id *id);
/* "host:port" of the server's first address of a kind, into out[ADDRESS_MAX + 1]; false: it has none. */
bool raft_server_address(const struct raft_server *server, const char *kind, char *out);
/* Splits "host:port" ("[::1]:5001" too); asserts nothing: false when malformed. host must hold ADDRESS_MAX + 1. Port 0
 * is accepted here (it means any, to one who binds) and refused by raft_configuration_add. */
bool raft_address_split(const char *text, char *host, uint16_t *port);

/* Majorities. `value` is asked for every voter; the answer is the largest index that a majority (of both halves while
 * joint) has reached: 0 for no voters. */
raft_index raft_quorum_index(const struct raft_configuration *configuration,
                             raft_index (*value)(void *context, const struct raft_id *id), void *context);
/* Do those for whom `has` holds form a majority (of both halves while joint)? false for no voters. */
bool raft_quorum_has(const struct raft_configuration *configuration,
                     bool (*has)(void *context, const struct raft_id *id), void *context);

#endif
