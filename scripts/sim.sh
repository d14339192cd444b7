#!/usr/bin/env bash
# Simulates many seeds on all processors and stops at the first that breaks something.
#   scripts/sim.sh SEEDS [FIRST]
set -euo pipefail
cd "$(dirname "$0")/.."
export SIM_SEEDS="${1:?how many seeds}" SIM_FIRST="${2:-0}"
exec cargo test --locked -p shardbearer --test sim -- --nocapture --exact many_seeds
