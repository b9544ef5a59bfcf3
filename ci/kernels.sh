#!/usr/bin/env bash
# The catalogue on other Linux kernels: Debian's cloud kernels, each in QEMU, or as user-mode Linux, with this program
# as its init.
#
#   ci/kernels.sh              every kernel below
#   ci/kernels.sh 6.1 6.17     those, the newest release of each; or one, such as 6.12.94
#   ci/kernels.sh 6.1-uml      Linux 6.1 as a process: no emulator, no KVM, and no root but for the packages
#
# Into KERNELS (target/kernels) come packages, a machine for each kernel (VERSION/boot, a command for `errnoscope run
# --on`), and reports/linux-VERSION.json.gz. Nothing is installed of the kernels. REPEAT (1) says how often each case
# runs, SELECT what is run (everything), ACCEL (kvm or tcg) what is tried out otherwise, PATIENCE (1 with KVM, 5
# without) how much slower the machine is, PROGRAM which static binary it is (that of ci/static.sh), DEBIAN_MIRROR where
# packages come from (the mirror that this machine uses).
#
# Exit code: 0 all as expected, 1 a mismatch on some kernel, 2 a kernel that is not to be had, 4 something broken.
set -euo pipefail
cd "$(dirname "$0")/.."
# 6.12.107 dies in QEMU 7.2's emulator, at random places (double faults, corrupted trees), which 6.12.94 does not.
# Not 6.19, 7.0 and 7.1: of those trixie-backports has kept the images, but no modules, and so nothing that could
# witness a precondition.
ALL=(5.10 6.1 6.12 6.16 6.17 6.18 7.2 7.3)
SUITES=(bullseye bookworm trixie trixie-backports)
# What the catalogue needs of what Debian builds as modules; names that a kernel has built in or has not got are passed
# over.
MODULES=(virtio_pci virtio_console ipv6 inet_diag tcp_diag udp_diag tun veth nf_tables nft_counter nft_ct nft_objref nft_reject_inet nft_reject_ipv4 nft_reject_ipv6)
target=${CARGO_TARGET_DIR:-target}
KERNELS=${KERNELS:-$target/kernels}
mkdir -p "$KERNELS/reports"
KERNELS=$(realpath "$KERNELS")
versions=("$@")
[ "$#" -gt 0 ] || versions=("${ALL[@]}")

# shellcheck source=ci/stacks.sh
. ci/stacks.sh

# The newest package NAME-X.Y.…-cloud-amd64, or that of X.Y.Z.
package_of() {
    private_apt apt-cache pkgnames "$1-$2" | grep -E "^$1-${2//./\\.}([.-][0-9.-]+)?(\+deb[0-9]+)?-cloud-amd64$" | sort -V | tail -n 1 || true
}

# Fetches and unpacks user-mode Linux; sets `root` and `release`. Which one this machine's libc fits shows when it
# starts.
fetch_uml() {
    local version=$1 package
    package=$(private_apt apt-cache madison user-mode-linux | awk -v v="${version%-uml}um" 'index($3, v) == 1 { print $3; exit }')
    if [ -z "$package" ]; then
        echo "errnoscope: no user-mode Linux ${version%-uml} in ${SUITES[*]}" >&2
        return 2
    fi
    root=$KERNELS/$version/root-$package
    if [ ! -d "$root" ]; then
        rm -rf "$root.part"
        unpack "user-mode-linux=$package" "$root.part" || return 2
        mkdir -p "$root.part/lib"
        ln -s ../usr/lib/uml/modules "$root.part/lib/modules"
        mv "$root.part" "$root"
    fi
    release=$(ls "$root/lib/modules")
}

