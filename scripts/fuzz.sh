#!/usr/bin/env bash
# Searches for bytes that break what shardbearer/src/fuzzing promises, target after target.
#
#   scripts/fuzz.sh [TARGET ...] [--minutes 10] [--jobs 1]     all targets unless some are named
#   scripts/fuzz.sh --minimize [TARGET ...]                    keeps of what was found as little as covers as much
#
# Needs a nightly toolchain and a C++ compiler; installs cargo-fuzz under target/. What is found grows in target/fuzz/
# and begins with fuzz/corpus/. An input that breaks something is written to target/fuzz/artifacts/TARGET/; mend what
# it breaks, then add it to fuzz/corpus/TARGET/, which ordinary tests replay.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}

minutes=10 jobs=1 minimize='' targets=()
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
while (($#)); do
    case $1 in
    --minutes) minutes=${2:?} && shift 2 ;;
    --jobs) jobs=${2:?} && shift 2 ;;
    --minimize) minimize=yes && shift ;;
    -h | --help) usage && exit ;;
    -*) usage >&2 && exit 2 ;;
    *) targets+=("$1") && shift ;;
    esac
done
if ((!${#targets[@]})); then
    for program in "$root"/fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$program" .rs)")
    done
fi

export PATH=$target/fuzz-tools/bin:$PATH
if ! command -v cargo-fuzz >/dev/null; then
    cargo install cargo-fuzz --locked --root "$target/fuzz-tools"
fi
export CARGO_TARGET_DIR=$target/fuzz/build
export RUST_BACKTRACE=0 # takes half a minute under the sanitizer
cd "$root/fuzz"
for name in "${targets[@]}"; do
    cargo +nightly fuzz build --release "$name"
done

# Little at once: nothing is set aside for bytes that did not arrive.
limits=(-max_len=4096 -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=8)

search() {
    local name=$1 found=$target/fuzz/found/$1 artifacts=$target/fuzz/artifacts/$1/
    mkdir -p "$found" "$artifacts"
    local log=$target/fuzz/$name.log failed=''
    cargo +nightly fuzz run --release "$name" "$found" "corpus/$name" -- "${limits[@]}" -artifact_prefix="$artifacts" \
        -max_total_time=$((minutes * 60)) -print_final_stats=1 -close_fd_mask=1 >"$log" 2>&1 || failed=yes
    awk -v name="$name" '
        / cov: / { for (field = 1; field < NF; field++) { if ($field == "cov:") cover = $(field + 1)
                   if ($field == "corp:") corpus = $(field + 1) } }
        /number_of_executed_units/ { runs = $2 }
        /average_exec_per_sec/ { speed = $2 }
        END { printf "%-10s %12d executions %7d/s  coverage %6d  inputs %s\n", name, runs, speed, cover, corpus }' "$log"
    if [[ -n $failed ]]; then
        printf '%s broke; see %s and %s\n' "$name" "$log" "$artifacts" >&2
        return 1
    fi
}

# Of what was found, the inputs that together cover all of it, as small as they come.
reduce() {
    local name=$1 found=$target/fuzz/found/$1 least=$target/fuzz/least/$1
    rm -rf "$least" && mkdir -p "$least" "$found"
    cargo +nightly fuzz run --release "$name" -- -merge=1 "${limits[@]}" "$least" "$found" "corpus/$name" \
        >"$target/fuzz/$name.log" 2>&1
    printf '%-10s %d inputs in %s\n' "$name" "$(find "$least" -type f | wc -l)" "$least"
}

status=0
for name in "${targets[@]}"; do
    while (($(jobs -rp | wc -l) >= jobs)); do
        wait -n || status=1
    done
    if [[ -n $minimize ]]; then reduce "$name" & else search "$name" & fi
done
while [[ -n $(jobs -p) ]]; do
    wait -n || status=1
    jobs >/dev/null
done
exit "$status"
