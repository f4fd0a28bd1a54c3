//! How many processes there are, and which of them are replaced when they end or grow old.

mod common;

use common::Daemon;
use common::facts::{in_each_mode, line_of, pid_of, pids, runs, told_until_now, topics, wids};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn signal(daemon: &Daemon, params: Value) {
    daemon.call("Signal", params).expect("it runs");
}

#[test]
fn incr_and_decr_count_and_never_go_below_0() {
    in_each_mode(
        "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 1",
        |daemon| {
            assert!(daemon.ctl(&["incr", "web"]).status.success());
            assert!(daemon.ctl(&["incr", "web", "2"]).status.success());
            let status = daemon.status("web");
            assert_eq!(
                (wids(&status), &status["numprocesses"]),
                ([1, 2, 3, 4].into(), &json!(4))
            );
            assert!(daemon.ctl(&["decr", "web"]).status.success());
            assert_eq!(pids(&daemon.status("web")).len(), 3);
            let output = daemon.ctl(&["--json", "decr", "web", "100"]);
            let reply: Value = serde_json::from_slice(&output.stdout).expect("a document");
            assert_eq!(reply["numprocesses"], 0);
            let status = daemon.status("web");
            assert_eq!(
                (pids(&status).len(), &status["state"]),
                (0, &json!("active"))
            );
            let reply = daemon
                .call("Scale", json!({"watcher": "web", "numprocesses": 2}))
                .expect("a number");
            assert_eq!(reply["numprocesses"], 2);
            assert_eq!(wids(&daemon.status("web")), [1, 2].into());
        },
    );
}

#[test]
fn a_singleton_stays_alone_and_the_refusal_changes_nothing() {
    let config = "[watcher.one]\ncmd = 'sleep 1000'\nsingleton = true";
    let daemon = Daemon::start(config);
    let before = pids(&daemon.status("one"));
    let output = daemon.ctl(&["--json", "incr", "one"]);
    assert_eq!(output.status.code(), Some(3));
    let error: Value = serde_json::from_slice(&output.stdout).expect("a document");
    assert_eq!(error["error"], "io.circusd.Singleton");
    let status = daemon.status("one");
    assert_eq!(
        (pids(&status), &status["numprocesses"]),
        (before, &json!(1))
    );
    // What was refused is not the operator's wish either: the file still decides.
    daemon
        .home()
        .configure(&format!("{config}\nnumprocesses = 0"));
    daemon.call("ReloadConfig", json!({})).expect("a good file");
    daemon.wait_until("one", |status| {
        status["numprocesses"] == 0 && pids(status).is_empty()
    });
}

#[test]
fn with_no_processes_asked_for_it_is_active_with_none() {
    let daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 0");
    let status = daemon.status("web");
    assert_eq!(
        (&status["state"], pids(&status).len()),
        (&json!("active"), 0)
    );
}

#[test]
fn incr_on_a_stopped_watcher_raises_the_target_and_runs_nothing() {
    let daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'\nautostart = false");
    let mut events = daemon.subscribe();
    assert!(daemon.ctl(&["incr", "web"]).status.success());
    let status = daemon.status("web");
    assert_eq!(
        (&status["state"], &status["numprocesses"]),
        (&json!("stopped"), &json!(2))
    );
    let told = told_until_now(&daemon, &mut events);
    assert!(!topics(&told).contains(&"web.spawn"));
    assert!(daemon.ctl(&["start", "web"]).status.success());
    assert_eq!(pids(&daemon.status("web")).len(), 2);
}

#[test]
fn what_is_killed_is_replaced_in_its_place() {
    in_each_mode(
        "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3",
        |daemon| {
            let before = pids(&daemon.status("web"));
            let mut events = daemon.subscribe();
            for wid in [1, 2] {
                signal(
                    daemon,
                    json!({"watcher": "web", "signal": "KILL", "wid": wid}),
                );
            }
            let mut places: Vec<_> = (0..2)
                .map(|_| events.wait("watcher.web.spawn")["data"]["wid"].clone())
                .collect();
            places.sort_by_key(Value::as_u64);
            assert_eq!(places, [1, 2]);
            let after = daemon.wait_until("web", |status| pids(status).len() == 3);
            assert_eq!(wids(&after), [1, 2, 3].into());
            assert_eq!(pids(&after).intersection(&before).count(), 1);
            assert_eq!(after["restarts"], 2);
            assert_eq!(after["last_exit"]["cause"], "signaled");
            assert_eq!(after["last_exit"]["status"], 9);
            assert_eq!(after["last_exit"]["expected"], false);
        },
    );
}

