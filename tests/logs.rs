//! `circusctl logs`: what processes have written, from the journal and from files.

#![cfg(feature = "cli")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::Arc;

use common::facts::{pids, runs, wait_for_text};
use common::journal::Journal;
use common::{Container, Daemon, Home, eventually, output};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Two processes, each with a file of its own, and what both complain of in a third.
const FILES: &str = r#"
    [watcher.web]
    cmd = ["sh", "-c", "for n in 1 2 3; do echo $(circus.wid).$n; done; echo bad >&2; exec sleep 1000"]
    numprocesses = 2
    graceful_timeout = 0
    stdout = {file = "../web.$(circus.wid).log"}
    stderr = {file = "../err.log"}

    [watcher.silent]
    cmd = ["sleep", "1000"]
    graceful_timeout = 0
    stdout = "null"
    stderr = "null"

    [watcher.later]
    cmd = ["sh", "-c", "echo first; exec sleep 1000"]
    autostart = false
    graceful_timeout = 0
    stdout = {file = "../later.log"}
    stderr = "stdout"

    [watcher.pipe]
    cmd = "sleep 1000"
    autostart = false
    stdout = {file = "../pipe"}
    stderr = "stdout"
"#;

/// A daemon whose processes have written to their files.
fn written() -> Daemon {
    let daemon = Daemon::start(FILES);
    for file in ["web.1.log", "web.2.log"] {
        wait_for_text(&daemon.home().path(file), ".3\n");
    }
    wait_for_text(&daemon.home().path("err.log"), "bad\nbad\n");
    daemon
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it is text")
}

fn check(ended: &Output, code: i32, out: &str, told: &[&str]) {
    let (stdout, stderr) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!(ended.status.code(), Some(code), "{stdout}\n{stderr}");
    assert_eq!(stdout, out, "{stderr}");
    assert_eq!(stderr.is_empty(), told.is_empty(), "{stderr}");
    for part in told {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
}

/// `circusctl` that follows, and what it has written.
struct Follower {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Follower {
    fn start(home: &Arc<Home>, arguments: &[&str]) -> Self {
        let mut command = home.circusctl(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("it is a pipe"));
        Self { child, lines }
    }

    /// Its next line.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it writes text");
        line
    }

    /// Ends it by SIGTERM, as timeout(1) would.
    fn end(mut self) {
        let pid = Pid::from_raw(self.child.id().try_into().expect("a pid fits"));
        kill(pid, Signal::SIGTERM).expect("it was not waited for");
        self.child.wait().expect("it is our child");
    }

    /// The programs that it runs.
    fn programs(&self) -> Vec<u64> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let children = children.expect("the kernel tells of children");
        let pid = |word: &str| word.parse().expect("a pid");
        children.split_whitespace().map(pid).collect()
    }
}

#[test]
fn the_last_lines_of_files_are_shown() {
    let daemon = written();
    let etc = daemon.home().path("etc");
    let path = |name: &str| format!("{}/../{name}", etc.display());
    let [first, second, errors] = ["web.1.log", "web.2.log", "err.log"].map(path);
    check(
        &daemon.ctl(&["logs", "web", "-n", "1"]),
        0,
        &format!("==> {first} <==\n1.3\n\n==> {second} <==\n2.3\n\n==> {errors} <==\nbad\n"),
        &[],
    );
    // What is said of the other stream does not stand in the way.
    check(
        &daemon.ctl(&["logs", "--wid", "2", "web"]),
        0,
        "2.1\n2.2\n2.3\n",
        &["its standard error goes to", "--wid cannot tell them apart"],
    );
    check(&daemon.ctl(&["logs", "nobody*"]), 0, "", &["no watcher"]);
}

