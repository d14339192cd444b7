#!/usr/bin/env bash
# Simulates many seeds on all processors, every tenth of them twice, and stops at the first that breaks something.
#   scripts/sim.sh SEEDS [FIRST]            faults alone
#   scripts/sim.sh SEEDS [FIRST] operator   with somebody who moves shards and changes members meanwhile
set -euo pipefail
case ${1:-} in
-h | --help)
    sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
    exit
    ;;
'' | *[!0-9]*)
    echo 'sim.sh: how many seeds? See --help' >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")/.."
export SIM_SEEDS="$1" SIM_FIRST="${2:-0}" SIM_TWICE="${SIM_TWICE:-10}"
# Our own code optimised; the dependencies are those of the other tests. Pays from a few hundred seeds on.
export CARGO_PROFILE_DEV_OPT_LEVEL=2
case "${3:-}" in
'') test=many_seeds ;;
operator) test=many_seeds_with_an_operator && export SIM_OPERATED="$SIM_SEEDS" ;;
*) echo "sim.sh: what is '$3'?" >&2 && exit 2 ;;
esac
exec cargo test --locked -p shardbearer --test sim -- --nocapture --exact "$test"
