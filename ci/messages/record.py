#!/usr/bin/env python3
"""Runs each program of programs.toml in each situation, and keeps what it said beside what the kernel said to it.

Arguments: the root that has the programs, errnoscope, the file to write, and the programs or situations to run again
(else all). ci/messages.sh makes that root.
"""

import errno as numbers
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import tomllib

HERE = pathlib.Path(__file__).parent
DEFAULTS = {"address": "127.0.0.1", "port": 8000, "source": "", "source_port": 0, "before": ":", "exec": [], "user": ""}


def variables(situation, place):
    address = situation["address"]
    return {
        "A": address,
        "H": f"[{address}]" if ":" in address else address,
        "P": str(situation["port"]),
        "S": situation["source"],
        "SP": str(situation["source_port"]),
        "T": place,
    }


def run(root, errnoscope, situation, command):
    """What a program says, and the calls that errnoscope saw."""
    place = tempfile.mkdtemp(dir=f"{root}/tmp")
    os.chmod(place, 0o777)
    trace = f"{place}/calls"
    own = {"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "LC_ALL": "C.UTF-8", "HOME": "/root"}
    own |= {"MESSAGES": str(HERE)} | variables(situation, place.removeprefix(root))
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"] if situation["user"] else []
    inner = ["chroot", root, *user, "sh", "-c", f"exec 2>&1; {command}"]
    arguments = ["sh", "-c", f'{situation["before"]}; exec "$@"', "sh", *inner]
    exec_ = [errnoscope, "exec", "--timeout", "12", "--json", trace, *situation["exec"], "--", *arguments]
    try:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        done = subprocess.run(exec_, env=own, text=True, errors="replace", timeout=60, **pipes)
        calls = json.loads(pathlib.Path(trace).read_text())["calls"]
    except (OSError, ValueError, subprocess.TimeoutExpired) as why:
        return f"{why}", []
    finally:
        shutil.rmtree(place, ignore_errors=True)
    said = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "host", done.stdout)
    return said.strip(), calls


def failed(calls, errnos):
    """The last call that failed so, with both ends of its socket."""
    ends, found = {}, None
    for call in calls:
        ends_of = ends.setdefault((call["pid"], call.get("descriptor")), {})
        if call["call"] == "socket":
            ends_of.clear()
        if call["call"] in ("bind", "connect", "sendto") and "address" in call:
            ends_of["local" if call["call"] == "bind" else "remote"] = call["address"]
        errno = call["outcome"].get("errno")
        # The error queue says it again.
        if errno in errnos and (found is None or call["call"] != "MSG_ERRQUEUE"):
            fields = {key: call[key] for key in ("call", "protocol", "family", "port") if key in call}
            found = fields | {"errno": errno} | ends_of
    return found


def tells(text, errno):
    """Whether a text says the errno in any way: its name, its number, the C library's words."""
    number = getattr(numbers, errno)
    lower = text.lower()
    return any(word in lower for word in [errno.lower(), os.strerror(number).lower()]) or number > 9 and bool(
        re.search(rf"(?:[(=\[]|\b(?:errno|error|err|code):? ){number}\b", lower)
    )


def version(root, program):
    asks = ["chroot", root, "sh", "-c", f"({program['version']}) 2>&1 | head -1"]
    said = subprocess.run(asks, capture_output=True, text=True)
    return said.stdout.strip()[:80]


def main():
    root, errnoscope, target, *wanted = sys.argv[1:]
    table = tomllib.loads((HERE / "programs.toml").read_text())
    target = pathlib.Path(target)
    kept = [json.loads(line) for line in target.read_text().splitlines()] if target.exists() else []
    again = lambda program, situation: not wanted or program in wanted or situation in wanted
    kept = [message for message in kept if not again(message["program"], message["situation"])]
    for program in table["program"]:
        of = version(root, program)
        for situation in table["situation"]:
            command = program.get(situation["kind"])
            if command is None or not again(program["name"], situation["name"]):
                continue
            situation = DEFAULTS | situation
            text, calls = run(root, errnoscope, situation, command)
            errnos = situation["errno"] if isinstance(situation["errno"], list) else [situation["errno"]]
            kernel = failed(calls, errnos)
            if kernel is None or not text:
                print(f"{program['name']}, {situation['name']}: no {errnos}: {text[-300:]!r}", file=sys.stderr)
                continue
            if len(text) > 3000:
                text = text[:1000] + "\n[…]\n" + text[-2000:]
            message = {"program": program["name"], "version": of, "situation": situation["name"]}
            kept.append(message | {"tells": tells(text, kernel["errno"]), "kernel": kernel, "text": text})
            order = {one["name"]: place for place, one in enumerate(table["program"])}
            kept.sort(key=lambda message: order.get(message["program"], -1))
            written = target.with_suffix(".new")
            written.write_text("".join(json.dumps(message, ensure_ascii=False) + "\n" for message in kept))
            written.replace(target)
    print(f"{len(kept)} texts")


main()
