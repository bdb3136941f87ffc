// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "load.h"

#include <inttypes.h>
#include <stdio.h>

struct snapshot takeSnapshot(const struct options *options, bool isStart) {
    struct snapshot snapshot = {0};
    // The server has nothing to do while it is looked at, so the time belongs outside.
    if (!isStart) snapshot.time = nowNanoseconds();
    if (options->serverPID) snapshot.server = sampleProcess(options->serverPID);
    getrusage(RUSAGE_SELF, &snapshot.own);
    if (isStart) snapshot.time = nowNanoseconds();
    return snapshot;
}

static double secondsOf(struct timeval time) {
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

static void printServer(const struct processSample *start, const struct processSample *end) {
    printf(",\"server_cpu_seconds\":%.6f,\"server_user_seconds\":%.2f"
           ",\"server_system_seconds\":%.2f,\"server_run_delay_seconds\":%.6f"
           ",\"server_rss_bytes\":%" PRId64
           ",\"server_voluntary_switches\":%" PRId64
           ",\"server_involuntary_switches\":%" PRId64,
           end->cpuSeconds - start->cpuSeconds, end->userSeconds - start->userSeconds,
           end->systemSeconds - start->systemSeconds,
           end->runDelaySeconds - start->runDelaySeconds, end->residentBytes,
           end->voluntarySwitches - start->voluntarySwitches,
           end->involuntarySwitches - start->involuntarySwitches);
}

void printResult(const struct options *options, const struct snapshot *start,
                 const struct snapshot *end, uint64_t messages, uint64_t losses) {
    double seconds = (double)(end->time - start->time) / 1e9;
    double user = secondsOf(end->own.ru_utime) - secondsOf(start->own.ru_utime);
    double system = secondsOf(end->own.ru_stime) - secondsOf(start->own.ru_stime);
    if (options->isUDP && losses * 100 > messages) {
        fail("%" PRIu64 " of %" PRIu64 " datagrams got lost", losses, messages);
    }
    printf("{\"connections\":%d,\"size\":%zu,\"seconds\":%.6f,\"messages\":%" PRIu64
           ",\"messages_per_second\":%.1f,\"lost\":%" PRIu64, options->connections,
           options->messageBytes, seconds, messages, (double)messages / seconds, losses);
    printf(",\"latency_ns\":{\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64
           ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 "}",
           latencyAt(0.5), latencyAt(0.9), latencyAt(0.99), latencyAt(0.999), latencyAt(1));
    printf(",\"cpu_user_seconds\":%.6f,\"cpu_system_seconds\":%.6f,\"cpu_share\":%.4f"
           ",\"involuntary_switches\":%ld", user, system, (user + system) / seconds,
           end->own.ru_nivcsw - start->own.ru_nivcsw);
    if (options->serverPID) printServer(&start->server, &end->server);
    printf("}\n");
}
