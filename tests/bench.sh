#!/bin/sh
# Measures rk and prints one table: what it costs at idle, how fast it starts, writes, lists, tells
# watchers and runs pods. For Debian, as root; five minutes once all is built, on a quiet machine.
#
#   tests/bench.sh            prints the table
#   tests/bench.sh --readme   puts it into the README as well
#
# If the program that tests/data/kubectl/record.sh builds (etcd and kube-apiserver) is there, it is
# measured in the same run, and set beside rk.
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
--readme) export BENCH_README=1 ;;
'') ;;
*)
    echo "usage: $0 [--readme]" >&2
    exit 2
    ;;
esac
for peer in target/tmp/upstream-* target/*/tmp/upstream-*; do
    if [ -x "$peer" ]; then export BENCH_PEER="${BENCH_PEER:-$PWD/$peer}"; fi
done
# What ships is measured; the test program around it need not be built for speed.
cargo build --release
export BENCH_EXE="$PWD/target/x86_64-unknown-linux-musl/release/rk"
exec cargo test --test it -- --ignored --exact --nocapture bench::bench
