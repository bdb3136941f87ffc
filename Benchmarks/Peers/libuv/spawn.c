// SPDX-License-Identifier: Apache-2.0
//
// Processes: one for each byte that comes, and the byte goes back when it has ended.

#define _GNU_SOURCE
#include "peer.h"

#include <stdlib.h>

struct process {
    uv_process_t handle;
    uv_stream_t *output;
    char byte;
};

static const char *program;
static char receiveBuffer[64];

static void onClosed(uv_handle_t *handle) {
    free(handle);
}

static void onExit(uv_process_t *handle, int64_t status, int signal) {
    struct process *process = (struct process *)handle;
    if (status != 0 || signal != 0) process->byte ^= 1;
    uv_buf_t answer = uv_buf_init(&process->byte, 1);
    int count = uv_try_write(process->output, &answer, 1);
    if (count != 1) fail("write", count);
    uv_close((uv_handle_t *)handle, onClosed);
}

static void start(uv_stream_t *output, char byte) {
    struct process *process = malloc(sizeof *process);
    if (!process) fail("malloc", UV_ENOMEM);
    process->output = output;
    process->byte = byte;
    // Without streams they would be /dev/null, which costs calls that the others do not make.
    uv_stdio_container_t streams[3];
    for (int i = 0; i < 3; i++) {
        streams[i] = (uv_stdio_container_t){.flags = UV_INHERIT_FD, .data.fd = i};
    }
    char *arguments[] = {(char *)program, NULL};
    uv_process_options_t options = {.file = program, .args = arguments, .exit_cb = onExit,
                                    .stdio = streams, .stdio_count = 3};
    int status = uv_spawn(output->loop, &process->handle, &options);
    if (status != 0) fail(program, status);
}

static void onAllocate(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(receiveBuffer, sizeof receiveBuffer);
}

static void onRead(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    if (count < 0) fail("read", (int)count);
    for (ssize_t i = 0; i < count; i++) start(stream->data, buffer->base[i]);
}

int startSpawning(uv_stream_t *input, const char *givenProgram) {
    program = givenProgram;
    return uv_read_start(input, onAllocate, onRead);
}
