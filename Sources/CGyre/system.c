// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreSystem.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define WRITE_NO_SIGNAL 0x100  // 6.18: RWF_NOSIGNAL

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

// For kernels that cannot be told: SIGPIPE is blocked meanwhile, and taken back when it came of
// this write. One that was pending before is left; it can only be when it was blocked before.
static ssize_t write_with_signal_blocked(int fd, const void *bytes, size_t count) {
    sigset_t broken_pipe, before, pending;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    sigemptyset(&pending);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, &before);
    bool was_blocked = sigismember(&before, SIGPIPE) == 1;
    if (was_blocked)
        sigpending(&pending);
    ssize_t written = write(fd, bytes, count);
    int error = errno;
    if (written < 0 && error == EPIPE && sigismember(&pending, SIGPIPE) != 1) {
        struct timespec none = {0};
        while (sigtimedwait(&broken_pipe, NULL, &none) < 0 && errno == EINTR) {
        }
    }
    if (!was_blocked)
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return written;
}

static atomic_bool has_no_signal_flag = false;

ssize_t gyre_write(int fd, const void *bytes, size_t count) {
    if (!atomic_load_explicit(&has_no_signal_flag, memory_order_relaxed)) {
        struct iovec piece = {.iov_base = (void *)bytes, .iov_len = count};
        ssize_t written = pwritev2(fd, &piece, 1, -1, WRITE_NO_SIGNAL);
        if (written >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EPERM))
            return written;
        atomic_store_explicit(&has_no_signal_flag, true, memory_order_relaxed);
    }
    return write_with_signal_blocked(fd, bytes, count);
}

int gyre_accept_from(int listener, void *address, uint32_t *length, int flags) {
    return accept4(listener, address, length, flags);
}

int64_t gyre_sendfile(int socket, int file, int64_t *position, uint64_t count) {
    // There is no flag for a broken connection to raise no signal: it is held back meanwhile, and
    // taken away.
    sigset_t pipe_signal, before, pending;
    sigemptyset(&pipe_signal);
    sigaddset(&pipe_signal, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
    off64_t offset = *position;
    ssize_t sent = sendfile64(socket, file, &offset, count);
    int error = errno;
    *position = offset;
    // A connection that breaks in the middle raises it, too, and the count of what went before is
    // returned.
    bool may_be_broken = sent < 0 ? error == EPIPE : (uint64_t)sent < count;
    if (may_be_broken && !was_pending) {
        struct timespec none = {0};
        while (sigtimedwait(&pipe_signal, NULL, &none) < 0 && errno == EINTR)
            continue;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = error;
    return sent;
}
