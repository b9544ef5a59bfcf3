//! `errnoscope exec --trace`: which calls are seen, of whom, and what is said about them.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use crate::common::PROGRAM;
use crate::harness::{needs, rstest, test};
use errnoscope::knowledge::calls::{self, Calls, Reason, Record, SystemCall};
use errnoscope::words::cause::Cause;
use errnoscope::words::names::{Call, PortChoice, Reuse};

needs!(Namespaces, Ptrace, Python);

fn exec(options: &[&str], command: &[&str]) -> (Output, Calls) {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("calls.json");
    let mut exec = Command::new(PROGRAM);
    exec.arg("exec").args(options).arg("--json").arg(&json).arg("--").args(command);
    let output = exec.stdin(Stdio::null()).output().unwrap();
    let text = std::fs::read(&json).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
    let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
    jsonschema::validator_for(&calls::schema()).unwrap().validate(&value).unwrap();
    (output, serde_json::from_value(value).unwrap())
}

/// Python, because everybody knows what its calls are.
fn python(options: &[&str], script: &str) -> Vec<Record> {
    let script = format!("import os, socket, sys, threading\n{script}");
    let (output, calls) = exec(options, &["python3", "-c", &script]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    calls.calls
}

fn said(records: &[Record]) -> Vec<(Call, &str)> {
    records.iter().map(|record| (record.call, record.outcome.name())).collect()
}

#[test]
fn a_call_is_told_with_its_port_and_its_options() {
    let script = "
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(('127.0.0.1', 4000))
s.setblocking(False)
s.connect_ex(('127.0.0.1', 9))
s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
t = socket.socket(socket.AF_INET6)
t.bind(('::1', 0))
t.listen()
u = socket.socket(type=socket.SOCK_DGRAM)
u.sendto(b'x', ('127.0.0.1', 9))
";
    let calls = python(&[], script);
    assert_eq!(
        said(&calls),
        [
            (Call::Socket, "ok"),
            (Call::Setsockopt, "ok"),
            (Call::Bind, "ok"),
            (Call::Connect, "EINPROGRESS"),
            (Call::SoError, "ECONNREFUSED"),
            (Call::Socket, "ok"),
            (Call::Bind, "ok"),
            (Call::Listen, "ok"),
            (Call::Socket, "ok"),
            (Call::Sendto, "ok"),
        ],
        "{calls:#?}"
    );
    assert_eq!(calls[1].option.as_deref(), Some("SO_REUSEADDR = 1"));
    let connect = &calls[3];
    assert_eq!((connect.reuse, connect.port), (Some(Reuse::Addr), PortChoice::Explicit));
    assert_eq!(connect.local, "127.0.0.1:4000".parse().ok());
    assert_eq!(connect.address, "127.0.0.1:9".parse().ok());
    assert_eq!(calls[4].causes, [Cause::Refused]);
    assert_eq!((calls[6].port, calls[7].port), (PortChoice::Ephemeral, PortChoice::Explicit));
    assert!(calls[9].local.is_some(), "what sendto() chose");
}

const CONNECT: &str = "
def connect():
    try: socket.create_connection(('127.0.0.1', 9))
    except OSError: pass
";

#[rstest]
#[case::threads(
    "ts = [threading.Thread(target=connect) for _ in range(4)]\nfor t in ts: t.start()\nfor t in ts: t.join()",
    4
)]
#[case::forks("for _ in range(4):\n  if os.fork() == 0: connect(); os._exit(0)\nfor _ in range(4): os.wait()", 4)]
#[case::a_fork_of_a_thread(
    "def f():\n  if os.fork() == 0: connect(); os._exit(0)\n  os.wait()\nt = threading.Thread(target=f); t.start(); t.join()",
    1
)]
#[case::exec_of_a_thread(
    "def f(): os.execvp('python3', ['python3', '-c', 'import socket; socket.socket().connect_ex((\"127.0.0.1\", 9))'])\nt = threading.Thread(target=f); t.start(); t.join()",
    1
)]
#[case::vfork(
    "os.posix_spawnp('python3', ['python3', '-c', 'import socket; socket.socket().connect_ex((\"127.0.0.1\", 9))'], os.environ); os.wait()",
    1
)]
#[case::an_orphan(
    "if os.fork() == 0:\n  if os.fork() == 0: connect(); os.write(1, b'x')\n  os._exit(0)\nos.wait()\nimport time; time.sleep(0.5)",
    1
)]
fn everybody_is_seen(#[case] script: &str, #[case] expected: usize) {
    let calls = python(&[], &format!("{CONNECT}\n{script}"));
    let connects: Vec<&Record> = calls.iter().filter(|record| record.call == Call::Connect).collect();
    assert_eq!(connects.len(), expected, "{calls:#?}");
    assert!(connects.iter().all(|record| record.outcome.name() == "ECONNREFUSED"), "{connects:#?}");
}

