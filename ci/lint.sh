#!/usr/bin/env bash
# Format, lints, scenario files, scripts and workflows.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo fmt --check
cargo clippy --all-targets --quiet -- -D warnings
cargo run --quiet -- lint scenarios
ci/library.sh
ci/workflows.sh
