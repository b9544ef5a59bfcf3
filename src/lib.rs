//! errnoscope: which errno appears, from which socket call, on which OS.
//!
//! `ARCHITECTURE.md` shows how the rooms fit together. `tests/rooms.rs` has the table of which room may know which.

// They talk to people, files, processes and the kernel.
pub mod cli;
pub mod exec;
pub mod render;
pub mod suite;
pub mod tracer;
pub mod worker;

pub mod sys;

// Below the purity line: no I/O, no clock, no process, no thread, no knowledge of the OS this was built for.
pub mod knowledge;
pub mod plan;
pub mod report;
pub mod scenario;
pub mod words;
