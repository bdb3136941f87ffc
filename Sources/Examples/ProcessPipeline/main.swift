// SPDX-License-Identifier: Apache-2.0

// Three programs in a row, as the shell's `sort | uniq -c | sort -rn`: bytes flow from one to the
// next at the pace of the slowest, and every end is seen.
//
//     gyre-example-process-pipeline WORD...    counts the words

import Gyre

/// Hands on everything that comes, and then the end.
func pump(_ reader: LoopStreamReader?, into writer: LoopStreamWriter?) async throws {
    guard let reader, let writer else { return }
    defer { writer.close() }
    while true {
        let bytes = try await reader.read(1 << 16)
        if bytes.isEmpty { return }
        try writer.write(bytes)
        try await writer.drain()
    }
}

@Sendable func countWords(_ words: [String]) async throws {
    let loop = Loop.running
    let options = LoopProcessOptions(stdin: .pipe, stdout: .pipe)
    let sorting = try loop.createSubprocessExec("sort", options: options)
    let counting = try loop.createSubprocessExec("uniq", ["-c"], options: options)
    let ranking = try loop.createSubprocessExec("sort", ["-rn"], options: options)

    let pumps = [
        loop.createTask { try await pump(sorting.stdout, into: counting.stdin) },
        loop.createTask { try await pump(counting.stdout, into: ranking.stdin) },
    ]
    try sorting.stdin?.writeLines(words.map { $0 + "\n" })
    sorting.stdin?.close()

    while let line = try await ranking.stdout?.readLine(), !line.isEmpty {
        let parts = String(decoding: line, as: UTF8.self).split { " \n".contains($0) }
        print("\(parts[1]): \(parts[0])")
    }
    for pump in pumps { try await pump.value }
    for process in [sorting, counting, ranking] {
        print("a process ended with \(try await process.wait())")
    }
}

let words = Array(CommandLine.arguments.dropFirst())
try run { try await countWords(words) }
