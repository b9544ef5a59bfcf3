#!/usr/bin/env bash
# Generated files are the ones that this tree generates: the schema; from the baselines, REPORT.md, the derived policy and what `explain` knows; and on the
# stack that a baseline is about, what a run says today.
# With --write: make them, the baseline of this stack from a run.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(ci/static.sh)
baseline=ci/baselines/linux-6.18.json.gz
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$program" schema > "$place/report.schema.json"
"$program" run --quiet --json "$place/today.json.gz" > /dev/null
"$program" report "$place/today.json.gz" -o "$place/today.md"
stack() { sed -n 's/^| stack | \(.*\) |$/\1/p' "$1"; }
if [ "${1:-}" = --write ]; then
    if [ "$(stack "$place/today.md")" != "linux 6.18" ]; then
        echo "$baseline is made on linux 6.18, and this is $(stack "$place/today.md")" >&2
        exit 1
    fi
    cp "$place/today.json.gz" "$baseline"
fi
"$program" report ci/baselines/*.json.gz -o "$place/REPORT.md"
"$program" policy derive ci/baselines/*.json.gz -o "$place/evidence.toml" > /dev/null
"$program" condense ci/baselines/*.json.gz -o "$place/knowledge.json"
if [ "${1:-}" = --write ]; then
    cp "$place/report.schema.json" "$place/REPORT.md" .
    cp "$place/evidence.toml" "$place/knowledge.json" src/policy/builtin
    exit
fi
diff -u report.schema.json "$place/report.schema.json"
diff -u REPORT.md "$place/REPORT.md"
diff -u src/policy/builtin/evidence.toml "$place/evidence.toml"
diff -u src/policy/builtin/knowledge.json "$place/knowledge.json"
# Another kernel is another report: that is what this program is for.
if [ "$(stack REPORT.md)" != "$(stack "$place/today.md")" ]; then
    echo "REPORT.md is of $(stack REPORT.md) and this is $(stack "$place/today.md"): not compared with a run of today" >&2
    exit
fi
diff -u <(grep -vE '^\| (release|started) \|' REPORT.md) <(grep -vE '^\| (release|started) \|' "$place/today.md")
