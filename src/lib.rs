//! errnoscope: which errno appears, from which socket call, on which OS.
//!
//! `ARCHITECTURE.md` tells how the rooms fit. They stand as `tests/tidy.rs` lets them know each other: each knows rooms
//! below it, and none above.

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
