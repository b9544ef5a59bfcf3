#!/usr/bin/env bash
# The whole catalogue in a container as Docker makes one: unshare(2) and its like are refused by a seccomp filter,
# /proc/sys and the file system are read-only, and there is a network of which nothing can be changed. As root with
# Docker's capabilities, and as an ordinary user without any. No mismatch, nothing broken, and not too little.
#
#   ci/container.sh [PROFILE.json]      with this seccomp profile, as runc reads it, instead of the few rules below
set -euo pipefail
profile=${1:+$(realpath "$1")}
cd "$(dirname "$0")/.."
program=${ERRNOSCOPE:-$(ci/static.sh)}
# Debian has runc where only root looks.
PATH=$PATH:/usr/sbin:/sbin
place=$(mktemp -d)
trap 'rm -rf --one-file-system "$place"' EXIT
mkdir -p "$place"/root/{proc,dev,sys,tmp,reports} "$place/reports"
# A user of the container writes there.
chmod 1777 "$place/reports" "$place/root/tmp"
install -m 755 "$program" "$place/root/errnoscope"
(cd "$place" && runc spec)
mv "$place/config.json" "$place/spec.json"
for user in root ordinary; do
    python3 - "$place" "$user" "$profile" <<'PY'
import json, sys

place, user, profile = sys.argv[1:]
spec = json.load(open(f"{place}/spec.json"))
# https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities
capabilities = ["CAP_" + name for name in (
    "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID "
    "SYS_CHROOT").split()]
process = spec["process"]
held = capabilities if user == "root" else []
process["capabilities"] = {kind: held for kind in ("bounding", "effective", "permitted")}
process.update(terminal=False, cwd="/tmp", args=["/errnoscope", "run", "-q", "--json", f"/reports/{user}.json"])
process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 20000}]
process["user"] = {"uid": 0, "gid": 0} if user == "root" else {"uid": 64321, "gid": 64321}
spec["root"] = {"path": "root", "readonly": True}
spec["mounts"] += [
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]},
    {"destination": "/reports", "type": "bind", "source": f"{place}/reports", "options": ["bind", "rw"]},
]
def refuse(names, errno, args=None):
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": errno} | ({"args": args} if args else {})
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET, one rule each: any of them is refused.
flags = [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000]
spec["linux"]["seccomp"] = json.load(open(profile)) if profile else {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [
        refuse(["unshare", "setns", "mount", "umount2", "fsopen", "fsmount", "open_tree", "move_mount", "bpf"], 1),
        refuse(["clone3"], 38),
    ] + [
        refuse(["clone"], 1, [{"index": 0, "value": flag, "valueTwo": flag, "op": "SCMP_CMP_MASKED_EQ"}])
        for flag in flags
    ],
}
json.dump(spec, open(f"{place}/config.json", "w"))
PY
    name=errnoscope-$user-$$
    if ! runc run --bundle "$place" "$name" > "$place/said" 2>&1; then
        cat "$place/said"
        exit 1
    fi
    python3 - "$place/reports/$user.json" "$user" <<'PY'
import collections, json, sys

report = json.load(open(sys.argv[1]))
assert report["host"]["isolation"] == "none", report["host"]["isolation"]
verdicts = collections.Counter(finding["verdict"] for finding in report["findings"])
share = verdicts["match"] / verdicts.total()
print(f"{sys.argv[2]}: {share:.1%} of {verdicts.total()} findings match:", dict(verdicts))
assert set(verdicts) <= {"match", "unsupported"} and share >= 0.65
PY
done
