// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "gyre-peer-raw-io-uring: %s: %s\n", what, strerror(errno));
    exit(1);
}

/// Accepted sockets inherit the algorithm. Without a name: cubic, else reno, because the pacing of
/// BBR makes large messages on loopback jump between two rates.
static void setCongestion(int socket, const char *name) {
    const char *first = name ? name : "cubic";
    int status = setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, first, (socklen_t)strlen(first));
    if (status != 0 && name) fail("congestion control");
    if (status != 0) setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

int listenAtAddress(const char *host, int port, const char *congestion, int backlog) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    errno = EINVAL;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) fail("bad IPv4 address");
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // Inherited by accepted sockets, which saves a call for each.
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setCongestion(listener, congestion);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(listener, backlog) != 0) fail("listen");
    socklen_t length = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &length) != 0) fail("getsockname");
    printf("listening on %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int listenAtPath(const char *path, int backlog) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    unlink(path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, backlog) != 0) {
        fail(path);
    }
    printf("listening on %s\n", path);
    fflush(stdout);
    return listener;
}
