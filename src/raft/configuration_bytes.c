/*
 * A configuration's bytes: a canonical msgpack map (configuration.h). They travel in entries, in
 * snapshot metas and in the first hello, and the cluster's id is their hash: so equal
 * configurations must have equal bytes, and bytes that are not exactly what encode would write are
 * refused.
 *
 * Decoding believes no count: arrays grow as their elements are read.
 */
#include "raft/configuration.h"

#include "base/memory.h"
#include "base/mp.h"

#include <assert.h>
#include <string.h>

#define CONFIGURATION_VERSION 1

static void write_server(struct buffer *out, const struct raft_server *server);
static void write_address(struct buffer *out, const struct raft_address *address);
static enum error_code check_version(struct slice bytes, struct error *error);
static bool is_canonical(const struct raft_configuration *configuration, struct slice bytes);
static enum error_code read_configuration(struct mp_reader *reader,
                                          struct raft_configuration *configuration,
                                          struct error *error);

void raft_configuration_encode(const struct raft_configuration *configuration, struct buffer *out)
{
    mp_write_map(out, 4);
    mp_write_text(out, "outgoing");
    mp_write_array(out, (uint32_t)configuration->outgoing_count);
    for (size_t i = 0; i < configuration->outgoing_count; i++) {
        mp_write_text(out, configuration->outgoing[i].text);
    }
    mp_write_text(out, "previous");
    mp_write_u64(out, configuration->previous);
    mp_write_text(out, "servers");
    mp_write_array(out, (uint32_t)configuration->server_count);
    for (size_t i = 0; i < configuration->server_count; i++) {
        write_server(out, &configuration->servers[i]);
    }
    mp_write_text(out, "version");
    mp_write_integer(out, CONFIGURATION_VERSION);
}

enum error_code raft_configuration_decode(struct slice bytes,
                                          struct raft_configuration *configuration,
                                          struct error *error)
{
    enum error_code code = check_version(bytes, error);
    if (code) return code;
    struct raft_configuration read = {0};
    struct mp_reader reader = mp_reader_of(bytes);
    code = read_configuration(&reader, &read, error);
    if (code == ERROR_OK && !is_canonical(&read, bytes)) {
        code =
            error_set(error, ERROR_CORRUPT, "configuration: its bytes are not in canonical form");
    }
    if (code) {
        raft_configuration_deinit(&read);
        return code;
    }
    raft_configuration_deinit(configuration);
    *configuration = read;
    return ERROR_OK;
}

/* ---- writing: keys in bytewise order ---- */

static void write_server(struct buffer *out, const struct raft_server *server)
{
    mp_write_map(out, 6);
    mp_write_text(out, "addresses");
    mp_write_array(out, (uint32_t)server->address_count);
    for (size_t i = 0; i < server->address_count; i++) write_address(out, &server->addresses[i]);
    mp_write_text(out, "id");
    mp_write_text(out, server->id.text);
    mp_write_text(out, "incarnation");
    mp_write_u64(out, server->incarnation);
    mp_write_text(out, "labels");
    mp_write_map(out, (uint32_t)server->label_count);
    for (size_t i = 0; i < server->label_count; i++) {
        assert(i == 0 || strcmp(server->labels[i - 1].name, server->labels[i].name) < 0);
        mp_write_text(out, server->labels[i].name);
        mp_write_text(out, server->labels[i].value);
    }
    mp_write_text(out, "priority");
    mp_write_integer(out, server->priority);
    mp_write_text(out, "role");
    mp_write_integer(out, server->role);
}

static void write_address(struct buffer *out, const struct raft_address *address)
{
    mp_write_array(out, 3);
    mp_write_text(out, address->kind);
    mp_write_text(out, address->host);
    mp_write_integer(out, address->port);
}

/* ---- reading ---- */

/* Each reads one value and returns OK, or the error with its text set. */
static enum error_code read_outgoing(struct mp_reader *reader, struct raft_configuration *out,
                                     struct error *error);
static enum error_code read_servers(struct mp_reader *reader, struct raft_configuration *out,
                                    struct error *error);
static enum error_code read_server(struct mp_reader *reader, struct raft_server *server,
                                   struct error *error);
static enum error_code read_server_field(struct mp_reader *reader, struct slice key,
                                         struct raft_server *server, struct error *error);
static enum error_code read_addresses(struct mp_reader *reader, struct raft_server *server,
                                      struct error *error);
static enum error_code read_labels(struct mp_reader *reader, struct raft_server *server,
                                   struct error *error);
