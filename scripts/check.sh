#!/usr/bin/env bash
# The gate: format, lints, docs, tests. Never writes to the tree. `scripts/fix.sh` mends what can be mended by itself.
set -euo pipefail
cd "$(dirname "$0")/.."

# CI clones anew each time; a target folder outside the clone saves it the dependencies.
if [ -n "${CI:-}" ] && [ -z "${CARGO_TARGET_DIR:-}" ]; then
    export CARGO_TARGET_DIR="${XDG_CACHE_HOME:-$HOME/.cache}/shardbearer-target"
fi

step() { printf '\n== %s\n' "$*"; "$@"; }

step cargo fmt --all -- --check
step cargo clippy --workspace --all-targets --locked -- -D warnings
RUSTDOCFLAGS="-D warnings" step cargo doc --workspace --no-deps --locked
# Whatever fails, the rest is run too: one run tells all there is to mend.
step cargo test --workspace --locked --no-fail-fast
