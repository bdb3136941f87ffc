// SPDX-License-Identifier: Apache-2.0
//
// Counts the heap allocations of each thread. A library by itself, since only the cases of
// `gyre-bench micro` that count load it, before the C library (LD_PRELOAD): elsewhere nothing
// stands between a program and its allocator.

#include "CGyreAllocations.h"

#include <errno.h>
#include <stddef.h>

// The names under which the GNU C library has them besides.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

// A library that is loaded with the program has its place there already: no allocation is needed
// for it, which would end here again.
static _Thread_local int64_t made __attribute__((tls_model("initial-exec")));

int64_t gyre_allocations(void) {
    return made;
}

void *malloc(size_t size) {
    made++;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    made++;
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    made++;
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    made++;
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    return memalign(alignment, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size) {
    if (alignment % sizeof(void *) != 0 || (alignment & (alignment - 1)) != 0 || alignment == 0)
        return EINVAL;
    *memory = memalign(alignment, size);
    return *memory != NULL ? 0 : ENOMEM;
}
