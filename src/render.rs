//! Reports as text: for terminals, for files, for other programs.
//!
//! Everything here reads a report and nothing else, so that it gives the same text on any machine, on any day.

pub mod text;
pub mod style;
pub mod json;
pub mod summary;
pub mod details;
pub mod markdown;
pub mod junit;
