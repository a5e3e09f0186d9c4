/* The door to xxhash. Inlined, so that the small fixed sizes of headers and chains cost a few
 * nanoseconds. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash_bytes(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}

uint64_t hash_seeded(const void *data, size_t size, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, size, seed);
}

void hash_wide(const void *data, size_t size, uint64_t hash[2])
{
    XXH128_hash_t wide = XXH3_128bits(data, size);
    hash[0] = wide.low64;
    hash[1] = wide.high64;
}

uint64_t hash_pair(uint64_t first, uint64_t second)
{
    uint8_t bytes[16];
    put_u64(bytes, first);
    put_u64(bytes + 8, second);
    return XXH3_64bits(bytes, sizeof bytes);
}
