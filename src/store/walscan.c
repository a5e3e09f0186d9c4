/* The scan: walscan.h has the format and the rule. One frame is in memory at a time. */
#include "store/walscan.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/mutant.h"

#include <assert.h>

#define FRAME_HEADER_SIZE 24
#define MAGIC_LITTLE \
    0x377f0682U /* checksums over little-endian words; the lowest bit set: big-endian */
#define WAL_VERSION 3007000U

struct sum {
    uint32_t a, b;
};

/* What is remembered of the frame before: by its stored and by its true checksum it can be
 * continued. */
struct link {
    struct sum stored, computed;
    bool commit;
};

struct scanner {
    struct store_file *wal;
    struct store_walscan *scan;
    bool big_endian;
    uint8_t *frame; /* header and page */
    size_t frame_size;
    uint32_t valid; /* frames in the unbroken chain from the start */
    struct link before;
};

static enum error_code scan_frames(struct scanner *scanner, uint64_t size, struct error *error);
static bool scan_frame(struct scanner *scanner, uint32_t number);
static enum error_code check_mark(const struct scanner *scanner, const struct store_mark *mark,
                                  struct error *error);
static enum error_code refuse(const struct store_file *wal, struct store_walscan *scan, uint64_t at,
                              const char *what, struct error *error);
static uint64_t frame_at(const struct store_walscan *scan, uint32_t number);
static struct sum frame_sum(const struct scanner *scanner, struct sum seed);
static struct sum frame_seed(const struct scanner *scanner, struct sum end);
static struct sum sum_forward(bool big_endian, struct sum sum, const uint8_t *bytes, size_t size);
static struct sum sum_backward(bool big_endian, struct sum sum, const uint8_t *bytes, size_t size);
static bool sum_equal(struct sum x, struct sum y);
static struct sum stored_sum(const uint8_t *at);
static uint32_t big_u32(const uint8_t *at);
static uint32_t word_at(const uint8_t *at, bool big_endian);

enum error_code store_walscan(struct store_file *wal, const struct store_mark *mark,
                              struct store_walscan *scan, struct error *error)
{
    *scan = (struct store_walscan){0};
    uint8_t header[STORE_WAL_HEADER_SIZE];
    uint64_t size;
    enum error_code code = store_file_size(wal, &size, error);
    if (!code) code = store_file_read(wal, 0, header, sizeof header, error);
    if (code) return code;
    scan->valid = store_wal_header(header, &scan->generation, &scan->page_size);
    if (!scan->valid) {
        /* A header is synced before the first frame is written: without frames, and nothing
         * acknowledged, it is torn. */
        if (size <= STORE_WAL_HEADER_SIZE && mark->frames == 0) return ERROR_OK;
        return refuse(wal, scan, 0, "its header is damaged", error);
    }
    struct scanner scanner = {
        .wal = wal,
        .scan = scan,
        .big_endian = big_u32(header) & 1,
        .frame_size = FRAME_HEADER_SIZE + scan->page_size,
        .before = {stored_sum(header + 24), stored_sum(header + 24), false},
    };
    scanner.frame = memory_alloc(scanner.frame_size);
    code = scan_frames(&scanner, size, error);
    if (!code) code = check_mark(&scanner, mark, error);
    memory_free(scanner.frame);
    return code;
}

enum error_code store_wal_adopt(struct store_file *wal, const struct store_walscan *scan,
                                const struct store_mark *mark, struct error *error)
{
    assert(scan->valid && scan->page_size > 0);
    if (FAULT(STORE_UNADOPTED)) return ERROR_OK;
    bool same = store_generation_equal(&scan->generation, &mark->generation);
    uint64_t from = same ? frame_at(scan, mark->frames + 1) : 0;
    uint64_t end = frame_at(scan, scan->frames + 1);
    uint8_t *bytes = memory_alloc(scan->page_size);
    enum error_code code = ERROR_OK;
    while (from < end && !code) {
        size_t size = end - from < scan->page_size ? (size_t)(end - from) : scan->page_size;
        code = store_file_read(wal, from, bytes, size, error);
        if (!code) code = store_file_write(wal, from, bytes, size, error);
        from += size;
    }
    memory_free(bytes);
    return code ? code : store_file_sync(wal, error);
}

bool store_wal_header(const uint8_t *header, struct store_wal_generation *generation,
                      uint32_t *page_size)
{
    if ((big_u32(header) & ~1U) != MAGIC_LITTLE || big_u32(header + 4) != WAL_VERSION) return false;
    struct sum sum = sum_forward(big_u32(header) & 1, (struct sum){0, 0}, header, 24);
    if (!sum_equal(sum, stored_sum(header + 24))) return false;
    *page_size = big_u32(header + 8);
    if (*page_size < 512 || *page_size > 65536 || (*page_size & (*page_size - 1))) return false;
    generation->sequence = big_u32(header + 12);
    generation->salt[0] = big_u32(header + 16);
    generation->salt[1] = big_u32(header + 20);
    return true;
}

