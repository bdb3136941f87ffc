// SPDX-License-Identifier: Apache-2.0

/// One request to the kernel, from submission to its last completion: plain numbers, cheap to copy.
///
/// What each kind does is in the file of that name beside this one: its ring encoding and its
/// readiness fallback.
package struct Operation {
    package enum Kind {
        case accept, receive, send, connect, poll, ready
    }

    /// The two things a descriptor can be ready for.
    ///
    /// An operation waits for one of them.
    package enum Direction {
        case read, write
    }

    // SAFETY: it points into memory of the operation's target, which the table holds until the last
    // completion and which leaves that memory in place so long.
    /// The bytes to send, or the address to connect to.
    package let pointer: UnsafeRawPointer?
    package let count: Int
    package let fd: CInt
    package let kind: Kind
    package let direction: Direction
    /// A send that waits for no room.
    package let isImmediate: Bool
    /// A poll that ends with its first completion.
    package let isOnce: Bool
    /// Cancellation was asked for.
    ///
    /// The last completion is still to come.
    package var isCancelled = false
    /// For the readiness fallback of a connect: the kernel has it.
    package var isUnderWay = false

    init(
        kind: Kind, fd: CInt, direction: Direction, pointer: UnsafeRawPointer? = nil,
        count: Int = 0, isImmediate: Bool = false, isOnce: Bool = false
    ) {
        self.kind = kind
        self.fd = fd
        self.direction = direction
        self.pointer = pointer
        self.count = count
        self.isImmediate = isImmediate
        self.isOnce = isOnce
    }
}

/// The name of an operation: its slot in the table and the slot's generation, so that a completion
/// that comes late never reaches the slot's next tenant.
///
/// Zero is no operation.
package struct OperationID: Hashable, Sendable {
    package let rawValue: UInt64

    @inline(__always)
    package init(rawValue: UInt64) { self.rawValue = rawValue }

    init(slot: Int, generation: UInt32) {
        rawValue = UInt64(generation) << 32 | UInt64(slot)
    }

    package static var none: OperationID { OperationID(rawValue: 0) }

    @inline(__always)
    var slot: Int { Int(truncatingIfNeeded: rawValue & 0xffff_ffff) }
    @inline(__always)
    var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
}

/// Something an operation did.
package struct Completion {
    package let id: OperationID
    package let kind: Operation.Kind
    /// What the system call would have returned, an error as its negative number.
    package let result: CInt
    /// Further completions of the operation follow.
    package let more: Bool
    // SAFETY: the receive buffer is the backend's, which gives it back after the call.
    /// What was received: lent until the call returns.
    package let bytes: UnsafeRawBufferPointer
}

/// A user of operations: a transport, a server, a watcher.
package protocol OperationTarget: AnyObject {
    /// Called on the loop's thread for every completion, never inside a submit or cancel.
    func operationCompleted(_ completion: Completion)
}
