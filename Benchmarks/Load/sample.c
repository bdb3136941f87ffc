// SPDX-License-Identifier: Apache-2.0
//
// What a process has used. Three sources, because none has everything:
//
// - The CPU time comes from the process's CPU clock. That is the scheduler's own sum over all
//   threads, ended ones included, brought up to the very moment; the same number in
//   /proc/PID/task/*/schedstat is as old as the last tick of a thread that runs right now.
// - How that time divides into user and system is known only from /proc/PID/stat. On kernels with
//   CONFIG_TICK_CPU_ACCOUNTING it is a statistical sample: each timer tick (HZ, often 250 a second)
//   asks in which mode the CPU is, and the exact sum is divided in that ratio, then rounded to
//   10 ms. At 5 seconds of load and a user share of 8 per cent that is 100 hits: 10 per cent error.
// - The time that threads were ready but had to wait for a CPU, from schedstat: it tells that other
//   processes disturbed the measurement.

#define _GNU_SOURCE
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/// The text of a /proc file of a process, NULL if it is gone.
static char *readProc(const char *path, char *buffer, size_t size) {
    FILE *file = fopen(path, "re");
    if (!file) return NULL;
    size_t count = fread(buffer, 1, size - 1, file);
    fclose(file);
    buffer[count] = 0;
    return count > 0 ? buffer : NULL;
}

static int64_t numberAfter(const char *text, const char *key) {
    const char *place = strstr(text, key);
    return place ? strtoll(place + strlen(key), NULL, 10) : 0;
}

static void addThread(pid_t pid, const char *thread, struct processSample *sample) {
    char path[128], text[4096];
    uint64_t running, waiting;
    snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, thread);
    // A thread that ended in the meantime is no error.
    if (readProc(path, text, sizeof text) &&
        sscanf(text, "%" SCNu64 " %" SCNu64, &running, &waiting) == 2) {
        sample->runDelaySeconds += (double)waiting / 1e9;
    }
    snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, thread);
    if (readProc(path, text, sizeof text)) {
        sample->voluntarySwitches += numberAfter(text, "\nvoluntary_ctxt_switches:");
        sample->involuntarySwitches += numberAfter(text, "\nnonvoluntary_ctxt_switches:");
    }
}

static void addTimes(pid_t pid, struct processSample *sample) {
    clockid_t clock;
    struct timespec cpu;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &cpu) != 0) {
        fail("no process %d to sample", (int)pid);
    }
    sample->cpuSeconds = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;

    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    char *fields = readProc(path, text, sizeof text);
    // The name in the second field may hold blanks and parentheses: count from the last one.
    fields = fields ? strrchr(fields, ')') : NULL;
    unsigned long user, system;
    if (!fields || sscanf(fields, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
                          &user, &system) != 2) {
        fail("cannot read %s", path);
    }
    double ticksPerSecond = (double)sysconf(_SC_CLK_TCK);
    sample->userSeconds = (double)user / ticksPerSecond;
    sample->systemSeconds = (double)system / ticksPerSecond;
}

struct processSample sampleProcess(pid_t pid) {
    struct processSample sample = {0};
    addTimes(pid, &sample);
    char path[64], text[256];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    int64_t pages;
    if (readProc(path, text, sizeof text) && sscanf(text, "%*d %" SCNd64, &pages) == 1) {
        sample.residentBytes = pages * sysconf(_SC_PAGESIZE);
    }
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    if (!threads) failErrno(path);
    for (struct dirent *entry; (entry = readdir(threads));) {
        if (entry->d_name[0] != '.') addThread(pid, entry->d_name, &sample);
    }
    closedir(threads);
    return sample;
}
