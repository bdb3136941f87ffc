# SPDX-License-Identifier: Apache-2.0
#
# What both client tests expect of the client. Sourced by them.

# expect_echoes CLIENT RING: runs CLIENT, which echoes on every policy it finds. RING says whether
# it was built with io_uring. Where GYRE_REQUIRE_POLICIES names a policy, it has to work.
expect_echoes() {
    local client=$1 ring=$2 output policy libraries
    local -a required
    output=$("$client" </dev/null)
    echo "$output"
    IFS=, read -ra required <<<"${GYRE_REQUIRE_POLICIES:-epoll},automatic"
    for policy in "${required[@]}"; do
        [ "$policy" != io_uring ] || [ "$ring" = yes ] || continue
        grep -q "^$policy: echoed by " <<<"$output" || {
            echo "error: the client did not echo on $policy" >&2
            return 1
        }
    done
    libraries=$(ldd "$client")
    if [ "$ring" = yes ]; then
        grep -q liburing <<<"$libraries" || {
            echo "error: the client is not linked with liburing" >&2
            return 1
        }
        return
    fi
    if grep liburing <<<"$libraries"; then
        echo "error: the client is linked with liburing, though built without io_uring" >&2
        return 1
    fi
    grep -q '^io_uring: not here: .*trait IOUring' <<<"$output" || {
        echo "error: the client does not say that io_uring was left out" >&2
        return 1
    }
}
