// SPDX-License-Identifier: Apache-2.0
//
// Whether this machine gives an io_uring, asked without any of Gyre's code, so that a fault of
// Gyre's does not pass for a machine without rings. Prints the reason and fails when it does not.

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Linux 6.0, as multishot receive, which Gyre cannot do without.
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif

int main(void) {
    struct io_uring_params parameters = {.flags = IORING_SETUP_SINGLE_ISSUER};
    long ring = syscall(SYS_io_uring_setup, 8, &parameters);
    if (ring < 0) {
        int error = errno;
        printf(
            "%s (%s)\n", strerror(error),
            error == EINVAL ? "older than Linux 6.0" : "refused by the kernel or its settings");
        return 1;
    }
    close((int)ring);
    return 0;
}
