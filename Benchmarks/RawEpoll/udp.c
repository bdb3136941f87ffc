// SPDX-License-Identifier: Apache-2.0
//
// The UDP echo: one recvmmsg for what is there, one sendmmsg for the answers, from the same
// buffers. What the socket does not take is dropped, as the network would.

#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { batchMax = 64, datagramBytes = 64 * 1024, socketBufferBytes = 4 << 20 };

static char buffers[batchMax][datagramBytes];
static struct sockaddr_storage addresses[batchMax];
static struct iovec pieces[batchMax];
static struct mmsghdr messages[batchMax];

static int openSocket(const struct options *options) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1) fail("bad IPv4 address");
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) fail("socket");
    int bytes = socketBufferBytes;
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    if (bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    socklen_t length = sizeof address;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0) fail("getsockname");
    printf("listening on %s:%d\n", options->host, ntohs(address.sin_port));
    fflush(stdout);
    return descriptor;
}

static int receive(int descriptor) {
    for (int i = 0; i < batchMax; i++) {
        pieces[i] = (struct iovec){buffers[i], datagramBytes};
        messages[i].msg_hdr = (struct msghdr){.msg_name = &addresses[i],
                                              .msg_namelen = sizeof addresses[i],
                                              .msg_iov = &pieces[i],
                                              .msg_iovlen = 1};
    }
    int count = recvmmsg(descriptor, messages, batchMax, 0, NULL);
    if (count < 0 && errno != EAGAIN && errno != EINTR) fail("recvmmsg");
    return count;
}

static void answer(int descriptor, int count) {
    for (int i = 0; i < count; i++) pieces[i].iov_len = messages[i].msg_len;
    for (int sent = 0; sent < count;) {
        int result = sendmmsg(descriptor, messages + sent, (unsigned)(count - sent), MSG_NOSIGNAL);
        sent += result > 0 ? result : 1;
    }
}

void serveDatagrams(const struct options *options, int poller) {
    int descriptor = openSocket(options);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = descriptor};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll_ctl");
    for (;;) {
        if (epoll_wait(poller, &event, 1, -1) < 0 && errno != EINTR) fail("epoll_wait");
        int count;
        do {
            count = receive(descriptor);
            if (count > 0) answer(descriptor, count);
        } while (count == batchMax);
    }
}
