//! What the manual shows as an example is what happens: its transcripts are replayed, its programs
//! run, its configurations read.
//!
//! Replayed with the real daemon, where pids, times and cursors are others each time. That the pages
//! tell of everything there is, `tests/pages` looks at.

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use circusd::server::ExitCode;
use common::facts::pids;
use common::{DEADLINE, Daemon, Home, eventually, output, skip};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Deserializer, Value, json};

/// What the pages take for granted: a watcher that needs nothing.
fn pool(processes: u32) -> Daemon {
    let config = format!(
        "[watcher.web]\ncmd = ['sleep', '1000']\nnumprocesses = {processes}\nbackoff = false\n"
    );
    let daemon = Daemon::start(&config);
    daemon.wait_until("web", |web| web["state"] == "active");
    daemon
}

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("man").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of the section with this heading.
fn section(page: &str, heading: &str) -> String {
    let begin = format!(".SH {heading}\n");
    let (_, rest) = page.split_once(&begin).expect("the page has the section");
    let (section, _) = rest.split_once("\n.SH ").unwrap_or((rest, ""));
    section.to_owned()
}

/// What a reader sees of the examples of a page, each as it is displayed.
fn examples(name: &str) -> Vec<String> {
    let section = section(&page(name), "EXAMPLES");
    let blocks = section.split(".EX\n").skip(1);
    let shown = |block: &str| {
        let (block, _) = block.split_once("\n.EE").expect("every example ends");
        block
            .replace("\\(aq", "'")
            .replace("\\-", "-")
            .replace("\\e", "\\")
    };
    blocks.map(shown).collect()
}

/// The only example of a page that begins like this.
fn example(name: &str, beginning: &str) -> String {
    let mut found = examples(name);
    found.retain(|example| example.starts_with(beginning));
    assert_eq!(found.len(), 1, "{name}, {beginning}: {found:#?}");
    found.remove(0)
}

/// What is typed behind the `$`, with lines that go on, and what is shown for it.
fn session(example: &str) -> (String, String) {
    let typed = example.strip_prefix("$ ").expect("a prompt");
    let mut lines = typed.lines();
    let mut command = String::new();
    for line in lines.by_ref() {
        command.push_str(line);
        command.push('\n');
        if !line.ends_with('\\') {
            break;
        }
    }
    (command, lines.collect::<Vec<_>>().join("\n"))
}

/// The documents in a text, wherever its lines are broken.
fn documents(text: &str) -> Vec<Value> {
    let documents = Deserializer::from_str(text).into_iter();
    let documents = documents.collect::<Result<_, _>>();
    documents.unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Members that are others each time: only their form is what the page says.
fn is_of_the_day(member: &str) -> bool {
    let of_the_day = ["cursor", "seq", "pid", "process_pid"];
    let pids = ["started", "stopped", "kept"];
    member.ends_with("_usec") || of_the_day.contains(&member) || pids.contains(&member)
}

/// The same members in both, and in them the same, or the same in form if they are of the day.
fn alike(shown: &Value, found: &Value, of_the_day: bool) -> bool {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            shown.keys().eq(found.keys())
                && shown.iter().all(|(name, value)| {
                    alike(value, &found[name], of_the_day || is_of_the_day(name))
                })
        }
        (Value::Array(shown), Value::Array(found)) => {
            let mut both = shown.iter().zip(found);
            shown.len() == found.len() && both.all(|(shown, found)| alike(shown, found, of_the_day))
        }
        (Value::Number(_), Value::Number(_)) | (Value::String(_), Value::String(_))
            if of_the_day =>
        {
            true
        }
        (shown, found) => shown == found,
    }
}

fn compare(shown: &Value, found: &Value) {
    assert!(
        alike(shown, found, false),
        "the page shows:\n{shown}\nbut this is:\n{found}"
    );
}

/// A shell that finds the programs of the examples.
fn shell(daemon: &Daemon, command: &str) -> Command {
    let ctl = Path::new(env!("CARGO_BIN_EXE_circusctl")).parent();
    let ours = ctl.expect("a program is in a directory");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent();
    let tools = target
        .expect("cargo's target directory holds it")
        .join("test-tools");
    let path = std::env::var("PATH").expect("there is one, and it is text");
    let mut shell = daemon.home().program("/bin/sh");
    shell
        .args(["-c", command])
        .env("SOCKET", daemon.home().socket())
        .env(
            "PATH",
            format!("{}:{}:{path}", ours.display(), tools.display()),
        );
    shell
}

