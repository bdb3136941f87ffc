// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreSystem.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

static atomic_bool has_no_pwait2 = false;

int gyre_epoll_wait(int epoll, struct epoll_event *events, int capacity, int64_t nanoseconds) {
    if (nanoseconds <= 0) {
        int count = epoll_wait(epoll, events, capacity, nanoseconds < 0 ? -1 : 0);
        return count < 0 ? -errno : count;
    }
    if (!atomic_load_explicit(&has_no_pwait2, memory_order_relaxed)) {
        struct timespec timeout = {
            .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
        int count = epoll_pwait2(epoll, events, capacity, &timeout, NULL);
        if (count >= 0 || (errno != ENOSYS && errno != EPERM))
            return count < 0 ? -errno : count;
        atomic_store_explicit(&has_no_pwait2, true, memory_order_relaxed);
    }
    int64_t milliseconds = nanoseconds / 1000000 + (nanoseconds % 1000000 != 0);
    int bounded = milliseconds > INT_MAX ? INT_MAX : (int)milliseconds;
    int count = epoll_wait(epoll, events, capacity, bounded);
    return count < 0 ? -errno : count;
}

int gyre_peer_credentials(int fd, int32_t *process, uint32_t *user, uint32_t *group) {
    struct ucred credentials = {0};
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return -1;
    *process = credentials.pid;
    *user = credentials.uid;
    *group = credentials.gid;
    return 0;
}

int gyre_accept(int listener, int flags) {
    return accept4(listener, NULL, NULL, flags);
}
