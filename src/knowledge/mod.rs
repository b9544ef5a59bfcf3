//! What findings mean: the causes behind an error, what a program does best about it, what somebody's message says.
//!
//! Everything here follows from findings; what a system does is asked of nobody.

pub mod policy;

pub mod calls;
pub mod explain;
