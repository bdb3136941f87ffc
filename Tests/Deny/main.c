// SPDX-License-Identifier: Apache-2.0
//
// gyre-deny: runs a command in which chosen system calls fail with chosen errors.
//
//     gyre-deny io_uring_setup=EPERM -- CMD ARGUMENTS...
//     gyre-deny 'io_uring_register[1:22]=ENOMEM' -- CMD
//
// The second form denies only calls whose argument 1 (counted from 0) is 22. It is done with a
// seccomp filter, as containers do it, which the command and everything it starts inherits.

#define _GNU_SOURCE
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "unknown architecture"
#endif

enum { rules_max = 64, instructions_per_rule = 5 };

struct rule {
    long number;
    int error;
    // The argument to compare, or -1.
    int argument;
    uint32_t value;
};

static const struct {
    const char *name;
    long number;
} calls[] = {
    {"accept4", SYS_accept4},
    {"bind", SYS_bind},
    {"connect", SYS_connect},
    {"epoll_create1", SYS_epoll_create1},
    {"epoll_ctl", SYS_epoll_ctl},
    {"epoll_pwait", SYS_epoll_pwait},
    {"epoll_pwait2", SYS_epoll_pwait2},
#ifdef SYS_epoll_wait
    {"epoll_wait", SYS_epoll_wait},
#endif
    {"eventfd2", SYS_eventfd2},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"io_uring_setup", SYS_io_uring_setup},
    {"listen", SYS_listen},
    {"pipe2", SYS_pipe2},
    {"recvfrom", SYS_recvfrom},
    {"sendmsg", SYS_sendmsg},
    {"sendto", SYS_sendto},
    {"setsockopt", SYS_setsockopt},
    {"socket", SYS_socket},
    {"timerfd_create", SYS_timerfd_create},
};

static void usage(const char *problem, const char *subject) {
    fprintf(stderr, "gyre-deny: %s%s\n", problem, subject);
    fputs("usage: gyre-deny CALL=ERRNO|CALL[ARGUMENT:VALUE]=ERRNO... -- COMMAND...\n", stderr);
    fputs("calls:", stderr);
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++)
        fprintf(stderr, " %s", calls[i].name);
    fputc('\n', stderr);
    exit(2);
}

static int error_named(const char *name) {
    for (int error = 1; error < 256; error++) {
        const char *known = strerrorname_np(error);
        if (known != NULL && strcmp(known, name) == 0)
            return error;
    }
    usage("unknown error ", name);
    return 0;
}

static long call_named(const char *name, size_t length) {
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strlen(calls[i].name) == length && strncmp(calls[i].name, name, length) == 0)
            return calls[i].number;
    }
    usage("unknown call in ", name);
    return -1;
}

static struct rule parse(const char *text) {
    const char *equals = strchr(text, '=');
    if (equals == NULL)
        usage("no error in ", text);
    struct rule rule = {.error = error_named(equals + 1), .argument = -1};
    size_t length = strcspn(text, "[=");
    rule.number = call_named(text, length);
    if (text[length] == '[') {
        char end = 0;
        if (sscanf(text + length, "[%d:%u%c", &rule.argument, &rule.value, &end) != 3 || end != ']'
            || rule.argument < 0 || rule.argument > 5)
            usage("cannot read ", text);
    }
    return rule;
}

static void install(const struct rule *rules, size_t count) {
    struct sock_filter filter[rules_max * instructions_per_rule + 5];
    unsigned short used = 0;
    const uint32_t architecture = offsetof(struct seccomp_data, arch);
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, architecture);
    filter[used++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0);
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    for (size_t i = 0; i < count; i++) {
        const struct rule *rule = &rules[i];
        const uint32_t number = offsetof(struct seccomp_data, nr);
        const uint32_t refusal = SECCOMP_RET_ERRNO | (uint32_t)rule->error;
        bool compares = rule->argument >= 0;
        filter[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, number);
        filter[used++] = (struct sock_filter)BPF_JUMP(
            BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)rule->number, 0, compares ? 3 : 1);
        if (compares) {
            // The low half of the argument, on a little-endian machine.
            const uint32_t argument = (uint32_t)(offsetof(struct seccomp_data, args)
                + (size_t)rule->argument * sizeof(uint64_t));
            filter[used++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument);
            filter[used++] = (struct sock_filter)BPF_JUMP(
                BPF_JMP | BPF_JEQ | BPF_K, rule->value, 0, 1);
        }
        filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, refusal);
    }
    filter[used++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog program = {.len = used, .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        fprintf(stderr, "gyre-deny: cannot install the filter: %s\n", strerror(errno));
        exit(126);
    }
}

int main(int count, char **arguments) {
    struct rule rules[rules_max];
    size_t used = 0;
    int next = 1;
    for (; next < count && strcmp(arguments[next], "--") != 0; next++) {
        if (used == rules_max)
            usage("too many rules: ", arguments[next]);
        rules[used++] = parse(arguments[next]);
    }
    if (next + 1 >= count)
        usage("no command", "");
    install(rules, used);
    execvp(arguments[next + 1], &arguments[next + 1]);
    fprintf(stderr, "gyre-deny: %s: %s\n", arguments[next + 1], strerror(errno));
    return 127;
}
