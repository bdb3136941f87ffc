// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_THREAD_H
#define CGYRE_THREAD_H

#include "CGyreNullability.h"

#include <stdbool.h>
#include <stdint.h>

// The loop that runs on this thread, or NULL. Swift has no thread-local storage of its own. The
// access is inline, and the model spares it the call that position-independent code would make, so
// that asking costs two loads: every scheduling call asks.
extern __thread void *_Nullable gyre_thread_current_loop
    __attribute__((tls_model("initial-exec")));

static inline void *_Nullable gyre_current_loop(void) {
    return gyre_thread_current_loop;
}

// The task of Swift that runs on this thread, as a number; 0 outside of tasks. Swift's own
// withUnsafeCurrentTask counts a reference to the task and takes it back, at every call.
extern void *_Nullable swift_task_getCurrent(void)
#ifdef __clang__
    __attribute__((swiftcall))
#endif
    ;

static inline uintptr_t gyre_current_swift_task(void) {
    return (uintptr_t)swift_task_getCurrent();
}

// A number that no other living thread has.
static inline uintptr_t gyre_thread_identity(void) {
    return (uintptr_t)&gyre_thread_current_loop;
}

// Whether this is the thread that the process began with.
bool gyre_is_main_thread(void);

// How often this process's line forked since the program began: another number than before says
// that a fork made this process meanwhile.
extern uint32_t gyre_fork_count;

static inline uint32_t gyre_fork_generation(void) {
    return gyre_fork_count;
}

// Sets what is called in the child of a fork with the loop that ran on the forking thread. There it
// is the current one no more.
void gyre_set_fork_handler(void (*_Nonnull handler)(void *_Nonnull loop));

static inline void gyre_set_current_loop(void *_Nullable loop) {
    gyre_thread_current_loop = loop;
}

#endif
