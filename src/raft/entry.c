/*
 * An entry's bytes: the layout, and why each hash covers what it covers, are in entry.h. Decoding
 * borrows: the payload stays where it is, and whoever keeps the entry decides which blob keeps it
 * alive.
 */
#include "raft/entry.h"

#include "base/hash.h"

#include <assert.h>
#include <string.h>

enum {
    AT_VERSION = 0,
    AT_TYPE = 1,
    AT_FLAGS = 2,
    AT_PAYLOAD_SIZE = 4,
    AT_TERM = 8,
    AT_INDEX = 16,
    AT_TIME_MS = 24,
    AT_SEED = 32,
    AT_SESSION = 40,
    AT_SEQUENCE = 48,
    AT_CHAIN = 56,
    AT_CHECKSUM = 64,
};

static void put_fields(const struct raft_entry *entry, uint8_t *out);
static void get_fields(const uint8_t *at, struct raft_entry *entry);
static uint64_t digest_of(struct slice payload);
static uint64_t checksum_of(const uint8_t *header, uint64_t digest);

uint64_t raft_entry_chain(const struct raft_entry *entry, uint64_t previous)
{
    uint8_t bytes[8 + AT_CHAIN + 8];
    put_u64(bytes, previous);
    put_fields(entry, bytes + 8);
    put_u64(bytes + 8 + AT_CHAIN, digest_of(entry->payload.bytes));
    return hash_bytes(bytes, sizeof bytes);
}

size_t raft_entry_size(const struct raft_entry *entry)
{
    return RAFT_ENTRY_HEADER_SIZE + entry->payload.bytes.size;
}

void raft_entry_encode_header(const struct raft_entry *entry, uint8_t *out)
{
    put_fields(entry, out);
    put_u64(out + AT_CHAIN, entry->chain);
    put_u64(out + AT_CHECKSUM, checksum_of(out, digest_of(entry->payload.bytes)));
}

void raft_entry_encode(const struct raft_entry *entry, struct buffer *out)
{
    buffer_reserve(out, raft_entry_size(entry));
    raft_entry_encode_header(entry, out->data + out->size);
    out->size += RAFT_ENTRY_HEADER_SIZE;
    buffer_append_slice(out, entry->payload.bytes);
}

/* The version comes first: in another version nothing behind it need be where it is here. The type
 * comes after the checksum: a type not known and intact is a newer program's, not damage. */
enum error_code raft_entry_decode(struct slice bytes, struct raft_entry *entry, size_t *size,
                                  struct error *error)
{
    if (bytes.size == 0) return error_set(error, ERROR_CORRUPT, "entry: no bytes");
    const uint8_t *at = bytes.data;
    if (at[AT_VERSION] != RAFT_ENTRY_VERSION) {
        return error_set(error, ERROR_VERSION,
                         "entry: version %u; this program (moonclave, format level %d) knows "
                         "version %d: a newer one "
                         "wrote it, or it is damaged",
                         at[AT_VERSION], FORMAT_LEVEL, RAFT_ENTRY_VERSION);
    }
    if (bytes.size < RAFT_ENTRY_HEADER_SIZE) {
        return error_set(error, ERROR_CORRUPT, "entry: cut short: %zu bytes of a header of %d",
                         bytes.size, RAFT_ENTRY_HEADER_SIZE);
    }
    uint32_t payload_size = get_u32(at + AT_PAYLOAD_SIZE);
    if (payload_size > bytes.size - RAFT_ENTRY_HEADER_SIZE) {
        return error_set(error, ERROR_CORRUPT,
                         "entry %llu: cut short: %zu bytes of a payload of %u",
                         (unsigned long long)get_u64(at + AT_INDEX),
                         bytes.size - RAFT_ENTRY_HEADER_SIZE, payload_size);
    }
    struct slice payload = {at + RAFT_ENTRY_HEADER_SIZE, payload_size};
    if (get_u64(at + AT_CHECKSUM) != checksum_of(at, digest_of(payload))) {
        return error_set(error, ERROR_CORRUPT, "entry %llu: its checksum does not match",
                         (unsigned long long)get_u64(at + AT_INDEX));
    }
    if (at[AT_TYPE] >= RAFT_ENTRY_TYPES) {
        return error_set(error, ERROR_VERSION,
                         "entry %llu: type %u is not known to this program (moonclave, format "
                         "level %d): a newer one "
                         "wrote it",
                         (unsigned long long)get_u64(at + AT_INDEX), at[AT_TYPE], FORMAT_LEVEL);
    }
    get_fields(at, entry);
    entry->payload = (struct raft_payload){NULL, payload};
    *size = RAFT_ENTRY_HEADER_SIZE + payload_size;
    return ERROR_OK;
}

const char *raft_entry_type_name(unsigned type)
{
    static const char *const names[RAFT_ENTRY_TYPES] = {
        [RAFT_NOOP] = "noop",         [RAFT_CONFIGURATION] = "configuration",
        [RAFT_INIT] = "init",         [RAFT_DEPLOY] = "deploy",
        [RAFT_COMMAND] = "command",   [RAFT_SESSION] = "session",
        [RAFT_SETTINGS] = "settings", [RAFT_SKIP] = "skip",
        [RAFT_RESTORE] = "restore",
    };
    return type < RAFT_ENTRY_TYPES ? names[type] : "?";
}

/* Bytes 0 ... 55: what the chain covers. */
static void put_fields(const struct raft_entry *entry, uint8_t *out)
{
    assert(entry->payload.bytes.size <= UINT32_MAX);
    out[AT_VERSION] = RAFT_ENTRY_VERSION;
    out[AT_TYPE] = entry->type;
    put_u16(out + AT_FLAGS, entry->flags);
    put_u32(out + AT_PAYLOAD_SIZE, (uint32_t)entry->payload.bytes.size);
    put_u64(out + AT_TERM, entry->term);
    put_u64(out + AT_INDEX, entry->index);
    put_u64(out + AT_TIME_MS, entry->time_ms);
    put_u64(out + AT_SEED, entry->seed);
    put_u64(out + AT_SESSION, entry->session);
    put_u64(out + AT_SEQUENCE, entry->sequence);
}

static void get_fields(const uint8_t *at, struct raft_entry *entry)
{
    *entry = (struct raft_entry){
        .type = at[AT_TYPE],
        .flags = get_u16(at + AT_FLAGS),
        .term = get_u64(at + AT_TERM),
        .index = get_u64(at + AT_INDEX),
        .time_ms = get_u64(at + AT_TIME_MS),
        .seed = get_u64(at + AT_SEED),
        .session = get_u64(at + AT_SESSION),
        .sequence = get_u64(at + AT_SEQUENCE),
        .chain = get_u64(at + AT_CHAIN),
    };
}

static uint64_t digest_of(struct slice payload)
{
    return hash_bytes(payload.data, payload.size);
}

static uint64_t checksum_of(const uint8_t *header, uint64_t digest)
{
    uint8_t bytes[AT_CHECKSUM + 8];
    memcpy(bytes, header, AT_CHECKSUM);
    put_u64(bytes + AT_CHECKSUM, digest);
    return hash_bytes(bytes, sizeof bytes);
}
