//! Starting and stopping, seen from outside: order, pauses, what wins, and how the daemon ends.
//!
//! How a single process is ended is in `stopping.rs`; what follows when one ends by itself is in
//! `scaling.rs` and `respawn.rs`.

mod common;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::facts::{history, in_each_mode, line_of, pids, runs, told_until_now, topics, wids};
use common::{Connection, Daemon, Home};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

/// A worker that SIGTERM does not impress; it has said so in `$HOME/deaf`.
const DEAF: &str = r#"
[watcher.deaf]
cmd = ["sh", "-c", "trap '' TERM; echo up > $HOME/deaf; exec sleep 1000"]
graceful_timeout = "1h"
"#;

/// The end of a deaf worker, by the only thing it hears.
fn end_deaf(daemon: &Daemon) {
    let params = json!({"watcher": "deaf", "signal": "SIGKILL"});
    daemon.call("Signal", params).expect("it runs");
}

/// Where in `told` the first (or last) event with this topic is.
fn first(told: &[&str], topic: &str) -> usize {
    let found = told.iter().position(|told| *told == topic);
    found.unwrap_or_else(|| panic!("no {topic} in {told:?}"))
}

fn last(told: &[&str], topic: &str) -> usize {
    let found = told.iter().rposition(|told| *told == topic);
    found.unwrap_or_else(|| panic!("no {topic} in {told:?}"))
}

#[test]
fn a_watcher_stops_starts_and_restarts() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2";
    in_each_mode(config, |daemon| {
        let before = daemon.status("web");
        assert_eq!(before["state"], "active");
        assert_eq!(wids(&before), [1, 2].into());
        let mut events = daemon.subscribe();

        assert!(daemon.ctl(&["stop", "web"]).status.success());
        let told = told_until_now(daemon, &mut events);
        assert_eq!(
            topics(&told),
            ["web.kill", "web.kill", "web.reap", "web.reap", "web.stop"]
        );
        assert_eq!(told[0]["data"]["signal"], "SIGTERM");
        assert_eq!(told[0]["data"]["by"], "stop");
        assert_eq!(told[2]["data"]["exit_code"], 128 + 15);
        assert_eq!(told[2]["data"]["exit"]["expected"], true);
        let stopped = daemon.status("web");
        assert_eq!(stopped["state"], "stopped");
        assert_eq!(stopped["reason"]["cause"], "operator");
        assert!(!pids(&before).into_iter().any(runs));

        assert!(daemon.ctl(&["start", "web"]).status.success());
        let told = told_until_now(daemon, &mut events);
        assert_eq!(last(&topics(&told), "web.start"), told.len() - 1);
        let started = daemon.status("web");
        assert_eq!(started["state"], "active");
        assert!(
            started.get("reason").is_none_or(Value::is_null),
            "{started}"
        );

        let reply = daemon
            .call("Restart", json!({"watchers": "web"}))
            .expect("it restarts");
        let restarted = daemon.status("web");
        assert!(pids(&started).is_disjoint(&pids(&restarted)));
        assert_eq!(
            reply["changes"][0]["started"].as_array().map(Vec::len),
            Some(2)
        );
        assert_eq!(
            reply["changes"][0]["stopped"].as_array().map(Vec::len),
            Some(2)
        );
        assert!(!pids(&started).into_iter().any(runs));
        let told = told_until_now(daemon, &mut events);
        let told = topics(&told);
        assert!(
            last(&told, "web.reap") < first(&told, "web.spawn"),
            "{told:?}"
        );
    });
}