#[test]
fn the_lowest_free_place_is_taken() {
    let daemon =
        Daemon::start("[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3\nrespawn = false");
    let mut events = daemon.subscribe();
    signal(
        &daemon,
        json!({"watcher": "web", "signal": "KILL", "wid": 2}),
    );
    events.wait("watcher.web.reap");
    daemon.wait_until("web", |status| wids(status) == [1, 3].into());
    // Started again: only what is missing.
    let kept = pids(&daemon.status("web"));
    assert!(daemon.ctl(&["start", "web"]).status.success());
    assert_eq!(events.wait("watcher.web.spawn")["data"]["wid"], 2);
    assert!(pids(&daemon.status("web")).is_superset(&kept));
}

#[test]
fn without_respawn_the_last_end_finishes_the_watcher() {
    let daemon = Daemon::start("[watcher.job]\ncmd = 'true'\nnumprocesses = 2\nrespawn = false");
    let status = daemon.wait_until("job", |status| status["state"] == "stopped");
    assert_eq!(status["reason"]["cause"], "finished");
    let mut events = daemon.subscribe();
    let _ = daemon.call("Start", json!({"watchers": "job"}));
    for _ in 0..2 {
        events.wait("watcher.job.reap");
    }
    daemon.wait_until("job", |status| status["reason"]["cause"] == "finished");
}

#[test]
fn on_failure_replaces_only_what_failed() {
    let config = r#"
        [watcher.job]
        cmd = ["sh", "-c", "test -e $HOME/again && exit 3; echo > $HOME/again; exit 7"]
        restart = "on_failure"
        success_exit_status = [3]"#;
    in_each_mode(config, |daemon| {
        let status = daemon.wait_until("job", |status| status["reason"]["cause"] == "finished");
        assert_eq!(status["last_exit"]["status"], 3);
        assert_eq!(status["restarts"], 1);
    });
}

#[test]
fn never_replaces_nothing() {
    let daemon = Daemon::start("[watcher.job]\ncmd = 'false'\nrestart = 'never'");
    let status = daemon.wait_until("job", |status| status["state"] == "stopped");
    assert_eq!(status["reason"]["cause"], "finished");
    assert_eq!(status["last_exit"]["status"], 1);
}

#[test]
fn what_grows_too_old_is_replaced_new_one_first() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2\nmax_age = '500ms'\nmax_age_variance = 0";
    in_each_mode(config, |daemon| {
        let mut events = daemon.subscribe();
        let killed = events.wait_where("watcher.web.kill", |data| data["by"] == "max_age");
        events.wait_where("watcher.web.reap", |data| {
            data["process_pid"] == killed["data"]["process_pid"]
        });
        daemon
            .call("Stop", json!({"watchers": "web"}))
            .expect("it stops");
    });
}

#[test]
fn an_old_process_that_resists_delays_nobody() {
    let config = r#"
        [watcher.old]
        cmd = ["sh", "-c", "trap '' TERM; echo up >> $HOME/old; while :; do sleep 1000; done"]
        max_age = "300ms"
        max_age_variance = 0
        graceful_timeout = "1h"
        [watcher.web]
        cmd = "sleep 1000""#;
    let mut daemon = Daemon::start(config);
    line_of(&daemon.home().path("old"));
    let mut events = daemon.subscribe();
    let killed = pid_of(&events.wait("watcher.old.kill"));
    assert!(daemon.ctl(&["restart", "web"]).status.success());
    assert!(runs(killed));
    // Its grace is an hour: twice, so that it ends at once.
    daemon.signal(Signal::SIGINT);
    events.wait("circusd.stopping");
    daemon.signal(Signal::SIGINT);
    daemon.wait_end();
}
