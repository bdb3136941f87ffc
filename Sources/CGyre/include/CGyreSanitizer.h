// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_SANITIZER_H
#define CGYRE_SANITIZER_H

#include "CGyreNullability.h"

#include <stdint.h>

// What the thread sanitizer has to be told: Swift's Mutex takes a contended lock inside the
// standard library, where the sanitizer does not look, and then reports what the lock protects. In
// programs built without the sanitizer these symbols are missing, and nothing is called.
extern void __tsan_acquire(void *_Nonnull address) __attribute__((weak));
extern void __tsan_release(void *_Nonnull address) __attribute__((weak));

// The lock at `address` was taken.
static inline void gyre_lock_acquired(uintptr_t address) {
    if (__tsan_acquire)
        __tsan_acquire((void *)address);
}

// The lock at `address` is about to be given back.
static inline void gyre_lock_releasing(uintptr_t address) {
    if (__tsan_release)
        __tsan_release((void *)address);
}

#endif
