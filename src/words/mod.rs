//! The words: names, errnos, causes and what else the other rooms talk in, each as a type that reads and writes itself.
//!
//! It knows nothing of what the words are used for, and talks to nobody.

pub mod cause;
pub mod digest;
pub mod errno;
pub mod moment;
pub mod names;
pub mod packet;
pub mod ports;
pub mod problem;
pub mod release;
pub mod schema;
pub mod untrusted;
pub mod values;
