/* A small, fast, seeded generator (xoshiro256**). The same seed gives the same numbers everywhere. Not for secrets. */
#ifndef MOONCLAVE_BASE_RANDOM_H
#define MOONCLAVE_BASE_RANDOM_H

#include <stdint.h>

struct random {
    uint64_t state[4];
};

void random_init(struct random *random, uint64_t seed);
uint64_t random_next(struct random *random);
uint64_t random_below(struct random *random, uint64_t limit); /* 0 ... limit - 1, unbiased; limit > 0 */
double random_unit(struct random *random);                    /* [0, 1) */

#endif
