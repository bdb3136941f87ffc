// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_SIGNALS_H
#define CGYRE_SIGNALS_H

#include <stdbool.h>

// From a signal to a loop: the handler marks the signal and writes to the eventfd of the loop that
// watches it, the two things that are safe inside a signal handler. The loop takes the marks on its
// own thread. A signal is watched by one loop at a time.

// Starts watching `signal` and tells it by writing to `eventfd`. The disposition that was there is
// kept for gyre_signal_unwatch. Returns 0, or -errno; -EBUSY when another eventfd watches it.
int gyre_signal_watch(int signal, int eventfd);

// Stops watching. With `restore` the disposition from before the watch comes back, otherwise the
// system's default does.
void gyre_signal_unwatch(int signal, bool restore);

// Whether `signal` arrived since the last call; clears the mark.
bool gyre_signal_take(int signal);

// In the child of a fork: watches no signal any more, and gives each its disposition back from
// before. The loops that watched them are the parent's.
void gyre_signals_forget(void);

// The largest signal number plus one.
int gyre_signal_count(void);

#endif
