#!/usr/bin/env bash
# Records what real programs say when the kernel refuses a call, beside the call that it refused:
# tests/explain/messages.jsonl. Then `UPDATE_EXPECT=1 cargo test --test all -- messages::` makes docs/messages.md of it.
#
#   ci/messages.sh [NAME...]     only these programs or situations of ci/messages/programs.toml, and what is recorded
#                                of others stays
#
# It makes a Debian of its own in ROOT (target/messages-root), and needs root for that. No program talks to anything
# outside of the private network that `errnoscope exec` makes for it. It is no part of .ci/run: it takes about half an
# hour.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "run it as root: it makes a root directory to change to" >&2; exit 2; }
# In a mount namespace of its own: what is mounted below that directory goes with this process, however it ends, and who
# removes the directory afterwards removes nothing of this machine.
if [ -z "${MESSAGES_INSIDE:-}" ]; then
    MESSAGES_INSIDE=1 exec unshare --mount --propagation private ci/messages.sh "$@"
fi
# shellcheck source=ci/stacks.sh
. ci/stacks.sh
install_tools <<< 'debootstrap debootstrap
python3 python3'
root=$(realpath -m "${ROOT:-target/messages-root}")
here=$PWD/ci/messages
cargo build --quiet
program=$(realpath "${CARGO_TARGET_DIR:-target}/debug/errnoscope")
table() { python3 -c 'import sys, tomllib; print(tomllib.load(open("ci/messages/programs.toml", "rb"))[sys.argv[1]])' "$1"; }
enter() { mkdir -p "$root$2"; mount --bind "$1" "$root$2"; }
if [ ! -e "$root/ready-1" ]; then
    [ -e "$root/etc/debian_version" ] ||
        debootstrap --variant=minbase --keyring="$keyring" trixie "$root" "$(mirror)" > "$root.log"
    # No service starts while it is installed.
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
fi
enter /dev /dev
enter /proc /proc
enter "$here" /messages
if [ ! -e "$root/ready-1" ]; then
    # shellcheck disable=SC2046 # one word for each package
    chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(table packages) >> "$root.log" 2>&1
    chroot "$root" sh -euc "$(table prepare)" >> "$root.log" 2>&1
    touch "$root/ready-1"
fi
python3 ci/messages/record.py "$root" "$program" tests/explain/messages.jsonl "$@"
