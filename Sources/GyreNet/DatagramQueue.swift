// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// Datagrams that wait to be sent, in order.
final class DatagramQueue {
    private struct Entry {
        let start: Int
        let count: Int
        let address: LoopAddress?
    }

    private var bytes: [UInt8] = []
    private var entries: [Entry] = []
    private var next = 0

    var isEmpty: Bool { next == entries.count }

    /// The bytes that wait.
    ///
    /// Each datagram counts some more, so that empty ones fill a queue too.
    private(set) var size = 0

    private static let overhead = 32

    func append(_ datagram: UnsafeRawBufferPointer, to address: LoopAddress?) {
        entries.append(Entry(start: bytes.count, count: datagram.count, address: address))
        bytes.append(contentsOf: datagram)
        size += datagram.count + Self.overhead
    }

    /// Where the oldest goes.
    var firstAddress: LoopAddress? { isEmpty ? nil : entries[next].address }

    /// Lets the kernel take what it will of the oldest.
    ///
    /// Returns how many it took, or an error of the oldest as its negative number.
    func send(on fd: CInt) -> CInt {
        let count = min(entries.count - next, Int(GYRE_DATAGRAMS_MAX))
        return withUnsafeTemporaryAllocation(of: gyre_datagram.self, capacity: count) { datagrams in
            // SAFETY: every datagram is initialized before the call, and points into `bytes`, which
            // stays as it is until the call returns.
            bytes.withUnsafeBytes { bytes in
                for index in 0..<count {
                    let entry = entries[next + index]
                    var datagram = gyre_datagram()
                    datagram.bytes = bytes.baseAddress.map { $0 + entry.start }
                    datagram.count = UInt32(entry.count)
                    if let address = entry.address {
                        datagram.address = address.plain
                        datagram.address_length = address.length
                    }
                    datagrams.initializeElement(at: index, to: datagram)
                }
                guard let first = datagrams.baseAddress else { return 0 }
                return gyre_datagrams_send(fd, first, CInt(count))
            }
        }
    }

    func removeFirst(_ count: Int) {
        for entry in entries[next..<next + count] { size -= entry.count + Self.overhead }
        next += count
        if next == entries.count {
            removeAll()
        } else if next >= 1024 {
            let start = entries[next].start
            bytes.removeFirst(start)
            entries = entries[next...].map {
                Entry(start: $0.start - start, count: $0.count, address: $0.address)
            }
            next = 0
        }
    }

    func removeAll() {
        entries.removeAll(keepingCapacity: entries.count <= 256)
        bytes.removeAll(keepingCapacity: bytes.count <= 256 << 10)
        (next, size) = (0, 0)
    }
}

/// Room for the datagrams of one system call.
final class DatagramBuffer {
    /// How many one call takes.
    static let capacity = Int(GYRE_DATAGRAMS_MAX)

    /// The longest datagram there is room for.
    let size: Int
    // SAFETY: both are allocated in init and freed in deinit; what a datagram points to lies in
    // `memory` and stays until the next receive. The pages are touched as far as datagrams reach.
    private let memory: UnsafeMutableRawPointer
    private let datagrams: UnsafeMutablePointer<gyre_datagram>

    init(size: Int) {
        self.size = size
        memory = .allocate(byteCount: size * Self.capacity, alignment: 64)
        datagrams = .allocate(capacity: Self.capacity)
        datagrams.initialize(repeating: gyre_datagram(), count: Self.capacity)
    }

    deinit {
        memory.deallocate()
        datagrams.deallocate()
    }

    /// Receives what is there.
    ///
    /// Returns how many, or an error as its negative number; fewer than ``capacity`` are all.
    func receive(on fd: CInt) -> CInt {
        gyre_datagrams_receive(fd, datagrams, CInt(Self.capacity), memory, size)
    }

    /// The one at `index` of those that were received.
    func bytes(at index: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: datagrams[index].bytes, count: Int(datagrams[index].count))
    }

    func address(at index: Int) -> LoopAddress {
        let length = datagrams[index].address_length
        // Nothing is written for a Unix socket without a name.
        guard length > 0 else { return .unnamedUnix }
        return LoopAddress(plain: datagrams[index].address, length: length)
    }

    func isTruncated(at index: Int) -> Bool { datagrams[index].is_truncated }
}

extension LoopAddress {
    // SAFETY: both are room for any socket address, of the same size, and any bytes are a value of
    // both.
    /// As the calls on datagrams have it.
    var plain: gyre_socket_address { unsafeBitCast(storage, to: gyre_socket_address.self) }

    init(plain: gyre_socket_address, length: UInt32) {
        self.init(storage: unsafeBitCast(plain, to: sockaddr_storage.self), length: length)
    }
}
