// SPDX-License-Identifier: Apache-2.0
//
// The ring, on liburing. Debian 12 carries liburing 2.3; what is newer in the kernel is used
// through the constants below, each guarded by asking the running kernel.

#ifdef GYRE_IO_URING

#define _GNU_SOURCE
#include "CGyreRing.h"
#include "CGyreSanitizer.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_FEATURE_NO_IOWAIT (1U << 17)      // 6.15
#define RING_ENTER_NO_IOWAIT (1U << 7)         // 6.15
#define RING_BUFFERS_INCREMENTAL 2             // 6.12: IOU_PBUF_RING_INC
#define RING_COMPLETION_BUFFER_MORE (1U << 4)  // 6.12: IORING_CQE_F_BUF_MORE

enum { buffer_group = 0 };

// io_uring_buf_reg with the `flags` that liburing 2.3 still calls padding.
struct buffer_registration {
    uint64_t ring_address;
    uint32_t ring_entries;
    uint16_t group;
    uint16_t flags;
    uint64_t reserved[3];
};

struct gyre_ring {
    struct io_uring uring;
    struct gyre_ring_features features;
    bool enabled;
    uint32_t setup_flags;
    // The buffers: one mapping for their bytes, one for the ring the kernel takes them from.
    uint8_t *bytes;
    struct io_uring_buf_ring *buffers;
    uint32_t *filled;  // bytes already used of each buffer
    uint16_t buffers_unpublished;
};

// Newest way of running task work first. Deferred task work keeps completions from interrupting
// the thread: they are made inside enter, in one go.
static int set_up(struct gyre_ring *ring, const struct gyre_ring_options *options) {
    const uint32_t common = IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    const uint32_t ways[] = {
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SINGLE_ISSUER
            | IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_SUBMIT_ALL | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_COOP_TASKRUN,
        0,
    };
    int error = -EINVAL;
    const unsigned count = sizeof ways / sizeof ways[0];
    for (unsigned i = options->avoids_new_features ? 2 : 0; i < count && error == -EINVAL; i++) {
        struct io_uring_params parameters = {
            .flags = common | ways[i], .cq_entries = options->completion_entries};
        error = io_uring_queue_init_params(options->submission_entries, &ring->uring, &parameters);
        if (error == 0) {
            ring->setup_flags = parameters.flags;
            ring->features = (struct gyre_ring_features){
                .single_issuer = parameters.flags & IORING_SETUP_SINGLE_ISSUER,
                .deferred_task_work = parameters.flags & IORING_SETUP_DEFER_TASKRUN,
                .cooperative_task_work = parameters.flags & IORING_SETUP_COOP_TASKRUN,
                .no_iowait = parameters.features & RING_FEATURE_NO_IOWAIT,
                .submission_entries = parameters.sq_entries,
                .completion_entries = parameters.cq_entries,
            };
        }
    }
    return error;
}

// Multishot receive came with the same kernel (6.0) as zero-copy send, and only operations can be
// asked for.
static bool has_multishot_receive(struct gyre_ring *ring) {
    struct io_uring_probe *probe = io_uring_get_probe_ring(&ring->uring);
    if (probe == NULL)
        return false;
    bool has = io_uring_opcode_supported(probe, IORING_OP_SEND_ZC);
    io_uring_free_probe(probe);
    return has;
}

