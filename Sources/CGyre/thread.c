// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreThread.h"

#include "CGyreSignals.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

__thread void *gyre_thread_current_loop = NULL;
uint32_t gyre_fork_count = 0;

typedef void (*fork_handler)(void *loop);
static _Atomic(fork_handler) handler_of_forks = NULL;

// In the child, on its only thread.
static void after_fork(void) {
    gyre_fork_count++;
    gyre_signals_forget();
    void *loop = gyre_thread_current_loop;
    gyre_thread_current_loop = NULL;
    fork_handler handler = atomic_load(&handler_of_forks);
    if (loop != NULL && handler != NULL)
        handler(loop);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, after_fork);
}

void gyre_set_fork_handler(void (*handler)(void *loop)) {
    atomic_store(&handler_of_forks, handler);
}

bool gyre_is_main_thread(void) {
    return gettid() == getpid();
}
