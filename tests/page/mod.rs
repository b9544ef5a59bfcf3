//! Documents about reports: what they say is what the reports say, and the page works in a real browser.

mod browser;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::LazyLock;

use base64::Engine;
use errnoscope::plan::{Op, Outcome};
use errnoscope::render::document::Titles;
use errnoscope::render::{html, markdown};
use errnoscope::report::claim;
use errnoscope::report::finding::{Finding, Report, Verdict};
use errnoscope::words::errno::Errno;
use errnoscope::words::names::Os;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::reports::{self, BASELINE, given, repeated};
use crate::harness::test;
use browser::Browser;

/// Of the baseline a sixth, and all that these tests name: a page of everything takes seconds to make.
fn baseline() -> &'static Report {
    static PART: LazyLock<Report> = LazyLock::new(|| {
        let mut part = reports::baseline().clone();
        let mut number = 0;
        part.findings.retain(|finding| {
            number += 1;
            let is_named = ["bind.already-bound", "connect.icmp", "connect.odd-range"].contains(&&*finding.scenario);
            is_named || finding.case == CASE || finding.verdict() != Verdict::Match || number % 6 == 0
        });
        part
    });
    &PART
}

/// As if another stack had answered: it takes over from TIME_WAIT what the first does not, and gives EAGAIN where that
/// gives EADDRNOTAVAIL. Made up, for tests alone.
fn another(report: &Report, stack: &str) -> Report {
    let mut other = report.clone();
    other.host.stack = stack.into();
    for finding in &mut other.findings {
        let is = |axis: &str, value: &str| finding.axes.get(axis).is_some_and(|own| own == value);
        if finding.scenario == "bind.port-held" && is("holder_state", "time-wait") && is("relation", "both-wildcard") {
            *finding = given(finding, Outcome::Ok);
        }
        if finding.scenario == "connect.odd-range" {
            let again = given(finding, Outcome::Errno(Errno::recorded("EAGAIN", 11)));
            *finding = repeated(&again, &[("EAGAIN", 7), ("EADDRNOTAVAIL", 3)]);
        }
    }
    other
}

struct Page {
    directory: TempDir,
    browser: Browser,
}

impl Page {
    fn of(reports: &[Report]) -> Page {
        let page = Page { directory: tempfile::tempdir().expect("a directory"), browser: Browser::new() };
        let claims = claim::embedded().expect("they are checked").claims;
        std::fs::write(page.file(), html::html(reports, &claim::judge(&claims, reports), &Titles::new()))
            .expect("written");
        page
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("report.html")
    }

    #[track_caller]
    fn open(&mut self, fragment: &str) -> &mut Browser {
        let file = self.file();
        self.browser.open(&file, fragment);
        &mut self.browser
    }

    /// Nothing in the page complained, and it asked nobody for anything.
    #[track_caller]
    fn was_quiet(mut self) {
        assert_eq!(self.browser.complaints(), Vec::<String>::new());
    }
}

/// How many findings have a quality; the page must find as many.
fn count(reports: &[Report], has: impl Fn(&Finding) -> bool) -> usize {
    reports.iter().flat_map(|report| &report.findings).filter(|finding| has(finding)).count()
}

const CASE: &str = "bind.port-held[protocol=tcp,family=ipv4,holder_state=time-wait,relation=same-specific,holder_reuse=none,claimer_reuse=addr]";

