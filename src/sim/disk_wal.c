/*
 * A WAL's bytes, for judging what a store may fail to notice (src/store/README.md, "What cannot be told"). Written from
 * SQLite's description of the file and the rule in store/walscan.h, not from walscan.c: who judges must not share the
 * code that is judged.
 */
#include "sim/disk.h"

#include <string.h>

#define HEADER 32
#define FRAME  24

static uint32_t big(const uint8_t *at);
static void sum(const uint8_t *header, const uint8_t *bytes, size_t size, uint32_t *a, uint32_t *b);
static bool continues(const uint8_t *header, const struct sim_wal *wal, const uint8_t *frame, const uint8_t *before);
static bool intact(struct slice good, struct slice bad, uint64_t at, uint64_t size);
static bool proven(struct slice good, struct slice bad, const struct sim_wal *wal, uint32_t commit);

bool wal_read(struct slice bytes, struct sim_wal *wal)
{
    *wal = (struct sim_wal){0};
    if (bytes.size < HEADER || (big(bytes.data) & ~1U) != 0x377f0682U) return false;
    wal->page_size = big(bytes.data + 8);
    if (wal->page_size < 512 || wal->page_size > 65536) return false;
    memcpy(wal->salt, bytes.data + 16, sizeof wal->salt);
    const uint8_t *before = bytes.data + 24; /* the checksum to go on from */
    for (uint32_t number = 1; wal_frame_at(wal, number + 1) <= bytes.size; number++) {
        const uint8_t *frame = bytes.data + wal_frame_at(wal, number);
        if (big(frame) == 0 || !continues(bytes.data, wal, frame, before)) break;
        if (big(frame + 4) != 0) wal->frames = number;
        before = frame + 16;
    }
    return true;
}

uint64_t wal_frame_at(const struct sim_wal *wal, uint32_t number)
{
    return HEADER + (uint64_t)(number - 1) * (FRAME + wal->page_size);
}

/* What is gone is everything from the first transaction with damage on. It shows when some later transaction begins
 * with a whole frame that continues the one before, or when the mark vouches for more than what is left. */
unsigned wal_untold(struct slice good, struct slice bad, uint64_t from, uint32_t vouched)
{
    struct sim_wal wal;
    if (from < HEADER || !wal_read(good, &wal)) return 0; /* a damaged header is always told */
    unsigned gone = 0;
    uint32_t left = 0; /* frames before the first transaction with damage */
    for (uint32_t number = 1; number <= wal.frames; number++) {
        if (big(good.data + wal_frame_at(&wal, number) + 4) == 0) continue;
        if (gone == 0 && wal_frame_at(&wal, number + 1) <= from) {
            left = number;
            continue;
        }
        gone++;
        if (number < wal.frames && proven(good, bad, &wal, number)) return 0;
    }
    return vouched > left ? 0 : gone;
}

/* `commit` is the last frame of a transaction, another follows it. Its own page may be damaged: what the next frame
 * continues is the checksum it has, or the one it should have. */
static bool proven(struct slice good, struct slice bad, const struct sim_wal *wal, uint32_t commit)
{
    uint64_t at = wal_frame_at(wal, commit), next = wal_frame_at(wal, commit + 1);
    if (!intact(good, bad, next, FRAME + wal->page_size)) return false;
    if (big(bad.data + at + 4) == 0) return false;
    if (intact(good, bad, at + 16, 8)) return true;
    uint64_t seed = commit == 1 ? 24 : wal_frame_at(wal, commit - 1) + 16;
    return intact(good, bad, seed, 8) && intact(good, bad, at, 8) && intact(good, bad, at + FRAME, wal->page_size);
}

static bool intact(struct slice good, struct slice bad, uint64_t at, uint64_t size)
{
    return memcmp(good.data + at, bad.data + at, (size_t)size) == 0;
}

static bool continues(const uint8_t *header, const struct sim_wal *wal, const uint8_t *frame, const uint8_t *before)
{
    if (memcmp(frame + 8, wal->salt, sizeof wal->salt) != 0) return false;
    uint32_t a = big(before), b = big(before + 4);
    sum(header, frame, 8, &a, &b);
    sum(header, frame + FRAME, wal->page_size, &a, &b);
    return a == big(frame + 16) && b == big(frame + 20);
}

/* Two running sums over pairs of words; the lowest bit of the file's first word says in which order their bytes lie. */
static void sum(const uint8_t *header, const uint8_t *bytes, size_t size, uint32_t *a, uint32_t *b)
{
    bool swapped = !(header[3] & 1);
    for (size_t i = 0; i < size; i += 8) {
        uint32_t x = big(bytes + i), y = big(bytes + i + 4);
        if (swapped) {
            x = __builtin_bswap32(x);
            y = __builtin_bswap32(y);
        }
        *a += x + *b;
        *b += y + *a;
    }
}

static uint32_t big(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}