#[test]
fn to_stop_what_is_stopped_and_to_start_what_runs_is_fine_and_tells_nothing() {
    let daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'");
    let mut events = daemon.subscribe();
    let before = pids(&daemon.status("web"));
    assert!(daemon.ctl(&["start", "web"]).status.success());
    assert!(told_until_now(&daemon, &mut events).is_empty());
    assert_eq!(pids(&daemon.status("web")), before);
    daemon
        .call("Stop", json!({"watchers": "web"}))
        .expect("it stops");
    told_until_now(&daemon, &mut events);
    assert!(daemon.ctl(&["stop", "web"]).status.success());
    assert_eq!(
        topics(&told_until_now(&daemon, &mut events)),
        Vec::<&str>::new()
    );
}

#[test]
fn priorities_order_the_start_and_level_by_level_the_stop() {
    let config = "
        [watcher.last]\ncmd = 'sleep 1000'\npriority = 2
        [watcher.first]\ncmd = 'sleep 1000'\npriority = -1\nnumprocesses = 2
        [watcher.middle]\ncmd = 'sleep 1000'
        [watcher.aside]\ncmd = 'sleep 1000'";
    in_each_mode(config, |daemon| {
        let told = history(daemon);
        let told = topics(&told);
        assert!(
            last(&told, "first.spawn") < first(&told, "middle.spawn"),
            "{told:?}"
        );
        assert!(
            first(&told, "middle.spawn") < first(&told, "aside.spawn"),
            "{told:?}"
        );
        assert!(
            first(&told, "aside.start") < first(&told, "last.spawn"),
            "{told:?}"
        );
        let mut events = daemon.subscribe();
        daemon.call("Stop", json!({})).expect("all stop");
        let told = told_until_now(daemon, &mut events);
        let told = topics(&told);
        assert!(
            first(&told, "last.stop") < first(&told, "middle.kill"),
            "{told:?}"
        );
        assert!(
            first(&told, "last.stop") < first(&told, "aside.kill"),
            "{told:?}"
        );
        assert!(
            first(&told, "middle.stop") < first(&told, "first.kill"),
            "{told:?}"
        );
        assert!(
            first(&told, "aside.stop") < first(&told, "first.kill"),
            "{told:?}"
        );
    });
}

#[test]
fn pauses_are_kept_between_processes_and_between_watchers() {
    let config = "
        [circusd]\nwarmup_delay = '400ms'
        [watcher.a]\ncmd = 'sleep 1000'\nnumprocesses = 3\nwarmup_delay = '400ms'
        [watcher.b]\ncmd = 'sleep 1000'";
    let daemon = Daemon::start(config);
    let told = history(&daemon);
    let spawned = |watcher: &str| -> Vec<u64> {
        let topic = format!("watcher.{watcher}.spawn");
        let spawns = told.iter().filter(|event| event["topic"] == topic.as_str());
        let time = |event: &Value| event["time_usec"].as_u64().expect("an event has a time");
        spawns.map(time).collect()
    };
    let (a, b) = (spawned("a"), spawned("b"));
    assert_eq!((a.len(), b.len()), (3, 1));
    // A pause begins with the decision, of which the event tells when the spawn is done: what a
    // slow machine takes for that is missing between two events.
    assert!(
        a.windows(2).all(|pair| pair[1] - pair[0] >= 100_000),
        "{a:?}"
    );
    assert!(b[0] - a[0] >= 100_000, "{a:?} {b:?}");
}

#[test]
fn without_autostart_a_watcher_waits_for_its_name_or_a_pattern() {
    let config = "
        [watcher.a1]\ncmd = 'sleep 1000'\nautostart = false
        [watcher.a2]\ncmd = 'sleep 1000'\nautostart = false";
    let daemon = Daemon::start(config);
    let status = daemon.status("a1");
    assert_eq!(status["state"], "stopped");
    assert_eq!(status["reason"]["cause"], "autostart_off");
    assert!(daemon.ctl(&["start", "a1"]).status.success());
    assert_eq!(daemon.status("a1")["state"], "active");
    assert_eq!(daemon.status("a2")["state"], "stopped");
    assert!(daemon.ctl(&["start", "a*"]).status.success());
    assert_eq!(daemon.status("a2")["state"], "active");
}

