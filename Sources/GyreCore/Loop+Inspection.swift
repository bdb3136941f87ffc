// SPDX-License-Identifier: Apache-2.0

import CGyre
import Glibc

/// Debug mode and the handling of errors: what a loop knows of its own health.
struct Inspection {
    var slowCallbackDuration = Duration.milliseconds(100)
    var longestCallback: Duration?
    /// The task whose step runs, in debug mode.
    var taskOfStep: String?
    var exceptionHandler: LoopExceptionHandler?
    var diagnosticSink: (String) -> Void = { text in
        var line = text + "\n"
        line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

/// Handles an error that no caller is there to catch.
public typealias LoopExceptionHandler = (Loop, LoopExceptionContext) throws -> Void

/// What is known of an error that no caller is there to catch.
public struct LoopExceptionContext: Sendable {
    /// What happened, as a sentence without a full stop.
    public let message: String
    /// The error, where there is one.
    public let error: (any Error)?
    /// Where the callback was scheduled, or the object made.
    public let site: CallSite?

    /// The context of an error.
    public init(message: String, error: (any Error)? = nil, site: CallSite? = nil) {
        self.message = message
        self.error = error
        self.site = site
    }
}

extension Loop {
    /// Runs a callback of the user's, and sees to what it throws.
    @inline(__always)
    func run(_ body: () throws -> Void, site: CallSite) {
        guard !isDebug else { return runMeasured(body, site: site) }
        do { try body() } catch { handle(thrown: error, site: site) }
    }

    /// Runs a callback of another layer by the same rules.
    package func runCallback(site: CallSite, _ body: () throws -> Void) { run(body, site: site) }

    @inline(never)
    private func runMeasured(_ body: () throws -> Void, site: CallSite) {
        measure("callback scheduled at \(site)") {
            do { try body() } catch { handle(thrown: error, site: site) }
        }
    }

    /// Measures a callback of the user's in debug mode; `name` says which in the report.
    package func measure(_ name: @autoclosure () -> String, _ body: () -> Void) {
        guard isDebug else { return body() }
        let start = LoopClock.systemNanoseconds()
        body()
        let duration = Duration.nanoseconds(LoopClock.systemNanoseconds() - start)
        inspection.longestCallback = max(inspection.longestCallback ?? .zero, duration)
        if duration >= inspection.slowCallbackDuration {
            inspection.diagnosticSink("slow: \(name()) took \(duration)")
        }
    }

    @inline(never)
    private func handle(thrown error: any Error, site: CallSite) {
        if let fatal = error as? any LoopFatalError { return interrupt(fatal) }
        callExceptionHandler(
            LoopExceptionContext(message: "A callback threw an error", error: error, site: site))
    }

    /// An error of a callback of a protocol object or watcher: the same rules as for callbacks.
    package func handle(thrown error: any Error, message: String) {
        if let fatal = error as? any LoopFatalError { return interrupt(fatal) }
        callExceptionHandler(LoopExceptionContext(message: message, error: error))
    }

    // MARK: The exception handler

    /// Handles errors that callbacks throw; nil is ``defaultExceptionHandler(_:)``.
    ///
    /// An error that the handler itself throws is reported by the default handler, together with
    /// the one it was called for.
    public var exceptionHandler: LoopExceptionHandler? {
        get { inspection.exceptionHandler }
        set { inspection.exceptionHandler = newValue }
    }

    /// Hands `context` to the exception handler.
    public func callExceptionHandler(_ context: LoopExceptionContext) {
        guard let handler = inspection.exceptionHandler else {
            return defaultExceptionHandler(context)
        }
        do {
            try handler(self, context)
        } catch let fatal as any LoopFatalError {
            interrupt(fatal)
        } catch {
            defaultExceptionHandler(
                LoopExceptionContext(message: "The exception handler threw an error", error: error))
            defaultExceptionHandler(context)
        }
    }

    /// Tells the exception handler what was reported from places where it is not to be called.
    func tellReports() {
        for report in handle.takeReports() { callExceptionHandler(report) }
    }

    /// Writes the error to the ``diagnosticSink``.
    public func defaultExceptionHandler(_ context: LoopExceptionContext) {
        var text = context.message
        if let error = context.error { text += ": \(error)" }
        if let site = context.site { text += " (\(site))" }
        inspection.diagnosticSink(text)
    }

    /// Where reports go that nobody else took: unhandled errors, and warnings of debug mode.
    ///
    /// The standard error stream unless set.
    public var diagnosticSink: (String) -> Void {
        get { inspection.diagnosticSink }
        set { inspection.diagnosticSink = newValue }
    }

    // MARK: Debug mode

    /// Debug mode: slow callbacks are reported, the longest is measured.
    ///
    /// May be switched at any time, also while the loop runs. On from the start where `GYRE_DEBUG`
    /// is `1`.
    public var isDebug: Bool {
        get { state.pointee.isDebug }
        set { state.pointee.isDebug = newValue }
    }

    /// From how long on a callback is reported in debug mode.
    ///
    /// 100 milliseconds unless set.
    public var slowCallbackDuration: Duration {
        get { inspection.slowCallbackDuration }
        set { inspection.slowCallbackDuration = newValue }
    }
}
