// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_SYSTEM_H
#define CGYRE_SYSTEM_H

#include "CGyreNullability.h"

#include <stddef.h>
#include <stdint.h>
// Swift's Glibc module has neither of these; they come to Swift through this header.
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/types.h>

// Waits for at most `nanoseconds`, for ever when negative. Nanosecond resolution where the kernel
// has epoll_pwait2 (5.11), otherwise rounded up to a millisecond, so that nobody is woken early.
// Returns the number of events, or -errno.
int gyre_epoll_wait(
    int epoll, struct epoll_event *_Nonnull events, int capacity, int64_t nanoseconds);

// accept4, which Swift's Glibc module does not show (it is a GNU extension). Sets errno.
int gyre_accept(int listener, int flags);

// The same, with the address of the peer: a sockaddr, and its socklen_t. (Their types are Glibc's
// for Swift, and would be this module's if it named them.)
int gyre_accept_from(
    int listener, void *_Nonnull address, uint32_t *_Nonnull length, int flags);

// SO_PEERCRED: who connected to, or listens at, the other end of a Unix socket. Sets errno.
int gyre_peer_credentials(
    int fd, int32_t *_Nonnull process, uint32_t *_Nonnull user, uint32_t *_Nonnull group);

// write without the signal SIGPIPE. Sets errno.
ssize_t gyre_write(int fd, const void *_Nullable bytes, size_t count);

// sendfile, which raises no SIGPIPE here. Sends up to `count` bytes of `file` from `*position` on,
// which it moves; the file's own position stays. Returns how many, or -1 with errno set.
int64_t gyre_sendfile(int socket, int file, int64_t *_Nonnull position, uint64_t count);

static inline void gyre_prefetch(const void *_Nonnull address) {
    __builtin_prefetch(address);
}

// The GNU extension POLLRDHUP: the peer closed its sending side.
enum { GYRE_POLLRDHUP = 0x2000 };

#endif
