// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import GyreCore

@Suite("SendBuffers")
struct SendBuffersTests {
    private func copy(_ bytes: [UInt8], in buffers: SendBuffers) -> UnsafeRawBufferPointer? {
        bytes.withUnsafeBytes { buffers.copy($0) }
    }

    @Test("Pieces keep their bytes until they are released, and then the memory is used again")
    func reuse() throws {
        let buffers = SendBuffers()
        let first = try #require(copy([1, 2, 3], in: buffers))
        let second = try #require(copy([4, 5], in: buffers))
        #expect(Array(first) == [1, 2, 3])
        #expect(Array(second) == [4, 5])
        buffers.release(first)
        let third = try #require(copy([6], in: buffers))
        #expect(third.baseAddress != first.baseAddress)
        #expect(Array(second) == [4, 5])
        buffers.release(second)
        buffers.release(third)
        let fourth = try #require(copy([7], in: buffers))
        #expect(fourth.baseAddress == first.baseAddress)
    }

    @Test("Without room there is no piece, and no piece is overwritten")
    func exhaustion() throws {
        let buffers = SendBuffers()
        var pieces: [UnsafeRawBufferPointer] = []
        func next() -> UnsafeRawBufferPointer? {
            copy([UInt8](repeating: UInt8(pieces.count % 251), count: 16_000), in: buffers)
        }
        while let piece = next() {
            pieces.append(piece)
            try #require(pieces.count < 10_000, "the memory has no end")
        }
        #expect(pieces.count > 10)
        for (number, piece) in pieces.enumerated() {
            #expect(piece.allSatisfy { $0 == UInt8(number % 251) })
        }
        for piece in pieces.dropFirst(4) { buffers.release(piece) }
        var more = 0
        while copy([UInt8](repeating: 255, count: 16_000), in: buffers) != nil { more += 1 }
        #expect(more == pieces.count - 4)
        for (number, piece) in pieces.prefix(4).enumerated() {
            #expect(piece.allSatisfy { $0 == UInt8(number) })
        }
    }

    @Test("Only the newest piece grows, as long as its block has room")
    func growing() throws {
        let buffers = SendBuffers()
        func extend(
            _ piece: UnsafeRawBufferPointer, _ bytes: [UInt8]
        ) -> UnsafeRawBufferPointer? {
            bytes.withUnsafeBytes { buffers.extend(piece, by: $0) }
        }
        let first = try #require(copy([1, 2], in: buffers))
        let longer = try #require(extend(first, [3]))
        #expect(Array(longer) == [1, 2, 3])
        #expect(longer.baseAddress == first.baseAddress)
        let second = try #require(copy([9], in: buffers))
        #expect(extend(longer, [4]) == nil)
        #expect(extend(second, [UInt8](repeating: 0, count: 1 << 20)) == nil)
        #expect(Array(try #require(extend(second, [8]))) == [9, 8])
        #expect(Array(longer) == [1, 2, 3])
    }
}
