//! errnoscope: which errno appears, from which socket call, on which OS.
//!
//! With `default-features = false` this is a library without a command line, and without system calls: it has no I/O,
//! no clock, no process, no thread, and knows no OS. What it has:
//!
//! - [`words`]: errnos, causes and the other words of all formats, as types.
//! - [`plan`]: what a case does, op by op, and what a worker answers.
//! - [`scenario`]: scenario files, the cases that they span, and what each OS is expected to give.
//! - [`report`]: the findings of a run, and what is derived from them: comparisons, compatibility data, claims.
//! - [`spec`]: what an OS does, as rules that can be run.
//! - [`knowledge`]: what findings mean: policies of tracers, and what stands behind an error message.
//!
//! Types that are read from files refuse fields that they do not know. A text from outside is an
//! [`untrusted::Text`](words::untrusted::Text), which is safe to print.
//!
//! ```
//! use errnoscope::report::finding::{Report, Verdict};
//! use errnoscope::words::errno::ErrnoName;
//!
//! /// The cases in which a call gave EADDRNOTAVAIL, and that was expected.
//! fn not_available(json: &str) -> Result<Vec<String>, serde_json::Error> {
//!     let report: Report = json.parse()?;
//!     let found = report.findings.iter().filter(|finding| {
//!         finding.verdict() == Verdict::Match
//!             && finding.outcome().is_some_and(|outcome| outcome.is(ErrnoName::EADDRNOTAVAIL))
//!     });
//!     Ok(found.map(|finding| finding.case.to_string()).collect())
//! }
//! ```
//!
//! `examples/findings.rs` is a whole program. A policy decides by what a tracer knows when a probe fails:
//!
//! ```
//! use errnoscope::knowledge::policy::{self, Action, ProbeCall, Signal};
//! use errnoscope::words::errno::ErrnoName;
//! use errnoscope::words::names::{Family, Os, PortChoice, Protocol, Reuse};
//!
//! let policy = policy::built_in(policy::DEFAULT).expect("it is built in").expect("the tests read it");
//! let signal = Signal {
//!     os: Os::Linux,
//!     call: ProbeCall::Bind,
//!     port: PortChoice::Explicit,
//!     protocol: Protocol::Tcp,
//!     family: Family::Ipv4,
//!     reuse: Reuse::None,
//!     errno: ErrnoName::EADDRINUSE,
//! };
//! // The port is taken: the next may be free.
//! assert_eq!(policy.decide(&signal).1, Action::Skip);
//! ```
//!
//! `ARCHITECTURE.md` shows how the rooms fit together. `tests/rooms.rs` has the table of which room may know which.

#![warn(missing_docs)]

// They talk to people, files, processes and the kernel. They are public for the program, its tests and its benchmarks
// alone.
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod exec;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod render;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod suite;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod tracer;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod worker;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod sys;

// Below the purity line: no I/O, no clock, no process, no thread, no knowledge of the OS this was built for.
pub mod knowledge;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod spec;
pub mod words;
