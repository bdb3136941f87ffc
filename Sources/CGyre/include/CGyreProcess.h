// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_PROCESS_H
#define CGYRE_PROCESS_H

#include "CGyreNullability.h"

#include <stdbool.h>
#include <sys/types.h>

// A process to start. Lists end with NULL.
struct gyre_spawn {
    // A path, or a name to look for along the PATH of the environment it gets.
    const char *_Nullable program;
    char *_Nullable const *_Nullable arguments;
    // NULL for this process's own.
    char *_Nullable const *_Nullable environment;
    // NULL for this process's own.
    const char *_Nullable directory;
    // What become its standard streams, in their order; negative for this process's own.
    int streams[3];
    // What it gets besides, under the same numbers: open, above the streams, in rising order.
    const int *_Nullable passed;
    int passed_count;
    bool new_session;
    // The group to join, 0 for a new one, negative for this process's own.
    pid_t group;
};

// Starts a process. It inherits no other descriptor than these, blocks no signal, and does not
// ignore those that programs written for sockets ignore. Returns 0, or the errno of what failed,
// the exec included, and then no process is left. `pidfd` is negative when the process ended and
// was collected by somebody else already.
int gyre_spawn(const struct gyre_spawn *_Nonnull spawn, pid_t *_Nonnull pid, int *_Nonnull pidfd);

// Collects the process of `pidfd` if it has ended. Returns 1 and its exit status, or the negative
// number of the signal that ended it; 0 when it still runs; or -errno.
int gyre_process_collect(int pidfd, bool waits, int *_Nonnull status);

// Sends a signal to the process of `pidfd`, never to another. Returns 0 or -errno.
int gyre_process_signal(int pidfd, int signal);

// A pipe whose ends are closed on exec: the end to read from, then the other. Returns 0 or -errno.
int gyre_pipe(int *_Nonnull ends);

// A copy of `fd` above the standard streams that is closed on exec. Returns it or -errno.
int gyre_copy_descriptor(int fd);

#endif
