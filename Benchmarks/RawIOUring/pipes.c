// SPDX-License-Identifier: Apache-2.0
//
// Pipes in pairs: what comes from one goes into the other, each read and each write through the
// ring, one of them at a time for each pair. Or, with --spawn, a process is started for each byte,
// which goes into the other pipe when a poll of the process's descriptor says that it has ended.

#ifdef GYRE_IO_URING

#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { receiveBytes = 256 * 1024, submissionsMax = 512 };

struct pair {
    int input;
    int output;
    char *bytes;  // room for one read
    unsigned count;  // of that read
    unsigned written;
    int process;  // a pidfd while it runs
    enum { isReading, isWaiting, isWriting } state;
};

extern char **environ;
static struct io_uring ring;
static const char *program;

static _Noreturn void failWith(const char *what, int error) {
    fprintf(stderr, "gyre-peer-raw-io-uring: %s: %s\n", what, strerror(error));
    exit(1);
}

static void submit(struct pair *pair, int state) {
    struct io_uring_sqe *submission;
    while (!(submission = io_uring_get_sqe(&ring))) io_uring_submit(&ring);
    switch (state) {
    case isReading:
        io_uring_prep_read(submission, pair->input, pair->bytes, program ? 1 : receiveBytes, 0);
        break;
    case isWaiting: io_uring_prep_poll_add(submission, pair->process, POLLIN); break;
    default:
        io_uring_prep_write(submission, pair->output, pair->bytes + pair->written,
                            pair->count - pair->written, 0);
    }
    pair->state = state;
    io_uring_sqe_set_data(submission, pair);
}

static void makePair(const char **text) {
    struct pair *pair = calloc(1, sizeof *pair);
    // Copies from and to whole pages are by far the fastest.
    if (!pair || !(pair->bytes = aligned_alloc(4096, receiveBytes))) failWith("malloc", ENOMEM);
    int length = 0;
    if (sscanf(*text, "%d:%d%n", &pair->input, &pair->output, &length) != 2) {
        failWith("--pipes", EINVAL);
    }
    *text += length;
    if (fcntl(pair->input, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(pair->output, F_SETFD, FD_CLOEXEC) != 0) {
        failWith("a pipe", errno);
    }
    submit(pair, isReading);
}

static void start(struct pair *pair) {
    pid_t pid;
    char *arguments[] = {(char *)program, NULL};
    int error = posix_spawn(&pid, program, NULL, NULL, arguments, environ);
    if (error != 0) failWith(program, error);
    pair->process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pair->process < 0) failWith("pidfd_open", errno);
    submit(pair, isWaiting);
}

static void collect(struct pair *pair) {
    siginfo_t information = {0};
    if (waitid(P_PIDFD, (id_t)pair->process, &information, WEXITED) != 0) failWith("waitid", errno);
    close(pair->process);
    if (information.si_code != CLD_EXITED || information.si_status != 0) pair->bytes[0] ^= 1;
    submit(pair, isWriting);
}

static void goOn(struct pair *pair, int result) {
    if (result < 0) failWith(pair->state == isReading ? "read" : "write", -result);
    switch (pair->state) {
    case isReading:
        if (result == 0) exit(0);
        pair->count = (unsigned)result;
        pair->written = 0;
        if (program) start(pair);
        else submit(pair, isWriting);
        break;
    case isWaiting: collect(pair); break;
    case isWriting:
        pair->written += (unsigned)result;
        submit(pair, pair->written < pair->count ? isWriting : isReading);
    }
}

void servePipes(const char *pipes, const char *givenProgram) {
    program = givenProgram;
    signal(SIGPIPE, SIG_IGN);
    int status = io_uring_queue_init(
        submissionsMax, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (status == -EINVAL) {
        status = io_uring_queue_init(submissionsMax, &ring, IORING_SETUP_COOP_TASKRUN);
    }
    if (status != 0) failWith("io_uring_setup", -status);
    io_uring_register_ring_fd(&ring);
    for (makePair(&pipes); *pipes == ','; makePair(&pipes)) pipes++;
    puts("listening on pipes");
    fflush(stdout);
    for (;;) {
        status = io_uring_submit_and_wait(&ring, 1);
        if (status < 0 && status != -EINTR) failWith("io_uring_enter", -status);
        unsigned head, count = 0;
        struct io_uring_cqe *completion;
        io_uring_for_each_cqe(&ring, head, completion) {
            goOn(io_uring_cqe_get_data(completion), completion->res);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}

#endif