#[test]
fn what_is_no_internet_socket_is_nobodys_business() {
    let script = "
a, b = socket.socketpair()
u = socket.socket(socket.AF_UNIX)
try: u.connect('/nowhere')
except OSError: pass
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)
n.bind((0, 0))
";
    assert_eq!(said(&python(&[], script)), []);
}

#[test]
fn lines_come_after_the_commands_output() {
    let mut exec = Command::new(PROGRAM);
    let script = "echo said; echo complained >&2; exec 3<>/dev/tcp/127.0.0.1/9";
    let arguments = ["exec", "-c", "ports-exhausted,range=40000-40001", "--trace", "--", "bash", "-c", script];
    let output = exec.args(arguments).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.stdout, b"said\n");
    let complained = String::from_utf8(output.stderr).unwrap();
    assert!(complained.starts_with("complained\n"), "{complained}");
    assert!(complained.contains("2 calls of 1 process on internet sockets, 1 failed"), "{complained}");
    assert!(complained.contains("127.0.0.1:9 EADDRNOTAVAIL: ports-exhausted"), "{complained}");
    assert!(complained.lines().all(|line| line.chars().count() <= 80), "{complained}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_line_has_the_system_call_and_what_it_is_about() {
    let script = "import socket
l = socket.create_server(('127.0.0.1', 4000))
c = socket.create_connection(('127.0.0.1', 4000), source_address=('127.0.0.1', 4001))
l.accept()
u = socket.socket(type=socket.SOCK_DGRAM)
u.bind(('127.0.0.1', 4002))
u.connect(('127.0.0.1', 9))
u.send(b'x')
try: u.recvmsg(1)
except OSError: pass
u.sendmsg([b'x'], [], 0, ('127.0.0.1', 9))
";
    let output = Command::new(PROGRAM).args(["exec", "--trace", "--", "python3", "-c", script]).output().unwrap();
    let complained = String::from_utf8(output.stderr).unwrap();
    for line in [
        "bind       tcp ipv4 127.0.0.1:4000 ok",
        "connect    tcp ipv4 127.0.0.1:4001 → 127.0.0.1:4000 ok",
        "accept     tcp ipv4 127.0.0.1:4000 ← 127.0.0.1:4001 ok",
        "recvmsg    udp ipv4 127.0.0.1:4002 ← 127.0.0.1:9 ECONNREFUSED: refused",
        "sendmsg    udp ipv4 127.0.0.1:4002 → 127.0.0.1:9 ok",
    ] {
        assert!(complained.contains(line), "{line}: {complained}");
    }
}

#[test]
fn a_program_that_is_traced_can_be_stopped_and_killed() {
    let (output, _) = exec(&["--timeout", "0.3"], &["sh", "-c", "kill -STOP $$"]);
    assert_eq!(output.status.code(), Some(124));
    let (output, calls) = exec(&[], &["sh", "-c", "kill -9 $$"]);
    assert_eq!((output.status.code(), calls.exit_code), (Some(137), 137));
}

