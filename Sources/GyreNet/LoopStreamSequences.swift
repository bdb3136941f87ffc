// SPDX-License-Identifier: Apache-2.0

extension LoopStreamReader {
    /// The bytes as they arrive, in pieces of any size.
    ///
    /// Ends with the stream. A chunk that is written or looked at before the task suspends was not
    /// copied: this is the fastest way to read.
    public var chunks: LoopConnection.Chunks { LoopConnection(core).chunks }

    /// The lines as text, without their `\n` or `\r\n`.
    ///
    /// Ends with the stream. Bytes that are no UTF-8 become replacement characters; for the bytes
    /// of a line, and its end, there is ``readLine()``, whose errors these lines throw too.
    public var lines: Lines { Lines(reader: self) }

    /// The lines of a stream, for `for try await`.
    public struct Lines: AsyncSequence, Sendable {
        let reader: LoopStreamReader

        /// Makes an iterator; those of one stream take turns.
        public func makeAsyncIterator() -> Iterator { Iterator(reader: reader) }

        /// Hands out line after line.
        public struct Iterator: AsyncIteratorProtocol, Sendable {
            let reader: LoopStreamReader

            /// The next line, as ``LoopStreamReader/readLine()``; nil at the end.
            public func next() async throws -> String? {
                Self.text(of: try await reader.readLine())
            }

            /// The next line, as ``LoopStreamReader/readLine()``; nil at the end.
            public func next(isolation actor: isolated (any Actor)?) async throws -> String? {
                Self.text(of: try await reader.readLine())
            }

            private static func text(of line: [UInt8]) -> String? {
                guard !line.isEmpty else { return nil }
                var line = line[...]
                if line.last == UInt8(ascii: "\n") {
                    line.removeLast()
                    if line.last == UInt8(ascii: "\r") { line.removeLast() }
                }
                return String(decoding: line, as: UTF8.self)
            }
        }
    }
}
