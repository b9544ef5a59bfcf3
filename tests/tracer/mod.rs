//! The tracer on a network that is made up: laws that hold whatever the network does, and known situations to the
//! millisecond. No socket is opened by a tracer; what its calls answer comes from findings of a real run.

mod examples;
mod findings;
mod golden;
mod known;
mod laws;
mod scripts;
mod simulated;