static enum error_code read_id(struct mp_reader *reader, struct raft_id *id, struct error *error);
static bool read_u32(struct mp_reader *reader, uint64_t most, uint32_t *value);
static char *read_text(struct mp_reader *reader);
static enum error_code malformed(struct error *error, const char *what);
static enum error_code unknown_key(struct error *error, const char *where, struct slice key);

static bool key_is(struct slice key, const char *name)
{
    return slice_equal(key, slice_text(name));
}

/* Before anything else, so that a newer form is called newer and not damaged. */
static enum error_code check_version(struct slice bytes, struct error *error)
{
    struct slice value;
    uint64_t version;
    if (!mp_map_get(bytes, "version", &value)) return malformed(error, "it has no version");
    struct mp_reader reader = mp_reader_of(value);
    if (!mp_read_u64(&reader, &version)) return malformed(error, "its version is no number");
    if (version != CONFIGURATION_VERSION) {
        return error_set(error, ERROR_VERSION,
                         "configuration: version %llu; this program (moonclave, format level %d) "
                         "knows version %d: a "
                         "newer one wrote it",
                         (unsigned long long)version, FORMAT_LEVEL, CONFIGURATION_VERSION);
    }
    return ERROR_OK;
}

static enum error_code read_configuration(struct mp_reader *reader,
                                          struct raft_configuration *configuration,
                                          struct error *error)
{
    uint32_t count;
    if (!mp_read_map(reader, &count)) return malformed(error, "it is no map");
    for (; count > 0; count--) {
        struct slice key;
        enum error_code code = ERROR_OK;
        if (!mp_read_string(reader, &key)) return malformed(error, "a key is no string");
        if (key_is(key, "outgoing")) {
            code = read_outgoing(reader, configuration, error);
        } else if (key_is(key, "previous")) {
            if (!mp_read_u64(reader, &configuration->previous)) {
                code = malformed(error, "previous is no index");
            }
        } else if (key_is(key, "servers")) {
            code = read_servers(reader, configuration, error);
        } else if (key_is(key, "version")) {
            if (!mp_skip(reader, NULL)) code = malformed(error, "it ends too early");
        } else {
            code = unknown_key(error, "", key);
        }
        if (code) return code;
    }
    return ERROR_OK;
}

static enum error_code read_outgoing(struct mp_reader *reader, struct raft_configuration *out,
                                     struct error *error)
{
    uint32_t count;
    if (out->outgoing || !mp_read_array(reader, &count)) {
        return malformed(error, "outgoing is no list");
    }
    for (; count > 0; count--) {
        struct raft_id id;
        enum error_code code = read_id(reader, &id, error);
        if (code) return code;
        size_t last = out->outgoing_count;
        if (last > 0 && strcmp(out->outgoing[last - 1].text, id.text) >= 0) {
            return malformed(error, "outgoing ids are not in order");
        }
        out->outgoing = memory_resize(out->outgoing, last + 1, sizeof *out->outgoing);
        out->outgoing[out->outgoing_count++] = id;
    }
    return ERROR_OK;
}

static enum error_code read_servers(struct mp_reader *reader, struct raft_configuration *out,
                                    struct error *error)
{
    uint32_t count;
    if (out->servers || !mp_read_array(reader, &count)) {
        return malformed(error, "servers is no list");
    }
    for (; count > 0; count--) {
        out->servers = memory_resize(out->servers, out->server_count + 1, sizeof *out->servers);
        struct raft_server *server = &out->servers[out->server_count++];
        *server = (struct raft_server){0};
        enum error_code code = read_server(reader, server, error);
        if (code) return code;
        if (out->server_count > 1 && strcmp(server[-1].id.text, server->id.text) >= 0) {
            return malformed(error, "servers are not in the order of their ids");
        }
    }
    return ERROR_OK;
}

static enum error_code read_server(struct mp_reader *reader, struct raft_server *server,
                                   struct error *error)
{
    uint32_t count;
    if (!mp_read_map(reader, &count)) return malformed(error, "a server is no map");
    for (; count > 0; count--) {
        struct slice key;
        if (!mp_read_string(reader, &key)) return malformed(error, "a server's key is no string");
        enum error_code code = read_server_field(reader, key, server, error);
        if (code) return code;
    }
    return raft_id_none(&server->id) ? malformed(error, "a server has no id") : ERROR_OK;
}

