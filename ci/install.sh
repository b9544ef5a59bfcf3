#!/usr/bin/env bash
# Installs what the tests need beyond a Rust toolchain, on Debian and Ubuntu. With --checks also what the linters and
# the other checks need. Without root it asks sudo. Where that is not to be had, it says what is missing, and fails.
set -euo pipefail
# Any of these programs, or this package.
need() {
    local program
    for program in ${1//|/ }; do
        ! PATH="$PATH:/usr/sbin:/sbin" type -P "$program" >/dev/null || return 0
    done
    missing+=("$2")
}
missing=()
need cc gcc
# The packet filter scenarios.
need nft nftables
# Tests of `exec` disturb what it made.
need ip iproute2
need python3 python3
need curl curl
# They change what it made.
need sysctl procps
# A command at a terminal.
need script bsdutils
# Other users, for root and for an ordinary user.
need setpriv util-linux
need newuidmap uidmap
# Shells that have completions.
need zsh zsh
need fish fish
# The page that `report` makes; without a font it has no text.
need "chromium|chromium-browser|google-chrome" "chromium fonts-dejavu-core"
if [ "${1:-}" = --checks ]; then
    need time time
    need runc runc
    need shellcheck shellcheck
    need npm npm
    python3 -c "import ensurepip" 2>/dev/null || missing+=(python3-venv)
    for component in rustfmt clippy; do
        rustup component list --installed 2>/dev/null | grep -q "^$component" || rustup component add "$component"
    done
fi
[ "${#missing[@]}" -gt 0 ] || exit 0
read -ra packages <<< "${missing[*]}"
as_root=()
if [ "$(id -u)" != 0 ]; then
    as_root=(sudo)
    # Nobody is there who could type a password.
    [ -t 0 ] || as_root=(sudo -n)
fi
if ! type -P apt-get >/dev/null || ! "${as_root[@]}" true; then
    echo "ci/install.sh: missing: ${packages[*]}; as root, on Debian and Ubuntu: apt-get install ${packages[*]}" >&2
    exit 1
fi
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
