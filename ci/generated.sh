#!/usr/bin/env bash
# Generated files are the ones that this tree generates: the schema; from the baselines, REPORT.md, the derived policy
# and what `explain` knows; and on the stack that a baseline is about, what a run says today. With --write: make them,
# the baseline of this stack from a run of every case three times. Other baselines come from `REPEAT=3 ci/kernels.sh`
# and `ci/gvisor.sh`.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(ci/static.sh)
baseline=ci/baselines/linux-6.18.json.gz
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
repeat=1
[ "${1:-}" != --write ] || repeat=3
"$program" schema > "$place/report.schema.json"
"$program" run --quiet --repeat "$repeat" --json "$place/today.json.gz" > /dev/null
stack() { gzip -dc "$1" | sed -n '1,40s/^ *"stack": "\(.*\)",$/\1/p'; }
today=$(stack "$place/today.json.gz")
if [ "${1:-}" = --write ]; then
    if [ "$today" != "linux 6.18" ]; then
        echo "$baseline is made on linux 6.18, and this is $today" >&2
        exit 1
    fi
    cp "$place/today.json.gz" "$baseline"
fi
"$program" report ci/baselines/*.json.gz --brief -o "$place/REPORT.md"
"$program" policy derive ci/baselines/*.json.gz -o "$place/evidence.toml" > /dev/null
"$program" condense ci/baselines/*.json.gz -o "$place/knowledge.json"
if [ "${1:-}" = --write ]; then
    cp "$place/report.schema.json" "$place/REPORT.md" .
    cp "$place/evidence.toml" "$place/knowledge.json" src/knowledge/policy/builtin
    exit
fi
diff -u report.schema.json "$place/report.schema.json"
diff -u REPORT.md "$place/REPORT.md"
diff -u src/knowledge/policy/builtin/evidence.toml "$place/evidence.toml"
diff -u src/knowledge/policy/builtin/knowledge.json "$place/knowledge.json"
# Another kernel is another report: that is what this program is for.
if [ "$today" != "$(stack "$baseline")" ]; then
    echo "$baseline is of $(stack "$baseline") and this is $today: not compared with a run of today" >&2
    exit
fi
# A new scenario is no failure: its findings come into the baselines when they are made again, by whoever has the
# kernels.
mapfile -t known < <(gzip -dc "$baseline" | sed -n 's/^{"scenario":"\([^"]*\)".*/\1/p' | sort -u)
[ "${#known[@]}" -gt 0 ] || { echo "$baseline has no findings" >&2; exit 1; }
"$program" compare "$baseline" "$place/today.json.gz" "${known[@]}"
