#!/usr/bin/env bash
# Writes ci/order.ld: what a trace executes, one function beside the other. The kernel maps 16 pages around each page that is touched: where these
# functions lie all over the text, nearly all of it is mapped for a tenth of it. Needs root and valgrind. A function that is missing in the list, or is
# gone, costs a page and breaks nothing: run this now and then, and see ci/footprint.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(ci/static.sh)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$program" exec --path 5 --listen 80 -- \
    valgrind --quiet --tool=callgrind --demangle=no --callgrind-out-file="$place/calls" "$program" trace -n --wait 30 10.77.5.2 > /dev/null
{
    echo '/* Made by ci/order.sh: the functions that a trace executes, hashes of crates and types left out. */'
    echo 'SECTIONS {'
    echo '  .text.trace : {'
    # Two manglings: _ZN…17h<hash>E, and _R… of the standard library, whose crates are Cs<hash>_. Punctuation of the linker's language becomes `?`.
    grep -oE '^c?fn=\([0-9]+\) (_ZN|_R)\S+' "$place/calls" | sed -E 's/.* //; s/17h[0-9a-f]{16}E.*/17h*/; s/Cs[0-9A-Za-z]+_/Cs*_/g; s/[^0-9A-Za-z_.*]/?/g' | LC_ALL=C sort -u |
        sed -E 's/.*/    *(.text*.&)/'
    echo '  }'
    echo '} INSERT BEFORE .text;'
} > "$place/order.ld"
# An empty list would be a linker script all the same.
[ "$(wc -l < "$place/order.ld")" -gt 300 ] || { echo "only $(wc -l < "$place/order.ld") lines: not a whole trace" >&2; exit 1; }
cp "$place/order.ld" ci/order.ld
