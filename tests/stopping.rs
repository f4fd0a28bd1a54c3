//! How one process is ended, and all that it has forked with it.

mod common;

use common::facts::{in_each_mode, line_of, number_of, pid_of, pids, runs, told_until_now, topics};
use common::{Daemon, eventually};
use serde_json::json;

#[test]
fn what_ignores_sigterm_is_killed_after_the_grace() {
    let config = r#"
        [watcher.deaf]
        cmd = ["sh", "-c", "trap '' TERM; echo up > $HOME/deaf; while :; do sleep 1000; done"]
        graceful_timeout = "400ms""#;
    in_each_mode(config, |daemon| {
        line_of(&daemon.home().path("deaf"));
        let mut events = daemon.subscribe();
        assert!(daemon.ctl(&["stop", "deaf"]).status.success());
        let told = told_until_now(daemon, &mut events);
        assert_eq!(
            topics(&told),
            ["deaf.kill", "deaf.kill", "deaf.reap", "deaf.stop"]
        );
        assert_eq!(told[0]["data"]["signal"], "SIGTERM");
        assert_eq!(told[1]["data"]["signal"], "SIGKILL");
        assert_eq!(told[2]["data"]["exit_code"], 128 + 9);
        let times = [&told[0], &told[1]].map(|event| event["time_usec"].as_u64().expect("a time"));
        // The grace begins when the signal is asked for, the event tells that it was sent.
        assert!(times[1] - times[0] >= 100_000, "{times:?}");
    });
}

#[test]
fn without_a_grace_the_first_signal_is_sigkill() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\ngraceful_timeout = 0";
    in_each_mode(config, |daemon| {
        let mut events = daemon.subscribe();
        assert!(daemon.ctl(&["stop", "web"]).status.success());
        let told = told_until_now(daemon, &mut events);
        assert_eq!(topics(&told), ["web.kill", "web.reap", "web.stop"]);
        assert_eq!(told[0]["data"]["signal"], "SIGKILL");
    });
}

#[test]
fn the_stop_signal_is_the_one_that_was_configured() {
    let daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'\nstop_signal = 'SIGUSR2'");
    let mut events = daemon.subscribe();
    assert!(daemon.ctl(&["stop", "web"]).status.success());
    assert_eq!(events.wait("watcher.web.kill")["data"]["signal"], "SIGUSR2");
    assert_eq!(
        events.wait("watcher.web.reap")["data"]["exit_code"],
        128 + 12
    );
}

#[test]
fn a_worker_that_was_stopped_hears_that_it_is_to_end() {
    // Were it left to the end of the grace, the test would hang.
    let config = r#"
        [watcher.web]
        cmd = "sleep 1000"
        graceful_timeout = "1h"
        [watcher.tree]
        cmd = "sleep 1000"
        graceful_timeout = "1h"
        stop_children = true"#;
    in_each_mode(config, |daemon| {
        for name in ["web", "tree"] {
            let before = pids(&daemon.status(name));
            let pid = *before.first().expect("one runs");
            let params = json!({"watcher": name, "signal": "STOP"});
            daemon.call("Signal", params).expect("it runs");
            eventually("it is stopped", || {
                let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
                stat.contains(") T ").then_some(())
            });
            let mut events = daemon.subscribe();
            assert!(daemon.ctl(&["stop", name]).status.success());
            let told = told_until_now(daemon, &mut events);
            let ending = ["kill", "reap", "stop"].map(|topic| format!("{name}.{topic}"));
            assert_eq!(topics(&told), ending);
            assert_eq!(told[0]["data"]["signal"], "SIGTERM");
            assert_eq!(told[1]["data"]["exit_code"], 128 + 15);
        }
    });
}

#[test]
fn a_child_that_ignores_the_signal_does_not_survive() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "sh -c 'trap \"\" TERM HUP; echo $$ > $HOME/child; while :; do sleep 1000; done' & wait"]
        graceful_timeout = "200ms""#;
    in_each_mode(config, |daemon| {
        let child = number_of(&daemon.home().path("child"));
        let mut events = daemon.subscribe();
        assert!(daemon.ctl(&["stop", "web"]).status.success());
        assert!(!runs(child));
        let told = told_until_now(daemon, &mut events);
        assert_eq!(*topics(&told).last().expect("events"), "web.stop");
    });
}