#[test]
fn what_a_connected_socket_is_told_later_is_seen() {
    let script = "
u = socket.socket(type=socket.SOCK_DGRAM)
u.bind(('127.0.0.1', 4000))
u.connect(('127.0.0.1', 9))
def told(call):
    u.send(b'x')
    try: call()
    except ConnectionRefusedError: pass
    else: sys.exit('nothing was told')
told(lambda: u.recv(1))
told(lambda: u.recvmsg(1))
told(lambda: u.send(b'x'))
told(lambda: u.sendmsg([b'x']))
u.setblocking(False)
try: u.recv(1)
except BlockingIOError: pass
";
    let calls = python(&[], script);
    let told: Vec<&Record> = calls.iter().skip(3).collect();
    let names: Vec<String> = told.iter().map(|it| format!("{} {:?}", it.call, it.by.map(|by| by.as_str()))).collect();
    assert_eq!(names, ["recv None", "recv Some(\"recvmsg\")", "send None", "send Some(\"sendmsg\")"], "{calls:#?}");
    for record in told {
        assert_eq!((record.outcome.name(), record.causes[0]), ("ECONNREFUSED", Cause::Refused), "{record:#?}");
        // The port plays no part.
        assert_eq!((record.local, record.port), ("127.0.0.1:4000".parse().ok(), PortChoice::None));
        assert_eq!(record.address, "127.0.0.1:9".parse().ok());
    }
}

#[test]
fn a_message_is_sent_to_its_own_address() {
    let script = "
u = socket.socket(type=socket.SOCK_DGRAM)
u.sendmsg([b'x'], [], 0, ('127.0.0.1', 9))
try: u.sendmsg([b'x'], [], 0, ('192.0.2.1', 9))
except OSError: pass
a, b = socket.socketpair(type=socket.SOCK_DGRAM)
a.sendmsg([b'x'])
b.recvmsg(1)
";
    let calls = python(&[], script);
    assert_eq!(said(&calls), [(Call::Socket, "ok"), (Call::Sendto, "ok"), (Call::Sendto, "ENETUNREACH")], "{calls:#?}");
    assert!(calls[1..].iter().all(|record| record.by == Some(SystemCall::Sendmsg)));
    assert_eq!(calls[1].address, "127.0.0.1:9".parse().ok());
    assert_eq!(calls[2].address, "192.0.2.1:9".parse().ok());
    // An ICMP message about an earlier datagram gives the same errno.
    assert_eq!(calls[2].causes, [Cause::NoRoute, Cause::Unreachable, Cause::Filtered]);
}

/// Python has no sendmmsg().
const SENDMMSG: &str = "
import ctypes, struct
libc = ctypes.CDLL(None, use_errno=True)
def sendmmsg(u, places):
  data = ctypes.create_string_buffer(b'x', 1)
  parts = ctypes.create_string_buffer(struct.pack('PN', ctypes.addressof(data), 1))
  names = [socket.inet_aton(host) for host in places]
  names = [ctypes.create_string_buffer(struct.pack('=H', 2) + b'\\0\\x09' + name + bytes(8)) for name in names]
  head = [struct.pack('PIPNPNi', ctypes.addressof(name), 16, ctypes.addressof(parts), 1, 0, 0, 0) for name in names]
  return libc.sendmmsg(u.fileno(), b''.join(struct.pack('56sI4x', it.ljust(56, b'\\0'), 0) for it in head), len(head), 0)
";

#[test]
fn many_messages_are_sent_by_one_call() {
    let script = "
u = socket.socket(type=socket.SOCK_DGRAM)
assert sendmmsg(u, ['127.0.0.1', '127.0.0.2']) == 2
assert sendmmsg(u, ['127.0.0.1', '192.0.2.1', '127.0.0.2']) == 1
assert sendmmsg(u, ['192.0.2.1', '127.0.0.1']) == -1
";
    let calls = python(&[], &format!("{SENDMMSG}{script}"));
    let sent: Vec<&Record> = calls.iter().filter(|record| record.call == Call::Sendto).collect();
    assert!(sent.iter().all(|record| record.by == Some(SystemCall::Sendmmsg)), "{calls:#?}");
    let sent: Vec<String> = sent.iter().map(|it| format!("{} {}", it.address.unwrap(), it.outcome.name())).collect();
    // What the kernel did not try has no errno.
    assert_eq!(sent, ["127.0.0.1:9 ok", "127.0.0.2:9 ok", "127.0.0.1:9 ok", "192.0.2.1:9 ENETUNREACH"], "{calls:#?}");
}

#[test]
fn the_error_queue_gives_its_errno() {
    let script = "
u = socket.socket(type=socket.SOCK_DGRAM)
u.setsockopt(socket.IPPROTO_IP, 11, 1)
u.sendto(b'x', ('127.0.0.1', 9))
u.recvmsg(1, 512, 0x2000)
try: u.recvmsg(1, 512, 0x2000)
except BlockingIOError: pass
";
    let calls = python(&[], script);
    assert_eq!(said(&calls[3..]), [(Call::ErrorQueue, "ECONNREFUSED")], "{calls:#?}");
    assert_eq!((calls[3].address, calls[3].causes[0]), ("127.0.0.1:9".parse().ok(), Cause::Refused));
}

