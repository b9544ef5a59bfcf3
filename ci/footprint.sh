#!/usr/bin/env bash
# The tracer's memory: at most 8 MiB at its peak, on a path of 5 routers.
set -euo pipefail
cd "$(dirname "$0")/.."
program=$(ci/static.sh)
peak=$("$program" exec --path 5 --listen 80 -- sh -c "command time -f %M '$program' trace -n 10.77.5.2 2>&1 > /dev/null")
echo "errnoscope trace: peak RSS $peak KiB"
[ "$peak" -le 8192 ]
