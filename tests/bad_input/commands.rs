//! Commands that cannot be started: refused when they are started, in words, in the reply of the
//! start, in the status and in the events.

use std::fs;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};

use super::common::facts::line_of;
use super::common::{Daemon, Home};
use super::{assert_alive, daemon_stats};

/// Watchers that fail in `fails`, beside one that does not.
fn daemon(fails: &str) -> Daemon {
    let config = format!(
        "[watcher.sleeper]\ncmd = ['sleep', 'infinity']\n[watcher.bad]\nautostart = false\nmax_retry = 1\n{fails}\n"
    );
    Home::new(&config).start()
}

/// What cannot be started says so everywhere, and leaves nothing open.
fn check(fails: &str, told: &[&str]) {
    let daemon = daemon(fails);
    let fds = daemon_stats(&daemon)["fds"].clone();
    let mut events = daemon.subscribe();
    for _ in 0..2 {
        let error = daemon
            .call("Start", json!({"watchers": "bad"}))
            .expect_err("it cannot be started");
        assert_eq!(error.error, "io.circusd.StartFailed", "{error:?}");
        assert_told(&error.parameters["reason"]["text"], told);
        let failed = events.wait("watcher.bad.spawn_failed");
        assert_told(&failed["data"]["error"], told);
        assert!(failed["data"]["stage"].is_string(), "{failed}");
        let status = daemon.status("bad");
        assert_eq!(status["state"], "failed", "{status}");
        assert_eq!(status["processes"], json!([]), "{status}");
        assert_told(&status["reason"]["text"], told);
    }
    let output = daemon.ctl(&["start", "bad"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_told(&String::from_utf8_lossy(&output.stderr).into(), told);
    drop(events);
    let status = daemon.ctl(&["status"]);
    assert_told(&String::from_utf8_lossy(&status.stdout).into(), told);
    // The subscription has been noticed to be over when the figures are asked for, or soon after.
    super::common::eventually("nothing is left open", || {
        (daemon_stats(&daemon)["fds"] == fds).then_some(())
    });
    assert_alive(&daemon);
}

fn assert_told(text: &Value, told: &[&str]) {
    let text = text.as_str().expect("a text");
    for word in told {
        assert!(text.contains(word), "'{word}' is not in '{text}'");
    }
}

#[test]
fn a_program_that_does_not_exist() {
    check(
        "cmd = ['/nonexistent/program']",
        &["/nonexistent/program", "No such file or directory"],
    );
    check(
        "cmd = ['no-such-program-anywhere']",
        &["no-such-program-anywhere", "No such file or directory"],
    );
}

#[test]
fn a_program_that_is_none() {
    check("cmd = ['/etc']", &["'/etc'", "Permission denied"]);
    check(
        "cmd = ['/etc/passwd']",
        &["/etc/passwd", "Permission denied"],
    );
}

#[test]
fn a_working_directory_that_is_gone() {
    check(
        "cmd = ['sleep', 'infinity']\nworking_dir = '/nonexistent/directory'",
        &["/nonexistent/directory", "No such file or directory"],
    );
    check(
        "cmd = ['sleep', 'infinity']\nworking_dir = '/etc/passwd'",
        &["/etc/passwd", "Not a directory"],
    );
}

#[test]
fn users_and_groups_that_nobody_knows() {
    check(
        "cmd = ['sleep', 'infinity']\nuid = 'no-such-user'",
        &["no-such-user"],
    );
    check(
        "cmd = ['sleep', 'infinity']\ngid = 'no-such-group'",
        &["no-such-group"],
    );
    check(
        "cmd = ['sleep', 'infinity']\ngroups = ['no-such-group']",
        &["no-such-group"],
    );
}

#[test]
fn places_where_no_output_can_go() {
    check(
        "cmd = ['sleep', 'infinity']\nstdout = { file = '/nonexistent/out.log' }",
        &[
            "standard output",
            "/nonexistent/out.log",
            "No such file or directory",
        ],
    );
    check(
        "cmd = ['sleep', 'infinity']\nstderr = { file = '/etc' }",
        &["standard error", "/etc", "Is a directory"],
    );
    check(
        "cmd = ['sleep', 'infinity']\nstdin = { file = '/nonexistent/in' }",
        &[
            "standard input",
            "/nonexistent/in",
            "No such file or directory",
        ],
    );
}

#[test]
fn a_failure_at_the_start_of_the_daemon_keeps_nobody_else_from_starting() {
    let config = "[watcher.bad]\ncmd = '/nonexistent/program'\n[watcher.sleeper]\ncmd = 'sleep infinity'\npriority = 1\n";
    let daemon = Daemon::start(config);
    assert_alive(&daemon);
    let status = daemon.status("bad");
    assert_told(&status["reason"]["text"], &["/nonexistent/program"]);
}

#[test]
fn what_was_missing_is_found_when_it_is_there() {
    let home = Home::new("");
    let directory = home.path("late");
    home.configure(&format!(
        "[watcher.late]\ncmd = ['sleep', 'infinity']\nworking_dir = '{}'\nmax_retry = 0\n",
        directory.display()
    ));
    let daemon = home.start();
    assert_eq!(daemon.status("late")["state"], "failed");
    std::fs::create_dir(&directory).expect("a directory can be made");
    daemon
        .call("Start", json!({"watchers": "late"}))
        .expect("now it can be started");
    assert_eq!(daemon.status("late")["state"], "active");
    assert!(daemon.status("late")["reason"].is_null());
}

/// The start of a worker must not wait for who is to write to it, as everybody would wait with it.
#[test]
fn a_pipe_that_nobody_writes_to() {
    let home = Home::new("");
    let (pipe, heard) = (home.path("pipe"), home.path("heard"));
    mkfifo(&pipe, Mode::S_IRWXU).expect("a pipe can be made");
    home.configure(&format!(
        "[watcher.sleeper]\ncmd = ['sleep', 'infinity']\n\
         [watcher.reader]\ncmd = ['/bin/sh', '-c', 'read line; echo \"$line\" > {}; exec sleep infinity']\n\
         stdin = {{ file = '{}' }}\n",
        heard.display(),
        pipe.display(),
    ));
    let daemon = home.start();
    assert_alive(&daemon);
    assert_eq!(daemon.status("reader")["state"], "active");
    fs::write(&pipe, "a line\n").expect("the worker has it open");
    assert_eq!(line_of(&heard), "a line");
    assert_eq!(daemon.status("reader")["restarts"], 0);
}
