//! `errnoscope shell`: its prompt, beside what the user's own files say.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::common::PROGRAM;
use crate::harness::{needs, rstest, test};

needs!(Namespaces, Script);

/// What a shell says on a terminal of its own, script(1)'s, to a user with these files.
fn session(shell: &Path, home: &Path, input: &str) -> String {
    let command = format!("{PROGRAM} shell -c ports-exhausted,range=40000-40001");
    let mut child = Command::new("script")
        .args(["-qec", &command, "/dev/null"])
        .env("SHELL", shell)
        .env("HOME", home)
        .env("TMPDIR", home)
        .env("TERM", "dumb")
        .env_remove("ZDOTDIR")
        .env_remove("XDG_CONFIG_HOME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    said
}

#[rstest(Bash)]
#[case::bash("bash", ".bashrc", "PS1='mine> '\nOWN=read\n", "mine> ")]
#[case::sh("sh", ".nothing", "", "$ ")]
fn a_prompt_says_where_it_is_and_then_what_it_would(
    #[case] shell: &str,
    #[case] file: &str,
    #[case] text: &str,
    #[case] prompt: &str,
) {
    check(shell, file, text, prompt);
}

#[rstest(Zsh)]
#[case::plain("PROMPT='mine> '\nOWN=read\n")]
#[case::with_a_theme("precmd() { PROMPT='mine> ' }\nOWN=read\n")]
fn so_does_that_of_zsh(#[case] text: &str) {
    check("zsh", ".zshrc", text, "mine> ");
}

#[test(Fish)]
fn so_does_that_of_fish() {
    let text = "function fish_prompt; echo -n 'mine> '; end\nset OWN read\n";
    check("fish", ".config/fish/config.fish", text, "mine> ");
}

#[track_caller]
fn check(shell: &str, file: &str, text: &str, prompt: &str) {
    let path = Path::new("/usr/bin").join(shell);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(file);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, text).unwrap();
    let said = session(&path, home.path(), "echo \"$OWN=$ERRNOSCOPE=$ZDOTDIR=\"\nls -A $HOME\nexit 3\n");
    let line = format!("(errnoscope ports-exhausted,range=40000-40001) {prompt}");
    let own = if text.is_empty() { "" } else { "read" };
    assert!(said.matches(&line).count() >= 2, "{said}");
    assert!(!said.contains("40001) (errnoscope"), "{said}");
    assert!(said.contains(&format!("{own}=ports-exhausted,range=40000-40001==")), "{said}");
    assert!(!said.contains("errnoscope-"), "nothing is left behind: {said}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

/// SIGKILL at any moment would leave what has a name.
#[test]
fn what_zsh_begins_with_has_no_name() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["shell", "--with", "echo left: $(ls -A \"$TMPDIR\").; exit 1"])
        .env("SHELL", "/bin/zsh")
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("left: ."), "{said}");
}
