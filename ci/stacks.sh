# shellcheck shell=bash
# What kernels.sh, gvisor.sh and bare.sh share, which source it: Debian packages without installing them, and a report
# for each stack.
#
# Whoever sources it has set SUITES, of what Debian releases packages are looked for, and `program`, the static binary.
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# The worst exit code so far.
worst=0

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Installs those tools that are missing: lines of a tool and its package.
install_tools() {
    local missing=() tool package
    while read -r tool package; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$tool" >/dev/null || missing+=("$package")
    done
    [ -e "$keyring" ] || missing+=(debian-archive-keyring)
    if [ "${#missing[@]}" -gt 0 ]; then
        as_root apt-get update -qq
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" > /dev/null
    fi
    export PATH="$PATH:/usr/sbin:/sbin"
}

# The mirror of Debian that this machine uses.
mirror() {
    local mirror=${DEBIAN_MIRROR:-}
    # shellcheck disable=SC2016 # apt's own variables
    [ -n "$mirror" ] ||
        mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
    [ -n "$mirror" ] || { echo "this machine uses no mirror of Debian: name one, DEBIAN_MIRROR=http://…/debian" >&2; return 2; }
    echo "$mirror"
}

# An apt of our own in this directory: other suites of that mirror, no state shared with the machine's.
prepare_apt() {
    local mirror suite
    apt=$1
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/empty"
    mirror=$(mirror) || exit
    for suite in "${SUITES[@]}"; do
        echo "deb [signed-by=$keyring] $mirror $suite main"
    done > "$apt/sources.list"
    cat > "$apt/apt.conf" <<CONF
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "$apt/empty";
Dir::Etc::PreferencesParts "$apt/empty";
Dir::State::Lists "$apt/lists";
Dir::State::Status "/dev/null";
Dir::Cache "$apt/cache";
APT::Architectures "amd64";
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
CONF
    private_apt apt-get update -qq
}

private_apt() { APT_CONFIG=$apt/apt.conf "$@"; }

# Fetches a package, unpacks it below a directory, and keeps nothing else of it.
unpack() {
    local place
    place=$(mktemp -d)
    { (cd "$place" && private_apt apt-get download -qq "$1") && dpkg-deb -x "$place"/*.deb "$2"; } || { rm -rf "$place"; return 2; }
    rm -rf "$place"
}

# Runs the catalogue with these further arguments, and writes this report.
measure() {
    local report=$1 code=0
    shift
    # shellcheck disable=SC2086 # SELECT is several words
    "${program:?}" run "$@" --repeat "${REPEAT:-1}" --json "$report" ${SELECT:-} || code=$?
    # A mismatch is worse than something broken, as within one report.
    case $worst-$code in
        *-0 | 1-*) ;;
        *) worst=$code ;;
    esac
}
