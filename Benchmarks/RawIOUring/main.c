// SPDX-License-Identifier: Apache-2.0
//
// A hand-written single-threaded TCP echo server on io_uring: the other half of the bar that Gyre
// is measured against, so it does nothing that a library would have to do and an echo need not.
//
// The shape that measured best: multishot accept and multishot receive into one ring of provided
// buffers, the answer sent at once by a direct send from that buffer, and one enter per loop, which
// in the steady state submits nothing. What the socket does not take is copied aside and sent
// through the ring, so that the buffer goes back at once.

#ifndef GYRE_IO_URING

#include <stdio.h>

int main(void) {
    fputs("gyre-peer-raw-io-uring: built without io_uring\n", stderr);
    return 69;
}

#else

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
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

enum { backlog = 4096, usageError = 64, submissionsMax = 1024, completionsMax = 4096 };
/// Few and large: the bytes are sent before the next enter, so a buffer is back at once, and what
/// counts is that the whole pool stays in the second-level cache. 16 of 1 MiB cost 1.3 times as
/// much CPU at 100 KiB a message. Without incremental buffers each message takes a whole buffer.
enum { bufferBytes = 256 * 1024, buffersCount = 4, classicBuffersCount = 16 };
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
    bool isClassic;
};

/// Bytes that a socket did not take. The kernel reads them while a send is on its way, so further
/// ones get a chunk of their own.
struct chunk {
    struct chunk *next;
    size_t count;
    char bytes[];
};

struct connection {
    struct chunk *first;  // a send of it is on its way whenever there is one
    struct chunk *last;
    size_t pendingBytes;
    bool isCancelling;  // its receive was asked to stop
    bool isPaused;  // its receive has stopped because of too many pending bytes
    bool isEnded;  // nothing more is received; closes when all is sent
};

enum operation { opAccept = 1, opReceive, opSend };

static struct io_uring ring;
static struct io_uring_buf_ring *bufferRing;
static char *buffers;
static uint32_t bufferRingEntries;
/// How much of each buffer the kernel has filled since it was given to it.
static uint32_t consumed[classicBuffersCount];
static bool isIncremental;
/// Indexed by descriptor. Pages of it are touched only for connections that had pending bytes, so
/// an idle connection costs no user memory.
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

static void usage(const char *reason) {
    fprintf(stderr, "gyre-peer-raw-io-uring: %s\nusage: gyre-peer-raw-io-uring [--host IPV4] "
            "[--port N] [--congestion NAME] [--buffers incremental|classic]\n", reason);
    exit(usageError);
}

static struct options parseOptions(int argc, char **argv) {
    struct options options = {"127.0.0.1", 0, NULL, false};
    for (int i = 1; i < argc; i += 2) {
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

/// Accepted sockets inherit the algorithm. Without a name: cubic, else reno, because the pacing of
/// BBR makes large messages on loopback jump between two rates.
static void setCongestion(int socket, const char *name) {
    const char *first = name ? name : "cubic";
    int status = setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, first, (socklen_t)strlen(first));
    if (status != 0 && name) fail("congestion control");
    if (status != 0) setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

static void startListening(const struct options *options) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1) usage("bad IPv4 address");
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    int on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // Inherited by accepted sockets, which saves a call for each.
    setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setCongestion(listener, options->congestion);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(listener, backlog) != 0) fail("listen");
    socklen_t length = sizeof address;
    if (getsockname(listener, (struct sockaddr *)&address, &length) != 0) fail("getsockname");
    printf("listening on %s:%d\n", options->host, ntohs(address.sin_port));
    fflush(stdout);
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
    if (status != 0) failWith("io_uring_setup", -status);
    // Saves looking up the ring's own descriptor at each enter; only a bonus.
    io_uring_register_ring_fd(&ring);
}

static void *mapPages(size_t bytes) {
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) fail("mmap");
    return pages;
}

static bool registerBuffers(uint32_t entries, bool incremental) {
    struct bufferRingRegistration registration = {
        .address = (uint64_t)(uintptr_t)bufferRing,
        .entries = entries,
        .flags = incremental ? bufferRingIncremental : 0,
    };
    isIncremental = incremental;
    bufferRingEntries = entries;
    return syscall(__NR_io_uring_register, ring.ring_fd, registerBufferRing, &registration, 1) == 0;
}

static char *bufferStart(unsigned buffer) {
    return buffers + (size_t)buffer * bufferBytes;
}

static void giveBuffer(unsigned buffer) {
    consumed[buffer] = 0;
    io_uring_buf_ring_add(bufferRing, bufferStart(buffer), bufferBytes, (unsigned short)buffer,
                          io_uring_buf_ring_mask(bufferRingEntries), 0);
    io_uring_buf_ring_advance(bufferRing, 1);
}

static void makeBuffers(bool isClassic) {
    bufferRing = mapPages(classicBuffersCount * sizeof(struct io_uring_buf));
    if ((isClassic || !registerBuffers(buffersCount, true)) &&
        !registerBuffers(classicBuffersCount, false)) {
        fail("register buffer ring");
    }
    buffers = mapPages((size_t)bufferRingEntries * bufferBytes);
    for (unsigned i = 0; i < bufferRingEntries; i++) giveBuffer(i);
}

