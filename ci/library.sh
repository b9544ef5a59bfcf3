#!/usr/bin/env bash
# The library by itself (`default-features = false`): what it needs, that no OS is known to it, and its documentation.
# With --write: ci/library.txt has the crates that it needs now.
set -euo pipefail
cd "$(dirname "$0")/.."
crates() { cargo tree --quiet --locked --no-default-features --edges normal --prefix none --format '{p}' | sed 's/ .*//' | sort -u; }
if [ "${1:-}" = --write ]; then
    crates > ci/library.txt
    exit
fi
diff -u ci/library.txt <(crates)
cargo clippy --quiet --locked --lib --examples --no-default-features -- -D warnings
# One has neither files nor sockets, the other has those of Windows. Both at once, so that no processor waits.
targets=(wasm32-unknown-unknown x86_64-pc-windows-gnu)
for target in "${targets[@]}"; do
    rustup target list --installed | grep -qx "$target" || rustup target add "$target"
done
cargo check --quiet --locked --lib --no-default-features "${targets[@]/#/--target=}"
for features in --no-default-features --all-features; do
    RUSTDOCFLAGS="-D warnings" cargo doc --quiet --locked --lib --no-deps "$features"
done
echo "the library needs $(wc -l < ci/library.txt) crates"
