// SPDX-License-Identifier: Apache-2.0

#ifndef GYRE_LIBUV_PEER_H
#define GYRE_LIBUV_PEER_H

#include <uv.h>

/// Says what failed and ends the program.
_Noreturn void fail(const char *what, int status);

// udp.c
/// Sends every datagram back that comes to the address, and says where it listens.
void startDatagrams(uv_loop_t *loop, const char *host, int port);

// spawn.c
/// Runs `program` for each byte of `input`, which then goes to the stream in its `data`.
int startSpawning(uv_stream_t *input, const char *program);

#endif
