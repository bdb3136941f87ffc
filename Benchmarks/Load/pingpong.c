// SPDX-License-Identifier: Apache-2.0
//
// The closed loop: every connection, or pair of pipes, has exactly one message on its way. When the
// answer is complete and right, the next message is sent at once. After the timed phase the last
// answers are awaited too, so an answer that never comes is found in a run of any length.
//
// A message over UDP is one datagram. One that does not come back is taken for lost, counted, and
// sent again; an answer that comes after all is that of the message before, and is dropped.

#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { receiveBytes = 256 * 1024, eventsMax = 512, lossNanoseconds = 200000000 };

struct connection {
    int socket;  // or the pipe of the answers
    int output;  // the same socket, or the pipe of the messages
    uint32_t sent;
    uint32_t received;
    bool isOutstanding;
    uint64_t message;
    uint64_t startedAt;
    uint64_t sentAt;  // the last time, over UDP
};

static const struct options *options;
static struct connection *connections;
static int poller;
static uint64_t answersCount;
static uint64_t lossesCount;
static int outstandingCount;
static bool isDraining;
static char receiveBuffer[receiveBytes] __attribute__((aligned(4096)));

static uint32_t numberOf(const struct connection *connection) {
    return (uint32_t)(connection - connections);
}

static _Noreturn void failConnection(const struct connection *connection, const char *what) {
    fail("connection %" PRIu32 ", message %" PRIu64 ": %s", numberOf(connection),
         connection->message, what);
}

static bool isPipe(const struct connection *connection) {
    return connection->socket != connection->output;
}

static ssize_t put(const struct connection *connection, const char *bytes, size_t count) {
    return isPipe(connection) ? write(connection->output, bytes, count)
                              : send(connection->output, bytes, count, MSG_NOSIGNAL);
}

static void sendRest(struct connection *connection) {
    const char *pattern = messagePattern(numberOf(connection), connection->message);
    while (connection->sent < options->messageBytes) {
        ssize_t count = put(connection, pattern + connection->sent,
                            options->messageBytes - connection->sent);
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) failConnection(connection, strerror(errno));
        connection->sent += (uint32_t)count;
    }
}

static void startMessage(struct connection *connection, uint64_t now) {
    connection->received = 0;
    connection->sent = 0;
    connection->isOutstanding = true;
    connection->startedAt = now;
    connection->sentAt = now;
    sendRest(connection);
}

static void finishMessage(struct connection *connection) {
    uint64_t now = nowNanoseconds();
    connection->message++;
    if (isDraining) {
        connection->isOutstanding = false;
        outstandingCount--;
        return;
    }
    recordLatency(now - connection->startedAt);
    answersCount++;
    startMessage(connection, now);
}

/// Compares what came with what was sent, and says where they differ.
static void check(struct connection *connection, const char *bytes, size_t count) {
    if (!connection->isOutstanding || connection->received + count > connection->sent) {
        failConnection(connection, "more bytes came back than were sent");
    }
    const char *pattern = messagePattern(numberOf(connection), connection->message);
    if (memcmp(bytes, pattern + connection->received, count) == 0) return;
    size_t place = 0;
    while (bytes[place] == pattern[connection->received + place]) place++;
    fail("connection %" PRIu32 ", message %" PRIu64 ": byte %zu came back as 0x%02x, not 0x%02x",
         numberOf(connection), connection->message, connection->received + place,
         (unsigned char)bytes[place],
         (unsigned char)pattern[connection->received + place]);
}

static bool isEarlierAnswer(const struct connection *connection, size_t count) {
    if (!connection->isOutstanding) return true;
    if (connection->message == 0 || count != options->messageBytes) return false;
    const char *earlier = messagePattern(numberOf(connection), connection->message - 1);
    return memcmp(receiveBuffer, earlier, count) == 0;
}

static void receiveDatagrams(struct connection *connection) {
    for (;;) {
        ssize_t count = recv(connection->socket, receiveBuffer, receiveBytes, 0);
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) failConnection(connection, strerror(errno));
        if (isEarlierAnswer(connection, (size_t)count)) continue;
        if ((size_t)count != options->messageBytes) failConnection(connection, "a part came back");
        check(connection, receiveBuffer, (size_t)count);
        finishMessage(connection);
    }
}

