/*
 * From one configuration to another: changes of one server, and the steps that are safe to take.
 *
 * Majorities of configurations that differ by one voter overlap, so such a change is one entry
 * (Ongaro §4.1). Others go through a joint configuration that needs both majorities (§4.3): the
 * wanted one, with the voters before it as `outgoing`, and those of them that are to go still among
 * the servers.
 */
#include "raft/configuration.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

static struct raft_server *server_named(struct raft_configuration *configuration, const char *id,
                                        struct error *error);
static size_t voters_that_differ(const struct raft_configuration *from,
                                 const struct raft_configuration *wanted);
static void add_outgoing(struct raft_configuration *configuration, const struct raft_id *id);
static void keep_leaving(struct raft_configuration *next, const struct raft_configuration *from,
                         const struct raft_id *id);
static void drop_server(struct raft_configuration *configuration, size_t place);

/* ---- one server ---- */

enum error_code raft_configuration_remove(struct raft_configuration *configuration, const char *id,
                                          struct error *error)
{
    struct raft_server *server = server_named(configuration, id, error);
    if (!server) return ERROR_NOT_FOUND;
    drop_server(configuration, (size_t)(server - configuration->servers));
    return ERROR_OK;
}

enum error_code raft_configuration_set_role(struct raft_configuration *configuration, const char *id,
                                            enum raft_server_role role, struct error *error)
{
    struct raft_server *server = server_named(configuration, id, error);
    if (!server) return ERROR_NOT_FOUND;
    server->role = role;
    return ERROR_OK;
}

enum error_code raft_configuration_set_priority(struct raft_configuration *configuration,
                                                const char *id, uint32_t priority,
                                                struct error *error)
{
    struct raft_server *server = server_named(configuration, id, error);
    if (!server) return ERROR_NOT_FOUND;
    server->priority = priority;
    return ERROR_OK;
}

enum error_code raft_configuration_set_address(struct raft_configuration *configuration,
                                               const char *id, const char *kind,
                                               const char *address, struct error *error)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    struct raft_server *server = server_named(configuration, id, error);
    if (!server) return ERROR_NOT_FOUND;
    if (!raft_address_split(address, host, &port) || port == 0) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "\"%s\" is no address: it must be host:port, or [host]:port for IPv6",
                         address);
    }
    size_t place = 0;
    while (place < server->address_count && strcmp(server->addresses[place].kind, kind) != 0) {
        place++;
    }
    if (place == server->address_count) {
        server->addresses = memory_resize(server->addresses, place + 1, sizeof *server->addresses);
        server->addresses[place] = (struct raft_address){.kind = memory_copy_text(kind)};
        server->address_count++;
    }
    memory_free(server->addresses[place].host);
    server->addresses[place].host = memory_copy_text(host);
    server->addresses[place].port = port;
    return ERROR_OK;
}

enum error_code raft_configuration_set_label(struct raft_configuration *configuration, const char *id,
                                             const char *name, const char *value, struct error *error)
{
    struct raft_server *server = server_named(configuration, id, error);
    if (!server) return ERROR_NOT_FOUND;
    if (name[0] == 0) return error_set(error, ERROR_BAD_REQUEST, "a label has a name");
    size_t place = 0;
    while (place < server->label_count && strcmp(server->labels[place].name, name) < 0) place++;
    struct raft_label *label = &server->labels[place];
    bool there = place < server->label_count && strcmp(label->name, name) == 0;
    if (there) {
        memory_free(label->value);
        label->value = value ? memory_copy_text(value) : NULL;
        if (value) return ERROR_OK;
        memory_free(label->name);
        server->label_count--;
        memmove(label, label + 1, (server->label_count - place) * sizeof *label);
    } else if (value) {
        server->labels = memory_resize(server->labels, server->label_count + 1, sizeof *server->labels);
        label = &server->labels[place];
        memmove(label + 1, label, (server->label_count - place) * sizeof *label);
        *label = (struct raft_label){memory_copy_text(name), memory_copy_text(value)};
        server->label_count++;
    }
    return ERROR_OK;
}

