// SPDX-License-Identifier: Apache-2.0
//
// Pipes in pairs: what comes from one goes into the other, with one read of up to 256 KiB and one
// write; what the other does not take is copied aside, and until it is written nothing more is
// read. Or, with --spawn, a process is started for each byte, which goes into the other pipe when
// the process has ended.

#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { receiveBytes = 256 * 1024, eventsMax = 512 };

struct pair {
    int input;
    int output;
    char *rest;  // what is to be written before more is read, or NULL
    size_t count;
    size_t written;
    int process;  // a pidfd, or -1
    char byte;  // for which the process runs
};

extern char **environ;
/// Copies from and to whole pages are by far the fastest.
static char buffer[receiveBytes] __attribute__((aligned(4096)));
static int poller;
static const char *program;

static void watch(struct pair *pair, int descriptor, uint32_t events) {
    struct epoll_event event = {.events = events | EPOLLET, .data.ptr = pair};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, descriptor, &event) != 0) fail("epoll_ctl");
}

static void makePair(const char **text) {
    struct pair *pair = malloc(sizeof *pair);
    if (!pair) fail("malloc");
    *pair = (struct pair){.process = -1};
    int length = 0;
    if (sscanf(*text, "%d:%d%n", &pair->input, &pair->output, &length) != 2) fail("bad --pipes");
    *text += length;
    int ends[] = {pair->input, pair->output};
    for (int i = 0; i < 2; i++) {
        if (fcntl(ends[i], F_SETFL, O_NONBLOCK) != 0 || fcntl(ends[i], F_SETFD, FD_CLOEXEC) != 0) {
            fail("a pipe");
        }
        watch(pair, ends[i], i == 0 ? EPOLLIN : EPOLLOUT);
    }
}

/// How much the pipe took.
static size_t put(struct pair *pair, const char *bytes, size_t count) {
    ssize_t written = write(pair->output, bytes, count);
    if (written < 0 && errno != EAGAIN) fail("write");
    return written < 0 ? 0 : (size_t)written;
}

/// False if the pipe is full.
static bool writeRest(struct pair *pair) {
    if (!pair->rest) return true;
    pair->written += put(pair, pair->rest + pair->written, pair->count - pair->written);
    if (pair->written < pair->count) return false;
    free(pair->rest);
    pair->rest = NULL;
    return true;
}

static bool writeAll(struct pair *pair, const char *bytes, size_t count) {
    size_t written = put(pair, bytes, count);
    if (written == count) return true;
    pair->rest = malloc(count - written);
    if (!pair->rest) fail("malloc");
    memcpy(pair->rest, bytes + written, count - written);
    pair->count = count - written;
    pair->written = 0;
    return writeRest(pair);
}

/// 0 if nothing is there.
static size_t get(struct pair *pair, char *bytes, size_t max) {
    ssize_t count = read(pair->input, bytes, max);
    if (count == 0) exit(0);
    if (count < 0 && errno != EAGAIN) fail("read");
    return count < 0 ? 0 : (size_t)count;
}

static void echo(struct pair *pair) {
    if (!writeRest(pair)) return;
    size_t count;
    do {
        count = get(pair, buffer, receiveBytes);
        if (count > 0 && !writeAll(pair, buffer, count)) return;
        // A short read emptied the pipe: what comes later makes a new edge.
    } while (count == receiveBytes);
}

static void start(struct pair *pair) {
    pid_t pid;
    char *arguments[] = {(char *)program, NULL};
    errno = posix_spawn(&pid, program, NULL, NULL, arguments, environ);
    if (errno != 0) fail(program);
    pair->process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pair->process < 0) fail("pidfd_open");
    watch(pair, pair->process, EPOLLIN);
}

static void collectIfEnded(struct pair *pair) {
    siginfo_t information = {0};
    if (waitid(P_PIDFD, (id_t)pair->process, &information, WEXITED | WNOHANG) != 0) fail("waitid");
    if (information.si_pid == 0) return;
    close(pair->process);
    pair->process = -1;
    if (information.si_code != CLD_EXITED || information.si_status != 0) pair->byte ^= 1;
    writeAll(pair, &pair->byte, 1);
}

static void spawn(struct pair *pair) {
    if (pair->process >= 0) collectIfEnded(pair);
    if (pair->process < 0 && writeRest(pair) && get(pair, &pair->byte, 1)) start(pair);
}

void servePipes(const struct options *options, int givenPoller) {
    poller = givenPoller;
    program = options->program;
    signal(SIGPIPE, SIG_IGN);
    const char *text = options->pipes;
    for (makePair(&text); *text == ','; makePair(&text)) text++;
    puts("listening on pipes");
    fflush(stdout);
    static struct epoll_event events[eventsMax];
    for (;;) {
        int count = epoll_wait(poller, events, eventsMax, -1);
        if (count < 0 && errno != EINTR) fail("epoll_wait");
        for (int i = 0; i < count; i++) {
            if (program) spawn(events[i].data.ptr);
            else echo(events[i].data.ptr);
        }
    }
}
