#!/usr/bin/env bash
# README's two commands on a bare machine: a Debian that debootstrap makes, with a C compiler and the Rust toolchain of
# this machine, read-only, and nothing else of it. To be run as root.
#
#   ci/bare.sh           both commands as root, timed; then `cargo test` without what they installed, as root and as
#                        an ordinary user
#   ci/bare.sh STEP…     some of it: first, second, root, user; the latter two take what was compiled from an earlier
#                        run, if there was one
#
# Crates come from this machine's registry, packages from its mirror (DEBIAN_MIRROR). SUITE (bookworm) is which Debian,
# BARE (target/bare) where everything is.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || { echo "ci/bare.sh: mounts and makes namespaces: run it as root" >&2; exit 2; }
suite=${SUITE:-bookworm}
bare=${BARE:-${CARGO_TARGET_DIR:-target}/bare}
steps=("$@")
[ "$#" -gt 0 ] || steps=(first second root user)
mkdir -p "$bare"
bare=$(realpath "$bare")
# shellcheck disable=SC2034 # for stacks.sh
SUITES=("$suite")
# shellcheck source=ci/stacks.sh
. ci/stacks.sh
install_tools <<< "debootstrap debootstrap"

# What README says, as it says it.
# shellcheck disable=SC2016 # sed's own
mapfile -t commands < <(sed -n '/^## Two commands$/,/^## /{/^```sh$/,/^```$/{/^```/!p}}' README.md)
[ "${#commands[@]}" = 2 ] || { echo "README.md has ${#commands[@]} commands below \"Two commands\", not two" >&2; exit 1; }

base=$bare/$suite.tar
if [ ! -e "$base" ]; then
    rm -rf "$bare/base"
    debootstrap --variant=minbase --include=ca-certificates,gcc,libc6-dev,mount "$suite" "$bare/base" "$(mirror)" > "$bare/debootstrap.log"
    tar -C "$bare/base" --exclude=./dev -cf "$base.part" .
    mv "$base.part" "$base"
    rm -rf "$bare/base"
fi
cargo fetch --quiet --locked

# A new machine called $1, with the sources in it.
make_machine() {
    local root=$bare/$1 cargo=${CARGO_HOME:-$HOME/.cargo} home
    rm -rf "$root"
    mkdir -p "$root"/{dev,opt/rust,srv/errnoscope,home/somebody}
    tar -C "$root" -xf "$base"
    cp -L /etc/resolv.conf "$root/etc"
    echo "somebody:x:1000:1000::/home/somebody:/bin/bash" >> "$root/etc/passwd"
    echo "somebody:x:1000:" >> "$root/etc/group"
    git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - | tar -C "$root/srv/errnoscope" -xf -
    for home in root home/somebody; do
        mkdir -p "$root/$home/.cargo/registry"
        [ ! -e "$cargo/config.toml" ] || cp "$cargo/config.toml" "$root/$home/.cargo"
        cp -r "$cargo"/registry/{index,cache} "$root/$home/.cargo/registry"
    done
    chown -R 1000:1000 "$root/home/somebody"
}

# Runs a command in a machine, in the sources, as root or as somebody, below a shell that reaps orphans as an init does.
# A chroot would not do: nobody gets a user namespace in one.
inside() {
    local root=$bare/$1 user=$2 command=$3 home=/root path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    # As Debian's login has it.
    [ "$user" = root ] || home=/home/somebody path=/usr/local/bin:/usr/bin:/bin
    # shellcheck disable=SC2016 # the inner shell's own
    unshare --mount --propagation private --pid --fork --kill-child --uts --ipc bash -euc '
        root=$1 toolchain=$2
        shift 2
        mount --bind "$root" "$root"
        mount --bind "$toolchain" "$root/opt/rust"
        mount -o remount,ro,bind "$root/opt/rust"
        mount -t proc proc "$root/proc"
        mount -t sysfs sysfs "$root/sys"
        # Devices belong to the kernel.
        mount --rbind /dev "$root/dev"
        mount -t tmpfs tmpfs "$root/run"
        cd "$root"
        mkdir -p old
        pivot_root . old
        umount -l old
        cd /srv/errnoscope
        exec setpriv "$@"
    ' bash "$root" "$(rustc --print sysroot)" --reuid "$user" --regid "$user" --init-groups \
        env -i HOME="$home" USER="$user" LANG=C.UTF-8 PATH="/opt/rust/bin:$path" CARGO_NET_OFFLINE=true \
        CARGO_TERM_COLOR=never ${REQUIRED:+ERRNOSCOPE_REQUIRE="$REQUIRED"} bash -c "$command; exit" < /dev/null
}

# The same, with how long it took, in a report for the end.
timed() {
    local begun=$SECONDS load
    load=$(cut -d ' ' -f 1 /proc/loadavg)
    inside "$@" 2>&1 | tee "$bare/$step.log"
    report+=("$(printf '%5d s  load %s to %s  %s: %s' $((SECONDS - begun)) "$load" "$(cut -d ' ' -f 1 /proc/loadavg)" "$2" "$3")")
    if grep -q '^test result: ' "$bare/$step.log"; then
        report+=("         $(grep '^test result: ' "$bare/$step.log" | tail -n 1)")
    fi
}
report=()
made=no
for step in "${steps[@]}"; do
    case $step in
        first)
            make_machine new
            made=yes
            timed new root "${commands[0]}"
            ;;
        second)
            # That of the first command, unless that was another time.
            [ "$made" = yes ] || make_machine new
            # Nothing is ignored: whatever is needed was installed.
            REQUIRED=all timed new root "${commands[1]}"
            ;;
        root | user)
            make_machine old
            # Compiled is compiled.
            [ ! -d "$bare/new/srv/errnoscope/target" ] || cp -a "$bare/new/srv/errnoscope/target" "$bare/old/srv/errnoscope"
            user=root
            if [ "$step" = user ]; then
                user=somebody
                chown -R 1000:1000 "$bare/old/srv/errnoscope"
            fi
            timed old "$user" "cargo test"
            ;;
        *)
            echo "ci/bare.sh: no step is called $step: first, second, root, user" >&2
            exit 2
            ;;
    esac
done
printf '%s\n' "${report[@]}"
