// SPDX-License-Identifier: Apache-2.0

import Foundation
import Gyre
import TestPrograms
import Testing

/// Every program of `Sources/Examples`, run as its reader would, on every loop of this machine.
@Suite("Examples", .serialized)
struct ExampleTests {
    private static let policies = ["io_uring", "epoll", "dispatch"]

    private let environment = ProcessInfo.processInfo.environment

    private func skipUnlessAvailable(_ name: String) throws {
        let required = environment["GYRE_REQUIRE_POLICIES"] ?? ""
        guard !required.split(separator: ",").contains(name[...]) else { return }
        if case .failure(let reason) = try LoopPolicy(named: name).probe() {
            try Test.cancel("\(name) is not available here: \(reason)")
        }
    }

    /// The example called `name`, which was built beside the tests.
    private func start(
        _ name: String, _ arguments: [String] = [], policy: String? = nil
    ) throws -> Program {
        var environment = environment
        environment["GYRE_LOOP"] = policy
        return try Program(
            Program.path("gyre-example-\(name)"), arguments, environment: environment)
    }

    @Test(
        "FirstSteps does what its article says", arguments: policies,
        [
            ("timer", ["Hello", "world"]), ("tasks", ["3", "2", "1", "lift-off"]),
            ("several", ["got quick", "got slow", "4 and 5 bytes"]),
            ("limits", ["cleaning up", "that took too long"]), ("connection", ["I am here, too"]),
        ])
    func firstSteps(policy: String, step: (name: String, prints: [String])) throws {
        try skipUnlessAvailable(policy)
        let program = try start("first-steps", [step.name], policy: policy)
        #expect(program.readToEnd() == step.prints)
        #expect(program.wait() == 0)
    }

    @Test("StopOnInterrupt prints until it is interrupted", arguments: policies)
    func stopOnInterrupt(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("stop-on-interrupt", ["0.05"], policy: policy)
        for _ in 0..<3 { #expect(program.readLine() == "run") }
        program.send(SIGINT)
        let rest = program.readToEnd().drop { $0 == "run" }
        #expect(Array(rest) == ["interrupted, the loop stops", "stopped"])
        #expect(program.wait() == 0)
    }

    @Test("StopOnSignal echoes until a signal, and sends what it owes", arguments: policies)
    func stopOnSignal(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("stop-on-signal", ["0"], policy: policy)
        let line = program.readLine() ?? "nothing"
        let match = try #require(
            line.wholeMatch(of: /listening on 127\.0\.0\.1:(\d+)/), "its first line is: \(line)")
        let port = try #require(UInt16(match.1))
        let clients = try (0..<3).map { _ in try Client(port: port) }
        for (number, client) in clients.enumerated() {
            try client.send("hello \(number)")
            #expect(try client.receive(7) == "hello \(number)")
        }
        program.send(SIGTERM)
        #expect(program.readLine() == "stopping with 3 open connections")
        for client in clients { #expect(try client.receive(1) == "", "the end of the stream") }
        #expect(program.readToEnd() == ["stopped"])
        #expect(program.wait() == 0)
    }

    /// The port of the server that says `line` first.
    private func port(in line: String?, after text: String) throws -> UInt16 {
        let line = line ?? "nothing"
        try #require(line.hasPrefix("\(text) 127.0.0.1:"), "its first line is: \(line)")
        return try #require(line.split(separator: ":").last.flatMap { UInt16($0) })
    }

    @Test("FileServer sends files, and those of its folder only", arguments: policies)
    func fileServer(policy: String) throws {
        try skipUnlessAvailable(policy)
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("gyre-files-\(UUID().uuidString)")
        try FileManager.default.createDirectory(
            at: folder.appendingPathComponent("inner"), withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let text = (0..<200_000).map { "\($0)\n" }.joined()
        let files = ["large.txt": text, "inner/small.txt": "hello", "empty.txt": ""]
        for (name, text) in files {
            try Data(text.utf8).write(to: folder.appendingPathComponent(name))
        }
        let server = try start("file-server", [folder.path, "0"], policy: policy)
        let port = try port(in: server.readLine(), after: "serving \(folder.path) on")
        for (name, text) in files {
            let client = try Client(port: port)
            try client.send("GET /\(name) HTTP/1.0\r\nHost: here\r\n\r\n")
            let head = "HTTP/1.0 200 OK\r\nContent-Length: \(text.utf8.count)\r\n\r\n"
            #expect(try client.receive(1 << 22) == head + text)
            #expect(
                server.readLine() == "sent \(text.utf8.count) bytes of \(folder.path)/\(name)")
        }
        for path in ["/none.txt", "/../\(folder.lastPathComponent)/large.txt", "/inner", "/"] {
            let client = try Client(port: port)
            try client.send("GET \(path) HTTP/1.0\r\n\r\n")
            #expect(try client.receive(1000).hasPrefix("HTTP/1.0 404 "), "\(path)")
        }
        server.send(SIGINT)
        #expect(server.readToEnd() == ["stopped"])
        #expect(server.wait() == 0)
    }

    @Test("StreamEcho sends back what its client says", arguments: policies)
    func streamEcho(policy: String) throws {
        try skipUnlessAvailable(policy)
        let server = try start("stream-echo", ["server", "0"], policy: policy)
        let port = try port(in: server.readLine(), after: "Serving on")
        for message in ["Hello", "A longer message"] {
            let client = try start("stream-echo", ["client", "\(port)", message], policy: policy)
            #expect(
                client.readToEnd() == [
                    "Send: \"\(message)\"", "Received: \"\(message)\"", "Close the connection",
                ])
            #expect(client.wait() == 0)
            #expect(server.readLine() == "Received \"\(message)\" from 127.0.0.1")
            #expect(server.readLine() == "Send: \"\(message)\"")
            #expect(server.readLine() == "Close the connection")
        }
        server.send(SIGINT)
        #expect(server.readToEnd() == ["Stopped"])
        #expect(server.wait() == 0)
    }