static int register_buffers(struct gyre_ring *ring, uint32_t count, uint32_t size, uint16_t flags) {
    size_t ring_length = count * sizeof(struct io_uring_buf);
    void *entries = mmap(
        NULL, ring_length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (entries == MAP_FAILED)
        return -errno;
    struct buffer_registration registration = {
        .ring_address = (uint64_t)(uintptr_t)entries,
        .ring_entries = count,
        .group = buffer_group,
        .flags = flags,
    };
    int error = io_uring_register(
        ring->uring.ring_fd, IORING_REGISTER_PBUF_RING, &registration, 1);
    if (error < 0) {
        munmap(entries, ring_length);
        return error;
    }
    // Untouched pages cost nothing: an idle loop has no receive memory.
    void *bytes = mmap(
        NULL, (size_t)count * size, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint32_t *filled = calloc(count, sizeof *filled);
    ring->buffers = entries;
    ring->features.buffer_count = count;
    ring->features.buffer_size = size;
    ring->features.incremental_buffers = flags & RING_BUFFERS_INCREMENTAL;
    ring->filled = filled;
    ring->bytes = bytes == MAP_FAILED ? NULL : bytes;
    if (ring->bytes == NULL || filled == NULL)
        return -ENOMEM;
    io_uring_buf_ring_init(ring->buffers);
    for (uint32_t i = 0; i < count; i++)
        gyre_ring_return_buffer(ring, (uint16_t)i);
    gyre_ring_publish_buffers(ring);
    return 0;
}

// liburing maps and unmaps the queues behind the back of the thread sanitizer, which takes a ring
// for the one that was at its address before, on another thread.
static const char mappings;

int gyre_ring_create(const struct gyre_ring_options *options, struct gyre_ring **result) {
    struct gyre_ring *ring = calloc(1, sizeof *ring);
    if (ring == NULL)
        return -ENOMEM;
    int error = set_up(ring, options);
    if (error != 0) {
        free(ring);
        return error;
    }
    gyre_lock_acquired((uintptr_t)&mappings);
    // The slots map to the entries one to one, for good.
    for (uint32_t i = 0; i < ring->features.submission_entries; i++)
        ring->uring.sq.array[i] = i;
    ring->features.multishot_receive = has_multishot_receive(ring);
    if (!ring->features.multishot_receive) {
        gyre_ring_destroy(ring);
        return -ENOSYS;
    }
    error = options->avoids_new_features
        ? -EINVAL
        : register_buffers(
            ring, options->incremental_buffer_count, options->incremental_buffer_size,
            RING_BUFFERS_INCREMENTAL);
    if (error == -EINVAL)
        error = register_buffers(ring, options->plain_buffer_count, options->plain_buffer_size, 0);
    if (error != 0) {
        gyre_ring_destroy(ring);
        return error;
    }
    *result = ring;
    return 0;
}

// By itself the kernel would end the requests some time after the descriptor of the ring is closed:
// until then they keep their files open, so that the port of a closed server stays taken and a peer
// sees no end. Failing, as from another thread than the one that ran the loop, leaves it to that.
void gyre_ring_end_requests(struct gyre_ring *ring) {
    if (!ring->enabled)
        return;
    struct io_uring_sync_cancel_reg all = {
        .fd = -1,
        .flags = IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL,
        .timeout = {.tv_sec = 1},
    };
    if (io_uring_register(ring->uring.ring_fd, IORING_REGISTER_SYNC_CANCEL, &all, 1) < 0)
        return;
    // Deferred task work, which lets go of the files, runs inside enter only, some of it each time.
    const unsigned rounds_max = 10000;
    for (unsigned round = 0; round < rounds_max; round++) {
        int result = io_uring_enter(
            (unsigned)ring->uring.ring_fd, 0, 0, IORING_ENTER_GETEVENTS, NULL);
        uint32_t state = __atomic_load_n(ring->uring.sq.kflags, __ATOMIC_ACQUIRE);
        if (result < 0 || (state & IORING_SQ_TASKRUN) == 0)
            return;
    }
}

void gyre_ring_destroy(struct gyre_ring *ring) {
    gyre_lock_releasing((uintptr_t)&mappings);
    io_uring_queue_exit(&ring->uring);
    if (ring->buffers != NULL)
        munmap(ring->buffers, ring->features.buffer_count * sizeof(struct io_uring_buf));
    if (ring->bytes != NULL)
        munmap(ring->bytes, (size_t)ring->features.buffer_count * ring->features.buffer_size);
    free(ring->filled);
    free(ring);
}

struct gyre_ring_features gyre_ring_features(const struct gyre_ring *ring) {
    return ring->features;
}

int gyre_ring_descriptor(const struct gyre_ring *ring) {
    return ring->uring.ring_fd;
}

static int enable(struct gyre_ring *ring) {
    // liburing 2.3 declares io_uring_enable_rings but does not export it.
    int error = io_uring_register(ring->uring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    if (error < 0)
        return error;
    ring->enabled = true;
    // Saves the look-up of the descriptor at every enter. Doing without is only slower.
    (void)io_uring_register_ring_fd(&ring->uring);
    return 0;
}

// Publishes the queued entries; returns how many the kernel has not taken yet.
static uint32_t flush(struct gyre_ring *ring) {
    struct io_uring_sq *sq = &ring->uring.sq;
    if (sq->sqe_head != sq->sqe_tail) {
        sq->sqe_head = sq->sqe_tail;
        __atomic_store_n(sq->ktail, sq->sqe_tail, __ATOMIC_RELEASE);
    }
    return sq->sqe_tail - __atomic_load_n(sq->khead, __ATOMIC_ACQUIRE);
}

int gyre_ring_enter(struct gyre_ring *ring, bool wait, int64_t nanoseconds) {
    if (!ring->enabled) {
        int error = enable(ring);
        if (error < 0)
            return error;
    }
    uint32_t submit = flush(ring);
    if (submit == 0 && io_uring_cq_ready(&ring->uring) > 0)
        return 0;
    if (submit == 0 && !wait && (ring->setup_flags & IORING_SETUP_TASKRUN_FLAG)) {
        uint32_t state = __atomic_load_n(ring->uring.sq.kflags, __ATOMIC_ACQUIRE);
        if ((state & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) == 0)
            return 0;
    }
    uint32_t flags = IORING_ENTER_GETEVENTS;
    if (ring->uring.int_flags & 1)  // INT_FLAG_REG_RING: the registered descriptor is in use
        flags |= IORING_ENTER_REGISTERED_RING;
    struct __kernel_timespec timeout = {
        .tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    struct io_uring_getevents_arg argument = {.sigmask_sz = _NSIG / 8};
    if (wait) {
        if (ring->features.no_iowait)
            flags |= RING_ENTER_NO_IOWAIT;
        if (nanoseconds >= 0)
            argument.ts = (uint64_t)(uintptr_t)&timeout;
    }
    flags |= IORING_ENTER_EXT_ARG;
    int result = io_uring_enter2(
        (unsigned)ring->uring.enter_ring_fd, submit, wait ? 1 : 0, flags, (void *)&argument,
        sizeof argument);
    // EBUSY and EAGAIN: the kernel wants its completions drained, or memory, first. The entries
    // stay queued and go with the next enter.
    if (result >= 0 || result == -ETIME || result == -EINTR || result == -EBUSY
        || result == -EAGAIN)
        return 0;
    return result;
}

uint32_t gyre_ring_completion_count(const struct gyre_ring *ring) {
    return io_uring_cq_ready(&ring->uring);
}

uint32_t gyre_ring_drain(
    struct gyre_ring *ring, struct gyre_completion *completions, uint32_t capacity) {
    struct io_uring_cqe *cqe;
    unsigned head;
    uint32_t count = 0;
    io_uring_for_each_cqe(&ring->uring, head, cqe) {
        if (count == capacity)
            break;
        struct gyre_completion *completion = &completions[count++];
        completion->user_data = cqe->user_data;
        completion->result = cqe->res;
        completion->more = cqe->flags & IORING_CQE_F_MORE;
        completion->returns_buffer = false;
        completion->bytes = NULL;
        if (cqe->flags & IORING_CQE_F_BUFFER) {
            uint16_t buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
            uint8_t *base = ring->bytes + (size_t)buffer * ring->features.buffer_size;
            completion->buffer = buffer;
            completion->bytes = base + ring->filled[buffer];
            if (cqe->res > 0)
                ring->filled[buffer] += (uint32_t)cqe->res;
            completion->returns_buffer = !(cqe->flags & RING_COMPLETION_BUFFER_MORE);
        }
    }
    io_uring_cq_advance(&ring->uring, count);
    return count;
}

void gyre_ring_return_buffer(struct gyre_ring *ring, uint16_t buffer) {
    uint32_t size = ring->features.buffer_size;
    ring->filled[buffer] = 0;
    io_uring_buf_ring_add(
        ring->buffers, ring->bytes + (size_t)buffer * size, size, buffer,
        io_uring_buf_ring_mask(ring->features.buffer_count), ring->buffers_unpublished++);
}

void gyre_ring_publish_buffers(struct gyre_ring *ring) {
    if (ring->buffers_unpublished == 0)
        return;
    io_uring_buf_ring_advance(ring->buffers, ring->buffers_unpublished);
    ring->buffers_unpublished = 0;
}

// A free entry. A full queue is handed to the kernel first; not before the loop runs, since that
// would bind the ring to a thread that only sets the loop up.
static struct io_uring_sqe *next_entry(struct gyre_ring *ring, uint64_t user_data) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (sqe == NULL) {
        if (!ring->enabled)
            return NULL;
        (void)gyre_ring_enter(ring, false, 0);
        sqe = io_uring_get_sqe(&ring->uring);
        if (sqe == NULL)
            return NULL;
    }
    io_uring_sqe_set_data64(sqe, user_data);
    return sqe;
}

bool gyre_ring_accept(struct gyre_ring *ring, uint64_t user_data, int fd, int flags) {
    struct io_uring_sqe *sqe = next_entry(ring, user_data);
    if (sqe == NULL)
        return false;
    io_uring_prep_multishot_accept(sqe, fd, NULL, NULL, flags);
    io_uring_sqe_set_data64(sqe, user_data);
    return true;
}

bool gyre_ring_receive(struct gyre_ring *ring, uint64_t user_data, int fd) {
    struct io_uring_sqe *sqe = next_entry(ring, user_data);
    if (sqe == NULL)
        return false;
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = buffer_group;
    io_uring_sqe_set_data64(sqe, user_data);
    return true;
}

bool gyre_ring_send(
    struct gyre_ring *ring, uint64_t user_data, int fd, const void *bytes, uint64_t count,
    int flags) {
    struct io_uring_sqe *sqe = next_entry(ring, user_data);
    if (sqe == NULL)
        return false;
    io_uring_prep_send(sqe, fd, bytes, count, flags);
    io_uring_sqe_set_data64(sqe, user_data);
    return true;
}

bool gyre_ring_connect(
    struct gyre_ring *ring, uint64_t user_data, int fd, const void *address, uint32_t length) {
    struct io_uring_sqe *sqe = next_entry(ring, user_data);
    if (sqe == NULL)
        return false;
    io_uring_prep_connect(sqe, fd, address, length);
    io_uring_sqe_set_data64(sqe, user_data);
    return true;
}

bool gyre_ring_poll(
    struct gyre_ring *ring, uint64_t user_data, int fd, uint32_t events, bool multishot) {
    struct io_uring_sqe *sqe = next_entry(ring, user_data);
    if (sqe == NULL)
        return false;
    if (multishot)
        io_uring_prep_poll_multishot(sqe, fd, events);
    else
        io_uring_prep_poll_add(sqe, fd, events);
    io_uring_sqe_set_data64(sqe, user_data);
    return true;
}

bool gyre_ring_take_back(struct gyre_ring *ring, uint64_t user_data) {
    struct io_uring_sq *sq = &ring->uring.sq;
    if (sq->sqe_head == sq->sqe_tail)
        return false;
    if (sq->sqes[(sq->sqe_tail - 1) & *sq->kring_mask].user_data != user_data)
        return false;
    sq->sqe_tail--;
    return true;
}

bool gyre_ring_cancel(struct gyre_ring *ring, uint64_t user_data, uint64_t target) {
    struct io_uring_sqe *sqe = next_entry(ring, user_data);
    if (sqe == NULL)
        return false;
    io_uring_prep_cancel64(sqe, target, 0);
    io_uring_sqe_set_data64(sqe, user_data);
    return true;
}

#else

// A C file may not be empty.
typedef int gyre_built_without_io_uring;

#endif
