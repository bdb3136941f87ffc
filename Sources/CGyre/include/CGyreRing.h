// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_RING_H
#define CGYRE_RING_H

#include "CGyreNullability.h"

#include <stdbool.h>
#include <stdint.h>

// One io_uring with one ring of provided receive buffers. Everything but creation belongs to the
// thread that made the first enter: the kernel refuses others (single issuer), and the requests of
// a thread die with it.
//
// Functions that can fail return 0 or -errno.

struct gyre_ring;

struct gyre_ring_options {
    uint32_t submission_entries;
    uint32_t completion_entries;
    // Receive buffers when the kernel can fill one in several steps, and when it can not.
    uint32_t incremental_buffer_count;
    uint32_t incremental_buffer_size;
    uint32_t plain_buffer_count;
    uint32_t plain_buffer_size;
    // Does without what kernels before 6.12 do not have, so that the way for those can be tested.
    bool avoids_new_features;
};

// What the running kernel gave. Found by asking it, never by its version.
struct gyre_ring_features {
    bool single_issuer;
    bool deferred_task_work;
    bool cooperative_task_work;
    bool multishot_receive;
    bool incremental_buffers;
    bool no_iowait;
    uint32_t submission_entries;
    uint32_t completion_entries;
    uint32_t buffer_count;
    uint32_t buffer_size;
};

struct gyre_completion {
    uint64_t user_data;
    int32_t result;
    // Further completions of the same request follow.
    bool more;
    // The buffer is used up: give it back with gyre_ring_return_buffer once its bytes were read.
    bool returns_buffer;
    uint16_t buffer;
    // The received bytes, `result` of them, or NULL when no buffer was used.
    const void *_Nullable bytes;
};

// Makes a ring. It is born disabled; the first enter enables it and binds it to that thread.
int gyre_ring_create(
    const struct gyre_ring_options *_Nonnull options, struct gyre_ring *_Nullable *_Nonnull ring);
// Ends every request. What they completed with can still be drained.
void gyre_ring_end_requests(struct gyre_ring *_Nonnull ring);
void gyre_ring_destroy(struct gyre_ring *_Nonnull ring);
struct gyre_ring_features gyre_ring_features(const struct gyre_ring *_Nonnull ring);

// The descriptor of the ring: readable when completions wait. For embedding in another loop.
int gyre_ring_descriptor(const struct gyre_ring *_Nonnull ring);

// Hands the queued requests to the kernel; with `wait`, until a completion is there or
// `nanoseconds` have passed (for ever when negative). An interrupted or timed-out wait is success.
// Makes no system call when there is nothing to hand over and nothing to wait for.
int gyre_ring_enter(struct gyre_ring *_Nonnull ring, bool wait, int64_t nanoseconds);

// How many completions wait to be taken.
uint32_t gyre_ring_completion_count(const struct gyre_ring *_Nonnull ring);

// Takes up to `capacity` completions, oldest first.
uint32_t gyre_ring_drain(
    struct gyre_ring *_Nonnull ring, struct gyre_completion *_Nonnull completions,
    uint32_t capacity);

// Buffers given back are visible to the kernel after gyre_ring_publish_buffers.
void gyre_ring_return_buffer(struct gyre_ring *_Nonnull ring, uint16_t buffer);
void gyre_ring_publish_buffers(struct gyre_ring *_Nonnull ring);

// Requests. Each returns false when the submission queue is full and the kernel takes nothing from
// it at the moment; nothing was queued then, and the call can be made again later.
bool gyre_ring_accept(struct gyre_ring *_Nonnull ring, uint64_t user_data, int fd, int flags);
bool gyre_ring_receive(struct gyre_ring *_Nonnull ring, uint64_t user_data, int fd);
bool gyre_ring_send(
    struct gyre_ring *_Nonnull ring, uint64_t user_data, int fd, const void *_Nullable bytes,
    uint64_t count, int flags);
bool gyre_ring_connect(
    struct gyre_ring *_Nonnull ring, uint64_t user_data, int fd, const void *_Nullable address,
    uint32_t length);
bool gyre_ring_poll(
    struct gyre_ring *_Nonnull ring, uint64_t user_data, int fd, uint32_t events, bool multishot);
// Takes back the request `user_data` if it was queued last and not handed over yet.
bool gyre_ring_take_back(struct gyre_ring *_Nonnull ring, uint64_t user_data);
bool gyre_ring_cancel(struct gyre_ring *_Nonnull ring, uint64_t user_data, uint64_t target);

#endif
