// SPDX-License-Identifier: Apache-2.0

/// What went wrong in a loop, a transport or a server.
///
/// Errors of the kernel carry ``errno`` and the name of the operation that failed.
public struct LoopError: Error, Sendable, Hashable {
    /// The kind of an error.
    ///
    /// Kinds may be added, so a `switch` over them needs a default.
    public struct Code: Sendable, Hashable, CustomStringConvertible {
        /// The name of the kind, as in the source.
        public let description: String
    }

    /// The kind of this error.
    public let code: Code
    /// The kernel's error number, where it was the kernel that said no.
    public let errno: CInt?
    /// What failed: "accept", "connect", "io_uring_setup".
    public let operation: String
    /// More about it: an address, a list of what is known, what to do.
    public let detail: String?
    /// The errors that this one stands for: one for each address that was tried, in the order in
    /// which they failed.
    ///
    /// Empty where it stands for itself.
    public let causes: [LoopError]

    /// An error of the kind `code`.
    public init(
        _ code: Code, operation: String, errno: CInt? = nil, detail: String? = nil,
        causes: [LoopError] = []
    ) {
        self.code = code
        self.errno = errno
        self.operation = operation
        self.detail = detail
        self.causes = causes
    }
}

extension LoopError.Code {
    private init(_ description: String) { self.init(description: description) }

    // The loop.

    /// The loop is running already, here or on another thread.
    public static let alreadyRunning = Self("alreadyRunning")
    /// The loop, the server or the transport is closed.
    public static let closed = Self("closed")
    /// The call belongs to another thread.
    public static let wrongThread = Self("wrongThread")
    /// A policy name that is not known.
    public static let unknownPolicy = Self("unknownPolicy")
    /// The machine, the kernel or a limit does not allow this policy.
    public static let policyUnavailable = Self("policyUnavailable")
    /// The default policy was set already.
    public static let policyAlreadySet = Self("policyAlreadySet")
    /// An argument that no call could accept.
    public static let invalidArgument = Self("invalidArgument")

    // Operations.

    /// The operation was cancelled.
    public static let cancelled = Self("cancelled")
    /// The operation took longer than it was given.
    public static let timedOut = Self("timedOut")
    /// Somebody else uses the descriptor or the signal already.
    public static let inUse = Self("inUse")
    /// No such signal number.
    public static let invalidSignal = Self("invalidSignal")
    /// A signal that no program may catch.
    public static let uncatchableSignal = Self("uncatchableSignal")

    /// Asked too early, or set twice: a future is not in the state that the call needs.
    public static let invalidState = Self("invalidState")
    /// The future or task belongs to another loop than the one that waits for it.
    public static let loopMismatch = Self("loopMismatch")

    // Queues and barriers.

    /// No item in the queue.
    public static let queueEmpty = Self("queueEmpty")
    /// No room in the queue.
    public static let queueFull = Self("queueFull")
    /// The queue was shut down.
    public static let queueShutDown = Self("queueShutDown")
    /// The barrier was aborted or reset.
    public static let barrierBroken = Self("barrierBroken")

    // Sockets.

    /// Another socket is bound to the address.
    public static let addressInUse = Self("addressInUse")
    /// The address does not belong to this machine.
    public static let addressNotAvailable = Self("addressNotAvailable")
    /// A host or service name that does not resolve.
    public static let nameNotResolved = Self("nameNotResolved")
    /// Nobody listens at the address.
    public static let connectionRefused = Self("connectionRefused")
    /// The peer broke the connection off.
    public static let connectionReset = Self("connectionReset")
    /// The connection was broken off on this side.
    public static let connectionAborted = Self("connectionAborted")
    /// Writing to a connection whose peer is gone.
    public static let brokenPipe = Self("brokenPipe")
    /// No route to the host or the network.
    public static let unreachable = Self("unreachable")
    /// The transport or socket is not connected.
    public static let notConnected = Self("notConnected")
    /// Writing after the end of file was written.
    public static let endOfFileWritten = Self("endOfFileWritten")

    // Resources and the rest.

    /// No descriptor left, in this process or on this machine.
    public static let noDescriptors = Self("noDescriptors")
    /// No memory left, or a limit on it.
    public static let noMemory = Self("noMemory")
    /// No such file or folder.
    public static let notFound = Self("notFound")
    /// The process has ended.
    public static let noSuchProcess = Self("noSuchProcess")
    /// The process may not do this.
    public static let notPermitted = Self("notPermitted")
    /// The kernel or this kind of descriptor cannot do this.
    public static let notSupported = Self("notSupported")
    /// Another error of the kernel: see ``LoopError/errno``.
    public static let system = Self("system")
}

/// An error that leaves the loop at once when a callback throws it.
///
/// Other errors of callbacks go to the exception handler and the loop goes on. One of these ends
/// ``Loop/runForever()``, which throws it; what was queued stays queued, and the loop can run
/// again.
public protocol LoopFatalError: Error {}

/// The plain fatal error: asked to stop at once, as by a second interrupt.
public struct LoopInterrupt: LoopFatalError, Hashable {
    /// Makes an interrupt.
    public init() {}
}
