#!/usr/bin/env bash
# The program to hand on: linked statically, so that it starts faster, and in a container or a virtual machine that has no libc. Prints where it is.
# PROFILE (dist) is how it is built; `release` is built faster, and nearly as good.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
# For a named target, because what runs while building (proc macros) cannot be linked statically.
RUSTFLAGS="-C target-feature=+crt-static" cargo build --profile "${PROFILE:-dist}" --quiet --target "$host"
echo "$(realpath -m "${CARGO_TARGET_DIR:-target}")/$host/${PROFILE:-dist}/errnoscope"
