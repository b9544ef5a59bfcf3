//! Performs a plan's steps one after another and writes down what the kernel said.
//!
//! It knows which step ends a case. It does not know the expected result of any step.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::case::{Bound, DetailedFault, Domain, Known, Listed, OpResult, RunningCase, UnixSocket, known_as, not_open};
use super::{fill, give_up, queries, table};
use crate::plan::{Answer, Detail, Op, Outcome, Performed, Plan, Query, Role, Step, StepResult, Unsupported, WaitFor};
use crate::sys::{self, Address, Fault, Fork, Isolation, Mode, Ring, Trail, Tun, Until};
use crate::words::errno::{Errno, ErrnoName};
use crate::words::names::{Call, Need, Protocol, SocketState, User, Via};

/// How long Answer waits for its packet.
const PACKET_WAIT_MS: u32 = 500;
/// One send, and the most of them, of an op that fills a socket's buffers.
const PIECE: usize = 64 * 1024;
const MOST_PIECES: usize = 4096;

/// Performs the plan; the trail has every step as soon as it is done.
pub fn run(plan: &Plan, isolation: &Isolation, listed: Listed, trail: &mut Trail) {
    let mut case = RunningCase::new(isolation);
    (case.listed, case.patience) = (listed, plan.patience);
    // Before the whole case is ended from outside.
    case.ends = Instant::now() + Duration::from_millis(plan.deadline().into()) * 9 / 10;
    if plan.uses_files() {
        case.no_directory = sys::enter_directory(isolation).err().map(|fault| fault.to_string());
    }
    // Whether each step went well enough for those that require it.
    let mut went_well = vec![false; plan.steps.len()];
    // What was asked after the latest step, which is as good right before the next.
    let mut asked = Asked::default();
    for (index, step) in plan.steps.iter().enumerate() {
        if step.role.requires().is_some_and(|required| !went_well.get(required as usize).copied().unwrap_or(false)) {
            continue;
        }
        let questions = match &step.role {
            Role::Setup { .. } => &[][..],
            Role::Subject { queries, .. } => queries,
        };
        let before = case.ask(questions, step.user, &asked);
        case.took = Duration::ZERO;
        let tried = case.as_user(step.user, |case| case.perform(&step.op));
        let micros = (case.took.as_nanos() as f64) / 1000.0;
        let after = case.ask(questions, step.user, &Asked::default());
        asked = Asked { questions, user: step.user, answers: after.clone() };
        let (result, detail) = by_role(&step.op, &step.role, case.exhausted_at, tried);
        went_well[index] = result.went_well();
        let go_on = step.goes_on(&result);
        let record = StepResult { step: index as u32, result, micros, detail, before, after };
        if let Err(error) = trail.append(|out| Ok(serde_json::to_writer(out, &record)?)) {
            give_up(trail, &format!("step {index} has more to say than the trail has room for: {error}"));
        }
        if !go_on {
            return;
        }
    }
}

/// Questions, whose they were, and their answers.
#[derive(Default)]
struct Asked<'p> {
    questions: &'p [Query],
    user: Option<User>,
    answers: Vec<Answer>,
}

