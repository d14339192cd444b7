#!/usr/bin/env bash
# Real processes under load while they are killed, paused, cut off, robbed of power and disk; what clients saw is judged
# by the same checker as 'shardbearer check'.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    cat <<'TEXT'
scripts/chaos.sh [--engine NAME] [--minutes N] [--faults A,B,...] [--seed N] [--clients N] [--moves] [--members]
                 [--flips N | --strain N | --round-trips N]

  --engine NAME      openraft (the default), omnipaxos or chain
  --minutes N        new faults come for so long; each comes at least once (1)
  --faults A,B,...   kill, kill-all, restart, pause, isolate, one-way, bridge, flap, slow, power, power-all, clock,
                     error, crash, full, full-all, flip, image, image-flip, move, member; without it those of the engine's test in the gate
  --seed N           decides which faults come, when, and to whom (1); processes and clients are never the same twice
  --clients N        of the load (16); every fourth is the smart client
  --moves            all the while shards move from order to order, are called off, halted, moved back
  --members          all the while radiants give their seats away and take some again; a fourth takes part
  --flips N          instead: turn N bits, one after the other, in the files of a single radiant on this engine
  --strain N         instead: throughput, latency and memory beside a follower that stands still, under far too much load,
                     and after; N seconds of each
  --round-trips N    instead: one shard goes to another order and back N times, with all that belongs to it

Ends with counts, for people and as a line of JSON. After a violation the radiants' folders and the history are kept, and
the command that checks it again is printed. Everything is kept in memory where there is /dev/shm, since a power
cut is played by the harness and not by the disk; CHAOS_DIR names another place.
TEXT
}

fail() {
    printf 'chaos.sh: %s\n' "$1" >&2
    exit 2
}

number() {
    [[ ${2:-} =~ ^[0-9]{1,9}$ ]] || fail "$1 needs a number, not '${2:-}'"
    printf '%s' "$2"
}

engine=openraft
test=
export CHAOS_SECONDS=60
while (($#)); do
    case $1 in
    --help | -h) usage && exit ;;
    --moves) export CHAOS_MOVES=1 && shift && continue ;;
    --members) export CHAOS_MEMBERS=1 && shift && continue ;;
    --engine) engine=${2:?--engine needs a name} ;;
    --minutes) CHAOS_SECONDS=$(($(number "$@") * 60)) ;;
    --faults) export CHAOS_FAULTS=${2:?--faults needs names} ;;
    --seed) CHAOS_SEED=$(number "$@") && export CHAOS_SEED ;;
    --clients) CHAOS_CLIENTS=$(number "$@") && export CHAOS_CLIENTS ;;
    --flips)
        CHAOS_FLIPS=$(number "$@") && export CHAOS_FLIPS
        test=chaos::flips::turned_bits_are_refused_or_harmless
        ;;
    --strain)
        CHAOS_STRAIN=$(number "$@") && export CHAOS_STRAIN
        test=chaos::strain::a_silent_follower_and_an_overload_pass
        ;;
    --round-trips)
        CHAOS_ROUND_TRIPS=$(number "$@") && export CHAOS_ROUND_TRIPS
        test=trips::a_shard_goes_to_and_fro_with_all_its_belongings_and_leaves_nothing_behind
        ;;
    *) usage >&2 && fail "what is '$1'?" ;;
    esac
    shift 2
done
if [ -n "${CHAOS_MEMBERS:-}" ] && [[ ,${CHAOS_FAULTS:-}, == *,member,* ]]; then
    fail '--members and the fault "member" would drain two radiants at once: what is left does not survive the next fault'
fi
case $engine in
openraft | omnipaxos | chain) ;;
*) fail "no engine '$engine'" ;;
esac

if [ -n "${CHAOS_DIR:-}" ]; then
    export TMPDIR=$CHAOS_DIR
elif [ -d /dev/shm ] && [ -w /dev/shm ]; then
    export TMPDIR=/dev/shm
fi
export CHAOS_ENGINE=$engine
exec cargo test --locked -p shardbearer --test processes -- --nocapture --exact "${test:-chaos::$engine}"
