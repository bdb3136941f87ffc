// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int listenAtPath(const char *path, int backlog) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    unlink(path);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, backlog) != 0) {
        fprintf(stderr, "gyre-peer-raw-io-uring: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    printf("listening on %s\n", path);
    fflush(stdout);
    return listener;
}
