// SPDX-License-Identifier: Apache-2.0
//
// An echo server for TCP, Unix sockets and pipes on libuv, written the way a careful user of libuv
// would: one shared receive buffer (the callbacks of one loop never overlap), uv_try_write first,
// and a write request with a copy only for what the socket did not take. A connection is not read
// while such a rest waits. For UDP see udp.c, for processes spawn.c.

#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

// libuv suggests 64 KiB to the allocation callback; more saves calls at large messages.
enum { receiveBytes = 256 * 1024, backlog = 4096, exitUsage = 64 };

struct options {
    const char *host;
    int port;
    const char *congestion;
    const char *path;  // of a Unix socket; NULL: TCP, UDP or pipes
    bool isUDP;
    const char *pipes;  // IN:OUT,...
    const char *program;  // what is run for each byte of the pipes; NULL: they are echoed
};

struct pendingWrite {
    uv_write_t request;
    char bytes[];
};

static char receiveBuffer[receiveBytes];

void fail(const char *what, int status) {
    fprintf(stderr, "gyre-peer-libuv: %s: %s\n", what, uv_strerror(status));
    exit(1);
}

static void usage(const char *reason) {
    fprintf(stderr, "gyre-peer-libuv: %s\n"
            "usage: gyre-peer-libuv [--host IPV4] [--port N] [--congestion NAME] "
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

static void raiseDescriptorLimit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

static void onClosed(uv_handle_t *handle) {
    free(handle);
}

static void closeConnection(uv_stream_t *stream) {
    if (!uv_is_closing((uv_handle_t *)stream)) uv_close((uv_handle_t *)stream, onClosed);
}

static void onAllocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(receiveBuffer, receiveBytes);
}

static void onRead(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer);

static void onWritten(uv_write_t *request, int status) {
    uv_stream_t *stream = request->data;
    free(request);
    if (status == 0) status = uv_read_start(stream, onAllocate, onRead);
    if (status != 0) closeConnection(stream);
}

/// The other pipe of a pair, or the connection itself.
static uv_stream_t *outputOf(uv_stream_t *stream) {
    return stream->data ? stream->data : stream;
}

static void writeRest(uv_stream_t *stream, const char *bytes, size_t count) {
    struct pendingWrite *write = malloc(sizeof *write + count);
    if (!write) fail("malloc", UV_ENOMEM);
    memcpy(write->bytes, bytes, count);
    uv_buf_t rest = uv_buf_init(write->bytes, (unsigned)count);
    uv_read_stop(stream);
    write->request.data = stream;
    int status = uv_write(&write->request, outputOf(stream), &rest, 1, onWritten);
    if (status != 0) {
        free(write);
        closeConnection(stream);
    }
}

static void onRead(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    if (count == 0) return;
    if (count < 0) {
        closeConnection(stream);
        return;
    }
    uv_buf_t answer = uv_buf_init(buffer->base, (unsigned)count);
    int written = uv_try_write(outputOf(stream), &answer, 1);
    if (written == count) return;
    if (written < 0 && written != UV_EAGAIN) {
        closeConnection(stream);
        return;
    }
    if (written < 0) written = 0;
    writeRest(stream, buffer->base + written, (size_t)(count - written));
}

static void onPipeConnection(uv_stream_t *listener, int status) {
    if (status != 0) return;
    uv_pipe_t *connection = malloc(sizeof *connection);
    if (!connection) fail("malloc", UV_ENOMEM);
    uv_pipe_init(listener->loop, connection, 0);
    connection->data = NULL;
    uv_stream_t *stream = (uv_stream_t *)connection;
    if (uv_accept(listener, stream) != 0 || uv_read_start(stream, onAllocate, onRead) != 0) {
        closeConnection(stream);
    }
}

static void onConnection(uv_stream_t *listener, int status) {
    if (status != 0) return;
    uv_tcp_t *connection = malloc(sizeof *connection);
    if (!connection) fail("malloc", UV_ENOMEM);
    uv_tcp_init(listener->loop, connection);
    connection->data = NULL;
    uv_stream_t *stream = (uv_stream_t *)connection;
    if (uv_accept(listener, stream) != 0 || uv_tcp_nodelay(connection, 1) != 0 ||
        uv_read_start(stream, onAllocate, onRead) != 0) {
        closeConnection(stream);
    }
}

static void onSignal(uv_signal_t *handle, int number) {
    (void)number;
    uv_stop(handle->loop);
}

/// Accepted sockets inherit the algorithm. Without a name: cubic, else reno, because the pacing of
/// BBR makes large messages on loopback jump between two rates.
static void setCongestion(uv_tcp_t *listener, const char *name) {
    uv_os_fd_t socket;
    int status = uv_fileno((uv_handle_t *)listener, &socket);
    if (status != 0) fail("uv_fileno", status);
    const char *first = name ? name : "cubic";
    status = setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, first, (socklen_t)strlen(first));
    if (status != 0 && name) fail("congestion control", -errno);
    if (status != 0) setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
}

