#!/usr/bin/env bash
# Simulates many seeds on all processors, every tenth of them twice, and stops at the first that breaks something.
#   scripts/sim.sh SEEDS [FIRST]            faults alone
#   scripts/sim.sh SEEDS [FIRST] operator   with somebody who moves shards and changes members meanwhile
set -euo pipefail
cd "$(dirname "$0")/.."
export SIM_SEEDS="${1:?how many seeds}" SIM_FIRST="${2:-0}" SIM_TWICE="${SIM_TWICE:-10}"
# Our own code optimised; the dependencies are those of the other tests. Pays from a few hundred seeds on.
export CARGO_PROFILE_DEV_OPT_LEVEL=2
case "${3:-}" in
'') test=many_seeds ;;
operator) test=many_seeds_with_an_operator && export SIM_OPERATED="$SIM_SEEDS" ;;
*) echo "sim.sh: what is '$3'?" >&2 && exit 2 ;;
esac
exec cargo test --locked -p shardbearer --test sim -- --nocapture --exact "$test"