#[test]
fn what_cannot_be_shown_is_refused_with_the_reason() {
    let daemon = written();
    check(
        &daemon.ctl(&["logs", "silent"]),
        3,
        "",
        &["circusctl: silent: its output is thrown away"],
    );
    let json = daemon.ctl(&["--json", "logs", "silent"]);
    let error: Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!(error["error"], "circusctl.Failed");

    let without = ["is a file, whose lines have neither times nor fields"];
    for flags in [&["--since", "today"][..], &["-o", "cat"], &["--json"]] {
        let refused = daemon.ctl(&[&["logs", "web"], flags].concat());
        assert_eq!(refused.status.code(), Some(2), "{flags:?}");
        let told = text(&refused.stderr);
        assert!(told.contains(flags[0]) || flags[0] == "-o", "{told}");
        assert!(told.contains(without[0]), "{told}");
    }
    check(&daemon.ctl(&["logs", "nobody"]), 3, "", &["nobody"]);

    // Never run, and so without a file.
    let told = ["to which later writes: No such file or directory"];
    check(&daemon.ctl(&["logs", "later"]), 3, "", &told);
    nix::unistd::mkfifo(&daemon.home().path("pipe"), nix::sys::stat::Mode::S_IRWXU)
        .expect("a named pipe can be made");
    let told = ["it is not a regular file"];
    check(&daemon.ctl(&["logs", "pipe"]), 3, "", &told);
    fs::remove_file(daemon.home().path("pipe")).expect("it is there");
}

#[test]
fn a_file_is_followed_from_before_it_is_there_and_over_its_replacement() {
    let daemon = written();
    let mut follower = Follower::start(daemon.home(), &["logs", "--follow", "later"]);
    // It follows: that can only be seen from outside.
    let programs = eventually("it has something run", || {
        Some(follower.programs()).filter(|programs| !programs.is_empty())
    });
    let later = json!({"watchers": "later"});
    daemon.call("Start", later.clone()).expect("it can run");
    assert_eq!(follower.line(), "first\n");
    let log = daemon.home().path("later.log");
    fs::rename(&log, daemon.home().path("moved.log")).expect("it can be moved");
    daemon.call("Restart", later).expect("it can run");
    assert_eq!(follower.line(), "first\n");
    follower.end();
    for program in programs {
        eventually("nothing is left of it", || (!runs(program)).then_some(()));
    }
}

#[test]
fn a_time_limit_ends_following() {
    let daemon = written();
    let ended = daemon.ctl(&["--timeout", "1", "logs", "web", "-f"]);
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
}

#[test]
fn a_line_of_the_shell_shows_them_and_the_next_is_done() {
    let daemon = written();
    let mut command = daemon.home().circusctl(&[]);
    let mut shell = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = shell.stdin.take().expect("it is a pipe");
    lines
        .write_all(b"logs web --wid 1 -n 1\nnumwatchers\n")
        .expect("it reads");
    drop(lines);
    let ended = shell.wait_with_output().expect("it ends");
    assert_eq!(text(&ended.stdout), "1.3\n4\n");
}

