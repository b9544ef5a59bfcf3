#!/usr/bin/env bash
# Checks tracers for real, as root: installs those of other people (trippy below DIRECTORY), and makes ci/tracers/*.json
# and TRACERS.md of what they do. tests/check.rs holds the one against the other.
set -euo pipefail
directory=$(realpath -m "${1:?usage: ci/tracers.sh DIRECTORY}")
cd "$(dirname "$0")/.."
errnoscope=${ERRNOSCOPE:-}
if [ -z "$errnoscope" ]; then
    cargo build --quiet --release
    errnoscope=${CARGO_TARGET_DIR:-target}/release/errnoscope
fi
DEBIAN_FRONTEND=noninteractive apt-get install -qq -y mtr-tiny traceroute tcptraceroute >/dev/null
for version in 0.10.0 0.13.0; do
    if [ ! -x "$directory/trippy-$version/bin/trip" ]; then
        cargo install --quiet --locked --root "$directory/trippy-$version" "trippy@$version"
    fi
done
mkdir -p ci/tracers
# What is wrong with a tracer does not stop this; what could not be run does.
check() { "$errnoscope" check "$@" >/dev/null || [ $? -eq 1 ]; }
check errnoscope --json ci/tracers/errnoscope.json
for version in 0.10.0 0.13.0; do
    PATH="$directory/trippy-$version/bin:$PATH" check trippy --json "ci/tracers/trippy-$version.json"
done
for tracer in mtr traceroute tcptraceroute; do
    check "$tracer" --json "ci/tracers/$tracer.json"
done
arguments=()
for file in ci/tracers/*.json; do arguments+=(--results "$file"); done
"$errnoscope" check "${arguments[@]}" --markdown >TRACERS.md || [ $? -eq 1 ]
