#!/usr/bin/env bash
# Makes the report that the golden files are made of: some of the catalogue, and every verdict. On a kernel that
# differs, so do they.
set -euo pipefail
cd "$(dirname "$0")/.."
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
cp -r scenarios "$place"
cp tests/golden/scenarios/*.toml "$place/scenarios"
# Exit code 1 or 4 is what a run with every verdict has.
cargo run --quiet -- run --scenarios "$place/scenarios" --repeat 5 --quiet --json tests/golden/report.json > /dev/null \
    bind.every-verdict \
    'bind.port-held[protocol=tcp,family=ipv4,holder_state=time-wait,relation=same-specific,*' \
    'connect.odd-range[family=ipv4,*' \
    'connect.ports-exhausted[protocol=udp,family=ipv4,call=connect,filled=bound,address=loopback,destination=same,*' \
    'connect.tuple-held[protocol=tcp,family=ipv4,holder_state=time-wait,holder_closed=yes,address=loopback,*,reuse=addr]' \
    'connect.wildcard[protocol=tcp,*' || [ $? = 1 ] || [ $? = 4 ]
