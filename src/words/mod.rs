//! The words that the rooms share: names, errnos, causes and more, each as a type that reads and writes itself.
//!
//! It does not know how the words are used.

pub mod cause;
pub mod digest;
pub mod errno;
pub mod glossary;
pub mod moment;
pub mod names;
pub mod near;
// What a path is made of, for the tracer and its networks.
#[cfg(feature = "cli")]
pub(crate) mod packet;
pub mod ports;
pub mod problem;
pub mod release;
pub(crate) mod schema;
pub mod untrusted;
pub mod values;
