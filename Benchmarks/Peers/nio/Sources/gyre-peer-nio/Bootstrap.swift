// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix

// NIO's default maximum is 64 KiB. The other peers read up to 256, which saves NIO too about a
// tenth of its CPU at messages of 100 KiB; the allocator adapts, so small ones are as before.
private let receiveAllocator = AdaptiveRecvByteBufferAllocator(
    minimum: 64,
    initial: 2048,
    maximum: 256 * 1024
)

/// The same for pipes.
func makePipeBootstrap() -> NIOPipeBootstrap {
    NIOPipeBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .channelOption(.recvAllocator, value: receiveAllocator)
}

/// What both ways to serve have in common.
///
/// Everything else stays at NIO's defaults.
func makeBootstrap() -> ServerBootstrap {
    ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
        .serverChannelOption(.backlog, value: 4096)
        .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
        .childChannelOption(.recvAllocator, value: receiveAllocator)
}