#[test]
fn who_was_accepted_is_told() {
    let script = "
l = socket.create_server(('127.0.0.1', 4000))
c = socket.create_connection(('127.0.0.1', 4000))
a, peer = l.accept()
print(a.fileno(), '%s:%d' % peer)
l.setblocking(False)
try: l.accept()
except BlockingIOError: pass
try: c.accept()
except OSError: pass
";
    let (output, calls) = exec(&[], &["python3", "-c", &format!("import os, socket\n{script}")]);
    let accepted: Vec<&Record> = calls.calls.iter().filter(|record| record.call == Call::Accept).collect();
    let [accepted, refused] = accepted[..] else { panic!("{calls:#?}") };
    let told = format!("{} {}\n", accepted.descriptor.unwrap(), accepted.address.unwrap());
    assert_eq!(told, String::from_utf8_lossy(&output.stdout));
    assert_eq!((accepted.outcome.name(), accepted.local), ("ok", "127.0.0.1:4000".parse().ok()));
    assert_eq!(refused.outcome.name(), "EINVAL");
}

/// After bind(port 0) connect() finds a port, as plans and the tracer have it, until the kernel takes it back.
#[test]
fn a_port_that_bind_picked_is_found_by_connect() {
    let script = "
a = socket.socket()
a.bind(('127.0.0.1', 0))
a.connect_ex(('127.0.0.1', 9))
a.connect_ex(('127.0.0.1', 9))
b = socket.socket()
b.setsockopt(socket.IPPROTO_IP, 24, 1)
b.bind(('127.0.0.1', 0))
b.connect_ex(('127.0.0.1', 9))
c = socket.socket()
c.connect_ex(('127.0.0.1', 9))
d = socket.socket()
d.bind(('127.0.0.1', 4000))
d.connect_ex(('127.0.0.1', 9))
d.connect_ex(('127.0.0.1', 9))
u = socket.socket(type=socket.SOCK_DGRAM)
u.bind(('127.0.0.1', 0))
u.sendto(b'x', ('127.0.0.1', 9))
l = socket.create_server(('127.0.0.1', 0))
";
    let calls = python(&[], script);
    let of = |call| calls.iter().filter(move |record| record.call == call).map(|record| record.port);
    use PortChoice::{Ephemeral, Explicit};
    assert_eq!(
        of(Call::Connect).collect::<Vec<_>>(),
        [Explicit, Ephemeral, Ephemeral, Ephemeral, Explicit, Explicit],
        "{calls:#?}"
    );
    assert_eq!(of(Call::Bind).collect::<Vec<_>>(), [Ephemeral, Ephemeral, Explicit, Ephemeral, Ephemeral]);
    assert_eq!(of(Call::Sendto).chain(of(Call::Listen)).collect::<Vec<_>>(), [Explicit, Explicit]);
    assert!(of(Call::Socket).chain(of(Call::Setsockopt)).all(|port| port == PortChoice::None));
}

/// The range of the socket has one port, which bind(port 0) picks, and whose tuple another socket takes.
#[rstest]
fn a_busy_tuple_of_a_port_that_bind_picked_is_no_lack_of_ports(#[values("127.0.0.1", "::1")] address: &str) {
    let script = format!(
        "
import struct
l = socket.create_server(('{address}', 4000), family=socket.AF_INET6 if ':' in '{address}' else socket.AF_INET)
a, b = (socket.socket(l.family) for _ in range(2))
for s in (a, b): s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
a.setsockopt(socket.IPPROTO_IP, 51, struct.pack('I', 50000 << 16 | 50000))
a.bind(('{address}', 0))
b.bind(('{address}', 50000))
b.connect(('{address}', 4000))
assert a.connect_ex(('{address}', 4000)) == 99
"
    );
    let calls = python(&[], &script);
    let last = calls.last().expect("calls");
    assert_eq!((last.call, last.outcome.name(), last.port), (Call::Connect, "EADDRNOTAVAIL", PortChoice::Explicit));
    assert_eq!(last.causes[..1], [Cause::TupleInUse], "{last:#?}");
}

