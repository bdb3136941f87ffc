// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreThread.h"

#include <stddef.h>
#include <unistd.h>

__thread void *gyre_thread_current_loop = NULL;

bool gyre_is_main_thread(void) {
    return gettid() == getpid();
}
