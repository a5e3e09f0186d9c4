/*
 * Durations by fixed, exponential buckets: how many took at most 64 us, 128 us, ... 67 s, or longer. Observing
 * one is a bit scan and three additions: no memory, no clock, no lock. Whoever observes on one thread and reads
 * on another brings the lock.
 */
#ifndef MOONCLAVE_BASE_HISTOGRAM_H
#define MOONCLAVE_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_BUCKETS 22 /* the last one is of everything that took longer than the one before allows */

/* Zero-initialise. Counts never go down. */
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS]; /* not cumulative */
    uint64_t sum_us;
    uint64_t max_us;
};

void histogram_observe(struct histogram *histogram, uint64_t duration_us);
/* The longest duration that bucket `at` counts, in microseconds; of the last one UINT64_MAX. */
uint64_t histogram_bound_us(size_t at);
uint64_t histogram_count(const struct histogram *histogram);
/* An upper bound of the duration that `permille` of a thousand stayed within: its bucket's bound, and never more than
 * the longest. 0: nothing was observed. */
uint64_t histogram_quantile_us(const struct histogram *histogram, unsigned permille);
/* The same as a guess, for people: as if the durations within a bucket were evenly apart. */
uint64_t histogram_guess_us(const struct histogram *histogram, unsigned permille);

/* Of the last seconds only: two that take turns, so that what is read is of this turn and of the one before, 5 to 10
 * seconds of it. The clock is the caller's. Zero-initialise. */
#define HISTOGRAM_TURN_US UINT64_C(5000000)
struct histogram_recent {
    struct histogram turns[2];
    uint64_t numbers[2]; /* of the turns: which of them each one is about */
};

void histogram_recent_observe(struct histogram_recent *recent, uint64_t now_us, uint64_t duration_us);
struct histogram histogram_recent_read(const struct histogram_recent *recent, uint64_t now_us);

#endif
