//! `Explain` and `circusctl why`: the story of a watcher, told from outside.

mod common;

use common::Daemon;
use common::facts::{line_of, why};
use serde_json::json;

#[test]
fn a_running_watcher_has_nothing_to_explain() {
    let daemon = Daemon::start("[watcher.web]\ncmd = ['sleep', 'infinity']\nnumprocesses = 2\n");
    let text = why(&daemon, "web");
    assert!(
        text.starts_with("web is active; 2 of 2 processes are ready.\nNext: "),
        "{text}"
    );
    let told = daemon.ctl(&["why", "web"]);
    assert!(told.status.success());
    assert_eq!(String::from_utf8_lossy(&told.stdout), format!("{text}\n"));
}

#[test]
fn what_failed_says_why_and_that_nothing_follows() {
    let daemon = Daemon::start("[watcher.web]\ncmd = ['/nowhere/web']\nmax_retry = 1\n");
    daemon.wait_until("web", |watcher| watcher["state"] == "failed");
    let text = why(&daemon, "web");
    assert!(text.contains("web is failed; 0 of 1 processes"), "{text}");
    assert!(
        text.contains("/nowhere/web") && text.contains("No such file"),
        "{text}"
    );
    assert!(
        text.contains("Next: nothing until somebody starts"),
        "{text}"
    );
}

#[test]
fn what_is_held_says_when_it_is_tried_again_and_how_it_ended() {
    let daemon = Daemon::start(
        "[watcher.web]\ncmd = ['/bin/sh', '-c', 'exit 3']\nbackoff = false\n\
         flapping = { attempts = 2, window = '1h', retry_in = '1h' }\n",
    );
    daemon.wait_until("web", |watcher| watcher["state"] == "waiting");
    let text = why(&daemon, "web");
    assert!(
        text.contains("Next: circusd tries again by itself in "),
        "{text}"
    );
    assert!(text.contains("ended with exit code 3 by itself"), "{text}");
}

#[test]
fn what_waits_for_a_process_to_end_says_for_how_long() {
    let daemon = Daemon::start(
        "[watcher.web]\ncmd = ['/bin/sh', '-c', 'trap \"\" TERM; echo up > $HOME/deaf; while :; do sleep 1; done']\n\
         graceful_timeout = '1h'\n",
    );
    line_of(&daemon.home().path("deaf"));
    let stop = daemon.call("Stop", json!({"watchers": "web", "wait": false}));
    stop.expect("it is accepted");
    daemon.wait_until("web", |watcher| watcher["state"] == "stopping");
    let text = why(&daemon, "web");
    assert!(
        text.contains("was told to end, and is killed in "),
        "{text}"
    );
    daemon
        .call(
            "Kill",
            json!({"watcher": "web", "graceful_timeout_usec": 0}),
        )
        .expect("it is killed");
}

#[test]
fn nobody_has_no_story() {
    let daemon = Daemon::start("");
    let refused = daemon.call("Explain", json!({"watcher": "ghost"}));
    assert_eq!(
        refused.expect_err("there is none").error,
        "io.circusd.NoSuchWatcher"
    );
}
