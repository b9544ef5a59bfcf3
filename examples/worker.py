"""A worker for errnoscope in another language: plans in, answers out. docs/protocol.md says what each line means.

    errnoscope run --on 'python3 examples/worker.py' bind.port-held

It knows the ops that most cases are made of, and says of the others that it does not. It needs Linux and nothing but
Python's own library. The socket table is /proc/net, which has no sockets that are merely bound: these are asked.
"""

import ctypes, errno, fcntl, json, os, platform, select, signal, socket, struct, sys, time

PROTOCOL, MARK, MOST_ROWS = 5, "\x1e", 256
NEWNET, NEWUSER = 0x40000000, 0x10000000
NEEDS = "network-namespace free-ports ipv6 second-user tun nft xnu linux selinux resources mptcp io-uring".split()
STATES = ("0 ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN "
          "CLOSING").split()  # include/net/tcp_states.h
IN_TABLE = {"listening": "LISTEN", "accepted": "ESTABLISHED", "connected": "ESTABLISHED"}
OPTIONS = {
    "reuse-addr": (socket.SOL_SOCKET, socket.SO_REUSEADDR, int),
    "reuse-port": (socket.SOL_SOCKET, socket.SO_REUSEPORT, int),
    "linger": (socket.SOL_SOCKET, socket.SO_LINGER, lambda seconds: struct.pack("ii", 1, seconds)),
    "v6-only": (socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int),
}
# Where a number has two names, the protocol has one.
NAMES = {**errno.errorcode, errno.EAGAIN: "EAGAIN", errno.EDEADLK: "EDEADLK", errno.EOPNOTSUPP: "EOPNOTSUPP"}


class Stop(Exception):
    """Ends an op with this result. Where a call fails, OSError does."""


def endpoint(name):
    """`127.0.0.1:80` or `[::1]:80`."""
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


class Known:
    """A socket of the plan. It stays known when it is closed, because the kernel may keep its connection."""

    def __init__(self, own, protocol, remote=None):
        self.own, self.protocol, self.local, self.remote, self.bound = own, protocol, None, remote, False

    def names(self):
        self.local = endpoint(self.own.getsockname())
        return {"names": {"local": self.local, "remote": self.remote}}