    @Test("Chat tells everybody what one says", arguments: policies)
    func chat(policy: String) throws {
        try skipUnlessAvailable(policy)
        let server = try start("chat", ["0"], policy: policy)
        let port = try port(in: server.readLine(), after: "listening on")
        let question = "What is your name?\n"
        func join(_ name: String, _ answer: String) throws -> Client {
            let client = try Client(port: port)
            try client.send("\(name)\n")
            try client.expect(question + answer)
            return client
        }
        let anna = try join("anna", "Hello, anna.\n")
        let bert = try join("bert", "Hello, bert.\n")
        try anna.expect("* bert is here\n")
        let other = try join("anna", "Somebody has that name already.\n")
        #expect(try other.receive(1) == "", "it is sent away")
        try bert.send("good morning\r\nhow are you?\n")
        try anna.expect("bert: good morning\nbert: how are you?\n")
        try anna.send("well\n")
        try bert.expect("anna: well\n")
        try bert.send(String(repeating: "a", count: 1100))
        try bert.expect("That was too long.\n")
        #expect(try bert.receive(1) == "", "it is sent away")
        try anna.expect("* bert has left\n")
        server.send(SIGTERM)
        #expect(try anna.receive(1) == "", "the end of the stream")
        #expect(server.readToEnd() == ["stopped"])
        #expect(server.wait() == 0)
    }

    @Test("NameResponder answers every question", arguments: policies)
    func nameResponder(policy: String) throws {
        try skipUnlessAvailable(policy)
        let responder = try start("name-responder", ["0"], policy: policy)
        let port = try port(in: responder.readLine(), after: "answering at")
        let clients = try (0..<2).map { _ in try Client(port: port, overUDP: true) }
        try clients[0].send("Router\n")
        try clients[1].send("printer")
        try clients[0].send("gateway and more")
        #expect(try clients[0].receiveDatagram() == "router is 192.0.2.1")
        #expect(try clients[1].receiveDatagram() == "printer is 192.0.2.7")
        #expect(try clients[0].receiveDatagram() == "gateway is not known here")
        responder.send(SIGTERM)
        #expect(responder.readToEnd() == ["stopped"])
        #expect(responder.wait() == 0)
    }

    @Test("PortForwarder leads to a Unix socket and back", arguments: policies)
    func portForwarder(policy: String) throws {
        try skipUnlessAvailable(policy)
        var service: UnixService? = try UnixService()
        let path = try #require(service?.path)
        let forwarder = try start("port-forwarder", ["0", path], policy: policy)
        let line = forwarder.readLine()?.replacing(" to \(path)", with: "")
        let port = try port(in: line, after: "forwarding")
        let clients = try (0..<2).map { _ in try Client(port: port) }
        for (number, client) in clients.enumerated() {
            try client.send("question \(number)")
            let served = try #require(try service?.accept())
            try served.expect("question \(number)")
            // Each direction ends by itself.
            client.endSending()
            #expect(try served.receive(1) == "")
            try served.send("answer")
            served.endSending()
            try client.expect("answer")
            #expect(try client.receive(1) == "")
        }
        service = nil
        let late = try Client(port: port)
        #expect(try late.receive(1) == "", "nobody serves it")
        #expect(forwarder.readLine()?.contains("reported: connect: ") == true)
        forwarder.send(SIGTERM)
        #expect(forwarder.readToEnd() == ["stopped"])
        #expect(forwarder.wait() == 0)
    }

    @Test("ScheduledCalls runs a task that was submitted from inside a task", arguments: policies)
    func scheduledCalls(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("scheduled-calls", ["0.5"], policy: policy)
        let lines = program.readToEnd()
        let heads = lines.map { $0.split(separator: " ")[0] }
        try #require(heads == ["1", "2", "3", "task", "4"], "\(lines)")
        let times = lines.compactMap { $0.split(separator: " ").last.flatMap { Double($0) } }
        try #require(times.count == 4, "\(lines)")
        #expect(times == times.sorted())
        #expect(times[2] - times[0] >= 0.5 && times[1] - times[0] < 0.5)
        #expect(program.wait() == 0)
    }

