//! Reports as text: for terminals, for files, for other programs.
//!
//! Everything here reads a report and nothing else, so that it gives the same text on any machine, on any day.

pub mod boundaries;
pub mod calls;
pub mod check;
pub mod claims;
pub mod code;
pub mod compare;
pub mod conformance;
pub mod details;
pub mod deviation;
pub mod document;
pub mod explain;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod markdown;
pub mod policy;
pub mod problem;
pub mod spec;
pub mod style;
pub mod summary;
pub mod text;
pub mod trace;
