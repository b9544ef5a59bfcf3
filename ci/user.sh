#!/usr/bin/env bash
# The whole catalogue as an ordinary user, in a user namespace: no mismatch, nothing broken.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(ci/static.sh)
if [ "$(id -u)" != 0 ]; then
    exec "$program" run --quiet --json /dev/null
fi
# The checkout may lie where only root can go: the program is all that the user needs.
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
install -m 755 "$program" "$place/errnoscope"
chmod 755 "$place"
cd /
setpriv --reuid 65534 --regid 65534 --clear-groups "$place/errnoscope" run --quiet
