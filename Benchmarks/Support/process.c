// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreBench.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/// In the child: runs the program, or tells the parent through `report` why it could not.
static _Noreturn void run(
    char *const *argv, int cpu, const int *inherited, int count, const int ends[5]) {
    int output = ends[1], report = ends[3], errors = ends[4];
    bool is_ready = prctl(PR_SET_PDEATHSIG, SIGKILL) == 0;
    // A mask of blocked signals and ignored signals outlive an exec.
    sigset_t none;
    sigemptyset(&none);
    is_ready = is_ready && sigprocmask(SIG_SETMASK, &none, NULL) == 0;
    if (is_ready && cpu >= 0) is_ready = bench_pin_thread(cpu) == 0;
    int input = open("/dev/null", O_RDONLY | O_CLOEXEC);
    is_ready = is_ready && input >= 0 && dup2(input, 0) >= 0 && dup2(output, 1) >= 0 &&
               dup2(errors, 2) >= 0;
    for (int i = 0; is_ready && i < count; i++) is_ready = fcntl(inherited[i], F_SETFD, 0) == 0;
    if (is_ready) execv(argv[0], argv);
    int error = errno;
    ssize_t written = write(report, &error, sizeof error);
    _exit(written == sizeof error ? 127 : 126);
}

static void close_all(const int *descriptors, int count) {
    for (int i = 0; i < count; i++) {
        if (descriptors[i] >= 0) close(descriptors[i]);
    }
}

int bench_spawn(
    char *const *argv, int cpu, const int *inherited, int count, struct bench_child *child) {
    // The pipe of the output, the pipe that reports a failed exec, the file of the errors.
    int ends[5] = {-1, -1, -1, -1, -1};
    ends[4] = memfd_create("errors", MFD_CLOEXEC);
    pid_t pid = -1;
    if (pipe2(ends, O_CLOEXEC) == 0 && pipe2(ends + 2, O_CLOEXEC) == 0 && ends[4] >= 0)
        pid = fork();
    if (pid == 0) run(argv, cpu, inherited, count, ends);
    if (pid < 0) {
        int error = errno;
        close_all(ends, 5);
        return error;
    }
    close_all((int[]){ends[1], ends[3]}, 2);
    int error = 0;
    ssize_t read_count = read(ends[2], &error, sizeof error);
    close(ends[2]);
    if (read_count == (ssize_t)sizeof error) {
        waitpid(pid, NULL, 0);
        close_all((int[]){ends[0], ends[4]}, 2);
        return error;
    }
    *child = (struct bench_child){.pid = pid, .output = ends[0], .errors = ends[4]};
    return 0;
}

int bench_await_end(pid_t pid) {
    siginfo_t information;
    int status;
    do {
        status = waitid(P_PID, (id_t)pid, &information, WEXITED | WNOWAIT);
    } while (status != 0 && errno == EINTR);
    return status == 0 ? 0 : errno;
}

static double seconds_of(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

int bench_collect(pid_t pid, double *cpu_seconds) {
    int status;
    struct rusage usage;
    pid_t result;
    do {
        result = wait4(pid, &status, 0, &usage);
    } while (result < 0 && errno == EINTR);
    if (result < 0) return -1;
    *cpu_seconds = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

double bench_process_cpu(pid_t pid) {
    clockid_t clock;
    struct timespec time;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) return -1;
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

double bench_children_cpu(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file) return -1;
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    // The name in the second field may hold blanks and parentheses: count from the last one.
    const char *fields = strrchr(text, ')');
    long user, system;
    if (!fields || sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %ld %ld",
                          &user, &system) != 2) {
        return -1;
    }
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

int bench_pipe(int ends[2]) {
    return pipe2(ends, O_CLOEXEC) == 0 ? 0 : errno;
}