static void startListening(uv_loop_t *loop, uv_tcp_t *listener, const struct options *options) {
    struct sockaddr_in address;
    int status = uv_ip4_addr(options->host, options->port, &address);
    if (status != 0) usage("bad IPv4 address");
    uv_tcp_init(loop, listener);
    status = uv_tcp_bind(listener, (struct sockaddr *)&address, 0);
    if (status != 0) fail("bind", status);
    setCongestion(listener, options->congestion);
    status = uv_listen((uv_stream_t *)listener, backlog, onConnection);
    if (status != 0) fail("listen", status);
    int length = sizeof address;
    uv_tcp_getsockname(listener, (struct sockaddr *)&address, &length);
    printf("listening on %s:%d\n", options->host, ntohs(address.sin_port));
    fflush(stdout);
}

static void startListeningAtPath(uv_loop_t *loop, uv_pipe_t *listener, const char *path) {
    uv_pipe_init(loop, listener, 0);
    unlink(path);
    int status = uv_pipe_bind(listener, path);
    if (status != 0) fail("bind", status);
    status = uv_listen((uv_stream_t *)listener, backlog, onPipeConnection);
    if (status != 0) fail("listen", status);
    printf("listening on %s\n", path);
    fflush(stdout);
}

static uv_stream_t *openPipe(uv_loop_t *loop, int descriptor) {
    uv_pipe_t *pipe = malloc(sizeof *pipe);
    if (!pipe) fail("malloc", UV_ENOMEM);
    uv_pipe_init(loop, pipe, 0);
    int status = uv_pipe_open(pipe, descriptor);
    if (status != 0) fail("uv_pipe_open", status);
    // What is spawned shall not have it.
    if (fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) fail("fcntl", -errno);
    return (uv_stream_t *)pipe;
}

static void startPipes(uv_loop_t *loop, const struct options *options) {
    int input, output, length = 0;
    for (const char *text = options->pipes;; text++) {
        if (sscanf(text, "%d:%d%n", &input, &output, &length) != 2) usage("bad --pipes");
        uv_stream_t *stream = openPipe(loop, input);
        stream->data = openPipe(loop, output);
        int status = options->program ? startSpawning(stream, options->program)
                                      : uv_read_start(stream, onAllocate, onRead);
        if (status != 0) fail("uv_read_start", status);
        text += length;
        if (*text != ',') break;
    }
    puts("listening on pipes");
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct options options = parseOptions(argc, argv);
    raiseDescriptorLimit();
    signal(SIGPIPE, SIG_IGN);
    uv_loop_t *loop = uv_default_loop();
    uv_signal_t interrupt, terminate;
    uv_signal_init(loop, &interrupt);
    uv_signal_init(loop, &terminate);
    uv_signal_start(&interrupt, onSignal, SIGINT);
    uv_signal_start(&terminate, onSignal, SIGTERM);
    uv_tcp_t listener;
    uv_pipe_t pipeListener;
    if (options.isUDP) {
        startDatagrams(loop, options.host, options.port);
    } else if (options.pipes) {
        startPipes(loop, &options);
    } else if (options.path) {
        startListeningAtPath(loop, &pipeListener, options.path);
    } else {
        startListening(loop, &listener, &options);
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return 0;
}
