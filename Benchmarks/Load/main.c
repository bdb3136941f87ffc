// SPDX-License-Identifier: Apache-2.0
//
// gyre-load: the load generator of the benchmarks. See options.c for what it can do.

#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("gyre-load: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(exitFailure);
}

void failErrno(const char *what) {
    fail("%s: %s", what, strerror(errno));
}

uint64_t nowNanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void raiseDescriptorLimit(int connections) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) failErrno("getrlimit");
    rlim_t needed = (rlim_t)connections + 64;
    if (limit.rlim_max < needed) {
        // Only root may raise the hard limit.
        struct rlimit raised = {needed, needed};
        if (setrlimit(RLIMIT_NOFILE, &raised) == 0) return;
        fail("%d connections need %llu descriptors, the hard limit is %llu", connections,
             (unsigned long long)needed, (unsigned long long)limit.rlim_max);
    }
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) failErrno("setrlimit");
}

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) failErrno("--cpu");
}

int main(int argc, char **argv) {
    struct options options = parseOptions(argc, argv);
    if (options.cpu >= 0) pin(options.cpu);
    if (options.isInNamespace) execInNamespace(&options);
    // A server that is gone is found by the error of the write.
    signal(SIGPIPE, SIG_IGN);
    if (options.idleConnections > 0) {
        raiseDescriptorLimit(options.idleConnections);
        return runIdle(&options);
    }
    raiseDescriptorLimit(options.connections + 2 * options.pipesCount);
    return options.isAccepting ? runAccept(&options) : runPingPong(&options);
}
