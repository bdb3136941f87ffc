// SPDX-License-Identifier: Apache-2.0

#include "load.h"

#include <stdlib.h>

// 64 KiB of different places: small enough to stay in the second-level cache.
enum { placesCount = 1 << 16 };

static char *block;

void makePattern(size_t messageBytes) {
    size_t count = messageBytes + placesCount;
    block = malloc(count);
    if (!block) failErrno("malloc");
    uint64_t state = 0x9E3779B97F4A7C15;
    for (size_t i = 0; i < count; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        block[i] = (char)(state >> 32);
    }
}

const char *messagePattern(uint32_t connection, uint64_t message) {
    // Odd factors visit every place: 65,536 connections never say the same at the same message
    // number, nor does one connection within 65,536 messages.
    return block + ((connection * 40503u + (uint32_t)message * 9973u) & (placesCount - 1));
}
