//! The catalogue is embedded at compile time: a new scenario file must lead to a new binary.

fn main() {
    println!("cargo:rerun-if-changed=scenarios");
    println!("cargo:rerun-if-changed=build.rs");
}
