/* Rows of `meta` to bytes and back: meta.h. Identity and hard state share one shape: a name and up
 * to two numbers. */
#include "store/meta.h"

#include "base/hash.h"
#include "raft/snapshot_meta.h"

#include <string.h>

#define ROW_VERSION   1
#define CHECKSUM_SIZE 8

static void encode_named(const char *name, const uint64_t *numbers, size_t count,
                         enum store_meta_key key, struct buffer *out);
static enum error_code decode_named(struct slice bytes, char *name, uint64_t *numbers, size_t count,
                                    enum store_meta_key key, const char *what, struct error *error);
static void seal(struct buffer *out, size_t from, enum store_meta_key key);
static enum error_code unseal(struct slice *bytes, enum store_meta_key key, const char *what,
                              struct error *error);
static void append_u64(struct buffer *out, uint64_t value);

void store_meta_encode_identity(const struct identity *identity, struct buffer *out)
{
    uint64_t numbers[] = {identity->incarnation, identity->cluster};
    encode_named(identity->id, numbers, 2, STORE_META_IDENTITY, out);
}

void store_meta_encode_hard_state(const struct raft_hard_state *hard_state, struct buffer *out)
{
    encode_named(hard_state->vote.text, &hard_state->term, 1, STORE_META_HARD_STATE, out);
}

void store_meta_encode_snapshot(const struct raft_snapshot_meta *snapshot, struct buffer *out)
{
    size_t from = out->size;
    raft_snapshot_meta_encode(snapshot, out);
    seal(out, from, STORE_META_SNAPSHOT);
}

void store_meta_encode_base(const struct raft_log_base *base, struct buffer *out)
{
    uint64_t numbers[] = {base->index, base->term, base->chain};
    encode_named("", numbers, 3, STORE_META_BASE, out);
}

void store_meta_encode_first(struct slice configuration, struct buffer *out)
{
    size_t from = out->size;
    buffer_append_slice(out, configuration);
    seal(out, from, STORE_META_FIRST);
}

enum error_code store_meta_decode_identity(struct slice bytes, struct identity *identity,
                                           struct error *error)
{
    uint64_t numbers[2];
    enum error_code code =
        decode_named(bytes, identity->id, numbers, 2, STORE_META_IDENTITY, "identity", error);
    if (code) return code;
    identity->incarnation = numbers[0];
    identity->cluster = numbers[1];
    return ERROR_OK;
}

enum error_code store_meta_decode_hard_state(struct slice bytes, struct raft_hard_state *hard_state,
                                             struct error *error)
{
    return decode_named(bytes, hard_state->vote.text, &hard_state->term, 1, STORE_META_HARD_STATE,
                        "hard state", error);
}

enum error_code store_meta_decode_snapshot(struct slice bytes, struct raft_snapshot_meta *snapshot,
                                           struct error *error)
{
    enum error_code code = unseal(&bytes, STORE_META_SNAPSHOT, "snapshot meta", error);
    return code ? code : raft_snapshot_meta_decode(bytes, snapshot, error);
}

enum error_code store_meta_decode_base(struct slice bytes, struct raft_log_base *base,
                                       struct error *error)
{
    char name[ID_MAX + 1];
    uint64_t numbers[3];
    enum error_code code = decode_named(bytes, name, numbers, 3, STORE_META_BASE, "base", error);
    if (code) return code;
    *base = (struct raft_log_base){numbers[0], numbers[1], numbers[2]};
    return ERROR_OK;
}

enum error_code store_meta_decode_first(struct slice bytes, struct slice *configuration,
                                        struct error *error)
{
    *configuration = bytes;
    return unseal(configuration, STORE_META_FIRST, "first configuration", error);
}

/* ---- helpers ---- */

static void encode_named(const char *name, const uint64_t *numbers, size_t count,
                         enum store_meta_key key, struct buffer *out)
{
    size_t from = out->size;
    buffer_append_byte(out, ROW_VERSION);
    buffer_append_byte(out, (uint8_t)strlen(name));
    buffer_append_text(out, name);
    for (size_t i = 0; i < count; i++) append_u64(out, numbers[i]);
    seal(out, from, key);
}

static enum error_code decode_named(struct slice bytes, char *name, uint64_t *numbers, size_t count,
                                    enum store_meta_key key, const char *what, struct error *error)
{
    enum error_code code = unseal(&bytes, key, what, error);
    if (code) return code;
    if (bytes.size < 2) return error_set(error, ERROR_CORRUPT, "%s: cut short", what);
    if (bytes.data[0] != ROW_VERSION) {
        return error_set(error, ERROR_VERSION,
                         "%s: version %u; this program knows version %d: a newer one wrote it",
                         what, bytes.data[0], ROW_VERSION);
    }
    size_t size = bytes.data[1];
    if (size > ID_MAX || bytes.size != 2 + size + 8 * count) {
        return error_set(error, ERROR_CORRUPT, "%s: its length is wrong", what);
    }
    memcpy(name, bytes.data + 2, size);
    name[size] = 0;
    for (size_t i = 0; i < count; i++) numbers[i] = get_u64(bytes.data + 2 + size + 8 * i);
    return ERROR_OK;
}

static void seal(struct buffer *out, size_t from, enum store_meta_key key)
{
    append_u64(out, hash_seeded(out->data + from, out->size - from, key));
}

static enum error_code unseal(struct slice *bytes, enum store_meta_key key, const char *what,
                              struct error *error)
{
    if (bytes->size < CHECKSUM_SIZE) return error_set(error, ERROR_CORRUPT, "%s: cut short", what);
    bytes->size -= CHECKSUM_SIZE;
    if (get_u64(bytes->data + bytes->size) == hash_seeded(bytes->data, bytes->size, key))
        return ERROR_OK;
    return error_set(error, ERROR_CORRUPT, "%s: its checksum does not match", what);
}

static void append_u64(struct buffer *out, uint64_t value)
{
    uint8_t bytes[8];
    put_u64(bytes, value);
    buffer_append(out, bytes, sizeof bytes);
}
