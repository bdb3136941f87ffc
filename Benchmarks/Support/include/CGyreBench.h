// SPDX-License-Identifier: Apache-2.0
//
// What the benchmark needs of the system and Swift's Glibc module does not show: GNU extensions,
// and the moment between fork and exec.

#ifndef CGYRE_BENCH_H
#define CGYRE_BENCH_H

#include <stdint.h>
#include <sys/types.h>

struct bench_child {
    pid_t pid;
    // The reading end of its standard output.
    int output;
    // A file in memory that its standard error goes to.
    int errors;
};

// Starts argv[0] with the arguments argv, which end with NULL, on the CPU `cpu` only (any when
// negative). It is killed when the calling thread ends. It inherits the `count` descriptors
// `inherited`, under the same numbers. Returns 0, or the errno of what failed, the exec included.
int bench_spawn(
    char *const *argv, int cpu, const int *inherited, int count, struct bench_child *child);

// Waits until the child has ended, but leaves it as a zombie whose /proc entries can still be read.
int bench_await_end(pid_t pid);

// Collects an ended child. Returns its exit status, or 128 plus the signal that killed it. The CPU
// time it used goes to `cpu_seconds`.
int bench_collect(pid_t pid, double *cpu_seconds);

// CPU time of a process so far, in seconds; negative when there is no such process.
double bench_process_cpu(pid_t pid);

// CPU time of the ended children of a process that it has collected, in seconds; negative when
// there is no such process.
double bench_children_cpu(pid_t pid);

// CPU time of the calling thread, in nanoseconds.
int64_t bench_thread_cpu(void);

// The CPUs that this process may use, lowest first. Returns how many there are, of which the first
// `capacity` are in `cpus`.
int bench_allowed_cpus(int *cpus, int capacity);

// Lets the calling thread run on `cpu` only. Returns 0 or the errno.
int bench_pin_thread(int cpu);

// The kernel's number of the calling thread.
int bench_thread_id(void);

// A pipe whose ends, the reading one first, nobody inherits. Returns 0 or the errno.
int bench_pipe(int ends[2]);

// Bytes that malloc has handed out and not got back, those it mapped singly included.
int64_t bench_allocated_bytes(void);

// How often the calling thread has asked for heap memory; negative where nothing counts that.
int64_t bench_allocations(void);

// Raises the limit of descriptors as far as it goes. Returns the new limit.
int64_t bench_raise_descriptor_limit(void);

#endif
