#!/usr/bin/env bash
# How long writes wait for a shard that moves: three radiants with real disks, one shard of so many MiB, and writers of
# that very shard at a steady rate; a line of JSON for each move. Never fails a build: machines differ.
#
#   scripts/bench-move.sh [--mib 10] [--value-bytes N] [--writes 2000] [--writers 64] [--moves 4] [--debug]
#
# Values have 1 KiB, in shards of more than 100 MiB 100 KiB. --writes is a rate over all writers; a write that is late is
# late since it was due. 'standstill_ms' is the longest time in which nobody's write was answered. BENCH_DIR names a place
# for the data, of which a shard of 1 GiB takes some 20 GiB; --debug measures a build that is not optimized.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"; }

fail() {
    printf 'bench-move.sh: %s\n' "$1" >&2
    exit 2
}

export MOVE_MIB=10
profile=--release
while (($#)); do
    case $1 in
    --help | -h) usage && exit ;;
    --debug) profile='' && shift && continue ;;
    --mib | --value-bytes | --writes | --writers | --moves)
        [[ ${2:-} =~ ^[1-9][0-9]{0,6}$ ]] || fail "$1 needs a number, not '${2:-}'"
        name=${1#--}
        name=${name//-/_}
        export "MOVE_${name^^}=$2"
        ;;
    *) usage >&2 && fail "what is '$1'?" ;;
    esac
    shift 2
done
if [[ -z ${MOVE_VALUE_BYTES:-} ]] && ((MOVE_MIB > 100)); then
    export MOVE_VALUE_BYTES=102400
fi
if [[ -n ${BENCH_DIR:-} ]]; then
    export TMPDIR=$BENCH_DIR
fi
test=moving::writers_of_a_moving_shard_wait_and_do_not_fail
# shellcheck disable=SC2086 # nothing, or one word
exec cargo test --locked $profile -p shardbearer --test processes -- --nocapture --exact "$test"
