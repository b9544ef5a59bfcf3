//! The test of the laws: policies that are known to be wrong break them, and the smallest script that shows it is the
//! situation that they are known for.

use errnoscope::knowledge::policy::ProbeCall;
use errnoscope::tracer::PortMode;
use errnoscope::words::cause::Cause;
use errnoscope::words::names::Os;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseResult, TestError, TestRng, TestRunner};

use crate::harness::test;
use crate::tracer::examples::{fault, script};
use crate::tracer::laws::{hides_no_error, loses_nothing_to_a_busy_port, policy};
use crate::tracer::scripts::scripts;
use crate::tracer::simulated::{Lot, Run, Script, run};

/// The smallest script for Linux with which a policy breaks a law.
fn broken(policy: &str, law: impl Fn(&Script, &Run) -> TestCaseResult) -> (Script, String) {
    let policy = self::policy(policy);
    let config = Config { cases: 20_000, max_shrink_iters: 20_000, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let scripts = scripts(&[Os::Linux]);
    match runner.run(&scripts, |script| law(&script, &run(&script, policy))) {
        Err(TestError::Fail(why, script)) => (script, why.message().to_owned()),
        other => panic!("{} keeps the law: {other:?}", policy.name),
    }
}

/// Holds the one probe of the smallest script against the known situation.
#[track_caller]
fn check(policy: &str, law: impl Fn(&Script, &Run) -> TestCaseResult, expected: (bool, &str)) {
    let (script, why) = broken(policy, law);
    let run = run(&script, crate::tracer::laws::policy(policy));
    let [met] = &run.met[..] else { panic!("{} probes in {script:?}", run.met.len()) };
    let fault = met.fault.expect("something is wrong");
    let picked = matches!(script.settings.ports, PortMode::Ephemeral | PortMode::BindZero);
    assert_eq!((picked, format!("{fault:?}").as_str()), expected, "{why}: {script:?}");
    assert_eq!(script.lots.len() + usize::from(script.rest != Lot::Path), 1, "{script:?}");
}

/// Up to 0.10, trippy took exhaustion and foreign addresses for busy ports.
#[test]
fn conflate_hides_errors() {
    check("conflate", hides_no_error, (false, "bind: EADDRNOTAVAIL because address-not-local"));
    let mut exhausted = script("open");
    exhausted.settings.ports = PortMode::BindZero;
    exhausted.lots = vec![Lot::Fails(fault(ProbeCall::Bind, "EADDRINUSE", Cause::PortsExhausted))];
    let run = run(&exhausted, policy("conflate"));
    assert!(hides_no_error(&exhausted, &run).is_err(), "{:?}", run.trace.ended);
}

/// What trippy's issue 1246 asks for gives up where Linux says that a 4-tuple is busy.
#[test]
fn addr_in_use_only_loses_traces() {
    check("addr-in-use-only", loses_nothing_to_a_busy_port, (false, "connect: EADDRNOTAVAIL because tuple-in-use"));
}

/// And it goes on where Linux has no port left, because bind() says EADDRINUSE.
#[test]
fn addr_in_use_only_hides_errors() {
    check("addr-in-use-only", hides_no_error, (true, "bind: EADDRINUSE because ports-exhausted"));
}