class Case:
    """The sockets of one case, the ops on them, and the questions about them."""

    def __init__(self, patience):
        self.patience, self.sockets, self.took = patience, {}, 0

    def known(self, name, is_open=True):
        known = self.sockets.get(name)
        if known is None or is_open and known.own is None:
            raise Stop({"failed": f"no socket is called `{name}`, or it is closed"})
        return known

    def timed(self, call, *arguments, within=None):
        """Makes a call and says how long it took. After `within` milliseconds it counts as blocked."""
        def late(*_):
            raise Stop({"outcome": {"blocked_ms": within * self.patience}})

        if within is not None:
            signal.signal(signal.SIGALRM, late)
            signal.setitimer(signal.ITIMER_REAL, max(within * self.patience, 1) / 1000)
        begin = time.perf_counter_ns()
        try:
            return call(*arguments)
        finally:
            self.took = time.perf_counter_ns() - begin
            signal.setitimer(signal.ITIMER_REAL, 0)

    def perform(self, step, about):
        """What performing a step came to, and what it gave beside that."""
        [(op, arguments)], detail = step["op"].items(), None
        call = getattr(self, "op_" + op.replace("-", "_"), None)
        try:
            if step.get("user", "root") != "root" or "user" in step and os.geteuid() != 0:
                raise Stop({"unsupported": {"need": "second-user", "reason": "this worker becomes nobody else"}})
            if call is None or not {"length", "scope", "form", "via"}.isdisjoint(arguments):
                raise Stop({"unsupported": {"need": "linux", "reason": f"this worker cannot `{op}` like this"}})
            detail, result = call(**arguments), {"outcome": {"ok": True}}
        except Stop as stop:
            [result] = stop.args
        except socket.gaierror as error:
            result = {"unsupported": {"need": "linux", "reason": f"Python passes no such address: {error}"}}
        except OSError as error:
            name = NAMES.get(error.errno, f"errno {error.errno}")
            lacks = {"unsupported": {"need": "ipv6" if op == "socket" else "linux", "reason": str(error)}}
            result = lacks if name in about.get("unsupported", []) else {"outcome": {"errno": name, "raw": error.errno}}
        known = self.sockets.get(arguments.get("socket"))
        if op in ("bind", "listen", "connect") and known and known.own:
            detail = known.names()  # A call that fails may leave a name as well.
        return result, detail

    def op_socket(self, socket, family, protocol):
        if protocol == "mptcp":
            raise Stop({"unsupported": {"need": "mptcp", "reason": "this worker makes no such sockets"}})
        from socket import AF_INET, AF_INET6, SOCK_DGRAM, SOCK_STREAM, socket as make
        kind = SOCK_STREAM if protocol == "tcp" else SOCK_DGRAM
        own = self.timed(make, AF_INET if family == "ipv4" else AF_INET6, kind)
        self.sockets[socket] = Known(own, protocol)

    def op_set_option(self, socket, option):
        [(name, value)] = option.items()
        if name not in OPTIONS:
            raise Stop({"unsupported": {"need": "linux", "reason": f"this worker has no option `{name}`"}})
        level, number, convert = OPTIONS[name]
        self.timed(self.known(socket).own.setsockopt, level, number, convert(value))

    def op_bind(self, socket, address, port):
        known = self.known(socket)
        self.timed(known.own.bind, (address, port))
        known.bound = True

    def op_listen(self, socket, backlog=8):
        self.timed(self.known(socket).own.listen, backlog)

    def op_connect(self, socket, address, port, nonblocking=False, wait_ms=100):
        known = self.known(socket)
        earlier, known.remote = known.remote, endpoint((address, port))
        known.own.setblocking(not nonblocking)
        try:
            self.timed(known.own.connect, (address, port), within=None if nonblocking else wait_ms)
        except OSError as error:
            if error.errno != errno.EINPROGRESS:
                known.remote = earlier if error.errno in (errno.EALREADY, errno.EISCONN) else None
            raise

    def op_accept(self, socket, new, wait_ms=100):
        listener = self.known(socket)
        listener.own.setblocking(True)
        own, peer = self.timed(listener.own.accept, within=wait_ms)
        self.sockets[new] = Known(own, listener.protocol, endpoint(peer))
        return self.sockets[new].names()

    def op_send(self, socket, bytes):
        own = self.known(socket).own
        own.setblocking(False)
        return {"bytes": {"count": self.timed(own.send, b"\0" * bytes)}}

    def op_receive(self, socket, wait_ms=100):
        own = self.known(socket).own
        own.setblocking(True)
        return {"bytes": {"count": len(self.timed(own.recv, 65536, within=wait_ms))}}

    def op_close(self, socket):
        known = self.known(socket)
        own, known.own = known.own, None
        self.timed(own.close)

    def op_so_error(self, socket, wait_ms=100):
        own = self.known(socket).own
        if not any(select.select([], [own], [], wait_ms * self.patience / 1000)):
            raise Stop({"outcome": {"blocked_ms": wait_ms * self.patience}})
        if raw := self.timed(own.getsockopt, 1, 4):  # SOL_SOCKET, SO_ERROR
            raise OSError(raw, "SO_ERROR")

    def op_wait(self, socket, state, deadline_ms=2000):
        end = time.monotonic() + deadline_ms * self.patience / 1000
        wanted = IN_TABLE.get(state, state.upper().replace("-", "_"))
        while True:
            sought = self.ask_socket(socket)["socket"]
            names, inode = (sought["local"], sought["remote"]), sought["inode"]
            rows = [row for row in sought["rows"] if row["inode"] == inode]
            seen = [row["state"] for row in rows if inode or (row["local"], row.get("remote")) == names]
            if wanted in seen or state == "gone" and not seen:
                return
            if time.monotonic() > end:
                raise Stop({"failed": f"waited for `{socket}` to be {state}, and the table showed {rows}"})
            time.sleep(0.001)

    def op_elapse(self, ms):
        self.timed(time.sleep, ms / 1000)

    def op_raise(self, signal):
        os.kill(os.getpid(), signal)

    def answers(self, about):
        """What the kernel says now to the questions around a call under test."""
        given = []
        for [(query, arguments)] in (query.items() for query in about.get("queries", [])):
            try:
                ask = getattr(self, "ask_" + query, None)
                given.append(ask(**arguments) if ask else {"failed": {"error": f"this worker cannot answer `{query}`"}})
            except (OSError, Stop) as error:
                given.append({"failed": {"error": str(error)}})
        return given

    def ask_socket(self, socket):
        known = self.known(socket, is_open=False)
        inode = os.fstat(known.own.fileno()).st_ino if known.own else 0
        port = known.local.rsplit(":", 1)[1] if known.local else "0"
        rows = [row for row in self.rows(known.protocol) if port not in ("0", "") and row["local"].endswith(":" + port)]
        rows.sort(key=lambda row: row["inode"] != inode)
        return {"socket": {"local": known.local, "remote": known.remote, "rows": rows[:MOST_ROWS], "inode": inode}}

    def rows(self, protocol):
        """The socket table, and the TCP sockets of this case that have nothing but a port, which are not in it."""
        for file in (protocol, protocol + "6"):
            with open(f"/proc/net/{file}", encoding="ascii") as table:
                yield from (row(protocol, line.split()) for line in table.readlines()[1:])
        for known in self.sockets.values():
            if known.own and known.bound and known.protocol == protocol == "tcp":
                its = {"uid": os.geteuid(), "inode": os.fstat(known.own.fileno()).st_ino}
                if known.own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 7:  # TCP_CLOSE
                    yield {"protocol": "tcp", "state": "BOUND", "local": known.local, **its}


