// SPDX-License-Identifier: Apache-2.0
//
// Connections that come and go: each is opened, sends one byte, gets it back, which proves that the
// server accepted it, and is reset, which leaves neither side a port in TIME_WAIT. There are as
// many at a time as there are places.

#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { eventsMax = 512 };

struct place {
    int socket;
    bool isSent;
    uint64_t startedAt;
    uint8_t byte;
};

static const struct options *options;
static struct sockaddr_in address;
static struct place *places;
static int poller;
static uint64_t answersCount;
static int openCount;
static bool isDraining;

static _Noreturn void failPlace(const struct place *place, const char *what) {
    fail("connection at place %d: %s", (int)(place - places), what);
}

static void trySending(struct place *place) {
    if (place->isSent) return;
    ssize_t count = send(place->socket, &place->byte, 1, MSG_NOSIGNAL);
    if (count == 1) place->isSent = true;
    else if (errno != EAGAIN) failPlace(place, strerror(errno));
}

static void openOne(struct place *place) {
    place->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (place->socket < 0) failErrno("socket");
    struct linger reset = {.l_onoff = 1};
    setsockopt(place->socket, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    place->startedAt = nowNanoseconds();
    place->isSent = false;
    place->byte++;
    if (connect(place->socket, (struct sockaddr *)&address, sizeof address) != 0 &&
        errno != EINPROGRESS) {
        failPlace(place, strerror(errno));
    }
    // Over loopback the connection is there when connect returns.
    trySending(place);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = place};
    if (place->isSent) event.events = EPOLLIN | EPOLLET;
    if (epoll_ctl(poller, EPOLL_CTL_ADD, place->socket, &event) != 0) failErrno("epoll_ctl");
}

static void handle(struct place *place) {
    trySending(place);
    uint8_t byte;
    ssize_t count = recv(place->socket, &byte, 1, 0);
    if (count < 0 && errno == EAGAIN) return;
    if (count < 0) failPlace(place, strerror(errno));
    if (count == 0) failPlace(place, "the server closed the connection");
    if (byte != place->byte) failPlace(place, "a wrong byte came back");
    recordLatency(nowNanoseconds() - place->startedAt);
    close(place->socket);
    answersCount++;
    if (isDraining) openCount--;
    else openOne(place);
}

static void failIfStalled(uint64_t now) {
    uint64_t limit = (uint64_t)(options->timeoutSeconds * 1e9);
    for (int i = 0; i < openCount; i++) {
        if (!isDraining && now > places[i].startedAt + limit) {
            failPlace(&places[i], "no answer in time");
        }
    }
}

/// Runs until `end`, and while draining until no connection is open, but not beyond it.
static void runUntil(uint64_t end) {
    static struct epoll_event events[eventsMax];
    uint64_t checkAt = nowNanoseconds();
    while (!isDraining || openCount > 0) {
        int count = epoll_wait(poller, events, eventsMax, 10);
        if (count < 0 && errno != EINTR) failErrno("epoll_wait");
        for (int i = 0; i < count; i++) handle(events[i].data.ptr);
        uint64_t now = nowNanoseconds();
        if (now >= end && !isDraining) return;
        if (now >= end) fail("%d connections got no answer in time", openCount);
        if (now < checkAt) continue;
        failIfStalled(now);
        checkAt = now + 100000000;
    }
}

int runAccept(const struct options *given) {
    options = given;
    address = serverAddress(options);
    openCount = options->connections;
    places = calloc((size_t)openCount, sizeof *places);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!places || poller < 0) failErrno("start");
    for (int i = 0; i < openCount; i++) openOne(&places[i]);
    runUntil(nowNanoseconds() + (uint64_t)(options->warmupSeconds * 1e9));

    resetHistogram();
    answersCount = 0;
    struct snapshot start = takeSnapshot(options, true);
    runUntil(start.time + (uint64_t)(options->seconds * 1e9));
    uint64_t connections = answersCount;
    struct snapshot end = takeSnapshot(options, false);

    isDraining = true;
    runUntil(nowNanoseconds() + (uint64_t)(options->timeoutSeconds * 1e9));
    printResult(options, &start, &end, connections, 0);
    return 0;
}
