// SPDX-License-Identifier: Apache-2.0
//
// The closed loop: every connection has exactly one message on its way. When the answer is complete
// and right, the next message is sent at once. After the timed phase the last answers are awaited
// too, so an answer that never comes is found in a run of any length.
//
// A message over UDP is one datagram. One that does not come back is taken for lost, counted, and
// sent again; an answer that comes after all is that of the message before, and is dropped.

#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { receiveBytes = 256 * 1024, eventsMax = 512, lossNanoseconds = 200000000 };

struct connection {
    int socket;
    uint32_t sent;
    uint32_t received;
    bool isOutstanding;
    uint64_t message;
    uint64_t startedAt;
    uint64_t sentAt;  // the last time, over UDP
};

/// What is read at both ends of the timed phase.
struct snapshot {
    uint64_t time;
    struct rusage own;
    struct processSample server;
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

static void sendRest(struct connection *connection) {
    const char *pattern = messagePattern(numberOf(connection), connection->message);
    while (connection->sent < options->messageBytes) {
        ssize_t count = send(connection->socket, pattern + connection->sent,
                             options->messageBytes - connection->sent, MSG_NOSIGNAL);
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
        ssize_t count = recv(connection->socket, receiveBuffer, receiveBytes, 0);
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

static void startAll(void) {
    int count = options->connections;
    int *sockets = calloc((size_t)count, sizeof *sockets);
    connections = calloc((size_t)count, sizeof *connections);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!sockets || !connections || poller < 0) failErrno("start");
    makePattern(options->messageBytes);
    connectAll(options, count, sockets);
    outstandingCount = count;
    for (int i = 0; i < count; i++) {
        connections[i].socket = sockets[i];
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                    .data.ptr = &connections[i]};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, sockets[i], &event) != 0) failErrno("epoll_ctl");
        startMessage(&connections[i], nowNanoseconds());
    }
    free(sockets);
}

static struct snapshot takeSnapshot(bool isStart) {
    struct snapshot snapshot = {0};
    // The server has nothing to do while it is looked at, so the time belongs outside.
    if (!isStart) snapshot.time = nowNanoseconds();
    if (options->serverPID) snapshot.server = sampleProcess(options->serverPID);
    getrusage(RUSAGE_SELF, &snapshot.own);
    if (isStart) snapshot.time = nowNanoseconds();
    return snapshot;
}

static double secondsOf(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void printServer(const struct processSample *start, const struct processSample *end) {
    printf(",\"server_cpu_seconds\":%.6f,\"server_user_seconds\":%.2f"
           ",\"server_system_seconds\":%.2f,\"server_run_delay_seconds\":%.6f"
           ",\"server_rss_bytes\":%" PRId64
           ",\"server_voluntary_switches\":%" PRId64
           ",\"server_involuntary_switches\":%" PRId64,
           end->cpuSeconds - start->cpuSeconds, end->userSeconds - start->userSeconds,
           end->systemSeconds - start->systemSeconds,
           end->runDelaySeconds - start->runDelaySeconds, end->residentBytes,
           end->voluntarySwitches - start->voluntarySwitches,
           end->involuntarySwitches - start->involuntarySwitches);
}

static void printResult(const struct snapshot *start, const struct snapshot *end,
                        uint64_t messages) {
    double seconds = (double)(end->time - start->time) / 1e9;
    double user = secondsOf(end->own.ru_utime) - secondsOf(start->own.ru_utime);
    double system = secondsOf(end->own.ru_stime) - secondsOf(start->own.ru_stime);
    if (options->isUDP && lossesCount * 100 > messages) {
        fail("%" PRIu64 " of %" PRIu64 " datagrams got lost", lossesCount, messages);
    }
    printf("{\"connections\":%d,\"size\":%zu,\"seconds\":%.6f,\"messages\":%" PRIu64
           ",\"messages_per_second\":%.1f,\"lost\":%" PRIu64, options->connections,
           options->messageBytes, seconds, messages, (double)messages / seconds, lossesCount);
    printf(",\"latency_ns\":{\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64
           ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 "}",
           latencyAt(0.5), latencyAt(0.9), latencyAt(0.99), latencyAt(0.999), latencyAt(1));
    printf(",\"cpu_user_seconds\":%.6f,\"cpu_system_seconds\":%.6f,\"cpu_share\":%.4f"
           ",\"involuntary_switches\":%ld", user, system, (user + system) / seconds,
           end->own.ru_nivcsw - start->own.ru_nivcsw);
    if (options->serverPID) printServer(&start->server, &end->server);
    printf("}\n");
}

int runPingPong(const struct options *given) {
    options = given;
    startAll();
    runUntil(nowNanoseconds() + (uint64_t)(options->warmupSeconds * 1e9));

    resetHistogram();
    answersCount = 0;
    lossesCount = 0;
    struct snapshot start = takeSnapshot(true);
    runUntil(start.time + (uint64_t)(options->seconds * 1e9));
    uint64_t messages = answersCount;
    struct snapshot end = takeSnapshot(false);

    isDraining = true;
    runUntil(0);
    printResult(&start, &end, messages);
    return 0;
}
