// SPDX-License-Identifier: Apache-2.0

// The steps of the article "From the first timer to a chat server".
//
//     gyre-example-first-steps timer|tasks|several|limits|connection

import Gyre

// MARK: A timer

func timer() throws {
    let loop = try makeLoop()
    loop.callSoon {
        print("Hello")
        loop.callLater(.milliseconds(50)) {
            print("world")
            loop.stop()
        }
    }
    try loop.runForever()
    try loop.close()
}

// MARK: Tasks

func countDown(from start: Int) async throws {
    for number in (1...start).reversed() {
        print("\(number)")
        try await sleep(.milliseconds(20))
    }
    print("lift-off")
}

func tasks() throws {
    try Gyre.run { try await countDown(from: 3) }
}

// MARK: Several tasks

func fetch(_ page: String, takes delay: Duration) async throws -> Int {
    try await sleep(delay)
    print("got \(page)")
    return page.count
}

func several() throws {
    try Gyre.run {
        let loop = Loop.running
        let slow = loop.createTask { try await fetch("slow", takes: .milliseconds(500)) }
        let quick = loop.createTask { try await fetch("quick", takes: .milliseconds(20)) }
        let sizes = try await gather(slow, quick).value
        print("\(sizes.0) and \(sizes.1) bytes")
    }
}

// MARK: Limits

func limits() throws {
    try Gyre.run {
        let job = Loop.running.createTask {
            do {
                try await sleep(.seconds(3600))
            } catch is CancellationError {
                print("cleaning up")
                throw CancellationError()
            }
        }
        do {
            try await waitFor(job, timeout: .milliseconds(500))
        } catch let error as LoopError where error.code == .timedOut {
            print("that took too long")
        }
    }
}

// MARK: A connection

func connection() throws {
    try Gyre.run {
        let loop = Loop.running
        let server = try await loop.startServer(host: "127.0.0.1", port: 0) { reader, writer in
            for try await line in reader.lines { try writer.write("\(line), too\n") }
        }
        let (reader, writer) = try await loop.openConnection(
            host: "127.0.0.1", port: server.addresses[0].port)
        try writer.write("I am here\n")
        print(String(decoding: try await reader.readLine(), as: UTF8.self), terminator: "")
        writer.close()
        try await writer.waitClosed()
        server.close()
        try await server.waitClosed()
    }
}

switch CommandLine.arguments.dropFirst().first {
case "timer": try timer()
case "tasks": try tasks()
case "several": try several()
case "limits": try limits()
case "connection": try connection()
default: print("say which step: timer, tasks, several, limits or connection")
}
