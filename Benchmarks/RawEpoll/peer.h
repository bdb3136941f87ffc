// SPDX-License-Identifier: Apache-2.0

#ifndef GYRE_RAW_EPOLL_PEER_H
#define GYRE_RAW_EPOLL_PEER_H

#include <stdbool.h>

struct options {
    const char *host;
    int port;
    const char *congestion;
    const char *path;  // of a Unix socket; NULL: TCP, UDP or pipes
    bool isUDP;
    const char *pipes;  // IN:OUT,...; NULL: none of the above
    const char *program;  // what is run for each byte of the pipes; NULL: they are echoed
};

/// Says what failed, with the text of errno, and ends the program.
_Noreturn void fail(const char *what);

// udp.c
/// Sends every datagram back, for ever.
_Noreturn void serveDatagrams(const struct options *options, int poller);

// pipes.c
/// Sends what comes from the first pipe of each pair into the second, for ever.
_Noreturn void servePipes(const struct options *options, int poller);

#endif
