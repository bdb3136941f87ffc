// SPDX-License-Identifier: Apache-2.0

/// What one of the standard streams of a process is.
public enum LoopStandardStream: Sendable, Hashable {
    /// This process's own.
    case inherit
    /// A pipe to this process.
    case pipe
    /// Nothing: `/dev/null`.
    case discard
    /// A descriptor of this process, which stays the caller's.
    case descriptor(CInt)
    /// The file at a path: read from its beginning, or made or emptied and then written.
    case file(String)
    /// For `stderr` only: wherever `stdout` goes.
    case standardOutput
}

/// How a process is started.
public struct LoopProcessOptions: Sendable {
    /// What the process reads.
    public var stdin = LoopStandardStream.inherit
    /// What the process writes.
    public var stdout = LoopStandardStream.inherit
    /// Where the process writes its errors.
    public var stderr = LoopStandardStream.inherit
    /// Descriptors of this process, above the standard streams, that it gets under the same
    /// numbers; they stay the caller's.
    ///
    /// It gets no others: whatever else is open here is closed there.
    public var passedDescriptors: [CInt] = []
    /// The variables of its environment; nil for those of this process.
    public var environment: [String: String]?
    /// The folder it starts in, where a relative path of the program is looked for, too; nil for
    /// this process's.
    public var workingDirectory: String?
    /// Starts it in a session of its own, without a terminal.
    public var startsNewSession = false
    /// The process group it joins, 0 for one of its own; nil for this process's.
    public var processGroup: CInt?
    /// How long a line of the streams may be, in bytes, where they are read as streams.
    public var limit = LoopStreamReader.defaultLimit

    /// Everything is this process's own.
    public init() {}

    /// The standard streams as given, and the rest this process's own.
    public init(
        stdin: LoopStandardStream = .inherit, stdout: LoopStandardStream = .inherit,
        stderr: LoopStandardStream = .inherit
    ) {
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
    }

    /// Pipes for all three standard streams.
    public static let piped = LoopProcessOptions(stdin: .pipe, stdout: .pipe, stderr: .pipe)
}
