//! `Explain` and `circusctl why`: the story of a watcher, told from outside.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::facts::{has_cgroups, line_of, pids, why};
use common::{Daemon, Home, skip};
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
fn what_is_frozen_says_so_and_keeps_nobody_waiting() {
    let daemon = Daemon::start("[watcher.web]\ncmd = ['sleep', '1000']\n");
    if !has_cgroups(&daemon) {
        return skip("nothing can be frozen here");
    }
    let before = pids(&daemon.wait_until("web", |web| web["state"] == "active"));
    let web = || json!({"watchers": "web"});
    daemon.call("Freeze", web()).expect("it can be frozen");
    let told = why(&daemon, "web");
    assert!(told.contains("is active, and frozen;"), "{told}");
    assert!(
        told.contains("Next: nothing until somebody thaws it."),
        "{told}"
    );

    let reload = daemon.ctl(&["reload", "web"]);
    let said = String::from_utf8_lossy(&reload.stderr).into_owned();
    assert!(!reload.status.success(), "{said}");
    let reason = "it is frozen; its processes are replaced when it is thawed";
    assert!(said.contains(reason), "{said}");
    let set = json!({"watcher": "web", "options": {"cmd": "sleep 2000"}});
    let refused = daemon.call("Set", set).expect_err("it waits for the thaw");
    assert_eq!(refused.parameters["reason"]["text"], reason);
    let told = why(&daemon, "web");
    assert!(told.contains("Why: it is frozen; 0 of 1 new"), "{told}");
    assert!(
        told.contains("Next: nothing until somebody thaws it."),
        "{told}"
    );

    daemon.call("Thaw", web()).expect("it can be thawed");
    daemon.wait_until("web", |web| {
        web["state"] == "active" && pids(web).len() == 1 && pids(web).is_disjoint(&before)
    });
}

#[test]
fn a_reload_that_failed_is_remembered_until_one_succeeds() {
    let home = Home::new("");
    let program = home.path("web");
    let install = || symlink("/bin/sleep", &program).expect("it can be linked");
    install();
    let cmd = format!("[watcher.web]\ncmd = ['{}', '1000']\n", program.display());
    home.configure(&format!("{cmd}numprocesses = 2\n"));
    let mut daemon = home.start();
    daemon.wait_until("web", |web| {
        web["state"] == "active" && pids(web).len() == 2
    });
    assert!(!why(&daemon, "web").contains("reload"));
    let web = || json!({"watchers": "web"});
    fs::remove_file(&program).expect("it is there");
    daemon.call("Reload", web()).expect_err("it fails");
    let remembered = |daemon: &Daemon| {
        let told = why(daemon, "web");
        let failed = told
            .lines()
            .find(|line| line.starts_with("The last reload failed "));
        let failed = failed.unwrap_or_else(|| panic!("{told}"));
        assert!(
            failed.contains(" s ago, and 2 old processes were kept: failed to start"),
            "{told}"
        );
        assert!(failed.contains("No such file or directory"), "{told}");
    };
    remembered(&daemon);
    daemon.kill();
    let daemon = home.start();
    remembered(&daemon);
    install();
    daemon.call("Reload", web()).expect("it succeeds");
    assert!(!why(&daemon, "web").contains("The last reload"));
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
