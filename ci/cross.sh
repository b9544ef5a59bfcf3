#!/usr/bin/env bash
# macOS without a Mac: the library, the program and every test type-check and lint for Apple's processors, the library and the program for
# Intel's as well (the benchmark is about Linux namespaces).
# Nothing is linked or run, and nothing here says what a Mac does.
set -euo pipefail
cd "$(dirname "$0")/.."
for target in aarch64-apple-darwin x86_64-apple-darwin; do
    rustup target list --installed | grep -qx "$target" || rustup target add "$target"
    tests=()
    [ "$target" != aarch64-apple-darwin ] || tests=(--tests)
    cargo clippy --quiet --lib --bins "${tests[@]}" --target "$target" -- -D warnings
    echo "$target: type-checks"
done