#[test(Chromium)]
fn each_filter_finds_what_the_reports_have() {
    let first = baseline().clone();
    let reports = [another(&first, "linux 9.9"), first];
    let mut page = Page::of(&reports);
    page.open("");
    let found = |page: &mut Page| {
        let all = page.browser.value("[...'findings calls cases'.split(' ')].length && Object.values(document.getElementById('status').dataset).map(Number)");
        all[0].as_u64().expect("a number") as usize
    };
    assert_eq!(found(&mut page), count(&reports, |_| true));
    let outcome = |finding: &Finding, name: &str| finding.outcome().is_some_and(|outcome| outcome.name() == name);
    let axis = |finding: &Finding, axis: &str, values: &[&str]| {
        finding.axes.get(axis).is_some_and(|own| values.contains(&&**own))
    };
    type Has<'h> = &'h dyn Fn(&Finding) -> bool;
    let filters: &[(&str, &str, Has<'_>)] = &[
        ("call", "connect", &|finding| finding.subject.call.as_str() == "connect"),
        ("port", "ephemeral", &|finding| finding.subject.port.as_str() == "ephemeral"),
        ("cause", "tuple-in-use", &|finding| finding.cause.as_str() == "tuple-in-use"),
        ("errno", "EADDRNOTAVAIL", &|finding| outcome(finding, "EADDRNOTAVAIL")),
        ("verdict", "unsupported", &|finding| finding.verdict().as_str() == "unsupported"),
        ("scenario", "connect.icmp", &|finding| finding.scenario == "connect.icmp"),
        ("with", "holder_reuse=addr,both", &|finding| axis(finding, "holder_reuse", &["addr", "both"])),
        ("with", "protocol=udp claimer_reuse=port", &|finding| {
            axis(finding, "protocol", &["udp"]) && axis(finding, "claimer_reuse", &["port"])
        }),
        ("with", "time-wait", &|finding| finding.case.contains("time-wait")),
    ];
    for (name, value, has) in filters {
        let wanted = count(&reports, has);
        assert!(wanted > 0, "{name} {value} is in the reports");
        page.browser.value(&format!(
            "{{ const form = document.getElementById('filters'); form.reset(); const field = form.elements.{name}; field.value = '{value}'; field.dispatchEvent(new Event('input', {{ bubbles: true }})); }}"
        ));
        assert_eq!(page.browser.text(&format!("document.getElementById('filters').elements.{name}.value")), *value);
        assert_eq!(found(&mut page), wanted, "{name} {value}");
        // The address says what is shown: opened again, it shows the same.
        page.open(&format!("#{name}={}", value.replace(' ', "%20")));
        assert_eq!(found(&mut page), wanted, "{name} {value}, from the address");
    }
    page.open("#system=linux%209.9&errno=EAGAIN");
    assert_eq!(found(&mut page), count(&reports[..1], |finding| outcome(finding, "EAGAIN")));
    // Systems that nobody observed have no findings, whatever is expected of them.
    page.open("#system=macos*&errno=EADDRINUSE");
    assert_eq!(found(&mut page), 0);
    assert!(page.browser.value("document.querySelectorAll('#found .expected').length").as_u64() > Some(0));
    let differ = reports[0]
        .findings
        .iter()
        .zip(&reports[1].findings)
        .filter(|(a, b)| a.outcome() != b.outcome() || a.is_unstable() != b.is_unstable())
        .count();
    page.open("#differ=yes");
    assert_eq!(found(&mut page), 2 * differ);
    page.was_quiet();
}

/// The newest version, then what is expected of systems that nobody observed; and nothing that a link asks for is
/// dropped without a word.
#[test(Chromium)]
fn stacks_that_answer_alike_share_a_column_and_what_is_unknown_is_said() {
    let first = baseline().clone();
    let reports = [another(&first, "linux 9.8"), another(&first, "linux 9.9"), first];
    let mut page = Page::of(&reports);
    page.open("#call=listen");
    let heads = |page: &mut Page| {
        page.browser
            .text("[...document.querySelectorAll('#found thead th')].map((head) => head.textContent).join(' | ')")
    };
    assert_eq!(heads(&mut page), "call | cause | linux 6.18, 9.9, 9.8 | macos*");
    page.open("#call=listen&system=macos&system=linux%209.9");
    assert_eq!(heads(&mut page), "call | cause | linux 9.9 | macos*");
    let status = |page: &mut Page| page.browser.text("document.getElementById('status').textContent");
    page.open("#call=listen&system=plan9");
    assert!(
        status(&mut page).starts_with("There is no system plan9 here: not filtered by it."),
        "{}",
        status(&mut page)
    );
    assert_eq!(heads(&mut page), "call | cause | linux 6.18, 9.9, 9.8 | macos*");
    let case = &reports[0].findings[0].case;
    page.open(&format!("#case={case}&stack=macos"));
    assert_eq!(page.browser.text("document.querySelector('[data-tab][aria-pressed=true]').textContent"), "macos*");
    page.open(&format!("#case={case}&stack=plan9"));
    assert_eq!(
        page.browser.text("document.querySelector('#case-body .note').textContent"),
        "No stack here is called plan9."
    );
    page.open("#scenario-bind.port-held");
    assert_eq!(page.browser.value("document.getElementById('scenario-bind.port-held').open").as_bool(), Some(true));
    page.was_quiet();
}

#[test(Chromium)]
fn a_cell_opens_its_trail_and_witness_and_so_does_a_link() {
    let reports = [baseline().clone()];
    let mut page = Page::of(&reports);
    let finding = reports[0].findings.iter().find(|finding| finding.case == CASE).expect("the baseline has it");
    let shows = |page: &mut Page| {
        page.browser.wait("document.getElementById('case').open");
        let text = page.browser.text("document.getElementById('case').innerText");
        let mut from = 0;
        let words = finding.trail.iter().map(|entry| entry.op.describe().0).chain([CASE.to_owned()]);
        assert!(text.contains(CASE) && text.contains("errnoscope run -v '"), "{text}");
        for op in words.take(finding.trail.len()) {
            from += text[from..].find(&op).unwrap_or_else(|| panic!("no {op} after {from} in {text}"));
        }
        for witness in finding.witness() {
            assert!(text.contains(&format!("{}: confirmed", witness.precondition.describe())), "{text}");
        }
        assert!(text.contains("tcp TIME_WAIT 127.0.0.1:20000") && text.contains("inet_csk_get_port()"), "{text}");
    };
    page.open(&format!(
        "#scenario=bind.port-held&with={}",
        CASE.split_once('[').expect("axes").1.trim_end_matches(']').replace(',', "%20")
    ));
    assert_eq!(page.browser.value("document.querySelectorAll('#found tr.call').length"), json!(1));
    page.browser.value("document.querySelector('#found button').focus()");
    page.browser.key("Enter");
    shows(&mut page);
    page.browser.picture("case-1280-light");
    let address = page.browser.text("location.hash");
    page.browser.key("Escape");
    page.browser.wait("!document.getElementById('case').open");
    assert!(page.browser.text("location.hash").starts_with("#scenario=bind.port-held"));
    for link in [format!("#case={CASE}"), format!("#{CASE}"), address] {
        page.open(&link);
        shows(&mut page);
    }
    page.open("#case=no.such[case]");
    assert_eq!(page.browser.text("document.getElementById('status').textContent"), "No case is called no.such[case].");
    assert_eq!(page.browser.value("document.getElementById('case').open"), json!(false));
    page.was_quiet();
}

#[test(Chromium)]
fn the_keyboard_is_enough() {
    let mut page = Page::of(&[baseline().clone()]);
    let browser = page.open("");
    let focus = "document.activeElement";
    browser.key("Tab");
    assert_eq!(browser.text(&format!("{focus}.className")), "skip");
    let reach = |browser: &mut Browser, wanted: &str, most: usize| {
        for _ in 0..most {
            if browser.value(&format!("{focus}.matches('{wanted}')")) == json!(true) {
                // What has the focus can be seen to have it.
                assert_eq!(browser.text(&format!("getComputedStyle({focus}).outlineStyle")), "solid", "{wanted}");
                return;
            }
            browser.key("Tab");
        }
        panic!("{wanted} was not reached");
    };
    reach(browser, "[name=with]", 1000);
    browser.write(&CASE["bind.port-held[".len()..CASE.len() - 1].replace(',', " "));
    assert_eq!(browser.value("document.querySelectorAll('#found tr.call').length"), json!(1));
    reach(browser, "#found button", 16);
    browser.key("Enter");
    browser.wait("document.getElementById('case').open && document.activeElement.id === 'case-id'");
    // The focus stays in the dialog, which can be left.
    for _ in 0..12 {
        browser.key("Tab");
        let inside = "document.activeElement === document.body || document.getElementById('case').contains(document.activeElement)";
        assert_eq!(browser.value(inside), json!(true));
    }
    browser.key("Escape");
    browser.wait("!document.getElementById('case').open");
    assert_eq!(browser.value(&format!("{focus}.matches('#found button')")), json!(true), "the focus is back");
    page.was_quiet();
}

/// The contrast of every text with what is behind it (WCAG 2.2, 1.4.3), the worst first.
const CONTRAST: &str = r"
(() => {
  const luminance = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4).reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
  const colour = text => text.match(/[\d.]+/g).map(Number);
  const behind = element => { for (; element; element = element.parentElement) { const c = colour(getComputedStyle(element).backgroundColor); if (c[3] !== 0) return c; } return [255, 255, 255]; };
  const worst = new Map();
  for (const element of document.querySelectorAll('body *')) {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.data.trim())) continue;
    if (!element.checkVisibility() || element.closest('script, tr.again > th')) continue;
    const style = getComputedStyle(element);
    const [a, b] = [luminance(colour(element.ownerSVGElement ? style.fill : style.color)), luminance(behind(element))].sort((a, b) => b - a);
    const ratio = (a + .05) / (b + .05), name = `${element.localName}.${element.getAttribute('class')}`;
    if (!(worst.get(name) <= ratio)) worst.set(name, ratio);
  }
  return [...worst].sort((a, b) => a[1] - b[1]);
})()";