/// What each call of the script that failed was told to be about.
fn told(calls: &[Record]) -> Vec<(Call, &str, Option<Reason>, Option<Cause>)> {
    let failed = calls.iter().filter(|record| record.has_failed());
    let told = failed.map(|it| (it.call, it.outcome.name(), it.reason, it.causes.first().copied()));
    told.collect()
}

const WITHOUT_IPV6: &str = "
def write(name, value):
    with open('/proc/sys/net/ipv6/conf/' + name, 'w') as file: file.write(value)
def call(kind, port, name, address):
    s = socket.socket(socket.AF_INET6, kind)
    if port: s.bind(('::', port))
    try: s.sendto(b'x', (address, 4001)) if name == 'sendto' else s.connect((address, 4001))
    except OSError: pass
STREAM, DGRAM = socket.SOCK_STREAM, socket.SOCK_DGRAM
";

#[test(Root)]
fn a_host_without_an_ipv6_address_is_no_host_without_ports() {
    let script = "
write('all/disable_ipv6', '1')
for address in ('2001:db8::1', '::1'):
    for port in (0, 4000):
        call(STREAM, port, 'connect', address)
        call(DGRAM, port, 'connect', address)
        call(DGRAM, port, 'sendto', address)
";
    let calls = python(&[], &format!("{WITHOUT_IPV6}{script}"));
    let none = (Some(Reason::NoSourceAddress), Some(Cause::NoSourceAddress));
    let expected = [Call::Connect, Call::Connect, Call::Sendto].map(|call| (call, "EADDRNOTAVAIL", none.0, none.1));
    assert_eq!(told(&calls), [expected; 4].concat(), "{calls:#?}");
    let (output, _) = exec(&["--trace"], &["python3", "-c", &format!("import socket{WITHOUT_IPV6}{script}")]);
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        said.contains("no-source-address (this host has no IPv6 address to send from: see `ip -6 address`"),
        "{said}"
    );
    // An address that is tentative is none to send from.
    let script = "
import subprocess
for words in ('link add va type veth peer vb', 'link set va up', 'link set vb up', '-6 address flush dev lo',
              '-6 address add fd00::1/64 dev va'):
    subprocess.run(['ip', *words.split()], check=True)
call(STREAM, 4000, 'connect', 'fd00::2')
";
    let calls = python(
        &[],
        &format!("{WITHOUT_IPV6}write('all/accept_dad', '1'); write('default/dad_transmits', '100')\n{script}"),
    );
    let tentative = calls.last().expect("calls");
    assert_eq!((tentative.outcome.name(), tentative.reason), ("EADDRNOTAVAIL", none.0), "{tentative:#?}");
    // Another address, and only ::1 is missing.
    let script = "
import subprocess
ip = lambda *words: subprocess.run(['ip', '-6', 'address', *words, 'dev', 'lo'], check=True)
ip('add', 'fd00::1/128')
ip('del', '::1/128')
# It is tentative for a moment, and none to send from as long: the fifth column has its flags, and the third is 80 for any /128.
while not any(line.split()[4] == '80' for line in open('/proc/net/if_inet6')): pass
call(STREAM, 0, 'connect', '::1')
call(STREAM, 0, 'connect', '2001:db8::1')
";
    let calls = python(&[], &format!("{WITHOUT_IPV6}{script}"));
    let told = told(&calls);
    assert_eq!((told[0].2, told[0].3), none, "{calls:#?}");
    assert_eq!((told[1].1, told[1].2), ("ENETUNREACH", None), "{calls:#?}");
    assert!(calls.last().is_some_and(|last| last.causes.contains(&Cause::NoRoute)), "{calls:#?}");
}

/// What holds in the network that the trace asks in says nothing about another.
#[test(Root)]
fn a_socket_of_another_network_is_not_asked_about() {
    let script = "
import ctypes
write('all/disable_ipv6', '1')
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x40000000) == 0
call(STREAM, 0, 'connect', '2001:db8::1')
";
    let calls = python(&[], &format!("{WITHOUT_IPV6}{script}"));
    assert_eq!(told(&calls)[0].2, None, "{calls:#?}");
}