#[test]
fn stop_children_gives_the_signal_to_the_whole_tree() {
    // The child ends by SIGTERM alone; were it left to the end of the grace, the test would hang.
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "sh -c 'trap \"echo told > $HOME/told; exit 0\" TERM; echo $$ > $HOME/child; while :; do sleep 0.05; done' & wait"]
        graceful_timeout = "1h"
        stop_children = true"#;
    in_each_mode(config, |daemon| {
        let child = number_of(&daemon.home().path("child"));
        assert!(daemon.ctl(&["stop", "web"]).status.success());
        assert!(!runs(child));
        assert_eq!(line_of(&daemon.home().path("told")), "told");
    });
}

#[test]
fn what_daemonizes_does_not_escape() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "(setsid sh -c 'echo $$ > $HOME/daemon; exec sleep 1000' &); exec sleep 1000"]
        graceful_timeout = "200ms""#;
    in_each_mode(config, |daemon| {
        let escaped = number_of(&daemon.home().path("daemon"));
        assert!(runs(escaped));
        assert!(daemon.ctl(&["stop", "web"]).status.success());
        assert!(!runs(escaped));
    });
}

#[test]
fn what_a_worker_leaves_when_it_ends_by_itself_is_killed_at_once() {
    let config = r#"
        [watcher.web]
        cmd = ["sh", "-c", "(setsid sh -c 'trap \"\" TERM; echo $$ > $HOME/left; while :; do sleep 1000; done' &); while [ ! -s $HOME/left ]; do sleep 0.02; done; exit 0"]
        respawn = false
        graceful_timeout = "1h""#;
    in_each_mode(config, |daemon| {
        let finished = daemon.wait_until("web", |status| status["state"] == "stopped");
        assert_eq!(finished["reason"]["cause"], "finished");
        assert!(!runs(number_of(&daemon.home().path("left"))));
    });
}

#[test]
fn a_killed_process_is_reaped_and_replaced() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2";
    in_each_mode(config, |daemon| {
        let before = pids(&daemon.status("web"));
        let mut events = daemon.subscribe();
        let reply = daemon
            .call("Kill", json!({"watcher": "web", "wid": 2}))
            .expect("it runs");
        let killed = reply["pids"][0].as_u64().expect("a pid");
        assert!(before.contains(&killed));
        assert_eq!(pid_of(&events.wait("watcher.web.kill")), killed);
        let reap = events.wait("watcher.web.reap");
        assert_eq!(
            (pid_of(&reap), &reap["data"]["exit"]["expected"]),
            (killed, &json!(true))
        );
        let spawn = events.wait("watcher.web.spawn");
        assert_eq!(spawn["data"]["wid"], 2);
        let after = daemon.wait_until("web", |status| pids(status).len() == 2);
        assert_eq!(pids(&after).intersection(&before).count(), 1);
        assert_eq!(after["restarts"], 0, "it was commanded: {after}");
    });
}

#[test]
fn a_kill_may_bring_its_own_signal_and_grace() {
    let config = r#"
        [watcher.deaf]
        cmd = ["sh", "-c", "trap '' TERM INT; echo up > $HOME/deaf; while :; do sleep 1000; done"]
        graceful_timeout = "1h""#;
    let daemon = Daemon::start(config);
    line_of(&daemon.home().path("deaf"));
    let mut events = daemon.subscribe();
    let params = json!({"watcher": "deaf", "signal": "INT", "graceful_timeout_usec": 50_000});
    daemon.call("Kill", params).expect("it runs");
    assert_eq!(events.wait("watcher.deaf.kill")["data"]["signal"], "SIGINT");
    assert_eq!(
        events.wait("watcher.deaf.kill")["data"]["signal"],
        "SIGKILL"
    );
    events.wait("watcher.deaf.reap");
    events.wait("watcher.deaf.spawn");
    // As the configuration would have it, its own end would take an hour.
    let params = json!({"watcher": "deaf", "graceful_timeout_usec": 0});
    daemon.wait_until("deaf", |status| status["state"] == "active");
    daemon
        .call(
            "Set",
            json!({"watcher": "deaf", "options": {"graceful_timeout": 0}}),
        )
        .expect("a good value");
    daemon.call("Kill", params).expect("it runs");
    assert_eq!(
        events.wait("watcher.deaf.kill")["data"]["signal"],
        "SIGKILL"
    );
}

#[test]
fn a_progress_is_told_while_a_stop_lasts() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 3";
    let daemon = Daemon::start(config);
    let replies = daemon
        .connect()
        .call_more("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    let (end, steps) = replies.split_last().expect("a result");
    assert_eq!(
        end["changes"][0]["stopped"].as_array().map(Vec::len),
        Some(3)
    );
    assert!(!steps.is_empty());
    for step in steps {
        assert_eq!(
            (&step["progress"]["watcher"], &step["progress"]["total"]),
            (&json!("web"), &json!(3))
        );
    }
}
