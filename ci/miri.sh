#!/usr/bin/env bash
# What is unsafe and makes no system call, under Miri, which sees reads out of bounds, torn values and the like: memory
# that two processes share, entries of the error queue, messages read from a traced program. Needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")/.."
rustup component list --toolchain nightly --installed 2>/dev/null | grep -q '^miri' ||
    rustup toolchain install nightly --profile minimal --component miri,rust-src
# Of their own: Miri's artefacts are no others'.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/miri
tests=$(cargo +nightly miri test --quiet --lib -- sys::trail sys::linux::error_queue sys::linux::watch)
echo "$tests"
# A name that selects nothing would pass as well.
grep -Eq 'test result: ok\. [1-9][0-9]* passed; 0 failed; 0 ignored' <<<"$tests"
