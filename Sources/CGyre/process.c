// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "CGyreProcess.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

// Closes what is above the standard streams, but for what is passed.
static int add_passed(posix_spawn_file_actions_t *actions, const struct gyre_spawn *spawn) {
    int error = 0, next = 3;
    for (int index = 0; index < spawn->passed_count && error == 0; index++) {
        int fd = spawn->passed[index];
        for (; next < fd && error == 0; next++)
            error = posix_spawn_file_actions_addclose(actions, next);
        // Onto itself: then it is not closed on exec (posix_spawn_file_actions_adddup2, POSIX).
        if (error == 0)
            error = posix_spawn_file_actions_adddup2(actions, fd, fd);
        next = fd + 1;
    }
    return error == 0 ? posix_spawn_file_actions_addclosefrom_np(actions, next) : error;
}

static int add_actions(posix_spawn_file_actions_t *actions, const struct gyre_spawn *spawn) {
    int error = 0;
    if (spawn->directory != NULL)
        error = posix_spawn_file_actions_addchdir_np(actions, spawn->directory);
    for (int stream = 0; stream < 3 && error == 0; stream++) {
        if (spawn->streams[stream] >= 0)
            error = posix_spawn_file_actions_adddup2(actions, spawn->streams[stream], stream);
    }
    return error == 0 ? add_passed(actions, spawn) : error;
}

static int set_attributes(posix_spawnattr_t *attributes, const struct gyre_spawn *spawn) {
    sigset_t none, defaults;
    sigemptyset(&none);
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE);
    sigaddset(&defaults, SIGXFSZ);
    short flags = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF;
    int error = posix_spawnattr_setsigmask(attributes, &none);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &defaults);
    if (spawn->new_session)
        flags |= POSIX_SPAWN_SETSID;
    if (spawn->group >= 0) {
        flags |= POSIX_SPAWN_SETPGROUP;
        if (error == 0)
            error = posix_spawnattr_setpgroup(attributes, spawn->group);
    }
    return error == 0 ? posix_spawnattr_setflags(attributes, flags) : error;
}

static const char *path_of(char *const *environment) {
    for (; environment != NULL && *environment != NULL; environment++) {
        if (strncmp(*environment, "PATH=", 5) == 0)
            return *environment + 5;
    }
    return "/bin:/usr/bin";
}

// As execvpe finds a program, but along the PATH that the program gets.
static int spawn_along_path(
    const struct gyre_spawn *spawn, char *const *environment,
    const posix_spawn_file_actions_t *actions, const posix_spawnattr_t *attributes, pid_t *pid) {
    if (strchr(spawn->program, '/') != NULL)
        return posix_spawn(
            pid, spawn->program, actions, attributes, spawn->arguments, environment);
    if (*spawn->program == '\0')
        return ENOENT;
    int result = ENOENT;
    for (const char *folder = path_of(environment); folder != NULL;) {
        const char *end = strchrnul(folder, ':');
        char path[PATH_MAX];
        size_t length = (size_t)(end - folder);
        if (length + strlen(spawn->program) + 2 <= sizeof path) {
            memcpy(path, folder, length);
            if (length > 0)
                path[length++] = '/';
            strcpy(path + length, spawn->program);
            // Of a relative folder only the process itself can tell, in its own directory.
            int error = *path == '/' && access(path, X_OK) != 0
                ? errno
                : posix_spawn(pid, path, actions, attributes, spawn->arguments, environment);
            if (error == EACCES)
                result = EACCES;
            else if (error != ENOENT && error != ENOTDIR)
                return error;
        }
        folder = *end == ':' ? end + 1 : NULL;
    }
    return result;
}

int gyre_spawn(const struct gyre_spawn *spawn, pid_t *pid, int *pidfd) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = posix_spawn_file_actions_init(&actions);
    if (error != 0)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = add_actions(&actions, spawn);
        if (error == 0)
            error = set_attributes(&attributes, spawn);
        char *const *environment = spawn->environment != NULL ? spawn->environment : environ;
        if (error == 0)
            error = spawn_along_path(spawn, environment, &actions, &attributes, pid);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0)
        return error;
    // The number is still the process's: nobody has collected it, unless the program has others
    // collect what they do not know.
    *pidfd = (int)syscall(SYS_pidfd_open, *pid, 0);
    if (*pidfd >= 0 || errno == ESRCH)
        return 0;
    error = errno;
    kill(*pid, SIGKILL);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return error;
}

int gyre_process_collect(int pidfd, bool waits, int *status) {
    siginfo_t information = {0};
    int result;
    do {
        result = waitid(
            (idtype_t)P_PIDFD, (id_t)pidfd, &information, WEXITED | (waits ? 0 : WNOHANG));
    } while (result != 0 && errno == EINTR);
    if (result != 0)
        return -errno;
    if (information.si_pid == 0)
        return 0;
    *status = information.si_code == CLD_EXITED ? information.si_status : -information.si_status;
    return 1;
}

int gyre_process_signal(int pidfd, int signal) {
    return syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) == 0 ? 0 : -errno;
}

int gyre_pipe(int *ends) {
    return pipe2(ends, O_CLOEXEC) == 0 ? 0 : -errno;
}

int gyre_copy_descriptor(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return copy >= 0 ? copy : -errno;
}