#[test]
fn a_failed_watcher_at_boot_keeps_nobody_from_starting() {
    let config = "
        [watcher.bad]\ncmd = '/nowhere/at/all'\npriority = 1\nmax_retry = 0
        [watcher.good]\ncmd = 'sleep 1000'\npriority = 2";
    let daemon = Daemon::start(config);
    let bad = daemon.wait_until("bad", |status| status["state"] == "failed");
    assert_eq!(bad["reason"]["cause"], "gave_up", "{bad}");
    daemon.wait_until("good", |status| status["state"] == "active");
}

#[test]
fn a_stop_during_a_start_wins() {
    let config = "[watcher.web]\ncmd = 'sleep 1000'\nnumprocesses = 2\nwarmup_delay = '1h'\nautostart = false";
    in_each_mode(config, |daemon| {
        let mut events = daemon.subscribe();
        let mut starting = daemon.connect();
        starting.send_call("Start", json!({"watchers": "web"}), false);
        events.wait("watcher.web.spawn");
        daemon
            .call("Stop", json!({"watchers": "web"}))
            .expect("it stops");
        let told = told_until_now(daemon, &mut events);
        assert_eq!(
            topics(&told)
                .iter()
                .filter(|topic| topic.ends_with("spawn"))
                .count(),
            0
        );
        assert_eq!(daemon.status("web")["state"], "stopped");
        // Answered, whatever the answer: it must not be left waiting.
        let _ = starting.receive_reply();
    });
}

#[test]
fn a_second_stop_joins_the_first() {
    in_each_mode(DEAF, |daemon| {
        line_of(&daemon.home().path("deaf"));
        let mut events = daemon.subscribe();
        let mut stops: Vec<Connection> = (0..2).map(|_| daemon.connect()).collect();
        for stop in &mut stops {
            stop.send_call("Stop", json!({"watchers": "deaf"}), false);
        }
        events.wait("watcher.deaf.kill");
        end_deaf(daemon);
        for stop in &mut stops {
            stop.receive_reply().expect("it has stopped");
        }
        let told = told_until_now(daemon, &mut events);
        let told = topics(&told);
        assert_eq!(
            told.iter().filter(|topic| **topic == "deaf.stop").count(),
            1,
            "{told:?}"
        );
    });
}

#[test]
fn quit_ends_with_0_when_all_have_gone() {
    let config = "[watcher.web]\ncmd = ['sh', '-c', 'sleep 1000 & wait']\nnumprocesses = 3\nstop_children = true";
    in_each_mode(config, |daemon| {
        let workers = pids(&daemon.status("web"));
        let mut events = daemon.subscribe();
        assert!(daemon.ctl(&["quit"]).status.success());
        assert_eq!(daemon.wait_end().code(), Some(0));
        // To the last of them: who listens hears of the end of everything.
        events.wait("circusd.stopping");
        events.wait("watcher.web.stop");
        assert!(!workers.into_iter().any(runs));
        assert!(!daemon.home().socket().exists());
    });
}

