// SPDX-License-Identifier: Apache-2.0

import Testing

/// Sizes: what does not fit on a screen is hard to hold in the head.
///
/// The exceptions may only shrink: each names the size it has now, and a test fails when the thing
/// grew, and also when it shrank and the exception still stands.
@Suite("Sizes")
struct SizeTests {
    private static let longestFile = 500
    private static let longestFunction = 60
    private static let longestLine = 100

    /// Files over the limit, with their lines.
    private static let longFiles: [String: Int] = [:]
    /// Functions over the limit, as `path:name`, with their lines.
    private static let longFunctions: [String: Int] = [:]
    /// Files with lines over the limit, with how many.
    private static let wideFiles: [String: Int] = [:]

    private static var files: [Repository.File] {
        Repository.files.filter { file in
            let isScript = file.text.hasPrefix("#!") || file.path.hasSuffix(".sh")
            return file.isSwift || file.isC || isScript || file.path.hasSuffix(".py")
        }
    }

    @Test("No file is longer than 500 lines")
    func files() {
        var found: [String: Int] = [:]
        for file in Self.files where file.lines.count - 1 > Self.longestFile {
            found[file.path] = file.lines.count - 1
        }
        #expect(found == Self.longFiles)
    }

    @Test("No function is longer than 60 lines")
    func functions() {
        var found: [String: Int] = [:]
        var count = 0
        for file in Self.files where file.isSwift || file.isC {
            let functions =
                file.isSwift
                ? SwiftSource.swiftFunctions(in: file.text) : SwiftSource.cFunctions(in: file.text)
            count += functions.count
            for function in functions where function.length > Self.longestFunction {
                found["\(file.path):\(function.name)"] = function.length
            }
        }
        #expect(found == Self.longFunctions)
        #expect(count > 300, "the measure does not find the functions any more")
    }

    @Test("No line is wider than 100 columns")
    func lines() {
        var found: [String: Int] = [:]
        for file in Self.files {
            let wide = file.lines.count { $0.count > Self.longestLine }
            if wide > 0 { found[file.path] = wide }
        }
        #expect(found == Self.wideFiles)
    }

    // MARK: The measure itself

    @Test("Functions are measured from the declaration to the closing brace")
    func swiftFunctionsAreMeasured() {
        let text = """
            protocol P {
                func required()
                init(a: Int)
            }
            struct S {
                func one() { two() }
                @inline(never)
                private static func two(
                    _ a: Int
                ) -> Int {
                    let text = "}"  // }
                    return a
                }
                deinit {
                    one()
                }
            }
            """
        #expect(
            SwiftSource.swiftFunctions(in: text) == [
                .init(name: "one", line: 6, length: 1),
                .init(name: "two", line: 8, length: 6),
                .init(name: "deinit", line: 14, length: 3),
            ])
    }

    @Test("C functions are measured")
    func cFunctionsAreMeasured() {
        let text = """
            #include <a.h>
            struct s {
                int a;
            };
            static int
                f(void);
            int g(int a,
                int b) {
                if (a) {
                }
                return b;
            }
            """
        #expect(SwiftSource.cFunctions(in: text) == [.init(name: "g", line: 7, length: 6)])
    }
}
