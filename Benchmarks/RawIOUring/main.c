// SPDX-License-Identifier: Apache-2.0
//
// A hand-written single-threaded echo server for TCP and Unix sockets on io_uring: the other half
// of the bar that Gyre is measured against, so it does nothing that a library would have to do and
// an echo need not.
//
// The shape that measured best: multishot accept and multishot receive into one ring of provided
// buffers, the answer sent from that buffer through the ring, and one enter per loop, which submits
// the sends of one batch and waits for the next. A direct send costs 5 per cent more CPU at 1 KiB.
// These sends never wait, so a buffer is back after the next enter whatever the peer does; what the
// socket did not take is copied aside and sent by a send that waits.

#ifndef GYRE_IO_URING

#include <stdio.h>

int main(void) {
    fputs("gyre-peer-raw-io-uring: built without io_uring\n", stderr);
    return 69;
}

#else

#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <liburing.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { backlog = 4096, submissionsMax = 1024, completionsMax = 4096 };
enum { exitUsage = 64, exitUnavailable = 69 };
/// Incremental buffers are filled by many messages, so a few large ones do. More than the cache
/// holds is a loss: with 16 of 1 MiB, messages of 100 KiB cost a fifth more CPU.
enum { incrementalBytes = 1 << 20, incrementalCount = 4 };
/// Each receive takes a whole classic buffer until its answer is sent. Fewer than two batches of
/// completions need means a re-arm for each message, several times the CPU at 1000 connections;
/// smaller ones cut large messages into pieces.
enum { classicBytes = 128 * 1024, classicCount = 128 };
/// A connection whose peer does not read is not read either once this much waits for it.
enum { pendingBytesMax = 1 << 20 };

/// Newer than the liburing of Debian 12, which is why they are spelled out.
enum { bufferRingIncremental = 2, completionBufferMore = 1 << 4, registerBufferRing = 22 };

struct bufferRingRegistration {
    uint64_t address;
    uint32_t entries;
    uint16_t group;
    uint16_t flags;
    uint64_t reserved[3];
};

struct options {
    const char *host;
    int port;
    const char *congestion;
    const char *path;  // of a Unix socket; NULL: TCP or UDP
    const char *pipes;  // none of the above
    const char *program;
    bool isClassic;
    bool isUDP;
};

/// Bytes that a socket did not take. The kernel reads them while a send is on its way, so further
/// ones get a chunk of their own.
struct chunk {
    struct chunk *next;
    size_t count;
    char bytes[];
};

struct connection {
    const char *bytes;  // on their way straight from a buffer, unless NULL
    uint32_t count;
    struct chunk *first;  // on its way, unless the above is
    struct chunk *last;
    size_t pendingBytes;
    bool isCancelling;  // its receive was asked to stop
    bool isPaused;  // its receive has stopped because of too many pending bytes
    bool isEnded;  // nothing more is received; closes when all is sent
};

enum operation { opAccept = 1, opReceive, opSend, opSendChunk };

static struct io_uring ring;
static struct io_uring_buf_ring *bufferRing;
static char *buffers;
static uint32_t buffersCount;
static size_t bufferBytes;
static struct {
    uint32_t consumed;  // how much the kernel has filled since it was given to it
    uint32_t sends;  // on their way from it
    bool isUsedUp;
} bufferStates[classicCount];
static bool isIncremental;
/// Indexed by descriptor.
static struct connection *connections;
static int listener;
static bool isAcceptPaused;

static void failWith(const char *what, int error) {
    fprintf(stderr, "gyre-peer-raw-io-uring: %s: %s\n", what, strerror(error));
    exit(1);
}

static void fail(const char *what) {
    failWith(what, errno);
}

/// For what this kernel or its administrator does not give.
static void failUnavailable(const char *what, int error) {
    fprintf(stderr, "gyre-peer-raw-io-uring: %s: %s\n", what, strerror(error));
    exit(exitUnavailable);
}

static void usage(const char *reason) {
    fprintf(stderr, "gyre-peer-raw-io-uring: %s\nusage: gyre-peer-raw-io-uring [--host IPV4] "
            "[--port N] [--congestion NAME] [--buffers incremental|classic] "
            "[--unix PATH | --udp | --pipes IN:OUT,... [--spawn PROGRAM]]\n",
            reason);
    exit(exitUsage);
}

