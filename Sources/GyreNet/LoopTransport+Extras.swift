// SPDX-License-Identifier: Apache-2.0

extension LoopTransport {
    /// What few transports have, apart, so that an idle connection is small.
    final class Extras {
        fileprivate var fileSending: LoopFileSending?
        fileprivate var buffered: (any LoopBufferedProtocol)?
        fileprivate var passed: PassedDescriptors?
        fileprivate var fileReading: FileReading?
    }

    /// The file that is being sent.
    var fileSending: LoopFileSending? {
        get { extras?.fileSending }
        set { extras(for: newValue)?.fileSending = newValue }
    }

    /// The protocol, when it has buffers of its own.
    var buffered: (any LoopBufferedProtocol)? {
        get { extras?.buffered }
        set { extras(for: newValue)?.buffered = newValue }
    }

    /// Descriptors that arrived and were not taken.
    var passed: PassedDescriptors? {
        get { extras?.passed }
        set { extras(for: newValue)?.passed = newValue }
    }

    /// What reads the descriptor where it is a file.
    var fileReading: FileReading? {
        get { extras?.fileReading }
        set { extras(for: newValue)?.fileReading = newValue }
    }

    /// Where `value` goes; nil is what is there without a place for it.
    private func extras<Value>(for value: Value?) -> Extras? {
        if extras == nil, value != nil { extras = Extras() }
        return extras
    }
}
