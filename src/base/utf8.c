/*
 * Is it UTF-8? As Unicode 15 table 3-7 has it: no overlong forms, no surrogates, nothing past
 * U+10FFFF. Runs over every string that is written, so plain ASCII goes eight bytes at a time.
 */
#include "base/mp.h"

#include <string.h>

static size_t sequence_size(const uint8_t *at, size_t available);

bool utf8_valid(struct slice bytes)
{
    const uint8_t *at = bytes.data;
    size_t left = bytes.size;
    while (left > 0) {
        uint64_t eight;
        if (left >= sizeof eight) {
            memcpy(&eight, at, sizeof eight);
            if ((eight & 0x8080808080808080) == 0) {
                at += sizeof eight;
                left -= sizeof eight;
                continue;
            }
        }
        size_t size = sequence_size(at, left);
        if (size == 0) return false;
        at += size;
        left -= size;
    }
    return true;
}

size_t utf8_cut(struct slice text, size_t most)
{
    if (text.size <= most) return text.size;
    while (most > 0 && (text.data[most] & 0xc0) == 0x80) most--;
    return most;
}

/* 0: no valid sequence begins here. The second byte's range is where overlong forms and surrogates
 * show. */
static size_t sequence_size(const uint8_t *at, size_t available)
{
    uint8_t first = at[0];
    if (first < 0x80) return 1;
    if (first < 0xc2 || first > 0xf4) return 0;
    size_t size = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    if (available < size) return 0;
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < least || at[1] > most) return 0;
    for (size_t i = 2; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
    }
    return size;
}
