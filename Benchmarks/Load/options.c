// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "load.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

static const char usageText[] =
    "usage: gyre-load --port N [options]           ping-pong on all connections, bytes checked\n"
    "       gyre-load --idle N --port N [options]  opens N connections and only holds them\n"
    "       gyre-load --exec-in-namespace [--congestion NAME] -- COMMAND [ARGUMENT...]\n"
    "\n"
    "  --host IPV4          of the server (127.0.0.1)\n"
    "  --port N             of the server\n"
    "  --unix PATH          of the server's Unix socket, instead of host and port\n"
    "  --udp                a message is a datagram; what gets lost is sent again, and counted\n"
    "  --pipes IN:OUT,...   inherited descriptors instead of connections, IN to read answers from\n"
    "  --accept             opens and resets a connection for each message of one byte\n"
    "  --connections N      each has one message on its way (10)\n"
    "  --size BYTES         of a message (1024)\n"
    "  --seconds S          timed phase, or how long idle connections are held (5)\n"
    "  --warmup S           before the timed phase (0.5)\n"
    "  --timeout S          for connecting and for any one answer (10)\n"
    "  --congestion NAME    TCP congestion control (cubic, else reno)\n"
    "  --server-pid PID     sample this process's CPU at the ends of the timed phase\n"
    "  --cpu N              run on this CPU only\n"
    "  --idle N             hold N idle connections; says \"holding N\" once all are connected\n"
    "  --touch              with --idle: one checked byte on each, so all are surely accepted\n"
    "  --exec-in-namespace  run COMMAND in a new network namespace that has only loopback, with\n"
    "                       its own default congestion control\n";

static _Noreturn void usage(const char *reason) {
    fprintf(stderr, "gyre-load: %s\n\n%s", reason, usageText);
    exit(exitUsage);
}

static double parseNumber(const char *text, double low, double high, const char *name) {
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != 0 || !(value >= low && value <= high)) {
        fprintf(stderr, "gyre-load: %s takes a number from %g to %g\n", name, low, high);
        exit(exitUsage);
    }
    return value;
}

static void parsePipes(const char *text, struct options *options) {
    for (const char *rest = text;; rest++) {
        struct pipePair pair;
        int length = 0;
        if (options->pipesCount == pipesMax ||
            sscanf(rest, "%d:%d%n", &pair.input, &pair.output, &length) != 2) {
            usage("--pipes takes up to 256 of IN:OUT, separated by commas");
        }
        options->pipes[options->pipesCount++] = pair;
        rest += length;
        if (*rest == 0) return;
        if (*rest != ',') usage("--pipes takes IN:OUT, separated by commas");
    }
}

enum name {
    help, host, port, connections, size, seconds, warmup, timeout, congestion, serverPID, cpu, idle,
    touch, namespace, unixPath, udp, pipes, accepting
};

static const struct option names[] = {
    {"help", no_argument, NULL, help},
    {"host", required_argument, NULL, host},
    {"port", required_argument, NULL, port},
    {"connections", required_argument, NULL, connections},
    {"size", required_argument, NULL, size},
    {"seconds", required_argument, NULL, seconds},
    {"warmup", required_argument, NULL, warmup},
    {"timeout", required_argument, NULL, timeout},
    {"congestion", required_argument, NULL, congestion},
    {"server-pid", required_argument, NULL, serverPID},
    {"cpu", required_argument, NULL, cpu},
    {"idle", required_argument, NULL, idle},
    {"touch", no_argument, NULL, touch},
    {"exec-in-namespace", no_argument, NULL, namespace},
    {"unix", required_argument, NULL, unixPath},
    {"udp", no_argument, NULL, udp},
    {"pipes", required_argument, NULL, pipes},
    {"accept", no_argument, NULL, accepting},
    {NULL, 0, NULL, 0},
};

static void apply(int name, const char *value, struct options *options) {
    switch (name) {
    case help:
        fputs(usageText, stdout);
        exit(0);
    case host: options->host = value; break;
    case port: options->port = (int)parseNumber(value, 1, 65535, "--port"); break;
    case connections:
        options->connections = (int)parseNumber(value, 1, 65536, "--connections");
        break;
    case size: options->messageBytes = (size_t)parseNumber(value, 1, 1 << 28, "--size"); break;
    case seconds: options->seconds = parseNumber(value, 0.01, 3600, "--seconds"); break;
    case warmup: options->warmupSeconds = parseNumber(value, 0, 3600, "--warmup"); break;
    case timeout: options->timeoutSeconds = parseNumber(value, 0.01, 3600, "--timeout"); break;
    case congestion: options->congestion = value; break;
    case serverPID:
        options->serverPID = (pid_t)parseNumber(value, 1, 1 << 30, "--server-pid");
        break;
    case cpu: options->cpu = (int)parseNumber(value, 0, 1023, "--cpu"); break;
    case idle: options->idleConnections = (int)parseNumber(value, 1, 1 << 20, "--idle"); break;
    case touch: options->isTouchingIdle = true; break;
    case unixPath: options->path = value; break;
    case udp: options->isUDP = true; break;
    case pipes: parsePipes(value, options); break;
    case accepting: options->isAccepting = true; break;
    case namespace: options->isInNamespace = true; break;
    default: usage("unknown option, or a value is missing");
    }
}

struct options parseOptions(int argc, char **argv) {
    struct options options = {
        .host = "127.0.0.1",
        .connections = 10,
        .messageBytes = 1024,
        .seconds = 5,
        .warmupSeconds = 0.5,
        .timeoutSeconds = 10,
        .cpu = -1,
    };
    opterr = 0;
    // The + stops at the first word that is no option: the rest belongs to COMMAND.
    for (int name; (name = getopt_long(argc, argv, "+", names, NULL)) != -1;) {
        apply(name, optarg, &options);
    }
    options.command = argv + optind;
    if (options.isInNamespace) {
        if (optind == argc) usage("--exec-in-namespace needs a command");
        return options;
    }
    if (optind != argc) usage("unexpected argument");
    if (options.pipesCount > 0) options.connections = options.pipesCount;
    if (options.port == 0 && !options.path && options.pipesCount == 0) usage("--port is missing");
    if (options.isAccepting) options.messageBytes = 1;
    if (options.isAccepting && (options.port == 0 || options.isUDP)) usage("--accept is for TCP");
    if (options.isUDP && options.messageBytes > 65507) usage("a datagram has at most 65507 bytes");
    return options;
}
