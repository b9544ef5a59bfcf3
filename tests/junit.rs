//! JUnit XML, read back by a parser that did not write it: every verdict arrives as CI services count it.
//!
//! Its attributes and elements are those of Jenkins' `junit-10.xsd`, which is not kept here.

use std::sync::Arc;

use crate::common;
use crate::harness::test;
use errnoscope::plan::{Answer, Hello, IpSocket, Outcome, SocketKind, Unsupported};
use errnoscope::render::junit::junit;
use errnoscope::report::finding::{CatalogueFacts, Finding, Missing, Report, SubjectRef, Unjudged, Verdict};
use errnoscope::scenario::Expectation;
use errnoscope::scenario::witness::{Precondition, Witness, WitnessTime};
use errnoscope::words::cause::Cause;
use errnoscope::words::names::{Call, Family, Need, Os, PortChoice, Protocol, Reuse};
use roxmltree::{Document, Node};

fn evidence(scenario: &str, case: &str, expected: &str, confirmed: bool) -> Unjudged {
    let socket = IpSocket { protocol: Protocol::Tcp, family: Family::Ipv4, reuse: Reuse::None };
    let socket = SocketKind::Ip(socket);
    let reference = "a \"reference\" with <angles> & ]]> and \u{1}".to_owned();
    Unjudged {
        scenario: scenario.into(),
        case: case.into(),
        axes: Default::default(),
        cause: Cause::PortInUse,
        subject: SubjectRef { call: Call::Bind, port: PortChoice::Explicit, ordinal: 1, socket },
        expected: Arc::from([Expectation { outcome: expected.into(), authority: None, reference: reference.into() }]),
        elsewhere: Default::default(),
        witness: vec![Witness {
            at: WitnessTime::Before,
            precondition: Precondition::Sysctl { name: "holder \u{1b}[31mTIME_WAIT".to_owned(), value: "1".to_owned() },
            before: confirmed.then(|| Answer::Sysctl { value: "1".into() }),
            after: None,
            detail: None,
        }],
        unwitnessed: None,
        trail: Vec::new(),
    }
}

/// A finding of each verdict, in two scenarios.
fn report() -> Report {
    let lacking = Unsupported { need: Need::Nft, reason: "not <installed>".into() };
    let of = |case| evidence("bind.held", case, "EADDRINUSE", true);
    let findings = vec![
        Finding::observed(evidence("bind.free", "bind.free[a=\"1\"&b=<2>]", "ok", true), Outcome::Ok),
        Finding::observed(of("mismatch"), Outcome::Ok),
        Finding::observed(evidence("bind.held", "unwitnessed", "ok", false), Outcome::Ok),
        Finding::without_outcome(of("unsupported"), Missing::Unsupported(lacking)),
        Finding::without_outcome(of("broken"), Missing::Broken("killed by signal 9".into())),
        Finding::without_outcome(of("timed-out"), Missing::TimedOut("no end after 2000 ms".into())),
    ];
    let hello = Hello {
        protocol: 1,
        os: Os::Linux,
        release: "6.18.1".into(),
        arch: "x86_64".into(),
        stack: None,
        isolation: "netns".into(),
        capabilities: Default::default(),
        sysctls: Default::default(),
    };
    let catalogue = CatalogueFacts { scenarios: 2, cases: 6, digest: "sha256:0".into() };
    Report::new(&hello, catalogue, common::started(), true, 1, findings)
}

fn elements<'x>(node: Node<'x, 'x>, name: &'static str) -> impl Iterator<Item = Node<'x, 'x>> {
    node.children().filter(move |child| child.has_tag_name(name))
}

#[track_caller]
fn number(node: Node<'_, '_>, attribute: &str) -> usize {
    node.attribute(attribute).unwrap_or_else(|| panic!("no {attribute}")).parse().unwrap()
}

#[test]
fn every_finding_arrives_with_its_verdict() {
    let report = report();
    let xml = junit(&report).unwrap();
    let document = Document::parse(&xml).unwrap();
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let mut read = 0;
    for (node, finding) in cases.zip(&report.findings) {
        read += 1;
        assert_eq!(node.attribute("name"), Some(&*format!("{} bind", finding.case)));
        assert_eq!(node.attribute("classname"), Some(&*finding.scenario));
        let element = match finding.verdict() {
            Verdict::Match => None,
            Verdict::Mismatch => Some("failure"),
            Verdict::Unwitnessed | Verdict::Broken | Verdict::TimedOut => Some("error"),
            Verdict::Unsupported => Some("skipped"),
        };
        let said = node.children().find(Node::is_element);
        assert_eq!(said.map(|said| said.tag_name().name()), element);
        let Some(said) = said else { continue };
        assert_eq!(said.attribute("type"), Some(finding.verdict().as_str()));
        let message = said.attribute("message").unwrap();
        let reason = &finding.reason().unwrap();
        // What XML cannot hold is left out.
        assert_eq!(message, anstream::adapter::strip_str(reason).to_string());
        if element != Some("skipped") {
            assert!(said.text().unwrap().contains("a \"reference\" with <angles> & ]]> and"), "{:?}", said.text());
        }
    }
    assert_eq!(read, report.findings.len());
}

#[test]
fn totals_are_those_of_the_elements() {
    let xml = junit(&report()).unwrap();
    let document = Document::parse(&xml).unwrap();
    let root = document.root_element();
    assert!(root.has_tag_name("testsuites"));
    assert_eq!(["tests", "failures", "errors"].map(|name| number(root, name)), [6, 1, 3]);
    let suites: Vec<Node<'_, '_>> = elements(root, "testsuite").collect();
    assert_eq!(
        suites.iter().map(|suite| suite.attribute("name").unwrap()).collect::<Vec<_>>(),
        ["bind.free", "bind.held"]
    );
    for suite in suites {
        assert_eq!(suite.attribute("timestamp"), Some("2026-11-22T17:16:08.000+00:00"));
        let cases: Vec<Node<'_, '_>> = elements(suite, "testcase").collect();
        let with = |name| cases.iter().filter(|case| elements(**case, name).next().is_some()).count();
        assert_eq!(number(suite, "tests"), cases.len());
        for (attribute, element) in [("failures", "failure"), ("errors", "error"), ("skipped", "skipped")] {
            assert_eq!(number(suite, attribute), with(element), "{attribute}");
        }
    }
}

/// What Jenkins' schema does not know makes its plugin refuse the file.
#[test]
fn nothing_is_said_that_consumers_do_not_know() {
    let xml = junit(&report()).unwrap();
    let document = Document::parse(&xml).unwrap();
    for node in document.descendants().filter(Node::is_element) {
        let known: &[&str] = match node.tag_name().name() {
            "testsuites" => &["name", "time", "tests", "failures", "errors"],
            "testsuite" => &["name", "timestamp", "time", "tests", "failures", "errors", "skipped"],
            "testcase" => &["name", "time", "classname"],
            "failure" | "error" | "skipped" => &["type", "message"],
            other => panic!("<{other}>"),
        };
        for attribute in node.attributes() {
            assert!(known.contains(&attribute.name()), "{} of {}", attribute.name(), node.tag_name().name());
        }
    }
}
