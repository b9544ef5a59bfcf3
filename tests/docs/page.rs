//! A Markdown page as its test sees it: blocks of code, and what comments before them say about running them.

use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};

/// Why a command of a page is not run by its test. What stands in no list is run.
const REASONS: [&str; 9] = [
    "it builds, and ci/bare.sh runs it",
    "it installs programs",
    "it takes minutes",
    "there can be one such run at a time on a host",
    "it needs a Mac",
    "it needs another host",
    "it needs a service that runs CI",
    "it needs programs that the tests do not install",
    "it goes out to the internet",
];

#[derive(Default, Debug)]
pub struct Block {
    pub language: String,
    /// Where its content stands.
    pub range: Range<usize>,
    pub text: String,
    pub is_run: bool,
    /// Exit codes of its commands; those that are missing are 0.
    pub codes: Vec<i32>,
    /// Another run gives other numbers, and lines break elsewhere.
    pub numbers_vary: bool,
    /// What nobody has to read first.
    pub before: Vec<String>,
    /// The block is the content of this file.
    pub file: Option<String>,
}

pub struct Page {
    pub blocks: Vec<Block>,
    /// `errnoscope list`, for example, in a sentence.
    pub spans: Vec<String>,
}

/// `<!-- test: … -->` directly before a block.
fn directive(block: &mut Block, said: &str) -> Result<(), String> {
    let (word, rest) = said.split_once(": ").unwrap_or((said, ""));
    match word {
        "not run" if REASONS.contains(&rest) => block.is_run = false,
        "not run" => return Err(format!("`{rest}` is no reason that the test knows")),
        "exit codes" => {
            let codes = rest.split(' ').map(str::parse).collect::<Result<_, _>>();
            block.codes = codes.map_err(|error| format!("exit codes: {error}"))?;
        }
        "numbers vary" => block.numbers_vary = true,
        "before" => block.before.push(rest.to_owned()),
        "file" => block.file = Some(rest.to_owned()),
        _ => return Err(format!("`{said}`")),
    }
    Ok(())
}

pub fn read(text: &str) -> Result<Page, String> {
    let mut page = Page { blocks: Vec::new(), spans: Vec::new() };
    let new = || Block { is_run: true, ..Block::default() };
    let (mut next, mut is_said, mut inside) = (new(), false, false);
    for (event, range) in Parser::new(text).into_offset_iter() {
        let line = text[..range.start].lines().count() + 1;
        match event {
            Event::Html(html) if html.starts_with("<!-- test: ") => {
                let said = html.trim().strip_prefix("<!-- test: ").and_then(|said| said.strip_suffix(" -->"));
                let said = said.ok_or(format!("line {line}: a comment of one line"))?;
                directive(&mut next, said).map_err(|why| format!("line {line}: {why}"))?;
                is_said = true;
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Indented)) => {
                return Err(format!("line {line}: an indented block has no language: fence it"));
            }
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(language))) => {
                next.language = language.to_string();
                next.range = range.end..range.start;
                inside = true;
            }
            Event::Text(piece) if inside => {
                next.text.push_str(&piece);
                next.range = next.range.start.min(range.start)..next.range.end.max(range.end);
            }
            Event::End(TagEnd::CodeBlock) => {
                page.blocks.push(std::mem::replace(&mut next, new()));
                (is_said, inside) = (false, false);
            }
            Event::Start(Tag::HtmlBlock) | Event::End(TagEnd::HtmlBlock) => {}
            _ if is_said => return Err(format!("line {line}: a comment about a block, and none follows")),
            Event::Code(span) => page.spans.push(span.to_string()),
            _ => {}
        }
    }
    Ok(page)
}

/// A command of a session, `$ command`, and what follows it.
pub struct Step {
    pub command: String,
    pub expected: String,
    /// Where that stands in the page.
    pub range: Range<usize>,
}

impl Block {
    pub fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut at = self.range.start;
        let mut continued = false;
        for line in self.text.split_inclusive('\n') {
            let next = at + line.len();
            let command = line.strip_prefix("$ ").or(continued.then_some(line));
            match (command, steps.last_mut()) {
                (Some(command), Some(step)) if continued => step.command.push_str(command),
                (Some(command), _) => {
                    steps.push(Step { command: command.to_owned(), expected: String::new(), range: next..next })
                }
                (None, Some(step)) => step.expected.push_str(line),
                (None, None) => panic!("a session begins with `$ `, not with {line}"),
            }
            let step = steps.last_mut().expect("the first line is a command");
            continued = command.is_some() && line.ends_with("\\\n");
            step.range = if command.is_some() { next..next } else { step.range.start..next };
            at = next;
        }
        steps
    }
}