/* ---- frames ---- */

static enum error_code scan_frames(struct scanner *scanner, uint64_t size, struct error *error)
{
    for (uint32_t number = 1; frame_at(scanner->scan, number + 1) <= size; number++) {
        uint64_t at = frame_at(scanner->scan, number);
        enum error_code code =
            store_file_read(scanner->wal, at, scanner->frame, scanner->frame_size, error);
        if (code) return code;
        if (!scan_frame(scanner, number)) {
            return refuse(scanner->wal, scanner->scan, frame_at(scanner->scan, scanner->valid + 1),
                          "it is damaged there: a later commit follows, so this is no torn write",
                          error);
        }
    }
    return ERROR_OK;
}

/* false: this frame proves that a commit before it is damaged. */
static bool scan_frame(struct scanner *scanner, uint32_t number)
{
    const uint8_t *frame = scanner->frame;
    const struct link before = scanner->before;
    struct sum stored = stored_sum(frame + 16);
    struct link link = {stored, frame_sum(scanner, before.stored), big_u32(frame + 4) != 0};
    bool ours = big_u32(frame + 8) == scanner->scan->generation.salt[0] &&
                big_u32(frame + 12) == scanner->scan->generation.salt[1];
    bool continues = sum_equal(link.computed, stored);
    scanner->before = link;

    if (scanner->valid == number - 1 && ours && continues && big_u32(frame) != 0) {
        scanner->valid = number;
        if (link.commit) scanner->scan->frames = number;
        return true;
    }
    if (scanner->valid >= number - 1 || !ours || !before.commit) return true;
    return !continues && !sum_equal(frame_seed(scanner, stored), before.computed);
}

static enum error_code check_mark(const struct scanner *scanner, const struct store_mark *mark,
                                  struct error *error)
{
    struct store_walscan *scan = scanner->scan;
    if (GUARD(STORE_UNMARKED, mark->frames == 0)) return ERROR_OK;
    if (store_generation_equal(&scan->generation, &mark->generation)) {
        if (scan->frames >= mark->frames) return ERROR_OK;
        return refuse(scanner->wal, scan, frame_at(scan, scanner->valid + 1),
                      "it is damaged there: what follows was acknowledged", error);
    }
    /* Sequences wrap; a later one is less than half the circle ahead. */
    uint32_t ahead = scan->generation.sequence - mark->generation.sequence;
    if (ahead != 0 && ahead < UINT32_MAX / 2) return ERROR_OK;
    return refuse(scanner->wal, scan, 0, "it is older than what was acknowledged", error);
}

static enum error_code refuse(const struct store_file *wal, struct store_walscan *scan, uint64_t at,
                              const char *what, struct error *error)
{
    scan->damaged_at = at;
    return error_set(error, ERROR_CORRUPT,
                     "%s: offset %llu: %s. Acknowledged data is lost here: " STORE_REBUILD
                     "; do not start it without this file",
                     wal->name, (unsigned long long)at, what);
}

static uint64_t frame_at(const struct store_walscan *scan, uint32_t number)
{
    return STORE_WAL_HEADER_SIZE + (uint64_t)(number - 1) * (FRAME_HEADER_SIZE + scan->page_size);
}

/* ---- SQLite's checksum ---- */

static struct sum frame_sum(const struct scanner *scanner, struct sum seed)
{
    struct sum sum = sum_forward(scanner->big_endian, seed, scanner->frame, 8);
    return sum_forward(scanner->big_endian, sum, scanner->frame + FRAME_HEADER_SIZE,
                       scanner->scan->page_size);
}

/* The seed that the frame's writer began with, if the frame and its stored sum are as written. */
static struct sum frame_seed(const struct scanner *scanner, struct sum end)
{
    struct sum sum = sum_backward(scanner->big_endian, end, scanner->frame + FRAME_HEADER_SIZE,
                                  scanner->scan->page_size);
    return sum_backward(scanner->big_endian, sum, scanner->frame, 8);
}

static struct sum sum_forward(bool big_endian, struct sum sum, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += 8) {
        sum.a += word_at(bytes + i, big_endian) + sum.b;
        sum.b += word_at(bytes + i + 4, big_endian) + sum.a;
    }
    return sum;
}

static struct sum sum_backward(bool big_endian, struct sum sum, const uint8_t *bytes, size_t size)
{
    for (size_t i = size; i > 0; i -= 8) {
        sum.b -= word_at(bytes + i - 4, big_endian) + sum.a;
        sum.a -= word_at(bytes + i - 8, big_endian) + sum.b;
    }
    return sum;
}

static bool sum_equal(struct sum x, struct sum y)
{
    return x.a == y.a && x.b == y.b;
}

static struct sum stored_sum(const uint8_t *at)
{
    return (struct sum){big_u32(at), big_u32(at + 4)};
}

static uint32_t big_u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint32_t word_at(const uint8_t *at, bool big_endian)
{
    if (big_endian) return big_u32(at);
    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}
