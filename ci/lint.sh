#!/usr/bin/env bash
# Format, lints, scenario files.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --check
cargo clippy --all-targets --quiet -- -D warnings
cargo run --quiet -- lint scenarios
