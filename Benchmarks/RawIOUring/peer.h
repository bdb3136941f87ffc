// SPDX-License-Identifier: Apache-2.0

#ifndef GYRE_RAW_IO_URING_PEER_H
#define GYRE_RAW_IO_URING_PEER_H

// udp.c
/// Sends every datagram back, for ever.
_Noreturn void serveDatagrams(const char *host, int port);

// unix.c
/// Listens at a Unix socket, says so on standard output, and returns the descriptor.
int listenAtPath(const char *path, int backlog);

#endif