/// An error that waits in a socket is told to the next call, whatever that is about.
#[rstest]
#[case("127.0.0.1", "s.sendto(b'x', live)")]
#[case("127.0.0.1", "s.sendmsg([b'x'], [], 0, live)")]
#[case("::1", "s.sendto(b'x', live)")]
fn an_error_of_an_earlier_datagram_is_not_the_next_ones(#[case] address: &str, #[case] send: &str) {
    let script = format!(
        "
family = socket.AF_INET6 if ':' in '{address}' else socket.AF_INET
live, dead, other = [('{address}', port) for port in (4000, 9, 10)]
server = socket.socket(family, socket.SOCK_DGRAM)
server.bind(live)
s = socket.socket(family, socket.SOCK_DGRAM)
s.setsockopt(*((socket.IPPROTO_IP, 11) if family == socket.AF_INET else (socket.IPPROTO_IPV6, 25)), 1)
def failed():
    try: {send}
    except ConnectionRefusedError: return
    sys.exit('nothing was told')
s.sendto(b'x', dead)
failed()
s.sendto(b'x', other)
failed()
"
    );
    let calls = python(&[], &script);
    let failed: Vec<&Record> = calls.iter().filter(|record| record.has_failed()).collect();
    let [first, second] = failed[..] else { panic!("{calls:#?}") };
    let end = |port: u16| std::net::SocketAddr::new(address.parse().unwrap(), port);
    for record in [first, second] {
        assert_eq!((record.call, record.address), (Call::Sendto, Some(end(4000))));
        assert_eq!((record.reason, record.causes[0]), (Some(Reason::EarlierDatagram), Cause::Refused), "{record:#?}");
    }
    assert_eq!((first.earlier, second.earlier), (Some(end(9)), None), "the second may be about either");
}

/// bind() looks at the address before the port.
#[rstest]
fn an_address_of_another_host_is_not_local_with_any_port(
    #[values("192.0.2.1", "2001:db8::1")] address: &str,
    #[values("STREAM", "DGRAM")] kind: &str,
    #[values(0, 4000)] port: u16,
) {
    let family = if address.contains(':') { "AF_INET6" } else { "AF_INET" };
    let script = format!(
        "try: socket.socket(socket.{family}, socket.SOCK_{kind}).bind(('{address}', {port}))\nexcept OSError: pass"
    );
    let calls = python(&[], &script);
    let expected = (Call::Bind, "EADDRNOTAVAIL", Some(Reason::AddressNotLocal), Some(Cause::AddressNotLocal));
    assert_eq!(told(&calls), [expected], "{calls:#?}");
}

/// What is known of a wrong family is known with any port.
#[rstest]
fn an_address_of_another_family_is_invalid_with_any_port(#[values(0, 4000)] port: u16) {
    let script = format!(
        "
import ctypes, struct
libc = ctypes.CDLL(None)
v6 = struct.pack('=H', socket.AF_INET6) + struct.pack('!HI', {port}, 0) + socket.inet_pton(socket.AF_INET6, '::1') + bytes(4)
v4 = struct.pack('=H', socket.AF_INET) + struct.pack('!H', {port}) + socket.inet_aton('127.0.0.1') + bytes(8)
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    s, t = socket.socket(socket.AF_INET, kind), socket.socket(socket.AF_INET6, kind)
    assert libc.bind(s.fileno(), v6, len(v6)) == -1 and libc.bind(t.fileno(), v4, len(v4)) == -1
"
    );
    let calls = python(&[], &script);
    let told = told(&calls);
    assert_eq!(told.len(), 4, "{calls:#?}");
    assert!(told.iter().all(|told| told.3 == Some(Cause::AddressInvalid)), "{told:#?}");
}