#[test(Chromium)]
fn it_fits_a_phone_and_can_be_read_by_day_and_by_night() {
    let first = baseline().clone();
    let reports = [another(&first, "linux 9.9"), first];
    let mut page = Page::of(&reports);
    let mut papers = Vec::new();
    for (width, scheme) in [(1280, "light"), (1280, "dark"), (380, "light"), (380, "dark")] {
        page.browser.view(width, 900, scheme);
        let browser = page.open("");
        papers.push(browser.text("getComputedStyle(document.body).backgroundColor"));
        let fits = |browser: &mut Browser, what: &str| {
            let wide = browser.value("document.documentElement.scrollWidth - document.documentElement.clientWidth");
            assert_eq!(wide, json!(0), "{what} at {width}");
        };
        browser.picture(&format!("top-{width}-{scheme}"));
        for section in ["answer", "explore", "claims", "costs", "scenarios"] {
            browser.value(&format!("document.getElementById('{section}').scrollIntoView()"));
            browser.picture(&format!("{section}-{width}-{scheme}"));
        }
        browser.value("document.querySelectorAll('details').forEach(details => details.open = true)");
        browser.value("document.getElementById('scenario-bind.port-held').scrollIntoView()");
        browser.picture(&format!("grid-{width}-{scheme}"));
        fits(browser, "everything open");
        let contrasts = browser.value(CONTRAST);
        assert!(contrasts.as_array().is_some_and(|all| all.len() > 30), "{contrasts}");
        assert!(contrasts[0][1].as_f64() >= Some(4.5), "{scheme}: {contrasts}");
        let browser = page.open(&format!("#case={CASE}"));
        browser.wait("document.getElementById('case').open");
        browser.picture(&format!("case-{width}-{scheme}"));
        fits(browser, "a case");
        let inside =
            browser.value("document.getElementById('case').scrollWidth - document.getElementById('case').clientWidth");
        assert_eq!(inside, json!(0), "inside a case at {width}");
        let contrasts = browser.value(CONTRAST);
        assert!(contrasts[0][1].as_f64() >= Some(4.5), "{scheme}, a case: {contrasts}");
    }
    assert_eq!(papers[0], papers[2]);
    assert_ne!(papers[0], papers[1]);
    page.was_quiet();
}

