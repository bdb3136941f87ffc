// SPDX-License-Identifier: Apache-2.0

#ifndef GYRE_RAW_IO_URING_PEER_H
#define GYRE_RAW_IO_URING_PEER_H

// udp.c
/// Sends every datagram back, for ever.
_Noreturn void serveDatagrams(const char *host, int port);

// listen.c
/// Listens at a numeric address, says so on standard output, and returns the descriptor.
int listenAtAddress(const char *host, int port, const char *congestion, int backlog);
/// The same at a Unix socket.
int listenAtPath(const char *path, int backlog);

// pipes.c
/// Sends what comes from the first pipe of each pair, IN:OUT,..., into the second, for ever. With a
/// program, each byte goes when a process of it has ended.
_Noreturn void servePipes(const char *pipes, const char *program);

#endif
