/*
 * Configurations as memory: building, copying, asking, and the two majorities. Their bytes are in
 * configuration_bytes.c.
 *
 * Joint consensus falls out of the quorum functions: each asks every half for its majority and
 * takes the worse.
 */
#include "raft/configuration.h"

#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOTERS_ON_STACK 32

static void server_copy(struct raft_server *to, const struct raft_server *from);
static struct raft_server *open_place(struct raft_configuration *configuration, size_t place);
static bool host_valid(const char *host, size_t size, bool bracketed);
static bool parse_port(const char *text, uint16_t *port);

/* ---- making and unmaking ---- */

void raft_configuration_init(struct raft_configuration *configuration)
{
    *configuration = (struct raft_configuration){0};
}

void raft_configuration_deinit(struct raft_configuration *configuration)
{
    for (size_t i = 0; i < configuration->server_count; i++) {
        raft_server_deinit(&configuration->servers[i]);
    }
    memory_free(configuration->servers);
    memory_free(configuration->outgoing);
    raft_configuration_init(configuration);
}

void raft_configuration_copy(struct raft_configuration *to, const struct raft_configuration *from)
{
    if (to == from) return;
    raft_configuration_deinit(to);
    to->previous = from->previous;
    to->servers = memory_zero(from->server_count, sizeof *to->servers);
    for (; to->server_count < from->server_count; to->server_count++) {
        server_copy(&to->servers[to->server_count], &from->servers[to->server_count]);
    }
    to->outgoing = memory_zero(from->outgoing_count, sizeof *to->outgoing);
    for (; to->outgoing_count < from->outgoing_count; to->outgoing_count++) {
        to->outgoing[to->outgoing_count] = from->outgoing[to->outgoing_count];
    }
}

enum error_code raft_configuration_add(struct raft_configuration *configuration, const char *id,
                                       uint64_t incarnation, const char *address,
                                       enum raft_server_role role, struct error *error)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port;
    if (!id_valid(id)) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "\"%s\" is no id: 1 to %d of letters, digits, - _ .", id, ID_MAX);
    }
    if (!raft_address_split(address, host, &port) || port == 0) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "\"%s\" is no address: it must be host:port, or [host]:port for IPv6",
                         address);
    }
    size_t place = 0;
    while (place < configuration->server_count &&
           strcmp(configuration->servers[place].id.text, id) < 0) {
        place++;
    }
    if (place < configuration->server_count &&
        strcmp(configuration->servers[place].id.text, id) == 0) {
        return error_set(error, ERROR_BAD_REQUEST, "the id %s is taken", id);
    }
    struct raft_server *server = open_place(configuration, place);
    server->id = raft_id_of(id);
    server->incarnation = incarnation;
    server->role = role;
    server->addresses = memory_zero(1, sizeof *server->addresses);
    server->address_count = 1;
    server->addresses[0] =
        (struct raft_address){memory_copy_text("node"), memory_copy_text(host), port};
    return ERROR_OK;
}

struct raft_server *raft_configuration_insert(struct raft_configuration *configuration,
                                              const struct raft_server *server)
{
    size_t place = 0;
    while (place < configuration->server_count &&
           strcmp(configuration->servers[place].id.text, server->id.text) < 0) {
        place++;
    }
    struct raft_server *copy = open_place(configuration, place);
    server_copy(copy, server);
    return copy;
}

/* ---- questions ---- */

const struct raft_server *raft_configuration_find(const struct raft_configuration *configuration,
                                                  const struct raft_id *id)
{
    for (size_t i = 0; i < configuration->server_count; i++) {
        if (raft_id_equal(&configuration->servers[i].id, id)) return &configuration->servers[i];
    }
    return NULL;
}

bool raft_configuration_stays_voter(const struct raft_configuration *configuration,
                                    const struct raft_id *id)
{
    const struct raft_server *server = raft_configuration_find(configuration, id);
    return server && server->role == RAFT_VOTER;
}