#[test(Chromium)]
fn what_a_report_says_stays_text() {
    const EVIL: &str = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'`|]]>&amp;";
    let mut report = baseline().clone();
    report.findings.truncate(40);
    report.host.stack = EVIL.into();
    report.host.release = EVIL.into();
    report.tool.name = EVIL.into();
    for (number, finding) in report.findings.iter_mut().enumerate() {
        finding.scenario = EVIL.into();
        finding.case = format!("{EVIL}[{number}]").into();
        finding.axes.insert(EVIL.into(), format!("{EVIL}{number}").into());
        *finding = given(finding, Outcome::Errno(Errno::recorded(EVIL, 1)));
        for entry in &mut finding.trail {
            std::sync::Arc::make_mut(entry).op = Op::Nft { ruleset: EVIL.to_owned() };
        }
    }
    let text = markdown::markdown(std::slice::from_ref(&report), &[], &Titles::new(), markdown::Extent::Whole);
    assert!(
        text.contains("&lt;img")
            && !text.lines().any(|line| line.split('`').step_by(2).any(|part| part.contains("<img")))
    );
    let mut page = Page::of(&[report]);
    let browser = page.open("");
    assert_eq!(browser.value("document.scripts.length"), json!(3));
    assert_eq!(browser.value("document.images.length"), json!(0));
    browser.value("document.querySelector('#found button').focus()");
    browser.key("Enter");
    browser.wait("document.getElementById('case').open");
    assert!(browser.text("document.getElementById('case').innerText").contains(EVIL));
    assert_eq!(browser.text("document.querySelector('#found .id b').textContent"), EVIL);
    assert_eq!(browser.value("document.images.length + document.scripts.length"), json!(3));
    // And its own answers are found through its links.
    browser.key("Escape");
    browser.wait("!document.getElementById('case').open");
    browser.value("(document.querySelector('.scenario').open = true, document.querySelector('.grid a').focus())");
    browser.key("Enter");
    browser.wait("location.hash.startsWith('#scenario=') && document.activeElement.id === 'status'");
    assert_ne!(browser.value("document.getElementById('status').dataset.findings"), json!("0"));
    page.was_quiet();
}

