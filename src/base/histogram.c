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

uint64_t histogram_guess_us(const struct histogram *histogram, unsigned permille)
{
    double count = (double)histogram_count(histogram), before = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS && count > 0; i++) {
        double within = (double)histogram->counts[i];
        if (within == 0 || (before + within) * 1000 < count * permille) {
            before += within;
            continue;
        }
        uint64_t from_us = i > 0 ? histogram_bound_us(i - 1) : 0, to_us = histogram_bound_us(i);
        if (to_us > histogram->max_us) to_us = histogram->max_us;
        if (from_us > to_us) from_us = to_us;
        double part = (count * permille / 1000 - before) / within;
        return from_us + (uint64_t)((double)(to_us - from_us) * part);
    }
    return 0;
}

/* ---- of the last seconds ---- */

void histogram_recent_observe(struct histogram_recent *recent, uint64_t now_us, uint64_t duration_us)
{
    uint64_t number = now_us / HISTOGRAM_TURN_US;
    size_t at = number % 2;
    if (recent->numbers[at] != number) recent->turns[at] = (struct histogram){0};
    recent->numbers[at] = number;
    histogram_observe(&recent->turns[at], duration_us);
}

struct histogram histogram_recent_read(const struct histogram_recent *recent, uint64_t now_us)
{
    uint64_t number = now_us / HISTOGRAM_TURN_US;
    struct histogram sum = {0};
    for (size_t turn = 0; turn < 2; turn++) {
        const struct histogram *of = &recent->turns[turn];
        if (recent->numbers[turn] != number && recent->numbers[turn] + 1 != number) continue;
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) sum.counts[i] += of->counts[i];
        sum.sum_us += of->sum_us;
        if (of->max_us > sum.max_us) sum.max_us = of->max_us;
    }
    return sum;
}
