//! Compares what is generated with what is in the repository; with `CIRCUSD_BLESS=1` in the
//! environment, writes it there.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use clap_complete::Shell;

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
            crate::skip::skip(format!("{name} is not checked, there is no {program} here"));
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

/// What `program` offers behind `circusctl stop w` when `script` is run after the completions; the
/// daemon that is asked has the watchers `web` and `worker`.
fn offered(program: &str, shell: Shell, script: &str) -> Option<Vec<String>> {
    let directory = tempfile::tempdir().unwrap();
    let circusctl = directory.path().join("circusctl");
    fs::write(&circusctl, "#!/bin/sh\necho web\necho worker\n").unwrap();
    fs::set_permissions(&circusctl, Permissions::from_mode(0o755)).unwrap();
    let mut path = OsString::from(directory.path());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let script = format!("{}\n{script}", completions(shell));
    let mut command = Command::new(program);
    command
        .args(["-c", &script])
        .env("PATH", path)
        .env("HOME", directory.path());
    match command.stdin(Stdio::null()).output() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            crate::skip::skip(format!("there is no {program} here"));
            None
        }
        output => {
            let output = String::from_utf8(output.unwrap().stdout).unwrap();
            Some(output.split_whitespace().map(str::to_owned).collect())
        }
    }
}

#[test]
fn the_completions_offer_the_names_of_watchers() {
    let bash = "COMP_WORDS=(circusctl stop w); COMP_CWORD=2; _circusctl circusctl w stop; \
                echo \"${COMPREPLY[@]}\"";
    if let Some(offered) = offered("bash", Shell::Bash, bash) {
        assert_eq!(offered, ["web", "worker"]);
    }
    if let Some(offered) = offered("fish", Shell::Fish, "complete -C 'circusctl stop w'") {
        assert_eq!(offered, ["web", "worker"]);
    }
    let zsh = completions(Shell::Zsh);
    for arg in [
        &commands::find("stop").unwrap().args[0],
        &commands::find("incr").unwrap().args[0],
    ] {
        assert!(
            zsh.contains(&format!("{}:_circusctl_watchers' \\\n", arg.help)),
            "{}",
            arg.help
        );
    }
}