/// Who may not, and why: the host is asked, and what it does not explain is a security module's.
#[test]
fn what_is_denied_is_told_with_who_denies_it() {
    let script = "
import ctypes, struct
libc = ctypes.CDLL(None)
if os.getuid() == 0: os.setuid(65534)
def denied(act, *words):
    try: act(*words)
    except PermissionError: return
    sys.exit('it may: %s' % (words,))
denied(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
denied(socket.socket, socket.AF_INET6, socket.SOCK_RAW, 58)
denied(socket.socket, socket.AF_INET, socket.SOCK_DGRAM, 1)
denied(socket.socket().bind, ('127.0.0.1', 80))
denied(socket.socket(type=socket.SOCK_DGRAM).connect, ('127.255.255.255', 9))
denied(socket.socket(type=socket.SOCK_DGRAM).sendto, b'x', ('127.255.255.255', 9))
# landlock_create_ruleset() that handles bind() and connect() of TCP, and permits none; landlock_restrict_self().
rules = libc.syscall(444, struct.pack('QQ', 0, 3), 16, 0)
if rules >= 0:
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.syscall(446, rules, 0) == 0
    denied(socket.socket().connect, ('127.0.0.1', 9))
    denied(socket.socket(socket.AF_INET6).connect, ('::1', 9))
    denied(socket.socket().bind, ('127.0.0.1', 4000))
    denied(socket.socket().bind, ('127.0.0.1', 0))
";
    let calls = python(&[], script);
    let told: Vec<_> =
        told(&calls).into_iter().map(|(call, errno, reason, cause)| (call, errno, reason.unwrap(), cause)).collect();
    let expected = [
        (Call::Socket, "EPERM", Reason::RawSocket),
        (Call::Socket, "EPERM", Reason::RawSocket),
        (Call::Socket, "EACCES", Reason::PingSocket),
        (Call::Bind, "EACCES", Reason::PrivilegedPort),
        (Call::Connect, "EACCES", Reason::Broadcast),
        (Call::Sendto, "EACCES", Reason::Broadcast),
        (Call::Connect, "EACCES", Reason::SecurityModule),
        (Call::Connect, "EACCES", Reason::SecurityModule),
        (Call::Bind, "EACCES", Reason::SecurityModule),
        (Call::Bind, "EACCES", Reason::SecurityModule),
    ];
    let expected = expected.map(|(call, errno, reason)| (call, errno, reason, Some(Cause::Permission)));
    // Landlock has a say in the network since Linux 6.7, where it is built in.
    assert!([6, 10].contains(&told.len()), "{calls:#?}");
    assert_eq!(told, expected[..told.len()], "{calls:#?}");
}

/// A route that prohibits is one that can be seen, and no security module.
#[test(Root)]
fn a_route_that_prohibits_is_told_as_one() {
    let script = "
import subprocess
subprocess.run(['ip', 'route', 'add', 'prohibit', '192.0.2.0/24'], check=True)
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try: socket.socket(type=kind).connect(('192.0.2.1', 9))
    except PermissionError: pass
";
    let calls = python(&[], script);
    let expected = (Call::Connect, "EACCES", Some(Reason::Route), Some(Cause::Unreachable));
    assert_eq!(told(&calls), [expected; 2], "{calls:#?}");
}

/// What a traced program may not notice.
#[rstest]
#[case::a_signal_without_a_name(
    "import signal
heard = []
signal.signal(signal.SIGRTMIN + 1, lambda *_: heard.append(1))
os.kill(os.getpid(), signal.SIGRTMIN + 1)
assert heard"
)]
#[case::stops(
    "import signal
for stop in (signal.SIGSTOP, signal.SIGTSTP):
  child = os.fork()
  if child == 0:
    os.setpgid(0, 0)
    os.kill(os.getpid(), stop)
    connect()
    os._exit(7)
  _, status = os.waitpid(child, os.WUNTRACED)
  assert os.WIFSTOPPED(status) and os.WSTOPSIG(status) == stop, status
  os.kill(child, signal.SIGCONT)
  _, status = os.waitpid(child, 0)
  assert os.waitstatus_to_exitcode(status) == 7, status"
)]
fn a_program_goes_on_as_if_nobody_looked(#[case] script: &str) {
    python(&[], &format!("{CONNECT}\n{script}"));
}

/// The descriptors of a process are those of its threads, where the first has ended.
#[test]
fn sockets_are_looked_at_when_the_first_thread_has_ended() {
    let script = "
import ctypes, platform
def later():
    try: os.close(os.pidfd_open(threading.get_native_id(), os.O_EXCL))
    except OSError: print('no pidfds of threads here')
    while open('/proc/self/task/%d/stat' % os.getpid()).read().rsplit(')')[1].split()[0] != 'Z': pass
    connect()
    sys.stdout.flush()
    os._exit(0)
threading.Thread(target=later).start()
ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[platform.machine()], 0)
";
    let script = format!("import os, socket, sys, threading\n{CONNECT}\n{script}");
    let (output, calls) = exec(&["--timeout", "20"], &["python3", "-c", &script]);
    let connect =
        calls.calls.iter().find(|record| record.call == Call::Connect).unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(connect.outcome.name(), "ECONNREFUSED");
    // Linux 6.9 and later have them.
    assert_eq!(connect.family.is_some(), output.stdout.is_empty(), "{connect:#?}");
}