bool raft_configuration_is_voter(const struct raft_configuration *configuration,
                                 const struct raft_id *id)
{
    if (raft_configuration_stays_voter(configuration, id)) return true;
    for (size_t i = 0; i < configuration->outgoing_count; i++) {
        if (raft_id_equal(&configuration->outgoing[i], id)) return true;
    }
    return false;
}

/* ---- addresses ---- */

bool raft_server_address(const struct raft_server *server, const char *kind, char *out)
{
    for (size_t i = 0; i < server->address_count; i++) {
        const struct raft_address *address = &server->addresses[i];
        if (strcmp(address->kind, kind) != 0) continue;
        bool bracketed = strchr(address->host, ':') != NULL;
        int size = snprintf(out, ADDRESS_MAX + 1, bracketed ? "[%s]:%u" : "%s:%u", address->host,
                            address->port);
        return size <= ADDRESS_MAX;
    }
    return false;
}

bool raft_address_split(const char *text, char *host, uint16_t *port)
{
    size_t size = strlen(text);
    if (size > ADDRESS_MAX) return false;
    bool bracketed = text[0] == '[';
    const char *colon = strrchr(text, ':');
    if (!colon) return false;
    const char *begin = bracketed ? text + 1 : text;
    const char *end = bracketed ? colon - 1 : colon;
    if (end <= begin || (bracketed && *end != ']')) return false;
    size_t host_size = (size_t)(end - begin);
    if (!host_valid(begin, host_size, bracketed) || !parse_port(colon + 1, port)) return false;
    memcpy(host, begin, host_size);
    host[host_size] = 0;
    return true;
}

/* ---- majorities ---- */

struct half {
    size_t count;
    const struct raft_id *(*voter)(const struct raft_configuration *configuration, size_t *cursor);
};

static const struct raft_id *next_incoming(const struct raft_configuration *configuration,
                                           size_t *cursor);
static const struct raft_id *next_outgoing(const struct raft_configuration *configuration,
                                           size_t *cursor);
static bool counts(const struct raft_server *server);
static size_t incoming_count(const struct raft_configuration *configuration);
static raft_index half_index(const struct raft_configuration *configuration, struct half half,
                             raft_index (*value)(void *context, const struct raft_id *id),
                             void *context);
static bool half_has(const struct raft_configuration *configuration, struct half half,
                     bool (*has)(void *context, const struct raft_id *id), void *context);

raft_index raft_quorum_index(const struct raft_configuration *configuration,
                             raft_index (*value)(void *context, const struct raft_id *id),
                             void *context)
{
    struct half incoming = {incoming_count(configuration), next_incoming};
    struct half outgoing = {configuration->outgoing_count, next_outgoing};
    raft_index index = half_index(configuration, incoming, value, context);
    if (outgoing.count == 0) return index;
    raft_index other = half_index(configuration, outgoing, value, context);
    return other < index ? other : index;
}

bool raft_quorum_has(const struct raft_configuration *configuration,
                     bool (*has)(void *context, const struct raft_id *id), void *context)
{
    struct half incoming = {incoming_count(configuration), next_incoming};
    struct half outgoing = {configuration->outgoing_count, next_outgoing};
    return half_has(configuration, incoming, has, context) &&
           (outgoing.count == 0 || half_has(configuration, outgoing, has, context));
}

/* The values in descending order: the one at half their number is held by a majority. */
static raft_index half_index(const struct raft_configuration *configuration, struct half half,
                             raft_index (*value)(void *context, const struct raft_id *id),
                             void *context)
{
    if (half.count == 0) return 0;
    raft_index on_stack[VOTERS_ON_STACK];
    raft_index *values = on_stack;
    if (half.count > VOTERS_ON_STACK) values = memory_alloc(half.count * sizeof *values);
    size_t cursor = 0;
    for (size_t count = 0; count < half.count; count++) {
        raft_index reached = value(context, half.voter(configuration, &cursor));
        size_t place = count;
        for (; place > 0 && values[place - 1] < reached; place--) values[place] = values[place - 1];
        values[place] = reached;
    }
    raft_index index = values[FAULT(SMALL_QUORUM) ? half.count / 2 - 1 : half.count / 2];
    if (values != on_stack) memory_free(values);
    return index;
}

