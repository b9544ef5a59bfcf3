//! The right action for each cause, and the cost of a wrong one, with reasons.
//!
//! This is the only place with an opinion. Kernel behaviour is in the findings, and a tracer's knowledge in the signal.

use super::Action;
use serde::{Deserialize, Serialize};

use crate::words::cause::Cause;
use crate::words::errno::ErrnoName;
use crate::words::names::words;

/// What a tracer that knew the cause would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Right {
    /// What to do.
    pub action: Action,
    /// Why that, as a fragment.
    pub why: &'static str,
}

/// What to do about a call that ran into `cause` and gave `errno`.
///
/// The errno matters twice. EINPROGRESS means that the kernel took the call, whatever stood in its way (a 4-tuple in
/// TIME_WAIT that it may reuse). And where the situation is one in which the call should succeed, an error of the call
/// itself contradicts it: another system finds fault with what this one accepts.
pub fn right(cause: Cause, errno: ErrnoName) -> Right {
    let of = |action, why| Right { action, why };
    if errno == ErrnoName::EINPROGRESS {
        return of(Action::Proceed, "the kernel took the call; the probe is under way");
    }
    if !accounts_for(cause, errno) {
        return of(Action::Abort, "it does not account for the errno: the system refuses the call itself");
    }
    match cause {
        Cause::PortInUse => of(Action::Skip, "another port may be free, and the next is as good as this one"),
        Cause::TupleInUse => of(Action::Skip, "the 4-tuple is busy, and another source port makes another 4-tuple"),
        Cause::PortsExhausted => of(Action::Abort, "no port is left, so the next attempt fails as well"),
        Cause::AddressNotLocal => of(Action::Abort, "no port of an address that this host does not have can be bound"),
        Cause::NoSourceAddress => of(Action::Abort, "no port helps where there is no address to send from"),
        Cause::Permission => of(Action::Abort, "the caller may not do this, and asking again does not change it"),
        Cause::DescriptorsExhausted => of(Action::Abort, "no descriptor is left: the process's own limit is the fault"),
        Cause::SocketState => of(Action::Abort, "the socket is in no state for this call: the tracer's own mistake"),
        Cause::AddressInvalid => of(Action::Abort, "the address will be as wrong for the next probe"),
        Cause::NoRoute => of(Action::FailProbe, "routes come and go: this probe was not sent, the next may be"),
        Cause::Unreachable => of(Action::FailProbe, "this probe found no way; others, of another TTL, may"),
        Cause::Filtered => of(Action::FailProbe, "a filter ate or turned back this probe; other hops may answer"),
        Cause::NoAnswer => of(Action::FailProbe, "silence is what many routers answer"),
        Cause::TtlExceeded => of(Action::Proceed, "a router answered: that is what the probe was for"),
        Cause::Refused => of(Action::Proceed, "the target answered with a reset: it is reached"),
        Cause::Reset => of(Action::Proceed, "the target took the connection, and ended it: it is reached"),
        Cause::QueueFull => of(Action::FailProbe, "this probe was not sent; the queue empties in a moment"),
        Cause::InProgress => of(Action::Proceed, "the probe is under way"),
        Cause::None => of(Action::Proceed, "nothing is wrong"),
    }
}

words! {
    /// What a program that is no tracer does next.
    Step {
        /// Try again from another port.
        NextPort = "next port",
        /// Try again later, and ever later.
        BackOff = "back off",
        /// Say what is wrong, and stop.
        GiveUp = "give up",
        /// Nothing but another address, user or setting helps.
        Fix = "fix the configuration",
        /// Nothing is wrong.
        Proceed = "proceed",
    }
}

/// What a program should do that has no probes to lose, and why.
pub fn step(cause: Cause, errno: ErrnoName) -> (Step, &'static str) {
    let right = right(cause, errno);
    if errno == ErrnoName::EINPROGRESS {
        return (Step::Proceed, "the kernel took the call: wait until the socket is writable, then read SO_ERROR");
    }
    if !accounts_for(cause, errno) {
        return (Step::GiveUp, right.why);
    }
    match cause {
        Cause::PortInUse => {
            (Step::NextPort, "where any port will do, the next may be free; who needs this one gives up and says so")
        }
        Cause::TupleInUse => (Step::NextPort, right.why),
        Cause::PortsExhausted => (Step::BackOff, "no port is left until connections end: the next port is no better"),
        Cause::DescriptorsExhausted => (Step::BackOff, "no descriptor is left until the program closes some"),
        Cause::AddressNotLocal | Cause::NoSourceAddress | Cause::Permission => (Step::Fix, right.why),
        Cause::AddressInvalid => (Step::Fix, "the address will be as wrong the next time"),
        Cause::SocketState => (Step::GiveUp, "the socket is in no state for this call: a mistake of the program's own"),
        Cause::NoRoute => (Step::BackOff, "routes come and go; another address of the same host may have one"),
        Cause::Unreachable => (Step::BackOff, "what is unreachable now may not be later, or by another address"),
        Cause::Filtered => (Step::BackOff, "filters change rarely: a few more tries, further and further apart"),
        Cause::NoAnswer => (Step::BackOff, "a few more tries, further and further apart"),
        Cause::TtlExceeded => (Step::BackOff, "a loop in the path passes when routers agree again"),
        Cause::Refused => (Step::BackOff, "a server that starts again listens in a moment: try again, but not at once"),
        Cause::Reset => (Step::BackOff, "the connection is gone: make another, but not at once"),
        Cause::QueueFull => (Step::BackOff, "a queue empties in a moment: send the same again, more slowly"),
        Cause::InProgress => (Step::Proceed, "wait until the socket is writable, then read SO_ERROR"),
        Cause::None => (Step::Proceed, right.why),
    }
}

