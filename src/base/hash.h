/* XXH3, 64 bits, behind one door. Not for secrets: it finds accidents, not forgery. */
#ifndef MOONCLAVE_BASE_HASH_H
#define MOONCLAVE_BASE_HASH_H

#include "base/buffer.h"

#include <stdint.h>

uint64_t hash_bytes(const void *data, size_t size);
uint64_t hash_seeded(const void *data, size_t size, uint64_t seed);
void hash_wide(const void *data, size_t size, uint64_t hash[2]); /* 128 bits */
uint64_t hash_pair(uint64_t first, uint64_t second); /* of 16 bytes, both little-endian, first then second */

#endif