/// Findings by stack, verdict and outcome.
type Counts = BTreeMap<(String, String, String), u64>;

fn counted(reports: &[Report]) -> Counts {
    let mut counts = Counts::new();
    for report in reports {
        for finding in &report.findings {
            let outcome = finding.outcome().map_or("", Outcome::name).to_owned();
            *counts.entry((report.host.stack.to_string(), finding.verdict().to_string(), outcome)).or_default() += 1;
        }
    }
    counts
}

#[test]
fn no_document_invents_or_drops_a_finding() {
    let first = baseline().clone();
    let mut few = another(&first, "linux 9.9");
    few.findings.retain(|finding| finding.scenario.starts_with("bind."));
    let mut again = few.findings[0].clone();
    again.subject.ordinal += 1;
    few.findings.push(again);
    let reports = [first, few];
    let wanted = counted(&reports);

    let text = markdown::markdown(&reports, &[], &Titles::new(), markdown::Extent::Whole);
    let table = text.split("## All findings, counted").nth(1).and_then(|rest| rest.split("\n## ").next());
    let table = table.expect("the counts");
    let rows = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    let rows: Vec<Vec<&str>> = rows.collect();
    let mut found = Counts::new();
    for row in &rows[1..] {
        for (stack, count) in rows[0][2..].iter().zip(&row[2..]).filter(|(_, count)| **count != "0") {
            found.insert(((*stack).to_owned(), row[0].to_owned(), row[1].to_owned()), count.parse().expect("a number"));
        }
    }
    assert_eq!(found, wanted);

    // What the page's script works on.
    let page = html::html(&reports, &[], &Titles::new());
    let data = page.split("id=\"index\">").nth(1).and_then(|rest| rest.split('<').next()).expect("the data");
    let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("base64");
    let mut text = String::new();
    GzDecoder::new(&*bytes).read_to_string(&mut text).expect("gzip");
    let index: Value = serde_json::from_str(&text).expect("JSON");
    let mut found = Counts::new();
    for (stack, given) in
        index["stacks"].as_array().expect("stacks").iter().zip(index["given"].as_array().expect("answers"))
    {
        for answer in given
            .as_array()
            .expect("numbers")
            .iter()
            .filter_map(Value::as_u64)
            .filter(|_| stack["observed"] == json!(true))
        {
            let answer = &index["answers"][answer as usize];
            let outcome = answer["outcomes"][0].as_str().unwrap_or_default();
            let key = (&stack["label"], &answer["verdict"], outcome);
            *found
                .entry((
                    key.0.as_str().expect("text").to_owned(),
                    key.1.as_str().expect("text").to_owned(),
                    outcome.to_owned(),
                ))
                .or_default() += 1;
        }
    }
    assert_eq!(found, wanted);

    // And each table stands for all calls of its scenario: what they say is checked where they are made.
    assert!(text.len() < 10 << 20);
}

