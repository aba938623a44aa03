#!/bin/sh
# Installs what the tests need, builds once, and runs every test. For Debian, as root.
#
#   tests/run.sh            all tests
#   tests/run.sh NAME...    those whose name contains a NAME
set -eu
cd "$(dirname "$0")/.."

need_packages() {
    missing=
    for package in "$@"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
    [ -z "$missing" ] && return
    apt-get update -qq
    # shellcheck disable=SC2086 # one word per package
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

need_packages curl musl-tools busybox-static nftables iproute2 docker-registry apache2-utils \
    redis-server nginx-light conntrack dnsutils qemu-system-x86 systemd shellcheck procps python3-venv
[ "$(uname -m)" != x86_64 ] || tests/kernel.sh
command -v kubectl >/dev/null || need_packages kubernetes-client
# For the newest kubectl and for Kubernetes' own encoders.
command -v go >/dev/null || [ -x /usr/local/go/bin/go ] || need_packages golang-go
rustup target add x86_64-unknown-linux-musl >/dev/null 2>&1

# One build serves the program, its unit tests and the integration tests.
cargo test --no-run --lib --bins --test it
# Most tests wait for something most of the time: more of them at once than there are processors.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-4}"
cargo test --lib --test it -- "$@"
