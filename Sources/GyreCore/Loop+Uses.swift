// SPDX-License-Identifier: Apache-2.0

import Glibc

/// A call that uses one direction of a descriptor of the caller's, from its first wait to its end.
package final class DescriptorUse: OperationTarget {
    private unowned let loop: Loop
    private let fd: CInt
    private let direction: Operation.Direction
    /// What the descriptor is open on.
    fileprivate let file: FileIdentity
    private var body: ((LoopError?) -> Void)?
    private var id = OperationID.none
    /// The descriptor was closed, and its number may be another's.
    private var isLost = false

    fileprivate init(loop: Loop, fd: CInt, direction: Operation.Direction, file: FileIdentity) {
        self.loop = loop
        self.fd = fd
        self.direction = direction
        self.file = file
    }

    /// Calls `body` once, in a later iteration: with nil when the descriptor is ready, or with what
    /// is wrong with it.
    package func wait(_ body: @escaping (LoopError?) -> Void) {
        guard !isLost else { return body(closedMeanwhile) }
        self.body = body
        id = loop.submitPoll(direction, on: fd, target: self)
    }

    package func operationCompleted(_ completion: Completion) {
        // The end of an earlier wait.
        guard completion.id == id else { return }
        let result = completion.result
        let error = LoopError(errno: -result, operation: "wait for descriptor \(fd)")
        tell(result < 0 ? error : nil)
    }

    private func tell(_ error: LoopError?) {
        let body = body.take()
        stopWaiting()
        body?(error)
    }

    private func stopWaiting() {
        let waiting = id
        id = .none
        body = nil
        if waiting != .none { loop.cancel(waiting) }
    }

    /// The call is over; nobody is told any more.
    package func end() {
        stopWaiting()
        let key = UseKey(fd: fd, direction: direction)
        if loop.watchers.uses[key] === self { loop.watchers.uses[key] = nil }
    }

    fileprivate func lose() {
        isLost = true
        loop.watchers.uses[UseKey(fd: fd, direction: direction)] = nil
        tell(closedMeanwhile)
    }

    private var closedMeanwhile: LoopError {
        LoopError(
            .closed, operation: "wait for descriptor \(fd)",
            detail: "it was closed while a call used it")
    }
}

/// What a descriptor is open on.
struct FileIdentity: Equatable {
    let device: dev_t
    let node: ino_t

    init?(_ fd: CInt) {
        var status = stat()
        guard fstat(fd, &status) == 0 else { return nil }
        device = status.st_dev
        node = status.st_ino
    }
}

struct UseKey: Hashable {
    let fd: CInt
    let direction: Operation.Direction
}

extension Loop {
    /// Throws unless a call may use `fd`, which is the caller's, in `direction` now.
    ///
    /// One call at a time uses a direction of a descriptor: bytes of two would mix.
    package func checkUse(
        of fd: CInt, _ direction: Operation.Direction, _ operation: String
    ) throws(LoopError) {
        guard !isClosed else { throw LoopError(.closed, operation: operation) }
        try checkOwner(of: fd, operation)
        if watchers.isWatched(fd, direction) {
            throw LoopError(
                .inUse, operation: operation,
                detail: "descriptor \(fd) has a \(direction == .read ? "reader" : "writer")")
        }
        guard !watchers.uses.isEmpty,
            let use = watchers.uses[UseKey(fd: fd, direction: direction)]
        else { return }
        // A number says nothing once the descriptor was closed.
        guard FileIdentity(fd) != use.file else {
            throw LoopError(
                .inUse, operation: operation,
                detail: "another call waits for descriptor \(fd) already")
        }
        use.lose()
    }

    /// Keeps `direction` of `fd` for one call, until that ends it.
    package func use(
        _ fd: CInt, _ direction: Operation.Direction, _ operation: String
    ) throws(LoopError) -> DescriptorUse {
        try checkUse(of: fd, direction, operation)
        guard let file = FileIdentity(fd) else {
            throw LoopError(errno: errno, operation: operation)
        }
        let use = DescriptorUse(loop: self, fd: fd, direction: direction, file: file)
        watchers.uses[UseKey(fd: fd, direction: direction)] = use
        return use
    }

    /// Tells the calls that use `fd` that it is closed, or was and is another's now.
    package func endUses(of fd: CInt) {
        for direction in [Operation.Direction.read, .write] {
            watchers.uses[UseKey(fd: fd, direction: direction)]?.lose()
        }
    }
}