static bool half_has(const struct raft_configuration *configuration, struct half half,
                     bool (*has)(void *context, const struct raft_id *id), void *context)
{
    size_t cursor = 0, having = 0;
    for (size_t i = 0; i < half.count; i++) {
        if (has(context, half.voter(configuration, &cursor))) having++;
    }
    return having > half.count / 2;
}

static const struct raft_id *next_incoming(const struct raft_configuration *configuration,
                                           size_t *cursor)
{
    while (!counts(&configuration->servers[*cursor])) ++*cursor;
    return &configuration->servers[(*cursor)++].id;
}

static const struct raft_id *next_outgoing(const struct raft_configuration *configuration,
                                           size_t *cursor)
{
    return &configuration->outgoing[(*cursor)++];
}

static size_t incoming_count(const struct raft_configuration *configuration)
{
    size_t count = 0;
    for (size_t i = 0; i < configuration->server_count; i++) {
        if (counts(&configuration->servers[i])) count++;
    }
    return count;
}

static bool counts(const struct raft_server *server)
{
    return GUARD(NON_VOTERS_COUNTED, server->role == RAFT_VOTER);
}

/* ---- helpers ---- */

void raft_server_deinit(struct raft_server *server)
{
    for (size_t i = 0; i < server->address_count; i++) {
        memory_free(server->addresses[i].kind);
        memory_free(server->addresses[i].host);
    }
    for (size_t i = 0; i < server->label_count; i++) {
        memory_free(server->labels[i].name);
        memory_free(server->labels[i].value);
    }
    memory_free(server->addresses);
    memory_free(server->labels);
}

static void server_copy(struct raft_server *to, const struct raft_server *from)
{
    *to = *from;
    to->addresses = memory_zero(from->address_count, sizeof *to->addresses);
    for (size_t i = 0; i < from->address_count; i++) {
        const struct raft_address *address = &from->addresses[i];
        to->addresses[i] = (struct raft_address){memory_copy_text(address->kind),
                                                 memory_copy_text(address->host), address->port};
    }
    to->labels = memory_zero(from->label_count, sizeof *to->labels);
    for (size_t i = 0; i < from->label_count; i++) {
        to->labels[i] = (struct raft_label){memory_copy_text(from->labels[i].name),
                                            memory_copy_text(from->labels[i].value)};
    }
}

static struct raft_server *open_place(struct raft_configuration *configuration, size_t place)
{
    size_t count = configuration->server_count;
    configuration->servers =
        memory_resize(configuration->servers, count + 1, sizeof *configuration->servers);
    struct raft_server *server = &configuration->servers[place];
    memmove(server + 1, server, (count - place) * sizeof *server);
    configuration->server_count = count + 1;
    *server = (struct raft_server){0};
    return server;
}

/* Printable ASCII without what separates: a name, an IPv4 address, or (in brackets) an IPv6 address
 * with its zone. */
static bool host_valid(const char *host, size_t size, bool bracketed)
{
    for (size_t i = 0; i < size; i++) {
        unsigned char byte = (unsigned char)host[i];
        if (byte <= ' ' || byte >= 0x7f || strchr("[]/@,=\"", byte)) return false;
        if (byte == ':' && !bracketed) return false;
    }
    return true;
}

static bool parse_port(const char *text, uint16_t *port)
{
    uint32_t number = 0;
    if (!*text) return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        number = number * 10 + (uint32_t)(*text - '0');
        if (number > UINT16_MAX) return false;
    }
    *port = (uint16_t)number;
    return true;
}
