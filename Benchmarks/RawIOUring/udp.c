// SPDX-License-Identifier: Apache-2.0
//
// The UDP echo: one multishot receive into provided buffers, and the answers sent from there, all
// of a batch with the enter that waits for the next. A buffer goes back when its answer is out.

#ifdef GYRE_IO_URING

#define _GNU_SOURCE
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { slotsCount = 256, submissionsMax = 512, socketBufferBytes = 4 << 20 };
enum { slotBytes = sizeof(struct io_uring_recvmsg_out) + sizeof(struct sockaddr_in) + 65536 };
/// The user data of the receive; a send has the number of its slot.
enum { receiveTag = slotsCount };

static struct io_uring ring;
static struct io_uring_buf_ring *slotRing;
static char *slots;
static struct msghdr answers[slotsCount];
static struct iovec pieces[slotsCount];
static struct msghdr shape = {.msg_namelen = sizeof(struct sockaddr_in)};

static void failWith(const char *what, int error) {
    fprintf(stderr, "gyre-peer-raw-io-uring: %s: %s\n", what, strerror(error));
    exit(1);
}

static int openSocket(const char *host, int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) failWith("bad IPv4 address", EINVAL);
    int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) failWith("socket", errno);
    int bytes = socketBufferBytes;
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
    socklen_t length = sizeof address;
    if (bind(descriptor, (struct sockaddr *)&address, length) != 0 ||
        getsockname(descriptor, (struct sockaddr *)&address, &length) != 0) {
        failWith("bind", errno);
    }
    printf("listening on %s:%d\n", host, ntohs(address.sin_port));
    fflush(stdout);
    return descriptor;
}

static void *mapPages(size_t bytes) {
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) failWith("mmap", errno);
    return pages;
}

static void giveSlot(unsigned slot) {
    io_uring_buf_ring_add(slotRing, slots + (size_t)slot * slotBytes, slotBytes,
                          (unsigned short)slot, io_uring_buf_ring_mask(slotsCount), 0);
    io_uring_buf_ring_advance(slotRing, 1);
}

static void makeRing(void) {
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    int status = io_uring_queue_init_params(submissionsMax, &ring, &parameters);
    if (status != 0) failWith("io_uring_setup", -status);
    slotRing = mapPages(slotsCount * sizeof(struct io_uring_buf));
    slots = mapPages((size_t)slotsCount * slotBytes);
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)slotRing, .ring_entries = slotsCount};
    status = io_uring_register_buf_ring(&ring, &registration, 0);
    if (status != 0) failWith("register buffer ring", -status);
    for (unsigned i = 0; i < slotsCount; i++) giveSlot(i);
}

static struct io_uring_sqe *nextSubmission(void) {
    struct io_uring_sqe *submission;
    while (!(submission = io_uring_get_sqe(&ring))) io_uring_submit(&ring);
    return submission;
}

static void startReceiving(int descriptor) {
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_recvmsg_multishot(submission, descriptor, &shape, 0);
    submission->flags |= IOSQE_BUFFER_SELECT;
    submission->user_data = receiveTag;
}

static void answer(int descriptor, unsigned slot, int size) {
    char *start = slots + (size_t)slot * slotBytes;
    struct io_uring_recvmsg_out *message = io_uring_recvmsg_validate(start, size, &shape);
    if (!message) failWith("a datagram does not fit", EMSGSIZE);
    pieces[slot] = (struct iovec){io_uring_recvmsg_payload(message, &shape),
                                  io_uring_recvmsg_payload_length(message, size, &shape)};
    answers[slot] = (struct msghdr){.msg_name = io_uring_recvmsg_name(message),
                                    .msg_namelen = message->namelen,
                                    .msg_iov = &pieces[slot],
                                    .msg_iovlen = 1};
    struct io_uring_sqe *submission = nextSubmission();
    io_uring_prep_sendmsg(submission, descriptor, &answers[slot], MSG_NOSIGNAL | MSG_DONTWAIT);
    submission->user_data = slot;
}

static void dispatch(int descriptor, const struct io_uring_cqe *completion) {
    if (completion->user_data != receiveTag) return giveSlot((unsigned)completion->user_data);
    if (completion->res >= 0) {
        answer(descriptor, completion->flags >> IORING_CQE_BUFFER_SHIFT, completion->res);
    } else if (completion->res != -ENOBUFS) {
        failWith("recvmsg", -completion->res);
    }
    if (!(completion->flags & IORING_CQE_F_MORE)) startReceiving(descriptor);
}

void serveDatagrams(const char *host, int port) {
    makeRing();
    int descriptor = openSocket(host, port);
    startReceiving(descriptor);
    for (;;) {
        int status = io_uring_submit_and_wait(&ring, 1);
        if (status < 0 && status != -EINTR) failWith("io_uring_enter", -status);
        unsigned head, count = 0;
        struct io_uring_cqe *completion;
        io_uring_for_each_cqe(&ring, head, completion) {
            dispatch(descriptor, completion);
            count++;
        }
        io_uring_cq_advance(&ring, count);
    }
}

#endif