#[test]
fn sigterm_and_sigint_end_it_with_0() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = Daemon::start("[watcher.web]\ncmd = 'sleep 1000'");
        daemon.signal(signal);
        assert_eq!(daemon.wait_end().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_second_sigint_ends_it_at_once_with_130() {
    in_each_mode(DEAF, |daemon| {
        line_of(&daemon.home().path("deaf"));
        let worker = pids(&daemon.status("deaf"));
        let mut events = daemon.subscribe();
        daemon.signal(Signal::SIGINT);
        events.wait("watcher.deaf.kill");
        daemon.signal(Signal::SIGINT);
        assert_eq!(daemon.wait_end().code(), Some(130));
        assert!(!worker.into_iter().any(runs));
    });
}

/// Sends SIGINT and sees that it was not taken for the second.
fn interrupt_once(daemon: &Daemon) {
    let mut client = daemon.connect();
    daemon.signal(Signal::SIGINT);
    // By the last of these answers it has long heard the signal.
    for _ in 0..20 {
        let seen = client.call("Status", json!({"watchers": "deaf"}));
        let state = &seen.expect("it still answers")["watchers"][0]["state"];
        assert_eq!(state, "stopping");
    }
}

#[test]
fn after_sigterm_it_takes_two_sigints_as_well() {
    let mut daemon = Daemon::start(DEAF);
    line_of(&daemon.home().path("deaf"));
    let mut events = daemon.subscribe();
    daemon.signal(Signal::SIGTERM);
    events.wait("watcher.deaf.kill");
    interrupt_once(&daemon);
    daemon.signal(Signal::SIGINT);
    assert_eq!(daemon.wait_end().code(), Some(130));
}

#[test]
fn the_whole_shutdown_has_a_limit() {
    let mut daemon = Daemon::start(&format!("[circusd]\nstop_timeout = '300ms'\n{DEAF}"));
    line_of(&daemon.home().path("deaf"));
    let worker = pids(&daemon.status("deaf"));
    // The harness would wait for a minute, the grace is an hour.
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(!worker.into_iter().any(runs));
}

#[test]
fn while_it_stops_nothing_new_is_taken_on() {
    let mut daemon = Daemon::start(&format!(
        "{DEAF}\n[watcher.web]\ncmd = 'sleep 1000'\nautostart = false"
    ));
    line_of(&daemon.home().path("deaf"));
    let mut events = daemon.subscribe();
    let mut other = daemon.connect();
    daemon
        .call("Quit", json!({"wait": false}))
        .expect("it will");
    events.wait("watcher.deaf.kill");
    let refused = other
        .call("Start", json!({"watchers": "web"}))
        .expect_err("too late");
    assert_eq!(refused.error, "io.circusd.ShuttingDown");
    let seen = other
        .call("Status", json!({"watchers": "deaf"}))
        .expect("it still answers");
    assert_eq!(seen["watchers"][0]["state"], "stopping");
    interrupt_once(&daemon);
    daemon.signal(Signal::SIGINT);
    daemon.wait_end();
}

#[test]
fn when_a_critical_watcher_has_given_up_all_stop_and_the_code_is_70() {
    let home = Home::new(
        "
        [watcher.vital]
        cmd = 'false'
        critical = true
        backoff = false
        flapping = {attempts = 2, window = '1h', retry_in = '10ms', max_retry = 1}
        [watcher.web]
        cmd = 'sleep 1000'
        priority = -1",
    );
    let mut daemon = home.start();
    assert_eq!(daemon.wait_end().code(), Some(70));
}

#[test]
fn a_critical_process_that_comes_to_a_good_end_ends_nothing_else() {
    let mut daemon = Daemon::start(
        "
        [watcher.vital]
        cmd = 'true'
        critical = true
        respawn = false
        [watcher.web]
        cmd = 'sleep 1000'
        graceful_timeout = 0",
    );
    let vital = daemon.wait_until("vital", |status| status["state"] == "stopped");
    assert_eq!(vital["last_exit"]["status"], 0, "{vital}");
    let pid = pids(&daemon.status("web"));
    daemon
        .call("Restart", json!({"watchers": "web"}))
        .expect("it goes on");
    assert_ne!(pids(&daemon.status("web")), pid);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn the_daemon_knows_since_when_it_runs() {
    let before = SystemTime::now();
    let daemon = Daemon::start("");
    let stats = daemon.call("DaemonStats", json!({})).expect("figures");
    let told = stats["stats"]["started_usec"].as_u64().expect("a time");
    let told = UNIX_EPOCH + Duration::from_micros(told);
    // The kernel counts that in hundredths of a second.
    let slack = Duration::from_secs(1);
    assert!(before - slack < told && told <= SystemTime::now() + slack);
}
