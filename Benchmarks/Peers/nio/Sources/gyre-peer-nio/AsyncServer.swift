// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix

private typealias Connection = NIOAsyncChannel<ByteBuffer, ByteBuffer>

func serveWithAsyncChannel(socket: CInt, ready: @Sendable () -> Void) async throws {
    let server = try await makeBootstrap().bind(socket) { channel in
        channel.eventLoop.makeCompletedFuture {
            try Connection(wrappingChannelSynchronously: channel)
        }
    }
    ready()
    try await withThrowingDiscardingTaskGroup { group in
        try await server.executeThenClose { connections in
            for try await connection in connections {
                group.addTask { await echo(connection) }
            }
        }
    }
}

/// Echoes between pipes.
func servePipesWithAsyncChannel(
    _ pipes: [(input: CInt, output: CInt)], ready: @Sendable () -> Void
) async throws {
    try await withThrowingDiscardingTaskGroup { group in
        for pair in pipes {
            let channel = try await makePipeBootstrap()
                .takingOwnershipOfDescriptors(input: pair.input, output: pair.output) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        try Connection(wrappingChannelSynchronously: channel)
                    }
                }
            group.addTask { await echo(channel) }
        }
        ready()
    }
}

private func echo(_ connection: Connection) async {
    // A connection that broke must not end the server.
    try? await connection.executeThenClose { inbound, outbound in
        for try await buffer in inbound {
            try await outbound.write(buffer)
        }
    }
}
