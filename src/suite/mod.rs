//! The run of the catalogue: which cases there are, who performs them, and what the answers amount to.
//!
//! It performs no op itself. Who asks for a run, and where its report goes, is the business of `cli`.

pub mod catalogue;
pub mod claims;
pub mod judge;
pub mod runner;
