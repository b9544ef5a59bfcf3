//! `errnoscope report`: makes one document of reports from any machine.
//!
//! It reads and writes files; `render` writes the text.

use std::io::Write;
use std::path::PathBuf;

use super::filter::{self, Filter};
use super::output::{self, Destination, Writing};
use super::{Exit, Failure, github, source};
use crate::render::github as annotations;
use crate::render::html::html;
use crate::render::markdown::{Extent, markdown};
use crate::report::claim;
use crate::report::finding::Report;
use crate::words::release::version;

#[derive(clap::Args)]
#[command(after_long_help = "\
Examples:
  errnoscope run --json report.json; errnoscope report report.json -o REPORT.md
  errnoscope report linux.json.gz other.json --html report.html
  errnoscope report ci/baselines/*.json.gz --markdown REPORT.md --html report.html
  errnoscope report report.json bind.port-held -x holder_state=time-wait   only one question

Several reports become one document, which has their stacks beside each other, by system and version. The page is one file that needs no network: \
it filters, and opens each case with its trail and its witnesses.

Environment:
  GITHUB_STEP_SUMMARY  the file to which --github appends a summary; GitHub sets it")]
pub struct Arguments {
    /// Reports, as `run --json` writes them, and ids of scenarios and cases if not all of their findings are wanted;
    /// `*` and `?` are wildcards
    #[arg(value_names = ["FILE", "ID"], required = true, num_args = 1..)]
    arguments: Vec<PathBuf>,

    #[command(flatten)]
    filter: Filter,

    /// Write Markdown to this file; without it, --html and --github, to standard output
    #[arg(short = 'o', long, visible_alias = "output", value_name = "OUT")]
    markdown: Option<PathBuf>,

    /// Leave the tables of each scenario out of the Markdown: the answers stay
    #[arg(long)]
    brief: bool,

    /// Write a page for browsers to this file; `-` is standard output
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,

    /// A job summary for GitHub Actions: first what is not as expected
    #[arg(long)]
    github: bool,
}

impl Arguments {
    /// Whether standard error is read for commands.
    pub fn is_for_github(&self) -> bool {
        self.github
    }
}

pub fn report(arguments: &Arguments, out: &mut dyn Write) -> Result<Exit, Failure> {
    let claims = claim::embedded().map_err(|problem| Failure::Claims(vec![problem]))?.claims;
    let destination = |path: &Option<PathBuf>| path.as_deref().map(Destination::new).transpose();
    let page = destination(&arguments.html)?;
    let text =
        destination(&arguments.markdown)?.or((page.is_none() && !arguments.github).then_some(Destination::Stdout));
    if [&page, &text].into_iter().flatten().filter(|destination| destination.is_stdout()).count() > 1 {
        return Err(Failure::bad("Markdown and a page cannot both go to standard output"));
    }
    let (files, ids) = filter::sort(&arguments.arguments)?;
    let mut reports = source::reports(&files)?;
    arguments.filter.apply(&ids, &mut reports)?;
    // A shell's wildcards know nothing of versions; reports of one version stay in the order in which they were named.
    // Others are held against the OS's own stack, which comes first.
    let place = |report: &Report| {
        (report.host.os, !report.host.is_own(), report.host.family().to_owned(), version(&report.host.release))
    };
    reports.sort_by_cached_key(place);
    if arguments.github {
        github::sum_up(|room| annotations::report_summary(&reports, room))?;
    }
    let judged = claim::judge(&claims, &reports);
    let catalogue = source::embedded()?;
    let titles =
        catalogue.scenarios.iter().map(|scenario| (scenario.id.to_string(), scenario.claim.to_string())).collect();
    let extent = if arguments.brief { Extent::Brief } else { Extent::Whole };
    let as_text = |out: &mut dyn Write| out.write_all(markdown(&reports, &judged, &titles, extent).as_bytes());
    let as_page = |out: &mut dyn Write| out.write_all(html(&reports, &judged, &titles).as_bytes());
    let text = text.iter().map(|to| Writing { to, content: &as_text });
    let page = page.iter().map(|to| Writing { to, content: &as_page });
    output::write_all(&text.chain(page).collect::<Vec<_>>(), None, out)?;
    Ok(Exit::Success)
}