/// Whether `errno` is what a call gives because of `cause`. The causes that let a call come as far as the network can
/// be contradicted by one.
pub fn accounts_for(cause: Cause, errno: ErrnoName) -> bool {
    match cause {
        Cause::InProgress | Cause::None => {
            matches!(errno, ErrnoName::EINPROGRESS | ErrnoName::EALREADY | ErrnoName::ECONNREFUSED)
        }
        // ECONNABORTED: what Linux gives to the attempt after the refused one.
        Cause::Refused => {
            use ErrnoName as E;
            let answers = [E::EINPROGRESS, E::ECONNREFUSED, E::ECONNRESET, E::ECONNABORTED, E::ENOPROTOOPT];
            answers.contains(&errno)
        }
        // Of ports and addresses, which were looked at before the route.
        Cause::NoRoute => !matches!(errno, ErrnoName::EAGAIN | ErrnoName::EADDRINUSE | ErrnoName::EADDRNOTAVAIL),
        Cause::PortInUse
        | Cause::TupleInUse
        | Cause::PortsExhausted
        | Cause::AddressNotLocal
        | Cause::NoSourceAddress
        | Cause::Permission
        | Cause::DescriptorsExhausted
        | Cause::SocketState
        | Cause::AddressInvalid
        | Cause::Unreachable
        | Cause::TtlExceeded
        | Cause::Filtered
        | Cause::NoAnswer
        | Cause::Reset
        | Cause::QueueFull => true,
    }
}

words! {
    /// What an action amounts to.
    #[schemars(rename = "Kind")]
    Consequence {
        /// Nothing.
        Right = "right",
        /// A real error is taken for something that passes.
        Hides = "hides",
        /// Something that another try would have got is given up.
        GivesUp = "gives-up",
        /// A probe, or the wait for it, is spent on nothing.
        Wastes = "wastes",
    }
}

/// An action held against the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What it amounts to.
    pub kind: Consequence,
    /// How bad it is, to choose between mistakes; nothing else depends on it.
    pub cost: u64,
    /// Why, as a fragment.
    pub why: &'static str,
}

/// Every pair, `taken` where `right` would have been right.
pub fn decision(taken: Action, right: Action) -> Decision {
    use Action::{Abort, FailProbe, Proceed, Skip};
    let of = |kind, cost, why| Decision { kind, cost, why };
    match (taken, right) {
        (Skip, Skip) | (FailProbe, FailProbe) | (Abort, Abort) | (Proceed, Proceed) => {
            of(Consequence::Right, 0, "right")
        }
        (Skip, Abort) => of(Consequence::Hides, 8, "takes a real error for a busy port and tries the next, in vain"),
        (Proceed, Abort) => of(Consequence::Hides, 8, "waits for the answer to a probe that was never sent"),
        (FailProbe, Abort) => of(Consequence::Hides, 3, "shows an error of this host as a hop that lost a probe"),
        (Abort, Skip) => of(Consequence::GivesUp, 6, "loses the trace to one busy port"),
        (FailProbe, Skip) => of(Consequence::GivesUp, 3, "loses the probe to one busy port"),
        (Abort, FailProbe) => of(Consequence::GivesUp, 5, "loses the trace with one probe"),
        (Abort, Proceed) => of(Consequence::GivesUp, 6, "loses the trace where nothing is wrong"),
        (FailProbe, Proceed) => of(Consequence::Wastes, 3, "throws away a probe that is under way or answered"),
        (Skip, Proceed) => of(Consequence::Wastes, 2, "sends a second probe where the first is under way or answered"),
        (Skip, FailProbe) => of(Consequence::Wastes, 2, "tries other ports where the port is not the trouble"),
        (Proceed, Skip) => of(Consequence::Wastes, 2, "waits for the answer to a probe that was never sent"),
        (Proceed, FailProbe) => of(Consequence::Wastes, 1, "takes a lost probe for one that is answered"),
    }
}
