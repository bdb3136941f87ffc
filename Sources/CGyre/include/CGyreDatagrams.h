// SPDX-License-Identifier: Apache-2.0

#ifndef CGYRE_DATAGRAMS_H
#define CGYRE_DATAGRAMS_H

#include "CGyreNullability.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Several datagrams in one system call, and what a datagram socket is told of those that did not
// arrive: GNU and Linux extensions, which Swift's Glibc module does not show.
//
// No call waits. Functions that can fail return -errno.

// Room for any socket address: sockaddr_storage, which Swift has to find in one module only.
struct gyre_socket_address {
    uint64_t words[16];
};

struct gyre_datagram {
    const void *_Nullable bytes;
    uint32_t count;
    // 0 when it has no address: to the peer of a connected socket, or from a socket without a name.
    uint32_t address_length;
    // It was longer than the room for it, and its end is lost.
    bool is_truncated;
    struct gyre_socket_address address;
};

enum { GYRE_DATAGRAMS_MAX = 16 };

// Receives up to GYRE_DATAGRAMS_MAX datagrams, each into a piece of `buffer` of `size` bytes.
// Returns how many; fewer than asked for is all there were.
int gyre_datagrams_receive(
    int fd, struct gyre_datagram *_Nonnull datagrams, int count, void *_Nonnull buffer,
    size_t size);

// Sends up to GYRE_DATAGRAMS_MAX datagrams, in order. Returns how many the kernel took, at least
// one; the error is that of the first.
int gyre_datagrams_send(int fd, const struct gyre_datagram *_Nonnull datagrams, int count);

// Lets the socket keep what the network says of datagrams that did not arrive, with the address
// they were for.
int gyre_datagrams_keep_errors(int fd, int family);

// Takes the oldest such report: returns 1, and the error number and the address, or 0 when there is
// none.
int gyre_datagrams_take_error(
    int fd, int *_Nonnull number, struct gyre_socket_address *_Nonnull address,
    uint32_t *_Nonnull address_length);

// Joins or leaves the multicast group at the interface of that index; 0 lets the system choose.
int gyre_datagrams_set_membership(
    int fd, bool is_member, const struct gyre_socket_address *_Nonnull group, uint32_t group_length,
    uint32_t interface);

// Where multicast datagrams leave the machine.
int gyre_datagrams_set_multicast_interface(int fd, int family, uint32_t interface);

// How many datagrams the kernel has dropped because the receive buffer of the socket was full.
int gyre_datagrams_dropped(int fd, uint32_t *_Nonnull count);

#endif
