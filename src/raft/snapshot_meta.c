/* A snapshot meta's bytes, laid out in snapshot_meta.h. Decoding borrows, as an entry's does. */
#include "raft/snapshot_meta.h"

#include "base/hash.h"

#include <assert.h>
#include <string.h>

enum {
    AT_VERSION = 0,
    AT_FORMAT_LEVEL = 4,
    AT_INDEX = 8,
    AT_TERM = 16,
    AT_CHAIN = 24,
    AT_SYSTEM_HASH = 32,
    AT_STATE_HASH = 40,
    AT_SIZE = 48,
    AT_CONFIGURATION_INDEX = 56,
    AT_CONFIGURATION_SIZE = 64,
    AT_CHECKSUM = 72,
};

static uint64_t checksum_of(const uint8_t *header, struct slice configuration);
static void get_fields(const uint8_t *at, struct raft_snapshot_meta *meta);
static enum error_code unknown_version(struct error *error, const char *what, unsigned found,
                                       unsigned known);

void raft_snapshot_meta_encode(const struct raft_snapshot_meta *meta, struct buffer *out)
{
    assert(meta->configuration.size <= UINT32_MAX);
    uint8_t header[RAFT_SNAPSHOT_META_HEADER_SIZE] = {0};
    header[AT_VERSION] = RAFT_SNAPSHOT_META_VERSION;
    put_u32(header + AT_FORMAT_LEVEL, meta->format_level);
    put_u64(header + AT_INDEX, meta->index);
    put_u64(header + AT_TERM, meta->term);
    put_u64(header + AT_CHAIN, meta->chain);
    put_u64(header + AT_SYSTEM_HASH, meta->system_hash);
    put_u64(header + AT_STATE_HASH, meta->state_hash);
    put_u64(header + AT_SIZE, meta->size);
    put_u64(header + AT_CONFIGURATION_INDEX, meta->configuration_index);
    put_u32(header + AT_CONFIGURATION_SIZE, (uint32_t)meta->configuration.size);
    put_u64(header + AT_CHECKSUM, checksum_of(header, meta->configuration));
    buffer_append(out, header, sizeof header);
    buffer_append_slice(out, meta->configuration);
}

enum error_code raft_snapshot_meta_decode(struct slice bytes, struct raft_snapshot_meta *meta,
                                          struct error *error)
{
    if (bytes.size == 0) return error_set(error, ERROR_CORRUPT, "snapshot meta: no bytes");
    const uint8_t *at = bytes.data;
    if (at[AT_VERSION] != RAFT_SNAPSHOT_META_VERSION) {
        return unknown_version(error, "version", at[AT_VERSION], RAFT_SNAPSHOT_META_VERSION);
    }
    if (bytes.size < RAFT_SNAPSHOT_META_HEADER_SIZE ||
        get_u32(at + AT_CONFIGURATION_SIZE) != bytes.size - RAFT_SNAPSHOT_META_HEADER_SIZE) {
        return error_set(error, ERROR_CORRUPT,
                         "snapshot meta: %zu bytes are not the length it says", bytes.size);
    }
    struct slice configuration = {at + RAFT_SNAPSHOT_META_HEADER_SIZE,
                                  bytes.size - RAFT_SNAPSHOT_META_HEADER_SIZE};
    if (get_u64(at + AT_CHECKSUM) != checksum_of(at, configuration)) {
        return error_set(error, ERROR_CORRUPT, "snapshot meta: its checksum does not match");
    }
    if (get_u32(at + AT_FORMAT_LEVEL) > FORMAT_LEVEL) {
        return unknown_version(error, "format level", get_u32(at + AT_FORMAT_LEVEL), FORMAT_LEVEL);
    }
    get_fields(at, meta);
    meta->configuration = configuration;
    return ERROR_OK;
}

bool raft_snapshot_meta_equal(const struct raft_snapshot_meta *a, const struct raft_snapshot_meta *b)
{
    return a->index == b->index && a->term == b->term && a->chain == b->chain &&
           a->format_level == b->format_level && a->system_hash == b->system_hash &&
           a->state_hash == b->state_hash && a->size == b->size &&
           a->configuration_index == b->configuration_index &&
           slice_equal(a->configuration, b->configuration);
}

uint64_t raft_chunk_checksum(uint64_t offset, struct slice bytes)
{
    return hash_seeded(bytes.data, bytes.size, offset);
}

static void get_fields(const uint8_t *at, struct raft_snapshot_meta *meta)
{
    *meta = (struct raft_snapshot_meta){
        .index = get_u64(at + AT_INDEX),
        .term = get_u64(at + AT_TERM),
        .chain = get_u64(at + AT_CHAIN),
        .format_level = get_u32(at + AT_FORMAT_LEVEL),
        .system_hash = get_u64(at + AT_SYSTEM_HASH),
        .state_hash = get_u64(at + AT_STATE_HASH),
        .size = get_u64(at + AT_SIZE),
        .configuration_index = get_u64(at + AT_CONFIGURATION_INDEX),
    };
}

static uint64_t checksum_of(const uint8_t *header, struct slice configuration)
{
    uint8_t bytes[AT_CHECKSUM + 8];
    memcpy(bytes, header, AT_CHECKSUM);
    put_u64(bytes + AT_CHECKSUM, hash_bytes(configuration.data, configuration.size));
    return hash_bytes(bytes, sizeof bytes);
}

static enum error_code unknown_version(struct error *error, const char *what, unsigned found,
                                       unsigned known)
{
    return error_set(error, ERROR_VERSION,
                     "snapshot meta: %s %u; this program (moonclave, format level %d) knows %s %u: "
                     "a newer one wrote "
                     "it, or it is damaged",
                     what, found, FORMAT_LEVEL, what, known);
}
