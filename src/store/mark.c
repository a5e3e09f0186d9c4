/* The mark's bytes: mark.h. Less than a sector, always overwritten in place: a disk writes all of
 * it or none. */
#include "store/mark.h"

#include "base/buffer.h"
#include "base/hash.h"

enum {
    AT_MAGIC = 0,
    AT_SEQUENCE = 4,
    AT_SALT = 8,
    AT_FRAMES = 16,
    AT_ZERO = 20,
    AT_CHECKSUM = 24,
    MARK_SIZE = 32,
};

#define MARK_MAGIC 0x3141636d /* "mcA1" */

static void decode(const uint8_t *bytes, struct store_mark *mark);

bool store_generation_equal(const struct store_wal_generation *a,
                            const struct store_wal_generation *b)
{
    return a->sequence == b->sequence && a->salt[0] == b->salt[0] && a->salt[1] == b->salt[1];
}

/* The type is that of a super-journal: a plain file whose first sync makes its name durable too. It
 * is synced at every open: whoever was killed between making and syncing it leaves that to the
 * next. */
enum error_code store_mark_open(struct store_file *file, sqlite3_vfs *vfs, const char *name,
                                struct store_mark *mark, struct error *error)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_SUPER_JOURNAL;
    *mark = (struct store_mark){0};
    enum error_code code = store_file_open(file, vfs, name, flags, error);
    if (code) return code;
    uint64_t size;
    if ((code = store_file_size(file, &size, error))) return code;
    uint8_t bytes[MARK_SIZE];
    if (size < MARK_SIZE) {
        code = store_mark_write(file, mark, error);
    } else {
        code = store_file_read(file, 0, bytes, sizeof bytes, error);
        if (!code) decode(bytes, mark);
    }
    return code ? code : store_file_sync(file, error);
}

enum error_code store_mark_check(struct store_file *file, bool *sound, struct error *error)
{
    uint8_t bytes[MARK_SIZE];
    enum error_code code = store_file_read(file, 0, bytes, sizeof bytes, error);
    *sound = !code && get_u32(bytes + AT_MAGIC) == MARK_MAGIC &&
             get_u64(bytes + AT_CHECKSUM) == hash_bytes(bytes, AT_CHECKSUM);
    return code;
}

enum error_code store_mark_write(struct store_file *file, const struct store_mark *mark,
                                 struct error *error)
{
    uint8_t bytes[MARK_SIZE];
    put_u32(bytes + AT_MAGIC, MARK_MAGIC);
    put_u32(bytes + AT_SEQUENCE, mark->generation.sequence);
    put_u32(bytes + AT_SALT, mark->generation.salt[0]);
    put_u32(bytes + AT_SALT + 4, mark->generation.salt[1]);
    put_u32(bytes + AT_FRAMES, mark->frames);
    put_u32(bytes + AT_ZERO, 0);
    put_u64(bytes + AT_CHECKSUM, hash_bytes(bytes, AT_CHECKSUM));
    return store_file_write(file, 0, bytes, sizeof bytes, error);
}

static void decode(const uint8_t *bytes, struct store_mark *mark)
{
    if (get_u32(bytes + AT_MAGIC) != MARK_MAGIC) return;
    if (get_u64(bytes + AT_CHECKSUM) != hash_bytes(bytes, AT_CHECKSUM)) return;
    mark->generation.sequence = get_u32(bytes + AT_SEQUENCE);
    mark->generation.salt[0] = get_u32(bytes + AT_SALT);
    mark->generation.salt[1] = get_u32(bytes + AT_SALT + 4);
    mark->frames = get_u32(bytes + AT_FRAMES);
}
