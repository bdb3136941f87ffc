// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_ALLOCATIONS_H
#define CGYRE_ALLOCATIONS_H

#include <stdint.h>

// How often the calling thread has asked for heap memory so far.
int64_t gyre_allocations(void);

#endif