static enum error_code read_server_field(struct mp_reader *reader, struct slice key,
                                         struct raft_server *server, struct error *error)
{
    if (key_is(key, "id")) return read_id(reader, &server->id, error);
    if (key_is(key, "addresses")) return read_addresses(reader, server, error);
    if (key_is(key, "labels")) return read_labels(reader, server, error);
    if (key_is(key, "incarnation")) {
        return mp_read_u64(reader, &server->incarnation)
                   ? ERROR_OK
                   : malformed(error, "an incarnation is no number");
    }
    if (key_is(key, "priority")) {
        return read_u32(reader, UINT32_MAX, &server->priority)
                   ? ERROR_OK
                   : malformed(error, "a priority is no number");
    }
    if (key_is(key, "role")) {
        uint32_t role;
        if (!read_u32(reader, UINT32_MAX, &role)) return malformed(error, "a role is no number");
        if (role > RAFT_LEAVING) {
            return error_set(error, ERROR_VERSION,
                             "configuration: server %s has role %u, which this program "
                             "(moonclave, format level %d) does not know: a newer one wrote it",
                             server->id.text, role, FORMAT_LEVEL);
        }
        server->role = (enum raft_server_role)role;
        return ERROR_OK;
    }
    return unknown_key(error, "server ", key);
}

static enum error_code read_addresses(struct mp_reader *reader, struct raft_server *server,
                                      struct error *error)
{
    uint32_t count;
    if (server->addresses || !mp_read_array(reader, &count)) {
        return malformed(error, "addresses is no list");
    }
    for (; count > 0; count--) {
        uint32_t fields = 0, port;
        size_t last = server->address_count;
        server->addresses = memory_resize(server->addresses, last + 1, sizeof *server->addresses);
        struct raft_address *address = &server->addresses[server->address_count++];
        *address = (struct raft_address){0};
        bool good = mp_read_array(reader, &fields) && fields == 3 &&
                    (address->kind = read_text(reader)) && (address->host = read_text(reader)) &&
                    read_u32(reader, UINT16_MAX, &port);
        if (!good) return malformed(error, "an address is not [kind, host, port]");
        address->port = (uint16_t)port;
    }
    return ERROR_OK;
}

static enum error_code read_labels(struct mp_reader *reader, struct raft_server *server,
                                   struct error *error)
{
    uint32_t count;
    if (server->labels || !mp_read_map(reader, &count)) return malformed(error, "labels is no map");
    for (; count > 0; count--) {
        size_t last = server->label_count;
        server->labels = memory_resize(server->labels, last + 1, sizeof *server->labels);
        struct raft_label *label = &server->labels[server->label_count++];
        *label = (struct raft_label){0};
        label->name = read_text(reader);
        label->value = label->name ? read_text(reader) : NULL;
        if (!label->value) return malformed(error, "a label is not a text with a text");
        if (last > 0 && strcmp(server->labels[last - 1].name, label->name) >= 0) {
            return malformed(error, "labels are not in order");
        }
    }
    return ERROR_OK;
}

static enum error_code read_id(struct mp_reader *reader, struct raft_id *id, struct error *error)
{
    struct slice text = {0};
    *id = (struct raft_id){{0}};
    if (!mp_read_string(reader, &text) || text.size > ID_MAX) {
        return malformed(error, "an id is not valid");
    }
    memcpy(id->text, text.data, text.size);
    return id_valid(id->text) && strlen(id->text) == text.size
               ? ERROR_OK
               : malformed(error, "an id is not valid");
}

static bool read_u32(struct mp_reader *reader, uint64_t most, uint32_t *value)
{
    uint64_t wide;
    if (!mp_read_u64(reader, &wide) || wide > most) return false;
    *value = (uint32_t)wide;
    return true;
}

/* A copy the caller owns; null when it is no string or holds a zero byte, which C text cannot. */
static char *read_text(struct mp_reader *reader)
{
    struct slice text;
    if (!mp_read_string(reader, &text) || (text.size && memchr(text.data, 0, text.size))) {
        return NULL;
    }
    char *copy = memory_alloc(text.size + 1);
    if (text.size) memcpy(copy, text.data, text.size);
    copy[text.size] = 0;
    return copy;
}

static bool is_canonical(const struct raft_configuration *configuration, struct slice bytes)
{
    struct buffer again = {0};
    raft_configuration_encode(configuration, &again);
    bool same = slice_equal(buffer_slice(&again), bytes);
    buffer_deinit(&again);
    return same;
}

static enum error_code malformed(struct error *error, const char *what)
{
    return error_set(error, ERROR_CORRUPT, "configuration: %s", what);
}

static enum error_code unknown_key(struct error *error, const char *where, struct slice key)
{
    return error_set(error, ERROR_VERSION,
                     "configuration: the %skey \"%.*s\" is not known to this program (moonclave, "
                     "format level %d): a "
                     "newer one wrote it",
                     where, (int)(key.size < 64 ? key.size : 64), (const char *)key.data,
                     FORMAT_LEVEL);
}
