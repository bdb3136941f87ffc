// SPDX-License-Identifier: Apache-2.0
//
// A hand-written single-threaded echo server for TCP and Unix sockets on epoll: one half of the bar
// that Gyre is measured against, so it does nothing that a library would have to do and an echo
// need not.
//
// The shape that measured best: edge-triggered interest in input only, one recv of up to 256 KiB
// per event (again only if the buffer came back full), and the answer sent at once from the same
// buffer. What the socket does not take is copied aside and sent when it is writable; until then
// that connection is not read. For UDP see udp.c, for pipes and processes pipes.c.

#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { receiveBytes = 256 * 1024, eventsMax = 1024, backlog = 4096, exitUsage = 64 };

/// Bytes of one connection that its socket did not take yet.
struct remainder {
    char *bytes;
    size_t count;
    size_t sent;
};

static char receiveBuffer[receiveBytes] __attribute__((aligned(4096)));
/// Indexed by descriptor. Pages of it are touched only for connections that had a remainder, so an
/// idle connection costs no user memory.
static struct remainder *remainders;
static int poller;
static int listener;
static bool isAcceptPaused;

void fail(const char *what) {
    fprintf(stderr, "gyre-peer-raw-epoll: %s: %s\n", what, strerror(errno));
    exit(1);
}

_Noreturn static void usage(const char *reason) {
    fprintf(stderr, "gyre-peer-raw-epoll: %s\n"
            "usage: gyre-peer-raw-epoll [--host IPV4] [--port N] [--congestion NAME] "
            "[--unix PATH | --udp | --pipes IN:OUT,... [--spawn PROGRAM]]\n", reason);
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
        if (strcmp(argv[i], "--host") == 0) {
            options.host = argv[i + 1];
        } else if (strcmp(argv[i], "--port") == 0) {
            char *end;
            long port = strtol(argv[i + 1], &end, 10);
            if (*end != 0 || end == argv[i + 1] || port < 0 || port > 65535) usage("bad port");
            options.port = (int)port;
        } else if (strcmp(argv[i], "--congestion") == 0) {
            options.congestion = argv[i + 1];
        } else if (strcmp(argv[i], "--unix") == 0) {
            options.path = argv[i + 1];
        } else if (strcmp(argv[i], "--pipes") == 0) {
            options.pipes = argv[i + 1];
        } else if (strcmp(argv[i], "--spawn") == 0) {
            options.program = argv[i + 1];
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

static void startListeningAtPath(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) usage("the path is too long");
    strcpy(address.sun_path, path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0) fail("socket");
    unlink(path);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0) fail("bind");
    if (listen(listener, backlog) != 0) fail("listen");
    printf("listening on %s\n", path);
    fflush(stdout);
}

static void startListening(const struct options *options) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1) usage("bad IPv4 address");
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
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

static void watch(int operation, int descriptor, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = descriptor};
    if (epoll_ctl(poller, operation, descriptor, &event) != 0) fail("epoll_ctl");
}

static void closeConnection(int descriptor) {
    free(remainders[descriptor].bytes);
    remainders[descriptor] = (struct remainder){0};
    close(descriptor);
    if (isAcceptPaused) {
        isAcceptPaused = false;
        watch(EPOLL_CTL_MOD, listener, EPOLLIN);
    }
}

static void acceptConnections(void) {
    for (;;) {
        int descriptor = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (descriptor >= 0) {
            watch(EPOLL_CTL_ADD, descriptor, EPOLLIN | EPOLLRDHUP | EPOLLET);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            // Level-triggered readiness would spin here; the next close turns it on again.
            isAcceptPaused = true;
            watch(EPOLL_CTL_MOD, listener, 0);
        }
        if (errno != EINTR && errno != ECONNABORTED) return;
    }
}

/// False if the connection ended or the socket is full: in both cases reading stops.
static bool echo(int descriptor, const char *bytes, size_t count) {
    ssize_t sent = send(descriptor, bytes, count, MSG_NOSIGNAL);
    if (sent == (ssize_t)count) return true;
    if (sent < 0 && errno != EAGAIN) {
        closeConnection(descriptor);
        return false;
    }
    if (sent < 0) sent = 0;
    char *copy = malloc(count - (size_t)sent);
    if (!copy) fail("malloc");
    memcpy(copy, bytes + sent, count - (size_t)sent);
    remainders[descriptor] = (struct remainder){copy, count - (size_t)sent, 0};
    watch(EPOLL_CTL_MOD, descriptor, EPOLLOUT | EPOLLET);
    return false;
}

static void sendRemainder(int descriptor) {
    struct remainder *rest = &remainders[descriptor];
    while (rest->sent < rest->count) {
        ssize_t sent = send(descriptor, rest->bytes + rest->sent, rest->count - rest->sent,
                            MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) return;
        if (sent < 0) {
            closeConnection(descriptor);
            return;
        }
        rest->sent += (size_t)sent;
    }
    free(rest->bytes);
    *rest = (struct remainder){0};
    // A MOD reports what is already readable, so no edge is lost by having looked away.
    watch(EPOLL_CTL_MOD, descriptor, EPOLLIN | EPOLLRDHUP | EPOLLET);
}

static void serve(int descriptor, uint32_t events) {
    if (remainders[descriptor].bytes) {
        sendRemainder(descriptor);
        return;
    }
    for (;;) {
        ssize_t received = recv(descriptor, receiveBuffer, receiveBytes, 0);
        if (received <= 0) {
            if (received < 0 && errno == EAGAIN) return;
            closeConnection(descriptor);
            return;
        }
        if (!echo(descriptor, receiveBuffer, (size_t)received)) return;
        // A short read means that the queue was empty, and later bytes make a new edge: the call
        // that would only say EAGAIN is saved. An end of the stream has no later edge.
        bool isEnding = events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR);
        if (received < receiveBytes && !isEnding) return;
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
    remainders = calloc(raiseDescriptorLimit(), sizeof *remainders);
    poller = epoll_create1(EPOLL_CLOEXEC);
    if (!remainders || poller < 0) fail("epoll_create1");
    if (options.isUDP) serveDatagrams(&options, poller);
    if (options.pipes) servePipes(&options, poller);
    if (options.path) startListeningAtPath(options.path); else startListening(&options);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    static struct epoll_event events[eventsMax];
    for (;;) {
        int count = epoll_wait(poller, events, eventsMax, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) {
                acceptConnections();
            } else {
                serve(events[i].data.fd, events[i].events);
            }
        }
    }
}
