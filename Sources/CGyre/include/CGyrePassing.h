// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_PASSING_H
#define CGYRE_PASSING_H

#include "CGyreNullability.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

// Descriptors that travel with bytes over a Unix socket (SCM_RIGHTS), which needs macros that Swift
// does not have. No call waits. Both set errno.

// The most that go with one piece, the kernel's limit.
enum { GYRE_PASSED_MAX = 253 };

// Sends `bytes`, and the descriptors with the first of them. Returns how many bytes went.
ssize_t gyre_send_passing(
    int fd, const void *_Nonnull bytes, size_t size, const int *_Nonnull descriptors, int count);

// Receives bytes, and the descriptors that came with the first of them, which the process's
// children do not inherit. `count` has room for GYRE_PASSED_MAX on the way in. `is_truncated` says
// that some were lost, for want of free descriptors.
ssize_t gyre_receive_passed(
    int fd, void *_Nonnull bytes, size_t size, int *_Nonnull descriptors, int *_Nonnull count,
    bool *_Nonnull is_truncated);

#endif
