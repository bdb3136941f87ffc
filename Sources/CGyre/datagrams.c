// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreDatagrams.h"

#include <assert.h>
#include <errno.h>
#include <time.h>
// After time.h, which it needs and does not include.
#include <linux/errqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static_assert(
    sizeof(struct gyre_socket_address) == sizeof(struct sockaddr_storage), "room for addresses");

static int min(int a, int b) {
    return a < b ? a : b;
}

int gyre_datagrams_receive(
    int fd, struct gyre_datagram *datagrams, int count, void *buffer, size_t size) {
    struct mmsghdr messages[GYRE_DATAGRAMS_MAX];
    struct iovec pieces[GYRE_DATAGRAMS_MAX];
    count = min(count, GYRE_DATAGRAMS_MAX);
    for (int i = 0; i < count; i++) {
        pieces[i] = (struct iovec){.iov_base = (char *)buffer + (size_t)i * size, .iov_len = size};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = &datagrams[i].address,
            .msg_namelen = sizeof datagrams[i].address,
            .msg_iov = &pieces[i],
            .msg_iovlen = 1};
    }
    int received = recvmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT, NULL);
    if (received < 0)
        return -errno;
    for (int i = 0; i < received; i++) {
        datagrams[i].bytes = pieces[i].iov_base;
        datagrams[i].count = messages[i].msg_len;
        datagrams[i].address_length = messages[i].msg_hdr.msg_namelen;
        datagrams[i].is_truncated = (messages[i].msg_hdr.msg_flags & MSG_TRUNC) != 0;
    }
    return received;
}

int gyre_datagrams_send(int fd, const struct gyre_datagram *datagrams, int count) {
    struct mmsghdr messages[GYRE_DATAGRAMS_MAX];
    struct iovec pieces[GYRE_DATAGRAMS_MAX];
    count = min(count, GYRE_DATAGRAMS_MAX);
    for (int i = 0; i < count; i++) {
        const struct gyre_datagram *datagram = &datagrams[i];
        pieces[i] = (struct iovec){
            .iov_base = (void *)datagram->bytes, .iov_len = datagram->count};
        messages[i].msg_hdr = (struct msghdr){
            .msg_name = datagram->address_length > 0 ? (void *)&datagram->address : NULL,
            .msg_namelen = datagram->address_length,
            .msg_iov = &pieces[i],
            .msg_iovlen = 1};
    }
    int sent = sendmmsg(fd, messages, (unsigned)count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : sent;
}

int gyre_datagrams_keep_errors(int fd, int family) {
    int on = 1;
    // An IPv6 socket may carry IPv4 as well.
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on);
        return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVERR, &on, sizeof on) == 0 ? 0 : -errno;
    }
    return setsockopt(fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on) == 0 ? 0 : -errno;
}

int gyre_datagrams_take_error(
    int fd, int *number, struct gyre_socket_address *address, uint32_t *address_length) {
    char byte;
    struct iovec piece = {.iov_base = &byte, .iov_len = sizeof byte};
    union {
        char bytes[512];
        struct cmsghdr alignment;
    } control;
    struct msghdr message = {
        .msg_name = address,
        .msg_namelen = sizeof *address,
        .msg_iov = &piece,
        .msg_iovlen = 1,
        .msg_control = control.bytes,
        .msg_controllen = sizeof control};
    if (recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0)
        return errno == EAGAIN ? 0 : -errno;
    *number = 0;
    *address_length = message.msg_namelen;
    for (struct cmsghdr *item = CMSG_FIRSTHDR(&message); item;
         item = CMSG_NXTHDR(&message, item)) {
        if ((item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_RECVERR) ||
            (item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_RECVERR)) {
            struct sock_extended_err error;
            memcpy(&error, CMSG_DATA(item), sizeof error);
            // What the kernel itself refused, the call said.
            if (error.ee_origin != SO_EE_ORIGIN_LOCAL)
                *number = (int)error.ee_errno;
        }
    }
    return 1;
}

int gyre_datagrams_set_membership(
    int fd, bool is_member, const struct gyre_socket_address *group, uint32_t group_length,
    uint32_t interface) {
    struct group_req request = {.gr_interface = interface};
    memcpy(&request.gr_group, group, group_length);
    int level = request.gr_group.ss_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    int option = is_member ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP;
    return setsockopt(fd, level, option, &request, sizeof request) == 0 ? 0 : -errno;
}

int gyre_datagrams_set_multicast_interface(int fd, int family, uint32_t interface) {
    int result;
    if (family == AF_INET6) {
        int index = (int)interface;
        result = setsockopt(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
    } else {
        struct ip_mreqn request = {.imr_ifindex = (int)interface};
        result = setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request);
    }
    return result == 0 ? 0 : -errno;
}

// The last of the numbers of SO_MEMINFO, see linux/sock_diag.h.
enum { meminfoDrops = 8, meminfoCount = 9 };

int gyre_datagrams_dropped(int fd, uint32_t *count) {
    uint32_t numbers[meminfoCount] = {0};
    socklen_t length = sizeof numbers;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, numbers, &length) != 0)
        return -errno;
    *count = numbers[meminfoDrops];
    return 0;
}
