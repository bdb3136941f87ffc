// SPDX-License-Identifier: Apache-2.0

import Testing

/// Where the compiler is told to look away, and why it may.
@Suite("Unsafe code is rare, listed and explained")
struct SafetyTests {
    /// Uses of what switches a check of the compiler off, by file.
    ///
    /// May only shrink.
    private static let unchecked: [String: Int] = [
        "Sources/GyreCore/BlockingPool.swift": 1,
        "Sources/GyreCore/CarriedCallback.swift": 1,
        "Sources/GyreCore/Loop+Fork.swift": 1,
        "Sources/GyreCore/Loop.swift": 2,
        "Sources/GyreCore/RingBuffer.swift": 1,
        "Sources/GyreCore/TaskTable.swift": 4,
        "Sources/GyreDispatch/DispatchEmbedding.swift": 1,
        "Sources/GyreGlobalExecutor/GlobalExecutor.swift": 2,
        "Sources/GyreTasks/DelegatingFuture.swift": 1,
        "Sources/GyreTasks/LoopBound.swift": 1,
        "Sources/GyreNet/ConnectionCore.swift": 1,
        "Sources/GyreNet/DatagramCore.swift": 1,
        "Sources/GyreNet/ProcessCore.swift": 1,
        "Sources/GyreTasks/LoopFuture.swift": 1,
        "Sources/GyreTasks/LoopFutureBase.swift": 1,
        "Sources/GyreTasks/LoopTask.swift": 2,
        "Sources/GyreTasks/OwnTask.swift": 1,
        "Sources/GyreTasks/Sleep.swift": 1,
        "Sources/GyreTasks/TaskGroup.swift": 1,
        "Sources/GyreTasks/TaskState.swift": 2,
        "Sources/GyreTasks/Timeout.swift": 1,
        "Sources/GyreTasks/WaitLine.swift": 1,
    ]

    /// Types that belong to a loop's thread, and where that is said.
    private static let loopBound = [
        "Loop": "Sources/GyreCore/Loop.swift",
        "LoopCallback": "Sources/GyreCore/Loop+Scheduling.swift",
        "LoopTimer": "Sources/GyreCore/Loop+Scheduling.swift",
        "LoopDoneCallback": "Sources/GyreTasks/LoopFuture.swift",
        "LoopRunner": "Sources/GyreTasks/LoopRunner.swift",
        "LoopConnecting": "Sources/GyreNet/LoopConnecting.swift",
        "LoopLookUp": "Sources/GyreNet/LoopLookUp.swift",
        "LoopFileSending": "Sources/GyreNet/LoopTransport+SendFile.swift",
        "LoopDatagramTransport": "Sources/GyreNet/LoopDatagramTransport.swift",
        "LoopServer": "Sources/GyreNet/LoopServer.swift",
        "LoopSubprocessTransport": "Sources/GyreNet/LoopSubprocessTransport.swift",
        "LoopTransport": "Sources/GyreNet/LoopTransport.swift",
    ]

