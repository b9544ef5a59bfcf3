#!/usr/bin/env bash
# The catalogue on gVisor: Debian's runsc, a sandbox without a network for each case.
#
#   ci/gvisor.sh               the versions below
#   ci/gvisor.sh 2024          that of this year, or 20240729: whatever the version begins with
#
# Into GVISOR (target/gvisor) come, for each version, runsc, a command for `errnoscope run --on` (RELEASE/sandbox), and
# reports/gvisor-RELEASE.json.gz. Nothing is installed, and nothing of this machine is changed; where a user other than
# root starts it, the sandboxes are started with sudo. REPEAT (1) says how often each case runs, SELECT what is run
# (everything), JOBS how many sandboxes run at once (one per core), PATIENCE (2) how much slower they are, PROGRAM which
# static binary it is (that of ci/static.sh), DEBIAN_MIRROR where packages come from (the mirror that this machine
# uses).
#
# Exit code: 0 nothing broken, 2 a version that is not to be had, 4 something broken. A mismatch there is none: nothing
# is expected of gVisor.
set -euo pipefail
cd "$(dirname "$0")/.."
ALL=(2022 2024)
SUITES=(bookworm trixie)
GVISOR=${GVISOR:-${CARGO_TARGET_DIR:-target}/gvisor}
mkdir -p "$GVISOR/reports"
GVISOR=$(realpath "$GVISOR")
versions=("$@")
[ "$#" -gt 0 ] || versions=("${ALL[@]}")
# shellcheck source=ci/stacks.sh
. ci/stacks.sh

# The newest package of a version: Debian spells 20240729.0 as 0.0~20240729.0-4+b7.
package_of() {
    private_apt apt-cache madison runsc | awk '{ print $3 }' | grep -E "^0\.0~$1" | sort -V | tail -n 1 || true
}

# A command that is the sandbox of whatever stands behind it. It must not get a network: runsc would change this
# machine's ip_forward.
sandbox() {
    cat <<SANDBOX
#!/bin/sh
# gvisor $release. What runsc leaves behind while it runs, it leaves here.
export TMPDIR='$GVISOR/$release/run'
exec $sudo'$GVISOR/$release/usr/bin/runsc' --root="\$TMPDIR" --network=none do -- "\$@"
SANDBOX
}

install_tools < /dev/null
program=${PROGRAM:-$(ci/static.sh)}
prepare_apt "$GVISOR/apt"
sudo=
[ "$(id -u)" = 0 ] || sudo="sudo --preserve-env=TMPDIR "
for version in "${versions[@]}"; do
    package=$(package_of "$version")
    if [ -z "$package" ]; then
        echo "errnoscope: no package of runsc $version in ${SUITES[*]}" >&2
        worst=2
        continue
    fi
    release=${package#0.0~} release=${release%%-*}
    if [ ! -e "$GVISOR/$release/usr/bin/runsc" ] && ! unpack "runsc=$package" "$GVISOR/$release"; then
        worst=2
        continue
    fi
    rm -rf "$GVISOR/$release/run"
    mkdir "$GVISOR/$release/run"
    sandbox > "$GVISOR/$release/sandbox"
    chmod +x "$GVISOR/$release/sandbox"
    echo "gvisor $release: runsc $package"
    measure "$GVISOR/reports/gvisor-$release.json.gz" --on "$GVISOR/$release/sandbox" --stack "gvisor $release" \
        --remote-binary "$program" --patience "${PATIENCE:-2}" --jobs "${JOBS:-$(nproc)}"
done
exit "$worst"
