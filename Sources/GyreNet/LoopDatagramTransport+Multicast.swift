// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc
public import GyreCore

extension LoopDatagramTransport {
    /// Receives what is sent to the multicast group `group`, whose port does not matter, at
    /// `interface`, such as `eth0`, or at the one that the system chooses.
    ///
    /// The endpoint has to be bound to the port that the group uses.
    ///
    /// - Throws: ``LoopError``: no group or no interface of that name, a group that was joined
    ///   already, or no way leads there.
    public func joinGroup(_ group: LoopAddress, interface: String? = nil) throws(LoopError) {
        try setMembership(true, group, interface, "joinGroup")
    }

    /// Receives no more of what is sent to the multicast group `group`.
    ///
    /// Closing the endpoint leaves all groups.
    ///
    /// - Throws: ``LoopError`` when the group was not joined at `interface`.
    public func leaveGroup(_ group: LoopAddress, interface: String? = nil) throws(LoopError) {
        try setMembership(false, group, interface, "leaveGroup")
    }

    /// Sends what goes to multicast groups through `interface`, such as `eth0`.
    ///
    /// - Throws: ``LoopError`` when there is no such interface, or the endpoint is closed.
    public func setMulticastInterface(_ interface: String) throws(LoopError) {
        try checkOpen("setMulticastInterface")
        let index = try Self.index(of: interface, "setMulticastInterface")
        let result = gyre_datagrams_set_multicast_interface(fd, family, index)
        guard result == 0 else {
            throw LoopError(errno: -result, operation: "setMulticastInterface", detail: interface)
        }
    }

    /// How many hops datagrams to multicast groups may take; 1, the system's default, stays in the
    /// local network, 0 on this machine.
    ///
    /// - Throws: ``LoopError`` when it is not from 0 to 255, or the endpoint is closed.
    public func setMulticastHops(_ count: Int) throws(LoopError) {
        try checkOpen("setMulticastHops")
        let value = CInt(clamping: count)
        if family == AF_INET6 {
            try Socket.set(
                CInt(IPPROTO_IPV6), IPV6_MULTICAST_HOPS, value, on: fd, "IPV6_MULTICAST_HOPS")
        } else {
            try Socket.set(CInt(IPPROTO_IP), IP_MULTICAST_TTL, value, on: fd, "IP_MULTICAST_TTL")
        }
    }

    /// Whether this machine gets what it sends to multicast groups itself; it does by default.
    ///
    /// - Throws: ``LoopError`` when the endpoint is closed.
    public func setMulticastLoopback(_ isOn: Bool) throws(LoopError) {
        try checkOpen("setMulticastLoopback")
        if family == AF_INET6 {
            try Socket.set(
                CInt(IPPROTO_IPV6), IPV6_MULTICAST_LOOP, isOn ? 1 : 0, on: fd,
                "IPV6_MULTICAST_LOOP")
        } else {
            try Socket.set(
                CInt(IPPROTO_IP), IP_MULTICAST_LOOP, isOn ? 1 : 0, on: fd, "IP_MULTICAST_LOOP")
        }
    }

    private func checkOpen(_ operation: StaticString) throws(LoopError) {
        loop.checkThread(operation, instead: "handle.callSoonThreadSafe")
        guard fd >= 0 else { throw LoopError(.closed, operation: "\(operation)") }
    }

    private func setMembership(
        _ isMember: Bool, _ group: LoopAddress, _ interface: String?, _ operation: StaticString
    ) throws(LoopError) {
        try checkOpen(operation)
        guard group.family == family, !group.isUnix else {
            throw LoopError(
                .invalidArgument, operation: "\(operation)",
                detail: "\(group) is of another family than the endpoint")
        }
        let index = try interface.map { name throws(LoopError) in
            try Self.index(of: name, "\(operation)")
        }
        var storage = group.plain
        let result = gyre_datagrams_set_membership(
            fd, isMember, &storage, group.length, index ?? 0)
        guard result == 0 else {
            throw LoopError(errno: -result, operation: "\(operation)", detail: group.host)
        }
    }

    private static func index(
        of interface: String, _ operation: String
    ) throws(LoopError) -> UInt32 {
        let index = if_nametoindex(interface)
        guard index > 0 else {
            throw LoopError(
                errno: ENODEV, operation: operation, detail: "no interface \(interface)")
        }
        return index
    }
}