static void sendLostAgain(uint64_t now) {
    for (int i = 0; i < options->connections; i++) {
        struct connection *connection = &connections[i];
        if (!connection->isOutstanding || now < connection->sentAt + lossNanoseconds) continue;
        lossesCount++;
        connection->sent = 0;
        connection->sentAt = now;
        sendRest(connection);
    }
}

static void receive(struct connection *connection, bool isEnding) {
    if (options->isUDP) return receiveDatagrams(connection);
    for (;;) {
        ssize_t count = read(connection->socket, receiveBuffer, receiveBytes);
        if (count < 0 && errno == EAGAIN) return;
        if (count < 0) failConnection(connection, strerror(errno));
        if (count == 0) failConnection(connection, "the server closed the connection");
        check(connection, receiveBuffer, (size_t)count);
        connection->received += (uint32_t)count;
        if (connection->received == options->messageBytes) finishMessage(connection);
        // After a short read new bytes make a new edge; the end of the stream does not.
        if (count < receiveBytes && !isEnding) return;
    }
}

static void handle(const struct epoll_event *event) {
    struct connection *connection = event->data.ptr;
    if (connection->sent < options->messageBytes) sendRest(connection);
    if (event->events & ~(uint32_t)EPOLLOUT) {
        receive(connection, event->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    }
}

static void failIfStalled(void) {
    uint64_t now = nowNanoseconds();
    uint64_t limit = (uint64_t)(options->timeoutSeconds * 1e9);
    for (int i = 0; i < options->connections; i++) {
        struct connection *connection = &connections[i];
        if (!connection->isOutstanding || now < connection->startedAt + limit) continue;
        failConnection(connection, "no answer in time");
    }
}

/// Runs until `end`, or while draining until nothing is outstanding.
static void runUntil(uint64_t end) {
    static struct epoll_event events[eventsMax];
    uint64_t checkAt = nowNanoseconds();
    for (;;) {
        int count = epoll_wait(poller, events, eventsMax, 10);
        if (count < 0 && errno != EINTR) failErrno("epoll_wait");
        for (int i = 0; i < count; i++) handle(&events[i]);
        if (isDraining && outstandingCount == 0) return;
        uint64_t now = nowNanoseconds();
        if (!isDraining && now >= end) return;
        if (now < checkAt) continue;
        failIfStalled();
        if (options->isUDP) sendLostAgain(now);
        checkAt = now + 100000000;
    }
}

static void watch(struct connection *connection, int descriptor, uint32_t events) {
    struct epoll_event event = {.events = events | EPOLLET, .data.ptr = connection};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) != 0) failErrno("epoll_ctl");
}

/// The flag is this end's alone: the server has the other.
static void watchPipe(struct connection *connection) {
    int ends[] = {connection->socket, connection->output};
    for (int i = 0; i < 2; i++) {
        if (fcntl(ends[i], F_SETFL, fcntl(ends[i], F_GETFL) | O_NONBLOCK) != 0) failErrno("fcntl");
        watch(connection, ends[i], i == 0 ? EPOLLIN : EPOLLOUT);
    }
}

static void startAll(void) {
    int count = options->connections;
    int *sockets = calloc((size_t)count, sizeof *sockets);
    connections = calloc((size_t)count, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!sockets || !connections || poller < 0) failErrno("start");
    makePattern(options->messageBytes);
    if (options->pipesCount == 0) connectAll(options, count, sockets);
    outstandingCount = count;
    for (int i = 0; i < count; i++) {
        bool isPiped = options->pipesCount > 0;
        connections[i].socket = isPiped ? options->pipes[i].input : sockets[i];
        connections[i].output = isPiped ? options->pipes[i].output : sockets[i];
        if (isPiped) watchPipe(&connections[i]);
        else watch(&connections[i], sockets[i], EPOLLIN | EPOLLOUT | EPOLLRDHUP);
        startMessage(&connections[i], nowNanoseconds());
    }
    free(sockets);
}

int runPingPong(const struct options *given) {
    options = given;
    startAll();
    runUntil(nowNanoseconds() + (uint64_t)(options->warmupSeconds * 1e9));

    resetHistogram();
    answersCount = 0;
    lossesCount = 0;
    struct snapshot start = takeSnapshot(options, true);
    runUntil(start.time + (uint64_t)(options->seconds * 1e9));
    uint64_t messages = answersCount;
    struct snapshot end = takeSnapshot(options, false);

    isDraining = true;
    runUntil(0);
    printResult(options, &start, &end, messages, lossesCount);
    return 0;
}
