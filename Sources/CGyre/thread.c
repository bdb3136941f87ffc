// SPDX-License-Identifier: Apache-2.0

#include "CGyreThread.h"

#include <stddef.h>

__thread void *gyre_thread_current_loop = NULL;
