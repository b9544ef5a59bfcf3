//! A run of the catalogue: which cases there are, who performs them, and what the answers mean.
//!
//! It performs no op itself. `cli` starts a run and writes its report.

pub mod batch;
pub mod catalogue;
pub mod claims;
pub mod conformance;
pub mod judge;
pub mod runner;
pub mod xnu_run;