#[test]
fn the_journal_is_asked_for_what_these_processes_have_written() {
    let Some(journal) = Journal::start() else {
        return;
    };
    let home = Home::new(
        r#"
        [defaults]
        graceful_timeout = 0
        stdout = "journal"
        stderr = "journal"
        [watcher.web]
        cmd = ["sh", "-c", "echo out; echo err >&2; echo place $(circus.wid); exec sleep 1000"]
        numprocesses = 2
        [watcher.other]
        cmd = ["sh", "-c", "echo other; exec sleep 1000"]
        stderr = "null"
    "#,
    );
    let daemon = journal.start_daemon(&home);
    eventually("all is written", || {
        let web = journal.records(&["SYSLOG_IDENTIFIER=web"]).len() == 6;
        let other = journal.records(&["SYSLOG_IDENTIFIER=other"]).len() == 1;
        (web && other).then_some(())
    });
    // One that is called so, and is none of ours.
    let mut stranger = Command::new("logger");
    stranger.args(["--tag", "web", "a stranger"]);
    assert!(output(journal.inside(&stranger)).status.success());
    let logs = |arguments: &[&str]| {
        let ended = output(journal.inside(&home.circusctl(arguments)));
        let (stdout, stderr) = (text(&ended.stdout), text(&ended.stderr));
        assert!(ended.status.success(), "{arguments:?}: {stderr}");
        let mut lines: Vec<_> = stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let all = ["err", "err", "out", "out", "place 1", "place 2"];
    assert_eq!(logs(&["logs", "web", "-o", "cat"]), all);
    assert_eq!(
        logs(&["logs", "web", "-o", "cat", "--wid", "2"]),
        ["err", "out", "place 2"]
    );
    assert_eq!(logs(&["logs", "other", "-o", "cat"]), ["other"]);
    let both = logs(&["logs", "web", "o*", "-o", "cat", "--since", "-1h"]);
    assert_eq!((both.len(), both[2].as_str()), (7, "other"));
    assert_eq!(logs(&["logs", "web", "-o", "cat", "-n", "4"]).len(), 4);
    let since = ["logs", "web", "--since", "tomorrow", "-o", "cat", "-n0"];
    assert_eq!(logs(&since), [""; 0]);

    let pids = pids(&daemon.status("web"));
    for line in logs(&["--json", "logs", "web"]) {
        let record: Value = serde_json::from_str(&line).expect("it is a record");
        let pid = record["_PID"].as_str().and_then(|pid| pid.parse().ok());
        assert!(pids.contains(&pid.expect("a pid")), "{record}");
    }
    assert!(logs(&["logs", "web"])[0].contains(" web["));

    let wrong = home.circusctl(&["logs", "web", "-o", "nonsense"]);
    let wrong = output(journal.inside(&wrong));
    assert_eq!(wrong.status.code(), Some(3), "{wrong:?}");
    assert!(text(&wrong.stderr).contains("journalctl has failed"));
}

const SERVICE: &str = "
Type=notify
ExecStart=/usr/local/bin/circusd --config /etc/circusd/circusd.toml
RuntimeDirectory=circusd
Delegate=yes
DelegateSubgroup=supervisor";

#[test]
fn in_a_service_the_journal_is_followed_and_has_the_last_words_of_whoever_dies() {
    let Some(container) = Container::boot() else {
        return;
    };
    // As it is unless somebody says otherwise: a service has its output in the journal.
    container.write(
        "/etc/circusd/circusd.toml",
        r#"
        [watcher.web]
        cmd = ["sh", "-c", "while :; do echo on $$; sleep 0.1; done"]
        [watcher.brief]
        cmd = ["sh", "-c", "echo last words; exit 3"]
        backoff = {initial = "100ms", factor = 1}
        flapping = false
        max_retry = -1
        [watcher.ours]
        cmd = ["sleep", "1000"]
        stdout = "inherit"
        stderr = "stdout"
        "#,
    );
    container.start_service("circusd.service", SERVICE);
    container.wait_for_journal(&["SYSLOG_IDENTIFIER=brief"], 20);
    let brief = ["SYSLOG_IDENTIFIER=brief", "_TRANSPORT=stdout"];
    // Somebody else has said this.
    container.succeed(&["sh", "-c", "echo stranger | systemd-cat -t brief"]);
    let said = container.wait_for_journal(&brief, 20);
    let lost = said.iter().filter(|record| {
        record["MESSAGE"] == "last words" && record["_SYSTEMD_UNIT"] != "circusd.service"
    });
    // Journald may still meet one while it is being buried, and then files it under nothing.
    let lost: Vec<_> = lost.collect();
    assert!(lost.len() <= said.len() / 4, "of {}: {lost:?}", said.len());
    eventually("the last words of twenty", || {
        let shown = container.succeed(&["circusctl", "logs", "brief", "-o", "cat", "-n", "20"]);
        let whole = shown.lines().all(|line| line == "last words");
        assert!(whole, "{shown}");
        (shown.lines().count() == 20).then_some(())
    });

    let follow = "circusctl logs web --follow --lines 1 --output cat | head -n 5";
    let shown = container.succeed(&["sh", "-c", follow]);
    assert_eq!(shown.lines().count(), 5, "{shown}");
    assert!(shown.lines().all(|line| line.starts_with("on ")), "{shown}");
    let one = container.succeed(&["circusctl", "logs", "web", "--wid", "1", "-n", "1"]);
    assert!(one.contains(" web["), "{one}");

    let ours = container.run(&["circusctl", "logs", "ours"]);
    assert_eq!(ours.status.code(), Some(3), "{ours:?}");
    assert!(text(&ours.stderr).contains("journalctl --unit=circusd.service"));
}
