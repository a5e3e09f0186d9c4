/*
 * Frames around bodies: the table of types, the header with its checksum, and the entries behind an
 * APPEND. The bytes and who owns what: wire.h.
 */
#include "wire/wire.h"

#include "base/hash.h"
#include "base/memory.h"
#include "raft/entry.h"
#include "raft/snapshot_meta.h"
#include "wire/body.h"

#include <assert.h>
#include <string.h>

enum { AT_SIZE = 0, AT_TYPE = 4, AT_ZERO = 5, AT_COVERED = 6, AT_CHECKSUM = 8 };

struct type_row {
    void (*write)(const struct wire_frame *frame, struct buffer *out);
    void (*read)(struct body_reader *body, struct wire_frame *frame);
};

/* A new type is a row here and a line in its table (wire.h; raft/types.h for Raft's). */
static const struct type_row types[] = {
    [WIRE_REQUEST_VOTE] = {body_write_request_vote, body_read_request_vote},
    [WIRE_VOTE] = {body_write_vote, body_read_vote},
    [WIRE_APPEND] = {body_write_append, body_read_append},
    [WIRE_APPEND_RESULT] = {body_write_append_result, body_read_append_result},
    [WIRE_TIMEOUT_NOW] = {body_write_timeout_now, body_read_timeout_now},
    [WIRE_READ_INDEX] = {body_write_read_index, body_read_read_index},
    [WIRE_READ_INDEX_RESULT] = {body_write_read_index_result, body_read_read_index_result},
    [WIRE_INSTALL_SNAPSHOT] = {body_write_install_snapshot, body_read_install_snapshot},
    [WIRE_SNAPSHOT_RESULT] = {body_write_snapshot_result, body_read_snapshot_result},
    [WIRE_HELLO] = {body_write_hello, body_read_hello},
    [WIRE_HELLO_REFUSED] = {body_write_refused, body_read_refused},
    [WIRE_FORWARD] = {body_write_forward, body_read_forward},
    [WIRE_FORWARD_REPLY] = {body_write_forward_reply, body_read_forward_reply},
};

#define TYPE_COUNT (sizeof types / sizeof types[0])

static const struct type_row *row_of(unsigned type);
static size_t write_entries(const struct raft_append *append, size_t start, struct buffer *out);
static uint64_t checksum_of(const uint8_t *header, const uint8_t *body, size_t covered);
static enum error_code check_header(struct slice bytes, size_t *covered, struct error *error);
static enum error_code read_entries(struct blob *blob, struct slice bytes,
                                    struct wire_entries *entries, struct raft_append *append,
                                    struct error *error);
static enum error_code read_snapshot(struct blob *blob, struct raft_install_snapshot *install,
                                     struct error *error);

enum wire_language wire_language_of(uint8_t first)
{
    if (first == (uint8_t)WIRE_MAGIC[0]) return WIRE_LANGUAGE_NODE;
    if (first == 0x93 || first == 0x94) return WIRE_LANGUAGE_RPC;
    return first == 0x16 ? WIRE_LANGUAGE_TLS : WIRE_LANGUAGE_UNKNOWN;
}

const char *wire_type_name(unsigned type)
{
    switch (type) {
#define X(name, number, text) \
    case number: \
        return text;
        RAFT_MESSAGE_TABLE(X)
        WIRE_TABLE(X)
#undef X
    default:
        return "?";
    }
}

bool wire_is_message(unsigned type)
{
    switch (type) {
#define X(name, number, text) case number:
        RAFT_MESSAGE_TABLE(X)
#undef X
        return true;
    default:
        return false;
    }
}

/* ---- encoding ---- */

