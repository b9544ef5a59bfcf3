#!/usr/bin/env bash
# The program to hand on: linked statically, so that it starts faster, and in a container or a virtual machine that has
# no libc. Prints where it is. PROFILE (dist) is how it is built; `release` is built faster, and nearly as good.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
# For a named target, because what runs while building (proc macros) cannot be linked statically. At a fixed address
# there are no 33,000 addresses to fill in at each start: that is a megabyte less to read.
RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static" cargo build --profile "${PROFILE:-dist}" --quiet --target "$host"
echo "$(realpath -m "${CARGO_TARGET_DIR:-target}")/$host/${PROFILE:-dist}/errnoscope"
