#!/usr/bin/env bash
# Pictures of the page that `errnoscope report` makes of the baselines, as docs/ shows them: two widths, by day and by
# night. A test makes docs/pictures/run.svg.
#
#   ci/pictures.sh [DIRECTORY]      where they go (docs/pictures)
#
# ERRNOSCOPE is the program (built from this checkout).
set -euo pipefail
directory=$(realpath -m "${1:-$(dirname "$0")/../docs/pictures}")
cd "$(dirname "$0")/.."
browser=${CHROMIUM:-$(command -v chromium || command -v chromium-browser || command -v google-chrome)}
program=${ERRNOSCOPE:-$(ci/static.sh)}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$program" report ci/baselines/linux-*.json.gz --html "$place/page.html"
mkdir -p "$directory"
for width in 1280 380; do
    for scheme in dark light; do
        # How Chromium counts them.
        number=0
        [ "$scheme" = dark ] || number=1
        picture=$directory/page-$width-$scheme.png
        rm -f "$picture"
        "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$place/profile" \
            --blink-settings=preferredColorScheme="$number" --window-size="$width,900" --virtual-time-budget=10000 \
            --screenshot="$picture" "file://$place/page.html" 2> "$place/said" || { cat "$place/said" >&2; exit 1; }
        [ -s "$picture" ] || { cat "$place/said" >&2; exit 1; }
    done
done
