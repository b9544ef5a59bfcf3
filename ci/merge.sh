#!/usr/bin/env bash
# One document of all reports in a directory: REPORT.md, report.html and compat.json beside them. On GitHub the first is
# the job's summary.
set -euo pipefail
reports=$(realpath "${1:?usage: ci/merge.sh DIRECTORY}")
cd "$(dirname "$0")/.."
cargo build --release --quiet
program=${CARGO_TARGET_DIR:-target}/release/errnoscope
"$program" report "$reports"/*.json.gz --markdown "$reports/REPORT.md" --html "$reports/report.html"
"$program" compat "$reports"/*.json.gz -o "$reports/compat.json"
if [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
    # GitHub drops a summary of more than 1 MiB as a whole.
    head -c 1000000 "$reports/REPORT.md" >> "$GITHUB_STEP_SUMMARY"
fi
