#!/usr/bin/env bash
# Mends what can be mended by itself: format and simple lints.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged
cargo fmt --all
# The configuration's reference is made from the table that the program uses.
cargo run -q -- check-config --reference > docs/config.md