/* ---- steps ---- */

void raft_configuration_next(const struct raft_configuration *from, raft_index previous,
                             const struct raft_configuration *wanted,
                             struct raft_configuration *next)
{
    assert(!raft_configuration_joint(from));
    raft_configuration_copy(next, wanted);
    next->previous = previous;
    memory_free(next->outgoing);
    next->outgoing = NULL;
    next->outgoing_count = 0;
    if (voters_that_differ(from, wanted) <= 1) return;
    for (size_t i = 0; i < from->server_count; i++) {
        const struct raft_server *server = &from->servers[i];
        if (server->role != RAFT_VOTER) continue;
        add_outgoing(next, &server->id);
        if (!raft_configuration_find(next, &server->id)) keep_leaving(next, from, &server->id);
    }
}

void raft_configuration_settled(const struct raft_configuration *joint, raft_index previous,
                                struct raft_configuration *next)
{
    assert(raft_configuration_joint(joint));
    raft_configuration_copy(next, joint);
    next->previous = previous;
    memory_free(next->outgoing);
    next->outgoing = NULL;
    next->outgoing_count = 0;
    for (size_t i = next->server_count; i-- > 0;) {
        if (next->servers[i].role == RAFT_LEAVING) drop_server(next, i);
    }
}

bool raft_configuration_joint(const struct raft_configuration *configuration)
{
    return configuration->outgoing_count > 0;
}

bool raft_configuration_same(const struct raft_configuration *a, const struct raft_configuration *b)
{
    struct raft_configuration other = *b; /* borrowed: only `previous` is set */
    struct buffer one = {0}, two = {0};
    other.previous = a->previous;
    raft_configuration_encode(a, &one);
    raft_configuration_encode(&other, &two);
    bool same = slice_equal(buffer_slice(&one), buffer_slice(&two));
    buffer_deinit(&one);
    buffer_deinit(&two);
    return same;
}

/* ---- helpers ---- */

static struct raft_server *server_named(struct raft_configuration *configuration, const char *id,
                                        struct error *error)
{
    for (size_t i = 0; i < configuration->server_count; i++) {
        if (strcmp(configuration->servers[i].id.text, id) == 0) return &configuration->servers[i];
    }
    error_set(error, ERROR_NOT_FOUND, "no server %s is in the configuration", id);
    return NULL;
}

static size_t voters_that_differ(const struct raft_configuration *from,
                                 const struct raft_configuration *wanted)
{
    size_t count = 0;
    for (size_t i = 0; i < from->server_count; i++) {
        const struct raft_server *server = &from->servers[i];
        if (server->role != RAFT_VOTER) continue;
        if (!raft_configuration_stays_voter(wanted, &server->id)) count++;
    }
    for (size_t i = 0; i < wanted->server_count; i++) {
        const struct raft_server *server = &wanted->servers[i];
        if (server->role != RAFT_VOTER) continue;
        if (!raft_configuration_stays_voter(from, &server->id)) count++;
    }
    return count;
}

static void add_outgoing(struct raft_configuration *configuration, const struct raft_id *id)
{
    size_t count = configuration->outgoing_count;
    configuration->outgoing =
        memory_resize(configuration->outgoing, count + 1, sizeof *configuration->outgoing);
    configuration->outgoing[count] = *id; /* the servers are in order, and so are these */
    configuration->outgoing_count = count + 1;
}

static void keep_leaving(struct raft_configuration *next, const struct raft_configuration *from,
                         const struct raft_id *id)
{
    const struct raft_server *server = raft_configuration_find(from, id);
    struct raft_server *copy = raft_configuration_insert(next, server);
    copy->role = RAFT_LEAVING;
}

static void drop_server(struct raft_configuration *configuration, size_t place)
{
    raft_server_deinit(&configuration->servers[place]);
    configuration->server_count--;
    memmove(&configuration->servers[place], &configuration->servers[place + 1],
            (configuration->server_count - place) * sizeof *configuration->servers);
}
