// SPDX-License-Identifier: Apache-2.0

import Glibc
public import GyreCore
import Synchronization

/// Which loop a program runs on.
///
/// Named policies are strict: where the machine cannot give one, making a loop throws, with the
/// reason. ``automatic`` takes the first that is usable and keeps why the others were not, see
/// ``Loop/selection``.
///
/// The order of precedence, highest first: a policy that the program names where it makes a loop;
/// the environment variable `GYRE_LOOP`, for the operator; the program's default, set once with
/// ``setDefault(_:)``; ``automatic``.
public enum LoopPolicy: String, Sendable, CaseIterable, CustomStringConvertible {
    /// The first of the others that is usable, in their order here.
    case automatic
    /// The native loop on an io_uring. Linux 6.0 or later, where rings are allowed.
    case ioUring = "io_uring"
    /// The native loop on epoll. Any Linux.
    case epoll
    /// The loop on Dispatch and poll(2): the fallback, and for programs built around Dispatch.
    case dispatch

    /// The environment variable by which an operator chooses.
    public static let environmentVariable = "GYRE_LOOP"

    /// The name, as `GYRE_LOOP` takes it.
    public var description: String { rawValue }

    /// The policy called `name`.
    ///
    /// - Throws: ``LoopError/Code/unknownPolicy``, which lists the known ones.
    public init(named name: String) throws(LoopError) {
        guard let policy = LoopPolicy(rawValue: name) else {
            let known = LoopPolicy.allCases.map(\.rawValue).joined(separator: ", ")
            throw LoopError(
                .unknownPolicy, operation: "LoopPolicy",
                detail: "\"\(name)\" is none of \(known)")
        }
        self = policy
    }

    // MARK: The default

    private static let programDefault = Mutex<LoopPolicy?>(nil)

    /// Sets the policy of loops that are made without naming one.
    ///
    /// Once, at startup: libraries that made a loop before would run on another.
    ///
    /// - Throws: ``LoopError/Code/policyAlreadySet`` when it was set to another policy.
    /// - Important: Callable from any thread.
    public static func setDefault(_ policy: LoopPolicy) throws(LoopError) {
        let earlier = programDefault.withLock { current in
            if current == nil { current = policy }
            return current
        }
        guard let earlier, earlier != policy else { return }
        throw LoopError(
            .policyAlreadySet, operation: "LoopPolicy.setDefault",
            detail: "the default is \(earlier) already")
    }

    /// What a loop is made by when no policy is named, and who decided that.
    package struct Choice {
        package let policy: LoopPolicy
        package let origin: String

        package init(policy: LoopPolicy, origin: String) {
            self.policy = policy
            self.origin = origin
        }
    }

    static func choice(named policy: LoopPolicy?) throws(LoopError) -> Choice {
        if let policy { return Choice(policy: policy, origin: "parameter") }
        if let value = getenv(environmentVariable) {
            let name = String(cString: value)
            if !name.isEmpty {
                return Choice(policy: try LoopPolicy(named: name), origin: environmentVariable)
            }
        }
        if let policy = programDefault.withLock({ $0 }) {
            return Choice(policy: policy, origin: "program default")
        }
        return Choice(policy: .automatic, origin: "built-in default")
    }

    // MARK: Making loops

    /// Makes a loop of this policy.
    ///
    /// - Throws: ``LoopError/Code/policyUnavailable`` with the reason when the machine
    ///   does not give it.
    public func makeLoop() throws(LoopError) -> Loop {
        try BackendChoice.makeProgramLoop(LoopPolicy.Choice(policy: self, origin: "parameter"))
    }

    /// Makes a loop of this policy that goes by `clock`, as ``makeLoop(policy:clock:)``.
    ///
    /// - Throws: As ``makeLoop()``.
    public func makeLoop(clock: LoopClock) throws(LoopError) -> Loop {
        try BackendChoice.makeProgramLoop(
            LoopPolicy.Choice(policy: self, origin: "parameter"), clock: clock)
    }

    /// Whether this machine gives this policy right now, or why not.
    ///
    /// Makes such a loop and closes it again.
    public func probe() -> Result<LoopSelection, LoopError> {
        Result { () throws(LoopError) in
            let loop = try makeLoop()
            try loop.close()
            return loop.selection
        }
    }
}

/// Makes a loop: by `policy`, or where none is named by `GYRE_LOOP`, the program's default, or
/// ``LoopPolicy/automatic``, in this order.
///
/// - Throws: ``LoopError/Code/unknownPolicy`` when `GYRE_LOOP` names none;
///   ``LoopError/Code/policyUnavailable`` when the machine does not give the one named.
public func makeLoop(policy: LoopPolicy? = nil) throws(LoopError) -> Loop {
    try BackendChoice.makeProgramLoop(LoopPolicy.choice(named: policy))
}

/// Makes a loop as ``makeLoop(policy:)`` that goes by `clock`.
///
/// For tests of code with timers: with the manual clock of the product `GyreTesting` an hour takes
/// no time. <doc:TestingWithAClock> shows it.
///
/// - Throws: As ``makeLoop(policy:)``.
public func makeLoop(
    policy: LoopPolicy? = nil, clock: LoopClock
) throws(LoopError) -> Loop {
    try BackendChoice.makeProgramLoop(LoopPolicy.choice(named: policy), clock: clock)
}
