#!/usr/bin/env bash
# Three radiants beside etcd and Redis on this machine, taking turns on the same load; medians, ratios with their
# spread, and which targets fall short. Never part of the tests: machines differ by more than most changes do.
#
#   scripts/bench.sh                      everything, three times: about an hour
#   scripts/bench.sh --quick              one short round of the loads: under three minutes
#   scripts/bench.sh --only set-64        one case; cases are listed in scripts/bench/loads.sh and events.sh
#   scripts/bench.sh --curves             radiants alone, with more and more of everything: about a quarter of an hour
#   scripts/bench.sh --report FILE        the tables of an earlier run
#   scripts/bench.sh --chart FILE         the same as a drawing (SVG) on standard output
#
#   --rounds 3  --warm-up 2  --duration 10  --keys 100000  --curve-keys '10000 100000 1000000'
#
# The peers come from Debian's packages, unpacked under target/bench/ without being installed; needs no root.
# Elsewhere etcd, etcdctl, redis-server, redis-cli and jq are taken from the PATH.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${CARGO_TARGET_DIR:-$root/target}/bench
run=$cache/run

rounds=3 warm_up=2 duration=10 keys=100000 only='' report='' chart='' quick='' curves=''
# Of --curves: seconds of each point, and how many keys.
curve_seconds=3 curve_keys='10000 100000 1000000'
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; }
while (($#)); do
    case $1 in
    --quick) quick=yes rounds=1 warm_up=1 duration=2 keys=10000 && shift && continue ;;
    --curves) curves=yes && shift && continue ;;
    --curve-keys) curve_keys=${2:?} ;;
    --rounds) rounds=${2:?} ;;
    --warm-up) warm_up=${2:?} ;;
    --duration) duration=${2:?} ;;
    --keys) keys=${2:?} ;;
    --only) only=${2:?} ;;
    --report) report=${2:?} ;;
    --chart) chart=${2:?} ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift 2
done

say() { printf '== %s\n' "$*" >&2; }
fail() {
    printf 'bench.sh: %s\n' "$1" >&2
    exit 1
}

# shellcheck source=scripts/bench/systems.sh
. "$root/scripts/bench/systems.sh"
# shellcheck source=scripts/bench/loads.sh
. "$root/scripts/bench/loads.sh"
# shellcheck source=scripts/bench/events.sh
. "$root/scripts/bench/events.sh"
# shellcheck source=scripts/bench/curves.sh
. "$root/scripts/bench/curves.sh"

tables() { jq -rs -L "$root/scripts/bench" 'include "report"; report' "$1"; }

fetch_peers
if [[ -n $report ]]; then
    tables "$report"
    exit
fi
if [[ -n $chart ]]; then
    kind=chart
    ! grep -q '"case":"grows/' "$chart" || kind=curves
    jq -rs -L "$root/scripts/bench" "include \"$kind\"; chart" "$chart"
    exit
fi

binary=${SHARDBEARER_BIN:-}
if [[ -z $binary ]]; then
    (cd "$root" && cargo build --release --locked --package shardbearer)
    binary=${CARGO_TARGET_DIR:-$root/target}/release/shardbearer
fi
ports_are_free

rm -rf "$run"
mkdir -p "$run"
results=$cache/results-$(date -u +%Y%m%dT%H%M%SZ).jsonl
trap 'exit 130' INT TERM
trap stop_all EXIT
if [[ -n $curves ]]; then
    all_curves
    jq -rs -L "$root/scripts/bench" 'include "curves"; table' "$results"
    printf 'figures in %s\n' "$results"
    exit
fi
say 'starting etcd, Redis and three radiants'
start_etcd
start_redis
start_radiants radiants

for ((round = 1; round <= rounds; round++)); do
    all_loads "$round"
    [[ -n $quick ]] || all_events "$round"
done
[[ -n $quick ]] || all_sizes

printf '\n%s, %s cores, %s, %s, %s\n' "$(uname -sr)" "$(nproc)" "$("$binary" --version)" \
    "$(etcd --version | head -1)" "$(redis-server --version | cut -d' ' -f1-3)"
printf '%s rounds of %s s, %s keys; figures in %s\n\n' "$rounds" "$duration" "$keys" "$results"
tables "$results"