#[test]
fn what_was_only_expected_is_never_shown_as_observed() {
    let report = baseline().clone();
    let text = markdown::markdown(std::slice::from_ref(&report), &[], &Titles::new(), markdown::Extent::Whole);
    let expected = report.findings.iter().filter(|finding| finding.elsewhere.contains_key(&Os::Macos)).count();
    assert!(expected > 1000 && text.contains("**macos was not observed.**"));
    for row in text.lines().filter(|line| line.starts_with('|') && line.contains(" macos\\* |")) {
        assert!(row.contains("linux 6.18") || row.starts_with("| verdict"), "{row}");
    }
    let table =
        text.split("## bind.already-bound").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("the scenario");
    assert!(table.contains("| *EINVAL*\\* |") && !table.contains("| macos |"), "{table}");
}

/// Says how long it takes, for people who want pictures; the only thing that must hold is that the page stays small.
#[test(Chromium)]
fn eight_stacks_make_no_large_page() {
    let first = baseline().clone();
    let reports: Vec<Report> = (0..8)
        .map(|number| {
            let mut report = another(&first, &format!("linux {number}.0"));
            for finding in &mut report.findings {
                for entry in &mut finding.trail {
                    let entry = std::sync::Arc::make_mut(entry);
                    entry.micros = (entry.micros * (1.0 + f64::from(number) / 7.0) * 10.0).round() / 10.0;
                }
            }
            report
        })
        .collect();
    let mut page = Page::of(&reports);
    let size = std::fs::metadata(page.file()).expect("the page").len();
    let browser = page.open("");
    let elements = browser.value("document.querySelectorAll('*').length");
    let times = browser.value(
        "(() => { const form = document.getElementById('filters'), times = [];
          for (const [name, value] of [['call', 'connect'], ['errno', 'EADDRNOTAVAIL'], ['with', 'holder_reuse=addr'], ['with', '']]) {
            const start = performance.now(); form.elements[name].value = value;
            form.dispatchEvent(new Event('input')); document.body.offsetHeight; times.push(Math.round(performance.now() - start));
          }
          const loaded = performance.getEntriesByType('navigation')[0];
          return [Math.round(loaded.domContentLoadedEventEnd), times]; })()",
    );
    let case = browser.value(&format!(
        "(async () => {{ const start = performance.now(); location.hash = 'case={CASE}'; const dialog = document.getElementById('case');
          while (!dialog.open) await new Promise(done => setTimeout(done)); return Math.round(performance.now() - start); }})()"
    ));
    if browser.picture("eight-stacks") {
        println!("{size} bytes, {elements} elements; ms to load and to filter: {times}; to the first case: {case}");
    }
    assert!(elements.as_u64() < Some(40_000), "{elements}");
    assert!(size < 8 << 20, "{size}");
    page.was_quiet();
}

#[test]
fn pages_and_markdown_are_written_to_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("UTF-8").to_owned();
    let run = |arguments: &[&str]| {
        let all = ["report", BASELINE].iter().chain(arguments);
        std::process::Command::new(env!("CARGO_BIN_EXE_errnoscope")).args(all).output().expect("it runs")
    };
    let both = run(&["--markdown", &path("a.md"), "--html", &path("a.html")]);
    assert!(both.status.success() && both.stdout.is_empty(), "{both:?}");
    let text = std::fs::read_to_string(path("a.md")).expect("written");
    assert_eq!(String::from_utf8_lossy(&run(&[]).stdout), text);
    let page = std::fs::read_to_string(path("a.html")).expect("written");
    assert!(page.starts_with("<!doctype html>") && page.contains("<noscript>") && page.ends_with("</html>"));
    assert!(run(&["--html", "-"]).stdout == page.as_bytes());
    let neither = run(&["--html", "-", "--markdown", "-"]);
    assert_eq!(neither.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&neither.stderr).contains("cannot both go to standard output"), "{neither:?}");
}