    /// The files that handle memory by pointers.
    private static let pointers: Set<String> = [
        "Sources/GyreCore/Backends/EpollBackend.swift",
        "Sources/GyreCore/Backends/IOUringBackend.swift",
        "Sources/GyreCore/Backends/Readiness.swift",
        "Sources/GyreCore/CallSite.swift",
        "Sources/GyreCore/Loop.swift",
        "Sources/GyreCore/LoopHandle+Executor.swift",
        "Sources/GyreCore/Mutex+Sanitizer.swift",
        "Sources/GyreCore/Operations/Connect.swift",
        "Sources/GyreCore/Operations/Operation.swift",
        "Sources/GyreCore/Operations/OperationTable.swift",
        "Sources/GyreCore/Operations/Receive.swift",
        "Sources/GyreCore/Operations/Send.swift",
        "Sources/GyreCore/RingBuffer.swift",
        "Sources/GyreCore/ScratchMemory.swift",
        "Sources/GyreCore/SendBuffers.swift",
        "Sources/GyreCore/TaskTable.swift",
        "Sources/GyreCore/TimerHeap.swift",
        "Sources/GyreDispatch/MainQueue.swift",
        "Sources/GyreNet/ConnectAttempt.swift",
        "Sources/GyreNet/ConnectionCore.swift",
        "Sources/GyreNet/DatagramQueue.swift",
        "Sources/GyreNet/LoopAddress+Unix.swift",
        "Sources/GyreNet/Loop+Sockets.swift",
        "Sources/GyreNet/LoopAddress.swift",
        "Sources/GyreNet/LoopBufferedProtocol.swift",
        "Sources/GyreNet/LoopChunk.swift",
        "Sources/GyreNet/LoopDatagramTransport+Sending.swift",
        "Sources/GyreNet/LoopDatagramTransport.swift",
        "Sources/GyreNet/LoopTransport+Batching.swift",
        "Sources/GyreNet/LoopTransport+Pipe.swift",
        "Sources/GyreNet/LoopTransport+Protocols.swift",
        "Sources/GyreNet/LoopTransport+Passing.swift",
        "Sources/GyreNet/LoopTransport+Writing.swift",
        "Sources/GyreNet/LoopTransport.swift",
        "Sources/GyreNet/ReadBuffer.swift",
        "Sources/GyreNet/Resolver.swift",
        "Sources/GyreNet/SocketOptions.swift",
        "Sources/GyreNet/SpawnedProcess.swift",
        "Sources/GyreNet/WriteQueue.swift",
        "Sources/GyreTasks/FutureParts.swift",
        "Sources/GyreTasks/LoopFuture+Await.swift",
        "Sources/GyreTasks/LoopTask.swift",
        "Sources/GyreTasks/TaskState.swift",
        "Sources/GyreTesting/Conformance/BufferedProtocols.swift",
        "Sources/GyreTesting/Conformance/Ports.swift",
        "Sources/GyreTesting/Conformance/Forks.swift",
        "Sources/GyreTesting/Conformance/Processes.swift",
        "Sources/GyreTesting/Conformance/Signals.swift",
        "Sources/GyreTesting/OpenDescriptors.swift",
        "Sources/GyreTesting/RawPeer.swift",
        "Sources/GyreTesting/SocketFolder.swift",
    ]

    @Test("@unchecked Sendable, nonisolated(unsafe) and Unmanaged are counted")
    func uncheckedUsesAreCounted() {
        let pattern = /@unchecked Sendable|nonisolated\(unsafe\)|\bUnmanaged\b|@preconcurrency/
        var found: [String: Int] = [:]
        for file in Repository.sources {
            let uses = file.code.matches(of: pattern).count
            if uses > 0 { found[file.path] = uses }
        }
        #expect(found == Self.unchecked)
    }

    @Test("No example needs a lock, or the compiler to look away")
    func examplesAreSafe() {
        let examples = Repository.sources.filter { $0.target == "Examples" }
        #expect(examples.count >= 8)
        let pattern = /Mutex|Atomic|[Ll]ock\(|unchecked|nonisolated|@preconcurrency|[Uu]nsafe/
        let found = examples.filter { $0.code.contains(pattern) }.map(\.path)
        #expect(found == [])
    }

    @Test("The files with pointers are listed")
    func pointersAreListed() {
        let found = Repository.sources.filter(Self.usesPointers).map(\.path)
        #expect(Set(found) == Self.pointers)
    }

    @Test("Every file with unsafe code says why it is safe")
    func unsafeCodeIsExplained() {
        let unsafe = Repository.sources.filter {
            Self.usesPointers($0) || Self.unchecked.keys.contains($0.path)
        }
        #expect(!unsafe.isEmpty)
        let unexplained = unsafe.filter { !$0.text.contains("// SAFETY: ") }.map(\.path)
        #expect(unexplained == [])
    }

    @Test("Nothing in Sources traps for want of error handling")
    func nothingTrapsLazily() {
        let pattern = /\btry!|\bas!|\bfatalError\(|[\w)\]}?]!(?!=)/
        // The pattern alone takes half a minute for all of the lines.
        func suspicious(_ line: Substring) -> Bool {
            line.utf8.contains(UInt8(ascii: "!")) || line.contains("fatalError(")
        }
        for file in Repository.sources {
            for (index, line) in file.code.split(
                separator: "\n", omittingEmptySubsequences: false
            ).enumerated() where suspicious(line) && line.contains(pattern) {
                Issue.record("\(file):\(index + 1): \(line)")
            }
        }
    }

    @Test("Loop-bound types cannot become Sendable by accident")
    func loopBoundTypesAreMarked() throws {
        for (type, path) in Self.loopBound {
            let text = try Repository.file(path).text
            let isMarked = text.contains(
                "@available(*, unavailable)\nextension \(type): Sendable {}")
            #expect(isMarked, "\(type) is not marked in \(path)")
        }
    }

    private static func usesPointers(_ file: Repository.File) -> Bool {
        file.code.contains(
            /\bUnsafe\w*Pointer\b|\bwithUnsafe\w+|\bunsafeBitCast\b|\bunsafelyUnwrapped\b/
        )
    }
}