    @Test("FutureErrors shows where errors go", arguments: policies)
    func futureErrors(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("future-errors", ["0.02"], policy: policy)
        let place = /main\.swift:\d+/
        let lines = program.readToEnd().map { $0.replacing(place, with: "main.swift:LINE") }
        let error = "something went wrong"
        #expect(
            lines == [
                "1. The callback asks for the error", "callback", "true", error,
                "2. The callback asks for the result, too", "callback", "true", error,
                "reported: A callback threw an error", "  error: \(error)",
                "  from: gyre_example_future_errors/main.swift:LINE",
                "3. Nobody asks",
                "reported: The error of a future was never looked at", "  error: \(error)",
                "  from: gyre_example_future_errors/main.swift:LINE",
            ])
        #expect(program.wait() == 0)
    }

    @Test("GatherVersusWait cancels work with gather only", arguments: policies)
    func gatherVersusWait(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("gather-versus-wait", ["0.05"], policy: policy)
        let expected = """
            Waiting task cancelled
            Work result: done
            -------------------
            Waiting task cancelled
            Work task cancelled
            """
        #expect(program.readToEnd() == expected.components(separatedBy: "\n"))
        #expect(program.wait() == 0)
    }

    @Test("ProcessPipeline counts words with three processes", arguments: policies)
    func processPipeline(policy: String) throws {
        try skipUnlessAvailable(policy)
        let words = ["pear", "fig", "pear", "plum", "fig", "pear"]
        let program = try start("process-pipeline", words, policy: policy)
        let end = "a process ended with 0"
        #expect(program.readToEnd() == ["pear: 3", "fig: 2", "plum: 1", end, end, end])
        #expect(program.wait() == 0)
    }

    @Test("WaitAny cancels what is left of the work", arguments: policies)
    func waitAny(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("wait-any", ["0.05"], policy: policy)
        let expected = """
            Case1: Work done
            -------------------
            waiting is done
            waiting connection lost is cancelled
            work is done

            Case2: Connection lost
            -------------------
            waiting is done
            connection is lost
            work is cancelled

            Case3: Cancel waiting
            -------------------
            waiting is cancelled
            waiting connection lost is cancelled
            work is cancelled
            """
        #expect(program.readToEnd() == expected.components(separatedBy: "\n"))
        #expect(program.wait() == 0)
    }

    @Test("TasksInsideTasks runs all of it", arguments: policies)
    func tasksInsideTasks(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("tasks-inside-tasks", policy: policy)
        let expected = [
            "main begins", "eager task begins", "main waits", "callback", "thread-safe callback",
            "task begins", "eager task ends", "submitted task begins", "task ends",
            "submitted task ends", "task of a task begins", "task of a task ends", "main ends",
        ]
        let lines = program.readToEnd()
        // The timer comes when its time has come, and that before the end.
        #expect(lines.filter { $0 != "timer" } == expected)
        #expect(lines.contains("timer"))
        #expect(program.wait() == 0)
    }

    @Test("PolicySwap runs on the loop that is named", arguments: policies)
    func policySwap(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("policy-swap", [policy], policy: "epoll")
        #expect(program.readLine() == "runs on \(policy), asked for by parameter")
        #expect(program.readToEnd() == ["the timer was on time"])
        #expect(program.wait() == 0)
    }

    @Test("PolicySwap runs on the loop of the operator", arguments: policies)
    func operatorsChoice(policy: String) throws {
        try skipUnlessAvailable(policy)
        let program = try start("policy-swap", policy: policy)
        #expect(program.readLine() == "runs on \(policy), asked for by GYRE_LOOP")
        #expect(program.readToEnd() == ["the timer was on time"])
        #expect(program.wait() == 0)
    }

    @Test("PolicySwap refuses a policy that does not exist, and lists those that do")
    func unknownPolicy() throws {
        let program = try start("policy-swap", ["kqueue"])
        let line = try #require(program.readLine())
        #expect(line.hasPrefix("no loop: "))
        #expect(line.contains("\"kqueue\" is none of automatic, io_uring, epoll, dispatch"))
        #expect(program.wait() == 1)
    }

    @Test("Echo serves clients written with CPython's asyncio", arguments: policies)
    func echo(policy: String) throws {
        try skipUnlessAvailable(policy)
        let python = try pythonOrSkip()
        let server = try start("echo", ["0"], policy: policy)
        let line = server.readLine() ?? "nothing"
        let match = try #require(
            line.wholeMatch(of: /listening on 127\.0\.0\.1:(\d+), driven by (\w+) .*/),
            "its first line is: \(line)")
        #expect(match.2 == policy)
        let script = URL(filePath: #filePath).deletingLastPathComponent()
            .appending(path: "echo_client.py").path()
        let client = try Program(python, [script, String(match.1)], environment: environment)
        #expect(client.readToEnd() == ["64 connections echoed 71368704 bytes"])
        #expect(client.wait() == 0)
        server.send(SIGINT)
        #expect(server.readToEnd() == ["stopped"])
        #expect(server.wait() == 0)
    }

    private func pythonOrSkip() throws -> String {
        for folder in (environment["PATH"] ?? "").split(separator: ":") {
            let path = "\(folder)/python3"
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        try Test.cancel("there is no python3 here")
    }
}