static struct options parseOptions(int argc, char **argv) {
    struct options options = {.host = "127.0.0.1"};
    for (int i = 1; i < argc; i += 2) {
        if (strcmp(argv[i], "--udp") == 0) {
            options.isUDP = true;
            i--;
            continue;
        }
        if (i + 1 == argc) usage("each option takes a value");
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "--host") == 0) {
            options.host = value;
        } else if (strcmp(argv[i], "--port") == 0) {
            char *end;
            long port = strtol(value, &end, 10);
            if (*end != 0 || end == value || port < 0 || port > 65535) usage("bad port");
            options.port = (int)port;
        } else if (strcmp(argv[i], "--congestion") == 0) {
            options.congestion = value;
        } else if (strcmp(argv[i], "--unix") == 0) {
            options.path = value;
        } else if (strcmp(argv[i], "--pipes") == 0) {
            options.pipes = value;
        } else if (strcmp(argv[i], "--spawn") == 0) {
            options.program = value;
        } else if (strcmp(argv[i], "--buffers") == 0) {
            options.isClassic = strcmp(value, "classic") == 0;
            if (!options.isClassic && strcmp(value, "incremental") != 0) usage("bad --buffers");
        } else {
            usage("unknown option");
        }
    }
    return options;
}

static rlim_t raiseDescriptorLimit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) fail("setrlimit");
    return limit.rlim_cur;
}

static void makeRing(void) {
    // The oldest kernel with multishot receive (6.0) lacks deferred task work (6.1).
    static const unsigned flags[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_COOP_TASKRUN,
    };
    int status = -EINVAL;
    for (size_t i = 0; status == -EINVAL && i < sizeof flags / sizeof *flags; i++) {
        struct io_uring_params parameters = {
            .flags = flags[i] | IORING_SETUP_CQSIZE,
            .cq_entries = completionsMax,
        };
        status = io_uring_queue_init_params(submissionsMax, &ring, &parameters);
    }
    if (status != 0) failUnavailable("io_uring_setup", -status);
    // Saves looking up the ring's own descriptor at each enter; only a bonus.
    io_uring_register_ring_fd(&ring);
}

static void *mapPages(size_t bytes) {
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) fail("mmap");
    return pages;
}

static bool registerBuffers(bool incremental) {
    isIncremental = incremental;
    buffersCount = incremental ? incrementalCount : classicCount;
    bufferBytes = incremental ? incrementalBytes : classicBytes;
    struct bufferRingRegistration registration = {
        .address = (uint64_t)(uintptr_t)bufferRing,
        .entries = buffersCount,
        .flags = incremental ? bufferRingIncremental : 0,
    };
    return syscall(__NR_io_uring_register, ring.ring_fd, registerBufferRing, &registration, 1) == 0;
}

static char *bufferStart(unsigned buffer) {
    return buffers + buffer * bufferBytes;
}

static void giveBuffer(unsigned buffer) {
    bufferStates[buffer].consumed = 0;
    bufferStates[buffer].isUsedUp = false;
    io_uring_buf_ring_add(bufferRing, bufferStart(buffer), (unsigned)bufferBytes,
                          (unsigned short)buffer, io_uring_buf_ring_mask(buffersCount), 0);
    io_uring_buf_ring_advance(bufferRing, 1);
}

static void giveBufferIfFree(unsigned buffer) {
    if (bufferStates[buffer].isUsedUp && bufferStates[buffer].sends == 0) giveBuffer(buffer);
}

static void makeBuffers(bool isClassic) {
    bufferRing = mapPages(classicCount * sizeof(struct io_uring_buf));
    if ((isClassic || !registerBuffers(true)) && !registerBuffers(false)) {
        failUnavailable("register buffer ring", errno);
    }
    buffers = mapPages(buffersCount * bufferBytes);
    for (unsigned i = 0; i < buffersCount; i++) giveBuffer(i);
}

static uint64_t tag(enum operation operation, unsigned buffer, int descriptor) {
    return (uint64_t)operation << 48 | (uint64_t)buffer << 32 | (uint32_t)descriptor;
}

