// SPDX-License-Identifier: Apache-2.0
//
// A network namespace of our own, where TCP's default congestion control can be chosen without
// touching the machine's. That also covers servers which offer no option for it (libuv, SwiftNIO,
// CPython): server and load generator are both started inside.
//
// In any namespace but the first the kernel accepts as default only algorithms that the machine's
// net.ipv4.tcp_allowed_congestion_control lists, even from root. reno is always among them, cubic
// often not; on a loopback without loss both behave the same.

#define _GNU_SOURCE
#include "load.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static bool writeFile(const char *path, const char *text) {
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    if (descriptor < 0) return false;
    ssize_t count = write(descriptor, text, strlen(text));
    int error = errno;
    close(descriptor);
    errno = error;
    return count == (ssize_t)strlen(text);
}

/// Without root, a user namespace gives the rights over a network namespace inside it.
static void enterNamespaces(void) {
    if (unshare(CLONE_NEWNET) == 0) return;
    if (errno != EPERM) failErrno("new network namespace");
    char userMap[64], groupMap[64];
    snprintf(userMap, sizeof userMap, "%d %d 1", (int)geteuid(), (int)geteuid());
    snprintf(groupMap, sizeof groupMap, "%d %d 1", (int)getegid(), (int)getegid());
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0) failErrno("new user and network namespace");
    if (!writeFile("/proc/self/uid_map", userMap)) failErrno("/proc/self/uid_map");
    // The kernel lets an ordinary user map groups only after giving up setgroups.
    if (!writeFile("/proc/self/setgroups", "deny")) failErrno("/proc/self/setgroups");
    if (!writeFile("/proc/self/gid_map", groupMap)) failErrno("/proc/self/gid_map");
}

static void bringLoopbackUp(void) {
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {.ifr_name = "lo"};
    if (descriptor < 0 || ioctl(descriptor, SIOCGIFFLAGS, &request) != 0) failErrno("loopback");
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    if (ioctl(descriptor, SIOCSIFFLAGS, &request) != 0) failErrno("loopback");
    close(descriptor);
}

/// In /proc/sys/net a process sees and sets its own namespace's values.
static void setCongestion(const char *name) {
    static const char path[] = "/proc/sys/net/ipv4/tcp_congestion_control";
    if (writeFile(path, name ? name : "cubic")) return;
    if (name) fail("congestion control %s in a namespace: %s", name, strerror(errno));
    if (!writeFile(path, "reno")) failErrno(path);
}

void execInNamespace(const struct options *options) {
    enterNamespaces();
    bringLoopbackUp();
    setCongestion(options->congestion);
    // Missing rights here only mean fewer connections from one address.
    writeFile("/proc/sys/net/ipv4/ip_local_port_range", "10000 65000");
    writeFile("/proc/sys/net/core/somaxconn", "4096");
    execvp(options->command[0], options->command);
    failErrno(options->command[0]);
}
