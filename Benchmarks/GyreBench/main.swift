import Gyre
import Glibc
func t(_ n: String, _ count: Int, _ f: () throws -> Void) rethrows { 
  var best = Double.infinity
  for _ in 0..<5 { var a = timespec(), b = timespec(); clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&a); try f(); clock_gettime(CLOCK_PROCESS_CPUTIME_ID,&b)
   best = min(best, (Double(b.tv_sec-a.tv_sec)*1e9+Double(b.tv_nsec-a.tv_nsec))/Double(count)) }
  print(n, best) }
func go() throws {
for p in [LoopPolicy.ioUring, .epoll] {
  let loop = try p.makeLoop()
  print(loop.selection)
  let n = 1_000_000
  var c = 0
  try t("call_soon", n) { 
    for _ in 0..<(n/1000) {for _ in 0..<1000 { loop.callSoon { c += 1 } }
    try loop.run(.noWait) } }
  try t("timer_schedule_cancel", 100000) {
    var hs: [LoopTimer] = []; hs.reserveCapacity(100000)
    var x: UInt64 = 88172645463325252
    for _ in 0..<100000 { x ^= x << 13; x ^= x >> 7; x ^= x << 17; hs.append(loop.callLater(.nanoseconds(Int64(x % 1000000000) + 1_000_000_000)) { c += 1 }) }
    for h in hs { h.cancel() } }
  try t("timer_fire", 100000) {
    var x: UInt64 = 88172645463325252
    for _ in 0..<100000 { x ^= x << 13; x ^= x >> 7; x ^= x << 17; loop.callLater(.nanoseconds(-Int64(x % 1000000000))) { c += 1 } }
    try loop.run(.noWait)
  }
  let h = loop.handle
  try t("thread_submit(same thread, not running)", n) {
    for _ in 0..<(n/1000) {for _ in 0..<1000 { try h.callSoonThreadSafe { _ in } }
    try loop.run(.noWait) } }
  print(c, loop.statistics)
}
}
try go()