/// Whether the note is there, and whether the script said that it has to be.
#[rstest]
#[case::io_uring(
    "ring = ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120))
if ring >= 0: print('seen')",
    |calls: &Calls| calls.seen.io_uring,
    "io_uring"
)]
// socket(AF_INET, SOCK_STREAM, 0) by the numbers of i386: mov, int 0x80. A kernel without IA32_EMULATION kills who
// tries.
#[cfg_attr(target_arch = "x86_64", case::int_0x80(
    "import mmap
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex('53 bb02000000 b901000000 31d2 b867010000 cd80 5b c3'))
place = ctypes.addressof(ctypes.c_char.from_buffer(code))
child = os.fork()
if child == 0: os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int)(place)() >= 0 else 1)
if os.waitstatus_to_exitcode(os.wait()[1]) == 0: print('seen')",
    |calls: &Calls| calls.seen.compat32,
    "32 bits"
))]
// socket(AF_INET, SOCK_STREAM, 0) by the number of x32: it is told also where the kernel has no x32 and answers ENOSYS.
#[cfg_attr(target_arch = "x86_64", case::x32(
    "ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 + 41), 2, 1, 0)
print('seen')",
    |calls: &Calls| calls.seen.compat32,
    "32 bits"
))]
#[case::a_filter_of_its_own(
    "import struct
def op(code, jt, jf, k): return struct.pack('HBBI', code, jt, jf, k)
connect_number = {'x86_64': 42, 'aarch64': 203}[os.uname().machine]
ops = op(0x20, 0, 0, 0) + op(0x15, 0, 1, connect_number) + op(0x06, 0, 0, 0x5000d) + op(0x06, 0, 0, 0x7fff0000)
class Program(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('ops', ctypes.c_char_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(Program(4, ops))) == 0
import errno
assert socket.socket().connect_ex(('127.0.0.1', 9)) == errno.EACCES
print('seen')",
    |calls: &Calls| calls.seen.own_filter && calls.calls.iter().all(|record| record.call != Call::Connect),
    "denies"
)]
fn what_cannot_be_seen_is_told(#[case] script: &str, #[case] is_noted: fn(&Calls) -> bool, #[case] note: &str) {
    let script = format!("import ctypes, os, socket\n{script}");
    let (output, calls) = exec(&["--trace"], &["python3", "-c", &script]);
    let [said, complained] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    assert!(output.status.success(), "{complained}");
    assert_eq!(is_noted(&calls), said.contains("seen"), "{said} {complained}");
    assert_eq!(complained.contains(note), said.contains("seen"), "{complained}");
    let (_, calls) = exec(&[], &["python3", "-c", "import socket; socket.socket().connect_ex(('127.0.0.1', 9))"]);
    assert_eq!((calls.seen.io_uring, calls.seen.compat32, calls.seen.own_filter), (false, false, false));
}

/// To whoever may be another user, and to whoever may not.
#[test(Root)]
fn a_set_uid_program_is_who_it_is_without_the_trace() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("id");
    crate::common::copy_program("/usr/bin/id", &program);
    std::os::unix::fs::chown(&program, Some(65_533), Some(65_533)).unwrap();
    std::fs::set_permissions(&program, Permissions::from_mode(0o4755)).unwrap();
    let uid = |user: u32, before: &[&str]| {
        let mut command = Command::new("env");
        command.args(before).arg(&program).arg("-u").stdin(Stdio::null()).current_dir("/").uid(user).gid(user);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    for user in [0, 65_534] {
        let (without, with) = ([PROGRAM, "exec", "--"], [PROGRAM, "exec", "--trace", "--"]);
        assert_eq!(uid(user, &with), uid(user, &without), "as {user}");
        assert!(!uid(user, &with).is_empty(), "as {user}");
    }
    assert_eq!(uid(0, &[PROGRAM, "exec", "--trace", "--"]), "65533\n", "root may run them");
}
