// SPDX-License-Identifier: Apache-2.0

import NIOCore
import NIOPosix

/// Sends back each buffer as it came: NIO at its fastest.
///
/// There is no back pressure, which a real server would want and pay for with one more handler.
final class EchoHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        context.writeAndFlush(data, promise: nil)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}

/// Echoes between pipes.
func servePipesWithHandler(_ pipes: [(input: CInt, output: CInt)], ready: () -> Void) throws {
    let channels = try pipes.map { pair in
        try makePipeBootstrap()
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(EchoHandler())
                }
            }
            .takingOwnershipOfDescriptors(input: pair.input, output: pair.output)
            .wait()
    }
    ready()
    for channel in channels { try channel.closeFuture.wait() }
}

func serveWithHandler(socket: CInt, ready: () -> Void) throws {
    let channel = try makeBootstrap()
        .childChannelInitializer { channel in
            channel.eventLoop.makeCompletedFuture {
                try channel.pipeline.syncOperations.addHandler(EchoHandler())
            }
        }
        .withBoundSocket(socket)
        .wait()
    ready()
    try channel.closeFuture.wait()
}
