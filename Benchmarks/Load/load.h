// SPDX-License-Identifier: Apache-2.0
//
// What the files of the load generator share.

#ifndef GYRE_LOAD_H
#define GYRE_LOAD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { exitFailure = 1, exitUsage = 64, pipesMax = 256 };

/// The ends of two pipes to the server: answers are read from one, messages written to the other.
struct pipePair {
    int input;
    int output;
};

struct options {
    const char *host;
    const char *congestion;  // NULL: cubic, else reno
    int port;
    const char *path;  // of a Unix socket; NULL: TCP or UDP
    bool isUDP;
    struct pipePair pipes[pipesMax];  // instead of connections
    int pipesCount;
    bool isAccepting;  // a connection for each message
    int connections;
    size_t messageBytes;
    double seconds;
    double warmupSeconds;
    double timeoutSeconds;  // for connecting, and for any one answer
    pid_t serverPID;  // 0: none
    int cpu;  // -1: not pinned
    int idleConnections;  // 0: the ping-pong mode
    bool isTouchingIdle;  // send and check one byte on each idle connection
    bool isInNamespace;
    char **command;  // of --exec-in-namespace
};

/// Says what is wrong on standard error and ends the program with exitFailure.
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/// The same, with the text of errno behind.
_Noreturn void failErrno(const char *what);
/// Of the monotonic clock.
uint64_t nowNanoseconds(void);

// options.c
struct options parseOptions(int argc, char **argv);

// connect.c
/// Opens `count` non-blocking connections, all within the timeout, into `sockets`.
void connectAll(const struct options *options, int count, int *sockets);
/// The server's IPv4 address.
struct sockaddr_in serverAddress(const struct options *options);

// pattern.c: what every message says. The bytes are a window into one random block, and the
// window's place depends on the connection and on the number of the message, so an answer that
// belongs to another connection or another message does not match.
void makePattern(size_t messageBytes);
const char *messagePattern(uint32_t connection, uint64_t message);

// histogram.c: latencies in nanoseconds, exact to 1.6 per cent.
void resetHistogram(void);
void recordLatency(uint64_t nanoseconds);
/// `share` from 0 to 1; 1 is the largest value itself.
uint64_t latencyAt(double share);

// sample.c
/// What the kernel has counted for a process so far.
struct processSample {
    double cpuSeconds;
    double userSeconds;
    double systemSeconds;
    double runDelaySeconds;
    int64_t involuntarySwitches;
    int64_t voluntarySwitches;
    int64_t residentBytes;
};
struct processSample sampleProcess(pid_t pid);

// report.c
/// What is read at both ends of the timed phase.
struct snapshot {
    uint64_t time;
    struct rusage own;
    struct processSample server;
};
struct snapshot takeSnapshot(const struct options *options, bool isStart);
/// One line of JSON. `losses` of the messages had to be sent again.
void printResult(const struct options *options, const struct snapshot *start,
                 const struct snapshot *end, uint64_t messages, uint64_t losses);

// pingpong.c, accept.c, idle.c, namespace.c: the four modes.
int runPingPong(const struct options *options);
int runAccept(const struct options *options);
int runIdle(const struct options *options);
_Noreturn void execInNamespace(const struct options *options);

#endif