/// What came of an op, where a setup op's errno may stand for a lack of the host: of descriptors, unless the plan has
/// used them up.
fn by_role(op: &Op, role: &Role, exhausted_at: Option<u64>, tried: OpResult) -> (Performed, Option<Detail>) {
    let (fault, detail) = match tried {
        Ok(detail) => return (Performed::Outcome(Outcome::Ok), detail),
        Err(DetailedFault(fault, detail)) => (fault, detail),
    };
    let result = match (fault, role) {
        (Fault::Errno(errno), Role::Setup { unsupported, .. }) if unsupported.iter().any(|name| errno.is(*name)) => {
            let (name, arguments) = op.describe();
            Performed::Unsupported(Unsupported {
                need: op.lacks(),
                reason: format!("{name} {arguments}: {errno}").into(),
            })
        }
        (Fault::Errno(errno), Role::Setup { permit, .. })
            if exhausted_at.is_none()
                && matches!(errno.known(), Some(ErrnoName::EMFILE | ErrnoName::ENFILE))
                && !permit.iter().any(|name| errno.is(*name)) =>
        {
            let (name, _) = op.describe();
            let (limit, _) = sys::descriptor_limit();
            let reason = format!("{name}: {errno}, with a limit of {limit} open files; raise it: ulimit -n 1024");
            Performed::Unsupported(Unsupported { need: Need::Resources, reason: reason.into() })
        }
        (Fault::Errno(errno), _) => Performed::Outcome(Outcome::Errno(errno)),
        (Fault::Blocked { ms }, _) => Performed::Outcome(Outcome::Blocked { ms }),
        (Fault::Unsupported(lack), _) => Performed::Unsupported(lack),
        (Fault::Failed(why), _) => Performed::Failed(why.into()),
    };
    (result, detail)
}

/// A ring where one is to make the call.
fn ring(via: Via, call: Call) -> Result<Option<Ring>, Fault> {
    match via {
        Via::Syscall => Ok(None),
        Via::IoUring => Ring::new(call).map(Some),
    }
}

fn settle(ends: Instant) -> Result<(), Fault> {
    sys::settle(ends.saturating_duration_since(Instant::now()))
}

/// A host that does not let a sysctl be written, as gVisor, gives what is asked for where it has that value already.
fn write_sysctl(name: &str, value: &str) -> Result<(), Fault> {
    let written = sys::write_sysctl(name, value);
    let has_it = || sys::read_sysctl(name).is_ok_and(|has| has.split_whitespace().eq(value.split_whitespace()));
    if written.is_err() && has_it() { Ok(()) } else { written }
}

/// Whether a sysctl can be one of a network namespace. A slash could lead anywhere.
fn is_network_sysctl(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name.starts_with("net.") && name.bytes().all(plain)
}