static struct io_uring_sqe *nextSubmission(void) {
    for (;;) {
        struct io_uring_sqe *submission = io_uring_get_sqe(&ring);
        if (submission) return submission;
        int status = io_uring_submit(&ring);
        if (status < 0 && status != -EINTR && status != -EAGAIN && status != -EBUSY) {
            failWith("io_uring_submit", -status);
        }
    }
}

static void startAccepting(void) {
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_multishot_accept(submission, listener, NULL, NULL, SOCK_CLOEXEC);
    submission->user_data = tag(opAccept, 0, listener);
}

static void startReceiving(int descriptor) {
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_recv_multishot(submission, descriptor, NULL, 0, 0);
    submission->flags |= IOSQE_BUFFER_SELECT;
    submission->user_data = tag(opReceive, 0, descriptor);
}

static void stopReceiving(int descriptor) {
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_cancel64(submission, tag(opReceive, 0, descriptor), 0);
    submission->user_data = 0;
    connections[descriptor].isCancelling = true;
}

static void closeConnection(int descriptor) {
    connections[descriptor] = (struct connection){0};
    close(descriptor);
    if (isAcceptPaused) {
        isAcceptPaused = false;
        startAccepting();
    }
}

static void sendFromBuffer(int descriptor, unsigned buffer, const char *bytes, uint32_t count) {
    struct connection *connection = &connections[descriptor];
    connection->bytes = bytes;
    connection->count = count;
    bufferStates[buffer].sends++;
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_send(submission, descriptor, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    submission->user_data = tag(opSend, buffer, descriptor);
}

static void sendFirstChunk(int descriptor) {
    struct chunk *chunk = connections[descriptor].first;
    struct io_uring_sqe *submission = nextSubmission();
    // With WAITALL the kernel itself waits for room until all is sent.
    io_uring_prep_send(submission, descriptor, chunk->bytes, chunk->count,
                       MSG_NOSIGNAL | MSG_WAITALL);
    submission->user_data = tag(opSendChunk, 0, descriptor);
}

static struct chunk *makeChunk(const char *bytes, size_t count) {
    struct chunk *chunk = malloc(sizeof *chunk + count);
    if (!chunk) fail("malloc");
    *chunk = (struct chunk){NULL, count};
    memcpy(chunk->bytes, bytes, count);
    return chunk;
}

static void prependChunk(struct connection *connection, const char *bytes, size_t count) {
    struct chunk *chunk = makeChunk(bytes, count);
    chunk->next = connection->first;
    if (!connection->first) connection->last = chunk;
    connection->first = chunk;
    connection->pendingBytes += count;
}

static void appendChunk(int descriptor, const char *bytes, size_t count) {
    struct connection *connection = &connections[descriptor];
    struct chunk *chunk = makeChunk(bytes, count);
    if (connection->first) {
        connection->last->next = chunk;
    } else {
        connection->first = chunk;
    }
    connection->last = chunk;
    connection->pendingBytes += count;
    if (connection->pendingBytes > pendingBytesMax && !connection->isCancelling) {
        stopReceiving(descriptor);
    }
}

static void onAccepted(const struct io_uring_cqe *completion) {
    if (completion->res >= 0) startReceiving(completion->res);
    if (completion->flags & IORING_CQE_F_MORE) return;
    int error = -completion->res;
    // Trying again at once would spin; the next close makes room.
    isAcceptPaused = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
    if (!isAcceptPaused) startAccepting();
}

static bool isSending(const struct connection *connection) {
    return connection->bytes || connection->first;
}

/// The receive of a connection has ended with this result.
static void onReceiveEnded(int descriptor, int result) {
    struct connection *connection = &connections[descriptor];
    bool isGoingOn = result > 0 || result == -ENOBUFS || result == -ECANCELED;
    if (!isGoingOn) {
        connection->isEnded = true;
        if (!isSending(connection)) closeConnection(descriptor);
    } else if (connection->isCancelling && connection->first) {
        connection->isPaused = true;
    } else {
        // After ENOBUFS too: the sends that hold the buffers are in this same submission.
        startReceiving(descriptor);
    }
    if (isGoingOn) connection->isCancelling = false;
}

static void onReceived(int descriptor, const struct io_uring_cqe *completion) {
    if (completion->res > 0) {
        unsigned buffer = completion->flags >> IORING_CQE_BUFFER_SHIFT;
        uint32_t count = (uint32_t)completion->res;
        const char *bytes = bufferStart(buffer) + bufferStates[buffer].consumed;
        bufferStates[buffer].consumed += count;
        bufferStates[buffer].isUsedUp =
            !isIncremental || !(completion->flags & completionBufferMore);
        // A second send beside the first could overtake its remainder.
        if (isSending(&connections[descriptor])) {
            appendChunk(descriptor, bytes, count);
            giveBufferIfFree(buffer);
        } else {
            sendFromBuffer(descriptor, buffer, bytes, count);
        }
    }
    if (!(completion->flags & IORING_CQE_F_MORE)) onReceiveEnded(descriptor, completion->res);
}

static void dropChunk(struct connection *connection) {
    struct chunk *chunk = connection->first;
    connection->pendingBytes -= chunk->count;
    connection->first = chunk->next;
    free(chunk);
}

/// The peer is gone. The receive ends by the shutdown, or has ended before.
static void giveUpSending(int descriptor) {
    while (connections[descriptor].first) dropChunk(&connections[descriptor]);
    shutdown(descriptor, SHUT_RDWR);
}

static void goOnAfterSend(int descriptor) {
    struct connection *connection = &connections[descriptor];
    if (connection->first) {
        sendFirstChunk(descriptor);
    } else if (connection->isEnded) {
        closeConnection(descriptor);
    } else if (connection->isPaused) {
        connection->isPaused = false;
        startReceiving(descriptor);
    }
}

static void onSent(int descriptor, unsigned buffer, int result) {
    struct connection *connection = &connections[descriptor];
    if (result == -EAGAIN) result = 0;
    if (result < 0) {
        giveUpSending(descriptor);
    } else if ((uint32_t)result < connection->count) {
        prependChunk(connection, connection->bytes + result, connection->count - (uint32_t)result);
    }
    connection->bytes = NULL;
    bufferStates[buffer].sends--;
    giveBufferIfFree(buffer);
    goOnAfterSend(descriptor);
}

static void onChunkSent(int descriptor, int result) {
    struct connection *connection = &connections[descriptor];
    if (result == (int)connection->first->count) {
        dropChunk(connection);
    } else {
        giveUpSending(descriptor);
    }
    goOnAfterSend(descriptor);
}

static void dispatch(const struct io_uring_cqe *completion) {
    int descriptor = (int)(uint32_t)completion->user_data;
    unsigned buffer = (uint16_t)(completion->user_data >> 32);
    switch (completion->user_data >> 48) {
    case opReceive: onReceived(descriptor, completion); break;
    case opSend: onSent(descriptor, buffer, completion->res); break;
    case opSendChunk: onChunkSent(descriptor, completion->res); break;
    case opAccept: onAccepted(completion); break;
    default: break;  // a cancel; its target tells the truth
    }
}

static void onSignal(int number) {
    (void)number;
    _exit(0);
}

int main(int argc, char **argv) {
    struct options options = parseOptions(argc, argv);
    struct sigaction action = {.sa_handler = onSignal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    connections = calloc(raiseDescriptorLimit(), sizeof *connections);
    if (!connections) fail("calloc");
    if (options.isUDP) serveDatagrams(options.host, options.port);
    if (options.pipes) servePipes(options.pipes, options.program);
    makeRing();
    makeBuffers(options.isClassic);
    listener = options.path
        ? listenAtPath(options.path, backlog)
        : listenAtAddress(options.host, options.port, options.congestion, backlog);
    startAccepting();
    for (;;) {
        int status = io_uring_submit_and_wait(&ring, 1);
        if (status < 0 && status != -EINTR && status != -EAGAIN && status != -EBUSY) {
            failWith("io_uring_enter", -status);
        }
        unsigned head, count = 0;
        struct io_uring_cqe *completion;
        io_uring_for_each_cqe(&ring, head, completion) {
            dispatch(completion);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}

#endif
