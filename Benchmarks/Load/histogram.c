// SPDX-License-Identifier: Apache-2.0

#include "load.h"

#include <string.h>

// Each power of two is cut into 64 equal steps.
enum { stepBits = 6, steps = 1 << stepBits, bucketsCount = (64 - stepBits + 1) * steps };

static uint64_t buckets[bucketsCount];
static uint64_t recordsCount;
static uint64_t largest;

static unsigned bucketOf(uint64_t value) {
    if (value < steps) return (unsigned)value;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(value) - stepBits;
    return (exponent << stepBits) + (unsigned)(value >> exponent);
}

/// The middle of what falls into a bucket.
static uint64_t valueOf(unsigned bucket) {
    if (bucket < 2 * steps) return bucket;
    unsigned exponent = (bucket >> stepBits) - 1;
    uint64_t low = (uint64_t)(steps + (bucket & (steps - 1))) << exponent;
    return low + (((uint64_t)1 << exponent) >> 1);
}

void resetHistogram(void) {
    memset(buckets, 0, sizeof buckets);
    recordsCount = 0;
    largest = 0;
}

void recordLatency(uint64_t nanoseconds) {
    buckets[bucketOf(nanoseconds)]++;
    recordsCount++;
    if (nanoseconds > largest) largest = nanoseconds;
}

uint64_t latencyAt(double share) {
    if (share >= 1 || recordsCount == 0) return largest;
    uint64_t rank = (uint64_t)(share * (double)recordsCount);
    uint64_t passed = 0;
    for (unsigned i = 0; i < bucketsCount; i++) {
        passed += buckets[i];
        if (passed > rank) {
            uint64_t value = valueOf(i);
            return value < largest ? value : largest;
        }
    }
    return largest;
}
