/* Durations by buckets: see histogram.h. */
#include "base/histogram.h"

#define FIRST_BITS 6 /* the first bucket's bound is 2^6 us */

/* The bucket is how many bits `duration - 1` has beyond those of the first bound. */
void histogram_observe(struct histogram *histogram, uint64_t duration_us)
{
    size_t at = 0;
    if (duration_us > UINT64_C(1) << FIRST_BITS)
        at = (size_t)(64 - __builtin_clzll(duration_us - 1)) - FIRST_BITS;
    if (at >= HISTOGRAM_BUCKETS) at = HISTOGRAM_BUCKETS - 1;
    histogram->counts[at]++;
    histogram->sum_us += duration_us;
    if (duration_us > histogram->max_us) histogram->max_us = duration_us;
}

uint64_t histogram_bound_us(size_t at)
{
    return at + 1 < HISTOGRAM_BUCKETS ? UINT64_C(1) << (FIRST_BITS + at) : UINT64_MAX;
}

uint64_t histogram_count(const struct histogram *histogram)
{
    uint64_t count = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) count += histogram->counts[i];
    return count;
}

uint64_t histogram_quantile_us(const struct histogram *histogram, unsigned permille)
{
    uint64_t count = histogram_count(histogram), seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && count > 0; i++) {
        seen += histogram->counts[i];
        if (seen * 1000 < count * permille) continue;
        uint64_t bound_us = histogram_bound_us(i);
        return bound_us < histogram->max_us ? bound_us : histogram->max_us;
    }
    return 0;
}
