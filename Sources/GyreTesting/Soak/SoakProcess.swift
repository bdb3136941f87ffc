// SPDX-License-Identifier: Apache-2.0

import GyreCore
import GyreNet
import GyreTasks

// The two sides of a soak in two processes, so that each has descriptors for its ends alone. The
// one that connects says a line for every connection that ended: its number, and how many bytes its
// client sent and received. In the end it says how many were open at once, and its memory.

/// The side that connects, as the process that started it sees it.
final class SoakRemote: LoopSubprocessProtocol {
    private unowned let run: SoakRun
    private var process: LoopSubprocessTransport?
    private var line: [UInt8] = []
    private(set) var openMaximum = 0
    private(set) var memory = Soak.Memory()
    private(set) var isOver = false

    /// Starts `command`, which gets the addresses as its last argument.
    init(_ command: [String], _ run: SoakRun) throws {
        self.run = run
        var options = LoopProcessOptions()
        (options.stdin, options.stdout) = (.pipe, .pipe)
        let addresses = run.addresses.map(\.description).joined(separator: ",")
        process = try run.loop.subprocessExec(
            command[0], command.dropFirst() + [addresses], options: options
        ) { self }
    }

    func beginToEnd() { process?.pipeTransport(0)?.close() }

    func pipeDataReceived(_ fd: CInt, _ data: RawSpan) throws {
        // SAFETY: the bytes are copied before the borrow ends.
        let bytes = data.withUnsafeBytes { Array($0) }
        var pieces = bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let rest = pieces.removeLast()
        for piece in pieces {
            said(String(decoding: line + piece, as: UTF8.self))
            line = []
        }
        line += rest
    }

    private func said(_ line: String) {
        let numbers = line.split(separator: " ").compactMap { Int($0) }
        switch (line.first, numbers.count) {
        case ("=", 3):
            openMaximum = numbers[0]
            (memory.halfway, memory.atEnd) = (numbers[1], numbers[2])
        case (_, 3):
            run.clientEnded(
                run.settings.plan(UInt64(numbers[0])), sent: numbers[1], received: numbers[2])
        default: run.fail("the clients say: \(line)")
        }
    }

    func connectionLost(_ error: (any Error)?) {
        isOver = true
        let code = process?.returnCode ?? -1
        process = nil
        if code != 0 { run.fail("the clients ended with \(code)") }
        if openMaximum == 0 { run.fail("the clients ended early") }
    }
}

/// The side that connects, in a process of its own.
final class SoakReporter: LoopStreamProtocol {
    private let loop: Loop
    private let settings: SoakSettings
    private let servers: [SoakAddress]
    private var clients: SoakClients?
    private var output: LoopTransport?
    private var memory = Soak.Memory()

    init(_ loop: Loop, _ settings: SoakSettings, _ servers: [SoakAddress]) {
        self.loop = loop
        self.settings = settings
        self.servers = servers
    }

    func run(_ kit: ConformanceKit, _ duration: Duration) throws {
        try loop.connectReadPipe(0) { self }
        let output = try loop.connectWritePipe(1) { SoakOutput() }
        self.output = output
        let clients = SoakClients(loop, settings, servers) { plan, sent, received in
            try? output.write("\(plan.number) \(sent) \(received)\n")
        }
        self.clients = clients
        loop.callLater(duration / 2) { [self] in memory.halfway = Soak.residentMemory() }
        loop.callSoon { clients.fill() }
        try kit.run(loop)
        if let failure = clients.failure { try output.write("! \(failure)\n") }
        try output.write("= \(clients.openMaximum) \(memory.halfway) \(memory.atEnd)\n")
        output.close()
        while loop.statistics.operationCount > 0 { try kit.run(loop, .once) }
        try kit.drain(loop)
    }

    // MARK: The standard input, which ends when the time is over

    func dataReceived(_ data: RawSpan) {}

    func connectionLost(_ error: (any Error)?) {
        memory.atEnd = Soak.residentMemory()
        clients?.beginToEnd()
        awaitEnd()
    }

    private func awaitEnd() {
        let isOver = clients?.openCount == 0 && loop.statistics.timerCount == 0
        if isOver, loop.allTasks.isEmpty { return loop.stop() }
        loop.callLater(.milliseconds(20)) { [self] in awaitEnd() }
    }
}

/// The standard output.
private final class SoakOutput: LoopStreamProtocol {
    func dataReceived(_ data: RawSpan) {}
    func connectionLost(_ error: (any Error)?) {}
}
