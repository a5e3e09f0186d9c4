/* A backup's bytes, written and read: see backup.h. */
#include "store/backup.h"

#include "base/hash.h"
#include "raft/snapshot_meta.h"

#include <assert.h>
#include <inttypes.h>

#define MAGIC 0x3142636d         /* "mcB1" */
#define TRAILER_MAGIC 0x4542636d /* "mcBE" */
#define FIXED_SIZE 48
#define TRAILER_SIZE 16
#define META_SIZE_MAX (16u << 20) /* what a damaged head may not make us read */

enum {
    AT_MAGIC = 0,
    AT_VERSION = 4,
    AT_BLOCK = 8,
    AT_META_SIZE = 12,
    AT_CLUSTER = 16,
    AT_TIME = 24,
    AT_APP = 32,
    AT_CHECKSUM = 40,
};

static void write_trailer(const struct backup_writer *writer, struct buffer *out);
static size_t part_size(const struct backup_reader *reader);
static enum error_code take_fixed(struct backup_reader *reader, struct error *error);
static enum error_code take_meta(struct backup_reader *reader, struct error *error);
static enum error_code take_block(struct backup_reader *reader, struct slice *data, struct error *error);
static enum error_code take_trailer(struct backup_reader *reader, struct error *error);

/* ---- writing ---- */

uint64_t backup_file_size(const struct backup_head *head)
{
    uint64_t size = head->meta.size, blocks = size / BACKUP_BLOCK + (size % BACKUP_BLOCK > 0);
    uint64_t meta = RAFT_SNAPSHOT_META_HEADER_SIZE + head->meta.configuration.size;
    return FIXED_SIZE + meta + size + 8 * blocks + TRAILER_SIZE;
}

static uint64_t head_checksum(const uint8_t *fixed, struct slice meta)
{
    return hash_seeded(meta.data, meta.size, hash_bytes(fixed, AT_CHECKSUM));
}

void backup_write_begin(struct backup_writer *writer, struct backup_head *head, struct buffer *out)
{
    uint8_t fixed[FIXED_SIZE] = {0};
    struct buffer meta = {0};
    raft_snapshot_meta_encode(&head->meta, &meta);
    put_u32(fixed + AT_MAGIC, MAGIC);
    fixed[AT_VERSION] = BACKUP_VERSION;
    put_u32(fixed + AT_BLOCK, BACKUP_BLOCK);
    put_u32(fixed + AT_META_SIZE, (uint32_t)meta.size);
    put_u64(fixed + AT_CLUSTER, head->cluster);
    put_u64(fixed + AT_TIME, head->time_ms);
    put_u64(fixed + AT_APP, head->app_hash);
    head->checksum = head_checksum(fixed, buffer_slice(&meta));
    put_u64(fixed + AT_CHECKSUM, head->checksum);
    buffer_append(out, fixed, sizeof fixed);
    buffer_append_slice(out, buffer_slice(&meta));
    buffer_deinit(&meta);
    *writer = (struct backup_writer){.size = head->meta.size, .sum = head->checksum};
    if (writer->size == 0) write_trailer(writer, out);
}

void backup_write(struct backup_writer *writer, struct slice data, struct buffer *out)
{
    assert(data.size <= writer->size - writer->offset);
    assert(data.size % BACKUP_BLOCK == 0 || writer->offset + data.size == writer->size);
    while (data.size > 0) {
        size_t size = data.size < BACKUP_BLOCK ? data.size : BACKUP_BLOCK;
        uint8_t checksum[8];
        put_u64(checksum, raft_chunk_checksum(writer->offset, slice_of(data.data, size)));
        buffer_append(out, checksum, sizeof checksum);
        buffer_append(out, data.data, size);
        writer->sum = hash_pair(writer->sum, get_u64(checksum));
        writer->offset += size;
        data = slice_of(data.data + size, data.size - size);
        if (writer->offset == writer->size) write_trailer(writer, out);
    }
}

static void write_trailer(const struct backup_writer *writer, struct buffer *out)
{
    uint8_t trailer[TRAILER_SIZE] = {0};
    put_u32(trailer, TRAILER_MAGIC);
    put_u64(trailer + 8, writer->sum);
    buffer_append(out, trailer, sizeof trailer);
}

/* ---- reading ---- */

void backup_reader_init(struct backup_reader *reader)
{
    *reader = (struct backup_reader){0};
}

void backup_reader_deinit(struct backup_reader *reader)
{
    buffer_deinit(&reader->meta);
    buffer_deinit(&reader->part);
    *reader = (struct backup_reader){0};
}

enum error_code backup_reader_feed(struct backup_reader *reader, struct slice bytes, size_t *used,
                                   struct slice *data, struct error *error)
{
    size_t size = part_size(reader), had = reader->part.size;
    *data = (struct slice){0};
    *used = 0;
    if (reader->stage == BACKUP_WHOLE) {
        if (bytes.size == 0) return ERROR_OK;
        return error_set(error, ERROR_CORRUPT, "at byte %" PRIu64 ": there are bytes behind its end",
                         reader->position);
    }
    size_t taken = size - had < bytes.size ? size - had : bytes.size;
    buffer_append(&reader->part, bytes.data, taken);
    reader->position += taken;
    *used = taken;
    if (reader->part.size < size) return ERROR_OK;
    enum error_code code = reader->stage == BACKUP_FIXED  ? take_fixed(reader, error)
                           : reader->stage == BACKUP_META ? take_meta(reader, error)
                           : reader->stage == BACKUP_DATA ? take_block(reader, data, error)
                                                          : take_trailer(reader, error);
    reader->part.size = 0; /* its bytes stay where they are until the next call */
    return code;
}