/// A program of an example that goes on until the test has seen enough.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// Starts it, and returns when it hears of events.
    fn start(daemon: &Daemon, mut command: Command) -> Self {
        // The harness itself has listened, and has just hung up.
        wait_for_subscribers(daemon, 0);
        command.stdout(Stdio::piped());
        let mut child = command.spawn().expect("a shell can be started");
        let stdout = BufReader::new(child.stdout.take().expect("it is a pipe"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            // The receiver has gone when enough was seen.
            let _ = stdout
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line));
        });
        wait_for_subscribers(daemon, 1);
        Self { child, lines }
    }

    /// Its next line, which is to be this one.
    fn next(&self, shown: &str) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        line.unwrap_or_else(|error| panic!("{error}, but the page shows:\n{shown}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended, which was told then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_subscribers(daemon: &Daemon, count: u32) {
    eventually(&format!("{count} subscribers"), || {
        let stats = daemon.call("DaemonStats", json!({})).ok()?;
        (stats["stats"]["subscribers"] == count).then_some(())
    });
}

/// From outside: circusd does not know who it was.
fn kill_a_worker(daemon: &Daemon) -> u64 {
    let pid = pids(&daemon.status("web")).pop_first().expect("it runs");
    let raw = Pid::from_raw(i32::try_from(pid).expect("a pid"));
    kill(raw, Signal::SIGKILL).expect("it is there");
    pid
}

#[test]
fn messages_by_hand_are_answered_as_io_circusd_7_shows() {
    let daemon = pool(2);
    let mut connection = daemon.connect();
    let shown = documents(&example("io.circusd.7", "{\"method\""));
    assert!(shown.len() > 4, "{shown:#?}");
    for message in shown {
        if message.get("method").is_some() {
            connection.send(&message);
            continue;
        }
        let reply = connection.receive().expect("it answers");
        compare(&message, &reply);
    }
}

#[test]
fn varlinkctl_does_what_io_circusd_7_shows() {
    let daemon = pool(3);
    let (command, shown) = session(&example("io.circusd.7", "$ varlinkctl"));
    let there = shell(&daemon, "varlinkctl --version");
    if !output(there).status.success() {
        return skip("no varlinkctl");
    }
    let done = output(shell(&daemon, &command));
    assert!(done.status.success(), "{done:?}");
    let found = documents(&String::from_utf8_lossy(&done.stdout));
    compare(&documents(&shown)[0], &found[0]);
}

#[test]
fn the_python_of_io_circusd_7_tells_of_unexpected_ends() {
    let daemon = pool(1);
    let program = example("io.circusd.7", "import json");
    if !output(shell(&daemon, "python3 --version")).status.success() {
        return skip("no python3");
    }
    let mut python = shell(&daemon, "exec python3 -u -c \"$PROGRAM\"");
    python.env("PROGRAM", program);
    let python = Running::start(&daemon, python);
    daemon
        .call("Restart", json!({"watchers": "web"}))
        .expect("it restarts");
    let pid = kill_a_worker(&daemon);
    let line = python.next("web {...}");
    assert!(line.starts_with("web {"), "{line}");
    assert!(line.contains(&format!("'process_pid': {pid}")), "{line}");
}

/// Lines as `circusctl` writes them, without the breaks that a page needs.
fn lines(shown: &str) -> Vec<String> {
    let shown = shown.replace("\n    ", " ");
    shown.lines().map(str::to_owned).collect()
}

/// Whether a line is what a page shows, where any number may be another, and `...` is anything.
fn is_shown(shown: &str, found: &str) -> bool {
    let (shown, found) = (without_numbers(shown), without_numbers(found));
    let mut rest = found.as_str();
    let mut parts = shown.split("...");
    let first = parts.next().expect("even nothing splits");
    let begins = rest.strip_prefix(first);
    rest = begins.unwrap_or_default();
    let follow = parts.all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    });
    begins.is_some() && follow && rest.is_empty()
}

fn without_numbers(text: &str) -> String {
    let mut kept = String::new();
    for char in text.chars() {
        match char {
            '0'..='9' if kept.ends_with('0') => {}
            '0'..='9' => kept.push('0'),
            other => kept.push(other),
        }
    }
    kept
}

#[test]
fn events_are_told_as_circusd_events_7_shows() {
    let daemon = pool(1);
    let (command, shown) = session(&example("circusd-events.7", "$ circusctl listen"));
    let listen = Running::start(&daemon, shell(&daemon, &format!("exec {command}")));
    kill_a_worker(&daemon);
    for shown in lines(&shown) {
        let found = listen.next(&shown);
        assert!(is_shown(&shown, &found), "shown:\n{shown}\nis:\n{found}");
    }
}

#[test]
fn events_for_programs_are_as_circusd_events_7_shows() {
    let daemon = pool(1);
    let (command, shown) = session(&example("circusd-events.7", "$ circusctl --json"));
    let listen = Running::start(&daemon, shell(&daemon, &format!("exec {command}")));
    kill_a_worker(&daemon);
    for shown in documents(&shown) {
        let found = documents(&listen.next(&shown.to_string()));
        compare(&shown, &found[0]);
    }
}

#[test]
fn configurations_of_the_manual_are_good() {
    let watcher = "[watcher.web]\ncmd = 'sleep 1000'\n";
    for (name, beginning, before) in [
        ("circusd.toml.5", "[circusd]", ""),
        ("circusd.8", "[watcher.web]", ""),
        ("circusd-hooks.7", "[watcher.web.hooks]", watcher),
    ] {
        let home = Home::new(&format!("{before}{}", example(name, beginning)));
        let output = home.run_to_end(&["--check"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {errors}");
    }
}

/// What the program itself says to a wrong command line.
const USAGE: u8 = 2;

#[test]
fn circusd_8_has_every_exit_code() {
    let section = section(&page("circusd.8"), "EXIT STATUS");
    let told = section.lines().filter_map(|line| line.strip_prefix(".B "));
    let mut told: Vec<u8> = told.filter_map(|line| line.parse().ok()).collect();
    let codes = ExitCode::ALL.map(|code| code as u8);
    let mut all: Vec<u8> = codes.into_iter().chain([USAGE]).collect();
    told.sort_unstable();
    all.sort_unstable();
    assert_eq!(told, all);
}
