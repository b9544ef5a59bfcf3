//! Runs tests as libtest does, and decides at run time: a test whose needs this host lacks is ignored with the reason,
//! or fails where ERRNOSCOPE_REQUIRE asks for what is missing. It captures no output but panics.

pub mod need;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::process::CommandExt;
use std::panic::PanicHookInfo;
use std::process::{Command, ExitCode};

pub use errnoscope_test_attribute::*;
use libtest_mimic::{Arguments, Completion, Failed, Trial};
pub use need::Need;
use need::{REQUIRE, REQUIRED};
use nix::sys::signal::{SigHandler, Signal};

/// Set for a test that another test has started, in a place that was made for it.
pub const STARTED: &str = "ERRNOSCOPE_TEST_INSIDE";

/// What `#[test]` registers.
pub struct Test {
    pub module: &'static str,
    pub name: &'static str,
    pub run: fn(),
    pub needs: &'static [Need],
}

inventory::collect!(Test);

/// What all tests of a module need.
pub struct Module {
    pub path: &'static str,
    pub needs: &'static [Need],
}

inventory::collect!(Module);

/// `needs!(Nft, Root)`, once at the head of a module of tests.
macro_rules! needs {
    ($($need:ident),+) => {
        ::inventory::submit! {
            $crate::harness::Module { path: module_path!(), needs: &[$($crate::harness::Need::$need),+] }
        }
    };
}
pub(crate) use needs;

pub fn main() -> ExitCode {
    // What is ignored is inherited: SIGINT in the background of a script, SIGHUP below nohup(1). Tests send both.
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM] {
        // SAFETY: the default needs no handler.
        unsafe { nix::sys::signal::signal(signal, SigHandler::SigDfl) }.expect("a signal that can be caught");
    }
    if let Some(words) = std::env::var_os(REQUIRE) {
        // The program under test is to behave as if nobody had asked for anything, and knows but some of the words.
        let program = std::env::current_exe().expect("this program is somewhere");
        let mut again = Command::new(program);
        again.args(std::env::args_os().skip(1)).env_remove(REQUIRE).env(REQUIRED, words);
        panic!("cannot start again: {}", again.exec());
    }
    let mut arguments = Arguments::from_args();
    let threads = || std::env::var("RUST_TEST_THREADS").ok()?.parse().ok();
    // Many tests wait for a kernel's timer or for another program.
    let usual = || std::thread::available_parallelism().map_or(1, |processors| 2 * processors.get());
    arguments.test_threads = arguments.test_threads.or_else(threads).or_else(|| Some(usual()));
    if let Some(word) = Need::unknown() {
        eprintln!("{REQUIRE}: no need is called `{word}`: all, or a list of {}", Need::names());
        return ExitCode::from(2);
    }
    std::panic::set_hook(Box::new(told));
    let mut tests: Vec<&Test> = inventory::iter::<Test>().collect();
    tests.sort_by_key(|test| test.path());
    let trials = tests.into_iter().map(|test| Trial::ignorable_test(test.path(), || test.perform())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

impl Test {
    /// As libtest calls it: without the crate.
    fn path(&self) -> String {
        let module = self.module.split_once("::").map_or("", |(_, module)| module);
        if module.is_empty() { self.name.to_owned() } else { format!("{module}::{}", self.name) }
    }

    fn needs(&self) -> BTreeSet<Need> {
        let is_around = |module: &&Module| {
            let rest = self.module.strip_prefix(module.path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        };
        let modules = inventory::iter::<Module>().filter(is_around).flat_map(|module| module.needs);
        self.needs.iter().chain(modules).copied().collect()
    }

    fn perform(&self) -> Result<Completion, Failed> {
        if std::env::var_os(STARTED).is_none() {
            for need in self.needs() {
                if let Err(reason) = need.probed() {
                    let missing = format!("needs {need}: {reason}");
                    return if need.is_required() {
                        Err(format!("{missing}; required by {REQUIRE}; {}", need.remedy()).into())
                    } else {
                        Ok(Completion::ignored_with(missing))
                    };
                }
            }
        }
        let run = self.run;
        let body =
            move || std::panic::catch_unwind(run).map_err(|_| PANIC.take().unwrap_or_else(|| "it panicked".to_owned()));
        // A thread of its own has the test's name, as in libtest.
        let thread = std::thread::Builder::new().name(self.path()).spawn(body)?;
        match thread.join() {
            Ok(Ok(())) => Ok(Completion::Completed),
            Ok(Err(message)) => Err(message.into()),
            Err(_) => Err("the test's thread is gone".into()),
        }
    }
}

thread_local! {
    /// What the test of this thread said when it panicked.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps a panic's message for the end, with its place; a panic of a thread that a test has started is told at once.
fn told(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let payload = panic.payload();
    let message = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let message = message.unwrap_or("something that is no text");
    let mut text = format!("thread '{}' panicked at {place}:\n{message}", thread.name().unwrap_or("unnamed"));
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() == std::backtrace::BacktraceStatus::Captured {
        text = format!("{text}\n{}", own_frames(&trace.to_string()));
    }
    let is_test = thread.name().is_some_and(|name| inventory::iter::<Test>().any(|test| test.path() == name));
    if is_test { PANIC.set(Some(text)) } else { eprintln!("{text}") }
}

/// The part of a backtrace that is the test's own, as the standard library marks it.
fn own_frames(trace: &str) -> String {
    let frames = trace.lines().skip_while(|line| !line.contains("__rust_end_short_backtrace")).skip(2);
    let own: Vec<&str> = frames.take_while(|line| !line.contains("__rust_begin_short_backtrace")).collect();
    if own.is_empty() { trace.to_owned() } else { own.join("\n") }
}
