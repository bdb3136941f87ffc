// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

// One source address has some 28,000 ports by default, and those of the last minute may still be
// in TIME_WAIT. Loopback owns all of 127/8, so each further batch takes the next address.
enum { connectionsPerSource = 10000, pendingMax = 1000 };

static void setOptions(const struct options *options, int socket) {
    int on = 1;
    if (setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) failErrno("TCP_NODELAY");
    const char *name = options->congestion ? options->congestion : "cubic";
    int status = setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
    if (status != 0 && options->congestion) failErrno("congestion control");
    if (status != 0) setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

static void bindSource(int socket, int number) {
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number / connectionsPerSource));
    int on = 1;
    // The port is chosen at connect, when the kernel knows both ends.
    setsockopt(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    if (bind(socket, (struct sockaddr *)&source, sizeof source) != 0) failErrno("bind");
}

static int startConnecting(const struct options *options, const struct sockaddr_in *address,
                           int number) {
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) failErrno("socket");
    setOptions(options, descriptor);
    if (number >= connectionsPerSource) bindSource(descriptor, number);
    if (connect(descriptor, (const struct sockaddr *)address, sizeof *address) != 0 &&
        errno != EINPROGRESS) {
        failErrno("connect");
    }
    return descriptor;
}

static void awaitConnected(int socket, int number, uint64_t deadline) {
    struct pollfd item = {.fd = socket, .events = POLLOUT};
    uint64_t now = nowNanoseconds();
    int milliseconds = now < deadline ? (int)((deadline - now) / 1000000) + 1 : 0;
    int count = poll(&item, 1, milliseconds);
    if (count < 0) failErrno("poll");
    if (count == 0) fail("connection %d was not accepted in time", number);
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error != 0) fail("connection %d: %s", number, strerror(error));
}

/// Waits where the server has as many waiting as it wants.
static void connectAllToPath(const struct options *options, int count, int *sockets) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, options->path, sizeof address.sun_path - 1);
    struct timeval patience = {.tv_sec = (time_t)options->timeoutSeconds + 1};
    for (int i = 0; i < count; i++) {
        sockets[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (sockets[i] < 0) failErrno("socket");
        setsockopt(sockets[i], SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        if (connect(sockets[i], (struct sockaddr *)&address, sizeof address) != 0) {
            failErrno(options->path);
        }
        if (fcntl(sockets[i], F_SETFL, O_NONBLOCK) != 0) failErrno("fcntl");
    }
}

static void connectAllDatagrams(const struct sockaddr_in *address, int count, int *sockets) {
    for (int i = 0; i < count; i++) {
        sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (sockets[i] < 0) failErrno("socket");
        if (connect(sockets[i], (const struct sockaddr *)address, sizeof *address) != 0) {
            failErrno("connect");
        }
    }
}

struct sockaddr_in serverAddress(const struct options *options) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1) {
        fail("bad IPv4 address: %s", options->host);
    }
    return address;
}

void connectAll(const struct options *options, int count, int *sockets) {
    if (options->path) return connectAllToPath(options, count, sockets);
    struct sockaddr_in address = serverAddress(options);
    if (options->isUDP) return connectAllDatagrams(&address, count, sockets);
    uint64_t deadline = nowNanoseconds() + (uint64_t)(options->timeoutSeconds * 1e9);
    int connected = 0;
    for (int i = 0; i < count; i++) {
        sockets[i] = startConnecting(options, &address, i);
        // Not more at once than a usual backlog holds: a dropped SYN would cost a second.
        if (i - connected == pendingMax) {
            for (; connected <= i; connected++) {
                awaitConnected(sockets[connected], connected, deadline);
            }
        }
    }
    for (; connected < count; connected++) awaitConnected(sockets[connected], connected, deadline);
}
