// SPDX-License-Identifier: Apache-2.0

import Dispatch
import GyreCore
import Synchronization

/// A dispatch source for one direction of a descriptor, which reports once each time it is armed.
///
/// Dispatch reports a level again and again until somebody consumes it, on a thread that is not the
/// loop's. So the source is suspended with its first report (parked) and resumed when an operation
/// waits again (armed). What is suspended can neither be cancelled nor released, and a cancelled
/// source is in use until its cancel handler ran: the state below keeps count of that, and every
/// source ends in ``retire()``.
///
/// - Important: Made, armed and retired on the loop's thread.
final class DescriptorSource: Sendable {
    private enum State {
        case armed, parked, retired
    }

    let fd: CInt
    let direction: Operation.Direction
    private let source: DispatchSource
    private let queue: ReportQueue
    private let state = Mutex(State.armed)

    /// Makes a source that is armed.
    init(fd: CInt, direction: Operation.Direction, queue: ReportQueue) {
        self.fd = fd
        self.direction = direction
        self.queue = queue
        let made: any DispatchSourceProtocol =
            switch direction {
            case .read: DispatchSource.makeReadSource(fileDescriptor: fd, queue: queue.handlers)
            case .write: DispatchSource.makeWriteSource(fileDescriptor: fd, queue: queue.handlers)
            }
        // The class behind the protocol is what is Sendable.
        guard let source = made as? DispatchSource else {
            preconditionFailure("Dispatch made a source that is no DispatchSource")
        }
        self.source = source
        // The handlers hold this object, until Dispatch drops them with the cancellation.
        source.setEventHandler { [self] in report() }
        source.setCancelHandler { queue.retiring.leave() }
        source.activate()
    }

    /// Lets the source report once more.
    func arm() {
        state.withLock { state in
            guard state == .parked else { return }
            state = .armed
            source.resume()
        }
    }

    /// Ends the source.
    ///
    /// Dispatch is done with the descriptor when the group ``ReportQueue/retiring`` is empty.
    func retire() {
        state.withLock { state in
            guard state != .retired else { return }
            queue.retiring.enter()
            source.cancel()
            if state == .parked { source.resume() }
            state = .retired
        }
    }

    private func report() {
        // An event that was on its way when the source was retired is nobody's.
        let isOver = state.withLock { state in
            guard state == .armed else { return true }
            state = .parked
            source.suspend()
            return false
        }
        guard !isOver else { return }
        queue.post(ReportQueue.Report(source: self, isEmpty: source.data == 0))
    }
}