static uint64_t tag(enum operation operation, int descriptor) {
    return (uint64_t)operation << 32 | (uint32_t)descriptor;
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
    submission->user_data = tag(opAccept, listener);
}

static void startReceiving(int descriptor) {
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_recv_multishot(submission, descriptor, NULL, 0, 0);
    submission->flags |= IOSQE_BUFFER_SELECT;
    submission->user_data = tag(opReceive, descriptor);
}

static void stopReceiving(int descriptor) {
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_cancel64(submission, tag(opReceive, descriptor), 0);
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

static void startSending(int descriptor) {
    struct chunk *chunk = connections[descriptor].first;
    struct io_uring_sqe *submission = nextSubmission();
    // With WAITALL the kernel itself waits for room until all is sent.
    io_uring_prep_send(submission, descriptor, chunk->bytes, chunk->count,
                       MSG_NOSIGNAL | MSG_WAITALL);
    submission->user_data = tag(opSend, descriptor);
}

static void appendChunk(int descriptor, const char *bytes, size_t count) {
    struct connection *connection = &connections[descriptor];
    struct chunk *chunk = malloc(sizeof *chunk + count);
    if (!chunk) fail("malloc");
    *chunk = (struct chunk){NULL, count};
    memcpy(chunk->bytes, bytes, count);
    if (connection->first) {
        connection->last->next = chunk;
    } else {
        connection->first = chunk;
    }
    connection->last = chunk;
    connection->pendingBytes += count;
    if (connection->first == chunk) startSending(descriptor);
    if (connection->pendingBytes > pendingBytesMax && !connection->isCancelling) {
        stopReceiving(descriptor);
    }
}

static void echo(int descriptor, const char *bytes, size_t count) {
    if (connections[descriptor].first) {
        appendChunk(descriptor, bytes, count);
        return;
    }
    ssize_t sent = send(descriptor, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == (ssize_t)count) return;
    if (sent < 0 && errno != EAGAIN) {
        // Ends the receive too, and its completion closes the connection.
        shutdown(descriptor, SHUT_RDWR);
        return;
    }
    if (sent < 0) sent = 0;
    appendChunk(descriptor, bytes + sent, count - (size_t)sent);
}

static void onAccepted(const struct io_uring_cqe *completion) {
    if (completion->res >= 0) startReceiving(completion->res);
    if (completion->flags & IORING_CQE_F_MORE) return;
    int error = -completion->res;
    // Trying again at once would spin; the next close makes room.
    isAcceptPaused = error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
    if (!isAcceptPaused) startAccepting();
}

/// The receive of a connection has ended with this result.
static void onReceiveEnded(int descriptor, int result) {
    struct connection *connection = &connections[descriptor];
    bool isGoingOn = result > 0 || result == -ENOBUFS || result == -ECANCELED;
    if (!isGoingOn) {
        connection->isEnded = true;
        if (!connection->first) closeConnection(descriptor);
    } else if (connection->isCancelling && connection->first) {
        connection->isPaused = true;
    } else {
        // All buffers are back by now, also after ENOBUFS.
        startReceiving(descriptor);
    }
    if (isGoingOn) connection->isCancelling = false;
}

static void onReceived(int descriptor, const struct io_uring_cqe *completion) {
    if (completion->res > 0) {
        unsigned buffer = completion->flags >> IORING_CQE_BUFFER_SHIFT;
        const char *bytes = bufferStart(buffer) + consumed[buffer];
        consumed[buffer] += (uint32_t)completion->res;
        echo(descriptor, bytes, (size_t)completion->res);
        bool isUsedUp = !isIncremental || !(completion->flags & completionBufferMore);
        if (isUsedUp) giveBuffer(buffer);
    }
    if (!(completion->flags & IORING_CQE_F_MORE)) onReceiveEnded(descriptor, completion->res);
}

static void dropChunk(struct connection *connection) {
    struct chunk *chunk = connection->first;
    connection->pendingBytes -= chunk->count;
    connection->first = chunk->next;
    free(chunk);
}

static void onSent(int descriptor, int result) {
    struct connection *connection = &connections[descriptor];
    if (result != (int)connection->first->count) {
        // The peer is gone. The receive ends by the shutdown, or has ended before.
        while (connection->first) dropChunk(connection);
        shutdown(descriptor, SHUT_RDWR);
    } else {
        dropChunk(connection);
    }
    if (connection->first) {
        startSending(descriptor);
    } else if (connection->isEnded) {
        closeConnection(descriptor);
    } else if (connection->isPaused) {
        connection->isPaused = false;
        startReceiving(descriptor);
    }
}

static void dispatch(const struct io_uring_cqe *completion) {
    int descriptor = (int)(uint32_t)completion->user_data;
    switch (completion->user_data >> 32) {
    case opReceive: onReceived(descriptor, completion); break;
    case opSend: onSent(descriptor, completion->res); break;
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
    makeRing();
    makeBuffers(options.isClassic);
    startListening(&options);
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
