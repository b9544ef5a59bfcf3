//! The command line of errnoscope.

fn main() -> std::process::ExitCode {
    errnoscope::cli::main()
}
