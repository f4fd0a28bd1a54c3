//! The README promises nothing that is not there: its commands are understood, its links lead
//! somewhere.
//!
//! It says nothing of what the commands do; that is tested where they are run.

use std::path::Path;
use std::process::{Command, Stdio};

const README: &str = include_str!("../README.md");

/// The exit code of `circusctl` for a command line that it does not understand.
const WRONG_USAGE: i32 = 2;

/// The words of the indented lines that run `program`, without their comments.
fn command_lines(program: &str) -> Vec<Vec<&'static str>> {
    README
        .lines()
        .filter_map(|line| line.strip_prefix("    "))
        .map(|line| {
            line.split(" #")
                .next()
                .expect("even an empty line has a beginning")
        })
        .map(|line| {
            line.trim_end()
                .trim_end_matches('&')
                .split_whitespace()
                .collect::<Vec<_>>()
        })
        .filter(|words| words.first() == Some(&program))
        .collect()
}

#[test]
fn every_circusctl_line_is_understood() {
    let lines = command_lines("circusctl");
    assert!(lines.len() > 5, "the tour has gone elsewhere: {lines:?}");
    for words in lines {
        let output = Command::new(env!("CARGO_BIN_EXE_circusctl"))
            .args(&words[1..])
            // Where nobody listens: what is understood fails later, with another code.
            .env("CIRCUSD_SOCKET", "/nonexistent/circusd.sock")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .output()
            .expect("circusctl can be started");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_ne!(
            output.status.code(),
            Some(WRONG_USAGE),
            "{words:?}: {complaint}"
        );
    }
}

#[test]
fn every_link_into_the_repository_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let targets = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'));
    for (target, _) in targets {
        let exists = target.contains("://") || root.join(target).exists();
        assert!(exists, "the README links to '{target}'");
    }
}