def row(protocol, words):
    def address(text):
        host, port = text.split(":")
        # Each 32 bits of it are a number of this machine's.
        raw = b"".join(struct.pack("=I", int(host[at:at + 8], 16)) for at in range(0, len(host), 8))
        return endpoint((socket.inet_ntop(socket.AF_INET if len(raw) == 4 else socket.AF_INET6, raw), int(port, 16)))

    seen = {"protocol": protocol, "state": STATES[int(words[3], 16)], "uid": int(words[7]), "inode": int(words[9])}
    seen["local"] = address(words[1])
    return seen if words[2].endswith(":0000") else {**seen, "remote": address(words[2])}


def perform(plan, say):
    case, well = Case(plan["patience"]), {}
    for index, step in enumerate(plan["steps"]):
        [(role, about)] = step["role"].items()
        if "requires" in about and not well[about["requires"]]:
            well[index] = False
            continue
        before, case.took = case.answers(about), 0
        result, detail = case.perform(step, about)
        done = {"step": index, "result": result, "micros": case.took / 1000, "detail": detail, "before": before}
        done["after"] = case.answers(about)
        say(json.dumps({key: value for key, value in done.items() if value not in (None, [])}))
        outcome = result.get("outcome", {})
        well[index] = outcome.get("ok") or outcome.get("errno") == "EINPROGRESS"
        is_begun = well[index] and ("ok" in outcome or step["op"].get("connect", {}).get("nonblocking"))
        if role == "setup" and not is_begun and outcome.get("errno", "ok") not in about.get("permit", []):
            return


def enter_network():
    """A network of this process's own, whose loopback interface is up."""
    uid = os.geteuid()
    if ctypes.CDLL(None, use_errno=True).unshare(NEWNET if uid == 0 else NEWNET | NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    if uid != 0:
        open("/proc/self/uid_map", "w", encoding="ascii").write(f"0 {uid} 1")
    with socket.socket() as some:
        fcntl.ioctl(some, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def in_child(work, seconds):
    """Runs `work` in a process of its own: the lines that it said, and how it ended."""
    (ours, its), late = os.pipe(), []
    child = os.fork()
    if child == 0:
        code, message = 0, ""
        try:
            work(lambda line: os.write(its, line.encode() + b"\n"))
        except BaseException as error:  # Whatever it is, somebody else is to hear of it.
            code, message = 101, f"{type(error).__name__}: {error}"
        os.write(its, message.encode())
        os._exit(code)
    os.close(its)
    signal.signal(signal.SIGALRM, lambda *_: (late.append(True), os.kill(child, signal.SIGKILL)))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    with open(ours, encoding="utf-8") as said:
        *lines, message = said.read().split("\n")
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = os.waitstatus_to_exitcode(status)
    ended = {"killed": {"signal": -code}} if code < 0 else {"exited": {"code": code, "message": message}}
    return lines, {"timed-out": {"ms": round(seconds * 1000)}} if late else ended if code else "done"


def main():
    lines, _ = in_child(lambda say: (enter_network(), say("private")), 10)
    private = lines == ["private"] and sys.argv[-2:] != ["--isolation", "none"]
    has = {"linux": True, "resources": True, "ipv6": True, "network-namespace": private, "free-ports": not private}
    lacks = {"available": False, "reason": "this worker does not offer it"}
    print(MARK + json.dumps({
        "protocol": PROTOCOL, "os": "linux", "release": platform.release(), "arch": platform.machine(),
        "isolation": "netns" if private else "none", "sysctls": {},
        "capabilities": {need: {"available": True} if has.get(need) else lacks for need in NEEDS}}), flush=True)
    for line in (line for line in sys.stdin if MARK in line):
        plan, steps = {}, []
        try:
            plan = json.loads(line.rsplit(MARK, 1)[1])
            seconds = plan["deadline_ms"] * plan["patience"] / 1000
            steps, fate = in_child(lambda say: (private and enter_network(), perform(plan, say)), seconds)
        except (ValueError, KeyError, TypeError) as error:
            fate = {"exited": {"code": 2, "message": f"the plan cannot be read: {error!r}"}}
        about = f'"case":{json.dumps(plan.get("case", ""))},"number":{plan.get("number", 0)}'
        print(f'{MARK}{{{about},"fate":{json.dumps(fate)},"steps":[{",".join(steps)}]}}', flush=True)


main()
