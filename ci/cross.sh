#!/usr/bin/env bash
# What is not this machine. macOS without a Mac: the library, the program and every test type-check and lint for Apple's
# processors, the library and the program for Intel's as well (the benchmark is about Linux namespaces). Linux on other
# processors, of 64 and of 32 bits. And the oldest Rust that Cargo.toml says is enough. With --link, which takes
# minutes: the program is linked for both of Apple's, and what comes out is looked at; and the library and the program
# type-check for FreeBSD, which shows what of them is POSIX and what Linux's or Apple's. The linker is Zig's, by
# cargo-zigbuild, below target/. Nothing is run, and nothing here says what a Mac does.
set -euo pipefail
cd "$(dirname "$0")/.."
installed() { rustup target list --installed | grep -qx "$1" || rustup target add "$1"; }

targets=(
    {aarch64,x86_64}-apple-darwin
    {aarch64,riscv64gc,i686}-unknown-linux-gnu armv7-unknown-linux-gnueabihf
)
others=("${targets[@]:1}")
for target in "${targets[@]}"; do
    installed "$target"
done
# All at once: what they have in common is made once, and no processor waits for the last crate of one of them. Lints of
# one of Apple's are those of all: what is Linux's has been seen by ci/lint.sh.
RUSTFLAGS="-D warnings" cargo check --quiet --lib --bins "${others[@]/#/--target=}"
cargo clippy --quiet --lib --bins --tests --target "${targets[0]}" -- -D warnings
echo "${targets[*]}: type-check"
oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
rustup toolchain list | grep -q "^$oldest-" || rustup toolchain install "$oldest" --profile minimal
# In a place of its own: what one compiler has made is useless to the other.
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/oldest cargo "+$oldest" check --quiet --locked --lib --bins
echo "Rust $oldest: type-checks"
[ "${1:-}" = --link ] || exit 0

installed x86_64-unknown-freebsd
cargo clippy --quiet --lib --bins --target x86_64-unknown-freebsd -- -D warnings
echo "x86_64-unknown-freebsd: type-checks"

target_dir=${CARGO_TARGET_DIR:-target}
tools=$target_dir/cross-tools
if [ ! -e "$tools/ready-1" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check ziglang==0.17.1
    cargo install --quiet --locked --root "$tools" cargo-zigbuild@0.24.1
    touch "$tools/ready-1"
fi
# Zig is found as a module of the first python3 there is.
PATH=$(realpath "$tools/bin"):$PATH
export PATH

# What file(1) would say: a Mach-O of 64 bits (0xfeedfacf), the processor, and that it is a program (MH_EXECUTE), by
# mach-o/loader.h.
header() { od -A n -t x4 --endian=little -N 16 "$1" | tr -s ' ' | sed 's/^ //'; }
check_header() {
    local found
    found=$(header "$1")
    case $2-$found in
        aarch64-*"feedfacf 0100000c "*" 00000002" | x86_64-*"feedfacf 01000007 "*" 00000002") ;;
        *)
            echo "$1 is no program for $2: it begins with $found" >&2
            exit 1
            ;;
    esac
}
for target in aarch64-apple-darwin x86_64-apple-darwin; do
    cargo zigbuild --quiet --target "$target"
    program=$target_dir/$target/debug/errnoscope
    check_header "$program" "${target%%-*}"
    # Of the C library it takes what it calls; a case's calls would otherwise go nowhere.
    for call in _socket _bind _connect _sysctlbyname _getifaddrs; do
        grep -aq "$call" "$program" || { echo "$program does not call $call" >&2; exit 1; }
    done
    echo "$target: links, $(du -h "$program" | cut -f 1)"
done
