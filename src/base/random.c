/*
 * xoshiro256** by Blackman and Vigna, seeded through splitmix64 as they advise (a state of all
 * zeros would stay there). Integer arithmetic only, so that a seed means the same run on every
 * machine.
 */
#include "base/random.h"

#include <assert.h>

static uint64_t splitmix(uint64_t *state);
static uint64_t rotate(uint64_t value, int by);

void random_init(struct random *random, uint64_t seed)
{
    for (int i = 0; i < 4; i++) random->state[i] = splitmix(&seed);
}

uint64_t random_next(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate(s[3], 45);
    return result;
}

/* The lowest 2^64 mod limit draws are thrown away: what is left is a multiple of limit, so no
 * remainder is favoured. */
uint64_t random_below(struct random *random, uint64_t limit)
{
    assert(limit > 0);
    uint64_t surplus = (0 - limit) % limit;
    uint64_t drawn;
    do {
        drawn = random_next(random);
    } while (drawn < surplus);
    return drawn % limit;
}

double random_unit(struct random *random)
{
    return (double)(random_next(random) >> 11) * 0x1p-53;
}

static uint64_t splitmix(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static uint64_t rotate(uint64_t value, int by)
{
    return value << by | value >> (64 - by);
}