void wire_encode(const struct wire_frame *frame, struct buffer *out)
{
    const struct type_row *row = row_of(frame->type);
    assert(row);
    assert(!wire_is_message(frame->type) || (unsigned)frame->message.type == (unsigned)frame->type);
    size_t start = out->size;
    buffer_reserve(out, WIRE_HEADER_SIZE);
    out->size += WIRE_HEADER_SIZE;
    row->write(frame, out);
    size_t covered = 0;
    if (frame->type == WIRE_APPEND) covered = write_entries(&frame->message.append, start, out);
    size_t size = out->size - start - WIRE_HEADER_SIZE;
    assert(size <= UINT32_MAX && covered <= UINT16_MAX);
    uint8_t *header = out->data + start;
    put_u32(header + AT_SIZE, (uint32_t)size);
    header[AT_TYPE] = (uint8_t)frame->type;
    header[AT_ZERO] = 0;
    put_u16(header + AT_COVERED, (uint16_t)covered);
    put_u64(header + AT_CHECKSUM,
            checksum_of(header, header + WIRE_HEADER_SIZE, covered ? covered : size));
}

/* Returns the size of the array before the entries. Reserves once: a large append must not be moved
 * while it grows. */
static size_t write_entries(const struct raft_append *append, size_t start, struct buffer *out)
{
    size_t covered = out->size - start - WIRE_HEADER_SIZE;
    size_t size = 0;
    for (size_t i = 0; i < append->entry_count; i++) size += raft_entry_size(&append->entries[i]);
    buffer_reserve(out, size);
    for (size_t i = 0; i < append->entry_count; i++) raft_entry_encode(&append->entries[i], out);
    return covered;
}

/* ---- decoding ---- */

enum error_code wire_frame_size(struct slice bytes, size_t frame_bytes_max, size_t *size,
                                struct error *error)
{
    *size = 0;
    if (bytes.size < WIRE_HEADER_SIZE) return ERROR_OK;
    unsigned type = bytes.data[AT_TYPE];
    if (!row_of(type)) {
        return error_set(error, ERROR_VERSION,
                         "frame: type %u is not known to this program (moonclave, protocol %d)",
                         type, PROTOCOL_MAX);
    }
    size_t whole = WIRE_HEADER_SIZE + (size_t)get_u32(bytes.data + AT_SIZE);
    if (whole > frame_bytes_max) {
        return error_set(error, ERROR_TOO_LARGE,
                         "%s frame: %zu bytes; the limit (frame_bytes_max) is %zu",
                         wire_type_name(type), whole, frame_bytes_max);
    }
    *size = whole;
    return ERROR_OK;
}

enum error_code wire_decode(struct blob *blob, struct slice bytes, struct wire_entries *entries,
                            struct wire_frame *frame, struct error *error)
{
    size_t covered = 0;
    enum error_code code = check_header(bytes, &covered, error);
    if (code) return code;
    *frame = (struct wire_frame){.type = (enum wire_type)bytes.data[AT_TYPE]};
    const struct type_row *row = row_of(frame->type);
    struct slice body = slice_of(bytes.data + WIRE_HEADER_SIZE, bytes.size - WIRE_HEADER_SIZE);
    struct body_reader reader;
    body_begin(&reader, slice_of(body.data, covered));
    row->read(&reader, frame);
    struct slice rest = body_end(&reader);
    if (frame->type == WIRE_APPEND) body_require(&reader, rest.size == 0);
    if (reader.failed) {
        return error_set(error, ERROR_BAD_REQUEST, "%s frame: malformed (element %u)",
                         wire_type_name(frame->type), reader.taken);
    }
    if (frame->type == WIRE_INSTALL_SNAPSHOT) {
        return read_snapshot(blob, &frame->message.install_snapshot, error);
    }
    if (frame->type != WIRE_APPEND) return ERROR_OK;
    struct slice behind = slice_of(body.data + covered, body.size - covered);
    return read_entries(blob, behind, entries, &frame->message.append, error);
}

void wire_entries_deinit(struct wire_entries *entries)
{
    memory_free(entries->entries);
    *entries = (struct wire_entries){0};
}

/* Only an APPEND may leave a part of its body to other checksums; it may not do so without saying
 * where it begins. */
