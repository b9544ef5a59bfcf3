#!/usr/bin/env bash
# What the tests and the other checks need beyond the Rust toolchain, on Debian and Ubuntu: nft for the packet filter scenarios, ip and ss to disturb what `exec`
# made, Python for its client programs, zsh and fish, which have prompts, chromium for the page that `report` makes; setpriv for the ordinary user, time for the
# tracer's memory; shellcheck, npm and Python for the linters of scripts and workflows.
set -euo pipefail
need() {
    PATH="$PATH:/usr/sbin:/sbin" type -P "$1" >/dev/null || missing+=("$2")
}
missing=()
need nft nftables
need ip iproute2
need script bsdutils
need setpriv util-linux
need cc gcc
need chromium chromium
need time time
need shellcheck shellcheck
need npm npm
need python3 python3-venv
need zsh zsh
need fish fish
if [ "${#missing[@]}" -gt 0 ]; then
    sudo=()
    [ "$(id -u)" = 0 ] || sudo=(sudo)
    "${sudo[@]}" apt-get update -qq
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}"
fi
rustup component list --installed 2>/dev/null | grep -q '^rustfmt' || rustup component add rustfmt
rustup component list --installed 2>/dev/null | grep -q '^clippy' || rustup component add clippy
