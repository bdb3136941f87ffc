// SPDX-License-Identifier: Apache-2.0
//
// Opens connections and holds them: what one costs the server is then read from its memory.

#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void touch(int socket, int number, double timeoutSeconds) {
    char sent = (char)(number % 251), received;
    struct pollfd item = {.fd = socket, .events = POLLIN};
    if (send(socket, &sent, 1, MSG_NOSIGNAL) != 1) failErrno("send");
    if (poll(&item, 1, (int)(timeoutSeconds * 1000)) != 1) {
        fail("connection %d: no answer in time", number);
    }
    if (recv(socket, &received, 1, 0) != 1) fail("connection %d was closed", number);
    if (sent != received) fail("connection %d: a wrong byte came back", number);
}

static void checkOpen(int socket, int number) {
    char byte;
    ssize_t count = recv(socket, &byte, 1, MSG_DONTWAIT);
    if (count < 0 && errno == EAGAIN) return;
    if (count > 0) fail("connection %d: unexpected bytes", number);
    fail("connection %d was lost", number);
}

static void onSignal(int number) {
    (void)number;
    _exit(0);
}

int runIdle(const struct options *options) {
    int count = options->idleConnections;
    int *sockets = calloc((size_t)count, sizeof *sockets);
    if (!sockets) failErrno("calloc");
    // Ending early is a normal end for who has read the server's memory.
    struct sigaction action = {.sa_handler = onSignal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    connectAll(options, count, sockets);
    if (options->isTouchingIdle) {
        uint64_t deadline = nowNanoseconds() + (uint64_t)(options->timeoutSeconds * 1e9);
        for (int i = 0; i < count; i++) {
            touch(sockets[i], i, options->timeoutSeconds);
            if (nowNanoseconds() > deadline) fail("only %d connections answered in time", i);
        }
    }
    printf("holding %d\n", count);
    fflush(stdout);
    struct timespec rest = {.tv_sec = (time_t)options->seconds};
    rest.tv_nsec = (long)((options->seconds - (double)rest.tv_sec) * 1e9);
    nanosleep(&rest, NULL);
    for (int i = 0; i < count; i++) checkOpen(sockets[i], i);
    return 0;
}
