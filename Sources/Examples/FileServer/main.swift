// SPDX-License-Identifier: Apache-2.0

// Serves the files of a folder over HTTP/1.0: the kernel sends them, no byte comes by here.
//
//     gyre-example-file-server [FOLDER [PORT]]    instead of the current folder and 8080
//     curl http://127.0.0.1:8080/Package.swift

import Glibc
import Gyre

/// A regular file that is open for reading.
struct OpenFile {
    let fd: CInt
    let size: Int

    /// Nil unless it can be read.
    init?(_ path: String) {
        fd = open(path, O_RDONLY | O_CLOEXEC)
        var status = stat()
        guard fd >= 0, fstat(fd, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            if fd >= 0 { Glibc.close(fd) }
            return nil
        }
        size = Int(status.st_size)
    }

    func close() { Glibc.close(fd) }
}

/// The path of a `GET`; nil for what is none, or leads out of the folder.
func path(of request: [UInt8], in folder: String) -> String? {
    let words = String(decoding: request, as: UTF8.self).split(separator: " ")
    guard words.count >= 2, words[0] == "GET", words[1].hasPrefix("/") else { return nil }
    let parts = words[1].split(separator: "/")
    guard !parts.contains("..") else { return nil }
    return folder + "/" + parts.joined(separator: "/")
}

func answer(
    _ reader: LoopStreamReader, _ writer: LoopStreamWriter, from folder: String
) async throws {
    let request = try await reader.readLine()
    // The headers, up to the empty line.
    while try await reader.readLine().count > 2 {}

    guard let path = path(of: request, in: folder), let file = OpenFile(path) else {
        return try writer.write("HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    }
    defer { file.close() }
    try writer.write("HTTP/1.0 200 OK\r\nContent-Length: \(file.size)\r\n\r\n")
    let sent = try await writer.transport?.sendFile(file.fd)
    print("sent \(sent ?? 0) bytes of \(path)")
}

let arguments = CommandLine.arguments.dropFirst()
let folder = arguments.first ?? "."
let port = arguments.dropFirst().first.flatMap { Int($0) } ?? 8080
do {
    try Gyre.run {
        let server = try await Loop.running.startServer(host: "127.0.0.1", port: port) {
            reader, writer in try await answer(reader, writer, from: folder)
        }
        print("serving \(folder) on \(server.addresses[0])")
        try await server.serveForever()
    }
} catch is LoopInterrupt {
    print("stopped")
}
