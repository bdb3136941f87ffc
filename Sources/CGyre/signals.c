// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreSignals.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

struct watch {
    // The eventfd plus one, so that zero, the state at start, means unwatched.
    _Atomic int eventfd_plus_one;
    atomic_bool pending;
    // Handlers that are between reading the eventfd and having written to it, on any thread.
    atomic_int delivering;
    struct sigaction before;
};

static struct watch watches[NSIG];

static void on_signal(int signal) {
    int saved_errno = errno;
    struct watch *watch = &watches[signal];
    atomic_fetch_add(&watch->delivering, 1);
    atomic_store(&watch->pending, true);
    int eventfd = atomic_load(&watch->eventfd_plus_one) - 1;
    if (eventfd >= 0) {
        uint64_t one = 1;
        // A full counter (EAGAIN) is fine: the loop is already told.
        ssize_t written = write(eventfd, &one, sizeof one);
        (void)written;
    }
    atomic_fetch_sub(&watch->delivering, 1);
    errno = saved_errno;
}

int gyre_signal_watch(int signal, int eventfd) {
    if (signal <= 0 || signal >= NSIG)
        return -EINVAL;
    struct watch *watch = &watches[signal];
    int unwatched = 0;
    if (!atomic_compare_exchange_strong(&watch->eventfd_plus_one, &unwatched, eventfd + 1))
        return unwatched == eventfd + 1 ? 0 : -EBUSY;
    atomic_store(&watch->pending, false);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigfillset(&action.sa_mask);
    if (sigaction(signal, &action, &watch->before) != 0) {
        int error = errno;
        atomic_store(&watch->eventfd_plus_one, 0);
        return -error;
    }
    return 0;
}

void gyre_signal_unwatch(int signal, bool restore) {
    struct watch *watch = &watches[signal];
    if (atomic_load(&watch->eventfd_plus_one) == 0)
        return;
    struct sigaction fallback = {.sa_handler = SIG_DFL};
    // The disposition goes first: a signal between the two lines still finds a valid eventfd.
    sigaction(signal, restore ? &watch->before : &fallback, NULL);
    atomic_store(&watch->eventfd_plus_one, 0);
    // Another thread may be inside the handler; the caller is about to close the eventfd, whose
    // number somebody else may then get.
    while (atomic_load(&watch->delivering) != 0)
        sched_yield();
}

bool gyre_signal_take(int signal) {
    return atomic_exchange(&watches[signal].pending, false);
}

void gyre_signals_forget(void) {
    for (int signal = 1; signal < NSIG; signal++) {
        struct watch *watch = &watches[signal];
        atomic_store(&watch->delivering, 0);
        if (atomic_load(&watch->eventfd_plus_one) == 0)
            continue;
        sigaction(signal, &watch->before, NULL);
        atomic_store(&watch->eventfd_plus_one, 0);
    }
}

int gyre_signal_count(void) {
    return NSIG;
}
