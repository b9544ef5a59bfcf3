#!/usr/bin/env bash
# What action.yml does, for any CI: the suite on this machine's kernel, its findings held against a baseline.
#
#   BASELINE=linux.json.gz REPORT=today.json.gz ci/action.sh
#
# SELECT is what runs (everything), REPORT where the report goes (a file, or a directory/), JUNIT where JUnit XML goes,
# BASELINE the report to compare with, ERRNOSCOPE the program (built from this checkout). Paths are those of the caller.
#
# Exit code: with a BASELINE that of `errnoscope compare`, without that of `errnoscope run`.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
report=${REPORT:-errnoscope-report.json.gz}
if [ -n "${BASELINE:-}" ]; then
    # Before ten minutes are spent, not after them.
    [ -r "$BASELINE" ] || { echo "BASELINE=$BASELINE cannot be read: make one with \`errnoscope run --json $BASELINE\`" >&2; exit 2; }
    [ "${report%/}" = "$report" ] || { echo "REPORT=$report is a directory: a comparison wants a file" >&2; exit 2; }
fi
program=${ERRNOSCOPE:-}
if [ -z "$program" ]; then
    cargo build --release --quiet --manifest-path "$here/Cargo.toml" --target-dir "$here/target"
    program=$here/target/release/errnoscope
fi
options=(--quiet --json "$report")
[ -z "${JUNIT:-}" ] || options+=(--junit "$JUNIT")
read -ra select <<< "${SELECT:-}"
command=("$program" run "${options[@]}" "${select[@]+"${select[@]}"}")
# A Linux without namespaces could run next to nothing, which must not look like a pass.
if [ "$(uname)" = Linux ]; then
    command=(env ERRNOSCOPE_REQUIRE=namespaces "${command[@]}")
fi
# Root sees more: other users, privileged ports, a Mac's range of ports, which is put back after each case.
if [ "$(id -u)" != 0 ] && sudo -n true 2> /dev/null; then
    command=(sudo -n "${command[@]}")
fi
# On GitHub, nothing that the run prints is a command for the runner: it reads both streams, and in no order.
stopped=""
if [ "${GITHUB_ACTIONS:-}" = true ]; then
    stopped=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
    echo "::stop-commands::$stopped"
fi
status=0
"${command[@]}" 2>&1 || status=$?
[ -z "$stopped" ] || echo "::$stopped::"
if [ -z "${BASELINE:-}" ] && [ "$status" -le 1 ] && [ "${GITHUB_ACTIONS:-}" = true ]; then
    # The job's summary: what is not as expected comes first.
    reports=("$report")
    [ ! -d "$report" ] || reports=("${report%/}"/*.json.gz)
    "$program" report --github "${reports[@]}"
fi
# A mismatch is no failure yet: whether the baseline has it too is for the comparison to say.
if [ -z "${BASELINE:-}" ] || [ "$status" -gt 1 ]; then
    exit "$status"
fi
github=()
[ "${GITHUB_ACTIONS:-}" != true ] || github=(--github)
"$program" compare "${github[@]+"${github[@]}"}" "$BASELINE" "$report"
