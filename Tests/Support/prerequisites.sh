# SPDX-License-Identifier: Apache-2.0
#
# What the scripts need of the machine. Sourced by Tests/run, .ci/run and the package tests.

# Ends the script with what to do.
fail() {
    printf 'error: %s\n' "$@" >&2
    exit 1
}

# Swift 6.3 or later, from PATH; under sudo, which replaces PATH, also from the caller's.
require_swift() {
    local advice="install Swift 6.3 or later from https://www.swift.org/install/linux, \
put its usr/bin in PATH, and run this again"
    if ! command -v swift >/dev/null && [ -n "${SUDO_USER:-}" ]; then
        local found
        found=$(sudo -u "$SUDO_USER" -i sh -c 'command -v swift' </dev/null 2>/dev/null) || true
        [ -z "$found" ] || PATH=$PATH:${found%/*}
    fi
    command -v swift >/dev/null || fail "there is no Swift toolchain here; $advice"
    local version
    version=$(swift --version 2>/dev/null | sed -nE 's/.*Swift version ([0-9]+\.[0-9]+).*/\1/p')
    [ -n "$version" ] || fail "'swift --version' does not work here; $advice"
    local major=${version%%.*} minor=${version#*.}
    if [ "$major" -lt 6 ] || { [ "$major" -eq 6 ] && [ "$minor" -lt 3 ]; }; then
        fail "the Swift toolchain is $version, which is too old; $advice"
    fi
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        return 127
    fi
}

# require_packages PACKAGE=PROOF...: installs every package whose proof (a command, or an absolute
# path) is missing, all in one go.
require_packages() {
    local missing=() item proof
    for item in "$@"; do
        proof=${item#*=}
        case $proof in
            /*) [ -e "$proof" ] || missing+=("${item%%=*}") ;;
            *) command -v "$proof" >/dev/null || missing+=("${item%%=*}") ;;
        esac
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local advice="install ${missing[*]} (the names are Debian's) and run this again"
    command -v apt-get >/dev/null || fail "there is no apt-get here; $advice"
    echo "Installing ${missing[*]}"
    as_root apt-get -qq update </dev/null || fail "'apt-get update' failed; $advice"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
        "${missing[@]}" </dev/null || fail "installing failed; $advice"
}