# Fetches and unpacks the packages of a kernel; sets `root` and `release`.
fetch() {
    local version=$1 image modules name
    if [[ $version = *-uml ]]; then
        fetch_uml "$version"
        return
    fi
    # From 6.19 on the image is a package of its own, and from 7.2 on the modules are another.
    image=$(package_of linux-binary "$version")
    modules=linux-modules-${image#linux-binary-}
    # The name alone says nothing: others provide it.
    private_apt apt-get download --print-uris "$modules" > /dev/null 2>&1 || modules=
    image=${image:-$(package_of linux-image "$version")}
    if [ -z "$image" ]; then
        echo "errnoscope: no package of a cloud kernel $version in ${SUITES[*]}" >&2
        return 2
    fi
    release=${image#linux-binary-} release=${release#linux-image-}
    root=$KERNELS/$version/root-$release
    [ -d "$root" ] && return
    rm -rf "$root.part"
    mkdir -p "$root.part"
    for name in $image $modules; do
        unpack "$name" "$root.part" || return 2
    done
    [ -e "$root.part/lib" ] || ln -s usr/lib "$root.part/lib"
    if [ ! -d "$root.part/lib/modules/$release" ]; then
        echo "errnoscope: ${SUITES[*]} have the image of linux $release, but not its modules: take another version" >&2
        rm -rf "$root.part"
        return 2
    fi
    depmod -b "$root.part" "$release" || return 2
    mv "$root.part" "$root"
}

# The initramfs: our binary, the modules in the order in which they load, nft with its libraries.
initramfs() {
    local tree module path file
    tree=$(mktemp -d)
    mkdir -p "$tree/lib/modules" "$tree/usr/sbin" "$tree/tmp"
    cp "$program" "$tree/errnoscope"
    : > "$tree/modules"
    for module in "${MODULES[@]}"; do
        modprobe -d "$root" -S "$release" -D "$module" 2> /dev/null | sed -n 's/^insmod \([^ ]*\).*/\1/p' || true
    done | awk '!seen[$0]++' | while read -r path; do
        file=$(basename "$path")
        case $path in
            *.xz) xz -dc "$path" > "$tree/lib/modules/${file%.xz}" ;;
            *.zst) zstd -qdc "$path" > "$tree/lib/modules/${file%.zst}" ;;
            *) cp "$path" "$tree/lib/modules/$file" ;;
        esac
        file=${file%.xz}
        echo "/lib/modules/${file%.zst}" >> "$tree/modules"
    done
    cp -L "$(command -v nft)" "$tree/usr/sbin/nft"
    ldd "$tree/usr/sbin/nft" | grep -oE '/[^ ]+' | while read -r path; do
        mkdir -p "$tree$(dirname "$path")"
        cp -L "$path" "$tree$path"
    done
    (cd "$tree" && find . | cpio --quiet -o -H newc) | gzip -1 > "$1"
    rm -rf "$tree"
}

# User-mode Linux as such a command. It adds a root and a console of its own unless it is told which. It has SELinux
# enabled, as the cloud kernels have not.
machine_uml() {
    cat <<BOOT
#!/bin/sh
# user-mode linux $release; what is behind this command is given no arguments.
# It makes a session of its own and knows no end of its input: it goes when this shell does.
setpriv --pdeathsig TERM '$root/usr/bin/linux.uml' mem=1G uml_dir='$KERNELS/$version/run/' initrd='$KERNELS/$version/initramfs' rdinit=/errnoscope root=none console=tty0 \\
    con=null con0=fd:0,fd:1 ssl=null loglevel=4 panic=-1 -- init
BOOT
}

# A command that is the machine: its standard input and output lead to the worker, its console is its standard error.
machine() {
    local accel=$1 image
    image=$(find "$root" -name "vmlinuz*" -type f | head -n 1)
    cat <<BOOT
#!/bin/sh
# linux $release; what is behind this command is given no arguments.
exec qemu-system-x86_64 -machine q35 -nodefaults -no-user-config -no-reboot -display none -m 1G \\
    -accel $accel -cpu max -kernel '$image' -initrd '$KERNELS/$version/initramfs' \\
    -append 'rdinit=/errnoscope console=ttyS0 loglevel=4 panic=-1 -- init' \\
    -serial file:/dev/stderr -chardev stdio,id=line,signal=off \\
    -device virtio-serial-pci -device virtserialport,chardev=line,name=errnoscope
BOOT
}

# /dev/kvm says nothing: whether a kernel boots there in time does.
accelerator() {
    [ -z "${ACCEL:-}" ] || { echo "$ACCEL"; return; }
    if [ -w /dev/kvm ]; then
        machine kvm > "$KERNELS/$version/boot-kvm"
        chmod +x "$KERNELS/$version/boot-kvm"
        if timeout -k 5 60 "$program" run --on "$KERNELS/$version/boot-kvm" --wait 20 --quiet bind.broadcast > /dev/null 2>&1; then
            echo kvm
            return
        fi
    fi
    echo tcg
}

install_tools <<'TOOLS'
qemu-system-x86_64 qemu-system-x86
depmod kmod
cpio cpio
nft nftables
xz xz-utils
zstd zstd
TOOLS
program=${PROGRAM:-$(ci/static.sh)}
prepare_apt "$KERNELS/apt"
accel=
for version in "${versions[@]}"; do
    mkdir -p "$KERNELS/$version"
    if ! fetch "$version"; then
        worst=2
        continue
    fi
    initramfs "$KERNELS/$version/initramfs"
    if [[ $version = *-uml ]]; then
        how=uml
        rm -rf "$KERNELS/$version/run"
        mkdir "$KERNELS/$version/run"
        machine_uml > "$KERNELS/$version/boot"
    else
        how=${accel:=$(accelerator)}
        machine "$accel" > "$KERNELS/$version/boot"
    fi
    chmod +x "$KERNELS/$version/boot"
    patience=${PATIENCE:-$([ "$how" = kvm ] && echo 1 || echo 5)}
    echo "linux $version: $release with $how"
    measure "$KERNELS/reports/linux-$version.json.gz" --on "$KERNELS/$version/boot" --patience "$patience"
done
exit "$worst"
