//! The picture of README: what a terminal of 80 columns shows of a real run, colours included.

use std::iter::Peekable;
use std::str::Chars;

use super::{Place, output, root};
use crate::common::golden::matches_file;
use crate::harness::test;

const PICTURE: &str = "docs/pictures/run.svg";

const COMMAND: &str = "errnoscope run -v 'bind.ports-exhausted[protocol=tcp,family=ipv4,reuse=none,fill=bind,\
relation=same-specific,range=narrow,autobind_reuse=0]'";

const COLUMNS: usize = 80;

/// Breaks lines as a terminal does; what only colours takes no column.
fn broken(text: &str) -> String {
    let escape = |chars: &mut Peekable<Chars<'_>>| {
        let mut escape = String::new();
        while let Some(next) = chars.next_if(|next| !next.is_ascii_alphabetic()) {
            escape.push(next);
        }
        escape.extend(chars.next());
        escape
    };
    let (mut broken, mut column) = (String::new(), 0);
    let mut chars = text.chars().peekable();
    while let Some(next) = chars.next() {
        match next {
            '\x1b' => broken.push_str(&format!("\x1b{}", escape(&mut chars))),
            '\n' => {
                broken.push('\n');
                column = 0;
            }
            _ => {
                if column == COLUMNS {
                    broken.push('\n');
                    column = 0;
                }
                broken.push(next);
                column += 1;
            }
        }
    }
    broken
}

#[test(Namespaces)]
fn what_readme_shows_is_what_a_terminal_shows() {
    let (said, code) = Place::new().run(&format!("export CLICOLOR_FORCE=1\n{COMMAND}"));
    assert_eq!(code, Some(0), "{said}");
    let session = broken(&format!("\x1b[1m$ {COMMAND}\x1b[0m\n{said}"));
    let svg = anstyle_svg::Term::new().render_svg(&session);
    let shown = std::fs::read_to_string(root().join(PICTURE)).unwrap_or_default();
    // Durations are others each time, and so is nothing else.
    matches_file(PICTURE, &output::renewed(&shown, &svg, true));
}

/// `ci/pictures.sh` makes them.
#[test]
fn the_pictures_of_the_page_are_as_wide_as_their_names_say() {
    for width in [1280, 380] {
        for scheme in ["light", "dark"] {
            let name = format!("docs/pictures/page-{width}-{scheme}.png");
            let picture = std::fs::read(root().join(&name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            // A PNG begins with 16 bytes that lead to its width.
            assert_eq!(picture[..8], *b"\x89PNG\r\n\x1a\n", "{name}");
            assert_eq!(picture[16..20], u32::to_be_bytes(width), "{name}");
        }
    }
}