enum error_code backup_reader_end(const struct backup_reader *reader, struct error *error)
{
    if (reader->stage == BACKUP_WHOLE) return ERROR_OK;
    if (reader->stage == BACKUP_FIXED && reader->position == 0)
        return error_set(error, ERROR_CORRUPT, "it is empty");
    return error_set(error, ERROR_CORRUPT, "at byte %" PRIu64 ": it ends in the middle of its %s",
                     reader->position,
                     reader->stage < BACKUP_DATA    ? "head"
                     : reader->stage == BACKUP_DATA ? "data"
                                                    : "trailer");
}

/* How long the part that is being gathered is. */
static size_t part_size(const struct backup_reader *reader)
{
    uint64_t left = reader->head.meta.size - reader->offset;
    switch (reader->stage) {
    case BACKUP_FIXED:
        return FIXED_SIZE;
    case BACKUP_META:
        return get_u32(reader->meta.data + AT_META_SIZE);
    case BACKUP_DATA:
        return 8 + (left < BACKUP_BLOCK ? (size_t)left : BACKUP_BLOCK);
    case BACKUP_TRAILER:
        return TRAILER_SIZE;
    case BACKUP_WHOLE:
        break;
    }
    return 0;
}

/* What it is must be clear before its checksum, which only a program that knows the version can look at. */
static enum error_code take_fixed(struct backup_reader *reader, struct error *error)
{
    const uint8_t *fixed = reader->part.data;
    if (get_u32(fixed + AT_MAGIC) != MAGIC)
        return error_set(error, ERROR_CORRUPT, "at byte 0: this is no backup of moonclave");
    if (fixed[AT_VERSION] != BACKUP_VERSION) {
        return error_set(
            error, ERROR_VERSION,
            "at byte %d: version %u of a backup; this program (moonclave %s) knows version %d: a newer one "
            "wrote it, or it is damaged",
            AT_VERSION, fixed[AT_VERSION], MOONCLAVE_VERSION, BACKUP_VERSION);
    }
    uint32_t meta = get_u32(fixed + AT_META_SIZE);
    if (get_u32(fixed + AT_BLOCK) != BACKUP_BLOCK || meta < RAFT_SNAPSHOT_META_HEADER_SIZE ||
        meta > META_SIZE_MAX)
        return error_set(error, ERROR_CORRUPT, "at byte %d: its head is damaged", AT_BLOCK);
    buffer_append(&reader->meta, fixed, FIXED_SIZE);
    reader->stage = BACKUP_META;
    return ERROR_OK;
}

static enum error_code take_meta(struct backup_reader *reader, struct error *error)
{
    struct error why;
    buffer_append(&reader->meta, reader->part.data, reader->part.size);
    const uint8_t *fixed = reader->meta.data;
    struct slice meta = slice_of(fixed + FIXED_SIZE, reader->meta.size - FIXED_SIZE);
    struct backup_head *head = &reader->head;
    head->checksum = get_u64(fixed + AT_CHECKSUM);
    if (head->checksum != head_checksum(fixed, meta))
        return error_set(error, ERROR_CORRUPT, "at byte 0: its head is damaged: the checksum does not match");
    enum error_code code = raft_snapshot_meta_decode(meta, &head->meta, &why);
    if (code != ERROR_OK) return error_set(error, code, "at byte %d: %.400s", FIXED_SIZE, why.text);
    head->cluster = get_u64(fixed + AT_CLUSTER);
    head->time_ms = get_u64(fixed + AT_TIME);
    head->app_hash = get_u64(fixed + AT_APP);
    reader->sum = head->checksum;
    reader->stage = head->meta.size > 0 ? BACKUP_DATA : BACKUP_TRAILER;
    return ERROR_OK;
}

static enum error_code take_block(struct backup_reader *reader, struct slice *data, struct error *error)
{
    struct slice block = slice_of(reader->part.data + 8, reader->part.size - 8);
    uint64_t checksum = get_u64(reader->part.data);
    if (checksum != raft_chunk_checksum(reader->offset, block)) {
        return error_set(error, ERROR_CORRUPT,
                         "at byte %" PRIu64 ": a block of its data is damaged (block %" PRIu64 " of %" PRIu64
                         ")",
                         reader->position - reader->part.size, reader->offset / BACKUP_BLOCK + 1,
                         (reader->head.meta.size + BACKUP_BLOCK - 1) / BACKUP_BLOCK);
    }
    *data = block;
    reader->sum = hash_pair(reader->sum, checksum);
    reader->offset += block.size;
    if (reader->offset == reader->head.meta.size) reader->stage = BACKUP_TRAILER;
    return ERROR_OK;
}

static enum error_code take_trailer(struct backup_reader *reader, struct error *error)
{
    const uint8_t *trailer = reader->part.data;
    if (get_u32(trailer) != TRAILER_MAGIC || get_u32(trailer + 4) != 0 ||
        get_u64(trailer + 8) != reader->sum) {
        return error_set(error, ERROR_CORRUPT, "at byte %" PRIu64 ": its trailer is damaged",
                         reader->position - TRAILER_SIZE);
    }
    reader->stage = BACKUP_WHOLE;
    return ERROR_OK;
}
