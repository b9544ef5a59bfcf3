#!/usr/bin/env bash
# Generated files are the ones that this tree generates: the schema, and REPORT.md and the derived policy for the stack that they are about.
# With --write: make them.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release --quiet
program=target/release/errnoscope
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$program" schema > "$place/report.schema.json"
"$program" run --quiet --json "$place/report.json" > /dev/null
"$program" report "$place/report.json" -o "$place/REPORT.md"
"$program" policy derive "$place/report.json" -o "$place/evidence.toml" > /dev/null
if [ "${1:-}" = --write ]; then
    cp "$place/report.schema.json" "$place/REPORT.md" .
    cp "$place/evidence.toml" src/policy/builtin
    exit
fi
diff -u report.schema.json "$place/report.schema.json"
# Another kernel is another report: that is what this program is for.
stack() { sed -n 's/^| stack | \(.*\) |$/\1/p' "$1"; }
if [ "$(stack REPORT.md)" != "$(stack "$place/REPORT.md")" ]; then
    echo "REPORT.md is of $(stack REPORT.md) and this is $(stack "$place/REPORT.md"): not compared" >&2
    exit
fi
diff -u <(grep -v '^| release |' REPORT.md) <(grep -v '^| release |' "$place/REPORT.md")
diff -u src/policy/builtin/evidence.toml "$place/evidence.toml"
