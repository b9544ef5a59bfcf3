//! All tests in one program, so that the library is linked once. A test belongs to the module that it is about; what a
//! test does not get from its host is for `harness` to say.

mod common;
mod harness;

mod batch;
mod calls;
mod catalogue;
mod check;
mod claims;
mod cli;
mod compare;
mod compat;
mod conditions;
mod deviations;
mod docs;
mod evidence;
mod exec;
mod explain;
mod explain_here;
mod export;
mod faults;
mod filter;
mod formats;
mod golden;
mod host;
mod junit;
mod library;
mod lint;
mod needs;
mod network;
mod outputs;
mod page;
mod paths;
mod policy;
mod properties;
mod protocol;
#[cfg(target_os = "linux")]
mod refused;
mod remote;
mod rooms;
mod servers;
#[cfg(target_os = "linux")]
mod shared_host;
mod shell;
mod spec;
mod tidy;
mod tracer;
mod verdicts;

fn main() -> std::process::ExitCode {
    if let Ok(script) = std::env::var(conditions::SCRIPT) {
        conditions::client(&script);
        return std::process::ExitCode::SUCCESS;
    }
    harness::main()
}
