// SPDX-License-Identifier: Apache-2.0

/// One behaviour that every loop must show, with the check that it does.
///
/// The checks need no test framework: ``check(_:)`` throws when the loop does otherwise. Run all of
/// ``all`` against a new loop, each by its ``name``.
public struct Behaviour: Sendable, CustomStringConvertible {
    /// The subject of a behaviour.
    public enum Group: String, Sendable, CaseIterable {
        /// Running, stopping and closing.
        case lifeCycle
        /// Timers.
        case timers
        /// Handles, calls from other threads, errors, debug mode.
        case handlesAndThreads
        /// The loop as an executor of Swift tasks and actors.
        case executors
        /// Futures.
        case futures
        /// Tasks and their cancellation.
        case tasks
        /// Waiting for several futures.
        case combinators
        /// Limits of time.
        case timeouts
        /// Groups of tasks.
        case taskGroups
        /// Code that blocks, on other threads.
        case blockingWork
        /// Locks, events, conditions, semaphores.
        case locks
        /// Queues and barriers.
        case queues
        /// The runner of a main function.
        case runners
        /// Watched descriptors.
        case descriptors
        /// Signals.
        case signals
        /// Connections and flow control.
        case streams
        /// Servers and connecting.
        case servers
        /// Connections in async code.
        case connections
        /// Reading from streams.
        case streamReaders
        /// Writing to streams.
        case streamWriters
        /// Streams over pipes, and the standard ones.
        case streamPipes
        /// Names and addresses.
        case names
        /// Unix sockets.
        case unixSockets
        /// Datagram endpoints.
        case datagrams
        /// Pipes.
        case pipes
        /// Calls on sockets of the program's own.
        case lowLevelSockets
        /// Files that are sent to sockets.
        case sendingFiles
        /// Several loops in one program.
        case severalLoops
        /// Protocols with buffers, protocols that change, ends of a connection.
        case transports
        /// Processes.
        case processes
    }

    /// Says the behaviour, as `callSoonRunsInOrderEachOnce`.
    public let name: String
    /// The numbers in the list of behaviours that it covers; empty where it goes beyond the list.
    public let numbers: [Int]
    /// Its subject.
    public let group: Group
    /// It changes or observes what the whole process shares (signals, the descriptors that are
    /// open), so nothing else may run in the process meanwhile.
    ///
    /// What must be gone as soon as its descriptor is closed belongs here too, as a port at which
    /// nobody listens any more: a child that another test starts holds every descriptor of the
    /// process between its fork and its exec.
    public let isProcessWide: Bool
    /// It cannot be checked on a machine without IPv6.
    public let needsIPv6: Bool
    private let body: @Sendable (ConformanceKit) throws -> Void

    init(
        _ name: String, _ numbers: [Int], _ group: Group, isProcessWide: Bool = false,
        needsIPv6: Bool = false,
        _ body: @escaping @Sendable (ConformanceKit) throws -> Void
    ) {
        self.name = name
        self.numbers = numbers
        self.group = group
        self.isProcessWide = isProcessWide
        self.needsIPv6 = needsIPv6
        self.body = body
    }

    /// Checks that the loops of `kit` show the behaviour.
    ///
    /// - Throws: A ``ConformanceFailure`` that says what is different, a ``WatchdogExpired`` when
    ///   something never came, or an error of the loop.
    public func check(_ kit: ConformanceKit) throws {
        try body(kit)
    }

    /// The name.
    public var description: String { name }

    /// Every behaviour.
    public static let all: [Behaviour] = [
        LifeCycle.behaviours,
        Timers.behaviours,
        HandlesAndThreads.behaviours,
        Executors.behaviours,
        Futures.behaviours,
        Tasks.behaviours,
        Gathering.behaviours,
        Combinators.behaviours,
        Timeouts.behaviours,
        TaskGroups.behaviours,
        BlockingWork.behaviours,
        Bridges.behaviours,
        TaskLocals.behaviours,
        Locks.behaviours,
        Queues.behaviours,
        Runners.behaviours,
        Interrupts.behaviours,
        RandomCancellation.behaviours,
        Descriptors.behaviours,
        Signals.behaviours,
        SignalSequences.behaviours,
        Streams.behaviours,
        ConnectedSockets.behaviours,
        Servers.behaviours,
        Connections.behaviours,
        Connections.ending,
        StreamReaders.behaviours,
        StreamWriters.behaviours,
        StreamPipes.behaviours,
        Names.behaviours,
        UnixSockets.behaviours,
        Datagrams.behaviours,
        Datagrams.sockets,
        Pipes.behaviours,
        LowLevelSockets.behaviours,
        SendingFiles.behaviours,
        SeveralLoops.behaviours,
        SeveralLoops.groupServers,
        BufferedProtocols.behaviours,
        Processes.behaviours,
        AsyncProcesses.behaviours,
        ShortResults.behaviours,
        Soaking.behaviours,
        Forks.behaviours,
    ].flatMap { $0 }
}