static enum error_code check_header(struct slice bytes, size_t *covered, struct error *error)
{
    size_t size;
    enum error_code code = wire_frame_size(bytes, SIZE_MAX, &size, error);
    if (code) return code;
    const char *name = size ? wire_type_name(bytes.data[AT_TYPE]) : "?";
    if (size == 0 || size != bytes.size) {
        return error_set(error, ERROR_BAD_REQUEST, "%s frame: %zu bytes are not the size it says",
                         name, bytes.size);
    }
    *covered = get_u16(bytes.data + AT_COVERED);
    bool append = bytes.data[AT_TYPE] == WIRE_APPEND;
    if (bytes.data[AT_ZERO] != 0 || append != (*covered != 0) ||
        *covered > size - WIRE_HEADER_SIZE) {
        return error_set(error, ERROR_BAD_REQUEST, "%s frame: malformed header", name);
    }
    if (!append) *covered = size - WIRE_HEADER_SIZE;
    if (get_u64(bytes.data + AT_CHECKSUM) !=
        checksum_of(bytes.data, bytes.data + WIRE_HEADER_SIZE, *covered)) {
        return error_set(error, ERROR_CORRUPT, "%s frame: its checksum does not match", name);
    }
    return ERROR_OK;
}

/* The count is believed only as far as the bytes behind it could hold that many. */
static enum error_code read_entries(struct blob *blob, struct slice bytes,
                                    struct wire_entries *entries, struct raft_append *append,
                                    struct error *error)
{
    size_t count = append->entry_count;
    if (count > bytes.size / RAFT_ENTRY_HEADER_SIZE) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "append frame: %zu bytes cannot hold %zu entries", bytes.size, count);
    }
    if (count > entries->capacity) {
        entries->entries = memory_resize(entries->entries, count, sizeof *entries->entries);
        entries->capacity = count;
    }
    for (size_t i = 0; i < count; i++) {
        struct raft_entry *entry = &entries->entries[i];
        size_t size;
        enum error_code code = raft_entry_decode(bytes, entry, &size, error);
        if (code) return code;
        if (entry->index != append->prev_index + 1 + i) {
            return error_set(
                error, ERROR_BAD_REQUEST, "append frame: entry %llu stands where %llu belongs",
                (unsigned long long)entry->index, (unsigned long long)(append->prev_index + 1 + i));
        }
        if (entry->payload.bytes.size) entry->payload.blob = blob;
        bytes = slice_of(bytes.data + size, bytes.size - size);
    }
    if (bytes.size) {
        return error_set(error, ERROR_BAD_REQUEST, "append frame: %zu bytes behind its entries",
                         bytes.size);
    }
    append->entries = entries->entries;
    return ERROR_OK;
}

/* The meta has a version and a checksum of its own; the chunk must lie within what it says. */
static enum error_code read_snapshot(struct blob *blob, struct raft_install_snapshot *install,
                                     struct error *error)
{
    struct slice chunk = install->chunk.bytes;
    enum error_code code =
        raft_snapshot_meta_decode(install->meta.configuration, &install->meta, error);
    if (code) return code;
    uint64_t size = install->meta.size;
    if (install->offset > size || chunk.size > size - install->offset ||
        install->last != (install->offset + chunk.size == size)) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "install_snapshot frame: %zu bytes at %llu are no chunk of %llu",
                         chunk.size, (unsigned long long)install->offset, (unsigned long long)size);
    }
    if (raft_chunk_checksum(install->offset, chunk) != install->checksum) {
        return error_set(error, ERROR_CORRUPT,
                         "install_snapshot frame: the chunk's checksum does not match");
    }
    if (chunk.size) install->chunk.blob = blob;
    return ERROR_OK;
}

/* ---- helpers ---- */

static const struct type_row *row_of(unsigned type)
{
    return type < TYPE_COUNT && types[type].read ? &types[type] : NULL;
}

static uint64_t checksum_of(const uint8_t *header, const uint8_t *body, size_t covered)
{
    uint8_t bytes[AT_CHECKSUM + 8];
    memcpy(bytes, header, AT_CHECKSUM);
    put_u64(bytes + AT_CHECKSUM, hash_bytes(body, covered));
    return hash_bytes(bytes, sizeof bytes);
}
