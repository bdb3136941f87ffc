// SPDX-License-Identifier: Apache-2.0

import CGyreBench
import Glibc

/// The ends of two pipes that one side has: it reads from one and writes to the other.
struct PipePair: Equatable {
    let input: CInt
    let output: CInt

    /// As on command lines: `5:8`.
    var text: String { "\(input):\(output)" }

    /// Reads a list such as `5:8,9:12`.
    static func parse(list: String) throws -> [PipePair] {
        try list.split(separator: ",", omittingEmptySubsequences: false).map { part in
            let ends = part.split(separator: ":", omittingEmptySubsequences: false)
                .map { CInt($0) }
            guard ends.count == 2, let input = ends[0], let output = ends[1], input >= 0,
                output >= 0
            else { throw BenchError("\"\(part)\" is not IN:OUT, two descriptors") }
            return PipePair(input: input, output: output)
        }
    }
}

/// Pipes in both directions between a server and a load generator, to be inherited by both.
///
/// They are closed here with this object.
final class PipePairs {
    private(set) var server: [PipePair] = []
    private(set) var load: [PipePair] = []

    init(count: Int) throws {
        for _ in 0..<count {
            let messages = try PipePairs.makePipe()
            let answers: (CInt, CInt)
            do {
                answers = try PipePairs.makePipe()
            } catch {
                Glibc.close(messages.0)
                Glibc.close(messages.1)
                throw error
            }
            server.append(PipePair(input: messages.0, output: answers.1))
            load.append(PipePair(input: answers.0, output: messages.1))
        }
    }

    deinit {
        closeServer()
        for pair in load { PipePairs.close(pair) }
    }

    /// Leaves the server's ends to the server, so that it is noticed when that breaks.
    func closeServer() {
        for pair in server { PipePairs.close(pair) }
        server = []
    }

    private static func makePipe() throws -> (CInt, CInt) {
        var ends: [CInt] = [-1, -1]
        let error = bench_pipe(&ends)
        guard error == 0 else { throw BenchError("no pipe: \(System.errorText(error))") }
        return (ends[0], ends[1])
    }

    private static func close(_ pair: PipePair) {
        Glibc.close(pair.input)
        Glibc.close(pair.output)
    }
}

extension [PipePair] {
    var text: String { map(\.text).joined(separator: ",") }

    var descriptors: [CInt] { flatMap { [$0.input, $0.output] } }
}
