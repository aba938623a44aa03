#!/usr/bin/env bash
# Fuzzes the functions of src/targets.rs with LLVM's libFuzzer, guided by coverage.
#
#   tests/fuzz/run.sh SECONDS             each of them for so long
#   tests/fuzz/run.sh SECONDS NAME...     only these
#
# Needs a C++ compiler. An input that breaks something is left below target/tmp/fuzz/broken; put it
# into tests/fuzz/corpus/NAME, where the ordinary tests try it for ever. What reaches new code is
# kept below target/tmp/fuzz/NAME, and is where the next run begins.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
kept=$root/target/tmp/fuzz
target=x86_64-unknown-linux-gnu
seconds=${1:?how many seconds?}
shift

cd "$root"
RK_FUZZ_SEEDS=$kept/seeds cargo test --quiet --test it -- --exact api::fuzz::seeds_are_written_for_the_fuzzer
# What `cargo fuzz` passes, without a sanitizer, which needs another compiler.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=8 --cfg fuzzing"
RUSTFLAGS=$(echo $coverage) CARGO_TARGET_DIR=$kept/build cargo build --quiet --release --target $target \
    --manifest-path "$here/Cargo.toml"
program=$kept/build/$target/release/rk-fuzz
names=("$@")
[ ${#names[@]} -gt 0 ] || mapfile -t names < <(ls "$kept/seeds")
for name in "${names[@]}"; do
    mkdir -p "$kept/$name" "$kept/broken/$name"
    echo "== $name"
    RK_FUZZ=$name "$program" -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
        -print_final_stats=1 -artifact_prefix="$kept/broken/$name/" \
        "$kept/$name" "$kept/seeds/$name" $(ls -d "$here/corpus/$name" 2>/dev/null || true) 2>&1 |
        grep -E "^(#[0-9]+.*(DONE|INITED)|stat::|SUMMARY|thread|.*panicked|  (left|right)|artifact|==[0-9]+==)" || true
done
[ -z "$(find "$kept/broken" -type f -print -quit)" ] || { echo "broken:"; find "$kept/broken" -type f; exit 1; }
