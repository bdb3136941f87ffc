// SPDX-License-Identifier: Apache-2.0
//
// The UDP echo: uv reads many datagrams with one call into one large buffer, and each is sent back
// from there. What the socket does not take is dropped, as the network would.

#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <stdio.h>

// uv cuts the buffer into pieces of 64 KiB and asks for at most twenty datagrams.
enum { receiveBytes = 20 * 64 * 1024, socketBufferBytes = 4 << 20 };

static char receiveBuffer[receiveBytes];

static void onAllocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(receiveBuffer, receiveBytes);
}

static void onReceived(uv_udp_t *socket, ssize_t count, const uv_buf_t *buffer,
                       const struct sockaddr *address, unsigned flags) {
    (void)flags;
    if (count < 0) fail("receive", (int)count);
    // Without an address it only says that the buffer is free, or that nothing is there.
    if (!address) return;
    uv_buf_t answer = uv_buf_init(buffer->base, (unsigned)count);
    int status = uv_udp_try_send(socket, &answer, 1, address);
    if (status < 0 && status != UV_EAGAIN) fail("send", status);
}

void startDatagrams(uv_loop_t *loop, const char *host, int port) {
    static uv_udp_t socket;
    struct sockaddr_in address;
    int status = uv_ip4_addr(host, port, &address);
    if (status == 0) status = uv_udp_init_ex(loop, &socket, AF_INET | UV_UDP_RECVMMSG);
    if (status == 0) status = uv_udp_bind(&socket, (struct sockaddr *)&address, 0);
    if (status != 0) fail("bind", status);
    int bytes = socketBufferBytes;
    uv_recv_buffer_size((uv_handle_t *)&socket, &bytes);
    status = uv_udp_recv_start(&socket, onAllocate, onReceived);
    if (status != 0) fail("uv_udp_recv_start", status);
    int length = sizeof address;
    uv_udp_getsockname(&socket, (struct sockaddr *)&address, &length);
    printf("listening on %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
}
