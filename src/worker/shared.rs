//! Ports of a host that others use as well: a case waits until the ports that it needs are free.
//!
//! The plan says which ports these are. It takes no port from anybody.

use std::time::{Duration, Instant};

use crate::plan::{Op, Plan, SocketOption};
use crate::sys::{self, Fault, Isolation, SocketTable};
use crate::words::names::{Protocol, SocketState};
use crate::words::ports::PortSet;

/// How long to wait for what is closing. TIME_WAIT lasts longer: then the case is sent again, for other ports.
const CLEARING_TIMEOUT: Duration = Duration::from_millis(500);

/// A socket that is in a case's way.
struct Holder {
    words: String,
    stays: bool,
}

/// Who has a port of the plan's that does not come free, in a sentence.
pub fn in_the_way(isolation: &Isolation, plan: &Plan) -> Option<String> {
    if !isolation.is_shared() {
        return None;
    }
    let ports = ports(plan);
    let end = Instant::now() + CLEARING_TIMEOUT * plan.patience;
    loop {
        let holder = match holder(&ports) {
            Ok(holder) => holder?,
            Err(fault) => return Some(format!("whether its ports are free cannot be told: {fault}")),
        };
        if holder.stays || Instant::now() >= end {
            return Some(holder.words);
        }
        sys::pause_ms(50.0);
    }
}

/// Those that ops name, and those of the ranges that sockets of the case have for themselves.
fn ports(plan: &Plan) -> PortSet {
    let mut ports = Vec::new();
    for step in &plan.steps {
        step.op.clone().visit_ports(&mut |port| ports.push(*port), &mut |_| {});
        if let Op::SetOption { option: SocketOption::LocalPortRange(range), .. } = &step.op {
            ports.extend(range.ports());
        }
    }
    ports.retain(|port| *port != 0);
    ports.into_iter().collect()
}

fn holder(ports: &PortSet) -> Result<Option<Holder>, Fault> {
    if ports.iter().next().is_none() {
        return Ok(None);
    }
    let mut table = SocketTable::open()?;
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let held = table.ports(protocol)?;
        let Some(port) = ports.iter().find(|port| held.contains(*port)) else { continue };
        // It may be gone by now.
        if let Some(row) = table.rows(protocol, port, &sys::UNCONNECTED)?.first() {
            let words = format!(
                "this host has no network of the case's own, and in the one it has another socket is on port {port}: \
                 {protocol} {}, {}",
                row.local, row.state
            );
            return Ok(Some(Holder { words, stays: row.state == SocketState::TimeWait }));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::plan::{Role, Step};
    use crate::words::names::Via;

    #[test]
    fn a_port_that_somebody_has_is_told_and_a_free_one_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (socket, address, via) = ("s".to_owned(), [127, 0, 0, 1].into(), Via::Syscall);
        let op = Op::Bind { socket, address, port, length: None, scope: None, via };
        let role = Role::Setup { permit: Vec::new(), unsupported: Vec::new(), requires: None };
        let steps = vec![Step { op, user: None, role }];
        let plan = Plan { case: String::new(), number: 0, deadline_ms: 1, patience: 0, steps };
        let shared = Isolation { kind: "none", users: [0, 0], lacking: None, shared: Some("a test".to_owned()) };
        let alone = Isolation { kind: "netns", shared: None, ..shared.clone() };
        let said = in_the_way(&shared, &plan).unwrap();
        assert!(said.contains(&format!("on port {port}: tcp 127.0.0.1:{port}, LISTEN")), "{said}");
        assert_eq!(in_the_way(&alone, &plan), None);
        drop(listener);
        assert_eq!(in_the_way(&shared, &plan), None);
    }
}
