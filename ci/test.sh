#!/usr/bin/env bash
# All tests, with what they need: installs it on Debian and Ubuntu, and runs them. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! ci/install.sh; then
    echo "ci/test.sh: goes on without: tests that need more than this machine has are ignored, with the reason" >&2
fi
exec cargo test "$@"