impl RunningCase<'_> {
    /// Performs a setup step by itself; an error is what keeps the next from being performed.
    pub fn set_up(&mut self, step: &Step) -> Result<(), Performed> {
        let tried = self.as_user(step.user, |case| case.perform(&step.op));
        let (result, _) = by_role(&step.op, &step.role, self.exhausted_at, tried);
        if step.goes_on(&result) { Ok(()) } else { Err(result) }
    }

    /// Asks the kernel about what has been set up.
    pub fn answers(&mut self, questions: &[Query]) -> Vec<Answer> {
        self.ask(questions, None, &Asked::default())
    }

    fn ask(&mut self, questions: &[Query], user: Option<User>, earlier: &Asked) -> Vec<Answer> {
        if questions.is_empty() {
            return Vec::new();
        }
        // Reading files takes descriptors, which the ops of this case may be meant to lack.
        if self.exhausted_at.is_some() {
            let _ = sys::set_descriptor_limit(sys::descriptor_limit().1);
        }
        let mut answers: Vec<Answer> = Vec::with_capacity(questions.len());
        for (index, query) in questions.iter().enumerate() {
            // Several preconditions may rest on one answer.
            let same = |questions: &[Query]| questions.iter().position(|other| other == query);
            let known = match same(&questions[..index]) {
                Some(twin) => Some(answers[twin].clone()),
                None if earlier.user == user => same(earlier.questions).map(|twin| earlier.answers[twin].clone()),
                None => None,
            };
            answers.push(known.unwrap_or_else(|| queries::ask(self, query, user)));
        }
        if let Some(limit) = self.exhausted_at {
            let _ = sys::set_descriptor_limit(limit);
        }
        answers
    }

    fn perform(&mut self, op: &Op) -> OpResult {
        match op {
            Op::Fill(fill) => {
                self.has_filled = true;
                fill::fill(self, fill)
            }
            Op::ErrorQueue { socket, wait_ms } => {
                let (errno, detail) = self.error_queue(socket, self.patient(*wait_ms))?;
                Err(DetailedFault(Fault::Errno(errno), Some(detail)))
            }
            Op::Bind { socket, .. }
            | Op::Connect { socket, .. }
            | Op::Listen { socket, .. }
            | Op::Disconnect { socket }
            | Op::SendTo { socket, .. } => {
                let result = self.call(op);
                let detail = self.names(socket, op, &result);
                result.map(|_| detail.clone()).map_err(|fault| DetailedFault(fault, detail))
            }
            Op::Socket { .. }
            | Op::SetOption { .. }
            | Op::Accept { .. }
            | Op::Send { .. }
            | Op::SendUntilFull { .. }
            | Op::Receive { .. }
            | Op::Shutdown { .. }
            | Op::Close { .. }
            | Op::SoError { .. }
            | Op::GetName { .. }
            | Op::Inherit { .. }
            | Op::Wait { .. }
            | Op::Elapse { .. }
            | Op::SetSysctl { .. }
            | Op::SetUp { .. }
            | Op::AddAddress { .. }
            | Op::DeleteAddress { .. }
            | Op::AddRoute { .. }
            | Op::AddVeth { .. }
            | Op::AddTun { .. }
            | Op::Answer { .. }
            | Op::Nft { .. }
            | Op::UnixSocket { .. }
            | Op::UnixBind { .. }
            | Op::UnixConnect { .. }
            | Op::UnixSendTo { .. }
            | Op::MakeFile { .. }
            | Op::MakeDirectory { .. }
            | Op::Unlink { .. }
            | Op::MakeReadOnly {}
            | Op::ExhaustDescriptors {}
            | Op::ForbidTcp {}
            | Op::Raise { .. } => Ok(self.call(op)?),
        }
    }

    /// The ops that give back nothing beside their outcome unless it is ok.
    fn call(&mut self, op: &Op) -> Result<Option<Detail>, Fault> {
        if op.uses_files() {
            self.is_at_home()?;
        }
        match op {
            Op::Socket { socket, family, protocol, form } => {
                let fd = self.timed(|| sys::socket_of_form(*family, *protocol, *form))?;
                self.sockets.insert(socket.clone(), Known::new(fd, Domain::Ip(*family, *protocol)));
            }
            Op::SetOption { socket, option } => {
                let Domain::Ip(family, _) = known_as(&self.sockets, socket)?.domain else {
                    return Err(Fault::Failed(format!(
                        "`{socket}` is of the family unix, and has no such options here"
                    )));
                };
                self.on(socket, |fd| sys::set_option(fd, family, option))?;
            }
            Op::Bind { socket, address, port, length, scope, via } => {
                let is_mapped_any = *address == IpAddr::V6(Ipv4Addr::UNSPECIFIED.to_ipv6_mapped());
                let address = Address::new(sys::scoped(*address, *port, scope.as_deref())?);
                match (ring(*via, Call::Bind)?, length) {
                    (None, None) => self.on(socket, |fd| sys::bind(fd, &address))?,
                    (None, Some(length)) => self.on(socket, |fd| sys::bind_length(fd, &address, *length))?,
                    (Some(mut ring), None) => self.on(socket, |fd| ring.bind(fd, &address))?,
                    (Some(_), Some(_)) => return Err(Fault::Failed("a ring passes the address as it is".to_owned())),
                }
                if let Some(known) = self.sockets.get_mut(socket) {
                    known.is_mapped_any = is_mapped_any;
                    known.bound = if *port == 0 { Bound::Ephemeral } else { Bound::Explicit };
                }
            }
            Op::Listen { socket, backlog, via } => match ring(*via, Call::Listen)? {
                None => self.on(socket, |fd| sys::listen(fd, *backlog))?,
                Some(mut ring) => self.on(socket, |fd| ring.listen(fd, *backlog))?,
            },
            Op::Connect { socket, address, port, length, nonblocking, wait_ms, via } => {
                let address = Address::new(SocketAddr::new(*address, *port));
                let connect = |fd: &OwnedFd| match length {
                    None => sys::connect(fd, &address),
                    Some(length) => sys::connect_length(fd, &address, *length),
                };
                if let Some(known) = self.sockets.get_mut(socket).filter(|known| known.bound == Bound::Ephemeral) {
                    known.bound = Bound::No;
                }
                let wait_ms = self.patient(*wait_ms);
                self.set_mode(socket, if *nonblocking { Mode::Nonblocking } else { Mode::Blocking })?;
                match ring(*via, Call::Connect)? {
                    // One that may last whatever the mode is: a ring waits for what comes of it.
                    Some(mut ring) => {
                        self.on(socket, |fd| sys::bounded(wait_ms, || ring.connect(fd, &address)))?;
                    }
                    None if *nonblocking => self.on(socket, connect)?,
                    None => self.on(socket, |fd| sys::bounded(wait_ms, || connect(fd)))?,
                }
            }
            Op::Disconnect { socket } => self.on(socket, sys::disconnect)?,
            Op::Accept { socket, new, wait_ms, via } => {
                self.set_mode(socket, Mode::Blocking)?;
                let wait_ms = self.patient(*wait_ms);
                let fd = match ring(*via, Call::Accept)? {
                    None => self.on(socket, |fd| sys::bounded(wait_ms, || sys::accept(fd)))?,
                    Some(mut ring) => self.on(socket, |fd| sys::bounded(wait_ms, || ring.accept(fd)))?,
                };
                let domain = match known_as(&self.sockets, socket)?.domain.clone() {
                    Domain::Unix(listener) => {
                        let own = UnixSocket { inode: sys::owner(&fd)?.1, name: None, ..listener };
                        self.sockets.insert(new.clone(), Known::new(fd, Domain::Unix(own)));
                        return Ok(None);
                    }
                    domain => domain,
                };
                let (local, remote) = (sys::local_name(&fd)?, sys::peer_name(&fd).unwrap_or(None));
                self.joined += 1;
                let known = Known { local, remote, joined: self.joined, ..Known::new(fd, domain) };
                self.sockets.insert(new.clone(), known);
                return Ok(Some(Detail::Names { local, remote }));
            }
            Op::Send { socket, bytes, via } => {
                self.set_mode(socket, Mode::Nonblocking)?;
                let data = vec![0; *bytes as usize];
                let count = match ring(*via, Call::Send)? {
                    None => self.on(socket, |fd| sys::send(fd, &data, None))?,
                    Some(mut ring) => self.on(socket, |fd| ring.send(fd, &data))?,
                };
                return Ok(Some(Detail::Bytes { count: count as u64 }));
            }
            Op::SendTo { socket, address, port, bytes } => {
                let (data, to) = (vec![0; *bytes as usize], Address::new(SocketAddr::new(*address, *port)));
                self.on(socket, |fd| sys::send(fd, &data, Some(&to)))?;
            }
            Op::SendUntilFull { socket, bytes } => {
                self.set_mode(socket, Mode::Nonblocking)?;
                let count = self.on(socket, |fd| send_until_full(fd, *bytes))?;
                return Ok(Some(Detail::Bytes { count }));
            }
            Op::Receive { socket, wait_ms } => {
                self.set_mode(socket, Mode::Blocking)?;
                let mut buffer = vec![0; PIECE];
                let wait_ms = self.patient(*wait_ms);
                let count = self.on(socket, |fd| sys::bounded(wait_ms, || sys::receive(fd, &mut buffer)))? as u64;
                return Ok(Some(Detail::Bytes { count }));
            }
            Op::Shutdown { socket, how } => self.on(socket, |fd| sys::shutdown(fd, *how))?,
            Op::Close { socket } => {
                let fd =
                    self.sockets.get_mut(socket).and_then(|known| known.fd.take()).ok_or_else(|| not_open(socket))?;
                self.timed(|| sys::close(fd))?;
            }
            Op::SoError { socket, wait_ms } => {
                let wait_ms = self.patient(*wait_ms);
                self.on(socket, |fd| match sys::poll(fd, Until::Writable, wait_ms)? {
                    true => Ok(sys::socket_error(fd)?),
                    false => Err(Fault::Blocked { ms: wait_ms }),
                })?;
            }
            Op::GetName { socket } => {
                let local = self.on(socket, sys::local_name)?;
                let known = self.sockets.get_mut(socket).ok_or_else(|| not_open(socket))?;
                known.note_name(local);
                return Ok(Some(Detail::Names { local, remote: known.remote }));
            }
            Op::Inherit { socket } => {
                let start = Instant::now();
                self.inherit(socket)?;
                self.took = start.elapsed();
            }
            Op::Wait { socket, state, deadline_ms } => {
                let start = Instant::now();
                let limit = Duration::from_millis(self.patient(*deadline_ms).into());
                let result = self.wait(socket, *state, limit);
                self.took = start.elapsed();
                result?;
            }
            Op::Elapse { ms } => self.timed(|| sys::pause_ms((*ms).into())),
            Op::SetSysctl { name, value } if is_network_sysctl(name) => self.timed(|| write_sysctl(name, value))?,
            Op::SetSysctl { name, .. } => {
                return Err(Fault::Failed(format!("sysctl `{name}` is not one of a network namespace (`net.…`)")));
            }
            Op::SetUp { device } => {
                let ends = self.ends;
                self.timed(|| sys::set_up(device).and_then(|()| settle(ends)))?;
            }
            Op::AddAddress { device, address, prefix, dad: false } => {
                let ends = self.ends;
                self.timed(|| sys::add_address(device, *address, *prefix).and_then(|()| settle(ends)))?;
            }
            Op::AddAddress { device, address, prefix, dad: true } => {
                self.timed(|| sys::add_address_with_dad(device, *address, *prefix))?;
            }
            Op::DeleteAddress { device, address, prefix } => {
                self.timed(|| sys::delete_address(device, *address, *prefix))?
            }
            Op::AddRoute { destination, prefix, kind, device } => {
                self.timed(|| sys::add_route(*destination, *prefix, *kind, device.as_deref()))?;
            }
            Op::AddVeth { device, peer } => self.timed(|| sys::add_veth(device, peer))?,
            Op::AddTun { device } => {
                let tun = self.timed(|| Tun::create(device))?;
                self.tuns.insert(device.clone(), tun);
            }
            Op::Answer { device, protocol, router, icmp_type, icmp_code, beside } => {
                let wait_ms = self.patient(PACKET_WAIT_MS);
                let tun = self
                    .tuns
                    .get_mut(device)
                    .ok_or_else(|| Fault::Failed(format!("no TUN device is called `{device}`")))?;
                let mut answer = || tun.answer(*protocol, *router, (*icmp_type, *icmp_code), wait_ms);
                let start = Instant::now();
                if *beside {
                    if let Fork::Child = sys::fork()? {
                        sys::die_with_parent();
                        // What the case closes is closed.
                        self.sockets.clear();
                        while matches!(answer(), Ok(_) | Err(Fault::Blocked { .. })) {}
                        sys::exit_now(1);
                    }
                    self.took = start.elapsed();
                } else {
                    let answered = answer();
                    self.took = start.elapsed();
                    let (source, destination) = answered?;
                    return Ok(Some(Detail::Packet { source, destination }));
                }
            }
            Op::Nft { ruleset } => self.timed(|| queries::nft(&["-f", "-"], ruleset)).map(drop)?,
            Op::ExhaustDescriptors {} => {
                if self.listed != Listed::Nothing {
                    self.table()?;
                }
                let limit = sys::lowest_free_descriptor()?;
                self.timed(|| sys::set_descriptor_limit(limit))?;
                self.exhausted_at = Some(limit);
            }
            Op::ForbidTcp {} => self.timed(sys::forbid_tcp)?,
            Op::Raise { signal } => self.timed(|| sys::raise(*signal))?,
            Op::UnixSocket { socket, kind } => {
                let fd = self.timed(|| sys::unix_socket(*kind))?;
                let own = UnixSocket { kind: *kind, inode: sys::owner(&fd)?.1, name: None };
                self.sockets.insert(socket.clone(), Known::new(fd, Domain::Unix(own)));
            }
            Op::UnixBind { socket, name } => {
                self.on(socket, |fd| sys::unix_bind(fd, name))?;
                if let Some(Known { domain: Domain::Unix(own), .. }) = self.sockets.get_mut(socket) {
                    own.name = Some(name.listed());
                }
            }
            Op::UnixConnect { socket, name, nonblocking: true, .. } => {
                self.set_mode(socket, Mode::Nonblocking)?;
                self.on(socket, |fd| sys::unix_connect(fd, name))?;
            }
            Op::UnixConnect { socket, name, nonblocking: false, wait_ms } => {
                self.set_mode(socket, Mode::Blocking)?;
                let wait_ms = self.patient(*wait_ms);
                self.on(socket, |fd| sys::bounded(wait_ms, || sys::unix_connect(fd, name)))?;
            }
            Op::UnixSendTo { socket, name, bytes } => {
                let data = vec![0; *bytes as usize];
                self.on(socket, |fd| sys::unix_send_to(fd, &data, name))?;
            }
            Op::MakeFile { path } => self.timed(|| sys::make_file(path))?,
            Op::MakeDirectory { path, mode } => self.timed(|| sys::make_directory(path, *mode))?,
            Op::Unlink { path } => self.timed(|| sys::unlink(path))?,
            Op::MakeReadOnly {} => self.timed(sys::make_read_only)?,
            Op::Fill(_) | Op::ErrorQueue { .. } => unreachable!("performed by themselves"),
        }
        Ok(None)
    }

    fn set_mode(&mut self, socket: &str, mode: Mode) -> Result<(), Fault> {
        let known = self.sockets.get_mut(socket).ok_or_else(|| not_open(socket))?;
        if known.mode != mode {
            sys::set_nonblocking(known.fd.as_ref().ok_or_else(|| not_open(socket))?, mode)?;
            known.mode = mode;
        }
        Ok(())
    }

    /// Notes a socket's names after an op that may have changed them, whatever its outcome: a failed connect can leave
    /// a port behind.
    fn names(&mut self, socket: &str, op: &Op, result: &Result<Option<Detail>, Fault>) -> Option<Detail> {
        let known = self.sockets.get_mut(socket)?;
        let table = known.table()?;
        let fd = known.fd.as_ref()?;
        let named = sys::local_name(fd);
        if let Op::Connect { address, port, .. } = op {
            let target = Some(SocketAddr::new(*address, *port)).filter(|_| table == Protocol::Tcp);
            let earlier = known.remote;
            known.remote = match (sys::peer_name(fd), result) {
                (Ok(Some(peer)), _) => Some(peer),
                (_, Ok(_)) => target,
                (_, Err(Fault::Errno(errno))) => match errno.known() {
                    Some(ErrnoName::EINPROGRESS) => target,
                    // An earlier attempt is still under way, or has succeeded.
                    Some(ErrnoName::EALREADY | ErrnoName::EISCONN) => known.remote,
                    _ => None,
                },
                // A SYN is out that nobody has answered: this one's, or that of an earlier attempt.
                (_, Err(Fault::Blocked { .. })) => known.remote.or(target),
                (_, Err(Fault::Unsupported(_) | Fault::Failed(_))) => known.remote,
            };
            let began = match result {
                Ok(_) => true,
                Err(Fault::Errno(errno)) => errno.is(ErrnoName::EINPROGRESS),
                Err(Fault::Blocked { .. }) => known.remote != earlier,
                Err(Fault::Unsupported(_) | Fault::Failed(_)) => false,
            };
            if began {
                self.joined += 1;
                known.joined = self.joined;
            }
        } else if matches!(op, Op::Disconnect { .. }) && result.is_ok() {
            known.remote = None;
        }
        if let Ok(local) = named {
            known.note_name(local);
        }
        Some(Detail::Names { local: named.unwrap_or(known.local), remote: known.remote })
    }

    /// A process that has the socket as well. The kernel takes it for open until both have closed it.
    fn inherit(&mut self, socket: &str) -> Result<(), Fault> {
        let known = self.sockets.get_mut(socket).ok_or_else(|| not_open(socket))?;
        if known.fd.is_none() {
            return Err(not_open(socket));
        }
        if let Fork::Child = sys::fork()? {
            sys::die_with_parent();
            let kept = known.fd.take().map(sys::keep_only);
            if !matches!(kept, Some(Ok(_))) {
                sys::exit_now(1);
            }
            sys::pause_for_ever()
        }
        Ok(())
    }

    fn error_queue(&mut self, socket: &str, wait_ms: u32) -> Result<(Errno, Detail), Fault> {
        self.on(socket, |fd| match sys::poll(fd, Until::Error, wait_ms)? {
            true => sys::receive_error(fd),
            false => Err(Fault::Blocked { ms: wait_ms }),
        })
    }

    /// Polls the socket table: what changes it gives no other sign.
    fn wait(&mut self, socket: &str, until: WaitFor, limit: Duration) -> Result<(), Fault> {
        let known = known_as(&self.sockets, socket)?;
        let nameless = || Fault::Failed(format!("`{socket}` has no local name to wait for"));
        table::can_tell(self, known)?;
        let wanted = until.in_table(known.table().ok_or_else(nameless)?);
        let start = Instant::now();
        loop {
            let sought = table::sought(self, known_as(&self.sockets, socket)?)?.ok_or_else(nameless)?;
            let rows = table::rows(self, sought.protocol, sought.local.port())?;
            let states: Vec<SocketState> = sought.among(&rows).map(|row| row.state).collect();
            let reached = match wanted {
                Some(wanted) => states.contains(&wanted),
                None => states.is_empty(),
            };
            if reached {
                return Ok(());
            }
            let waited = start.elapsed();
            if waited >= limit {
                let seen: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
                let seen = if seen.is_empty() { "nothing".to_owned() } else { seen.join(", ") };
                let wanted = wanted.map_or("gone", SocketState::as_str);
                return Err(Fault::Failed(format!(
                    "waited {} ms for `{socket}` to be {wanted}; the socket table showed {seen}",
                    limit.as_millis()
                )));
            }
            // What loopback does is done within a millisecond; what a timer does is worth a slower look.
            let pause =
                if waited < Duration::from_millis(50) { 0.5 } else { (waited.as_millis() as f64 / 20.0).min(50.0) };
            sys::pause_ms(pause.min((limit - waited).as_secs_f64() * 1000.0));
        }
    }
}

fn send_until_full(fd: &OwnedFd, bytes: u32) -> Result<u64, Fault> {
    let piece = vec![0; bytes as usize];
    let mut count = 0;
    for _ in 0..MOST_PIECES {
        match sys::send(fd, &piece, None) {
            Ok(sent) => count += sent as u64,
            // XNU has ENOBUFS for a datagram that the peer has no room for (uipc_send(), bsd/kern/uipc_usrreq.c).
            Err(errno) if errno.is(ErrnoName::EAGAIN) || errno.is(ErrnoName::ENOBUFS) => return Ok(count),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(Fault::Failed(format!("the socket took {count} bytes and was not full")))
}
