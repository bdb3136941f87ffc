// SPDX-License-Identifier: Apache-2.0

public import GyreCore

extension Loop {
    /// Starts a program and lets a protocol object look after it: asyncio's `subprocess_exec`.
    ///
    /// `program` is a path, or a name that is looked for along the `PATH` of the environment that
    /// the process gets. It inherits its standard streams as `options` say, and no other
    /// descriptor; no signal is blocked in it, and `SIGPIPE` not ignored. The call waits until the
    /// program was loaded, about a millisecond. ``LoopSubprocessProtocol/connectionMade(_:)`` is
    /// called before it returns.
    ///
    /// The process's end is noticed without a handler of `SIGCHLD`. A program that ignores that
    /// signal, or collects every child it has, hides how its processes ended.
    ///
    /// - Throws: ``LoopError`` when the program is not there (``LoopError/Code/notFound``) or
    ///   cannot be run, or a limit is reached; nothing is left then.
    @discardableResult
    public func subprocessExec(
        _ program: String, _ arguments: [String] = [],
        options: LoopProcessOptions = LoopProcessOptions(),
        makeProtocol: () -> any LoopSubprocessProtocol
    ) throws(LoopError) -> LoopSubprocessTransport {
        try checkMayStart("subprocessExec")
        let process = try SpawnedProcess(program, arguments, options)
        let proto = makeProtocol()
        let transport = try LoopSubprocessTransport(process, loop: self, proto: proto) {
            SubprocessPipeUser($0, proto)
        }
        transport.begin()
        return transport
    }

    /// Runs a command line with `/bin/sh`: asyncio's `subprocess_shell`.
    ///
    /// Text from elsewhere does not belong into `command`: the shell would run what is in it.
    /// Otherwise as ``subprocessExec(_:_:options:makeProtocol:)``.
    @discardableResult
    public func subprocessShell(
        _ command: String, options: LoopProcessOptions = LoopProcessOptions(),
        makeProtocol: () -> any LoopSubprocessProtocol
    ) throws(LoopError) -> LoopSubprocessTransport {
        try subprocessExec(
            "/bin/sh", ["-c", command], options: options, makeProtocol: makeProtocol)
    }

    /// Starts a program, whose piped streams are read and written as streams: asyncio's
    /// `create_subprocess_exec`.
    ///
    /// The loop watches the process to its end, also when nobody holds it any more; closing the
    /// loop before kills it. See ``subprocessExec(_:_:options:makeProtocol:)``.
    ///
    /// - Throws: ``LoopError`` when the program is not there (``LoopError/Code/notFound``) or
    ///   cannot be run, or a limit is reached; nothing is left then.
    /// - Important: On the loop's thread only.
    public func createSubprocessExec(
        _ program: String, _ arguments: [String] = [],
        options: LoopProcessOptions = LoopProcessOptions()
    ) throws(LoopError) -> LoopProcess {
        try checkMayStart("createSubprocessExec")
        try checkLimit(options.limit, "createSubprocessExec")
        let process = try SpawnedProcess(program, arguments, options)
        return LoopProcess(try ProcessCore(process, loop: self, limit: options.limit))
    }

    /// Runs a command line with `/bin/sh`: asyncio's `create_subprocess_shell`.
    ///
    /// Text from elsewhere does not belong into `command`: the shell would run what is in it.
    /// Otherwise as ``createSubprocessExec(_:_:options:)``.
    public func createSubprocessShell(
        _ command: String, options: LoopProcessOptions = LoopProcessOptions()
    ) throws(LoopError) -> LoopProcess {
        try createSubprocessExec("/bin/sh", ["-c", command], options: options)
    }

    private func checkMayStart(_ operation: String) throws(LoopError) {
        checkThread("starting a process", instead: "handle.callSoonThreadSafe")
        guard !isClosed else { throw LoopError(.closed, operation: operation) }
    }
}
