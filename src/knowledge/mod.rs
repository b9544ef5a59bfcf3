//! The meaning of findings: the causes behind an error, what a program should do, what a message says.
//!
//! Everything here follows from findings. Nothing asks the host.

pub mod policy;

pub mod calls;
pub mod explain;
