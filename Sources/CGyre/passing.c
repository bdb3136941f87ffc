// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyrePassing.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

union control {
    char bytes[CMSG_SPACE(sizeof(int) * GYRE_PASSED_MAX)];
    struct cmsghdr alignment;
};

ssize_t gyre_send_passing(
    int fd, const void *bytes, size_t size, const int *descriptors, int count) {
    struct iovec piece = {.iov_base = (void *)bytes, .iov_len = size};
    union control control;
    size_t length = sizeof(int) * (size_t)count;
    struct msghdr message = {
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = CMSG_SPACE(length)};
    memset(&control, 0, sizeof control);
    struct cmsghdr *item = CMSG_FIRSTHDR(&message);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(item), descriptors, length);
    return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t gyre_receive_passed(
    int fd, void *bytes, size_t size, int *descriptors, int *count, bool *is_truncated) {
    struct iovec piece = {.iov_base = bytes, .iov_len = size};
    union control control;
    struct msghdr message = {
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control};
    *count = 0;
    ssize_t received = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0)
        return received;
    *is_truncated = (message.msg_flags & MSG_CTRUNC) != 0;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item;
         item = CMSG_NXTHDR(&message, item)) {
        if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS)
            continue;
        size_t length = item->cmsg_len - CMSG_LEN(0);
        memcpy(descriptors + *count, CMSG_DATA(item), length);
        *count += (int)(length / sizeof(int));
    }
    return received;
}
