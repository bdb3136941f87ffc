// SPDX-License-Identifier: Apache-2.0

public import GyreCore

/// A behaviour that a loop does not show.
///
/// Thrown by a callback, it ends the run at once.
public struct ConformanceFailure: LoopFatalError, CustomStringConvertible {
    /// What was expected, and what came instead.
    public let message: String
    /// The file of the expectation.
    public let file: String
    /// The line of the expectation.
    public let line: Int

    /// `file:line: message`.
    public var description: String { "\(file):\(line): \(message)" }

    /// Makes a failure of the expectation at `file`:`line`.
    public init(_ message: String, file: String = #filePath, line: Int = #line) {
        self.message = message
        self.file = file
        self.line = line
    }
}

/// Throws a ``ConformanceFailure`` unless `condition` holds.
public func expect(
    _ condition: Bool, _ message: @autoclosure () -> String,
    file: String = #filePath, line: Int = #line
) throws {
    guard !condition else { return }
    throw ConformanceFailure(message(), file: file, line: line)
}

/// Throws a ``ConformanceFailure`` that shows both values unless they are equal.
public func expect<Value: Equatable>(
    _ value: Value, equals expected: Value, _ message: @autoclosure () -> String = "",
    file: String = #filePath, line: Int = #line
) throws {
    guard value != expected else { return }
    let text = message()
    throw ConformanceFailure(
        "\(text)\(text.isEmpty ? "" : ": ")got \(value), expected \(expected)",
        file: file, line: line)
}

/// Throws a ``ConformanceFailure`` unless `body` throws an error of the type `type`, and returns
/// that.
@discardableResult
public func expectError<Failure: Error>(
    _ type: Failure.Type, file: String = #filePath, line: Int = #line, _ body: () throws -> Void
) throws -> Failure {
    do {
        try body()
    } catch let error as Failure {
        return error
    } catch {
        throw ConformanceFailure("threw \(error), expected a \(type)", file: file, line: line)
    }
    throw ConformanceFailure("threw nothing, expected a \(type)", file: file, line: line)
}

/// Throws a ``ConformanceFailure`` unless `body` throws a `LoopError` with the code `code`.
public func expectError(
    _ code: LoopError.Code, file: String = #filePath, line: Int = #line, _ body: () throws -> Void
) throws {
    let error = try expectError(LoopError.self, file: file, line: line, body)
    try expect(error.code, equals: code, "the error \(error)", file: file, line: line)
}
