//! Reports, the JSON contract, and what is derived from them: comparisons, compatibility data, claims held against
//! findings.
//!
//! A finding comes from a file or from the judge, and nothing here makes one up. What findings mean to a program is for
//! `knowledge` to say.

pub mod finding;

pub mod claim;
pub mod compare;
pub mod compat;
pub mod conformance;
pub mod decide;
pub mod deviation;
