//! Compares what is generated with what is in the repository; with `CIRCUSD_BLESS=1` in the
//! environment, writes it there.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::*;
use crate::cli::commands;

fn check(path: &str, generated: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("CIRCUSD_BLESS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, generated).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let differs = kept
        .lines()
        .zip(generated.lines())
        .position(|(kept, made)| kept != made);
    assert!(
        kept == generated,
        "{path} is out of date, first in line {:?}; run the tests with CIRCUSD_BLESS=1 to write it",
        differs.map(|line| line + 1),
    );
}

#[test]
fn the_manual_page_is_up_to_date() {
    check("man/circusctl.1", &manual());
}

#[test]
fn the_completions_are_up_to_date() {
    check(
        "packaging/completions/circusctl.bash",
        &completions(Shell::Bash),
    );
    check("packaging/completions/_circusctl", &completions(Shell::Zsh));
    check(
        "packaging/completions/circusctl.fish",
        &completions(Shell::Fish),
    );
}

#[test]
fn the_manual_page_has_every_command_and_every_argument() {
    let page = manual()
        .replace('\n', " ")
        .replace("\\-", "-")
        .replace("\\fB", "")
        .replace("\\fR", "");
    for row in commands::all() {
        assert!(page.contains(&format!("{}.", row.about)), "{}", row.name);
        for arg in row.args {
            assert!(
                page.contains(&format!("{}.", arg.help)),
                "{} {}",
                row.name,
                arg.name
            );
        }
    }
}

/// What `program` makes of a file with the generated `text`; what this machine lacks is skipped,
/// aloud.
fn run(program: &str, args: &[&str], name: &str, text: &str) -> Option<Output> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join(name);
    fs::write(&file, text).unwrap();
    let mut command = Command::new(program);
    command
        .args(args)
        .arg(&file)
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
    match command.output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            crate::skip::skip(format_args!(
                "{name} is not checked, there is no {program} here"
            ));
            None
        }
        output => Some(output.unwrap()),
    }
}

#[test]
fn the_manual_page_has_no_faults() {
    if let Some(found) = run(
        "mandoc",
        &["-T", "lint", "-W", "style"],
        "circusctl.1",
        &manual(),
    ) {
        assert!(
            found.status.success(),
            "{}",
            String::from_utf8_lossy(&found.stdout)
        );
    }
}

#[test]
fn man_formats_the_manual_page_without_a_warning() {
    if let Some(formatted) = run("man", &["--warnings", "-l"], "circusctl.1", &manual()) {
        let warnings = String::from_utf8_lossy(&formatted.stderr);
        assert!(
            formatted.status.success() && warnings.is_empty(),
            "{warnings}"
        );
        let page = String::from_utf8_lossy(&formatted.stdout);
        assert!(page.contains("numwatchers"), "{page}");
    }
}

#[test]
fn the_completions_are_read_by_their_shells() {
    for (shell, program, name) in [
        (Shell::Bash, "bash", "circusctl.bash"),
        (Shell::Zsh, "zsh", "_circusctl"),
        (Shell::Fish, "fish", "circusctl.fish"),
    ] {
        if let Some(read) = run(program, &["-n"], name, &completions(shell)) {
            let said = String::from_utf8_lossy(&read.stderr);
            assert!(
                read.status.success() && said.is_empty(),
                "{program}: {said}"
            );
        }
    }
}
