//! errnoscope: which errno appears, from which socket call, on which OS.
//!
//! `ARCHITECTURE.md` tells how the parts fit. The modules stand in the order in which data flows through
//! them; those above the purity line talk to processes, files and the kernel, those below it do not.

// Above the purity line: commands, processes, the kernel.
pub mod cli;
pub mod demo;
pub mod exec;
pub mod network;
pub mod runner;
pub mod sys;
pub mod worker;

// Below the purity line: no I/O, no clock, no knowledge of the OS this was built for.
pub mod calls;
pub mod catalogue;
pub mod cause;
pub mod check;
pub mod claim;
pub mod compare;
pub mod compat;
pub mod digest;
pub mod errno;
pub mod explain;
pub mod finding;
pub mod judge;
pub mod moment;
pub mod names;
pub mod packet;
pub mod plan;
pub mod policy;
pub mod ports;
pub mod problem;
pub mod render;
pub mod scenario;
pub mod schema;
pub mod socket_table;
pub mod tracer;
pub mod untrusted;
pub mod values;
pub mod witness;
