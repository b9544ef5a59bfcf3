//! What the kernel tests share: running scenario texts on real workers.

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use errnoscope::catalogue::Catalogue;
use errnoscope::finding::Finding;
use errnoscope::runner::{self, Item, Ran, Settings};
use errnoscope::scenario::cases;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_errnoscope");

/// Every case that is not slow, on two workers.
pub fn run_all(catalogue: &Catalogue) -> Ran {
    let mut items = Vec::new();
    for (index, scenario) in catalogue.scenarios.iter().enumerate() {
        for case in cases(scenario).filter(|case| !scenario.is_slow(case)) {
            items.push(Item { scenario: index, case, slow: false });
        }
    }
    let settings =
        Settings { jobs: 2.try_into().expect("two is not zero"), repeat: 1, program: Path::new(PROGRAM).to_owned() };
    let ran = runner::run(catalogue, &items, &settings, &AtomicBool::new(false), |_| {}).expect("workers start");
    assert!(
        ran.hello.capabilities.values().any(|capability| capability.available) && ran.hello.isolation == "netns",
        "no network namespace to be had, so nothing was tested: run as root or enable user namespaces (errnoscope doctor)"
    );
    ran
}

/// The findings of one scenario text.
#[track_caller]
pub fn findings(text: &str) -> Vec<Finding> {
    run_all(&catalogue(text)).findings
}

#[track_caller]
pub fn catalogue(text: &str) -> Catalogue {
    let text: &'static str = String::leak(text.to_owned());
    let catalogue = Catalogue::read(&[("test.toml".to_owned(), text)]);
    let catalogue = catalogue.unwrap_or_else(|problems| panic!("{}", problems[0]));
    if let Some(problem) = errnoscope::catalogue::check(&catalogue).first() {
        panic!("{problem}");
    }
    catalogue
}
